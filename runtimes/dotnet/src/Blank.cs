using System;
using System.Collections;
using System.Collections.Generic;
using System.IO;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Threading.Tasks;

namespace Lambent
{
    /// <summary>A runtime that is up, has compiled what every function needs, and waits for its function.</summary>
    internal static class Blank
    {
        /// <summary>Waits until the blank is wanted and is that function then; false when nobody needs it.</summary>
        internal static bool Become(Control control)
        {
            Compile();
            Rehearse();
            GC.Collect();
            control.Say('B');
            Dictionary<string, string> env = control.Await();
            if (env == null)
            {
                return false;
            }
            Enter(env);
            return true;
        }

        private static void Enter(Dictionary<string, string> env)
        {
            Native.Environment(env);
            foreach (DictionaryEntry old in Environment.GetEnvironmentVariables())
            {
                if (!env.ContainsKey((string)old.Key))
                {
                    Environment.SetEnvironmentVariable((string)old.Key, null);
                }
            }
            foreach (KeyValuePair<string, string> pair in env)
            {
                Environment.SetEnvironmentVariable(pair.Key, pair.Value);
            }
            TimeZoneInfo.ClearCachedData();
            Environment.CurrentDirectory = Program.Folder();
        }

        /// <summary>Compiles the bootstrap's own methods.</summary>
        private static void Compile()
        {
            const BindingFlags all = BindingFlags.DeclaredOnly | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Static | BindingFlags.Instance;
            foreach (Type t in typeof(Blank).Assembly.GetTypes())
            {
                foreach (MethodInfo m in t.GetMethods(all))
                {
                    if ((m.Attributes & MethodAttributes.PinvokeImpl) != 0)
                    {
                        Marshal.Prelink(m);
                    }
                    else if (!m.IsAbstract && !m.ContainsGenericParameters)
                    {
                        RuntimeHelpers.PrepareMethod(m.MethodHandle);
                    }
                }
            }
        }

        /// <summary>Goes over a start and an event with a function of no meaning: this assembly's own.</summary>
        private static void Rehearse()
        {
            Dictionary<string, string> env = Control.Parse(Encoding.UTF8.GetBytes("{\"env\":{\"REHEARSAL\":\"1\"}}"));
            foreach (DictionaryEntry own in Environment.GetEnvironmentVariables())
            {
                env[(string)own.Key] = (string)own.Value;
            }
            env["LAMBDA_TASK_ROOT"] = Path.GetDirectoryName(typeof(Blank).Assembly.Location);
            Enter(env);
            Log.Configure();
            int[] pair = Native.Pair();
            Log.Target = pair[0];
            var client = new Client("127.0.0.1:9001", pair[0]);
            foreach (string name in new[] { "Objects", "Elements" })
            {
                Handler handler = Handler.Load("bootstrap::" + typeof(Rehearsal).FullName + "::" + name, Program.Folder());
                Tell(pair[1], "200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: 1\r\n"
                    + "Lambda-Runtime-Deadline-Ms: 1\r\nContent-Length: 43\r\n\r\n{\"text\":\"x\",\"number\":1,\"list\":[\"y\"],\"n\":{}}");
                Client.Answer next = client.Next();
                Tell(pair[1], "202 Accepted\r\nContent-Length: 0\r\n\r\n");
                Program.Answer(client, handler, next);
            }
            Log.Target = 1;
            Log.RequestId = "";
            Native.Close(pair[0]);
            Native.Close(pair[1]);
        }

        private static void Tell(int socket, string answer)
        {
            byte[] text = Encoding.ASCII.GetBytes("HTTP/1.1 " + answer);
            Native.Write(socket, text, text.Length);
        }
    }

    /// <summary>Functions of no meaning, which use what most use.</summary>
    public sealed class Rehearsal
    {
        public sealed class Sample
        {
            public string Text { get; set; }
            public int Number { get; set; }
            public List<string> List { get; set; }
        }

        public Task<Sample> Objects(Sample input, Amazon.Lambda.Core.ILambdaContext context)
        {
            Console.WriteLine(context.AwsRequestId);
            return Task.FromResult(input);
        }

        public static Dictionary<string, object> Elements(JsonElement input)
        {
            return new Dictionary<string, object> { { "input", input } };
        }
    }
}

namespace Amazon.Lambda.Core
{
    /// <summary>What a rehearsed function knows of its context.</summary>
    public interface ILambdaContext
    {
        string AwsRequestId { get; }
    }
}
