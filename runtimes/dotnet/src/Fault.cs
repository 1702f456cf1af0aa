using System;
using System.Collections.Generic;
using System.Text;

namespace Lambent
{
    /// <summary>An error of the handler's name or shape, under the name that AWS gives to it.</summary>
    internal sealed class LambdaValidationException : Exception
    {
        internal LambdaValidationException(string message) : base(message)
        {
        }
    }

    /// <summary>Writes exceptions as AWS's runtime does: type, message, stack trace and causes.</summary>
    internal static class Fault
    {
        private const int Depth = 8; // of causes
        private const int Longest = 64 * 1024; // of one text, in characters

        internal static string Type(Exception e)
        {
            return e.GetType().Name;
        }

        internal static string Json(Exception e)
        {
            var b = new StringBuilder(1024);
            Append(b, e, 0);
            return b.ToString();
        }

        private static void Append(StringBuilder b, Exception e, int depth)
        {
            b.Append("{\"errorType\":");
            Quote(b, Type(e));
            b.Append(",\"errorMessage\":");
            Quote(b, Message(e));
            List<string> trace = Trace(e);
            if (trace.Count > 0)
            {
                b.Append(",\"stackTrace\":[");
                for (int i = 0; i < trace.Count; i++)
                {
                    b.Append(i == 0 ? "" : ",");
                    Quote(b, trace[i]);
                }
                b.Append(']');
            }
            if (depth < Depth && e.InnerException != null)
            {
                b.Append(",\"cause\":");
                Append(b, e.InnerException, depth + 1);
            }
            if (depth < Depth && e is AggregateException many)
            {
                b.Append(",\"causes\":[");
                for (int i = 0; i < many.InnerExceptions.Count && b.Length < Longest; i++)
                {
                    b.Append(i == 0 ? "" : ",");
                    Append(b, many.InnerExceptions[i], depth + 1);
                }
                b.Append(']');
            }
            b.Append('}');
        }

        // A function's own exception may fail in telling what it is about.
        private static string Message(Exception e)
        {
            try
            {
                return e.Message ?? "";
            }
            catch (Exception other)
            {
                return Type(other);
            }
        }

        /// <summary>The exception as the log shows it.</summary>
        internal static string Text(Exception e)
        {
            try
            {
                return e.ToString();
            }
            catch (Exception)
            {
                return Type(e) + ": " + Message(e);
            }
        }

        /// <summary>The function's part of the stack, without what called it.</summary>
        private static List<string> Trace(Exception e)
        {
            var lines = new List<string>();
            foreach (string line in (e.StackTrace ?? "").Split('\n'))
            {
                string l = line.Trim();
                if (l.Length > 0 && !Ours(l) && lines.Count < 200)
                {
                    lines.Add(l);
                }
            }
            return lines;
        }

        private static bool Ours(string line)
        {
            foreach (string caller in new[] { "Lambent.", "System.RuntimeMethodHandle.", "System.Reflection.", "InvokeStub_" })
            {
                if (line.StartsWith("at " + caller, StringComparison.Ordinal))
                {
                    return true;
                }
            }
            return false;
        }

        /// <summary>Writes a text as JSON, with lone surrogates replaced: they have no UTF-8.</summary>
        internal static void Quote(StringBuilder b, string s)
        {
            b.Append('"');
            for (int i = 0; i < s.Length && i < Longest; i++)
            {
                char c = s[i];
                if (c == '"' || c == '\\')
                {
                    b.Append('\\').Append(c);
                }
                else if (c < ' ')
                {
                    b.Append("\\u").Append(((int)c).ToString("x4"));
                }
                else
                {
                    b.Append(c);
                }
            }
            b.Append('"');
        }
    }
}
