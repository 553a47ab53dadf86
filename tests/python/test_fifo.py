"""FIFO queues through boto3, as facts/sqs.md records them from AWS."""

import hashlib
import json
import threading

import pytest
from conftest import error_of, eventually, unique


@pytest.fixture
def make(sqs):
    def create(**attributes):
        name = unique("fifo") + ".fifo"
        attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true", **attributes}
        return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return create


def send(sqs, url, group, *bodies):
    return [sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group) for body in bodies]


def receive(sqs, url, most=10, **more):
    return sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=most, MessageSystemAttributeNames=["All"],
                               **more).get("Messages", [])


def bodies(messages):
    return [message["Body"] for message in messages]


def delete(sqs, url, *messages):
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def attributes(sqs, url):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def test_a_queue_and_its_attributes(sqs, make):
    url = make(ContentBasedDeduplication="True")
    shown = attributes(sqs, url)
    assert (shown["FifoQueue"], shown["ContentBasedDeduplication"]) == ("true", "true")
    assert (shown["DeduplicationScope"], shown["FifoThroughputLimit"]) == ("queue", "perQueue")
    name = url.rsplit("/", 1)[1]
    assert sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})["QueueUrl"] == url
    conflict = error_of(sqs.create_queue, QueueName=name,
                        Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "false"})
    assert conflict[0] == "QueueAlreadyExists" and conflict[2].endswith("attribute ContentBasedDeduplication")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"FifoQueue": "true"})
    assert error_of(sqs.set_queue_attributes, QueueUrl=url, Attributes={"FifoQueue": "false"}) == (
        "InvalidAttributeValue", 400,
        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.")
    per_group = {"FifoThroughputLimit": "perMessageGroupId"}
    assert error_of(sqs.set_queue_attributes, QueueUrl=url, Attributes=per_group)[0] == "InvalidAttributeValue"
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DeduplicationScope": "messageGroup", **per_group})
    assert attributes(sqs, url)["FifoThroughputLimit"] == "perMessageGroupId"
    for bad, given in [(unique("x"), {"FifoQueue": "true"}), (unique("x") + ".fifo", {}),
                       (unique("x") + ".fifo", {"FifoQueue": "false"})]:
        assert error_of(sqs.create_queue, QueueName=bad, Attributes=given)[0] == "InvalidParameterValue"
    assert error_of(sqs.create_queue, QueueName=unique("x"), Attributes={"FifoQueue": "false"}) == (
        "InvalidAttributeName", 400, "Unknown Attribute FifoQueue.")


def test_order_within_groups_and_sequence_numbers(sqs, make):
    url = make()
    sent = send(sqs, url, "1", "a", "b") + send(sqs, url, "2", "x") + send(sqs, url, "1", "c")
    numbers = [int(it["SequenceNumber"]) for it in sent]
    assert numbers == sorted(set(numbers)) and all(len(it["SequenceNumber"]) == 20 for it in sent)
    got = receive(sqs, url)
    assert bodies(got) == ["a", "b", "c", "x"]
    first = got[0]["Attributes"]
    assert (first["MessageGroupId"], first["SequenceNumber"]) == ("1", sent[0]["SequenceNumber"])
    assert first["MessageDeduplicationId"] == hashlib.sha256(b"a").hexdigest()
    assert receive(sqs, url) == []


def test_a_group_in_flight_is_locked_and_a_poll_wakes_when_it_is_free(sqs, make):
    url = make()
    send(sqs, url, "1", "a", "b", "c")
    pair = receive(sqs, url, 2)
    got = []
    poll = threading.Thread(target=lambda: got.extend(receive(sqs, url, WaitTimeSeconds=10)))
    poll.start()
    delete(sqs, url, pair[0])
    poll.join(0.5)
    assert poll.is_alive() and attributes(sqs, url)["ApproximateNumberOfMessages"] == "1"
    delete(sqs, url, pair[1])
    poll.join(5)
    assert bodies(got) == ["c"]


def test_duplicates(sqs, make):
    url = make()
    first = send(sqs, url, "1", "a")[0]
    digest = hashlib.sha256(b"a").hexdigest()
    again = sqs.send_message(QueueUrl=url, MessageBody="other", MessageGroupId="2", MessageDeduplicationId=digest)
    assert (again["MessageId"], again["SequenceNumber"]) == (first["MessageId"], first["SequenceNumber"])
    assert again["MD5OfMessageBody"] == hashlib.md5(b"other").hexdigest(), "the digest of what was sent now"
    delete(sqs, url, *receive(sqs, url))
    batch = sqs.send_message_batch(QueueUrl=url, Entries=[
        {"Id": str(n), "MessageBody": body, "MessageGroupId": "1"} for n, body in enumerate(["b", "b", "a"])])
    ids = [entry["MessageId"] for entry in batch["Successful"]]
    assert ids[0] == ids[1] and ids[2] == first["MessageId"]
    assert bodies(receive(sqs, url)) == ["b"]
    by_group = make(DeduplicationScope="messageGroup")
    send(sqs, by_group, "1", "a")
    send(sqs, by_group, "2", "a")
    send(sqs, by_group, "1", "a")
    assert len(receive(sqs, by_group)) == 2
    sqs.purge_queue(QueueUrl=by_group)
    send(sqs, by_group, "1", "a")
    assert len(receive(sqs, by_group)) == 1


def test_an_expired_handle_deletes_nothing(sqs, make):
    url = make(VisibilityTimeout="1")
    send(sqs, url, "1", "a")
    old = receive(sqs, url)[0]
    new = eventually(lambda: receive(sqs, url, WaitTimeSeconds=2, VisibilityTimeout=30))[0]
    handle = old["ReceiptHandle"]
    assert error_of(sqs.delete_message, QueueUrl=url, ReceiptHandle=handle) == (
        "InvalidParameterValue", 400,
        f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.")
    failed = sqs.delete_message_batch(QueueUrl=url, Entries=[{"Id": "1", "ReceiptHandle": handle}])["Failed"]
    assert (failed[0]["Code"], failed[0]["SenderFault"]) == ("InvalidParameterValue", True)
    delete(sqs, url, new, new)
    assert attributes(sqs, url)["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_an_attempt_can_be_repeated(sqs, make):
    url = make()
    send(sqs, url, "1", "a", "b", "c")
    first = receive(sqs, url, 2, ReceiveRequestAttemptId="one")
    again = receive(sqs, url, 2, ReceiveRequestAttemptId="one")
    assert [it["ReceiptHandle"] for it in again] == [it["ReceiptHandle"] for it in first]
    assert receive(sqs, url, 2, ReceiveRequestAttemptId="two") == []
    assert error_of(receive, sqs=sqs, url=url, ReceiveRequestAttemptId="a b")[0] == "InvalidParameterValue"


def test_bad_input_has_the_words_of_aws(sqs, make):
    url = make(ContentBasedDeduplication="false")
    words = "The request must contain the parameter MessageGroupId."
    assert error_of(sqs.send_message, QueueUrl=url, MessageBody="a") == ("MissingParameter", 400, words)
    entries = [{"Id": "1", "MessageBody": "a", "MessageGroupId": "1", "MessageDeduplicationId": "1"},
               {"Id": "2", "MessageBody": "b"}]
    assert error_of(sqs.send_message_batch, QueueUrl=url, Entries=entries) == ("InvalidParameterValue", 400, words)
    assert error_of(sqs.send_message, QueueUrl=url, MessageBody="a", MessageGroupId="1") == (
        "InvalidParameterValue", 400,
        "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
    given = {"QueueUrl": url, "MessageBody": "a", "MessageGroupId": "1", "MessageDeduplicationId": "1"}
    assert error_of(sqs.send_message, **{**given, "DelaySeconds": 5}) == (
        "InvalidParameterValue", 400, "Value 5 for parameter DelaySeconds is invalid. Reason: The request include "
        "parameter that is not valid for this queue type.")
    assert error_of(sqs.send_message, **{**given, "MessageDeduplicationId": "a b"})[2] == (
        "Value a b for parameter MessageDeduplicationId is invalid. Reason: MessageDeduplicationId can only include "
        "alphanumeric and punctuation characters. 1 to 128 in length.")
    assert receive(sqs, url) == [], "a batch that was refused stored nothing"
    sqs.send_message(**{**given, "DelaySeconds": 0})
    standard = sqs.create_queue(QueueName=unique("standard"))["QueueUrl"]
    assert error_of(sqs.send_message, QueueUrl=standard, MessageBody="a", MessageDeduplicationId="1")[2].endswith(
        "The request includes a parameter that is not valid for this queue type.")
    policy = json.dumps({"deadLetterTargetArn": attributes(sqs, standard)["QueueArn"], "maxReceiveCount": 1})
    assert error_of(sqs.set_queue_attributes, QueueUrl=url, Attributes={"RedrivePolicy": policy})[2].endswith(
        "Dead-letter queue must be same type of queue as the source.")
