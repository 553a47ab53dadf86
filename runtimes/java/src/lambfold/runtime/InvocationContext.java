package lambfold.runtime;

import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.CognitoIdentity;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import java.util.HashMap;
import java.util.Map;

/** One invocation as its handler sees it. */
final class InvocationContext implements Context {
    private record Identity(String getIdentityId, String getIdentityPoolId) implements CognitoIdentity {}

    private record Application(
            String getInstallationId, String getAppTitle, String getAppVersionName, String getAppVersionCode,
            String getAppPackageName) implements com.amazonaws.services.lambda.runtime.Client {}

    private record Invoker(
            com.amazonaws.services.lambda.runtime.Client getClient, Map<String, String> getCustom,
            Map<String, String> getEnvironment) implements ClientContext {}

    private final Client.Answer invocation;
    private final Identity identity;
    private final ClientContext clientContext;

    InvocationContext(Client.Answer invocation) {
        this.invocation = invocation;
        Map<?, ?> who = object(parsed(invocation.header("lambda-runtime-cognito-identity")));
        identity = new Identity(text(who, "cognitoIdentityId"), text(who, "cognitoIdentityPoolId"));
        Object from = parsed(invocation.header("lambda-runtime-client-context"));
        clientContext = from == null ? null : invoker(object(from));
    }

    private static Invoker invoker(Map<?, ?> from) {
        Map<?, ?> client = object(from.get("client"));
        Application application = from.get("client") == null ? null : new Application(
                text(client, "installation_id"), text(client, "app_title"), text(client, "app_version_name"),
                text(client, "app_version_code"), text(client, "app_package_name"));
        return new Invoker(application, texts(from.get("custom")), texts(from.get("env")));
    }

    private static Object parsed(String json) {
        return json == null || json.isEmpty() ? null : Json.parse(json);
    }

    private static Map<?, ?> object(Object json) {
        return json instanceof Map<?, ?> map ? map : Map.of();
    }

    private static String text(Map<?, ?> object, String name) {
        Object value = object.get(name);
        return value == null ? null : value.toString();
    }

    private static Map<String, String> texts(Object json) {
        Map<String, String> texts = new HashMap<>();
        object(json).forEach((name, value) -> texts.put(name.toString(), value == null ? null : value.toString()));
        return texts;
    }

    @Override
    public String getAwsRequestId() {
        return invocation.header("lambda-runtime-aws-request-id");
    }

    @Override
    public String getLogGroupName() {
        return System.getenv("AWS_LAMBDA_LOG_GROUP_NAME");
    }

    @Override
    public String getLogStreamName() {
        return System.getenv("AWS_LAMBDA_LOG_STREAM_NAME");
    }

    @Override
    public String getFunctionName() {
        return System.getenv("AWS_LAMBDA_FUNCTION_NAME");
    }

    @Override
    public String getFunctionVersion() {
        return System.getenv("AWS_LAMBDA_FUNCTION_VERSION");
    }

    @Override
    public String getInvokedFunctionArn() {
        return invocation.header("lambda-runtime-invoked-function-arn");
    }

    @Override
    public CognitoIdentity getIdentity() {
        return identity;
    }

    @Override
    public ClientContext getClientContext() {
        return clientContext;
    }

    @Override
    public int getRemainingTimeInMillis() {
        long deadline = Long.parseLong(invocation.headers().getOrDefault("lambda-runtime-deadline-ms", "0"));
        return (int) Math.max(0, deadline - System.currentTimeMillis());
    }

    @Override
    public int getMemoryLimitInMB() {
        return Integer.parseInt(System.getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
    }

    @Override
    public LambdaLogger getLogger() {
        return FunctionLogger.INSTANCE;
    }

    @Override
    public String getTenantId() {
        return invocation.header("lambda-runtime-aws-tenant-id");
    }

    @Override
    public String getXrayTraceId() {
        return invocation.header("lambda-runtime-trace-id");
    }
}
