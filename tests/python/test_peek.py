"""LocalStack's page of a queue's messages."""

import json
import urllib.error
import urllib.parse
import urllib.request

import pytest
from conftest import unique


def page(url, path, accept="application/json"):
    request = urllib.request.Request(url + "/_aws/sqs/messages" + path, headers={"Accept": accept})
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


def messages(url, path):
    shown = json.loads(page(url, path))["ReceiveMessageResponse"]["ReceiveMessageResult"]
    found = (shown or {}).get("Message", [])
    return found if isinstance(found, list) else [found]


def test_messages_are_shown_and_not_received(url, sqs):
    name = unique("peek")
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    path = "?QueueUrl=" + urllib.parse.quote(queue, safe="")
    assert json.loads(page(url, path))["ReceiveMessageResponse"]["ReceiveMessageResult"] is None
    sent = sqs.send_message(QueueUrl=queue, MessageBody="<a> & b", MessageAttributes={
        "n": {"DataType": "Number", "StringValue": "1"}})
    sqs.send_message(QueueUrl=queue, MessageBody="later", DelaySeconds=60)
    for _ in range(2):
        shown = messages(url, path)
        assert [it["Body"] for it in shown] == ["<a> & b"]
    assert shown[0]["MessageId"] == sent["MessageId"] and shown[0]["ReceiptHandle"] == "SQS/BACKDOOR/ACCESS"
    assert shown[0]["MessageAttribute"] == {"Name": "n", "Value": {"DataType": "Number", "StringValue": "1"}}
    attributes = {it["Name"]: it["Value"] for it in shown[0]["Attribute"]}
    assert attributes["ApproximateReceiveCount"] == "0"
    assert "&lt;a&gt; &amp; b" in page(url, path, accept="*/*")
    received = sqs.receive_message(QueueUrl=queue, MessageSystemAttributeNames=["All"])["Messages"]
    assert received[0]["Attributes"]["ApproximateReceiveCount"] == "1"
    assert messages(url, path) == []
    assert len(messages(url, path + "&ShowInvisible=true")) == 1
    account = queue.split("/")[-2]
    assert [it["Body"] for it in messages(url, f"/us-east-1/{account}/{name}?ShowDelayed=true")] == ["later"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        page(url, f"/us-east-1/{account}/{name}-not")
    assert refused.value.code == 400 and "NonExistentQueue" in refused.value.read().decode()
