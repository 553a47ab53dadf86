package lambfold.runtime;

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
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;

/** What `_HANDLER` names: `package.Class::method`, or a class with one of AWS's two interfaces. */
final class Handler {
    private final Object target;
    private final Method method;
    private final Binder binder;

    private Handler(Object target, Method method, Binder binder) {
        this.target = target;
        this.method = method;
        this.binder = binder;
    }

    static Handler find(String name, ClassLoader loader) throws Throwable {
        int colons = name.lastIndexOf("::");
        String className = colons < 0 ? name : name.substring(0, colons);
        Class<?> type;
        try {
            type = Class.forName(className, true, loader);
        } catch (ClassNotFoundException missing) {
            throw new ClassNotFoundException("Class not found: " + className, missing);
        }
        boolean implementing = RequestHandler.class.isAssignableFrom(type) || RequestStreamHandler.class.isAssignableFrom(type);
        if (colons < 0 && !implementing) {
            throw new ClassCastException("Class " + className + " does not implement an appropriate handler interface");
        }
        Method method = method(type, colons < 0 ? "handleRequest" : name.substring(colons + 2));
        Object target = Modifier.isStatic(method.getModifiers()) ? null : instance(type);
        method.setAccessible(true);
        return new Handler(target, method, Binder.of(type));
    }

    /** Of several, the one that takes most, with the context last if it can be. */
    private static Method method(Class<?> type, String name) throws NoSuchMethodException {
        return Arrays.stream(type.getMethods())
                .filter(method -> method.getName().equals(name) && !method.isBridge() && fits(method))
                .max(Comparator.comparingInt(Method::getParameterCount).thenComparing(Handler::takesContext))
                .orElseThrow(() -> new NoSuchMethodException(
                        "No public method named " + name + " with appropriate method signature found on class " + type));
    }

    private static boolean fits(Method method) {
        List<Class<?>> types = List.of(method.getParameterTypes());
        int count = types.size() - (takesContext(method) ? 1 : 0);
        return count <= 1 || (count == 2 && types.get(0) == InputStream.class && types.get(1) == OutputStream.class);
    }

    private static boolean takesContext(Method method) {
        Class<?>[] types = method.getParameterTypes();
        return types.length > 0 && types[types.length - 1] == Context.class;
    }

    private static Object instance(Class<?> type) throws Throwable {
        try {
            var constructor = type.getDeclaredConstructor();
            constructor.setAccessible(true);
            return constructor.newInstance();
        } catch (NoSuchMethodException missing) {
            throw new NoSuchMethodException("Class " + type.getName() + " has no public zero-argument constructor");
        } catch (InvocationTargetException error) {
            throw error.getCause();
        }
    }

    /** Throws whatever the user's code throws. */
    byte[] call(byte[] event, Context context) throws Throwable {
        Type[] types = method.getGenericParameterTypes();
        Object[] arguments = new Object[types.length];
        int count = types.length;
        if (takesContext(method)) {
            arguments[--count] = context;
        }
        ByteArrayOutputStream output = null;
        if (count == 2) {
            output = new ByteArrayOutputStream();
            arguments[0] = new ByteArrayInputStream(event);
            arguments[1] = output;
        } else if (count == 1 && types[0] == InputStream.class) {
            arguments[0] = new ByteArrayInputStream(event);
        } else if (count == 1) {
            arguments[0] = binder.bind(Json.parse(new String(event, StandardCharsets.UTF_8)), types[0]);
        }
        Object result;
        try {
            result = method.invoke(target, arguments);
        } catch (InvocationTargetException error) {
            throw error.getCause();
        }
        if (output != null) {
            return output.toByteArray();
        }
        return JsonWriter.write(result).getBytes(StandardCharsets.UTF_8);
    }
}
