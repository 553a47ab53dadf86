"""Functions through boto3: life, invocation, errors in AWS's shapes, Python and Node."""

import base64
import json
import os
import re

import pytest

from conftest import ROLE, client, error_of, eventually, unique, zip_of


def invoke(lam, name, event=None, **more):
    answer = lam.invoke(FunctionName=name, Payload=json.dumps(event or {}).encode(), **more)
    return answer, json.loads(answer["Payload"].read() or b"null")


def test_function_life(lam, functions):
    name = functions("def handler(event, context):\n    return event\n", Description="echo", Tags={"team": "blue"},
                     Environment={"Variables": {"COLOUR": "red"}})
    found = lam.get_function(FunctionName=name)
    configuration = found["Configuration"]
    assert configuration["State"] == "Active" and configuration["LastUpdateStatus"] == "Successful"
    assert configuration["FunctionArn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert configuration["Environment"] == {"Variables": {"COLOUR": "red"}}
    assert (configuration["MemorySize"], configuration["Version"], configuration["PackageType"]) == (128, "$LATEST", "Zip")
    assert found["Tags"] == {"team": "blue"}
    assert name in [f["FunctionName"] for page in lam.get_paginator("list_functions").paginate() for f in page["Functions"]]
    before = configuration["RevisionId"]
    updated = lam.update_function_configuration(FunctionName=name, Environment={"Variables": {}}, MemorySize=256)
    assert updated["LastUpdateStatus"] == "InProgress" and updated["RevisionId"] != before
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert lam.get_function_configuration(FunctionName=name)["Environment"] == {"Variables": {}}
    code = lam.update_function_code(
        FunctionName=name, ZipFile=zip_of({"index.py": "def handler(event, context):\n    return 'new'\n"}))
    assert code["CodeSha256"] != configuration["CodeSha256"]
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert invoke(lam, name)[1] == "new"


@pytest.mark.skipif(os.environ.get("TEST_LAYOUT") == "cluster", reason="functions reach the node that has the worker")
def test_the_url_of_a_queue_means_the_same_inside(lam, functions, queue, url):
    source = """import json, os, urllib.request
def handler(event, context):
    headers = {"X-Amz-Target": "AmazonSQS.SendMessage", "Content-Type": "application/x-amz-json-1.0"}
    body = json.dumps({"QueueUrl": event, "MessageBody": "from inside"}).encode()
    return [os.environ["AWS_ENDPOINT_URL"], urllib.request.urlopen(urllib.request.Request(event, body, headers)).status]
"""
    assert invoke(lam, functions(source), queue)[1] == [url, 200]


def test_a_function_has_no_code_signing_configuration(lam, functions):
    name = functions("def handler(event, context):\n    pass\n")
    found = lam.get_function_code_signing_config(FunctionName=name)
    assert found["FunctionName"] == name and not found.get("CodeSigningConfigArn")
    with pytest.raises(lam.exceptions.ResourceNotFoundException):
        lam.get_function_code_signing_config(FunctionName=name + "-not")


def test_who_invokes_is_told_the_trace(lam, functions):
    name = functions("import os\ndef handler(event, context):\n    return os.environ['_X_AMZN_TRACE_ID']\n")
    answer = lam.invoke(FunctionName=name)
    told = answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-trace-id"]
    assert re.match(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0", told)
    assert json.loads(answer["Payload"].read()).split(";")[0] == told.split(";")[0]


def test_the_callers_trace_header_reaches_the_function(lam, functions):
    name = functions("import os\ndef handler(event, context):\n    return os.environ['_X_AMZN_TRACE_ID']\n")
    sent = None
    lam.meta.events.register("before-sign.lambda.Invoke",
                             lambda request, **_: request.headers.__setitem__("X-Amzn-Trace-Id", sent))
    root = "Root=1-5759e988-bd862e3fe1be46a994272793"
    for sent in (f"{root};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=25:a1b2c3d4:1", f"{root};Parent=53995c3f42cd8ad8;Sampled=0"):
        assert invoke(lam, name)[1] == sent


def test_invoke(lam, functions):
    name = functions("import os\nseen = []\ndef handler(event, context):\n    seen.append(1)\n    print('line', len(seen))\n"
                     "    return {'n': len(seen), 'event': event, 'id': context.aws_request_id, 'trace': '_X_AMZN_TRACE_ID' in os.environ}\n")
    first, payload = invoke(lam, name, {"a": [1, None, "ü"]}, LogType="Tail")
    assert first["StatusCode"] == 200 and first["ExecutedVersion"] == "$LATEST" and "FunctionError" not in first
    assert payload == {"n": 1, "event": {"a": [1, None, "ü"]}, "id": first["ResponseMetadata"]["RequestId"], "trace": True}
    log = base64.b64decode(first["LogResult"]).decode()
    request_id = payload["id"]
    assert log.startswith(f"START RequestId: {request_id} Version: $LATEST\n")
    assert f"line 1\nEND RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: " in log
    assert "\tInit Duration: " in log
    second, payload = invoke(lam, name, LogType="Tail")
    assert payload["n"] == 2, "the environment is reused"
    assert "Init Duration" not in base64.b64decode(second["LogResult"]).decode()
    dry = lam.invoke(FunctionName=name, InvocationType="DryRun")
    assert dry["StatusCode"] == 204
    assert error_of(lam.invoke, FunctionName=name, Payload=b"{nonsense")[:2] == ("InvalidRequestContentException", 400)
    assert error_of(lam.invoke, FunctionName="missing") == (
        "ResourceNotFoundException", 404,
        "Function not found: arn:aws:lambda:us-east-1:000000000000:function:missing:$LATEST")


@pytest.mark.parametrize("source, error, message", [
    ("def handler(event, context):\n    raise ValueError('no')\n", "ValueError", "no"),
    ("def other(event, context):\n    pass\n", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'index'"),
    ("import nonsense\n", "Runtime.ImportModuleError", "Unable to import module 'index': No module named 'nonsense'"),
    ("def handler(event, context):\n    return {1, 2}\n", "Runtime.MarshalError",
     "Unable to marshal response: Object of type set is not JSON serializable"),
    ("import time\ndef handler(event, context):\n    time.sleep(9)\n", "Sandbox.Timedout",
     "RequestId: {id} Error: Task timed out after 2.00 seconds"),
    ("import os\ndef handler(event, context):\n    os._exit(3)\n", "Runtime.ExitError",
     "RequestId: {id} Error: Runtime exited with error: exit status 3"),
    ("import os\ndef handler(event, context):\n    os.kill(os.getpid(), 9)\n", "Runtime.ExitError",
     "RequestId: {id} Error: Runtime exited with error: signal: killed"),
])
def test_function_errors(lam, functions, source, error, message):
    name = functions(source)
    answer, payload = invoke(lam, name)
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert payload["errorType"] == error
    assert payload["errorMessage"] == message.format(id=answer["ResponseMetadata"]["RequestId"])
    # The function can be called again: what was broken is replaced.
    assert invoke(lam, name)[1]["errorType"] == error


@pytest.mark.parametrize("file, source", [
    ("index.js", "exports.handler = async (event, context) => ({ n: event.n + 1, id: context.awsRequestId });"),
    ("index.cjs", "exports.handler = (event, context, done) => done(null, { n: event.n + 1, id: context.awsRequestId });"),
    ("index.mjs", "const one = await Promise.resolve(1);\n"
                  "export const handler = async (event, context) => { console.log('hello'); return { n: event.n + one, id: context.awsRequestId }; };"),
])
def test_node(lam, functions, file, source):
    name = functions(source, file=file, runtime="nodejs20.x")
    answer, payload = invoke(lam, name, {"n": 1})
    assert payload == {"n": 2, "id": answer["ResponseMetadata"]["RequestId"]}


def test_node_errors(lam, functions):
    name = functions("exports.handler = async () => { throw new TypeError('no'); };", file="index.js", runtime="nodejs20.x")
    answer, payload = invoke(lam, name)
    assert answer["FunctionError"] == "Unhandled"
    assert (payload["errorType"], payload["errorMessage"]) == ("TypeError", "no")
    assert payload["trace"][0] == "TypeError: no"


def test_concurrent_calls_get_environments_of_their_own(lam, functions, url):
    from concurrent.futures import ThreadPoolExecutor
    from conftest import client
    name = functions("import os, time, uuid\nme = uuid.uuid4().hex\ndef handler(event, context):\n    time.sleep(1.5)\n    return me\n", timeout=20)
    callers = [client("lambda", url) for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        seen = list(pool.map(lambda caller: invoke(caller, name)[1], callers))
    assert len(set(seen)) == 5


def test_large_payloads(lam, functions):
    name = functions("def handler(event, context):\n    return event if isinstance(event, str) else 'x' * event['n']\n")
    big = "y" * 5_000_000
    assert invoke(lam, name, big)[1] == big
    answer, payload = invoke(lam, name, {"n": 7_000_000})
    assert payload == {"errorType": "Function.ResponseSizeTooLarge",
                       "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes)."}
    assert error_of(lam.invoke, FunctionName=name, Payload=b'"' + b"z" * 6_300_000 + b'"')[:2] == (
        "RequestEntityTooLargeException", 413)


def test_refusals(url, functions):
    lam = client("lambda", url, parameter_validation=False)
    arguments = {"FunctionName": unique("f"), "Runtime": "python3.12", "Role": ROLE, "Handler": "index.handler",
                 "Code": {"ZipFile": b"this is no zip"}}
    assert error_of(lam.create_function, **arguments) == (
        "InvalidParameterValueException", 400,
        "Could not unzip uploaded file. Please check your file, then try to upload again.")
    slip = dict(arguments, Code={"ZipFile": zip_of({"../../evil.py": "x"})})
    assert error_of(lam.create_function, **slip)[:2] == ("InvalidParameterValueException", 400)
    bomb = dict(arguments, Code={"ZipFile": zip_of({"zeros": b"\0" * 300_000_000})})
    assert error_of(lam.create_function, **bomb) == (
        "InvalidParameterValueException", 400, "Unzipped size must be smaller than 262144000 bytes")
    good = dict(arguments, Code={"ZipFile": zip_of({"index.py": ""})})
    assert error_of(lam.create_function, **dict(good, MemorySize=64))[:2] == ("ValidationException", 400)
    assert error_of(lam.create_function, **dict(good, Runtime="cobol85"))[:2] == ("InvalidParameterValueException", 400)
    assert error_of(lam.create_function, **dict(good, Role="nobody"))[:2] == ("ValidationException", 400)
    assert error_of(lam.get_function, FunctionName=arguments["FunctionName"]) == (
        "ResourceNotFoundException", 404,
        f"Function not found: arn:aws:lambda:us-east-1:000000000000:function:{arguments['FunctionName']}")
    name = functions("def handler(event, context):\n    pass\n")
    again = dict(good, FunctionName=name)
    assert error_of(lam.create_function, **again) == (
        "ResourceConflictException", 409, f"Function already exist: {name}")


def test_a_planned_operation_says_so(lam):
    code, status, message = error_of(lam.list_code_signing_configs)
    assert (code, status) == ("NotImplementedException", 501) and "docs/gaps.md" in message


def test_the_endpoint_is_reachable_from_inside(lam, functions, sqs, queue):
    from conftest import recorder
    name = functions(recorder(), Environment={"Variables": {"SEEN": queue}})
    invoke(lam, name, {"hello": "queue"})
    message = eventually(lambda: sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages"))[0]
    assert json.loads(message["Body"]) == {"hello": "queue"}
