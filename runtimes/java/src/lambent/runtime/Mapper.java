package lambent.runtime;

import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.GenericArrayType;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.RecordComponent;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * Trees of JSON values to the types that handlers declare: beans by setters or fields, records,
 * enums, maps, collections, arrays, times. Unknown members are passed over; names match without
 * regard to case where no exact one is there, as the event classes of AWS's library need it.
 */
final class Mapper {
    /** Setters and fields of a class by their name in lower case. */
    private static final Map<Class<?>, Map<String, Object>> CACHE = new HashMap<>();

    private Mapper() {}

    static final class MappingException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        MappingException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    static Object convert(Object v, Type type) {
        if (type instanceof Class) {
            return toClass(v, (Class<?>) type, type);
        }
        if (type instanceof ParameterizedType) {
            return toClass(v, (Class<?>) ((ParameterizedType) type).getRawType(), type);
        }
        if (type instanceof WildcardType) {
            return convert(v, ((WildcardType) type).getUpperBounds()[0]);
        }
        if (type instanceof TypeVariable) {
            return convert(v, ((TypeVariable<?>) type).getBounds()[0]);
        }
        if (type instanceof GenericArrayType) {
            Type element = ((GenericArrayType) type).getGenericComponentType();
            return toArray(v, element);
        }
        throw mismatch(v, type);
    }

    private static MappingException mismatch(Object v, Type type) {
        String kind = v == null ? "null" : v instanceof Map ? "an object" : v instanceof List ? "an array"
                : v instanceof String ? "a string" : v instanceof Boolean ? "a boolean" : "a number";
        return new MappingException("Cannot make a value of type " + type.getTypeName() + " from " + kind, null);
    }

    private static Object toClass(Object v, Class<?> c, Type type) {
        if (v == null) {
            return c.isPrimitive() ? zero(c) : c == java.util.Optional.class ? java.util.Optional.empty() : null;
        }
        if (c == Object.class || c == java.io.Serializable.class) {
            return v;
        }
        if (c == String.class || c == CharSequence.class) {
            return toText(v, c);
        }
        if (c.isPrimitive() || Number.class.isAssignableFrom(c) || c == Boolean.class || c == Character.class) {
            return toScalar(v, c);
        }
        if (Map.class.isAssignableFrom(c)) {
            return toMap(v, c, type);
        }
        if (Collection.class.isAssignableFrom(c) || c == Iterable.class) {
            return toCollection(v, c, type);
        }
        if (c == byte[].class && v instanceof String) {
            return Base64.getDecoder().decode((String) v);
        }
        if (c.isArray()) {
            return toArray(v, c.getComponentType());
        }
        if (c.isEnum()) {
            return toEnum(v, c);
        }
        if (c == java.util.Optional.class) {
            return java.util.Optional.ofNullable(convert(v, argument(type, 0)));
        }
        if (v instanceof Map) {
            return toBean((Map<?, ?>) v, c, type);
        }
        return fromScalar(v, c);
    }

    private static Object toText(Object v, Class<?> c) {
        if (v instanceof Map || v instanceof List) {
            throw mismatch(v, c);
        }
        return String.valueOf(v);
    }

    private static Object zero(Class<?> c) {
        return c == boolean.class ? (Object) false : c == char.class ? (Object) '\0' : toScalar(0, c);
    }

    private static Object toScalar(Object v, Class<?> c) {
        try {
            if (c == boolean.class || c == Boolean.class) {
                if (v instanceof Boolean) {
                    return v;
                }
                if ("true".equals(v) || "false".equals(v)) {
                    return Boolean.valueOf((String) v);
                }
                throw mismatch(v, c);
            }
            if (c == char.class || c == Character.class) {
                if (v instanceof String && ((String) v).length() == 1) {
                    return ((String) v).charAt(0);
                }
                throw mismatch(v, c);
            }
            BigDecimal n;
            if (v instanceof Number || v instanceof String) {
                if (c == double.class || c == Double.class) {
                    return Double.valueOf(v.toString());
                }
                if (c == float.class || c == Float.class) {
                    return Float.valueOf(v.toString());
                }
                if (c == Number.class && v instanceof Number) {
                    return v;
                }
                n = new BigDecimal(v.toString().trim());
            } else {
                throw mismatch(v, c);
            }
            return whole(n, c);
        } catch (ArithmeticException | NumberFormatException e) {
            throw new MappingException("Cannot make a value of type " + c.getName() + " from " + v, e);
        }
    }

