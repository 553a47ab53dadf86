"""Functions that are debugged: what editors do, at the port that `LAMBFOLD_DEBUG_PORT` names."""

import contextlib
import io
import json
import os
import pathlib
import re
import socket
import threading
import time
import urllib.request
import zipfile

import pytest

from conftest import ROLE, Server, client, error_of, eventually, free_port, unique, without_namespaces, zip_of
from debuggers import DebugAdapter, Inspector, JavaDebugger
from test_lambda import invoke

pytestmark = pytest.mark.skipif(os.environ.get("TEST_LAYOUT", "one") != "one", reason="once is enough: workers are the same in every layout")

NODE = """let count = 0;
exports.handler = async (event) => {
  count += 1;
  let answer = 'ran';
  return [answer, count];
};
"""
PYTHON = """count = 0
def handler(event, context):
    global count
    count += 1
    answer = 'ran'
    return [answer, count]
"""


def variables(port, wait=False, **more):
    return {"Variables": {"LAMBFOLD_DEBUG_PORT": str(port), **({"LAMBFOLD_DEBUG_WAIT": "1"} if wait else {}), **more}}


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def invoking(lam, name):
    """An invocation in another thread; its outcome is in the list when that has ended."""
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(invoke(lam, name)))
    thread.start()
    yield outcome
    thread.join(timeout=60)
    assert outcome, "the invocation does not end"


@contextlib.contextmanager
def at(session):
    try:
        yield session
    finally:
        session.close()


@pytest.fixture(scope="module")
def debugpy():
    """A layer's archive that brings debugpy."""
    import debugpy
    package = pathlib.Path(debugpy.__file__).parent
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in package.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts and file.suffix not in (".dll", ".exe", ".dylib"):
                archive.write(file, f"python/{file.relative_to(package.parent)}")
    return packed.getvalue()


@pytest.fixture
def debugpy_layer(lam, debugpy):
    name = unique("debugpy")
    made = lam.publish_layer_version(LayerName=name, Content={"ZipFile": debugpy})
    yield made["LayerVersionArn"]
    lam.delete_layer_version(LayerName=name, VersionNumber=made["Version"])


def node(functions, port, wait=False, source=NODE, **more):
    return functions(source, file="index.js", runtime="nodejs20.x", Environment=variables(port, wait), **more)


def test_node(lam, functions):
    """A debugger that init waits for, longer than init may take otherwise; a breakpoint, longer than the function's time-out."""
    port = free_port()
    name = node(functions, port, wait=True, timeout=1)
    assert lam.get_function_configuration(FunctionName=name)["Timeout"] == 1, "what is shown is what was set"
    with invoking(lam, name) as outcome:
        with at(Inspector(port)) as debugger:
            debugger.breakpoint("index.js", 5)
            time.sleep(11)
            assert not outcome
            debugger.go()
            frame = debugger.paused()
            assert (frame["location"]["lineNumber"] + 1, frame["functionName"]) == (5, "exports.handler")
            assert debugger.evaluate("[answer, count, event]", frame) == ["ran", 1, {}]
            debugger.evaluate("answer = 'changed'", frame)
            # The one environment is taken, and there is no second one.
            code, status, _ = error_of(lam.invoke, FunctionName=name)
            assert (code, status) == ("TooManyRequestsException", 429)
            time.sleep(1.5)
            debugger.resume()
            eventually(lambda: outcome, what="the answer")
            assert outcome[0][1] == ["changed", 1]
            # Far longer than idle environments go on otherwise: who is asked answers.
            time.sleep(0.5)
            assert debugger.evaluate("6 * 7") == 42
            with invoking(lam, name) as outcome:
                debugger.paused()
                debugger.resume()
            assert outcome[0][1] == ["ran", 2], "in the same environment"


