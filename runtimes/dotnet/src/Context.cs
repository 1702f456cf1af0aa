using System;
using System.Collections.Generic;
using System.Reflection;
using System.Text.Json;

namespace Lambent
{
    /// <summary>
    /// Implements an interface of the function's own Amazon.Lambda.Core, whatever its version, by
    /// the names of its members: a property has its value, or the default of its type.
    /// </summary>
    public class Facade : DispatchProxy
    {
        private static readonly MethodInfo create = typeof(DispatchProxy).GetMethod("Create", new Type[0]);
        private Func<MethodInfo, object[], object> answer;

        internal static object Of(Type face, Func<MethodInfo, object[], object> answer)
        {
            var facade = (Facade)create.MakeGenericMethod(face, typeof(Facade)).Invoke(null, null);
            facade.answer = answer;
            return facade;
        }

        internal static object Of(Type face, Func<string, Type, object> property)
        {
            return Of(face, delegate(MethodInfo m, object[] args)
            {
                string name = m.Name.StartsWith("get_", StringComparison.Ordinal) ? m.Name.Substring(4) : m.Name;
                return property(name, m.ReturnType);
            });
        }

        protected override object Invoke(MethodInfo method, object[] args)
        {
            object value = answer(method, args);
            Type type = method.ReturnType;
            return value == null && type.IsValueType && type != typeof(void) ? Activator.CreateInstance(type) : value;
        }
    }

    /// <summary>What a function can ask about its invocation.</summary>
    internal sealed class Invocation
    {
        private readonly Client.Answer next;
        private readonly DateTime deadline;

        internal Invocation(Client.Answer next)
        {
            this.next = next;
            long.TryParse(next["Lambda-Runtime-Deadline-Ms"], out long ms);
            deadline = new DateTime(1970, 1, 1, 0, 0, 0, DateTimeKind.Utc).AddMilliseconds(ms);
        }

        internal string RequestId
        {
            get { return next["Lambda-Runtime-Aws-Request-Id"] ?? ""; }
        }

        internal object Context(Type face)
        {
            return Facade.Of(face, Property);
        }

        private object Property(string name, Type type)
        {
            switch (name)
            {
                case "AwsRequestId":
                    return RequestId;
                case "InvokedFunctionArn":
                    return next["Lambda-Runtime-Invoked-Function-Arn"];
                case "TraceId":
                    return next["Lambda-Runtime-Trace-Id"];
                case "TenantId":
                    return next["Lambda-Runtime-Aws-Tenant-Id"];
                case "FunctionName":
                    return Environment.GetEnvironmentVariable("AWS_LAMBDA_FUNCTION_NAME");
                case "FunctionVersion":
                    return Environment.GetEnvironmentVariable("AWS_LAMBDA_FUNCTION_VERSION");
                case "LogGroupName":
                    return Environment.GetEnvironmentVariable("AWS_LAMBDA_LOG_GROUP_NAME");
                case "LogStreamName":
                    return Environment.GetEnvironmentVariable("AWS_LAMBDA_LOG_STREAM_NAME");
                case "MemoryLimitInMB":
                    int.TryParse(Environment.GetEnvironmentVariable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"), out int size);
                    return size;
                case "RemainingTime":
                    return deadline - DateTime.UtcNow;
                case "Logger":
                    return Facade.Of(type, LogCall);
                case "Identity":
                    return Described(type, next["Lambda-Runtime-Cognito-Identity"], Identity);
                case "ClientContext":
                    return Described(type, next["Lambda-Runtime-Client-Context"], ClientPart);
            }
            return null;
        }

        /// <summary>An object made of a header's JSON, or null where there is none.</summary>
        private static object Described(Type face, string json, Func<JsonElement, string, Type, object> part)
        {
            if (string.IsNullOrEmpty(json))
            {
                return null;
            }
            // The client's bytes come as they are; a header is Latin-1 to the reader.
            json = System.Text.Encoding.UTF8.GetString(System.Text.Encoding.GetEncoding("ISO-8859-1").GetBytes(json));
            JsonElement root;
            using (JsonDocument d = JsonDocument.Parse(json))
            {
                root = d.RootElement.Clone();
            }
            return Facade.Of(face, delegate(string name, Type type) { return part(root, name, type); });
        }

