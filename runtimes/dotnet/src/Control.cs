using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Text.Json;

namespace Lambent
{
    /// <summary>The control protocol with the sandbox's driver (runtimes/README.md) on descriptor 3.</summary>
    internal sealed class Control
    {
        private const int Descriptor = 3;
        // The environment of a function holds at most 4 KB of its own (Lambda quotas).
        private const int Limit = 256 * 1024;

        /// <summary>The socket, or null where no driver listens.</summary>
        internal static Control Open()
        {
            if (Environment.GetEnvironmentVariable("LAMBENT_CONTROL") != "3")
            {
                return null;
            }
            Native.SetCloseOnExec(Descriptor);
            return new Control();
        }

        /// <summary>Takes what is between the driver and the bootstrap out of the environment.</summary>
        internal static void Tidy()
        {
            foreach (string name in new[] { "LAMBENT_CONTROL", "LAMBENT_BLANK" })
            {
                Environment.SetEnvironmentVariable(name, null);
                Native.Unset(name);
            }
        }

        internal void Say(char message)
        {
            Send(new[] { (byte)message });
        }

        /// <summary>Tells that the function's own code comes next. On Linux the stopwatch is CLOCK_MONOTONIC.</summary>
        internal void Turn()
        {
            var word = new byte[9];
            word[0] = (byte)'T';
            BinaryPrimitives.WriteInt64BigEndian(new Span<byte>(word, 1, 8), Stopwatch.GetTimestamp());
            Send(word);
        }

        private static void Send(byte[] message)
        {
            try
            {
                Native.Write(Descriptor, message, message.Length);
            }
            catch (IOException)
            {
                // the driver has given up on us, and will say so in its own way
            }
        }

        internal void Close()
        {
            Native.Close(Descriptor);
        }

        /// <summary>Waits for the environment of the function; null when nobody needs this blank.</summary>
        internal Dictionary<string, string> Await()
        {
            byte[] head = Exactly(4);
            if (head == null)
            {
                return null;
            }
            int size = head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];
            if (size < 0 || size > Limit)
            {
                throw new IOException("the driver's message has " + size + " bytes");
            }
            byte[] text = Exactly(size);
            return text == null ? null : Parse(text);
        }

        internal static Dictionary<string, string> Parse(byte[] text)
        {
            var env = new Dictionary<string, string>();
            using (JsonDocument message = JsonDocument.Parse(new ReadOnlyMemory<byte>(text)))
            {
                foreach (JsonProperty p in message.RootElement.GetProperty("env").EnumerateObject())
                {
                    env[p.Name] = p.Value.GetString();
                }
            }
            return env;
        }

        private static byte[] Exactly(int size)
        {
            var data = new byte[size];
            for (int have = 0; have < size;)
            {
                int n = Native.Read(Descriptor, data, have);
                if (n == 0)
                {
                    return null;
                }
                have += n;
            }
            return data;
        }
    }
}
