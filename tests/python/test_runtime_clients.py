"""AWS's own runtime clients, unchanged, and a bootstrap in plain shell, as functions of `provided.al2023`."""

import io
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import zipfile

import pytest

from conftest import ROLE, unique
from test_lambda import invoke
from test_other_clients import python_of

ROOT = pathlib.Path(__file__).resolve().parents[2]

SHELL = """#!/bin/bash
set -euo pipefail
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while true; do
  headers=$(mktemp)
  event=$(curl -sS -D "$headers" "$api/invocation/next")
  id=$(grep -i '^lambda-runtime-aws-request-id:' "$headers" | tr -d '[:space:]' | cut -d: -f2)
  if [ "$event" = '"fail"' ]; then
    curl -sS -o /dev/null -H 'Lambda-Runtime-Function-Error-Type: Function.Asked' \\
      -d '{"errorMessage":"as asked","errorType":"Function.Asked"}' "$api/invocation/$id/error"
  else
    curl -sS -o /dev/null -d "{\\"event\\":$event,\\"handler\\":\\"$_HANDLER\\"}" "$api/invocation/$id/response"
  fi
done
"""


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts}


@pytest.fixture
def provided(lam):
    """Makes functions of `provided.al2023`: their `bootstrap` is a program."""
    made = []

    def make(bootstrap, files, handler="index.handler", timeout=10):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in {"bootstrap": bootstrap, **files}.items():
                entry = zipfile.ZipInfo(name)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (stat.S_IFREG | (0o755 if name == "bootstrap" else 0o644)) << 16
                archive.writestr(entry, content)
        name = unique("provided")
        lam.create_function(FunctionName=name, Runtime="provided.al2023", Role=ROLE, Handler=handler, Timeout=timeout,
                            MemorySize=256, Code={"ZipFile": packed.getvalue()})
        made.append(name)
        lam.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
        return name

    yield make
    for name in made:
        lam.delete_function(FunctionName=name)


def test_a_shell_bootstrap(lam, provided):
    name = provided(SHELL, {}, handler="any.thing")
    assert invoke(lam, name, {"a": 1})[1] == {"event": {"a": 1}, "handler": "any.thing"}
    answer, payload = invoke(lam, name, "fail")
    assert answer["FunctionError"] == "Unhandled"
    assert payload == {"errorMessage": "as asked", "errorType": "Function.Asked"}
    assert invoke(lam, name, [2])[1]["event"] == [2]


def test_awslambdaric(lam, provided):
    python = python_of("ric")
    where = subprocess.run([python, "-c", "import awslambdaric, os; print(os.path.dirname(os.path.dirname(awslambdaric.__file__)))"],
                           check=True, capture_output=True, text=True).stdout.strip()
    client = {name: content for name, content in tree(pathlib.Path(where)).items()
              if name.startswith(("awslambdaric/", "simplejson/", "runtime_client", "snapshot_restore_py"))}
    source = """
import time
calls = []
def handler(event, context):
    calls.append(1)
    if event == "fail":
        raise ValueError("as asked")
    if event == "big":
        return "x" * 2_000_000
    return {"event": event, "id": context.aws_request_id, "calls": len(calls), "arn": context.invoked_function_arn,
            "left": context.get_remaining_time_in_millis(), "name": context.function_name}
"""
    # The interpreter that its extension was built for, wherever that is.
    interpreter = os.path.realpath(sys.executable)
    bootstrap = f'#!/bin/sh\nexport PYTHONPATH="$LAMBDA_TASK_ROOT"\nexec {interpreter} -m awslambdaric "$_HANDLER"\n'
    name = provided(bootstrap, {**client, "index.py": source})
    answer, payload = invoke(lam, name, {"a": ["ü"]})
    assert payload["event"] == {"a": ["ü"]} and payload["id"] == answer["ResponseMetadata"]["RequestId"]
    assert payload["arn"].endswith(f":function:{name}") and payload["name"] == name and 0 < payload["left"] <= 10_000
    answer, payload = invoke(lam, name, "fail")
    assert (answer["FunctionError"], payload["errorType"], payload["errorMessage"]) == ("Unhandled", "ValueError", "as asked")
    # Over 1 MiB libcurl asks before it sends (Expect: 100-continue).
    assert len(invoke(lam, name, "big")[1]) == 2_000_000
    assert invoke(lam, name, 1)[1]["calls"] == 4, "one process served them all"


def test_aws_lambda_ric(lam, provided):
    made = subprocess.run([ROOT / "scripts" / "aws-lambda-ric"], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip("aws-lambda-ric cannot be built here: " + made.stderr[-300:])
    folder = pathlib.Path(made.stdout.strip())
    source = """
let calls = 0;
exports.handler = async (event, context) => {
  calls += 1;
  if (event === "fail") throw new TypeError("as asked");
  return { event, id: context.awsRequestId, calls, left: context.getRemainingTimeInMillis() > 0 };
};
"""
    node = os.path.realpath(shutil.which("node"))
    bootstrap = f'#!/bin/sh\nexec {node} node_modules/aws-lambda-ric/bin/index.mjs "$_HANDLER"\n'
    # What it takes to run; the rest built it.
    wanted = {f"node_modules/{name}": content for name, content in tree(folder / "node_modules").items()
              if name.startswith(("aws-lambda-ric/bin/", "aws-lambda-ric/dist/", "aws-lambda-ric/package.json"))}
    name = provided(bootstrap, {**wanted, "index.js": source})
    answer, payload = invoke(lam, name, {"a": ["ü"]})
    assert payload["event"] == {"a": ["ü"]} and payload["id"] == answer["ResponseMetadata"]["RequestId"] and payload["left"]
    answer, payload = invoke(lam, name, "fail")
    assert (answer["FunctionError"], payload["errorType"], payload["errorMessage"]) == ("Unhandled", "TypeError", "as asked")
    assert invoke(lam, name, 1)[1]["calls"] == 3
