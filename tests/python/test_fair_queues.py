"""Fair queues through boto3."""

from conftest import unique


def test_a_noisy_group_does_not_make_a_quiet_one_wait(sqs):
    url = sqs.create_queue(QueueName=unique("fair"))["QueueUrl"]

    def send(group, count):
        sqs.send_message_batch(QueueUrl=url, Entries=[
            {"Id": str(n), "MessageBody": "x", "MessageGroupId": group} for n in range(count)])

    for _ in range(100):
        send("noisy", 10)
    send("quiet", 5)
    groups = []
    while groups.count("quiet") < 5:
        got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["MessageGroupId"])
        groups += [message["Attributes"]["MessageGroupId"] for message in got["Messages"]]
    assert len(groups) <= 20
