package lambfold.runtime;

import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The runtime's loop: load the handler, then take, run and answer invocations for ever. */
public final class Bootstrap {
    private static final String USER_EXCEPTION = "Runtime.UserException";
    private static final String BAD_CODE = "Runtime.BadFunctionCode";

    private final Client client = new Client(System.getenv("AWS_LAMBDA_RUNTIME_API"));

    private Bootstrap() {}

    public static void main(String[] arguments) {
        try {
            FunctionLogger.INSTANCE.install();
            new Bootstrap().run();
        } catch (ReflectiveOperationException impossible) {
            throw new AssertionError(impossible);
        } catch (IOException | NumberFormatException broken) {
            // The platform has gone or is broken; a trace in the function's log would help nobody.
            System.err.println("Lambda runtime stops: " + broken.getMessage());
            System.exit(1);
        }
    }

    private void run() throws IOException {
        Snapshot.offer();
        Handler handler = load();
        Snapshot.runHooks(client);
        while (true) {
            Client.Answer invocation = client.next();
            if (invocation.status() != 200) {
                throw new IOException(refusal(invocation));
            }
            serve(handler, invocation);
        }
    }

    private Handler load() throws IOException {
        try {
            ClassLoader loader = new URLClassLoader(classPath(), Bootstrap.class.getClassLoader());
            Thread.currentThread().setContextClassLoader(loader);
            return Handler.find(System.getenv("_HANDLER"), loader);
        } catch (Throwable error) {
            log(error);
            client.postInitError(document(error), error instanceof ReflectiveOperationException
                    || error instanceof LinkageError || error instanceof ClassCastException ? BAD_CODE : USER_EXCEPTION);
            System.exit(1);
            throw new AssertionError("unreachable", error);
        }
    }

    /** The task root, its libraries, and those of layers. */
    private static URL[] classPath() throws MalformedURLException {
        File task = new File(System.getenv().getOrDefault("LAMBDA_TASK_ROOT", "/var/task"));
        File layers = new File(System.getenv().getOrDefault("_LAMBFOLD_LAYERS_DIR", "/opt"));
        List<URL> path = new ArrayList<>(List.of(task.toURI().toURL()));
        for (File directory : List.of(new File(task, "lib"), new File(layers, "java/lib"))) {
            File[] jars = directory.listFiles((in, name) -> name.endsWith(".jar"));
            if (jars != null) {
                Arrays.sort(jars);
                for (File jar : jars) {
                    path.add(jar.toURI().toURL());
                }
            }
        }
        return path.toArray(new URL[0]);
    }

    private void serve(Handler handler, Client.Answer invocation) throws IOException {
        String id = invocation.header("lambda-runtime-aws-request-id");
        FunctionLogger.INSTANCE.setInvocation(id, invocation.header("lambda-runtime-aws-tenant-id"));
        String trace = invocation.header("lambda-runtime-trace-id");
        if (trace == null) {
            System.clearProperty("com.amazonaws.xray.traceHeader");
        } else {
            System.setProperty("com.amazonaws.xray.traceHeader", trace);
        }
        Client.Answer answer;
        boolean broken = false;
        try {
            byte[] result = handler.call(invocation.body(), new InvocationContext(invocation));
            System.out.flush();
            answer = client.postResponse(id, result);
        } catch (IOException gone) {
            // Thrown by the handler, or by the API, which shows itself at once then.
            answer = fail(id, gone);
        } catch (Throwable error) {
            broken = error instanceof VirtualMachineError;
            answer = fail(id, error);
        }
        if (answer.status() >= 300) {
            System.err.println("Runtime API refused the answer: " + refusal(answer));
        }
        if (answer.status() >= 500 || broken) {
            System.exit(1);
        }
    }

    private Client.Answer fail(String id, Throwable error) throws IOException {
        log(error);
        return client.postError(id, document(error), USER_EXCEPTION);
    }

    static void log(Throwable error) {
        StringWriter trace = new StringWriter();
        try {
            error.printStackTrace(new PrintWriter(trace, true));
        } catch (Throwable worse) {
            trace.append(error.getClass().getName());
        }
        FunctionLogger.INSTANCE.logError(trace.toString());
    }

    static byte[] document(Throwable error) {
        return JsonWriter.write(describe(error, 0)).getBytes(StandardCharsets.UTF_8);
    }

    /** `errorMessage`, `errorType`, `stackTrace` and, if there is one, `cause`. */
    private static Map<String, Object> describe(Throwable error, int depth) {
        Map<String, Object> document = new LinkedHashMap<>();
        String message = error.getLocalizedMessage();
        document.put("errorMessage", message == null ? error.getClass().getName() : message);
        document.put("errorType", error.getClass().getName());
        List<String> frames = new ArrayList<>();
        for (StackTraceElement frame : error.getStackTrace()) {
            // From the runtime's call of the handler down it is no business of the user's.
            if (frame.getClassName().startsWith("lambfold.runtime.")
                    || frame.getClassName().startsWith("jdk.internal.reflect.")) {
                break;
            }
            frames.add(frame.toString());
        }
        document.put("stackTrace", frames);
        if (error.getCause() != null && depth < 20) {
            document.put("cause", describe(error.getCause(), depth + 1));
        }
        return document;
    }

    static String refusal(Client.Answer answer) {
        return "status " + answer.status() + " " + new String(answer.body(), StandardCharsets.UTF_8);
    }
}
