package lambent.runtime;

import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.BufferedOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Locale;

/** The function's log: lines on standard output, as text or JSON. */
public final class Log implements LambdaLogger {
    public static final Log LOGGER = new Log();

    static volatile String requestId;

    private volatile boolean json;
    private volatile LogLevel threshold = LogLevel.UNDEFINED;

    private Log() {}

    /** Takes the format from the environment, which a blank gets late. */
    void configure() {
        json = "json".equalsIgnoreCase(System.getenv("AWS_LAMBDA_LOG_FORMAT"));
        threshold = level(System.getenv("AWS_LAMBDA_LOG_LEVEL"));
    }

    private LogLevel level(String name) {
        if (!json || name == null) {
            return LogLevel.UNDEFINED;
        }
        try {
            return LogLevel.valueOf(name.toUpperCase(Locale.ROOT));
        } catch (IllegalArgumentException e) {
            return LogLevel.UNDEFINED;
        }
    }

    /** Replaces the standard streams: UTF-8 whatever the locale, flushed with every line. */
    static void install() {
        System.setOut(stream(FileDescriptor.out));
        System.setErr(stream(FileDescriptor.err));
    }

    private static PrintStream stream(FileDescriptor fd) {
        return new PrintStream(new BufferedOutputStream(new FileOutputStream(fd), 8192), true, StandardCharsets.UTF_8);
    }

    @Override
    public void log(String message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(byte[] message) {
        log(message, LogLevel.UNDEFINED);
    }

    /** Who logs bytes has formatted them, as aws-lambda-java-log4j2 does: they stay as they are. */
    @Override
    public void log(byte[] message, LogLevel level) {
        if (shown(level)) {
            line(message == null ? "null" : new String(message, StandardCharsets.UTF_8));
        }
    }

    @Override
    public void log(String message, LogLevel level) {
        if (shown(level)) {
            String text = String.valueOf(message);
            line(json ? format(text, level) : level == LogLevel.UNDEFINED ? text : "[" + level + "] " + text);
        }
    }

    /** An error of the function's, which has its own form as text. */
    void error(String message) {
        log(message, json ? LogLevel.ERROR : LogLevel.UNDEFINED);
    }

    private boolean shown(LogLevel level) {
        return level == LogLevel.UNDEFINED || level.compareTo(threshold) >= 0;
    }

    /** One call is one event: the log is collected by lines. */
    private static void line(String text) {
        if (text.endsWith("\n")) {
            text = text.substring(0, text.length() - 1);
        }
        System.out.print(text.replace('\n', '\r') + "\n");
        System.out.flush();
    }

    private static String format(String message, LogLevel level) {
        StringBuilder b = new StringBuilder(160);
        b.append("{\"timestamp\":\"").append(java.time.Instant.now().truncatedTo(java.time.temporal.ChronoUnit.MILLIS)).append("\"");
        if (level != LogLevel.UNDEFINED) {
            b.append(",\"level\":\"").append(level).append('"');
        }
        b.append(",\"message\":");
        Json.quote(b, message);
        if (requestId != null) {
            b.append(",\"AWSRequestId\":");
            Json.quote(b, requestId);
        }
        return b.append('}').toString();
    }
}
