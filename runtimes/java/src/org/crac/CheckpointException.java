package org.crac;

/** Something went wrong at a checkpoint; the suppressed ones say what. */
public class CheckpointException extends Exception {
    private static final long serialVersionUID = 1L;

    public CheckpointException() {}

    public CheckpointException(String message) {
        super(message);
    }
}
