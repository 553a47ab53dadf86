package lambfold.runtime;

import java.lang.reflect.Array;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.RecordComponent;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Calendar;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Objects to JSON text: beans by their getters and public fields, records by their components. */
final class JsonWriter {
    private static final int DEEPEST = 1000;

    private final StringBuilder text = new StringBuilder();

    private JsonWriter() {}

    static String write(Object value) {
        JsonWriter writer = new JsonWriter();
        writer.value(value, 0);
        return writer.text.toString();
    }

    private void value(Object value, int depth) {
        if (depth > DEEPEST) {
            throw new IllegalArgumentException("The answer is nested too deeply, or refers to itself");
        }
        if (value == null || value instanceof Boolean) {
            text.append(value);
        } else if (value instanceof Double || value instanceof Float) {
            double number = ((Number) value).doubleValue();
            if (Double.isFinite(number)) {
                text.append(value);
            } else {
                string(value.toString());
            }
        } else if (value instanceof Number && value.getClass().getName().startsWith("java.")) {
            text.append(value);
        } else if (value instanceof CharSequence || value instanceof Character) {
            string(value.toString());
        } else if (value instanceof Enum<?> constant) {
            string(constant.name());
        } else if (value instanceof Map<?, ?> map) {
            members(map, depth);
        } else if (value instanceof Iterable<?> items && !(value instanceof java.nio.file.Path)) {
            items(items, depth);
        } else if (value instanceof byte[] bytes) {
            string(Base64.getEncoder().encodeToString(bytes));
        } else if (value instanceof ByteBuffer buffer) {
            string(new String(Base64.getEncoder().encode(buffer.duplicate()).array()));
        } else if (value.getClass().isArray()) {
            List<Object> items = new ArrayList<>();
            for (int index = 0; index < Array.getLength(value); index++) {
                items.add(Array.get(value, index));
            }
            items(items, depth);
        } else if (value instanceof Date date) {
            text.append(date.getTime());
        } else if (value instanceof Calendar calendar) {
            text.append(calendar.getTimeInMillis());
        } else if (value instanceof Optional<?> optional) {
            value(optional.orElse(null), depth);
        } else if (value.getClass().getName().startsWith("java.") || value.getClass().getName().startsWith("org.joda.")) {
            string(value.toString());
        } else {
            members(properties(value), depth);
        }
    }

    private void members(Map<?, ?> members, int depth) {
        char before = '{';
        for (Map.Entry<?, ?> member : members.entrySet()) {
            text.append(before);
            before = ',';
            string(String.valueOf(member.getKey()));
            text.append(':');
            value(member.getValue(), depth + 1);
        }
        text.append(before == '{' ? "{}" : "}");
    }

    private void items(Iterable<?> items, int depth) {
        char before = '[';
        for (Object item : items) {
            text.append(before);
            before = ',';
            value(item, depth + 1);
        }
        text.append(before == '[' ? "[]" : "]");
    }

    private void string(String string) {
        text.append('"');
        for (int index = 0; index < string.length(); index++) {
            char next = string.charAt(index);
            switch (next) {
                case '"' -> text.append("\\\"");
                case '\\' -> text.append("\\\\");
                case '\n' -> text.append("\\n");
                case '\r' -> text.append("\\r");
                case '\t' -> text.append("\\t");
                default -> {
                    if (next < ' ') {
                        text.append(String.format("\\u%04x", (int) next));
                    } else {
                        text.append(next);
                    }
                }
            }
        }
        text.append('"');
    }

    /** What a bean shows of itself, in the order of its fields. */
    private static Map<String, Object> properties(Object bean) {
        Map<String, Object> properties = new LinkedHashMap<>();
        try {
            if (bean.getClass().isRecord()) {
                for (RecordComponent component : bean.getClass().getRecordComponents()) {
                    properties.put(component.getName(), call(component.getAccessor(), bean));
                }
                return properties;
            }
            Map<String, Method> getters = new LinkedHashMap<>();
            for (Class<?> owner = bean.getClass(); owner != null; owner = owner.getSuperclass()) {
                for (Field field : owner.getDeclaredFields()) {
                    getters.put(field.getName(), null);
                }
            }
            for (Method method : bean.getClass().getMethods()) {
                String name = propertyOf(method);
                if (name != null) {
                    getters.put(name, method);
                }
            }
            for (Map.Entry<String, Method> getter : getters.entrySet()) {
                if (getter.getValue() != null) {
                    properties.put(getter.getKey(), call(getter.getValue(), bean));
                }
            }
            for (Field field : bean.getClass().getFields()) {
                if (!Modifier.isStatic(field.getModifiers())) {
                    properties.putIfAbsent(field.getName(), field.get(bean));
                }
            }
            return properties;
        } catch (IllegalAccessException error) {
            throw new IllegalArgumentException("Cannot read " + bean.getClass().getName(), error);
        }
    }

    private static Object call(Method getter, Object bean) throws IllegalAccessException {
        try {
            getter.setAccessible(true);
            return getter.invoke(bean);
        } catch (InvocationTargetException error) {
            throw new IllegalArgumentException("Cannot read " + bean.getClass().getName(), error.getCause());
        }
    }

    private static String propertyOf(Method method) {
        if (method.getParameterCount() > 0 || Modifier.isStatic(method.getModifiers()) || method.isBridge()
                || method.getDeclaringClass() == Object.class || method.getReturnType() == void.class) {
            return null;
        }
        String name = method.getName();
        String rest = name.startsWith("get") ? name.substring(3)
                : name.startsWith("is") && method.getReturnType() == boolean.class ? name.substring(2) : "";
        return rest.isEmpty() ? null : decapitalized(rest);
    }

    /** As Jackson has it: `URLName` is `urlname`, `RequestId` is `requestId`. */
    private static String decapitalized(String name) {
        int upper = 0;
        while (upper < name.length() && Character.isUpperCase(name.charAt(upper))) {
            upper++;
        }
        return name.substring(0, upper).toLowerCase(java.util.Locale.ROOT) + name.substring(upper);
    }
}
