"""CloudWatch Logs, as boto3, the AWS CLI, Terraform and `lambfold logs` use it."""

import base64
import json
import os
import re
import subprocess
import threading
import time

import pytest

from conftest import BIN, client, error_of, eventually, unique

PRINTS = "def handler(event, context):\n    print('hello', event.get('n'))\n    return context.log_group_name, context.log_stream_name\n"


@pytest.fixture
def logs(url):
    # The service has a host of its own for streams, by a prefix that no address has.
    return client("logs", url, inject_host_prefix=False)


@pytest.fixture
def group(logs):
    name = unique("group")
    logs.create_log_group(logGroupName=name)
    yield name
    try:
        logs.delete_log_group(logGroupName=name)
    except logs.exceptions.ResourceNotFoundException:
        pass


def now_ms():
    return int(time.time() * 1000)


def put(logs, group, stream, *messages):
    now = now_ms()
    return logs.put_log_events(logGroupName=group, logStreamName=stream,
                               logEvents=[{"timestamp": now, "message": message} for message in messages])


def messages_of(logs, group, **more):
    try:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, **more)
        return [event["message"] for page in pages for event in page["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []


SPEAKS = {
    "python3.12": (
        "index.py",
        """import logging, os, sys
def handler(event, context):
    print("printed", "twice", sep="\\n")
    logging.getLogger().warning("of\\ntwo lines")
    print("to the end", end="")
    with open("/dev/stderr", "w") as file:
        file.write("\\nby name\\n")
    return "_LAMBDA_TELEMETRY_LOG_FD" in os.environ
""",
        r"\[WARNING\]\t[^\t]*Z\t[^\t]*\tof\ntwo lines\n",
    ),
    "nodejs20.x": (
        "index.js",
        """const fs = require('fs');
exports.handler = async () => {
  process.stdout.write('printed\\ntwice\\n');
  console.warn('of\\ntwo lines');
  fs.writeSync(1, 'to the end');
  fs.writeFileSync('/dev/stderr', '\\nby name\\n');
  return '_LAMBDA_TELEMETRY_LOG_FD' in process.env;
};
""",
        r"[^\t]*Z\t[^\t]*\tWARN\tof\ntwo lines\n",
    ),
}


@pytest.mark.parametrize("runtime", SPEAKS)
def test_a_record_of_several_lines_is_one_event_among_the_lines_that_are_printed(lam, logs, functions, runtime):
    file, source, record = SPEAKS[runtime]
    name = functions(source, runtime=runtime, file=file)
    answer = lam.invoke(FunctionName=name, LogType="Tail")
    assert answer["Payload"].read() == b"false"
    tail = base64.b64decode(answer["LogResult"]).decode()
    assert re.search(rf"\nprinted\ntwice\n{record}to the end\nby name\nEND ", tail)
    lines = eventually(lambda: [it for it in [messages_of(logs, f"/aws/lambda/{name}")] if any("REPORT" in line for line in it)], what="the report")[0]
    assert [lines[2], lines[3], *lines[5:7]] == ["printed\n", "twice\n", "to the end\n", "by name\n"]
    assert re.fullmatch(record, lines[4])


def test_a_function_logs_as_on_aws(lam, logs, functions):
    name = functions(PRINTS)
    answer = lam.invoke(FunctionName=name, Payload=b'{"n": 1}')
    group, stream = json.loads(answer["Payload"].read())
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert group == f"/aws/lambda/{name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", stream)
    lines = eventually(lambda: [line for line in [messages_of(logs, group)] if any("REPORT" in it for it in line)], what="the report")[0]
    assert lines[0].startswith("INIT_START Runtime Version: python:")
    assert lines[1] == f"START RequestId: {request_id} Version: $LATEST\n"
    assert lines[2] == "hello 1\n"
    assert lines[3] == f"END RequestId: {request_id}\n"
    assert re.match(rf"REPORT RequestId: {request_id}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t"
                    r"Max Memory Used: \d+ MB\tInit Duration: \d+\.\d\d ms\t", lines[4])
    # The stream is the one that the function was told.
    read = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
    assert [event["message"] for event in read["events"]] == lines
    found = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"]
    assert [it["logStreamName"] for it in found] == [stream]
    assert found[0]["lastEventTimestamp"] >= found[0]["firstEventTimestamp"]
    described = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]
    assert described["storedBytes"] > 0 and described["arn"].endswith(f":log-group:{group}:*")
    logs.delete_log_group(logGroupName=group)


