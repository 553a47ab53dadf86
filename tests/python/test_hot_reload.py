"""Code that is a directory of this machine: what is written there, the next invocation runs."""

import json
import re
import shutil
import threading
import time
import urllib.request

import pytest

from conftest import ROLE, Server, client, error_of, eventually, unique, zip_of
from test_lambda import invoke

HANDLER = "import os\nseen = []\ndef handler(event, context):\n    seen.append(1)\n    return ['{}', len(seen)]\n"


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A server, and the directory below which it allows hot reload."""
    folder = tmp_path_factory.mktemp("hot")
    work = folder / "work"
    work.mkdir()
    # Functions have a user of their own, who passes by nothing but what is mounted.
    server = Server(folder / "data", settings={"LAMBFOLD_WORKER__HOT_RELOAD": json.dumps([str(work)])}).start()
    yield server, work
    assert server.stop() == 0


@pytest.fixture
def lam(ground):
    return client("lambda", ground[0].url)


@pytest.fixture
def code(ground):
    directory = ground[1] / unique("code")
    directory.mkdir()
    (directory / "index.py").write_text(HANDLER.format("one"))
    return directory


def source(directory):
    return {"S3Bucket": "hot-reload", "S3Key": str(directory)}


def create(lam, directory, runtime="python3.12", timeout=10, **more):
    name = unique("hot")
    made = lam.create_function(FunctionName=name, Runtime=runtime, Role=ROLE, Handler="index.handler", Timeout=timeout,
                               Code=source(directory), **more)
    lam.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    return name, made


def result(lam, name, event=None):
    answer, value = invoke(lam, name, event)
    assert "FunctionError" not in answer, value
    return value


def test_the_next_invocation_runs_what_was_written(lam, code):
    name, made = create(lam, code)
    assert (made["CodeSize"], made["CodeSha256"]) == (0, "hot-reloading-hash-not-available")
    assert lam.get_function(FunctionName=name)["Code"]["Location"] == f"file://{code}"
    assert [result(lam, name) for _ in range(2)] == [["one", 1], ["one", 2]]
    for round in range(20):
        # At once, and of the same size: nobody waits for whatever watches.
        (code / "index.py").write_text(HANDLER.format(f"{round:03}"))
        assert [result(lam, name) for _ in range(2)] == [[f"{round:03}", 1], [f"{round:03}", 2]]
    (code / "deep").mkdir()
    (code / "deep" / "added").write_text("x")
    assert result(lam, name) == ["019", 1]
    # What a build does: another directory under the same name.
    shutil.rmtree(code)
    code.mkdir()
    (code / "index.py").write_text(HANDLER.format("built"))
    assert result(lam, name) == ["built", 1]


def test_javascript(lam, code):
    (code / "index.mjs").write_text("export const handler = async () => 'one';")
    name, _ = create(lam, code, runtime="nodejs20.x")
    assert result(lam, name) == "one"
    (code / "index.mjs").write_text("export const handler = async () => 'two';")
    assert result(lam, name) == "two"


def test_an_invocation_that_runs_goes_on(lam, code):
    (code / "index.py").write_text(
        "import time\ndef handler(event, context):\n    open('/tmp/x', 'w')\n    time.sleep(event['wait'])\n    return 'old'\n")
    name, _ = create(lam, code)
    assert result(lam, name, {"wait": 0}) == "old"
    results = []
    thread = threading.Thread(target=lambda: results.append(result(lam, name, {"wait": 2})))
    thread.start()
    time.sleep(0.7)
    (code / "index.py").write_text(HANDLER.format("new"))
    assert result(lam, name) == ["new", 1]
    thread.join()
    assert results == ["old"]
    assert result(lam, name)[0] == "new"


def test_the_directory_is_read_only(lam, code):
    (code / "index.py").write_text(
        "import os\ndef handler(event, context):\n    try:\n        open('/var/task/new', 'w')\n"
        "    except OSError as error:\n        return type(error).__name__\n")
    # Whoever may write there, as far as its mode goes.
    code.chmod(0o777)
    name, _ = create(lam, code)
    assert result(lam, name) in ("OSError", "PermissionError")
    assert not (code / "new").exists()


def test_code_may_change_its_kind(lam, code):
    name, _ = create(lam, code)
    assert result(lam, name) == ["one", 1]
    lam.update_function_code(FunctionName=name, ZipFile=zip_of({"index.py": HANDLER.format("zip")}))
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert result(lam, name) == ["zip", 1]
    (code / "index.py").write_text(HANDLER.format("two"))
    assert result(lam, name) == ["zip", 2]
    lam.update_function_code(FunctionName=name, **source(code))
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert result(lam, name) == ["two", 1]


def test_idle_environments_end_by_themselves(lam, code, ground):
    name, _ = create(lam, code)
    assert result(lam, name) == ["one", 1]

    def environments():
        text = urllib.request.urlopen(ground[0].url + "/metrics").read().decode()
        return int(re.search(r"^\w*worker_environments (\d+)", text, re.M)[1])

    before = environments()
    (code / "index.py").write_text(HANDLER.format("two"))
    eventually(lambda: environments() < before, what="the end of the environment")
    assert result(lam, name) == ["two", 1]


def test_what_cannot_be_used_is_refused(lam, code, ground):
    (code / "link").symlink_to("/etc")

    def refusal(key):
        return error_of(lam.create_function, FunctionName=unique("no"), Runtime="python3.12", Role=ROLE,
                        Handler="index.handler", Code={"S3Bucket": "hot-reload", "S3Key": key})

    for key, text in [("/etc", "is not below one of the directories that worker.hot_reload allows"),
                      (str(code / "link"), "/link is not below"), ("/no/such", "/no/such is not below"), (str(code / ".." / ".." / ".."), "is not below"),
                      (str(code / "nothing"), "cannot be used: No such file"), ("work/code", "needs the absolute path"),
                      (str(code / "index.py"), "is not a directory")]:
        code_, status, message = refusal(key)
        assert (code_, status) == ("InvalidParameterValueException", 400) and text in message, message
    assert error_of(lam.create_function, FunctionName=unique("no"), Runtime="python3.12", Role=ROLE, Handler="index.handler",
                    Code={**source(code), "ZipFile": zip_of({"a": "b"})})[0] == "InvalidParameterValueException"


def test_a_version_is_as_live_as_the_function(lam, code, ground):
    name, made = create(lam, code, Publish=True)
    assert made["Version"] == "1"
    active = lambda version: lam.get_function_configuration(FunctionName=name, Qualifier=version)["State"] == "Active"
    eventually(lambda: active("1"))
    assert result(lam, f"{name}:1") == ["one", 1]
    # Another directory is other code, although no hash of it is known.
    other = ground[1] / unique("other")
    shutil.copytree(code, other)
    (other / "index.py").write_text(HANDLER.format("other"))
    assert lam.update_function_code(FunctionName=name, **source(other), Publish=True)["Version"] == "2"
    eventually(lambda: active("2"))
    assert result(lam, f"{name}:2") == ["other", 1] and result(lam, f"{name}:1")[0] == "one"


def test_a_directory_that_went_away_is_told_of(lam, code):
    name, _ = create(lam, code)
    assert result(lam, name) == ["one", 1]
    kept = code.rename(code.with_name(code.name + "-kept"))
    answer, error = invoke(lam, name)
    assert answer["FunctionError"] == "Unhandled" and error["errorType"] == "Lambfold.HotReload", error
    assert "cannot be used: No such file" in error["errorMessage"]
    kept.rename(code)
    assert result(lam, name) == ["one", 1]


def test_strict_has_none(tmp_path):
    server = Server(tmp_path / "data", "--strict", settings={"LAMBFOLD_WORKER__HOT_RELOAD": json.dumps([str(tmp_path)])}).start()
    try:
        message = error_of(client("lambda", server.url).create_function, FunctionName="f", Runtime="python3.12", Role=ROLE,
                           Handler="index.handler", Code=source(tmp_path))[2]
        assert message.startswith("Hot reload is off: worker.hot_reload")
    finally:
        assert server.stop() == 0
