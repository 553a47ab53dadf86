"""A layer with an external extension, through boto3: what it sees, what it holds up, how it ends."""

import json
import zipfile

from conftest import client, eventually, unique, zip_of
from test_lambda import invoke
from test_logs import messages_of

AGENT = """#!/usr/bin/env python3
import http.client, json, os, sys
def call(method, path, headers, body=None):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request(method, "/2020-01-01/extension/" + path, body, headers)
    answer = api.getresponse()
    return answer.status, answer.headers, json.loads(answer.read())
status, headers, about = call("POST", "register", {"Lambda-Extension-Name": os.path.basename(sys.argv[0])},
                              json.dumps({"events": ["INVOKE", "SHUTDOWN"]}))
assert status == 200, about
print("AGENT", json.dumps(about), flush=True)
while True:
    status, _, event = call("GET", "event/next", {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]})
    print("AGENT", json.dumps(event), flush=True)
    if event["eventType"] == "SHUTDOWN":
        break
    if os.environ.get("FRAGILE"):
        sys.exit(3)
"""


def executable(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o100755 << 16
    return entry


def layer_of(lam):
    archive = zip_of({executable("extensions/agent"): AGENT})
    return lam.publish_layer_version(LayerName=unique("layer"), Content={"ZipFile": archive})["LayerVersionArn"]


def test_an_extension_from_a_layer(lam, functions, url):
    logs = client("logs", url, inject_host_prefix=False)
    name = functions("def handler(event, context):\n    return context.aws_request_id\n", Layers=[layer_of(lam)])
    ids = [invoke(lam, name)[1] for _ in range(2)]
    lam.update_function_configuration(FunctionName=name, Description="the end of the environment")
    group = f"/aws/lambda/{name}"

    def said():
        lines = [line for line in messages_of(logs, group) if line.startswith("AGENT ")]
        return [json.loads(line.removeprefix("AGENT ")) for line in lines]

    eventually(lambda: any(event.get("eventType") == "SHUTDOWN" for event in said()), what="the shutdown")
    about, *events = said()
    assert about == {"functionName": name, "functionVersion": "$LATEST", "handler": "index.handler"}
    assert [event["eventType"] for event in events] == ["INVOKE", "INVOKE", "SHUTDOWN"]
    assert [event["requestId"] for event in events[:2]] == ids
    assert events[0]["invokedFunctionArn"].endswith(f":function:{name}")
    assert events[0]["tracing"]["type"] == "X-Amzn-Trace-Id" and events[0]["tracing"]["value"].startswith("Root=1-")
    assert events[2]["shutdownReason"] == "spindown"
    assert any(line.startswith("EXTENSION\tName: agent\tState: Ready\tEvents: [INVOKE, SHUTDOWN]")
               for line in messages_of(logs, group))


def test_an_extension_that_ends(lam, functions):
    name = functions("import time\ndef handler(event, context):\n    time.sleep(1.5)\n", Layers=[layer_of(lam)],
                     Environment={"Variables": {"FRAGILE": "yes"}})
    for _ in range(2):
        answer, error = invoke(lam, name)
        assert answer["FunctionError"] == "Unhandled"
        assert error["errorType"] == "Extension.Crash" and error["errorMessage"].endswith(" Error: exit status 3")