    private static Object whole(BigDecimal n, Class<?> c) {
        if (c == BigDecimal.class || c == Number.class) {
            return n;
        }
        // What is beyond a long has too many digits to be expanded for the sender's pleasure.
        if (c == BigInteger.class) {
            if (n.scale() < -10000) {
                throw new ArithmeticException("too large");
            }
            return n.toBigInteger();
        }
        if (Math.abs((long) n.precision() - n.scale()) > 400) {
            throw new ArithmeticException("too large");
        }
        BigInteger i = n.toBigInteger();
        if (c == int.class || c == Integer.class) {
            return i.intValueExact();
        }
        if (c == long.class || c == Long.class) {
            return i.longValueExact();
        }
        if (c == short.class || c == Short.class) {
            return i.shortValueExact();
        }
        if (c == byte.class || c == Byte.class) {
            return i.byteValueExact();
        }
        if (c == java.util.concurrent.atomic.AtomicInteger.class) {
            return new java.util.concurrent.atomic.AtomicInteger(i.intValueExact());
        }
        if (c == java.util.concurrent.atomic.AtomicLong.class) {
            return new java.util.concurrent.atomic.AtomicLong(i.longValueExact());
        }
        throw mismatch(n, c);
    }

    private static Type argument(Type type, int i) {
        return type instanceof ParameterizedType ? ((ParameterizedType) type).getActualTypeArguments()[i] : Object.class;
    }

    @SuppressWarnings("unchecked")
    private static Object toMap(Object v, Class<?> c, Type type) {
        if (!(v instanceof Map)) {
            throw mismatch(v, c);
        }
        Map<Object, Object> out;
        if (c.isInterface() || Modifier.isAbstract(c.getModifiers())) {
            out = java.util.SortedMap.class.isAssignableFrom(c) ? new TreeMap<>()
                    : java.util.concurrent.ConcurrentMap.class.isAssignableFrom(c)
                            ? new java.util.concurrent.ConcurrentHashMap<>() : new LinkedHashMap<>();
        } else {
            out = (Map<Object, Object>) make(c);
        }
        boolean known = type instanceof ParameterizedType && ((ParameterizedType) type).getActualTypeArguments().length == 2;
        Type key = known ? argument(type, 0) : Object.class;
        Type value = known ? argument(type, 1) : Object.class;
        for (Map.Entry<?, ?> e : ((Map<?, ?>) v).entrySet()) {
            out.put(convert(e.getKey(), key), convert(e.getValue(), value));
        }
        return out;
    }

    @SuppressWarnings("unchecked")
    private static Object toCollection(Object v, Class<?> c, Type type) {
        if (!(v instanceof List)) {
            throw mismatch(v, c);
        }
        Collection<Object> out;
        if (c.isInterface() || Modifier.isAbstract(c.getModifiers())) {
            out = java.util.SortedSet.class.isAssignableFrom(c) ? new TreeSet<>()
                    : java.util.Set.class.isAssignableFrom(c) ? new LinkedHashSet<>()
                    : java.util.Queue.class.isAssignableFrom(c) ? new ArrayDeque<>() : new ArrayList<>();
        } else {
            out = (Collection<Object>) make(c);
        }
        Type element = argument(type, 0);
        for (Object e : (List<?>) v) {
            out.add(convert(e, element));
        }
        return out;
    }

    private static Object toArray(Object v, Type element) {
        if (!(v instanceof List)) {
            throw mismatch(v, element);
        }
        List<?> list = (List<?>) v;
        Class<?> raw = element instanceof Class ? (Class<?>) element
                : element instanceof ParameterizedType ? (Class<?>) ((ParameterizedType) element).getRawType() : Object.class;
        Object out = Array.newInstance(raw, list.size());
        for (int i = 0; i < list.size(); i++) {
            Array.set(out, i, convert(list.get(i), element));
        }
        return out;
    }

