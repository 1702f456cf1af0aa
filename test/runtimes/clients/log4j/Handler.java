import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/** Logs its event by log4j, and answers with the request's id. */
public final class Handler implements RequestHandler<String, String> {
    private static final Logger LOG = LogManager.getLogger(Handler.class);

    @Override
    public String handleRequest(String event, Context context) {
        LOG.warn("said {}", event);
        return context.getAwsRequestId();
    }
}
