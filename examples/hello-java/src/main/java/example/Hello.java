package example;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Map;

/** Answers with a greeting and with where it ran. */
public class Hello implements RequestHandler<Map<String, String>, Map<String, String>> {
    @Override
    public Map<String, String> handleRequest(Map<String, String> event, Context context) {
        return Map.of(
                "message", "Hello, " + event.getOrDefault("name", "stranger") + "!",
                "java", System.getProperty("java.version"),
                "request", context.getAwsRequestId());
    }
}
