"""The AWS CLI, unmodified."""

import json
import os
import subprocess

from conftest import ROLE, eventually, unique, zip_of


def aws(url, *arguments):
    env = {**os.environ, "AWS_ACCESS_KEY_ID": "000000000000", "AWS_SECRET_ACCESS_KEY": "test",
           "AWS_DEFAULT_REGION": "us-east-1", "AWS_PAGER": ""}
    done = subprocess.run(["aws", "--endpoint-url", url, "--output", "json", *arguments], env=env,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def test_the_main_path(url, tmp_path):
    queue_name, name = unique("cli"), unique("cli")
    queue = aws(url, "sqs", "create-queue", "--queue-name", queue_name)["QueueUrl"]
    package = tmp_path / "function.zip"
    package.write_bytes(zip_of({"index.py": "def handler(event, context):\n    print('seen')\n    return 'done'\n"}))
    made = aws(url, "lambda", "create-function", "--function-name", name, "--runtime", "python3.12", "--handler",
               "index.handler", "--role", ROLE, "--zip-file", f"fileb://{package}")
    assert made["State"] == "Pending"
    aws(url, "lambda", "wait", "function-active-v2", "--function-name", name)
    out = tmp_path / "out.json"
    answer = aws(url, "lambda", "invoke", "--function-name", name, "--log-type", "Tail", str(out))
    assert answer["StatusCode"] == 200 and json.loads(out.read_text()) == "done" and answer["LogResult"]
    arn = aws(url, "sqs", "get-queue-attributes", "--queue-url", queue, "--attribute-names", "QueueArn")["Attributes"]["QueueArn"]
    uuid = aws(url, "lambda", "create-event-source-mapping", "--event-source-arn", arn, "--function-name", name)["UUID"]
    aws(url, "sqs", "send-message", "--queue-url", queue, "--message-body", "hello")

    def empty():
        found = aws(url, "sqs", "get-queue-attributes", "--queue-url", queue, "--attribute-names", "All")["Attributes"]
        return found["ApproximateNumberOfMessages"] == found["ApproximateNumberOfMessagesNotVisible"] == "0"

    eventually(empty, what="the queue empty")
    aws(url, "lambda", "delete-event-source-mapping", "--uuid", uuid)
    aws(url, "lambda", "delete-function", "--function-name", name)
    aws(url, "sqs", "delete-queue", "--queue-url", queue)


def test_versions_and_aliases(url, tmp_path):
    name = unique("cli")
    package = tmp_path / "function.zip"
    package.write_bytes(zip_of({"index.py": "def handler(event, context):\n    return context.function_version\n"}))
    lam = lambda *arguments: aws(url, "lambda", *arguments, "--function-name", name)
    lam("create-function", "--runtime", "python3.12", "--handler", "index.handler", "--role", ROLE, "--zip-file",
        f"fileb://{package}", "--publish")
    lam("wait", "published-version-active", "--qualifier", "1")
    lam("create-alias", "--name", "live", "--function-version", "1")
    out = tmp_path / "out.json"
    answer = aws(url, "lambda", "invoke", "--function-name", f"{name}:live", str(out))
    assert answer["ExecutedVersion"] == "1" and json.loads(out.read_text()) == "1"
    put = lam("put-provisioned-concurrency-config", "--qualifier", "live", "--provisioned-concurrent-executions", "1")
    assert put["Status"] == "IN_PROGRESS"
    shown = lambda: lam("get-provisioned-concurrency-config", "--qualifier", "live")["Status"]
    eventually(lambda: shown() == "READY", what="an environment ready")
    lam("delete-provisioned-concurrency-config", "--qualifier", "live")
    lam("delete-alias", "--name", "live")
    lam("delete-function", "--qualifier", "1")
    assert [it["Version"] for it in lam("list-versions-by-function")["Versions"]] == ["$LATEST"]
    lam("delete-function")
