package lambent.runtime;

import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;

/** Finds what a class binds a type variable of one of its ancestors to. */
final class Generics {
    private Generics() {}

    static Type bind(Class<?> c, TypeVariable<?> variable) {
        Type t = search(c, variable);
        return t == null ? variable : t;
    }

    private static Type search(Class<?> c, TypeVariable<?> variable) {
        for (Type parent : parents(c)) {
            Class<?> raw = raw(parent);
            if (raw == null) {
                continue;
            }
            if (raw == variable.getGenericDeclaration()) {
                return parent instanceof ParameterizedType ? argument((ParameterizedType) parent, raw, variable) : Object.class;
            }
            Type found = search(raw, variable);
            if (found instanceof TypeVariable && parent instanceof ParameterizedType) {
                return argument((ParameterizedType) parent, raw, (TypeVariable<?>) found);
            }
            if (found != null) {
                return found;
            }
        }
        return null;
    }

    private static Type[] parents(Class<?> c) {
        Type[] interfaces = c.getGenericInterfaces();
        Type[] all = new Type[interfaces.length + 1];
        all[0] = c.getGenericSuperclass();
        System.arraycopy(interfaces, 0, all, 1, interfaces.length);
        return all;
    }

    private static Class<?> raw(Type t) {
        return t instanceof Class ? (Class<?>) t
                : t instanceof ParameterizedType ? (Class<?>) ((ParameterizedType) t).getRawType() : null;
    }

    private static Type argument(ParameterizedType parent, Class<?> raw, TypeVariable<?> variable) {
        TypeVariable<?>[] names = raw.getTypeParameters();
        for (int i = 0; i < names.length; i++) {
            if (names[i].equals(variable)) {
                return parent.getActualTypeArguments()[i];
            }
        }
        return variable;
    }
}
