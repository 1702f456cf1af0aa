package org.crac;

/** What is told of a checkpoint: the API of https://github.com/CRaC/org.crac. */
public interface Resource {
    void beforeCheckpoint(Context<? extends Resource> context) throws Exception;

    void afterRestore(Context<? extends Resource> context) throws Exception;
}
