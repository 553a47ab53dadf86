package lambfold.runtime;

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
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;

/** What JSON says, as an object of the type that a handler takes. Members that the type does not have are ignored. */
final class Binder {
    private final Map<TypeVariable<?>, Type> variables;

    private Binder(Map<TypeVariable<?>, Type> variables) {
        this.variables = variables;
    }

    /** For a handler's class: what its superclasses and interfaces leave open is what it says they are. */
    static Binder of(Class<?> handler) {
        Map<TypeVariable<?>, Type> variables = new HashMap<>();
        learn(handler, variables);
        return new Binder(variables);
    }

    private static void learn(Type type, Map<TypeVariable<?>, Type> variables) {
        if (type == null) {
            return;
        }
        if (type instanceof ParameterizedType parameterized) {
            TypeVariable<?>[] names = ((Class<?>) parameterized.getRawType()).getTypeParameters();
            for (int index = 0; index < names.length; index++) {
                variables.put(names[index], parameterized.getActualTypeArguments()[index]);
            }
            learn(parameterized.getRawType(), variables);
        } else if (type instanceof Class<?> raw) {
            learn(raw.getGenericSuperclass(), variables);
            for (Type parent : raw.getGenericInterfaces()) {
                learn(parent, variables);
            }
        }
    }

    Object bind(Object json, Type type) {
        if (type instanceof TypeVariable<?> variable) {
            Type known = variables.get(variable);
            return bind(json, known == null || known == variable ? variable.getBounds()[0] : known);
        }
        if (type instanceof WildcardType wildcard) {
            return bind(json, wildcard.getUpperBounds()[0]);
        }
        if (type instanceof GenericArrayType array) {
            return array(json, array.getGenericComponentType());
        }
        if (type instanceof ParameterizedType parameterized) {
            Class<?> raw = (Class<?>) parameterized.getRawType();
            Type[] arguments = parameterized.getActualTypeArguments();
            if (json != null && Map.class.isAssignableFrom(raw)) {
                return map(json, raw, arguments[0], arguments[arguments.length - 1]);
            }
            if (json != null && Collection.class.isAssignableFrom(raw)) {
                return collection(json, raw, arguments[0]);
            }
            if (raw == Optional.class) {
                return Optional.ofNullable(json == null ? null : bind(json, arguments[0]));
            }
            learn(parameterized, variables);
            return object(json, raw);
        }
        return object(json, (Class<?>) type);
    }

    private Object object(Object json, Class<?> type) {
        if (type == Object.class || (json == null && !type.isPrimitive())) {
            return json;
        }
        if (type.isPrimitive() || Number.class.isAssignableFrom(type) || type == Boolean.class
                || type == Character.class) {
            return scalar(json, type);
        }
        if (type == byte[].class) {
            return Base64.getDecoder().decode(text(json, type));
        }
        if (type == ByteBuffer.class) {
            return ByteBuffer.wrap(Base64.getDecoder().decode(text(json, type)));
        }
        if (type.isArray()) {
            return array(json, type.getComponentType());
        }
        if (type == String.class || type == CharSequence.class) {
            return text(json, type);
        }
        if (type.isEnum()) {
            return constant(text(json, type), type);
        }
        if (Map.class.isAssignableFrom(type)) {
            return map(json, type, Object.class, Object.class);
        }
        if (Collection.class.isAssignableFrom(type) || type == Iterable.class) {
            return collection(json, type, Object.class);
        }
        if (type == Date.class && json instanceof Number number) {
            return new Date(number.longValue());
        }
        if (type == Date.class && json instanceof String text) {
            return Date.from(java.time.OffsetDateTime.parse(text).toInstant());
        }
        if (json instanceof Map<?, ?> members) {
            return type.isRecord() ? newRecord(members, type) : bean(members, type);
        }
        return fromText(json, type);
    }

    private static Object scalar(Object json, Class<?> type) {
        if (json == null) {
            return Array.get(Array.newInstance(type, 1), 0);
        }
        if (type == boolean.class || type == Boolean.class) {
            if (json instanceof Boolean || "true".equals(json) || "false".equals(json)) {
                return json instanceof Boolean ? json : Boolean.valueOf((String) json);
            }
            throw mismatch(json, type);
        }
        if (type == char.class || type == Character.class) {
            return text(json, type).charAt(0);
        }
        BigDecimal number;
        try {
            number = new BigDecimal(json.toString());
        } catch (NumberFormatException wrong) {
            throw mismatch(json, type);
        }
        if (type == int.class || type == Integer.class) {
            return number.intValue();
        } else if (type == long.class || type == Long.class) {
            return number.longValue();
        } else if (type == double.class || type == Double.class) {
            return number.doubleValue();
        } else if (type == float.class || type == Float.class) {
            return number.floatValue();
        } else if (type == short.class || type == Short.class) {
            return number.shortValue();
        } else if (type == byte.class || type == Byte.class) {
            return number.byteValue();
        } else if (type == BigInteger.class) {
            return number.toBigInteger();
        } else if (type == BigDecimal.class) {
            return number;
        }
        return json;
    }

    private static String text(Object json, Class<?> type) {
        if (json instanceof Map || json instanceof List) {
            throw mismatch(json, type);
        }
        return json.toString();
    }

    private static Object constant(String name, Class<?> type) {
        for (Object constant : type.getEnumConstants()) {
            if (((Enum<?>) constant).name().equals(name)) {
                return constant;
            }
        }
        throw new IllegalArgumentException("No constant " + name + " in " + type.getName());
    }

    private Object array(Object json, Type of) {
        Collection<?> items = items(json, of);
        Object array = Array.newInstance(raw(of), items.size());
        int index = 0;
        for (Object item : items) {
            Array.set(array, index++, bind(item, of));
        }
        return array;
    }

