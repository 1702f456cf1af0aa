package com.amazonaws.services.lambda.runtime;

/** Gives logging libraries the function's logger. */
public final class LambdaRuntime {
    private static volatile LambdaLogger logger = lambent.runtime.Log.LOGGER;

    private LambdaRuntime() {}

    public static LambdaLogger getLogger() {
        return logger;
    }
}