def test_logging_config_acts(lam, logs, functions, group):
    source = ("import logging\nlog = logging.getLogger()\n"
              "def handler(event, context):\n    log.info('quiet')\n    log.warning('loud')\n    return 1\n")
    name = functions(source, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "DEBUG",
                                            "LogGroup": group})
    answer = lam.invoke(FunctionName=name)
    request_id = answer["ResponseMetadata"]["RequestId"]
    lines = eventually(lambda: [it for it in [messages_of(logs, group)] if any("platform.report" in line for line in it)],
                       what="the report")[0]
    records = [json.loads(line) for line in lines]
    system = [record["type"] for record in records if "type" in record]
    assert system == ["platform.initStart", "platform.initRuntimeDone", "platform.initReport", "platform.start",
                      "platform.runtimeDone", "platform.report"]
    report = records[-1]["record"]
    assert report["requestId"] == request_id and report["status"] == "success"
    assert {"durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB", "initDurationMs"} <= set(report["metrics"])
    application = [record for record in records if "level" in record]
    assert [(it["level"], it["message"], it["requestId"]) for it in application] == [("WARNING", "loud", request_id)]
    stream = logs.describe_log_streams(logGroupName=group)["logStreams"][0]["logStreamName"]
    assert re.fullmatch(rf"\d{{4}}/\d\d/\d\d/{name}\[\$LATEST\][0-9a-f]{{32}}", stream)
    # JSON patterns find them.
    assert messages_of(logs, group, filterPattern='{ $.level = "WARN*" && $.message = loud }') == [lines[records.index(application[0])]]

    lam.update_function_configuration(FunctionName=name, LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "WARN"})
    lam.get_waiter("function_updated_v2").wait(FunctionName=name)
    before = len(messages_of(logs, group))
    lam.invoke(FunctionName=name)
    eventually(lambda: len(messages_of(logs, group)) > before, what="a line more")
    time.sleep(0.3)
    later = [json.loads(line) for line in messages_of(logs, group)[before:]]
    assert [it.get("message") for it in later] == ["loud"]


def test_node_logs_json(lam, logs, functions, group):
    source = "exports.handler = async () => { console.debug('quiet'); console.error('loud', {a: 1}); return 1; };"
    name = functions(source, file="index.js", runtime="nodejs20.x",
                     LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "LogGroup": group})
    lam.invoke(FunctionName=name)
    lines = eventually(lambda: [it for it in [messages_of(logs, group)] if any("platform.report" in line for line in it)],
                       what="the report")[0]
    application = [record for record in map(json.loads, lines) if "level" in record]
    assert [it["level"] for it in application] == ["ERROR"]
    assert application[0]["message"].startswith("loud")


def test_groups_streams_and_their_errors(logs, group):
    assert error_of(logs.create_log_group, logGroupName=group) == (
        "ResourceAlreadyExistsException", 400, "The specified log group already exists")
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    assert error_of(logs.create_log_stream, logGroupName=group, logStreamName="s")[:2] == ("ResourceAlreadyExistsException", 400)
    missing = unique("missing")
    for call, arguments in [
        (logs.delete_log_group, {"logGroupName": missing}),
        (logs.describe_log_streams, {"logGroupName": missing}),
        (logs.create_log_stream, {"logGroupName": missing, "logStreamName": "s"}),
        (logs.delete_log_stream, {"logGroupName": group, "logStreamName": "none"}),
        (logs.filter_log_events, {"logGroupName": missing}),
        (logs.get_log_events, {"logGroupName": group, "logStreamName": "none"}),
        (logs.put_retention_policy, {"logGroupName": missing, "retentionInDays": 1}),
        (logs.list_tags_for_resource, {"resourceArn": f"arn:aws:logs:us-east-1:000000000000:log-group:{missing}"}),
        (logs.start_live_tail, {"logGroupIdentifiers": [missing]}),
    ]:
        assert error_of(call, **arguments)[:2] == ("ResourceNotFoundException", 400), call
    for call, arguments in [
        (logs.create_log_group, {"logGroupName": "with space"}),
        (logs.put_retention_policy, {"logGroupName": group, "retentionInDays": 2}),
        (logs.filter_log_events, {"logGroupName": group, "filterPattern": "{ $.a"}),
        (logs.filter_log_events, {"logGroupName": group, "nextToken": "none"}),
        (logs.start_live_tail, {"logGroupIdentifiers": [group], "logEventFilterPattern": "a:b"}),
        (logs.put_log_events, {"logGroupName": group, "logStreamName": "s",
                               "logEvents": [{"timestamp": 2, "message": "b"}, {"timestamp": 1, "message": "a"}]}),
    ]:
        assert error_of(call, **arguments)[:2] == ("InvalidParameterException", 400), call
    assert logs.describe_log_groups(logGroupNamePrefix=unique("none"))["logGroups"] == []


