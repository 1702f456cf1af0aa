using System;
using System.IO;
using System.Text;

namespace Lambent
{
    /// <summary>lambent's .NET runtime: runs a handler on the AWS Lambda Runtime API.</summary>
    internal static class Program
    {
        private static int Main()
        {
            try
            {
                Control control = Control.Open();
                Log.Install();
                if (Environment.GetEnvironmentVariable("LAMBENT_BLANK") != null && !Blank.Become(control))
                {
                    return 0;
                }
                Control.Tidy();
                Log.Configure();
                var client = new Client(Environment.GetEnvironmentVariable("AWS_LAMBDA_RUNTIME_API") ?? "");
                if (control != null)
                {
                    control.Turn();
                }
                Handler handler = Load(client);
                if (control != null)
                {
                    control.Close();
                }
                while (handler != null)
                {
                    Answer(client, handler, client.Next());
                }
                return 1;
            }
            catch (IOException e)
            {
                byte[] text = Encoding.UTF8.GetBytes("lambent: " + e.Message + "\n");
                Native.Write(2, text, text.Length);
                return 1;
            }
        }

        /// <summary>Where the function's files are.</summary>
        internal static string Folder()
        {
            return Environment.GetEnvironmentVariable("LAMBDA_TASK_ROOT") ?? "/var/task";
        }

        /// <summary>The function's handler; null after an error, which is then reported.</summary>
        private static Handler Load(Client client)
        {
            try
            {
                return Handler.Load(Environment.GetEnvironmentVariable("_HANDLER"), Folder());
            }
            catch (Exception e)
            {
                Log.FlushAll();
                Log.Failure(e);
                client.Post("/init/error", "Content-Type: application/json\r\n"
                    + Client.Header("Lambda-Runtime-Function-Error-Type", Fault.Type(e)), Encoding.UTF8.GetBytes(Fault.Json(e)));
                return null;
            }
        }

        /// <summary>Answers one event.</summary>
        internal static void Answer(Client client, Handler handler, Client.Answer next)
        {
            var invocation = new Invocation(next);
            Log.RequestId = invocation.RequestId;
            Environment.SetEnvironmentVariable("_X_AMZN_TRACE_ID", next["Lambda-Runtime-Trace-Id"]);
            string tag = next["Lambda-Runtime-Invocation-Id"];
            string headers = "Content-Type: application/json\r\n" + (tag == null ? "" : Client.Header("Lambda-Runtime-Invocation-Id", tag));
            byte[] answer = null;
            Exception failure = null;
            try
            {
                answer = handler.Handle(next.Body, invocation);
            }
            catch (Exception e)
            {
                failure = e;
            }
            Log.FlushAll();
            string path = "/invocation/" + invocation.RequestId;
            if (failure == null)
            {
                client.Post(path + "/response", headers, answer);
                return;
            }
            Log.Failure(failure);
            client.Post(path + "/error", headers + Client.Header("Lambda-Runtime-Function-Error-Type", Fault.Type(failure)),
                Encoding.UTF8.GetBytes(Fault.Json(failure)));
            if (failure is OutOfMemoryException)
            {
                Environment.Exit(1); // what other threads have lost by it is not known
            }
        }
    }
}
