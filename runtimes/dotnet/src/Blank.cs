using System;
using System.Collections;
using System.Collections.Generic;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

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
            string place = typeof(Blank).Assembly.Location;
            Handler h = Handler.Load("bootstrap::" + typeof(Rehearsal).FullName + "::Handle", System.IO.Path.GetDirectoryName(place));
            var next = new Client.Answer();
            next["Lambda-Runtime-Aws-Request-Id"] = "";
            next["Lambda-Runtime-Deadline-Ms"] = "0";
            h.Handle(System.Text.Encoding.UTF8.GetBytes("{\"a\":[1,\"b\",null,true]}"), new Invocation(next));
        }
    }

    internal sealed class Rehearsal
    {
        internal object Handle(Dictionary<string, object> input)
        {
            return input;
        }
    }
}
