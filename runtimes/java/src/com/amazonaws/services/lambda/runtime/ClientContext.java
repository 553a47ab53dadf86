package com.amazonaws.services.lambda.runtime;

import java.util.Map;

/** What the invoker sent as X-Amz-Client-Context. */
public interface ClientContext {
    Client getClient();

    Map<String, String> getCustom();

    Map<String, String> getEnvironment();
}
