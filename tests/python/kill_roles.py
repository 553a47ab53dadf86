"""kill -9 of every role in turn, under load, in the layout of one process per role (DESIGN §5, 1 and 4).

Senders send numbered messages; a mapping hands them to a Python function that fails some of them at first. Each role is
killed and started again, KILL_ROUNDS times (once, if that is not set). In the end the queue must be empty, and every acknowledged message must have been seen
by the function: it tells each one to a second queue, which is drained and checked.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time

from conftest import BIN, ROLE, ROOT, client, counts, free_port, recorder, zip_of

ROUNDS = int(os.environ.get("KILL_ROUNDS", "1"))
ROLES = ["poller", "dispatcher", "worker", "queue", "control", "logs", "gateway"]


def main():
    folder = tempfile.mkdtemp(prefix="lambfold-kill-")
    port, grpc = free_port(), free_port()
    env = dict(os.environ, TEST_BIN=BIN, LAMBFOLD_LISTEN=f"127.0.0.1:{port}", LAMBFOLD_GRPC_LISTEN=f"127.0.0.1:{grpc}")
    url = f"http://127.0.0.1:{port}"

    def script(*arguments):
        subprocess.run([str(ROOT / "scripts" / "processes"), arguments[0], folder, *arguments[1:]], env=env, check=True)

    script("up")
    try:
        run(url, script)
    finally:
        script("down")


def run(url, script):
    sqs, lam = client("sqs", url), client("lambda", url)
    queue = sqs.create_queue(QueueName="work", Attributes={"VisibilityTimeout": "5"})["QueueUrl"]
    seen = sqs.create_queue(QueueName="seen")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    lam.create_function(FunctionName="tell", Runtime="python3.12", Handler="index.handler", Role=ROLE, Timeout=5,
                        Environment={"Variables": {"SEEN": seen}}, Code={"ZipFile": zip_of({"index.py": recorder()})})
    lam.get_waiter("function_active_v2").wait(FunctionName="tell")
    lam.create_event_source_mapping(EventSourceArn=arn, FunctionName="tell", BatchSize=10)

    acknowledged, stop = set(), threading.Event()
    senders = [threading.Thread(target=send, args=(url, queue, n, acknowledged, stop)) for n in range(3)]
    for sender in senders:
        sender.start()
    try:
        for _ in range(ROUNDS):
            for role in ROLES:
                time.sleep(1)
                script("kill", role)
                time.sleep(0.3)
                script("start", role)
                print(f"killed and restarted {role}: {len(acknowledged)} acknowledged", flush=True)
        time.sleep(1)
    finally:
        stop.set()
        for sender in senders:
            sender.join()

    handled = drain(sqs, queue, seen)
    missing = acknowledged - handled
    print(f"{len(acknowledged)} acknowledged, {len(handled)} handled, {len(missing)} lost")
    assert len(acknowledged) > 200, "too few messages for the test to mean anything"
    assert not missing, f"lost: {sorted(missing)[:10]}"
    print("1 passed, 0 failed")


def send(url, queue, number, acknowledged, stop):
    sqs, count = client("sqs", url), 0
    while not stop.is_set():
        body = f"{number}-{count}"
        try:
            sqs.send_message(QueueUrl=queue, MessageBody=body)
            acknowledged.add(body)
        except Exception:  # Whatever it was, it was not acknowledged.
            time.sleep(0.05)
        count += 1
        time.sleep(0.005)


def drain(sqs, queue, seen):
    handled, until = set(), time.monotonic() + 120
    while time.monotonic() < until:
        messages = sqs.receive_message(QueueUrl=seen, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        for message in messages:
            handled.update(record["body"] for record in json.loads(message["Body"])["Records"])
        if messages:
            sqs.delete_message_batch(QueueUrl=seen, Entries=[
                {"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)])
        elif counts(sqs, queue) == (0, 0, 0) and counts(sqs, seen) == (0, 0, 0):
            return handled
    raise AssertionError(f"the queue did not drain: {counts(sqs, queue)} left, {counts(sqs, seen)} untold")


if __name__ == "__main__":
    sys.exit(main())
