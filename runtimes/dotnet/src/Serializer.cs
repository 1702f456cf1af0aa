using System;
using System.Collections.Generic;
using System.IO;
using System.Reflection;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Lambent
{
    /// <summary>
    /// Turns events into what a handler takes and its results into answers: by the serializer that
    /// the function names with LambdaSerializerAttribute, else by System.Text.Json in the way of
    /// AWS's own serializer: names are compared without regard to case, nulls are left out.
    /// </summary>
    internal sealed class Serializer
    {
        private const string Attribute = "Amazon.Lambda.Core.LambdaSerializerAttribute";
        private const string Interface = "Amazon.Lambda.Core.ILambdaSerializer";

        private static readonly JsonSerializerOptions options = new JsonSerializerOptions
        {
            PropertyNameCaseInsensitive = true,
            IgnoreNullValues = true,
            Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        };

        private readonly object own; // null for System.Text.Json
        private readonly Type face;

        private Serializer(object own, Type face)
        {
            this.own = own;
            this.face = face;
        }

        /// <summary>The serializer that the method, else its assembly, asks for.</summary>
        internal static Serializer Of(MethodInfo method)
        {
            Type wanted = Wanted(method.GetCustomAttributesData()) ?? Wanted(method.Module.Assembly.GetCustomAttributesData());
            if (wanted == null)
            {
                return new Serializer(null, null);
            }
            Type face = wanted.GetInterface(Interface);
            if (face == null)
            {
                throw new LambdaValidationException("The '" + wanted.FullName + "' class is invalid: it does not implement the 'ILambdaSerializer' interface.");
            }
            if (wanted.GetConstructor(Type.EmptyTypes) == null)
            {
                throw new LambdaValidationException("The indicated serializer '" + wanted.FullName + "' does not define a public zero-parameter constructor.");
            }
            return new Serializer(Activator.CreateInstance(wanted), face);
        }

        private static Type Wanted(IList<CustomAttributeData> attributes)
        {
            foreach (CustomAttributeData a in attributes)
            {
                if (a.AttributeType.FullName == Attribute && a.ConstructorArguments.Count == 1)
                {
                    return a.ConstructorArguments[0].Value as Type;
                }
            }
            return null;
        }

        internal object Read(byte[] body, Type type)
        {
            if (own == null)
            {
                return JsonSerializer.Deserialize(Encoding.UTF8.GetString(body), type, options);
            }
            return Call("Deserialize", type, new MemoryStream(body, false));
        }

        internal byte[] Write(object value, Type type)
        {
            if (own == null)
            {
                return JsonSerializer.SerializeToUtf8Bytes(value, type, options);
            }
            var all = new MemoryStream();
            Call("Serialize", type, value, all);
            return all.ToArray();
        }

        private object Call(string name, Type type, params object[] arguments)
        {
            try
            {
                return face.GetMethod(name).MakeGenericMethod(type).Invoke(own, arguments);
            }
            catch (TargetInvocationException e)
            {
                System.Runtime.ExceptionServices.ExceptionDispatchInfo.Capture(e.InnerException).Throw();
                throw;
            }
        }
    }
}
