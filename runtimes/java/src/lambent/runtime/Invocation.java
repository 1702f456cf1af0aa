package lambent.runtime;

import com.amazonaws.services.lambda.runtime.Client;
import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.CognitoIdentity;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/** The context of one invocation, from the headers that came with its event. */
final class Invocation implements Context, CognitoIdentity {
    private final Map<String, String> headers;
    private final long deadline;

    Invocation(Map<String, String> headers) {
        this.headers = headers;
        String ms = headers.get("lambda-runtime-deadline-ms");
        deadline = ms == null ? 0 : Long.parseLong(ms);
    }

    @Override
    public String getAwsRequestId() {
        return headers.get("lambda-runtime-aws-request-id");
    }

    @Override
    public String getLogGroupName() {
        return System.getenv("AWS_LAMBDA_LOG_GROUP_NAME");
    }

    @Override
    public String getLogStreamName() {
        return System.getenv("AWS_LAMBDA_LOG_STREAM_NAME");
    }

    @Override
    public String getFunctionName() {
        return System.getenv("AWS_LAMBDA_FUNCTION_NAME");
    }

    @Override
    public String getFunctionVersion() {
        return System.getenv("AWS_LAMBDA_FUNCTION_VERSION");
    }

    @Override
    public String getInvokedFunctionArn() {
        return headers.get("lambda-runtime-invoked-function-arn");
    }

    @Override
    public int getRemainingTimeInMillis() {
        return (int) Math.max(0, Math.min(Integer.MAX_VALUE, deadline - System.currentTimeMillis()));
    }

    @Override
    public int getMemoryLimitInMB() {
        return Integer.parseInt(System.getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
    }

    @Override
    public LambdaLogger getLogger() {
        return Log.LOGGER;
    }

    @Override
    public String getTenantId() {
        return headers.get("lambda-runtime-aws-tenant-id");
    }

    @Override
    public String getXrayTraceId() {
        return headers.get("lambda-runtime-trace-id");
    }

    @Override
    public CognitoIdentity getIdentity() {
        return this; // as on AWS never null: its members are
    }

    @Override
    public String getIdentityId() {
        return text(header("lambda-runtime-cognito-identity"), "cognitoIdentityId");
    }

    @Override
    public String getIdentityPoolId() {
        return text(header("lambda-runtime-cognito-identity"), "cognitoIdentityPoolId");
    }

    @Override
    public ClientContext getClientContext() {
        Map<?, ?> m = header("lambda-runtime-client-context");
        return m == null ? null : new Sent(m);
    }

    private Map<?, ?> header(String name) {
        String value = headers.get(name);
        if (value == null || value.isEmpty()) {
            return null;
        }
        Object v = Json.parse(new String(value.getBytes(StandardCharsets.ISO_8859_1), StandardCharsets.UTF_8));
        return v instanceof Map ? (Map<?, ?>) v : null;
    }

    private static String text(Map<?, ?> m, String name) {
        Object v = m == null ? null : m.get(name);
        return v == null ? null : v.toString();
    }

    /** The client context as the caller sent it. */
    private static final class Sent implements ClientContext, Client {
        private final Map<?, ?> all;
        private final Map<?, ?> client;

        Sent(Map<?, ?> all) {
            this.all = all;
            Object c = all.get("client");
            client = c instanceof Map ? (Map<?, ?>) c : null;
        }

        @Override
        public Client getClient() {
            return client == null ? null : this;
        }

        @Override
        public Map<String, String> getCustom() {
            return strings("custom");
        }

        @Override
        public Map<String, String> getEnvironment() {
            return strings("env");
        }

        private Map<String, String> strings(String name) {
            Object v = all.get(name);
            if (!(v instanceof Map)) {
                return null;
            }
            Map<String, String> out = new LinkedHashMap<>();
            for (Map.Entry<?, ?> e : ((Map<?, ?>) v).entrySet()) {
                Object value = e.getValue();
                out.put(e.getKey().toString(), value instanceof Map || value instanceof java.util.List
                        ? Writer.write(value) : value == null ? null : value.toString());
            }
            return out;
        }

        @Override
        public String getInstallationId() {
            return text(client, "installation_id");
        }

        @Override
        public String getAppTitle() {
            return text(client, "app_title");
        }

        @Override
        public String getAppVersionName() {
            return text(client, "app_version_name");
        }

        @Override
        public String getAppVersionCode() {
            return text(client, "app_version_code");
        }

        @Override
        public String getAppPackageName() {
            return text(client, "app_package_name");
        }
    }
}
