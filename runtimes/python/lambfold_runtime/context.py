"""The context object, a handler's second argument."""

from time import time

_W3C_FIELDS = ("traceparent", "tracestate", "baggage")


class _Record:
    """An object whose attributes are its class's slots, all None unless given."""

    __slots__ = ()

    def __init__(self, values=None):
        for name in self.__slots__:
            setattr(self, name, values.get(name) if values else None)

    def __repr__(self):
        fields = ",".join("%s=%s" % (name, getattr(self, name)) for name in self.__slots__)
        return "%s([%s])" % (type(self).__name__, fields)


class CognitoIdentity(_Record):
    """Who called, for calls through the AWS mobile SDKs."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")


class Client(_Record):
    """The calling application."""

    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext(_Record):
    """What the invoker sent as X-Amz-Client-Context."""

    __slots__ = ("custom", "env", "client")

    def __init__(self, values):
        super().__init__(values)
        if self.client is not None:
            self.client = Client(self.client)


class LambdaContext:
    """One invocation as its handler sees it."""

    def __init__(self, invocation, environ, write_log):
        self.aws_request_id = invocation.request_id
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = invocation.function_arn
        self.tenant_id = invocation.tenant_id
        self.client_context = None
        self.identity = CognitoIdentity()
        self._w3c_fields = {}
        self._epoch_deadline_time_in_ms = invocation.deadline_ms
        self._write_log = write_log

    def set_client_context(self, values):
        """Takes the decoded client context; trace fields of the W3C are kept apart from what user code sees."""
        w3c = values.pop("w3c", None)
        if isinstance(w3c, dict):
            self._w3c_fields = {name: w3c[name] for name in _W3C_FIELDS if isinstance(w3c.get(name), str)}
        self.client_context = ClientContext(values)

    def set_identity(self, values):
        """Takes the decoded Cognito identity."""
        self.identity.cognito_identity_id = values.get("cognitoIdentityId")
        self.identity.cognito_identity_pool_id = values.get("cognitoIdentityPoolId")

    def get_remaining_time_in_millis(self):
        """Milliseconds until the function times out, never below 0."""
        return max(0, self._epoch_deadline_time_in_ms - int(time() * 1000))

    def w3c(self):
        """The W3C trace context of this invocation; empty without one."""
        return dict(self._w3c_fields)

    def log(self, message):
        """Writes to the function's log as it is, without adding a line end."""
        self._write_log(str(message))

    def __repr__(self):
        names = (
            "aws_request_id log_group_name log_stream_name function_name memory_limit_in_mb function_version"
            " invoked_function_arn client_context identity tenant_id"
        )
        fields = ",".join("%s=%s" % (name, getattr(self, name)) for name in names.split())
        return "LambdaContext([%s])" % fields
