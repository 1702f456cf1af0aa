using System;
using System.IO;
using System.Text;

namespace Lambent
{
    /// <summary>
    /// The function's log: what it prints, as records on standard output. A record is one line,
    /// with carriage returns for the breaks in it, after time, request id and level, as AWS's
    /// runtimes since .NET 6 have it, or a JSON object.
    /// </summary>
    internal sealed class Log : TextWriter
    {
        private const int Longest = 256 * 1024; // of a record that nothing ends, in characters
        private static readonly string[] Names = { "Trace", "Debug", "Information", "Warning", "Error", "Critical" };
        private static readonly string[] Labels = { "trce", "dbug", "info", "warn", "fail", "crit" };
        private static readonly string[] Filters = { "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL" };
        private const int Information = 2, Error = 4;

        private static readonly object mutex = new object(); // records come out whole
        private static volatile string requestId = "";
        private static bool json;
        private static bool plain;
        private static int threshold;
        private static int target = 1;

        private readonly int level;
        private readonly StringBuilder pending = new StringBuilder(); // the console's wrapper has a lock around it

        private Log(int level)
        {
            this.level = level;
        }

        internal static string RequestId
        {
            set { requestId = value; }
        }

        /// <summary>Where records go.</summary>
        internal static int Target
        {
            set { target = value; }
        }

        /// <summary>Takes the console's place.</summary>
        internal static void Install()
        {
            Console.SetOut(new Log(Information));
            Console.SetError(new Log(Error));
            AppDomain.CurrentDomain.ProcessExit += delegate { FlushAll(); };
        }

        /// <summary>Takes the format from the environment, which a blank gets late.</summary>
        internal static void Configure()
        {
            json = Environment.GetEnvironmentVariable("AWS_LAMBDA_LOG_FORMAT") == "JSON";
            plain = Environment.GetEnvironmentVariable("AWS_LAMBDA_HANDLER_LOG_FORMAT") == "Unformatted";
            threshold = json ? Math.Max(0, Array.IndexOf(Filters, Environment.GetEnvironmentVariable("AWS_LAMBDA_LOG_LEVEL"))) : 0;
        }

        internal static void FlushAll()
        {
            Console.Out.Flush();
            Console.Error.Flush();
        }

        public override Encoding Encoding
        {
            get { return Encoding.UTF8; }
        }

        public override void Write(char c)
        {
            if (c == '\n')
            {
                Emit();
                return;
            }
            pending.Append(c);
            Bound();
        }

        public override void Write(string s)
        {
            if (string.IsNullOrEmpty(s))
            {
                return;
            }
            bool ends = s[s.Length - 1] == '\n';
            pending.Append(s, 0, ends ? s.Length - 1 : s.Length);
            if (ends)
            {
                Emit();
            }
            Bound();
        }

        public override void Write(char[] buffer, int index, int count)
        {
            Write(new string(buffer, index, count));
        }

        public override void WriteLine()
        {
            Emit();
        }

        public override void WriteLine(string s)
        {
            pending.Append(s);
            Emit();
        }

        public override void Flush()
        {
            if (pending.Length > 0)
            {
                Emit();
            }
        }

        private void Bound()
        {
            if (pending.Length >= Longest)
            {
                Emit();
            }
        }

        private void Emit()
        {
            string text = pending.ToString();
            pending.Clear();
            Record(level, text, null);
        }

        /// <summary>Logs at a level that the context's logger names, in full or by number.</summary>
        internal static void Record(string name, string text, Exception e)
        {
            int at = Array.IndexOf(Names, name);
            Record(at < 0 ? Information : at, text, e);
        }

        internal static void Failure(Exception e)
        {
            Record(Error, json ? null : Fault.Text(e), json ? e : null);
        }

        private static void Record(int level, string text, Exception e)
        {
            if (level < threshold)
            {
                return;
            }
            if (json)
            {
                text = Structured(level, text, e);
            }
            else
            {
                text = e == null ? text : string.IsNullOrEmpty(text) ? Fault.Text(e) : text + "\n" + Fault.Text(e);
                text = plain ? text : Time() + "\t" + requestId + "\t" + Labels[level] + "\t" + text;
            }
            byte[] line = Encoding.UTF8.GetBytes(text.Replace("\r\n", "\n").Replace('\n', '\r') + "\n");
            lock (mutex)
            {
                try
                {
                    Native.Write(target, line, line.Length);
                }
                catch (IOException)
                {
                    // there is no other place to say it
                }
            }
        }

        private static string Time()
        {
            return DateTime.UtcNow.ToString("yyyy-MM-ddTHH:mm:ss.fffZ");
        }

        private static string Structured(int level, string text, Exception e)
        {
            var b = new StringBuilder(200);
            b.Append("{\"timestamp\":\"").Append(Time()).Append("\",\"level\":\"").Append(Names[level]).Append('"');
            if (requestId.Length > 0)
            {
                b.Append(",\"requestId\":");
                Fault.Quote(b, requestId);
            }
            b.Append(",\"message\":");
            Fault.Quote(b, text ?? Fault.Text(e));
            if (e != null)
            {
                // The error object's own members are those that AWS adds here.
                string members = Fault.Json(e);
                b.Append(',').Append(members, 1, members.Length - 2);
            }
            return b.Append('}').ToString();
        }
    }
}
