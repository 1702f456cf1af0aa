using System;
using System.IO;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Threading.Tasks;

namespace Lambent
{
    /// <summary>
    /// A method that answers events: ASSEMBLY::TYPE::METHOD ("Define Lambda function handler in C#",
    /// AWS Lambda developer guide). It takes nothing, the event, the context, or the event and the
    /// context.
    /// </summary>
    internal sealed class Handler
    {
        private const string ContextName = "Amazon.Lambda.Core.ILambdaContext";
        private const BindingFlags Declared = BindingFlags.DeclaredOnly | BindingFlags.Public | BindingFlags.NonPublic
            | BindingFlags.Static | BindingFlags.Instance;
        private const BindingFlags Unwrapped = (BindingFlags)0x02000000; // DoNotWrapExceptions: those of the function as they are

        private readonly MethodInfo method;
        private readonly object target; // null for a static method
        private readonly Type input; // null where the method takes no event
        private readonly Type context; // null where it takes no context
        private readonly Type output; // what it returns, or its task gives; void for nothing
        private readonly PropertyInfo result; // of its task
        private readonly Serializer serializer;

        /// <summary>Loads what the handler's name names. The constructor's errors are the function's.</summary>
        internal static Handler Load(string name, string folder)
        {
            string[] parts = Parse(name);
            Code code = new Code(folder, parts[0]);
            Type type = Assembly(code, parts[0], folder).GetType(parts[1]);
            if (type == null)
            {
                throw new LambdaValidationException("Unable to load type '" + parts[1] + "' from assembly '" + parts[0] + "'.");
            }
            MethodInfo method = Find(type, parts);
            Validate(type, method);
            if (method.IsStatic)
            {
                RuntimeHelpers.RunClassConstructor(type.TypeHandle);
            }
            return new Handler(method, method.IsStatic ? null : Activator.CreateInstance(type, true));
        }

        private Handler(MethodInfo method, object target)
        {
            this.method = method;
            this.target = target;
            ParameterInfo[] parameters = method.GetParameters();
            if (parameters.Length > 0 && parameters[parameters.Length - 1].ParameterType.FullName == ContextName)
            {
                context = parameters[parameters.Length - 1].ParameterType;
            }
            if (parameters.Length > (context == null ? 0 : 1))
            {
                input = parameters[0].ParameterType;
            }
            output = method.ReturnType;
            if (typeof(Task).IsAssignableFrom(output))
            {
                Type task = output;
                while (task != typeof(Task) && !(task.IsGenericType && task.GetGenericTypeDefinition() == typeof(Task<>)))
                {
                    task = task.BaseType;
                }
                output = task == typeof(Task) ? typeof(void) : task.GetGenericArguments()[0];
                result = task == typeof(Task) ? null : task.GetProperty("Result");
            }
            serializer = Serializer.Of(method);
        }

        private static string[] Parse(string name)
        {
            const string valid = "The valid format is 'ASSEMBLY::TYPE::METHOD'.";
            if (string.IsNullOrEmpty(name))
            {
                throw new LambdaValidationException("Empty lambda function handler. " + valid);
            }
            string[] parts = name.Split(new[] { "::" }, 3, StringSplitOptions.None);
            string complaint = parts.Length == 3 ? null : ". ";
            for (int i = 0; i < parts.Length && parts.Length == 3; i++)
            {
                parts[i] = parts[i].Trim();
                if (complaint == null && parts[i].Length == 0)
                {
                    complaint = ", the " + new[] { "assembly", "type", "method" }[i] + " is missing. ";
                }
            }
            if (complaint != null)
            {
                throw new LambdaValidationException("Invalid lambda function handler: '" + name + "'" + complaint + valid);
            }
            return parts;
        }

        private static Assembly Assembly(Code code, string name, string folder)
        {
            if (name.IndexOf('/') >= 0 || !File.Exists(Path.Combine(folder, name + ".dll")))
            {
                throw new LambdaValidationException("Could not find the specified handler assembly with the file name '" + name
                    + ", Culture=neutral, PublicKeyToken=null'. The assembly should be located in the root of your uploaded .zip file.");
            }
            try
            {
                Assembly a = code.LoadFromAssemblyPath(Path.Combine(folder, name + ".dll"));
                code.EnterContextualReflection(); // for what is looked up by name, on this thread and its tasks
                return a;
            }
            catch (BadImageFormatException)
            {
                throw new LambdaValidationException("Unable to load assembly '" + name + "'.");
            }
        }

