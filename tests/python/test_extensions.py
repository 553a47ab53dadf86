"""A layer with an external extension, through boto3: what it sees, what it holds up, how it ends."""

import json
import time
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


LISTENER = """#!/usr/bin/env python3
import http.client, http.server, json, os, sys, threading
API = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(method, path, headers, body=None):
    API.request(method, path, body, headers)
    answer = API.getresponse()
    return answer.status, answer.headers, json.loads(answer.read())
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        for event in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
            print("EVENT", json.dumps(event), flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("sandbox.localdomain", 4243), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
_, headers, _ = call("POST", "/2020-01-01/extension/register", {"Lambda-Extension-Name": os.path.basename(sys.argv[0])},
                     json.dumps({"events": ["INVOKE", "SHUTDOWN"]}))
me = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
status, _, answer = call("PUT", "/2022-07-01/telemetry", me, json.dumps({
    "schemaVersion": "2022-12-13", "types": ["platform", "function"], "buffering": {"timeoutMs": 100},
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243"}}))
assert (status, answer) == (200, "OK"), answer
while call("GET", "/2020-01-01/extension/event/next", me)[2]["eventType"] != "SHUTDOWN":
    pass
print("EVENT", json.dumps({"type": "the end"}), flush=True)
"""


def test_an_extension_that_listens_to_telemetry(lam, functions, url):
    logs = client("logs", url, inject_host_prefix=False)
    archive = zip_of({executable("extensions/listener"): LISTENER})
    layer = lam.publish_layer_version(LayerName=unique("layer"), Content={"ZipFile": archive})["LayerVersionArn"]
    source = "def handler(event, context):\n    print('said', event)\n    return 1 / event\n"
    name = functions(source, Layers=[layer])
    answers = [lam.invoke(FunctionName=name, Payload=payload) for payload in ("1", "0")]
    ids = [answer["ResponseMetadata"]["RequestId"] for answer in answers]
    assert "FunctionError" in answers[1]
    lam.update_function_configuration(FunctionName=name, Description="the end of the environment")

    def events():
        lines = [line for line in messages_of(logs, f"/aws/lambda/{name}") if line.startswith("EVENT ")]
        return [json.loads(line.removeprefix("EVENT ")) for line in lines]

    eventually(lambda: any(event["type"] == "the end" for event in events()), what="the shutdown")
    seen = events()
    kinds = [event["type"] for event in seen]
    init = ["initStart", "telemetrySubscription", "initRuntimeDone", "extension", "initReport"]
    assert kinds[:5] == [f"platform.{kind}" for kind in init]
    assert kinds[-3:] == ["platform.runtimeDone", "platform.report", "the end"]
    starts, done, reports = ([event["record"] for event in seen if event["type"] == f"platform.{kind}"]
                             for kind in ("start", "runtimeDone", "report"))
    for records in (starts, done, reports):
        assert [record["requestId"] for record in records] == ids
    assert [record["status"] for record in done] == [record["status"] for record in reports] == ["success", "failure"]
    assert [event["record"] for event in seen if event["type"] == "function"][0] == "said 1\n"


def test_background_work_stands_still_between_invocations(lam, functions):
    source = ("import threading, time\nticks = 0\ndef tick():\n    global ticks\n    while True:\n        ticks += 1\n"
              "        time.sleep(0.01)\nthreading.Thread(target=tick, daemon=True).start()\n"
              "def handler(event, context):\n    return [ticks, time.time()]\n")
    name = functions(source)
    ticks, at = invoke(lam, name)[1]
    time.sleep(1.5)
    later, then = invoke(lam, name)[1]
    assert then - at > 1.4 and later - ticks < 60
