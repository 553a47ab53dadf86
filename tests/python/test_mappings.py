"""Event source mappings: messages in, handlers run, messages gone."""

import json

import pytest

from conftest import counts, error_of, eventually, map_queue, queue_arn, recorder, unique

NODE = {
    "index.js": "exports.handler = async (event) => { console.log(event.Records.length); };",
    "index.mjs": "export const handler = async (event) => { console.log(event.Records.length); };",
}


@pytest.fixture
def seen(sqs):
    url = sqs.create_queue(QueueName=unique("seen"))["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


def events(sqs, seen, enough, seconds=20):
    """The events that the handler reported, until `enough` says so."""
    found = []

    def more():
        for message in sqs.receive_message(QueueUrl=seen, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=seen, ReceiptHandle=message["ReceiptHandle"])
        return enough(found)

    eventually(more, seconds, f"enough events, of {len(found)}")
    return found


def records(found):
    return [record for event in found for record in event["Records"]]


def test_messages_reach_the_handler_and_are_deleted(lam, sqs, functions, queue, seen):
    name = functions(recorder(), Environment={"Variables": {"SEEN": seen}})
    map_queue(lam, sqs, queue, name, BatchSize=5)
    sent = sqs.send_message(
        QueueUrl=queue, MessageBody="one", MessageAttributes={"colour": {"DataType": "String", "StringValue": "red"}})
    sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": str(n), "MessageBody": f"b{n}"} for n in range(10)])
    found = events(sqs, seen, lambda found: len(records(found)) >= 11)
    assert all(1 <= len(event["Records"]) <= 5 for event in found)
    assert sorted(r["body"] for r in records(found)) == sorted(["one"] + [f"b{n}" for n in range(10)])
    one = next(r for r in records(found) if r["body"] == "one")
    assert one["messageId"] == sent["MessageId"] and one["md5OfBody"] == sent["MD5OfMessageBody"]
    assert one["eventSource"] == "aws:sqs" and one["awsRegion"] == "us-east-1"
    assert one["eventSourceARN"] == queue_arn(sqs, queue)
    assert set(one["attributes"]) >= {"ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"}
    assert one["messageAttributes"] == {
        "colour": {"stringValue": "red", "stringListValues": [], "binaryListValues": [], "dataType": "String"}}
    eventually(lambda: counts(sqs, queue) == (0, 0, 0), what="the queue empty")


@pytest.mark.parametrize("file", NODE)
def test_node_handlers(lam, sqs, functions, queue, file):
    name = functions(NODE[file], file=file, runtime="nodejs20.x")
    map_queue(lam, sqs, queue, name)
    for n in range(3):
        sqs.send_message(QueueUrl=queue, MessageBody=str(n))
    eventually(lambda: counts(sqs, queue) == (0, 0, 0), what="the queue empty")


def test_a_failing_handler_gets_its_messages_again(lam, sqs, functions, queue, seen):
    outcome = "if event['Records'][0]['attributes']['ApproximateReceiveCount'] == '1': raise RuntimeError('first time')"
    name = functions(recorder(outcome), Environment={"Variables": {"SEEN": seen}})
    map_queue(lam, sqs, queue, name)
    sqs.send_message(QueueUrl=queue, MessageBody="again")
    found = records(events(sqs, seen, lambda found: len(records(found)) >= 2))
    assert [r["attributes"]["ApproximateReceiveCount"] for r in found] == ["1", "2"]
    assert int(found[1]["attributes"]["SentTimestamp"]) == int(found[0]["attributes"]["SentTimestamp"])
    eventually(lambda: counts(sqs, queue) == (0, 0, 0), what="the queue empty")


def test_only_the_failed_ones_of_a_batch_come_back(lam, sqs, functions, queue, seen):
    outcome = ("return {'batchItemFailures': [{'itemIdentifier': r['messageId']} for r in event['Records']"
               " if r['body'].startswith('bad') and r['attributes']['ApproximateReceiveCount'] == '1']}")
    name = functions(recorder(outcome), Environment={"Variables": {"SEEN": seen}})
    map_queue(lam, sqs, queue, name, FunctionResponseTypes=["ReportBatchItemFailures"])
    bodies = ["good1", "bad1", "good2", "bad2"]
    sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": b, "MessageBody": b} for b in bodies])
    found = records(events(sqs, seen, lambda found: len(records(found)) >= 6))
    tries = {body: [r["body"] for r in found].count(body) for body in bodies}
    assert tries == {"good1": 1, "good2": 1, "bad1": 2, "bad2": 2}
    eventually(lambda: counts(sqs, queue) == (0, 0, 0), what="the queue empty")


def test_a_window_gathers(lam, sqs, functions, queue, seen):
    name = functions(recorder(), Environment={"Variables": {"SEEN": seen}})
    map_queue(lam, sqs, queue, name, BatchSize=100, MaximumBatchingWindowInSeconds=2)
    for n in range(4):
        sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": str(i), "MessageBody": f"{n}-{i}"} for i in range(8)])
    found = events(sqs, seen, lambda found: len(records(found)) >= 32)
    assert len(records(found)) == 32
    assert max(len(event["Records"]) for event in found) > 10


def test_disable_enable_delete(lam, sqs, functions, queue):
    name = functions("def handler(event, context):\n    pass\n")
    uuid = map_queue(lam, sqs, queue, name)
    lam.update_event_source_mapping(UUID=uuid, Enabled=False)
    eventually(lambda: lam.get_event_source_mapping(UUID=uuid)["State"] == "Disabled")
    sqs.send_message(QueueUrl=queue, MessageBody="wait")
    assert counts(sqs, queue) == (1, 0, 0)
    lam.update_event_source_mapping(UUID=uuid, Enabled=True)
    eventually(lambda: counts(sqs, queue) == (0, 0, 0))
    assert lam.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"

    def gone():
        try:
            lam.get_event_source_mapping(UUID=uuid)
        except lam.exceptions.ResourceNotFoundException:
            return True

    eventually(gone)
    sqs.send_message(QueueUrl=queue, MessageBody="nobody")
    assert counts(sqs, queue) == (1, 0, 0)


def test_refusals(lam, sqs, functions, queue):
    name = functions("def handler(event, context):\n    pass\n")
    arn = queue_arn(sqs, queue)
    create = lam.create_event_source_mapping
    assert error_of(create, EventSourceArn=arn, FunctionName="missing")[:2] == ("InvalidParameterValueException", 400)
    assert error_of(create, EventSourceArn=arn, FunctionName=name, BatchSize=11) == (
        "InvalidParameterValueException", 400,
        "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
    assert error_of(create, EventSourceArn=arn + "x", FunctionName=name)[:2] == ("InvalidParameterValueException", 400)
    uuid = map_queue(lam, sqs, queue, name)
    code, status, message = error_of(create, EventSourceArn=arn, FunctionName=name)
    assert (code, status) == ("ResourceConflictException", 409) and uuid in message
    assert error_of(lam.get_event_source_mapping, UUID="0" * 8) == (
        "ResourceNotFoundException", 404, "The resource you requested does not exist.")
