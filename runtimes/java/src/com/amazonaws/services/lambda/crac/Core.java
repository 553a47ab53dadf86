package com.amazonaws.services.lambda.crac;

/** Where `org.crac` finds the context in which a function registers (the property `org.crac.Core.Compat` names this package). */
public final class Core {
    private static final Context<Resource> GLOBAL = new GlobalContext();

    private Core() {}

    public static Context<Resource> getGlobalContext() {
        return GLOBAL;
    }

    /** When a snapshot is taken is the platform's business. */
    public static void checkpointRestore() throws CheckpointException, RestoreException {
        throw new UnsupportedOperationException();
    }
}