        /// <summary>The method of that name, or that signature, which is declared closest to the type.</summary>
        private static MethodInfo Find(Type type, string[] parts)
        {
            for (Type t = type; t != null; t = t.BaseType)
            {
                MethodInfo[] all = t.GetMethods(Declared);
                MethodInfo[] named = Array.FindAll(all, m => m.Name == parts[2]);
                if (named.Length == 0)
                {
                    named = Array.FindAll(all, m => m.ToString() == parts[2]);
                }
                if (named.Length > 1)
                {
                    throw new LambdaValidationException("The method '" + parts[2] + "' in type '" + type.FullName
                        + "' appears to have a number of overloads. To call this method please specify a complete method signature."
                        + " Possible candidates are:\n" + string.Join("\n", Array.ConvertAll(named, m => m.ToString())) + ".");
                }
                if (named.Length == 1)
                {
                    return named[0];
                }
            }
            throw new LambdaValidationException("Unable to find method '" + parts[2] + "' in type '" + parts[1] + "' from assembly '"
                + parts[0] + "': Found no methods matching method name '" + parts[2] + "'.");
        }

        private static void Validate(Type type, MethodInfo method)
        {
            string complaint = null;
            string named = "The method '" + method.Name + "' cannot be used as a Lambda Handler because it is ";
            ParameterInfo[] parameters = method.GetParameters();
            if (type.IsGenericType)
            {
                complaint = "The type '" + type.FullName + "' cannot be used as a Lambda Handler type because it is generic. Handler methods"
                    + " cannot be located in generic types. Please specify a handler method in a non-generic type.";
            }
            else if (type.IsAbstract && !method.IsStatic)
            {
                complaint = "The instance method '" + method.Name + "' cannot be used as a Lambda Handler because its type '" + type.FullName
                    + "' is abstract. Please either use a static handler or specify a type that is not abstract.";
            }
            else if (method.IsGenericMethod)
            {
                complaint = named + "a generic method. Handler methods cannot be generic. Please specify a non-generic handler method.";
            }
            else if (method.ReturnType == typeof(void) && method.IsDefined(typeof(AsyncStateMachineAttribute), false))
            {
                complaint = named + "an 'async void' method. Handler methods cannot be 'async void'. Please specify a method that is not 'async void'.";
            }
            else if (parameters.Length > 2)
            {
                complaint = "Method '" + method.Name + "' of type '" + type.FullName + "' is not supported: the method has more than 2 parameters.";
            }
            else if (parameters.Length == 2 && parameters[1].ParameterType.FullName != ContextName)
            {
                complaint = "Method '" + method.Name + "' of type '" + type.FullName + "' is not supported: the method has 2 parameters,"
                    + " but the second parameter is not of type '" + ContextName + "'.";
            }
            if (complaint != null)
            {
                throw new LambdaValidationException(complaint);
            }
        }

        /// <summary>Answers one event; what it throws is the function's.</summary>
        internal byte[] Handle(byte[] body, Invocation invocation)
        {
            var arguments = new object[(input == null ? 0 : 1) + (context == null ? 0 : 1)];
            if (input != null)
            {
                arguments[0] = input == typeof(Stream) ? new MemoryStream(body, 0, body.Length, false, true) : serializer.Read(body, input);
            }
            if (context != null)
            {
                arguments[arguments.Length - 1] = invocation.Context(context);
            }
            object answer = method.Invoke(target, Unwrapped, null, arguments, null);
            if (answer is Task task)
            {
                task.GetAwaiter().GetResult();
                answer = result == null ? null : result.GetValue(task);
            }
            if (output == typeof(void))
            {
                return new byte[0];
            }
            return typeof(Stream).IsAssignableFrom(output) ? Drain((Stream)answer) : serializer.Write(answer, output);
        }

        private static byte[] Drain(Stream stream)
        {
            if (stream == null)
            {
                return new byte[0];
            }
            using (stream)
            {
                var all = new MemoryStream();
                stream.CopyTo(all);
                return all.ToArray();
            }
        }
    }
}
