using System;
using System.Collections;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Threading;
using Amazon.Lambda.Core;

namespace Fn
{
    public class Custom : Exception
    {
        public Custom(string message) : base(message, new InvalidOperationException("the cause"))
        {
        }
    }

    // A function that does what its event says: {"do": "echo", ...}. The verbs are those of the
    // other languages beside this folder.
    public class Main
    {
        private static int count;
        private static readonly List<byte[]> kept = new List<byte[]>();

        [DllImport("libc")]
        private static extern uint getuid();

        public Main()
        {
            string wait = Environment.GetEnvironmentVariable("INIT_SLEEP");
            if (wait != null)
            {
                Thread.Sleep(int.Parse(wait));
            }
        }

        public object Handle(JsonElement e, ILambdaContext context)
        {
            JsonElement verb;
            if (e.ValueKind != JsonValueKind.Object || !e.TryGetProperty("do", out verb))
            {
                return e;
            }
            switch (verb.GetString())
            {
                case "echo":
                    return e.GetProperty("value");
                case "error":
                    throw new Custom(Text(e, "message", "went wrong"));
                case "exit":
                    Environment.Exit(Number(e, "code", 1));
                    return null;
                case "crash":
                    Environment.FailFast("crash");
                    return null;
                case "sleep":
                    count++;
                    Thread.Sleep(Number(e, "seconds", 3600) * 1000);
                    return "woke";
                case "oom":
                    while (true)
                    {
                        kept.Add(new byte[8 << 20]);
                        Array.Fill(kept[kept.Count - 1], (byte)1);
                    }
                case "big":
                    return new string('x', Number(e, "bytes", 6 << 20));
                case "size":
                    return Text(e, "value", "").Length;
                case "count":
                    return new { count = ++count, pid = Process.GetCurrentProcess().Id };
                case "env":
                    return Environment.GetEnvironmentVariables();
                case "context":
                    return Context(context);
                case "where":
                    return new
                    {
                        cwd = Directory.GetCurrentDirectory(), uid = getuid(), user = Environment.UserName,
                        version = Environment.Version.ToString(), zone = TimeZoneInfo.Local.Id,
                    };
                case "files":
                    return Files(e);
                case "log":
                    return LogMuch(Number(e, "bytes", 100 << 20));
                case "say":
                    return Say(context, Text(e, "value", "hello"));
                case "unserialisable":
                    var self = new List<object>();
                    self.Add(self);
                    return self;
                case "run":
                    return Run(e.GetProperty("command"));
            }
            throw new Custom("no verb " + verb.GetString());
        }

        private static string Text(JsonElement e, string name, string otherwise)
        {
            JsonElement v;
            return e.TryGetProperty(name, out v) ? v.GetString() : otherwise;
        }

        private static int Number(JsonElement e, string name, int otherwise)
        {
            JsonElement v;
            return e.TryGetProperty(name, out v) ? v.GetInt32() : otherwise;
        }

        private static object Context(ILambdaContext c)
        {
            return new Dictionary<string, object>
            {
                { "aws_request_id", c.AwsRequestId }, { "function_name", c.FunctionName }, { "function_version", c.FunctionVersion },
                { "invoked_function_arn", c.InvokedFunctionArn }, { "memory_limit_in_mb", c.MemoryLimitInMB },
                { "log_group_name", c.LogGroupName }, { "log_stream_name", c.LogStreamName },
                { "remaining", c.RemainingTime.TotalMilliseconds }, { "identity", c.Identity == null ? null : c.Identity.IdentityId },
                { "trace", Environment.GetEnvironmentVariable("_X_AMZN_TRACE_ID") }, { "future", c.OfTheFuture },
                { "client_context", c.ClientContext == null ? null : new { custom = c.ClientContext.Custom, title = c.ClientContext.Client.AppTitle } },
            };
        }

        private static object Files(JsonElement e)
        {
            string path = Text(e, "path", ""), write = Text(e, "write", null);
            if (write != null)
            {
                File.WriteAllText(path, write);
                return write.Length;
            }
            if (!Directory.Exists(path))
            {
                return File.ReadAllText(path);
            }
            var names = new List<string>();
            foreach (string entry in Directory.GetFileSystemEntries(path))
            {
                names.Add(Path.GetFileName(entry));
            }
            names.Sort(StringComparer.Ordinal);
            return names;
        }

        private static string LogMuch(int bytes)
        {
            string line = new string('y', 99);
            for (; bytes > 0; bytes -= 100)
            {
                Console.WriteLine(line);
            }
            return "logged";
        }

        private static string Say(ILambdaContext context, string text)
        {
            Console.WriteLine("print " + text);
            Console.Error.WriteLine("stderr " + text);
            Console.Write("in ");
            Console.Write("parts " + text + "\n");
            Console.WriteLine("two\nlines");
            context.Logger.LogLine("log " + text);
            context.Logger.LogDebug("debug " + text);
            context.Logger.Log(LogLevel.Critical, "critical " + text);
            context.Logger.LogWarning("warning {text} of {size:000}", text, 7);
            context.Logger.LogError(new Custom("odd"), "error " + text);
            return "said";
        }

        private static string Run(JsonElement command)
        {
            var start = new ProcessStartInfo { RedirectStandardOutput = true };
            foreach (JsonElement word in command.EnumerateArray())
            {
                if (start.FileName.Length == 0)
                {
                    start.FileName = word.GetString();
                }
                else
                {
                    start.ArgumentList.Add(word.GetString());
                }
            }
            using (Process p = Process.Start(start))
            {
                string all = p.StandardOutput.ReadToEnd();
                p.WaitForExit();
                return all;
            }
        }
    }
}
