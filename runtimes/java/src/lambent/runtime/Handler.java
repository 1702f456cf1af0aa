package lambent.runtime;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.nio.charset.StandardCharsets;

/** The function's handler, whichever of its forms it has: bytes in, bytes out. */
abstract class Handler {
    abstract byte[] handle(byte[] event, Context context) throws Throwable;

    /** Finds "pkg.Class" or "pkg.Class::method". */
    static Handler load(String name, ClassLoader loader) throws Fault {
        int colons = name.indexOf("::");
        String className = colons < 0 ? name : name.substring(0, colons);
        String method = colons < 0 ? "handleRequest" : name.substring(colons + 2);
        if (className.isEmpty() || method.isEmpty()) {
            throw new Fault(name + " is not a valid handler name", "java.lang.IllegalArgumentException");
        }
        Class<?> c;
        try {
            c = Class.forName(className, true, loader);
        } catch (ClassNotFoundException e) {
            throw new Fault("Class not found: " + className, "java.lang.ClassNotFoundException");
        } catch (ExceptionInInitializerError e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            throw new Fault("Error loading class " + className + (cause.getMessage() == null ? "" : ": " + cause.getMessage()),
                    e.getClass().getName(), cause);
        } catch (LinkageError e) {
            throw new Fault("Error loading class " + className + ": " + e.getMessage(), e.getClass().getName(), e);
        }
        if (method.equals("handleRequest") && RequestStreamHandler.class.isAssignableFrom(c)) {
            return new OfStreams((RequestStreamHandler) make(c));
        }
        Method m = find(c, method);
        if (m == null) {
            throw new Fault("No public method named " + method + " with appropriate method signature found on class "
                    + className, "java.lang.NoSuchMethodException");
        }
        Object target = Modifier.isStatic(m.getModifiers()) ? null : make(c);
        if (target instanceof RequestHandler && method.equals("handleRequest")) {
            return new OfPojos((RequestHandler<?, ?>) target, eventType(c, m));
        }
        return new OfMethod(m, target);
    }

    private static Object make(Class<?> c) throws Fault {
        try {
            return c.getConstructor().newInstance();
        } catch (NoSuchMethodException e) {
            throw new Fault("Class " + c.getName() + " has no public zero-argument constructor",
                    "java.lang.NoSuchMethodException", e);
        } catch (InvocationTargetException e) {
            throw new Fault(e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new Fault("Class " + c.getName() + " cannot be instantiated", e.getClass().getName(), e);
        }
    }

    /**
     * Picks among methods of one name: one whose last argument is a Context wins, then the one with
     * more arguments ("Define Lambda function handler in Java", AWS Lambda developer guide).
     */
    private static Method find(Class<?> c, String name) {
        Method best = null;
        for (Method m : c.getMethods()) {
            if (!m.getName().equals(name) || m.isBridge() || m.isSynthetic() || !usable(m)) {
                continue;
            }
            if (best == null || rank(m) > rank(best)) {
                best = m;
            }
        }
        if (best == null) { // lambdas and generic base classes have only the bridge
            for (Method m : c.getMethods()) {
                if (m.getName().equals(name) && usable(m)) {
                    best = m;
                }
            }
        }
        return best;
    }

    private static boolean usable(Method m) {
        Class<?>[] p = m.getParameterTypes();
        switch (p.length) {
            case 0:
            case 1:
                return true;
            case 2:
                return p[1] == Context.class || p[0] == InputStream.class && p[1] == OutputStream.class;
            case 3:
                return p[0] == InputStream.class && p[1] == OutputStream.class && p[2] == Context.class;
            default:
                return false;
        }
    }

    private static int rank(Method m) {
        Class<?>[] p = m.getParameterTypes();
        return p.length + (p.length > 0 && p[p.length - 1] == Context.class ? 10 : 0);
    }

    /** What the I of RequestHandler is bound to; the method's own parameter where that is open. */
    private static Type eventType(Class<?> c, Method m) {
        Type t = Generics.bind(c, RequestHandler.class.getTypeParameters()[0]);
        return t instanceof java.lang.reflect.TypeVariable ? m.getGenericParameterTypes()[0] : t;
    }

    /** Reads an event as the type that the handler declares. */
    static Object decode(byte[] event, Type type) throws Fault {
        try {
            return Mapper.convert(Json.parse(new String(event, StandardCharsets.UTF_8)), type);
        } catch (Json.SyntaxException | Mapper.MappingException e) {
            throw new Fault("An error occurred during JSON parsing", "java.lang.RuntimeException", e);
        }
    }

    static byte[] encode(Object answer) throws Fault {
        try {
            return Writer.write(answer).getBytes(StandardCharsets.UTF_8);
        } catch (RuntimeException | StackOverflowError e) {
            throw new Fault("An error occurred during JSON serialization of response", "java.lang.RuntimeException", e);
        }
    }

    private static final class OfStreams extends Handler {
        private final RequestStreamHandler handler;

        OfStreams(RequestStreamHandler handler) {
            this.handler = handler;
        }

        @Override
        byte[] handle(byte[] event, Context context) throws Throwable {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            handler.handleRequest(new ByteArrayInputStream(event), out, context);
            return out.toByteArray();
        }
    }

    private static final class OfPojos extends Handler {
        private final RequestHandler<Object, Object> handler;
        private final Type type;

        @SuppressWarnings("unchecked")
        OfPojos(RequestHandler<?, ?> handler, Type type) {
            this.handler = (RequestHandler<Object, Object>) handler;
            this.type = type;
        }

        @Override
        byte[] handle(byte[] event, Context context) throws Throwable {
            return encode(handler.handleRequest(decode(event, type), context));
        }
    }

    private static final class OfMethod extends Handler {
        private final Method method;
        private final Object target;
        private final Class<?>[] types;

        OfMethod(Method method, Object target) {
            this.method = method;
            this.target = target;
            types = method.getParameterTypes();
            method.setAccessible(true); // spares a check with every call
        }

        @Override
        byte[] handle(byte[] event, Context context) throws Throwable {
            boolean streams = types.length >= 2 && types[1] == OutputStream.class;
            ByteArrayOutputStream out = streams ? new ByteArrayOutputStream() : null;
            Object[] args = new Object[types.length];
            for (int i = 0; i < args.length; i++) {
                if (types[i] == Context.class) {
                    args[i] = context;
                } else if (types[i] == OutputStream.class) {
                    args[i] = out;
                } else if (types[i] == InputStream.class) {
                    args[i] = new ByteArrayInputStream(event);
                } else {
                    args[i] = decode(event, method.getGenericParameterTypes()[i]);
                }
            }
            Object answer;
            try {
                answer = method.invoke(target, args);
            } catch (InvocationTargetException e) {
                throw e.getCause();
            }
            return streams ? out.toByteArray() : encode(answer);
        }
    }
}
