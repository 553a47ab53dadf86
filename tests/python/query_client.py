"""What an SDK from before 2023 does, which speaks the Query protocol. Run by test_other_clients.py in an environment of its own."""

import sys
import uuid

import boto3
import botocore

endpoint = sys.argv[1]
sqs = boto3.client("sqs", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="000000000000",
                   aws_secret_access_key="test")
assert botocore.__version__.startswith("1.29.")
assert sqs.meta.service_model.metadata["protocol"] == "query"


def unique(stem):
    return f"{stem}-{uuid.uuid4()}"


def code_of(call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return "accepted"


name = unique("query")
url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "0"}, tags={"team": "a"})["QueueUrl"]
assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
assert url in sqs.list_queues(QueueNamePrefix=name)["QueueUrls"]
assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "a"}
attributes = {"text": {"DataType": "String", "StringValue": "<ä>"}, "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}
sent = sqs.send_message(QueueUrl=url, MessageBody="<grüße> & \n", MessageAttributes=attributes)
got = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], AttributeNames=["All"], WaitTimeSeconds=1)["Messages"][0]
assert (got["MessageId"], got["Body"]) == (sent["MessageId"], "<grüße> & \n")
assert got["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
assert got["MessageAttributes"]["bytes"]["BinaryValue"] == b"\x00\xff"
assert got["Attributes"]["ApproximateReceiveCount"] == "1"
sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=0)
sqs.delete_message(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"])
batch = sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "a", "MessageBody": "1"}, {"Id": "b", "MessageBody": "\x0b"}])
assert [it["Id"] for it in batch["Successful"]] == ["a"] and batch["Failed"][0]["Code"] == "InvalidMessageContents"
got = sqs.receive_message(QueueUrl=url)["Messages"][0]
done = sqs.delete_message_batch(QueueUrl=url, Entries=[{"Id": "x", "ReceiptHandle": got["ReceiptHandle"]}])
assert [it["Id"] for it in done["Successful"]] == ["x"]
shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
assert (shown["ApproximateNumberOfMessages"], shown["VisibilityTimeout"]) == ("0", "0")
sqs.add_permission(QueueUrl=url, Label="l", AWSAccountIds=["000000000001"], Actions=["SendMessage"])
sqs.remove_permission(QueueUrl=url, Label="l")
sqs.purge_queue(QueueUrl=url)
assert code_of(sqs.send_message, QueueUrl=url + "-not", MessageBody="a") == "AWS.SimpleQueueService.NonExistentQueue"
assert code_of(sqs.delete_message, QueueUrl=url, ReceiptHandle="x") == "ReceiptHandleIsInvalid"
assert code_of(sqs.set_queue_attributes, QueueUrl=url, Attributes={"Nonsense": "1"}) == "InvalidAttributeName"
fifo = sqs.create_queue(QueueName=unique("query") + ".fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
one = sqs.send_message(QueueUrl=fifo, MessageBody="a", MessageGroupId="g", MessageDeduplicationId="1")
two = sqs.send_message(QueueUrl=fifo, MessageBody="b", MessageGroupId="g", MessageDeduplicationId="1")
assert one["SequenceNumber"] == two["SequenceNumber"] and one["MD5OfMessageBody"] != two["MD5OfMessageBody"]
assert len(sqs.receive_message(QueueUrl=fifo, MaxNumberOfMessages=10)["Messages"]) == 1
sqs.delete_queue(QueueUrl=url)
print("done")