def test_accounts_and_regions_are_apart(url, logs, group):
    elsewhere = client("logs", url, region="eu-west-1")
    other = client("logs", url, account="123456789012")
    for apart in (elsewhere, other):
        assert apart.describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []
        apart.create_log_group(logGroupName=group)
        apart.delete_log_group(logGroupName=group)
    assert len(logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]) == 1


def test_events_are_paged_in_both_directions(logs, group):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    texts = [f"event {number}" for number in range(25)]
    assert "rejectedLogEventsInfo" not in put(logs, group, "s", *texts)
    seen, token = [], None
    while True:
        more = {"nextToken": token} if token else {}
        page = logs.get_log_events(logGroupName=group, logStreamName="s", startFromHead=True, limit=10, **more)
        seen += [event["message"] for event in page["events"]]
        if page["nextForwardToken"] == token:
            break
        token = page["nextForwardToken"]
    assert seen == texts
    page = logs.get_log_events(logGroupName=group, logStreamName="s", limit=10)
    assert [event["message"] for event in page["events"]] == texts[-10:]
    before = logs.get_log_events(logGroupName=group, logStreamName="s", limit=10, nextToken=page["nextBackwardToken"])
    assert [event["message"] for event in before["events"]] == texts[5:15]
    assert messages_of(logs, group, PaginationConfig={"PageSize": 4}) == texts
    assert messages_of(logs, group, filterPattern='"event 1" -"event 12"') == ["event 1", *(f"event 1{it}" for it in range(10) if it != 2)]
    # A page has at most a mebibyte.
    large = "x" * 200_000
    for _ in range(3):
        put(logs, group, "s", large, large)
    page = logs.filter_log_events(logGroupName=group, filterPattern="xxx")
    assert len(page["events"]) == 5 and page["nextToken"]
    old = logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[{"timestamp": 1, "message": "old"}])
    assert old["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}


def test_tags_and_retention_as_terraform_sets_them(logs):
    name = unique("tagged")
    logs.create_log_group(logGroupName=name, tags={"a": "1"})
    described = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]
    assert described["logGroupClass"] == "STANDARD" and "retentionInDays" not in described
    arn = described["logGroupArn"]
    logs.put_retention_policy(logGroupName=name, retentionInDays=14)
    assert logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]["retentionInDays"] == 14
    logs.delete_retention_policy(logGroupName=name)
    assert "retentionInDays" not in logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]
    logs.tag_resource(resourceArn=arn, tags={"b": "2"})
    logs.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
    logs.tag_log_group(logGroupName=name, tags={"c": "3"})
    logs.untag_log_group(logGroupName=name, tags=["b"])
    assert logs.list_tags_log_group(logGroupName=name)["tags"] == {"c": "3"}
    logs.delete_log_group(logGroupName=name)


def test_boto3_follows_live(logs, group):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    arn = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["logGroupArn"]
    response = logs.start_live_tail(logGroupIdentifiers=[arn], logEventFilterPattern="?wanted ?also")
    heard, started = [], threading.Event()

    def listen():
        for event in response["responseStream"]:
            if "sessionStart" in event:
                assert event["sessionStart"]["logGroupIdentifiers"] == [arn]
                started.set()
            else:
                heard.extend(event["sessionUpdate"]["sessionResults"])
                if len(heard) >= 2:
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    assert started.wait(5)
    began = time.monotonic()
    put(logs, group, "s", "wanted", "not this", "also this")
    listener.join(5)
    assert time.monotonic() - began < 4, "as they are written: the stream goes on"
    response["responseStream"].close()
    assert [it["message"] for it in heard] == ["wanted", "also this"]
    assert heard[0]["logStreamName"] == "s" and heard[0]["logGroupIdentifier"] == f"000000000000:{group}"


class Lines:
    """A process whose lines are read as they come."""

    def __init__(self, *command, **env):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, "PYTHONUNBUFFERED": "1", **env})
        self.seen = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.seen.append((time.monotonic(), line.rstrip("\n")))

    def when(self, text, seconds=10):
        def find():
            if self.process.poll() not in (None, 0):
                raise AssertionError(self.process.stderr.read())
            return next((at for at, line in list(self.seen) if text in line), None)
        return eventually(find, seconds, f"{text!r} among {self.seen}")

    def end(self):
        self.process.terminate()
        self.process.wait(10)


