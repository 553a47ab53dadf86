"""SQS through boto3. Texts: AWS's own, as collected in the project's facts."""

import hashlib
import threading
import time

from conftest import client, counts, error_of, eventually, unique


def test_queue_life(sqs, url):
    name = unique("life")
    made = sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "0"}, tags={"team": "blue"})["QueueUrl"]
    assert made == f"{url}/000000000000/{name}"
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == made
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == made
    assert sqs.list_queues(QueueNamePrefix=name)["QueueUrls"] == [made]
    assert sqs.list_queue_tags(QueueUrl=made)["Tags"] == {"team": "blue"}
    attributes = sqs.get_queue_attributes(QueueUrl=made, AttributeNames=["All"])["Attributes"]
    assert set(attributes) == {
        "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed",
        "CreatedTimestamp", "DelaySeconds", "LastModifiedTimestamp", "MaximumMessageSize", "MessageRetentionPeriod",
        "QueueArn", "ReceiveMessageWaitTimeSeconds", "SqsManagedSseEnabled", "VisibilityTimeout"}
    assert attributes["MaximumMessageSize"] == "1048576"
    assert error_of(sqs.get_queue_attributes, QueueUrl=made, AttributeNames=["FifoQueue"]) == (
        "InvalidAttributeName", 400, "Unknown Attribute FifoQueue.")
    sqs.set_queue_attributes(QueueUrl=made, Attributes={"VisibilityTimeout": "7"})
    assert error_of(sqs.create_queue, QueueName=name, Attributes={"VisibilityTimeout": "8"}) == (
        "QueueAlreadyExists", 400,
        "A queue already exists with the same name and a different value for attribute VisibilityTimeout")
    sqs.delete_queue(QueueUrl=made)
    gone = ("AWS.SimpleQueueService.NonExistentQueue", 400, "The specified queue does not exist.")
    assert error_of(sqs.get_queue_url, QueueName=name) == gone
    assert error_of(sqs.send_message, QueueUrl=made, MessageBody="x") == gone


def test_message_life(sqs, queue):
    attributes = {"n": {"DataType": "Number", "StringValue": "12"},
                  "b": {"DataType": "Binary.png", "BinaryValue": b"\x00\xff"}}
    sent = sqs.send_message(QueueUrl=queue, MessageBody="grüße\n", MessageAttributes=attributes)
    assert sent["MD5OfMessageBody"] == hashlib.md5("grüße\n".encode()).hexdigest()
    assert counts(sqs, queue) == (1, 0, 0)
    got = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=30, MessageAttributeNames=["All"],
                              AttributeNames=["All"])["Messages"]
    assert [m["MessageId"] for m in got] == [sent["MessageId"]]
    assert got[0]["MessageAttributes"] == attributes
    assert got[0]["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert got[0]["Attributes"]["ApproximateReceiveCount"] == "1"
    assert counts(sqs, queue) == (0, 1, 0)
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=got[0]["ReceiptHandle"], VisibilityTimeout=0)
    again = sqs.receive_message(QueueUrl=queue, AttributeNames=["ApproximateReceiveCount"])["Messages"][0]
    assert again["Attributes"] == {"ApproximateReceiveCount": "2"}
    assert again["ReceiptHandle"] != got[0]["ReceiptHandle"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=got[0]["ReceiptHandle"])
    assert counts(sqs, queue) == (0, 0, 0)


def test_the_callers_trace_header_arrives_as_it_was_sent(sqs, queue):
    sent = None
    sqs.meta.events.register("before-sign.sqs.*", lambda request, **_: request.headers.__setitem__("X-Amzn-Trace-Id", sent))
    root = "Root=1-3152b799-8954dae64eda91bc9a23a7e8"
    for sent in (f"{root};Parent=7fa8c0f79203be72;Sampled=1;Lineage=25:a1b2c3d4:1", f"{root};Parent=7fa8c0f79203be72;Sampled=0",
                 root):
        sqs.send_message(QueueUrl=queue, MessageBody="x")
        got = sqs.receive_message(QueueUrl=queue, AttributeNames=["AWSTraceHeader"])["Messages"][0]
        assert got["Attributes"] == {"AWSTraceHeader": sent}
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=got["ReceiptHandle"])
    own = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=own"}}
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageSystemAttributes=own)
    got = sqs.receive_message(QueueUrl=queue, AttributeNames=["AWSTraceHeader"])["Messages"][0]
    assert got["Attributes"] == {"AWSTraceHeader": "Root=own"}


