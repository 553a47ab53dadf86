package com.amazonaws.services.lambda.runtime;

/** Who called, for calls through the AWS mobile SDKs. */
public interface CognitoIdentity {
    String getIdentityId();

    String getIdentityPoolId();
}
