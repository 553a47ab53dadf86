"""Every shape of SQS, Lambda and of what there is of CloudWatch Logs, full and empty and wrong, between botocore's serialisers and parsers and ours."""

import json
import re
import urllib.parse

import botocore.parsers
import botocore.serialize
import pytest

import wire as w

SQS, LAMBDA, QUERY, LOGS = w.model("sqs"), w.model("lambda"), w.query_model(), w.model("logs")
# Name in tests, service, botocore's protocol, ours.
PROTOCOLS = {"json": (SQS, "json", "json"), "query": (QUERY, "query", "query"), "rest": (LAMBDA, "rest-json", "rest"),
             "logs": (LOGS, "json", "json-1.1")}
# Of CloudWatch Logs there is a part.
OF_LOGS = re.findall(r"^  rpc (\w+)", (w.ROOT / "proto/lambfold/logs/v1/logs.proto").read_text(), re.MULTILINE)
OPERATIONS = {protocol: OF_LOGS if protocol == "logs" else model.operation_names for protocol, (model, _, _) in PROTOCOLS.items()}
ALL = [(protocol, operation) for protocol, operations in OPERATIONS.items() for operation in operations]
ERRORS = [(protocol, shape.name) for protocol, (model, _, _) in PROTOCOLS.items() if protocol != "logs" for shape in model.error_shapes]
ERRORS += [("logs", name) for name in sorted({shape.name for it in OF_LOGS for shape in LOGS.operation_model(it).error_shapes})]


@pytest.fixture(scope="session")
def wire():
    wire = w.Wire()
    yield wire
    wire.close()


def serialized(protocol, operation, params):
    """The request that botocore sends."""
    model, name, _ = PROTOCOLS[protocol]
    request = botocore.serialize.create_serializer(name, include_validation=False).serialize_to_request(
        params, model.operation_model(operation))
    query, body = request["query_string"], request["body"]
    if isinstance(query, dict):
        query = urllib.parse.urlencode(query, doseq=True)
    if isinstance(body, dict):
        body = urllib.parse.urlencode(body)
    target = request["url_path"]
    if query:
        target += ("&" if "?" in target else "?") + query
    return request["method"], target, dict(request["headers"]), body.encode() if isinstance(body, str) else body or b""


def parsed(protocol, operation, response):
    model, name, _ = PROTOCOLS[protocol]
    shape = model.operation_model(operation).output_shape
    result = botocore.parsers.create_parser(name).parse(response, shape)
    result.pop("ResponseMetadata")
    return result


def service(protocol):
    return {"rest": "lambda", "logs": "logs"}.get(protocol, "sqs")


@pytest.mark.parametrize("protocol,operation", ALL)
def test_full_inputs(wire, protocol, operation):
    shape = PROTOCOLS[protocol][0].operation_model(operation).input_shape
    params = w.sample(shape)
    told = wire.decode(*serialized(protocol, operation, params))
    assert (told.get("service"), told.get("operation")) == (service(protocol), operation), told
    assert told["input"] == w.as_json(params)


@pytest.mark.parametrize("protocol,operation", ALL)
def test_empty_inputs(wire, protocol, operation):
    shape = PROTOCOLS[protocol][0].operation_model(operation).input_shape
    params = w.only(shape, w.sample(shape), "uri")
    told = wire.decode(*serialized(protocol, operation, params))
    if payload := shape.serialization.get("payload"):
        # botocore sends `{}` for a structure that is not given.
        assert told["input"].pop(payload, {}) == {}
    assert (told.get("operation"), told.get("input")) == (operation, params), told


def test_an_empty_list_differs_from_none_where_it_matters(wire):
    params = {"FunctionName": "f", "Layers": [], "Environment": {"Variables": {}}, "FileSystemConfigs": []}
    told = wire.decode(*serialized("rest", "UpdateFunctionConfiguration", params))
    assert told["input"] == params


@pytest.mark.parametrize("protocol,operation", [it for it in ALL if it[0] != "query"])
def test_wrong_inputs(wire, protocol, operation):
    """One member at a time holds what it never may."""
    shape = PROTOCOLS[protocol][0].operation_model(operation).input_shape
    method, target, headers, body = serialized(protocol, operation, w.sample(shape))
    if shape.serialization.get("payload"):
        return
    full = json.loads(body) if body else {}
    for name in full:
        member = shape.members[name]
        wrong = [7] if member.type_name in ("structure", "map", "list") else [{"x": 1}, [1]]
        wrong += {"string": [7, True], "structure": [[], "x"], "list": [{}], "map": [[]], "integer": ["1", 1.5, 1e99],
                  "long": ["1", 1.5], "boolean": ["true", 1], "blob": ["*", 7]}.get(member.type_name, ["x"])
        for value in wrong:
            told = wire.decode(method, target, headers, json.dumps({**full, name: value}).encode())
            assert told.get("status") == 400, (name, value, told)
            answer = w.response(told)
            error = botocore.parsers.create_parser(PROTOCOLS[protocol][1]).parse(answer, shape)["Error"]
            assert error["Code"] == ("MalformedInput" if protocol == "json" else "SerializationException"), (name, value, error)