    private static Object toEnum(Object v, Class<?> c) {
        for (Object e : c.getEnumConstants()) {
            if (((Enum<?>) e).name().equals(v)) {
                return e;
            }
        }
        throw new MappingException("Not one of the values of " + c.getName() + ": " + v, null);
    }

    /** Times, dates, identifiers: what its class can make of a string or a number. */
    private static Object fromScalar(Object v, Class<?> c) {
        if (c == java.util.Date.class && v instanceof Number) {
            // Events of streams count seconds, everybody else milliseconds.
            double d = ((Number) v).doubleValue();
            return new java.util.Date((long) (Math.abs(d) < 1e11 ? d * 1000 : d));
        }
        if (c == java.util.Date.class && v instanceof String) {
            return java.util.Date.from(java.time.OffsetDateTime.parse((String) v).toInstant());
        }
        if (c == java.time.Instant.class && v instanceof Number) {
            return java.time.Instant.ofEpochMilli((long) (((Number) v).doubleValue() * 1000));
        }
        if (c == java.nio.ByteBuffer.class && v instanceof String) {
            return java.nio.ByteBuffer.wrap(Base64.getDecoder().decode((String) v));
        }
        try {
            if (v instanceof String) {
                for (String name : new String[] {"parse", "fromString", "valueOf", "of"}) {
                    for (Method m : c.getMethods()) {
                        if (m.getName().equals(name) && Modifier.isStatic(m.getModifiers()) && m.getParameterCount() == 1
                                && m.getParameterTypes()[0].isAssignableFrom(String.class) && c.isAssignableFrom(m.getReturnType())) {
                            return m.invoke(null, v);
                        }
                    }
                }
            }
            for (Constructor<?> k : c.getConstructors()) {
                if (k.getParameterCount() == 1) {
                    Class<?> p = k.getParameterTypes()[0];
                    if (p == String.class && v instanceof String || p == long.class && v instanceof Number && !(v instanceof Double)) {
                        return k.newInstance(p == long.class ? ((Number) v).longValue() : v);
                    }
                }
            }
        } catch (InvocationTargetException e) {
            throw new MappingException("Cannot make a value of type " + c.getName() + " from " + v, e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new MappingException("Cannot make a value of type " + c.getName() + " from " + v, e);
        }
        throw mismatch(v, c);
    }

    private static Object make(Class<?> c) {
        try {
            Constructor<?> k = c.getDeclaredConstructor();
            k.setAccessible(true);
            return k.newInstance();
        } catch (InvocationTargetException e) {
            throw new MappingException("Cannot make a " + c.getName(), e.getCause());
        } catch (ReflectiveOperationException | RuntimeException e) {
            throw new MappingException("Cannot make a " + c.getName() + ": it has no usable constructor without arguments", e);
        }
    }

    /** As make, but a class without a constructor for it is made as deserialization makes one. */
    private static Object makeBean(Class<?> c) {
        try {
            c.getDeclaredConstructor();
        } catch (NoSuchMethodException e) {
            if (!Modifier.isAbstract(c.getModifiers())) {
                return allocate(c);
            }
        }
        return make(c);
    }

    private static Object allocate(Class<?> c) {
        try {
            Class<?> factory = Class.forName("sun.reflect.ReflectionFactory");
            Object f = factory.getMethod("getReflectionFactory").invoke(null);
            Constructor<?> k = (Constructor<?>) factory
                    .getMethod("newConstructorForSerialization", Class.class, Constructor.class)
                    .invoke(f, c, Object.class.getConstructor());
            return k.newInstance();
        } catch (ReflectiveOperationException e) {
            throw new MappingException("Cannot make a " + c.getName() + ": it has no usable constructor", e);
        }
    }

    private static Object toBean(Map<?, ?> v, Class<?> c, Type type) {
        if (c.isRecord()) {
            return toRecord(v, c);
        }
        if (c.getName().startsWith("java.")) {
            throw mismatch(v, c);
        }
        Object bean = makeBean(c);
        Map<TypeVariable<?>, Type> bound = bindings(c, type);
        Map<String, Object> members = members(c);
        for (Map.Entry<?, ?> e : v.entrySet()) {
            String name = String.valueOf(e.getKey()).toLowerCase(Locale.ROOT);
            Object member = members.containsKey(name) ? members.get(name) : members.get(name.replace("-", ""));
            if (member == null) {
                continue;
            }
            try {
                if (member instanceof Method) {
                    Method m = (Method) member;
                    m.invoke(bean, convert(e.getValue(), resolve(m.getGenericParameterTypes()[0], bound)));
                } else {
                    Field f = (Field) member;
                    f.set(bean, convert(e.getValue(), resolve(f.getGenericType(), bound)));
                }
            } catch (InvocationTargetException x) {
                throw new MappingException("Cannot set " + e.getKey() + " of " + c.getName(), x.getCause());
            } catch (IllegalAccessException | IllegalArgumentException x) {
                throw new MappingException("Cannot set " + e.getKey() + " of " + c.getName(), x);
            }
        }
        return bean;
    }

    private static Map<TypeVariable<?>, Type> bindings(Class<?> c, Type type) {
        Map<TypeVariable<?>, Type> bound = new HashMap<>();
        if (type instanceof ParameterizedType) {
            TypeVariable<?>[] names = c.getTypeParameters();
            Type[] actual = ((ParameterizedType) type).getActualTypeArguments();
            for (int i = 0; i < names.length; i++) {
                bound.put(names[i], actual[i]);
            }
        }
        return bound;
    }

    private static Type resolve(Type t, Map<TypeVariable<?>, Type> bound) {
        Type b = bound.get(t);
        return b == null ? t : b;
    }

    private static Object toRecord(Map<?, ?> v, Class<?> c) {
        Map<String, Object> byName = new HashMap<>();
        for (Map.Entry<?, ?> e : v.entrySet()) {
            byName.putIfAbsent(String.valueOf(e.getKey()).toLowerCase(Locale.ROOT), e.getValue());
        }
        RecordComponent[] parts = c.getRecordComponents();
        Class<?>[] types = new Class<?>[parts.length];
        Object[] values = new Object[parts.length];
        for (int i = 0; i < parts.length; i++) {
            types[i] = parts[i].getType();
            values[i] = convert(byName.get(parts[i].getName().toLowerCase(Locale.ROOT)), parts[i].getGenericType());
        }
        try {
            Constructor<?> k = c.getDeclaredConstructor(types);
            k.setAccessible(true);
            return k.newInstance(values);
        } catch (InvocationTargetException e) {
            throw new MappingException("Cannot make a " + c.getName(), e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new MappingException("Cannot make a " + c.getName(), e);
        }
    }

    private static synchronized Map<String, Object> members(Class<?> c) {
        Map<String, Object> known = CACHE.get(c);
        if (known != null) {
            return known;
        }
        Map<String, Object> found = new HashMap<>();
        for (Class<?> k = c; k != null && k != Object.class; k = k.getSuperclass()) {
            for (Field f : k.getDeclaredFields()) {
                // Private ones too: AWS's S3Event and its like have constructors instead of setters.
                if (!Modifier.isStatic(f.getModifiers()) && !f.isSynthetic()) {
                    f.setAccessible(true);
                    found.putIfAbsent(f.getName().toLowerCase(Locale.ROOT), f);
                }
            }
        }
        for (Method m : c.getMethods()) {
            String n = m.getName();
            if (n.length() > 3 && n.startsWith("set") && m.getParameterCount() == 1 && !m.isBridge()
                    && !Modifier.isStatic(m.getModifiers())) {
                m.setAccessible(true);
                found.put(n.substring(3).toLowerCase(Locale.ROOT), m);
            }
        }
        CACHE.put(c, found);
        return found;
    }
}
