using System;
using System.Collections.Generic;
using System.IO;
using System.Text;

namespace Lambent
{
    /// <summary>
    /// The Runtime API over one keep-alive connection. The framework's own client would cost
    /// tens of milliseconds of loading and compiling at the start.
    /// </summary>
    internal sealed class Client
    {
        private const string Api = "/2018-06-01/runtime";

        internal sealed class Answer
        {
            internal int Status;
            internal byte[] Body;
            private readonly Dictionary<string, string> headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);

            /// <summary>A header's value, or null.</summary>
            internal string this[string name]
            {
                get { return headers.TryGetValue(name, out string value) ? value : null; }
                set { headers[name] = value; }
            }
        }

        private readonly byte[] host = new byte[4];
        private readonly int port;
        private readonly string common;
        private int socket = -1;
        private readonly byte[] buffer = new byte[16384];
        private int at;
        private int end;

        /// <summary>A client of "address:port"; the address is IPv4, as everywhere on Lambda.</summary>
        internal Client(string address)
        {
            int colon = address.LastIndexOf(':');
            string[] parts = address.Substring(0, Math.Max(0, colon)).Split('.');
            bool ok = parts.Length == 4 && int.TryParse(address.Substring(colon + 1), out port);
            for (int i = 0; i < 4; i++)
            {
                ok = ok && byte.TryParse(parts[i], out host[i]);
            }
            if (!ok)
            {
                throw new IOException("the address of the Runtime API is " + address);
            }
            common = "Host: " + address + "\r\nUser-Agent: lambent-dotnet/" + Environment.Version + "\r\n";
        }

        /// <summary>A client that is connected already.</summary>
        internal Client(string address, int socket) : this(address)
        {
            this.socket = socket;
        }

        internal Answer Next()
        {
            Answer a = RoundTrip("GET " + Api + "/invocation/next HTTP/1.1\r\n" + common + "\r\n", null);
            if (a.Status != 200)
            {
                throw new IOException("the Runtime API answered " + a.Status + " to next");
            }
            return a;
        }

        /// <summary>Posts body. 410 (the invocation has ended) and 413 (too large) are in order: the caller knows.</summary>
        internal void Post(string path, string headers, byte[] body)
        {
            string head = "POST " + Api + path + " HTTP/1.1\r\n" + common + headers + "Content-Length: " + body.Length + "\r\n\r\n";
            Answer a = RoundTrip(head, body);
            if (a.Status != 202 && a.Status != 410 && a.Status != 413)
            {
                throw new IOException("the Runtime API answered " + a.Status + " to " + path + ": " + Encoding.UTF8.GetString(a.Body));
            }
        }

        /// <summary>A header's line that its value cannot break out of.</summary>
        internal static string Header(string name, string value)
        {
            var b = new StringBuilder(name).Append(": ");
            for (int i = 0; i < value.Length && i < 256; i++)
            {
                b.Append(value[i] >= ' ' && value[i] < 127 ? value[i] : ' ');
            }
            return b.Append("\r\n").ToString();
        }

        private Answer RoundTrip(string head, byte[] body)
        {
            for (bool fresh = socket < 0; ; fresh = true)
            {
                try
                {
                    if (socket < 0)
                    {
                        socket = Native.Connect(host, port);
                    }
                    Send(Encoding.ASCII.GetBytes(head), body);
                    at = end = 0;
                    Fill();
                    break;
                }
                catch (IOException)
                {
                    // A connection that went stale while the sandbox was frozen shows before the
                    // first byte of the answer; one more try is then safe.
                    Disconnect();
                    if (fresh)
                    {
                        throw;
                    }
                }
            }
            return ReadAnswer();
        }

        private void Disconnect()
        {
            if (socket >= 0)
            {
                Native.Close(socket);
                socket = -1;
            }
        }

        private void Send(byte[] head, byte[] body)
        {
            if (body != null && body.Length < 16384)
            {
                var both = new byte[head.Length + body.Length];
                Buffer.BlockCopy(head, 0, both, 0, head.Length);
                Buffer.BlockCopy(body, 0, both, head.Length, body.Length);
                head = both;
                body = null;
            }
            Native.Write(socket, head, head.Length);
            if (body != null)
            {
                Native.Write(socket, body, body.Length);
            }
        }

        private void Fill()
        {
            int n = Native.Read(socket, buffer, 0);
            if (n == 0)
            {
                throw new EndOfStreamException("the Runtime API closed the connection");
            }
            at = 0;
            end = n;
        }

        private string Line()
        {
            var b = new StringBuilder(64);
            while (true)
            {
                if (at == end)
                {
                    Fill();
                }
                char c = (char)buffer[at++];
                if (c == '\n')
                {
                    return b.ToString().TrimEnd('\r');
                }
                b.Append(c);
            }
        }

        private byte[] Exactly(int size)
        {
            var body = new byte[size];
            int have = Math.Min(size, end - at);
            Buffer.BlockCopy(buffer, at, body, 0, have);
            at += have;
            while (have < size)
            {
                int n = Native.Read(socket, body, have);
                if (n == 0)
                {
                    throw new EndOfStreamException("the Runtime API closed the connection");
                }
                have += n;
            }
            return body;
        }

        private Answer ReadAnswer()
        {
            var a = new Answer { Status = int.Parse(Line().Substring(9, 3)) };
            for (string l = Line(); l.Length > 0; l = Line())
            {
                int colon = l.IndexOf(':');
                a[l.Substring(0, colon)] = l.Substring(colon + 1).Trim();
            }
            if (a["Content-Length"] != null)
            {
                a.Body = Exactly(int.Parse(a["Content-Length"]));
            }
            else
            {
                a.Body = a["Transfer-Encoding"] == "chunked" ? Chunks() : new byte[0];
            }
            if (a["Connection"] == "close")
            {
                Disconnect();
            }
            return a;
        }

        private byte[] Chunks()
        {
            var all = new MemoryStream();
            while (true)
            {
                int size = Convert.ToInt32(Line().Split(';')[0].Trim(), 16);
                if (size == 0)
                {
                    break;
                }
                all.Write(Exactly(size), 0, size);
                Line();
            }
            while (Line().Length > 0)
            {
                // trailers
            }
            return all.ToArray();
        }
    }
}