def test_a_debugger_comes_later(lam, functions):
    port = free_port()
    name = node(functions, port)
    assert is_free(port), "there is no environment yet"
    assert invoke(lam, name)[1] == ["ran", 1], "nobody is waited for"
    with at(Inspector(port)) as debugger:
        debugger.breakpoint("index.js", 5)
        with invoking(lam, name) as outcome:
            assert debugger.evaluate("count", debugger.paused()) == 2
            debugger.resume()
        assert outcome[0][1] == ["ran", 2]
    assert invoke(lam, name)[1] == ["ran", 3], "nobody is there to stop it"
    with at(Inspector(port)) as again:
        assert again.evaluate("1 + 1") == 2


def test_python(url, lam, functions, debugpy_layer):
    port = free_port()
    name = functions(PYTHON, timeout=1, Environment=variables(port, wait=True), Layers=[debugpy_layer])
    with invoking(lam, name) as outcome:
        with at(DebugAdapter(port)) as debugger:
            debugger.breakpoint("/var/task/index.py", 6)
            time.sleep(11)
            assert not outcome
            debugger.go()
            thread, frame = debugger.paused()
            assert (frame["name"], frame["line"], frame["source"]["path"]) == ("handler", 6, "/var/task/index.py")
            assert debugger.evaluate(frame, "[answer, count, event]") == "['ran', 1, {}]"
            debugger.evaluate(frame, "answer = 'changed'")
            assert error_of(lam.invoke, FunctionName=name)[:2] == ("TooManyRequestsException", 429)
            time.sleep(1.5)
            debugger.resume(thread)
            eventually(lambda: outcome, what="the answer")
            assert outcome[0][1] == ["changed", 1]
            with invoking(lam, name) as outcome:
                debugger.resume(debugger.paused()[0])
            assert outcome[0][1] == ["ran", 2]
    assert invoke(lam, name)[1] == ["ran", 3], "it goes on when the debugger has left"
    lines = [event["message"] for event in client("logs", url).filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]]
    assert not [line for line in lines if not re.match("INIT_START|START|END|REPORT", line)], "debugpy has nothing to say there"


def test_python_without_debugpy(lam, functions):
    name = functions(PYTHON, Environment=variables(free_port()))
    answer, error = invoke(lam, name)
    assert answer["FunctionError"] == "Unhandled" and error["errorType"] == "Lambfold.Debugger", error
    assert "needs debugpy" in error["errorMessage"] and "pip install --target" in error["errorMessage"]


def test_java(lam, functions):
    """Suspended before its first class until a debugger lets it go on."""
    port, name = free_port(), unique("java")
    try:
        # One of the machine's own classes: there need be no compiler.
        lam.create_function(FunctionName=name, Runtime="java17", Role=ROLE, Handler="java.util.Objects::toString", MemorySize=512,
                            Timeout=10, Code={"ZipFile": zip_of({"a": "b"})}, Environment=variables(port, wait=True))
    except lam.exceptions.InvalidParameterValueException as error:
        pytest.skip(str(error))
    lam.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    with invoking(lam, name) as outcome:
        with at(JavaDebugger(port)) as debugger:
            assert "Java Debug Wire Protocol" in debugger.version()
            time.sleep(1)
            assert not outcome
            debugger.resume()
            eventually(lambda: outcome, what="the answer")
    assert outcome[0][1] == "{}"
    lam.delete_function(FunctionName=name)


BOOTSTRAP = """#!/usr/bin/env python3
import http.client, os, socket, threading
debugger = socket.create_server(("127.0.0.1", int(os.environ["LAMBFOLD_DEBUG_PORT"])))
def debug():
    while True:
        there, _ = debugger.accept()
        there.sendall(there.recv(100)[::-1])
        there.close()
threading.Thread(target=debug, daemon=True).start()
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(*request):
    api.request(*request)
    answer = api.getresponse()
    return answer.read(), answer.headers
while True:
    _, headers = call("GET", "/2018-06-01/runtime/invocation/next")
    call("POST", f"/2018-06-01/runtime/invocation/{headers['Lambda-Runtime-Aws-Request-Id']}/response", "1")
"""


