package com.amazonaws.services.lambda.crac;

/** Is told before a snapshot is taken and after it was restored: the `Resource` of CRaC, to which `org.crac` hands its own. */
public interface Resource {
    void beforeCheckpoint(Context<? extends Resource> context) throws Exception;

    void afterRestore(Context<? extends Resource> context) throws Exception;
}