def test_batches(sqs, queue):
    entries = [{"Id": str(n), "MessageBody": f"m{n}"} for n in range(9)] + [{"Id": "bad", "MessageBody": "\x01"}]
    answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert len(answer["Successful"]) == 9
    assert [(f["Id"], f["SenderFault"], f["Code"]) for f in answer["Failed"]] == [("bad", True, "InvalidMessageContents")]
    got = []
    while len(got) < 9:
        got += sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=2, VisibilityTimeout=30)["Messages"]
    changes = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"], "VisibilityTimeout": 30} for n, m in enumerate(got)]
    assert len(sqs.change_message_visibility_batch(QueueUrl=queue, Entries=changes)["Successful"]) == 9
    deletes = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(got)]
    deletes.append({"Id": "garbage", "ReceiptHandle": "nonsense"})
    answer = sqs.delete_message_batch(QueueUrl=queue, Entries=deletes)
    assert len(answer["Successful"]) == 9 and answer["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    assert counts(sqs, queue) == (0, 0, 0)


def test_a_long_poll_is_woken_by_the_send(sqs, queue, url):
    seen = {}

    def receive():
        began = time.monotonic()
        seen["messages"] = client("sqs", url).receive_message(QueueUrl=queue, WaitTimeSeconds=10).get("Messages")
        seen["took"] = time.monotonic() - began

    waiter = threading.Thread(target=receive)
    waiter.start()
    time.sleep(0.5)
    sqs.send_message(QueueUrl=queue, MessageBody="wake up")
    waiter.join()
    assert seen["messages"][0]["Body"] == "wake up"
    assert 0.4 < seen["took"] < 5


def test_delay_and_visibility(sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="later", DelaySeconds=3)
    assert counts(sqs, queue) == (0, 0, 1)
    message = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5, VisibilityTimeout=1)["Messages"][0]
    again = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"][0]
    assert again["MessageId"] == message["MessageId"]


def test_purge(sqs, queue):
    for n in range(3):
        sqs.send_message(QueueUrl=queue, MessageBody=str(n))
    sqs.receive_message(QueueUrl=queue)
    sqs.purge_queue(QueueUrl=queue)
    eventually(lambda: counts(sqs, queue) == (0, 0, 0))


def test_accounts_and_regions_are_apart(url):
    name = unique("apart")
    places = [("111111111111", "us-east-1"), ("222222222222", "us-east-1"), ("111111111111", "eu-west-1")]
    clients = [client("sqs", url, *place) for place in places]
    urls = [sqs.create_queue(QueueName=name)["QueueUrl"] for sqs in clients]
    for n, (sqs, queue) in enumerate(zip(clients, urls)):
        sqs.send_message(QueueUrl=queue, MessageBody=str(n))
    for n, (sqs, queue) in enumerate(zip(clients, urls)):
        assert [m["Body"] for m in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]] == [str(n)]
    clients[0].delete_queue(QueueUrl=urls[0])
    for sqs, queue in list(zip(clients, urls))[1:]:
        assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == queue
        sqs.delete_queue(QueueUrl=queue)


def test_refusals_have_the_words_of_aws(sqs, queue):
    prefix = "Value {} for parameter {} is invalid. Reason: "
    assert error_of(sqs.receive_message, QueueUrl=queue, MaxNumberOfMessages=11) == (
        "InvalidParameterValue", 400,
        prefix.format(11, "MaxNumberOfMessages") + "Must be between 1 and 10, if provided.")
    assert error_of(sqs.receive_message, QueueUrl=queue, WaitTimeSeconds=21) == (
        "InvalidParameterValue", 400,
        prefix.format(21, "WaitTimeSeconds") + "Must be >= 0 and <= 20, if provided.")
    assert error_of(sqs.send_message, QueueUrl=queue, MessageBody="") == (
        "MissingParameter", 400, "The request must contain the parameter MessageBody.")
    assert error_of(sqs.send_message, QueueUrl=queue, MessageBody="x" * 1048577) == (
        "InvalidParameterValue", 400,
        "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.")
    assert error_of(sqs.delete_message, QueueUrl=queue, ReceiptHandle="garbage") == (
        "ReceiptHandleIsInvalid", 404, 'The input receipt handle "garbage" is not a valid receipt handle.')
    assert error_of(sqs.create_queue, QueueName="bad name") == (
        "InvalidParameterValue", 400,
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
    assert error_of(sqs.create_queue, QueueName=unique("x"), Attributes={"Nonsense": "1"})[0] == "InvalidAttributeName"
    assert error_of(sqs.set_queue_attributes, QueueUrl=queue, Attributes={"VisibilityTimeout": "43201"}) == (
        "InvalidAttributeValue", 400, "Invalid value for the parameter VisibilityTimeout.")
