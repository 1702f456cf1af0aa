package com.amazonaws.services.lambda.runtime.logging;

/** Levels of a log line, least first. */
public enum LogLevel {
    UNDEFINED,
    TRACE,
    DEBUG,
    INFO,
    WARN,
    ERROR,
    FATAL;

    public static LogLevel fromString(String name) {
        return valueOf(name.toUpperCase(java.util.Locale.ROOT));
    }
}
