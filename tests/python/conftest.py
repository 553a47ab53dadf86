"""A Lambfold to test against: one process by default, one process per role with TEST_LAYOUT=processes, two queue nodes
that share the Postgres database TEST_POSTGRES with TEST_LAYOUT=cluster, or one that runs already with TEST_URL."""

import io
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import time
import uuid
import zipfile

import boto3
import botocore.config
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = os.environ.get("TEST_BIN", str(ROOT / "target" / "release" / "lambfold"))
ROLE = "arn:aws:iam::000000000000:role/test"

pytest_plugins = ["attack_ground"]


class Server:
    """One process on a data directory; can be stopped, killed and started again on the same ports."""

    def __init__(self, data_dir, *flags, verb=("up",), settings=None, binary=BIN, user=None, listen="127.0.0.1"):
        self.data_dir, self.flags, self.process, self.log = str(data_dir), flags, None, ""
        self.verb, self.settings, self.binary, self.user = verb, settings or {}, str(binary), user
        self.listen, self.port, self.grpc_port = listen, free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, wait=True):
        identity = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        self.process = subprocess.Popen(
            [self.binary, *self.verb, "--data-dir", self.data_dir, "--listen", f"{self.listen}:{self.port}",
             "--grpc-listen", f"127.0.0.1:{self.grpc_port}", *self.flags],
            stdout=subprocess.PIPE, stderr=open(f"{self.data_dir}.log", "ab"), text=True,
            env={**os.environ, **self.settings}, **identity)
        if wait:
            self.banner = self.read_banner()
        return self

    def read_banner(self):
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.rstrip().endswith("Ready."):
                return "".join(lines)
        log = pathlib.Path(f"{self.data_dir}.log").read_text()
        raise AssertionError("the server ended before it was ready: " + "".join(lines) + log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def url(tmp_path_factory):
    given = os.environ.get("TEST_URL")
    if given:
        yield given
        return
    folder = tmp_path_factory.mktemp("lambfold")
    if os.environ.get("TEST_LAYOUT") == "processes":
        port, grpc = free_port(), free_port()
        env = dict(os.environ, TEST_BIN=BIN, LAMBFOLD_LISTEN=f"127.0.0.1:{port}", LAMBFOLD_GRPC_LISTEN=f"127.0.0.1:{grpc}")
        script = str(ROOT / "scripts" / "processes")
        subprocess.run([script, "up", str(folder)], env=env, check=True)
        yield f"http://127.0.0.1:{port}"
        subprocess.run([script, "down", str(folder)], env=env, check=True)
        return
    if os.environ.get("TEST_LAYOUT") == "cluster":
        yield from cluster(folder)
        return
    server = Server(folder / "data").start()
    yield server.url
    assert server.stop() == 0


def cluster(folder):
    """Tests talk to a node that has queues and a gateway only; the other one has every role, and queues of its own."""
    sockets = {name: f"unix:{folder}/{name}.sock" for name in ("whole", "queues")}
    shared = {"LAMBFOLD_QUEUE__DATABASE": os.environ["TEST_POSTGRES"]}
    whole = Server(folder / "whole", settings={**shared, "LAMBFOLD_PEERS__LISTEN": sockets["whole"]}).start()
    queues = Server(folder / "queues", verb=("serve", "--roles", "queue,gateway"), settings={
        **shared, "LAMBFOLD_PEERS__LISTEN": sockets["queues"], "LAMBFOLD_PACKAGES_DIR": f"{folder}/whole/packages",
        "LAMBFOLD_PEERS__CONTROL": sockets["whole"], "LAMBFOLD_PEERS__DISPATCHER": sockets["whole"],
        "LAMBFOLD_PEERS__LOGS": sockets["whole"]}).start()
    yield queues.url
    assert queues.stop() == 0
    assert whole.stop() == 0


def client(service, url, account="000000000000", region="us-east-1", **settings):
    config = botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=60, connect_timeout=5, **settings)
    return boto3.client(service, endpoint_url=url, region_name=region, aws_access_key_id=account,
                        aws_secret_access_key="test", config=config)