def executable(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, source in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o755 << 16
            archive.writestr(entry, source)
    return packed.getvalue()


def asked_backwards(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as there:
        there.sendall(b"abc")
        return there.recv(100)


def test_a_runtime_of_its_own_has_its_own_debugger(lam):
    port, name = free_port(), unique("provided")
    lam.create_function(FunctionName=name, Runtime="provided.al2023", Role=ROLE, Handler="any", Environment=variables(port),
                        Code={"ZipFile": executable({"bootstrap": BOOTSTRAP})})
    lam.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert invoke(lam, name)[1] == 1
    assert asked_backwards(port) == b"cba" and asked_backwards(port) == b"cba"
    lam.delete_function(FunctionName=name)
    eventually(lambda: is_free(port), what="the end of the environment")


def test_with_provisioned_concurrency_the_port_is_there_before_anybody_calls(lam, functions):
    port = free_port()
    name = node(functions, port, wait=True)
    version = lam.publish_version(FunctionName=name)["Version"]
    lam.put_provisioned_concurrency_config(FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=1)
    with at(Inspector(port)) as debugger:
        debugger.breakpoint("index.js", 5)
        debugger.go()
        eventually(lambda: lam.get_provisioned_concurrency_config(FunctionName=name, Qualifier=version)["Status"] == "READY",
                   what="the environment")
        with invoking(lam, f"{name}:{version}") as outcome:
            assert debugger.evaluate("count", debugger.paused()) == 1
            assert error_of(lam.invoke, FunctionName=name, Qualifier=version)[:2] == ("TooManyRequestsException", 429)
            debugger.resume()
        assert outcome[0][1] == ["ran", 1]
    lam.delete_provisioned_concurrency_config(FunctionName=name, Qualifier=version)


EXTENSION = """#!/usr/bin/env python3
import json, os, signal, time, urllib.request
# It takes all the time there is to end.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
base = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2020-01-01/extension/"
request = urllib.request.Request(base + "register", json.dumps({"events": ["SHUTDOWN"]}).encode(), {"Lambda-Extension-Name": "slow"})
identifier = urllib.request.urlopen(request).headers["Lambda-Extension-Identifier"]
urllib.request.urlopen(urllib.request.Request(base + "event/next", headers={"Lambda-Extension-Identifier": identifier})).read()
time.sleep(60)
"""


def test_an_environment_that_is_slow_to_end_does_not_keep_the_port(lam, functions):
    port, layer = free_port(), unique("slow")
    made = lam.publish_layer_version(LayerName=layer, Content={"ZipFile": executable({"extensions/slow": EXTENSION})})
    name = node(functions, port, timeout=10, Layers=[made["LayerVersionArn"]])
    assert invoke(lam, name)[1] == ["ran", 1]
    lam.update_function_configuration(FunctionName=name, MemorySize=192)
    # It is being shut down for two seconds from now on.
    eventually(lambda: is_free(port), seconds=1.5, what="the port of what is no longer wanted")
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    lam.delete_layer_version(LayerName=layer, VersionNumber=made["Version"])


def test_there_is_one_environment(lam, functions):
    port = free_port()
    name = node(functions, port, timeout=10,
                source="const me = Math.random();\nexports.handler = (event) => "
                       "new Promise((resolve) => setTimeout(() => resolve(me), 300));\n")
    told, refused = [], []

    def call():
        try:
            told.append(invoke(lam, name)[1])
        except lam.exceptions.TooManyRequestsException as error:
            refused.append(error.response["Reason"])

    for _ in range(3):
        calls = [threading.Thread(target=call) for _ in range(4)]
        for it in calls:
            it.start()
        for it in calls:
            it.join()
    assert len(told) >= 3 and len(set(told)) == 1, told
    assert len(told) + len(refused) == 12 and set(refused) == {"ReservedFunctionConcurrentInvocationLimitExceeded"}


def test_the_port_goes_with_the_environment(lam, functions):
    port = free_port()
    name = node(functions, port)
    assert invoke(lam, name)[1] == ["ran", 1]
    assert not is_free(port)
    # What comes after an update finds it free, whoever of the two is sooner.
    for memory in (192, 256):
        lam.update_function_configuration(FunctionName=name, MemorySize=memory)
        lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
        assert invoke(lam, name)[1] == ["ran", 1]
    with at(Inspector(port)) as debugger:
        assert debugger.evaluate("count === undefined") is None
    # A version that has its own environment takes the port from the idle one of another.
    version = lam.publish_version(FunctionName=name)["Version"]
    for qualifier in (version, "$LATEST", version):
        assert invoke(lam, name, Qualifier=qualifier)[1] == ["ran", 1]
    lam.update_function_configuration(FunctionName=name, Environment={"Variables": {}})
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert invoke(lam, name)[1] == ["ran", 1]
    lam.delete_function(FunctionName=name, Qualifier=version)
    eventually(lambda: is_free(port), what="the end of the environment")


def test_a_port_of_somebody_else(lam, functions):
    port = free_port()
    first, second = node(functions, port), node(functions, port)
    assert invoke(lam, first)[1] == ["ran", 1]
    answer, error = invoke(lam, second)
    assert (answer["FunctionError"], error["errorType"]) == ("Unhandled", "Lambfold.Debugger"), error
    assert f"port {port} leads to another environment, of function {first}" in error["errorMessage"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        answer, error = invoke(lam, node(functions, taken))
        assert error["errorType"] == "Lambfold.Debugger", error
        assert f"port {taken} of 127.0.0.1 is taken by another process" in error["errorMessage"]


@pytest.mark.parametrize("given, text", [
    ({"LAMBFOLD_DEBUG_PORT": "80"}, "LAMBFOLD_DEBUG_PORT must be the number of a port from 1024 to 65535, not '80'."),
    ({"LAMBFOLD_DEBUG_PORT": "65536"}, "must be the number of a port"),
    ({"LAMBFOLD_DEBUG_PORT": "debugger"}, "must be the number of a port"),
    ({"LAMBFOLD_DEBUG_PORT": "9001"}, "LAMBFOLD_DEBUG_PORT cannot be 9001: functions find the Runtime API at 9001"),
    ({"LAMBFOLD_DEBUG_PORT": "5678", "LAMBFOLD_DEBUG_WAIT": "yes"}, "LAMBFOLD_DEBUG_WAIT must be 1"),
    ({"LAMBFOLD_DEBUG_WAIT": "1"}, "LAMBFOLD_DEBUG_WAIT needs LAMBFOLD_DEBUG_PORT"),
])
def test_bad_values_are_refused(lam, functions, given, text):
    made = {"Runtime": "nodejs20.x", "Role": ROLE, "Handler": "index.handler", "Code": {"ZipFile": zip_of({"index.js": NODE})}}
    for refused in (error_of(lam.create_function, FunctionName=unique("no"), Environment={"Variables": given}, **made),
                    error_of(lam.update_function_configuration, FunctionName=functions("def handler(*_): pass"),
                             Environment={"Variables": given})):
        assert refused[:2] == ("InvalidParameterValueException", 400) and text in refused[2], refused


@contextlib.contextmanager
def served(folder, *flags, **settings):
    server = Server(folder / "data", *flags, settings=settings).start()
    try:
        yield server, client("lambda", server.url)
    finally:
        assert server.stop() == 0


def deployed(lam, port, **more):
    name = unique("debugged")
    lam.create_function(FunctionName=name, Runtime="nodejs20.x", Role=ROLE, Handler="index.handler",
                        Code={"ZipFile": zip_of({"index.js": NODE})}, Environment=variables(port), **more)
    lam.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    return name


@pytest.mark.parametrize("flags, more", [
    (["--strict"], {}), ([], {"settings": {"LAMBFOLD_WORKER__DEBUGGER": "false"}}), ([], {"listen": "0.0.0.0"})],
    ids=["strict", "off", "open"])
def test_where_others_may_call_it_is_off(tmp_path, flags, more):
    port = free_port()
    with served(tmp_path) as (_, lam):
        name = deployed(lam, port)
    server = Server(tmp_path / "data", *flags, **more).start()
    try:
        lam = client("lambda", server.url)
        code, status, message = error_of(
            lam.create_function, FunctionName="f", Runtime="nodejs20.x", Role=ROLE, Handler="index.handler",
            Code={"ZipFile": zip_of({"index.js": NODE})}, Environment=variables(port))
        assert (code, status) == ("InvalidParameterValueException", 400)
        assert message.startswith("LAMBFOLD_DEBUG_PORT: debuggers are off (worker.debugger"), message
        # One that was made before does not run as if nothing had been asked for.
        answer, error = invoke(lam, name)
        assert (answer["FunctionError"], error["errorType"]) == ("Unhandled", "Lambfold.Debugger"), error
        assert "debuggers are off" in error["errorMessage"] and is_free(port)
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("policy", ["endpoint-only", "none", "allow-list"])
@pytest.mark.parametrize("pool", ["0", "64"])
def test_whatever_the_function_reaches_the_debugger_reaches_it(tmp_path, policy, pool):
    settings = {"LAMBFOLD_WORKER__NETWORK": policy, "LAMBFOLD_WORKER__POOL_MEMORY_MIB": pool}
    if policy == "allow-list":
        settings["LAMBFOLD_WORKER__ALLOW"] = '["example.com:443"]'
    with served(tmp_path, **settings) as (_, lam):
        port = free_port()
        assert invoke(lam, deployed(lam, port))[1] == ["ran", 1]
        with at(Inspector(port)) as debugger:
            assert debugger.evaluate("6 * 7") == 42


def test_without_a_network_of_its_own(tmp_path):
    """At the level `process` the debugger listens at this machine's port itself."""
    limited = without_namespaces(tmp_path)
    server = Server(tmp_path / "data", binary=limited).start()
    try:
        assert re.search(r"Isolation +process", server.banner)
        lam, port = client("lambda", server.url), free_port()
        name = deployed(lam, port)
        assert invoke(lam, name)[1] == ["ran", 1]
        with at(Inspector(port)) as debugger:
            assert debugger.evaluate("6 * 7") == 42
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            assert "is taken by another process" in invoke(lam, deployed(lam, taken))[1]["errorMessage"]
        lam.delete_function(FunctionName=name)
        eventually(lambda: is_free(port), what="the end of the environment")
    finally:
        assert server.stop() == 0


def test_code_that_is_live(tmp_path):
    """Hot reload and a debugger: a change of the code brings another environment, at the same port."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "index.js").write_text(NODE)
    with served(tmp_path, LAMBFOLD_WORKER__HOT_RELOAD=json.dumps([str(work)])) as (_, lam):
        port, name = free_port(), unique("live")
        lam.create_function(FunctionName=name, Runtime="nodejs20.x", Role=ROLE, Handler="index.handler",
                            Code={"S3Bucket": "hot-reload", "S3Key": str(work)}, Environment=variables(port))
        lam.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
        assert invoke(lam, name)[1] == ["ran", 1]
        for round in range(3):
            with at(Inspector(port)) as debugger:
                assert debugger.evaluate("6 * 7") == 42
                (work / "index.js").write_text(NODE.replace("ran", f"round {round}"))
                assert invoke(lam, name)[1] == [f"round {round}", 1]


def test_an_idle_environment_stays_while_somebody_looks_at_it(tmp_path):
    with served(tmp_path, LAMBFOLD_WORKER__IDLE_SECONDS="1") as (server, lam):
        port = free_port()
        name = deployed(lam, port)
        assert invoke(lam, name)[1] == ["ran", 1]
        with at(Inspector(port)) as debugger:
            time.sleep(3)
            assert debugger.evaluate("6 * 7") == 42
        assert invoke(lam, name)[1] == ["ran", 2]
        eventually(lambda: is_free(port), what="the end of what nobody looks at")
        metrics = urllib.request.urlopen(server.url + "/metrics").read().decode()
        assert re.search(r"^\w*worker_environments 0$", metrics, re.M)