def test_the_aws_cli_follows_an_invocation(url, lam, logs, functions):
    """Version 1 of the CLI has `start-live-tail`; its printer looks once a second."""
    name = functions(PRINTS)
    group = f"/aws/lambda/{name}"
    lam.invoke(FunctionName=name, Payload=b'{"n": 0}')
    eventually(lambda: messages_of(logs, group), what="a log")
    arn = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["logGroupArn"]
    tail = Lines("aws", "--endpoint-url", url, "logs", "start-live-tail", "--log-group-identifiers", arn,
                 AWS_DISABLE_HOST_PREFIX_INJECTION="true")
    try:
        # It has begun when a line of an invocation arrives.
        for number in range(1, 40):
            lam.invoke(FunctionName=name, Payload=json.dumps({"n": number}).encode())
            time.sleep(0.25)
            if any("hello" in line for _, line in tail.seen):
                break
        began = time.monotonic()
        lam.invoke(FunctionName=name, Payload=b'{"n": 1000}')
        assert tail.when("hello 1000") - began < 5
    finally:
        tail.end()
    logs.delete_log_group(logGroupName=group)


def test_lambfold_logs_follows_an_invocation(url, lam, logs, functions):
    name = functions(PRINTS)
    tail = Lines(BIN, "logs", name, "--follow", "--endpoint", url, AWS_ACCESS_KEY_ID="000000000000", AWS_REGION="us-east-1")
    try:
        lam.invoke(FunctionName=name, Payload=b'{"n": 1}')
        tail.when("hello 1")
        began = time.monotonic()
        lam.invoke(FunctionName=name, Payload=b'{"n": 2}')
        assert tail.when("hello 2") - began < 5
        tail.when("REPORT RequestId")
    finally:
        tail.end()
    once = subprocess.run([BIN, "logs", name, "--endpoint", url, "--filter", "hello"], capture_output=True, text=True,
                          timeout=10, env={**os.environ, "AWS_ACCESS_KEY_ID": "000000000000", "AWS_REGION": "us-east-1"})
    assert [line.split(" ", 1)[1] for line in once.stdout.splitlines()] == ["hello 1", "hello 2"]
    logs.delete_log_group(logGroupName=f"/aws/lambda/{name}")


def test_as_aws_logs_tail_polls(lam, logs, functions):
    """Version 2's `aws logs tail --follow`: FilterLogEvents, interleaved, from the time of the last event on, ids compared."""
    name = functions(PRINTS)
    group = f"/aws/lambda/{name}"
    lam.invoke(FunctionName=name, Payload=b'{"n": 1}')
    start, seen, lines = now_ms() - 60_000, set(), []

    def poll():
        nonlocal start
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group, interleaved=True, startTime=start):
            for event in page["events"]:
                if event["eventId"] not in seen:
                    seen.add(event["eventId"])
                    start = max(start, event["timestamp"])
                    lines.append(event["message"].rstrip())
        return lines

    eventually(lambda: messages_of(logs, group), what="a log")
    for number in range(2, 5):
        lam.invoke(FunctionName=name, Payload=json.dumps({"n": number}).encode())
        eventually(lambda: f"hello {number}" in poll(), what="the line")
    assert [line for line in lines if line.startswith("hello")] == [f"hello {number}" for number in range(1, 5)]
    logs.delete_log_group(logGroupName=group)


def test_a_timeout_and_a_crash_are_logged(lam, logs, functions):
    source = "import os, time\ndef handler(event, context):\n    print('began')\n    os._exit(3) if event else time.sleep(9)\n"
    name = functions(source, timeout=1)
    group = f"/aws/lambda/{name}"
    lam.invoke(FunctionName=name, Payload=b"{}")
    lam.invoke(FunctionName=name, Payload=b'{"crash": true}')
    lines = eventually(lambda: [it for it in [messages_of(logs, group)] if sum("REPORT" in line for line in it) == 2],
                       what="two reports")[0]
    text = "".join(lines)
    assert "Task timed out after 1.00 seconds" in text and "\tStatus: timeout\t" in text
    assert "Runtime exited with error: exit status 3" in text and "\tStatus: error\tError Type: Runtime.ExitError\t" in text
    streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert len(streams) == 2, "one of each environment"
    logs.delete_log_group(logGroupName=group)


def test_an_unknown_operation_is_told_in_json(url):
    import urllib.error
    import urllib.request
    request = urllib.request.Request(url, data=b"{}", headers={"X-Amz-Target": "Logs_20140328.StartQuery",
                                                               "Content-Type": "application/x-amz-json-1.1"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=5)
    assert caught.value.headers["Content-Type"] == "application/x-amz-json-1.1"
    assert "UnknownOperationException" in json.loads(caught.value.read())["__type"]