@pytest.fixture
def sqs(url):
    return client("sqs", url)


@pytest.fixture
def lam(url):
    return client("lambda", url)


@pytest.fixture
def queue(sqs):
    name = unique("queue")
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "2"})["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def functions(lam):
    """Makes functions and removes them, with their mappings, afterwards."""
    made = []

    def make(source, file="index.py", runtime="python3.12", handler="index.handler", timeout=2, **more):
        name = unique("function")
        answer = lam.create_function(FunctionName=name, Runtime=runtime, Role=ROLE, Handler=handler, Timeout=timeout,
                                     Code={"ZipFile": zip_of({file: source})}, **more)
        made.append(name)
        assert answer["State"] == "Pending"
        lam.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
        return name

    yield make
    for name in made:
        for mapping in lam.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]:
            if mapping["State"] == "Deleting":
                continue
            try:
                lam.delete_event_source_mapping(UUID=mapping["UUID"])
            except lam.exceptions.ResourceNotFoundException:
                pass  # It was being deleted already.
        lam.delete_function(FunctionName=name)


def unique(stem):
    return f"{stem}-{uuid.uuid4().hex[:12]}"


def zip_of(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in files.items():
            archive.writestr(name, source)
    return packed.getvalue()


def eventually(condition, seconds=15, what="the condition"):
    """Waits on a condition; returns its first truthy value."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {seconds} s")


def counts(sqs, queue):
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return tuple(int(attributes[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible", "Delayed"))


def queue_arn(sqs, queue):
    return sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def map_queue(lam, sqs, queue, function, **settings):
    mapping = lam.create_event_source_mapping(EventSourceArn=queue_arn(sqs, queue), FunctionName=function, **settings)
    eventually(lambda: lam.get_event_source_mapping(UUID=mapping["UUID"])["State"] == "Enabled", what="the mapping enabled")
    return mapping["UUID"]


def error_of(call, **arguments):
    """The code, status and message with which a call fails."""
    from botocore.exceptions import ClientError
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


RECORDER = """
import base64, json, os, urllib.request

def handler(event, context):
    send(event)
    {outcome}

def send(event):
    # Tells the test what was seen, through Lambfold's own endpoint, as any function would.
    body = json.dumps({{"QueueUrl": os.environ["SEEN"], "MessageBody": json.dumps(event)}}).encode()
    request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], data=body, headers={{
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage",
        "Authorization": "AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/sqs/aws4_request, "
                         "SignedHeaders=host, Signature=00"}})
    urllib.request.urlopen(request, timeout=5).read()
"""


def recorder(outcome="return None"):
    """A Python handler that sends each event that it sees to the queue named in SEEN."""
    return RECORDER.format(outcome=outcome.replace("\n", "\n    "))


def without_namespaces(folder, binary=None, user=None):
    """An executable that runs Lambfold where no namespaces can be made: the level is `process` there. For another user (a
    number) it needs a binary that this user reaches."""
    # One more of a user, in which the server is not root, and no others.
    limits = "cd /proc/sys/user && echo 1 > max_user_namespaces && for kind in net mnt pid; do echo 0 > max_${kind}_namespaces; done"
    within = f"({limits}) && exec unshare --user --map-user=1000 \"$@\""
    enter = ["unshare", "--user", "--map-root-user", "sh", "-c", within, "limited"]
    identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    if subprocess.run([*enter, "true"], capture_output=True, **identity).returncode != 0:
        pytest.skip("this user cannot limit what namespaces there may be")
    limited = folder / "limited"
    # Nothing but a watchdog bounds processes there: if that fails, this machine should outlive the attack.
    limited.write_text(f'#!/bin/sh\nprlimit --pid $$ --nproc=9000 2>/dev/null\nexec {shlex.join(enter)} {binary or BIN} "$@"\n')
    limited.chmod(0o755)
    return limited
