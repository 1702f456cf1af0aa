import com.amazonaws.services.lambda.runtime.Context;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The test function of the Java client: it does what its event says. */
public class Handler {
    static {
        if ("1".equals(System.getenv("INIT_FAIL"))) {
            throw new IllegalStateException("init failed as asked");
        }
    }

    public Object handle(Map<String, Object> event, Context context) throws InterruptedException {
        switch (String.valueOf(event.getOrDefault("do", "echo"))) {
            case "error":
                throw new IllegalArgumentException("boom");
            case "exit":
                Runtime.getRuntime().halt(3);
                break;
            case "sleep":
                Thread.sleep(number(event, "ms"));
                break;
            case "oom":
                exhaust();
                break;
            case "big":
                return "x".repeat(number(event, "size") - 2);
            case "context":
                return describe(context);
            default:
                break;
        }
        return event;
    }

    private static int number(Map<String, Object> event, String name) {
        return ((Number) event.get(name)).intValue();
    }

    /** Takes memory until the function is ended. */
    private static void exhaust() {
        List<byte[]> held = new ArrayList<>();
        while (true) {
            held.add(new byte[8 << 20]);
        }
    }

    private static Map<String, Object> describe(Context context) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("requestId", context.getAwsRequestId());
        out.put("functionArn", context.getInvokedFunctionArn());
        out.put("remainingMs", context.getRemainingTimeInMillis());
        String trace = System.getProperty("com.amazonaws.xray.traceHeader");
        out.put("traceId", trace != null ? trace : System.getenv("_X_AMZN_TRACE_ID"));
        if (context.getClientContext() != null) {
            out.put("clientContext", Map.of("custom", context.getClientContext().getCustom()));
        }
        return out;
    }
}
