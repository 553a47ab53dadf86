"""Fair queues through boto3, and their metrics."""

import re
import urllib.request

import pytest

from conftest import Server, client, eventually, unique

QUIET = ("ApproximateNumberOfNoisyGroups", "ApproximateNumberOfMessagesVisibleInQuietGroups",
         "ApproximateNumberOfMessagesNotVisibleInQuietGroups", "ApproximateNumberOfMessagesDelayedInQuietGroups")


def send(sqs, url, group, count, **more):
    entries = [{"Id": str(n), "MessageBody": "x", "MessageGroupId": group, **more} for n in range(count)]
    assert "Failed" not in sqs.send_message_batch(QueueUrl=url, Entries=entries)


def receive(sqs, url):
    got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["MessageGroupId"])
    return [(message.get("Attributes", {}).get("MessageGroupId"), message["ReceiptHandle"]) for message in got["Messages"]]


def test_a_noisy_group_does_not_make_a_quiet_one_wait(sqs):
    url = sqs.create_queue(QueueName=unique("fair"))["QueueUrl"]
    for _ in range(100):
        send(sqs, url, "noisy", 10)
    send(sqs, url, "quiet", 5)
    groups = []
    while groups.count("quiet") < 5:
        groups += [group for group, _ in receive(sqs, url)]
    assert len(groups) <= 20


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "data").start()
    yield server
    assert server.stop() == 0


def metrics(server, url):
    """What `/metrics` shows of a queue, by AWS's names."""
    page = urllib.request.urlopen(server.url + "/metrics").read().decode()
    name = url.rsplit("/", 1)[-1]
    lines = re.findall(r'^lambfold_sqs_(\w+)\{([^}]*)\} (\d+)$', page, re.M)
    return {metric: int(value) for metric, labels, value in lines if f'queue_name="{name}"' in labels}


def test_metrics_tell_quiet_groups_from_noisy_ones(server):
    sqs = client("sqs", server.url)
    url = sqs.create_queue(QueueName=unique("fair"))["QueueUrl"]

    def shows(*quiet):
        def found():
            now = metrics(server, url)
            return tuple(now.get(name) for name in QUIET) == quiet
        eventually(found, what=f"{quiet} on /metrics")

    sqs.send_message(QueueUrl=url, MessageBody="x")
    eventually(lambda: metrics(server, url).get("ApproximateNumberOfMessagesVisible") == 1)
    assert not any("Quiet" in name or "Noisy" in name for name in metrics(server, url)), "no groups, no fair queue"
    for _ in range(5):
        send(sqs, url, "noisy", 10)
    shows(0, 51, 0, 0)
    send(sqs, url, "a", 3)
    send(sqs, url, "b", 2)
    send(sqs, url, "b", 1, DelaySeconds=900)
    shows(1, 6, 0, 1)
    assert metrics(server, url)["ApproximateNumberOfMessagesVisible"] == 56
    eventually(lambda: metrics(server, url)["ApproximateAgeOfOldestMessageInQuietGroups"] >= 1)
    # The message without a group is the first of the backlog, and so with the first ten.
    taken = receive(sqs, url)
    quiet = [(group, handle) for group, handle in taken if group != "noisy"]
    assert sorted(str(group) for group, _ in quiet) == ["None", "a", "a", "a", "b", "b"]
    shows(1, 0, 6, 1)
    for _, handle in quiet[:5]:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=quiet[5][1], VisibilityTimeout=0)
    shows(1, 1, 0, 1)
    sqs.purge_queue(QueueUrl=url)
    shows(0, 0, 0, 0)
    assert metrics(server, url)["ApproximateAgeOfOldestMessageInQuietGroups"] == 0
