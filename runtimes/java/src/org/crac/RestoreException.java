package org.crac;

/** Something went wrong at a restore; the suppressed ones say what. */
public class RestoreException extends Exception {
    private static final long serialVersionUID = 1L;

    public RestoreException() {}

    public RestoreException(String message) {
        super(message);
    }
}
