package lambent.runtime;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** An error in the shape that AWS shows: {errorMessage, errorType, stackTrace, cause}. */
final class Fault extends Exception {
    private static final long serialVersionUID = 1L;

    /** Causes are shown this deep, so that a chain without end has one. */
    private static final int MAX_CAUSES = 20;

    final String type;
    final Throwable thrown;

    /** A fault in the handler's set-up: a message and a type, without a stack. */
    Fault(String message, String type) {
        this(message, type, null);
    }

    /** What the function threw. */
    Fault(Throwable thrown) {
        this(thrown.getMessage(), thrown.getClass().getName(), thrown);
    }

    /** A message of ours for something that was thrown. */
    Fault(String message, String type, Throwable thrown) {
        super(message, null, false, false);
        this.type = type;
        this.thrown = thrown;
    }

    String json() {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("errorMessage", getMessage());
        out.put("errorType", type);
        if (thrown != null) {
            boolean own = thrown.getClass().getName().equals(type);
            out.put("stackTrace", trace(own ? thrown : null));
            Throwable cause = own ? thrown.getCause() : thrown;
            if (cause != null) {
                out.put("cause", describe(cause, 1));
            }
        }
        return Writer.write(out);
    }

    private static Map<String, Object> describe(Throwable t, int depth) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("errorMessage", t.getMessage());
        out.put("errorType", t.getClass().getName());
        out.put("stackTrace", trace(t));
        if (t.getCause() != null && depth < MAX_CAUSES) {
            out.put("cause", describe(t.getCause(), depth + 1));
        }
        return out;
    }

    /** The frames of the function's own code: what called it is ours. */
    private static List<String> trace(Throwable t) {
        List<String> out = new ArrayList<>();
        if (t == null) {
            return out;
        }
        StackTraceElement[] frames = t.getStackTrace();
        int end = 0;
        while (end < frames.length && !frames[end].getClassName().startsWith("lambent.runtime.")) {
            end++;
        }
        if (end < frames.length) { // the calls by reflection in between
            while (end > 0 && reflection(frames[end - 1].getClassName())) {
                end--;
            }
        }
        for (int i = 0; i < end; i++) {
            out.add(frames[i].toString());
        }
        return out;
    }

    private static boolean reflection(String name) {
        return name.startsWith("java.lang.reflect.") || name.startsWith("jdk.internal.reflect.")
                || name.startsWith("java.lang.invoke.");
    }

    /** What the log says of it. */
    String text() {
        if (thrown == null) {
            return getMessage() + ": " + type;
        }
        StringWriter w = new StringWriter();
        thrown.printStackTrace(new PrintWriter(w));
        return getMessage() + ": " + type + "\n" + w;
    }
}
