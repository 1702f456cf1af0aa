package lambent.runtime;

import java.io.FileDescriptor;
import java.lang.reflect.AccessibleObject;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import sun.misc.Unsafe;

/**
 * The few private parts of the JDK that have no public door. They are reached without opening
 * packages on the command line: that would open them to the function as well, and cost every start
 * the JDK's archived module graph.
 */
final class Internals {
    private static final Unsafe UNSAFE = unsafe();

    private Internals() {}

    private static Unsafe unsafe() {
        try {
            Field f = Unsafe.class.getDeclaredField("theUnsafe");
            f.setAccessible(true);
            return (Unsafe) f.get(null);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    /** A descriptor that the process was started with. */
    static FileDescriptor descriptor(int n) throws ReflectiveOperationException {
        FileDescriptor fd = new FileDescriptor();
        UNSAFE.putInt(fd, UNSAFE.objectFieldOffset(FileDescriptor.class.getDeclaredField("fd")), n);
        return fd;
    }

    /** Replaces what System.getenv and new processes see. */
    @SuppressWarnings("unchecked")
    static void environment(Map<String, String> env) throws ReflectiveOperationException {
        Field f = Class.forName("java.lang.ProcessEnvironment").getDeclaredField("theUnmodifiableEnvironment");
        Object shown = UNSAFE.getObject(UNSAFE.staticFieldBase(f), UNSAFE.staticFieldOffset(f));
        Field inner = Collections.unmodifiableMap(new HashMap<>()).getClass().getDeclaredField("m");
        // The map beneath is the one that ProcessBuilder copies; its put takes strings.
        Map<String, String> own = (Map<String, String>) UNSAFE.getObject(shown, UNSAFE.objectFieldOffset(inner));
        own.clear();
        own.putAll(env);
    }

    /** Replaces the class path that the application class loader searches. */
    static void classPath(String path) throws ReflectiveOperationException {
        ClassLoader app = ClassLoader.getSystemClassLoader();
        Field ucp = app.getClass().getSuperclass().getDeclaredField("ucp");
        Constructor<?> make = ucp.getType().getDeclaredConstructor(String.class, boolean.class);
        UNSAFE.putBoolean(make, UNSAFE.objectFieldOffset(Mirror.class.getDeclaredField("override")), true);
        UNSAFE.putObjectVolatile(app, UNSAFE.objectFieldOffset(ucp), make.newInstance(path, false));
    }

    /** Has its field where {@link AccessibleObject}, which hides its own, has it. */
    @SuppressWarnings("unused")
    private static final class Mirror {
        boolean override;
        volatile Object accessCheckCache;
    }
}
