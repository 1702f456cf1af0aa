package com.amazonaws.services.lambda.runtime.logging;

/** Formats of the function's log. */
public enum LogFormat {
    JSON,
    TEXT;

    public static LogFormat fromString(String name) {
        return valueOf(name.toUpperCase(java.util.Locale.ROOT));
    }
}
