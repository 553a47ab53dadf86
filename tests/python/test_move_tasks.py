"""Message move tasks through boto3."""

import base64
import json

from conftest import error_of, eventually, unique
from test_dead_letters import arn_of, dead_letter_queue, policy, receive


def redriven(sqs, count=3):
    """A source without its messages, and the dead-letter queue that has them."""
    dead, arn = dead_letter_queue(sqs)
    source = sqs.create_queue(QueueName=unique("source"), Attributes={
        "VisibilityTimeout": "0", "RedrivePolicy": policy(arn, 1)})["QueueUrl"]
    sent = [sqs.send_message(QueueUrl=source, MessageBody=str(n))["MessageId"] for n in range(count)]
    eventually(lambda: receive(sqs, source) == [] and visible(sqs, dead) == count)
    return source, dead, arn, sent


def visible(sqs, url):
    name = "ApproximateNumberOfMessages"
    return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


def tasks(sqs, arn, most=10):
    return sqs.list_message_move_tasks(SourceArn=arn, MaxResults=most).get("Results", [])


def ended(sqs, arn):
    return [task for task in tasks(sqs, arn, 1) if task["Status"] != "RUNNING"]


def test_messages_return_to_their_source(sqs):
    source, dead, arn, sent = redriven(sqs)
    handle = sqs.start_message_move_task(SourceArn=arn)["TaskHandle"]
    said = json.loads(base64.b64decode(handle))
    assert list(said) == ["taskId", "sourceArn"] and said["sourceArn"] == arn
    task = eventually(lambda: ended(sqs, arn))[0]
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"], task["ApproximateNumberOfMessagesToMove"]) == (
        "COMPLETED", 3, 3)
    assert "TaskHandle" not in task and "DestinationArn" not in task and task["StartedTimestamp"] > 1_600_000_000_000
    got = receive(sqs, source)
    assert sorted(message["Body"] for message in got) == ["0", "1", "2"]
    assert not {message["MessageId"] for message in got} & set(sent), "they are new messages"
    assert {message["Attributes"]["ApproximateReceiveCount"] for message in got} == {"1"}
    assert visible(sqs, dead) == 0


def test_a_task_with_destination_and_rate_can_be_cancelled(sqs):
    _, dead, arn, _ = redriven(sqs, 10)
    other = sqs.create_queue(QueueName=unique("other"))["QueueUrl"]
    handle = sqs.start_message_move_task(SourceArn=arn, DestinationArn=arn_of(sqs, other),
                                         MaxNumberOfMessagesPerSecond=1)["TaskHandle"]
    running = tasks(sqs, arn)[0]
    assert (running["TaskHandle"], running["MaxNumberOfMessagesPerSecond"]) == (handle, 1)
    assert error_of(sqs.start_message_move_task, SourceArn=arn) == (
        "InvalidParameterValue", 400, "There is already a task running. Only one active task is allowed for a source "
        "queue arn at a given time.")
    eventually(lambda: visible(sqs, other) > 0)
    moved = sqs.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"]
    assert 0 <= moved < 10
    task = eventually(lambda: [task for task in ended(sqs, arn) if task["Status"] == "CANCELLED"])[0]
    assert visible(sqs, other) + visible(sqs, dead) == 10
    assert task["DestinationArn"] == arn_of(sqs, other)
    assert error_of(sqs.cancel_message_move_task, TaskHandle=handle)[0::2] == (
        "ResourceNotFoundException", "Task does not exist.")


def test_what_cannot_be_started_has_the_words_of_aws(sqs):
    plain = sqs.create_queue(QueueName=unique("plain"))["QueueUrl"]
    arn = arn_of(sqs, plain)
    start = sqs.start_message_move_task
    assert error_of(start, SourceArn=arn) == (
        "InvalidParameterValue", 400, "Source queue must be configured as a Dead Letter Queue.")
    missing = "The resource that you specified for the %s parameter doesn't exist."
    assert error_of(start, SourceArn=arn + "-not") == ("ResourceNotFoundException", 404, missing % "SourceArn")
    assert error_of(start, SourceArn=arn, DestinationArn=arn + "-not") == (
        "ResourceNotFoundException", 404, missing % "DestinationArn")
    assert error_of(start, SourceArn="nonsense")[2].startswith("You must use this format to specify the SourceArn:")
    assert error_of(sqs.list_message_move_tasks, SourceArn=arn + "-not")[1] == 404
    assert error_of(sqs.list_message_move_tasks, SourceArn=arn, MaxResults=11)[0] == "InvalidParameterValue"
    assert error_of(sqs.cancel_message_move_task, TaskHandle="nonsense") == (
        "InvalidParameterValue", 400, "Value for parameter TaskHandle is invalid.")
    assert tasks(sqs, arn) == []