        private static object Identity(JsonElement root, string name, Type type)
        {
            return Text(root, name == "IdentityId" ? "cognitoIdentityId" : "cognitoIdentityPoolId");
        }

        private static object ClientPart(JsonElement root, string name, Type type)
        {
            switch (name)
            {
                case "Custom":
                    return Texts(root, "custom");
                case "Environment":
                    return Texts(root, "env");
                case "Client":
                    return !Member(root, "client", out JsonElement client) ? null
                        : Facade.Of(type, delegate(string n, Type t) { return Text(client, Snake(n)); });
            }
            return null;
        }

        /// <summary>InstallationId is installation_id in JSON.</summary>
        private static string Snake(string name)
        {
            var b = new System.Text.StringBuilder();
            foreach (char c in name)
            {
                b.Append(char.IsUpper(c) && b.Length > 0 ? "_" : "").Append(char.ToLowerInvariant(c));
            }
            return b.ToString();
        }

        private static bool Member(JsonElement of, string name, out JsonElement value)
        {
            value = default(JsonElement);
            return of.ValueKind == JsonValueKind.Object && of.TryGetProperty(name, out value);
        }

        private static string Text(JsonElement of, string name)
        {
            return !Member(of, name, out JsonElement v) || v.ValueKind == JsonValueKind.Null ? null : v.ToString();
        }

        private static Dictionary<string, string> Texts(JsonElement of, string name)
        {
            var all = new Dictionary<string, string>();
            if (Member(of, name, out JsonElement map) && map.ValueKind == JsonValueKind.Object)
            {
                foreach (JsonProperty p in map.EnumerateObject())
                {
                    all[p.Name] = p.Value.ToString();
                }
            }
            return all;
        }

        /// <summary>
        /// Any method of the logger: Log("text"), Log("Error", "text", args...), LogError(exception,
        /// "text", args...) and so on. The level is in the method's name, or what comes first.
        /// </summary>
        private static object LogCall(MethodInfo method, object[] args)
        {
            string level = method.Name.StartsWith("Log", StringComparison.Ordinal) ? method.Name.Substring(3) : "";
            var texts = new List<string>();
            object[] values = null;
            Exception e = null;
            foreach (object a in args)
            {
                if (a is string)
                {
                    texts.Add((string)a);
                }
                else if (a is Enum)
                {
                    level = a.ToString();
                }
                values = a as object[] ?? values;
                e = a as Exception ?? e;
            }
            if (texts.Count > 1)
            {
                level = texts[0];
            }
            string text = texts.Count == 0 ? "" : texts[texts.Count - 1];
            Log.Record(level, values == null || values.Length == 0 ? text : Filled(text, values), e);
            return null;
        }

        /// <summary>Puts values in the places of a template, {name} or {0:format}, in their order.</summary>
        private static string Filled(string template, object[] values)
        {
            var b = new System.Text.StringBuilder();
            int next = 0;
            for (int at = 0; at < template.Length;)
            {
                int open = template.IndexOf('{', at);
                int close = open < 0 ? -1 : template.IndexOf('}', open);
                if (close < 0 || next == values.Length)
                {
                    b.Append(template, at, template.Length - at);
                    break;
                }
                b.Append(template, at, open - at);
                int colon = template.IndexOf(':', open, close - open);
                string format = colon < 0 ? "{0}" : "{0:" + template.Substring(colon + 1, close - colon - 1) + "}";
                b.AppendFormat(System.Globalization.CultureInfo.InvariantCulture, format, values[next++]);
                at = close + 1;
            }
            return b.ToString();
        }
    }
}