@pytest.mark.parametrize("protocol,operation", ALL)
def test_full_outputs(wire, protocol, operation):
    shape = PROTOCOLS[protocol][0].operation_model(operation).output_shape
    if shape is None:
        answer = wire.encode(service(protocol), operation, PROTOCOLS[protocol][2], {})
        assert answer["status_code"] in (200, 202, 204)
        assert parsed(protocol, operation, answer) == {}
        return
    if any(w.is_stream(member) for member in shape.members.values()):
        pytest.skip("answers with a stream of frames, not a shape")
    output = w.sample(shape, micros=500_000)
    answer = wire.encode(service(protocol), operation, PROTOCOLS[protocol][2], w.as_json(output))
    answer["body"] = w.Body(answer["body"]) if "payload" in shape.serialization else answer["body"]
    assert w.as_json(parsed(protocol, operation, answer)) == w.as_json(output)


@pytest.mark.parametrize("protocol,operation", ALL)
def test_empty_outputs(wire, protocol, operation):
    shape = PROTOCOLS[protocol][0].operation_model(operation).output_shape
    if shape is None or any(w.is_stream(member) for member in shape.members.values()):
        pytest.skip("has no output shape")
    answer = wire.encode(service(protocol), operation, PROTOCOLS[protocol][2], {})
    found = parsed(protocol, operation, answer)
    # botocore shows the status and the payload whether they were sent or not.
    status = {name for name, member in shape.members.items() if member.serialization.get("location") == "statusCode"}
    payload = {shape.serialization["payload"]} if "payload" in shape.serialization else set()
    assert {name for name in found if name not in status | payload} == set()
    assert all(found[name] == answer["status_code"] for name in status)
    http = PROTOCOLS[protocol][0].operation_model(operation).http
    assert answer["status_code"] == http.get("responseCode", 200)


# What the JSON model of SQS no longer tells of its errors (facts: SQS section 10).
QUERY_CODES = {"QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue", "QueueNameExists": "QueueAlreadyExists"} | {
    code: f"AWS.SimpleQueueService.{code}" for code in (
        "QueueDeletedRecently", "PurgeQueueInProgress", "EmptyBatchRequest", "TooManyEntriesInBatchRequest",
        "BatchEntryIdsNotDistinct", "InvalidBatchEntryId", "BatchRequestTooLong", "MessageNotInflight",
        "UnsupportedOperation")}
SQS_STATUSES = {"PurgeQueueInProgress": 403, "OverLimit": 403, "RequestThrottled": 403, "ResourceNotFoundException": 404,
                "InvalidAddress": 404, "ReceiptHandleIsInvalid": 404}
LOGS_STATUSES = {"ServiceUnavailableException": 500}


@pytest.mark.parametrize("protocol,code", ERRORS)
def test_errors(wire, protocol, code):
    model, name, ours = PROTOCOLS[protocol]
    shape = model.shape_for(code)
    message = "What <went> & \"wrong\".\r\né"
    reason = [("Reason", "ConcurrentInvocationLimitExceeded")] if "Reason" in shape.members else []
    answer = wire.fail(service(protocol), ours, code, message, reason)
    parser = botocore.parsers.create_parser(name)
    error = parser.parse(answer, None)["Error"]
    assert error["Message"] == message
    if protocol == "rest":
        assert answer["status_code"] == shape.metadata["error"]["httpStatusCode"]
        assert error["Code"] == code
        told = parser.parse(answer, shape)
        assert {key: told[key] for key, _ in reason} == dict(reason)
        assert told.get("Type", "User") == ("User" if answer["status_code"] < 500 else "Service")
        return
    assert answer["status_code"] == (LOGS_STATUSES if protocol == "logs" else SQS_STATUSES).get(code, 400)
    assert error["Code"] == QUERY_CODES.get(code, code)
    if protocol == "json":
        assert error["QueryErrorCode"] == code
        assert answer["headers"]["x-amzn-query-error"].endswith(";Sender")
