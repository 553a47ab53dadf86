"""Dead letters and permissions through boto3."""

import json

from conftest import error_of, eventually, unique


def dead_letter_queue(sqs, **attributes):
    url = sqs.create_queue(QueueName=unique("dead"), Attributes=attributes)["QueueUrl"]
    return url, arn_of(sqs, url)


def arn_of(sqs, url):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def policy(arn, count=1):
    return json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": count})


def receive(sqs, url, **more):
    return sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"],
                               MessageAttributeNames=["All"], **more).get("Messages", [])


def test_a_message_that_fails_too_often_moves(sqs):
    dead, arn = dead_letter_queue(sqs)
    queue = sqs.create_queue(QueueName=unique("source"), Attributes={
        "VisibilityTimeout": "0", "RedrivePolicy": policy(arn, "2")})["QueueUrl"]
    sent = sqs.send_message(QueueUrl=queue, MessageBody="poison", MessageAttributes={
        "n": {"DataType": "Number", "StringValue": "1"}})
    first = receive(sqs, queue)[0]
    assert receive(sqs, queue)[0]["Attributes"]["ApproximateReceiveCount"] == "2"
    assert receive(sqs, queue) == []
    moved = eventually(lambda: receive(sqs, dead, WaitTimeSeconds=1))[0]
    assert moved["MessageId"] == sent["MessageId"] and moved["Body"] == "poison"
    assert moved["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert moved["Attributes"]["ApproximateReceiveCount"] == "3"
    assert moved["Attributes"]["DeadLetterQueueSourceArn"] == arn_of(sqs, queue)
    assert moved["Attributes"]["SentTimestamp"] == first["Attributes"]["SentTimestamp"]
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [queue]
    assert "queueUrls" not in sqs.list_dead_letter_source_queues(QueueUrl=queue)


def test_redrive_policies_are_checked_and_kept_as_given(sqs):
    dead, arn = dead_letter_queue(sqs)
    queue = sqs.create_queue(QueueName=unique("source"))["QueueUrl"]

    def refusal(**attributes):
        return error_of(sqs.set_queue_attributes, QueueUrl=queue, Attributes=attributes)

    missing = policy(arn + "-not")
    assert refusal(RedrivePolicy=missing) == (
        "InvalidParameterValue", 400,
        f"Value {missing} for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist.")
    assert "mandatory attribute: maxReceiveCount" in refusal(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn}))[2]
    assert "valid values are from 1 to 1000" in refusal(RedrivePolicy=policy(arn, 0))[2]
    assert refusal(RedrivePolicy="{")[0] == "InvalidAttributeValue"
    assert refusal(RedriveAllowPolicy='{"redrivePermission":"byQueue"}')[0] == "InvalidParameterValue"
    assert refusal(RedrivePolicy=policy(arn.replace("us-east-1", "eu-west-1")))[2].endswith(
        "Dead-letter target must be in same region as the source.")
    assert refusal(RedrivePolicy=policy(arn.replace("000000000000", "111111111111")))[2].endswith(
        "Dead-letter target owner should be same as the source.")
    text = '{"maxReceiveCount":"5",  "deadLetterTargetArn":"%s"}' % arn
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": text})
    names = ["RedrivePolicy"]
    assert sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"] == {"RedrivePolicy": text}
    # The same in other words is the same.
    name = queue.rsplit("/", 1)[1]
    assert sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy(arn, 5)})["QueueUrl"] == queue
    assert error_of(sqs.create_queue, QueueName=name, Attributes={"RedrivePolicy": policy(arn, 6)})[0] == "QueueAlreadyExists"
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": ""})
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={"RedriveAllowPolicy": '{"redrivePermission":"denyAll"}'})
    assert refusal(RedrivePolicy=policy(arn))[0] == "InvalidParameterValue"
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={"RedriveAllowPolicy": json.dumps(
        {"redrivePermission": "byQueue", "sourceQueueArns": [arn_of(sqs, queue)]})})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": policy(arn)})


def test_sources_are_listed_in_pages(sqs):
    dead, arn = dead_letter_queue(sqs)
    name = unique("source")
    sources = [sqs.create_queue(QueueName=f"{name}-{n}", Attributes={"RedrivePolicy": policy(arn)})["QueueUrl"]
               for n in range(3)]
    first = sqs.list_dead_letter_source_queues(QueueUrl=dead, MaxResults=2)
    assert first["queueUrls"] == sources[:2]
    rest = sqs.list_dead_letter_source_queues(QueueUrl=dead, MaxResults=2, NextToken=first["NextToken"])
    assert rest["queueUrls"] == sources[2:] and "NextToken" not in rest


def test_what_a_function_cannot_handle_ends_with_the_dead_letters(sqs, lam, functions):
    dead, arn = dead_letter_queue(sqs)
    queue = sqs.create_queue(QueueName=unique("source"), Attributes={
        "VisibilityTimeout": "2", "RedrivePolicy": policy(arn, 1)})["QueueUrl"]
    name = functions("def handler(event, context):\n    raise ValueError('no')\n", timeout=1)
    mapping = lam.create_event_source_mapping(EventSourceArn=arn_of(sqs, queue), FunctionName=name)["UUID"]
    sqs.send_message(QueueUrl=queue, MessageBody="poison")
    moved = eventually(lambda: receive(sqs, dead, WaitTimeSeconds=1), what="the dead letter")[0]
    assert moved["Body"] == "poison"
    lam.delete_event_source_mapping(UUID=mapping)


def test_permissions(sqs):
    queue, arn = dead_letter_queue(sqs)
    sqs.add_permission(QueueUrl=queue, Label="send", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
    text = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"])["Attributes"]["Policy"]
    assert json.loads(text) == {
        "Version": "2008-10-17", "Id": f"{arn}/SQSDefaultPolicy", "Statement": [{
            "Sid": "send", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
            "Action": "SQS:SendMessage", "Resource": arn}]}
    assert error_of(sqs.add_permission, QueueUrl=queue, Label="send", AWSAccountIds=["111111111111"],
                    Actions=["*"])[2] == "Value send for parameter Label is invalid. Reason: Already exists."
    sqs.remove_permission(QueueUrl=queue, Label="send")
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"])
