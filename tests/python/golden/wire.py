"""Our codecs behind a pipe, and the service models that botocore has for them."""

import base64
import copy
import datetime
import json
import os
import pathlib
import subprocess

import botocore.model
import botocore.session

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Wire:
    """The example wire_echo of crates/aws-wire: one JSON line in, one out."""

    def __init__(self):
        binary = os.environ.get("LAMBFOLD_WIRE_ECHO")
        if not binary:
            build = ["cargo", "build", "-q", "--workspace", "--example", "wire_echo", "--message-format=json"]
            lines = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout.splitlines()
            binary = next(found for found in (json.loads(line).get("executable") for line in lines) if found)
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the codec broke at {line}"
        return json.loads(answer)

    def decode(self, method, target, headers, body):
        return self.ask(decode={"method": method, "target": target, "headers": list(headers.items()),
                                "body": base64.b64encode(body).decode()})

    def encode(self, service, operation, protocol, output):
        return response(self.ask(encode={"service": service, "operation": operation, "protocol": protocol, "output": output}))

    def fail(self, service, protocol, code, message, members=()):
        return response(self.ask(fail={"service": service, "protocol": protocol, "code": code, "message": message,
                                       "members": list(members)}))

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=10) == 0


def response(told):
    """An answer as botocore's parsers take it."""
    headers = botocore.awsrequest.HeadersDict(told["headers"])
    return {"status_code": told["status"], "headers": headers, "body": base64.b64decode(told["body"])}


def model(service):
    return botocore.session.get_session().get_service_model(service)


# What made SQS's model a Query model before it became a JSON one (botocore 1.31.60): collections are flattened under
# names of their own.
QUERY_LISTS = {
    "AWSAccountIdList": "AWSAccountId",
    "ActionNameList": "ActionName",
    "AttributeNameList": "AttributeName",
    "MessageAttributeNameList": "MessageAttributeName",
    "MessageSystemAttributeList": "MessageSystemAttributeName",
    "TagKeyList": "TagKey",
    "QueueUrlList": "QueueUrl",
    "MessageList": "Message",
    "StringList": "StringListValue",
    "BinaryList": "BinaryListValue",
}
QUERY_MAPS = {
    "QueueAttributeMap": ("Attribute", "Name"),
    "MessageSystemAttributeMap": ("Attribute", "Name"),
    "MessageBodyAttributeMap": ("MessageAttribute", "Name"),
    "MessageBodySystemAttributeMap": ("MessageSystemAttribute", "Name"),
    "TagMap": ("Tag", "Key"),
}


def query_model():
    """SQS as a Query service."""
    described = copy.deepcopy(model("sqs")._service_description)
    described["metadata"].update(protocol="query", protocols=["query"], xmlNamespace="http://queue.amazonaws.com/doc/2012-11-05/")
    described["metadata"].pop("awsQueryCompatible", None)
    for name, shape in described["shapes"].items():
        if shape["type"] == "list":
            shape["flattened"] = True
            shape["member"]["locationName"] = QUERY_LISTS.get(name) or name.removesuffix("List")
        elif shape["type"] == "map":
            shape["locationName"], shape["key"]["locationName"] = QUERY_MAPS[name]
            shape["value"]["locationName"], shape["flattened"] = "Value", True
    for name, operation in described["operations"].items():
        if "output" in operation:
            operation["output"]["resultWrapper"] = f"{name}Result"
    return botocore.model.ServiceModel(described, "sqs")


TEXTS = {
    "path": "a/b:c d%é",
    "header": "X-text; (1) = \"2\"",
    "query": "a&b=c+d %é",
    "body": "tag <a&b>\t\r\n\"é😀' \\ +%&=",
}


def sample(shape, location="body", depth=0, micros=0):
    """A value for every member of `shape`, as a Python client would pass it."""
    kind = shape.type_name
    if kind == "structure":
        if depth > 6:
            return {}
        return {name: sample(member, member.serialization.get("location", "body"), depth + 1, micros)
                for name, member in shape.members.items() if not is_stream(member)}
    if kind == "list":
        if location in ("querystring", "uri", "header"):
            return [TEXTS["query"], "two"]
        return [sample(shape.member, location, depth + 1, micros)] * 2
    if kind == "map":
        return {key: sample(shape.value, location, depth + 1, micros) for key in ("one", "Two <&>")}
    if location == "statusCode":
        return 202
    if kind in ("integer", "long"):
        return 1 if kind == "integer" else 9_007_199_254_740_993
    return {
        "string": TEXTS[{"uri": "path", "header": "header", "querystring": "query"}.get(location, "body")],
        "boolean": True,
        "double": 0.25,
        "float": 0.25,
        "blob": bytes(range(256)),
        "timestamp": datetime.datetime(2026, 1, 31, 12, 34, 56, micros, tzinfo=datetime.timezone.utc),
    }[kind] if kind in ("string", "boolean", "double", "float", "blob", "timestamp") else None


def is_stream(shape):
    return bool(getattr(shape, "is_event_stream", False) or shape.serialization.get("eventstream"))


class Body(bytes):
    """A body that is read as a stream, as botocore has those that are not parsed."""

    def decode(self, *_):
        return bytes(self)


def only(shape, value, location):
    """The members of `value` that travel in `location`."""
    return {name: value[name] for name, member in shape.members.items()
            if name in value and member.serialization.get("location") == location}


def as_json(value):
    """A client's value as our shapes print it."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    return value
