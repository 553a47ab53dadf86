package lambfold.runtime;

import com.amazonaws.services.lambda.crac.Core;
import java.io.IOException;

/**
 * What SnapStart functions do around a snapshot. None is taken here: the hooks run one after the other in every environment, so
 * that what a function does in them is done.
 */
final class Snapshot {
    /** As AWS's runtime leaves when a hook failed. */
    private static final int HOOK_FAILED = 64;

    private Snapshot() {}

    /** Says where `org.crac`, which a function brings, finds whom to register with. */
    static void offer() {
        System.setProperty("org.crac.Core.Compat", Core.class.getPackageName());
    }

    /** Runs what is registered, if the function has SnapStart. */
    static void runHooks(Client client) throws IOException {
        if (!"snap-start".equals(System.getenv("AWS_LAMBDA_INITIALIZATION_TYPE"))) {
            return;
        }
        try {
            Core.getGlobalContext().beforeCheckpoint(null);
        } catch (Throwable error) {
            Bootstrap.log(error);
            client.postInitError(Bootstrap.document(error), "Runtime.BeforeCheckpointError");
            System.exit(HOOK_FAILED);
        }
        Client.Answer restored = client.restoreNext();
        if (restored.status() != 200) {
            throw new IOException(Bootstrap.refusal(restored));
        }
        try {
            Core.getGlobalContext().afterRestore(null);
        } catch (Throwable error) {
            Bootstrap.log(error);
            client.postRestoreError(Bootstrap.document(error), "Runtime.AfterRestoreError");
            System.exit(HOOK_FAILED);
        }
    }
}
