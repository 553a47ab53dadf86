package com.amazonaws.services.lambda.crac;

/** Tells those that are registered. */
public abstract class Context<R extends Resource> implements Resource {
    protected Context() {}

    /** All of them, the last one registered first. Throws what they threw when all were told. */
    @Override
    public abstract void beforeCheckpoint(Context<? extends Resource> context) throws CheckpointException;

    /** All of them, the first one registered first. Throws what they threw when all were told. */
    @Override
    public abstract void afterRestore(Context<? extends Resource> context) throws RestoreException;

    /** Registers one, or makes it the last one. */
    public abstract void register(R resource);
}
