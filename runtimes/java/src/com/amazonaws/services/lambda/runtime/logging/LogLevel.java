package com.amazonaws.services.lambda.runtime.logging;

/** How much a line of the log matters. */
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