    private static Class<?> raw(Type type) {
        return type instanceof ParameterizedType parameterized ? (Class<?>) parameterized.getRawType()
                : type instanceof Class<?> plain ? plain : Object.class;
    }

    private Object map(Object json, Class<?> type, Type keys, Type values) {
        if (!(json instanceof Map<?, ?> members)) {
            throw mismatch(json, type);
        }
        Map<Object, Object> map = made(type, SortedMap.class.isAssignableFrom(type) ? new TreeMap<>() : new LinkedHashMap<>());
        members.forEach((key, value) -> map.put(bind(key, keys), bind(value, values)));
        return map;
    }

    private Object collection(Object json, Class<?> type, Type of) {
        Collection<Object> collection =
                made(type, Set.class.isAssignableFrom(type) ? new LinkedHashSet<>() : new ArrayList<>());
        for (Object item : items(json, type)) {
            collection.add(bind(item, of));
        }
        return collection;
    }

    /** One of the class asked for; the usual one where that is an interface. */
    @SuppressWarnings("unchecked")
    private static <T> T made(Class<?> type, T usual) {
        return type.isInstance(usual) ? usual : (T) instance(type);
    }

    private static Collection<?> items(Object json, Type type) {
        if (json instanceof List<?> items) {
            return items;
        }
        throw mismatch(json, type);
    }

    private Object newRecord(Map<?, ?> members, Class<?> type) {
        RecordComponent[] components = type.getRecordComponents();
        Class<?>[] types = new Class<?>[components.length];
        Object[] values = new Object[components.length];
        for (int index = 0; index < components.length; index++) {
            types[index] = components[index].getType();
            values[index] = bind(members.get(components[index].getName()), components[index].getGenericType());
        }
        try {
            Constructor<?> canonical = type.getDeclaredConstructor(types);
            canonical.setAccessible(true);
            return canonical.newInstance(values);
        } catch (InvocationTargetException error) {
            throw new IllegalArgumentException("Cannot make a " + type.getName(), error.getCause());
        } catch (ReflectiveOperationException error) {
            throw new IllegalArgumentException("Cannot make a " + type.getName(), error);
        }
    }

    /** By setters, or else public fields. Upper and lower case are not told apart: events have `Records`, `eventSourceARN`. */
    private Object bean(Map<?, ?> members, Class<?> type) {
        Object bean = instance(type);
        Map<String, Method> setters = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
        for (Method method : type.getMethods()) {
            boolean setter = method.getName().startsWith("set") && method.getParameterCount() == 1;
            if (setter && !method.isBridge() && !Modifier.isStatic(method.getModifiers())) {
                setters.put(method.getName().substring(3), method);
            }
        }
        Map<String, Field> fields = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
        for (Field field : type.getFields()) {
            if (!Modifier.isStatic(field.getModifiers()) && !Modifier.isFinal(field.getModifiers())) {
                fields.put(field.getName(), field);
            }
        }
        for (Map.Entry<?, ?> member : members.entrySet()) {
            String name = ((String) member.getKey()).replace("-", "");
            try {
                Method setter = setters.get(name);
                Field field = fields.get(name);
                if (setter != null) {
                    setter.setAccessible(true);
                    setter.invoke(bean, bind(member.getValue(), setter.getGenericParameterTypes()[0]));
                } else if (field != null) {
                    field.set(bean, bind(member.getValue(), field.getGenericType()));
                }
            } catch (InvocationTargetException error) {
                throw new IllegalArgumentException("Cannot set " + name + " of " + type.getName(), error.getCause());
            } catch (IllegalAccessException error) {
                throw new IllegalArgumentException("Cannot set " + name + " of " + type.getName(), error);
            }
        }
        return bean;
    }

    /** Classes that read themselves: times, UUIDs, and what else has `parse`, `fromString` or a constructor for text. */
    private static Object fromText(Object json, Class<?> type) {
        for (String name : List.of("parse", "fromString", "valueOf")) {
            for (Method method : type.getMethods()) {
                if (method.getName().equals(name) && Modifier.isStatic(method.getModifiers())
                        && method.getParameterCount() == 1
                        && method.getParameterTypes()[0].isAssignableFrom(String.class)
                        && type.isAssignableFrom(method.getReturnType())) {
                    return reflected(type, () -> method.invoke(null, text(json, type)));
                }
            }
        }
        for (Constructor<?> constructor : type.getConstructors()) {
            if (constructor.getParameterCount() == 1 && constructor.getParameterTypes()[0] == String.class) {
                return reflected(type, () -> constructor.newInstance(text(json, type)));
            }
        }
        throw mismatch(json, type);
    }

    private static Object instance(Class<?> type) {
        return reflected(type, () -> {
            Constructor<?> constructor = type.getDeclaredConstructor();
            constructor.setAccessible(true);
            return constructor.newInstance();
        });
    }

    private interface Reflection {
        Object run() throws ReflectiveOperationException;
    }

    private static Object reflected(Class<?> type, Reflection reflection) {
        try {
            return reflection.run();
        } catch (InvocationTargetException error) {
            throw new IllegalArgumentException("Cannot make a " + type.getName(), error.getCause());
        } catch (ReflectiveOperationException error) {
            throw new IllegalArgumentException("Cannot make a " + type.getName(), error);
        }
    }

    private static IllegalArgumentException mismatch(Object json, Type type) {
        String kind = json instanceof Map ? "an object" : json instanceof List ? "an array"
                : json instanceof String ? "a string" : String.valueOf(json);
        return new IllegalArgumentException("Cannot make a " + type.getTypeName() + " of " + kind);
    }
}
