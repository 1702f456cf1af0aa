package lambent.runtime;

import java.lang.reflect.Array;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Values to JSON text: maps, collections, arrays, beans by their getters and public fields, records. */
final class Writer {
    private static final int MAX_DEPTH = 200;

    /** One property of a class: a getter or a field. */
    private static final class Property {
        String name;
        Method getter;
        Field field;
    }

    private static final Map<Class<?>, List<Property>> CACHE = new HashMap<>();

    private final StringBuilder b = new StringBuilder(128);
    private int depth;

    static String write(Object v) {
        Writer w = new Writer();
        w.value(v);
        return w.b.toString();
    }

    private void value(Object v) {
        if (v == null) {
            b.append("null");
        } else if (v instanceof CharSequence || v instanceof Character) {
            Json.quote(b, v.toString());
        } else if (v instanceof Boolean) {
            b.append(v);
        } else if (v instanceof Number) {
            number((Number) v);
        } else if (v instanceof Enum) {
            Json.quote(b, ((Enum<?>) v).name());
        } else if (v instanceof byte[]) {
            Json.quote(b, Base64.getEncoder().encodeToString((byte[]) v));
        } else {
            composite(v);
        }
    }

    private void number(Number v) {
        if (v instanceof Double && !Double.isFinite((Double) v) || v instanceof Float && !Float.isFinite((Float) v)) {
            Json.quote(b, v.toString());
        } else {
            b.append(v);
        }
    }

    private void composite(Object v) {
        if (++depth > MAX_DEPTH) {
            throw new IllegalArgumentException("nested too deeply, or refers to itself: " + v.getClass().getName());
        }
        if (v instanceof Map) {
            map((Map<?, ?>) v);
        } else if (v instanceof Iterable && !(v instanceof java.nio.file.Path)) {
            iterable((Iterable<?>) v);
        } else if (v.getClass().isArray()) {
            array(v);
        } else if (v instanceof java.util.Optional) {
            value(((java.util.Optional<?>) v).orElse(null));
        } else if (v instanceof java.util.Date) {
            b.append(((java.util.Date) v).getTime());
        } else if (v instanceof java.nio.ByteBuffer) {
            java.nio.ByteBuffer data = ((java.nio.ByteBuffer) v).duplicate();
            byte[] bytes = new byte[data.remaining()];
            data.get(bytes);
            value(bytes);
        } else if (v.getClass() != Object.class && v.getClass().getName().startsWith("java.") || v.getClass().getName().startsWith("org.joda.time.")) {
            Json.quote(b, v.toString()); // java.time, UUID, URI ...
        } else {
            bean(v);
        }
        depth--;
    }

    private void map(Map<?, ?> m) {
        b.append('{');
        boolean first = true;
        for (Map.Entry<?, ?> e : m.entrySet()) {
            if (!first) {
                b.append(',');
            }
            first = false;
            Json.quote(b, String.valueOf(e.getKey()));
            b.append(':');
            value(e.getValue());
        }
        b.append('}');
    }

    private void iterable(Iterable<?> l) {
        b.append('[');
        boolean first = true;
        for (Object v : l) {
            if (!first) {
                b.append(',');
            }
            first = false;
            value(v);
        }
        b.append(']');
    }

    private void array(Object v) {
        b.append('[');
        for (int i = 0; i < Array.getLength(v); i++) {
            if (i > 0) {
                b.append(',');
            }
            value(Array.get(v, i));
        }
        b.append(']');
    }

    private void bean(Object v) {
        b.append('{');
        boolean first = true;
        for (Property p : properties(v.getClass())) {
            Object value;
            try {
                value = p.getter != null ? p.getter.invoke(v) : p.field.get(v);
            } catch (ReflectiveOperationException e) {
                throw new IllegalArgumentException("cannot read " + p.name + " of " + v.getClass().getName(), e);
            }
            if (!first) {
                b.append(',');
            }
            first = false;
            Json.quote(b, p.name);
            b.append(':');
            value(value);
        }
        b.append('}');
    }

    private static synchronized List<Property> properties(Class<?> c) {
        List<Property> known = CACHE.get(c);
        if (known != null) {
            return known;
        }
        Map<String, Property> found = new LinkedHashMap<>();
        // Fields give the order that their author chose; getters have none of their own.
        List<Class<?>> line = new ArrayList<>();
        for (Class<?> k = c; k != null && k != Object.class; k = k.getSuperclass()) {
            line.add(0, k);
        }
        for (Class<?> k : line) {
            for (Field f : k.getDeclaredFields()) {
                if (!Modifier.isStatic(f.getModifiers()) && !Modifier.isTransient(f.getModifiers()) && !f.isSynthetic()) {
                    Property p = new Property();
                    p.name = f.getName();
                    p.field = Modifier.isPublic(f.getModifiers()) ? f : null;
                    found.put(p.name, p);
                }
            }
        }
        Method[] methods = c.getMethods();
        java.util.Arrays.sort(methods, (x, y) -> x.getName().compareTo(y.getName()));
        for (Method m : methods) {
            String name = propertyOf(c, m);
            if (name != null) {
                Property p = found.get(name);
                if (p == null) {
                    p = new Property();
                    p.name = name;
                    found.put(name, p);
                }
                p.getter = m;
            }
        }
        List<Property> list = new ArrayList<>();
        for (Property p : found.values()) {
            if (p.getter != null) {
                p.getter.setAccessible(true); // the class itself may not be public
            } else if (p.field != null) {
                p.field.setAccessible(true);
            } else {
                continue;
            }
            list.add(p);
        }
        if (list.isEmpty()) {
            throw new IllegalArgumentException("No serializer found for class " + c.getName()
                    + " and no properties discovered");
        }
        CACHE.put(c, list);
        return list;
    }

    /** The property that a method is the getter of, or null. */
    private static String propertyOf(Class<?> c, Method m) {
        String n = m.getName();
        if (m.getParameterCount() != 0 || m.getReturnType() == void.class || Modifier.isStatic(m.getModifiers())
                || m.isBridge() || m.getDeclaringClass() == Object.class) {
            return null;
        }
        if (c.isRecord()) {
            for (java.lang.reflect.RecordComponent r : c.getRecordComponents()) {
                if (r.getName().equals(n)) {
                    return n;
                }
            }
        }
        if (n.length() > 3 && n.startsWith("get")) {
            return decapitalize(n.substring(3));
        }
        if (n.length() > 2 && n.startsWith("is")
                && (m.getReturnType() == boolean.class || m.getReturnType() == Boolean.class)) {
            return decapitalize(n.substring(2));
        }
        return null;
    }

    /** Lower-cases all leading capitals, as Jackson does: getURL is "url". */
    static String decapitalize(String n) {
        StringBuilder out = new StringBuilder(n);
        for (int i = 0; i < out.length() && Character.isUpperCase(out.charAt(i)); i++) {
            out.setCharAt(i, Character.toLowerCase(out.charAt(i)));
        }
        return out.toString();
    }
}
