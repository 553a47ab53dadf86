package com.amazonaws.services.lambda.runtime.logging;

/** The form of the log's lines. */
public enum LogFormat {
    JSON,
    TEXT;

    public static LogFormat fromString(String name) {
        return valueOf(name.toUpperCase(java.util.Locale.ROOT));
    }
}
