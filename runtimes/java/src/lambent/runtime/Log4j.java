package lambent.runtime;

import java.lang.reflect.Method;

/**
 * Tells log4j of the request that is being answered, where its patterns ask for %X{AWSRequestId}
 * (aws-lambda-java-log4j2's and -log4j's own documentation).
 */
final class Log4j {
    /** The context of each line: that of version 1, and that of 2. */
    private static final Method[] CONTEXTS = {
        put("org.apache.log4j.MDC", Object.class), put("org.apache.logging.log4j.ThreadContext", String.class)
    };

    private Log4j() {}

    private static Method put(String name, Class<?> value) {
        try {
            return Class.forName(name, true, Thread.currentThread().getContextClassLoader()).getMethod("put", String.class, value);
        } catch (ReflectiveOperationException | LinkageError e) {
            return null; // it is not the version that the function has
        }
    }

    static void tag(String id) {
        for (Method put : CONTEXTS) {
            try {
                if (put != null) {
                    put.invoke(null, "AWSRequestId", id);
                }
            } catch (ReflectiveOperationException e) {
                System.err.println("log4j is not told of the request's id: " + e.getCause());
            }
        }
    }
}
