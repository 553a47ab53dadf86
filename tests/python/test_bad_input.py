"""Garbage on the wire: AWS's code, status and words; nothing changes, nothing breaks."""

import http.client
import json
import socket

import pytest

from conftest import unique

SQS = {"Content-Type": "application/x-amz-json-1.0"}


def request(url, method="POST", path="/", body=b"", headers=None):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def sqs(url, operation, body):
    return request(url, body=body, headers={**SQS, "X-Amz-Target": f"AmazonSQS.{operation}"})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"QueueName": 7}',
                                  b'{"QueueName": {"a": 1}}', b"{" * 100_000])
def test_malformed_json(url, body):
    status, headers, answer = sqs(url, "CreateQueue", body)
    assert status == 400 and headers["x-amzn-RequestId"]
    assert json.loads(answer)["__type"].startswith("com.amazon")


@pytest.mark.parametrize("number", ["1e99", "99999999999999999999", "-1", "1.5", '"abc"', "true", "[1]"])
def test_numbers_out_of_range(url, number):
    queue = unique("numbers")
    assert sqs(url, "CreateQueue", json.dumps({"QueueName": queue}).encode())[0] == 200
    body = '{"QueueUrl": "%s", "MessageBody": "x", "DelaySeconds": %s}' % (queue, number)
    status, _, answer = sqs(url, "SendMessage", body.encode())
    assert status == 400, answer
    status, _, answer = sqs(url, "GetQueueAttributes", json.dumps({"QueueUrl": queue, "AttributeNames": ["All"]}).encode())
    assert json.loads(answer)["Attributes"]["ApproximateNumberOfMessages"] == "0"
    sqs(url, "DeleteQueue", json.dumps({"QueueUrl": queue}).encode())


def test_unknown_target(url):
    status, _, answer = sqs(url, "MakeCoffee", b"{}")
    assert 400 <= status < 500 and "UnknownOperationException" in json.loads(answer)["__type"]


def test_missing_member(url):
    def refused(operation, **members):
        status, headers, answer = sqs(url, operation, json.dumps(members).encode())
        answer = json.loads(answer)
        return status, headers["x-amzn-query-error"].removesuffix(";Sender"), answer["__type"], answer["message"]

    missing = "MissingParameter", "com.amazon.coral.service#MissingRequiredParameterException"
    name = unique("missing")
    _, _, answer = sqs(url, "CreateQueue", json.dumps({"QueueName": name}).encode())
    queue = json.loads(answer)["QueueUrl"]
    for nothing in ({}, {"QueueUrl": ""}):
        assert refused("SendMessage", **nothing, MessageBody="a") == (
            400, "AWS.SimpleQueueService.NonExistentQueue", "com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.")
    assert refused("SendMessage", QueueUrl=queue) == (400, *missing, "The request must contain the parameter MessageBody.")
    assert refused("DeleteMessage", QueueUrl=queue) == (400, *missing, "The request must contain the parameter MessageHandle.")
    assert refused("SendMessageBatch", QueueUrl=queue, Entries=[{"Id": "a", "MessageBody": "a"}, {"MessageBody": "b"}]) == (
        400, *missing, "The request must contain the parameter SendMessageBatchRequestEntry.2.Id.")
    for operation in ("GetQueueUrl", "CreateQueue"):
        assert refused(operation) == (
            400, "InvalidParameterValue", "com.amazon.coral.service#InvalidParameterValueException",
            "Value for parameter QueueName is invalid. Reason: Must specify a queue name.")
    assert refused("SendMessage", QueueUrl=queue, MessageBody="a", MessageAttributes={"n": {"StringListValues": ["a"], "DataType": "String"}}) == (
        400, "AWS.SimpleQueueService.UnsupportedOperation", "com.amazonaws.sqs#UnsupportedOperation",
        "Message attribute list values in SendMessage operation are not supported.")
    # What an entry lacks otherwise fails it alone.
    status, _, answer = sqs(url, "SendMessageBatch", json.dumps({"QueueUrl": queue, "Entries": [
        {"Id": "a"}, {"Id": "b", "MessageBody": "b", "MessageAttributes": {"n": {"StringValue": "x"}}}, {"Id": "c", "MessageBody": "c"}]}).encode())
    answer = json.loads(answer)
    assert status == 200 and [entry["Id"] for entry in answer["Successful"]] == ["c"]
    assert [(entry["Id"], entry["Code"], entry["Message"]) for entry in answer["Failed"]] == [
        ("a", "MissingParameter", "The request must contain the parameter MessageBody."),
        ("b", "InvalidParameterValue", "The message attribute 'n' must contain non-empty message attribute type.")]
    sqs(url, "DeleteQueue", json.dumps({"QueueUrl": queue}).encode())


def test_what_is_not_of_the_protocol(url):
    for operation, body, code in (("MakeCoffee", b"{}", "InvalidAction"), ("ListQueues", b"{", "MalformedInput"), ("ListQueues", b"[]", "MalformedInput")):
        status, headers, answer = sqs(url, operation, body)
        assert (status, headers["x-amzn-query-error"]) == (400, f"{code};Sender")
        assert json.loads(answer)["__type"].startswith("com.amazon.coral.service#")


def test_query_protocol(url):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, headers, answer = request(url, body=b"Action=GetQueueUrl&QueueName=missing", headers=form)
    assert status == 400 and headers["Content-Type"].startswith("text/xml")
    assert b"<Code>AWS.SimpleQueueService.NonExistentQueue</Code>" in answer
    assert b"The specified queue does not exist for this wsdl version." in answer
    name = unique("query").encode()
    status, _, answer = request(url, body=b"Action=CreateQueue&Version=2012-11-05&QueueName=" + name, headers=form)
    assert status == 200 and b"<CreateQueueResult><QueueUrl>" in answer
    status, _, answer = request(url, "GET", f"/000000000000/{name.decode()}?Action=SendMessage&MessageBody=a%20b")
    assert status == 200 and b"<MD5OfMessageBody>" in answer
    status, _, answer = request(url, "GET", f"/000000000000/{name.decode()}?Action=ReceiveMessage")
    assert b"<Body>a b</Body>" in answer
    lone = f"/000000000000/{name.decode()}?Action=SetQueueAttributes&Attribute.Name=DelaySeconds&Attribute.Value=7"
    assert request(url, "GET", lone)[0] == 200
    status, _, answer = request(url, "GET", f"/000000000000/{name.decode()}?Action=GetQueueAttributes&AttributeName=DelaySeconds")
    assert b"<Value>7</Value>" in answer
    assert request(url, "GET", f"/000000000000/{name.decode()}?Action=DeleteQueue")[0] == 200


@pytest.mark.parametrize("host", ["sqs.my-namespace.svc.cluster.local:4566", "sqs.us-west-2.localhost:4566", "queue.amazonaws.com",
                                  "my-host.queue.local"])
def test_queue_urls_lead_back_whatever_the_host(url, host):
    def ask(operation, **body):
        # Signed for a region that no host's name says.
        signed = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/sqs/aws4_request, SignedHeaders=host, Signature=00"
        headers = {**SQS, "X-Amz-Target": f"AmazonSQS.{operation}", "Host": host, "Authorization": signed}
        status, _, answer = request(url, body=json.dumps(body).encode(), headers=headers)
        assert status == 200, answer
        return json.loads(answer or b"{}")

    queue = ask("CreateQueue", QueueName=unique("host"))["QueueUrl"]
    assert queue.startswith(f"http://{host}/000000000000/")
    ask("SendMessage", QueueUrl=queue, MessageBody="x")
    found = ask("GetQueueAttributes", QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert found["ApproximateNumberOfMessages"] == "1" and found["QueueArn"].startswith("arn:aws:sqs:eu-west-1:000000000000:")
    ask("DeleteQueue", QueueUrl=queue)


def test_a_body_over_the_limit_is_refused(url):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.0\r\n"
                    b"X-Amz-Target: AmazonSQS.SendMessage\r\nContent-Length: 999999999999\r\n\r\n")
        assert b" 413 " in raw.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize("bytes_sent", [b"\x00" * 64, b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense"])
def test_what_is_no_http_is_hung_up_on(url, bytes_sent):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(bytes_sent)
        raw.settimeout(15)
        try:
            while raw.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert request(url, "GET", "/livez")[0] == 200


@pytest.mark.parametrize("path", ["/2015-03-31/functions/%00", "/2015-03-31/functions/..%2f..%2fetc", "/nonsense",
                                  "/2015-03-31/functions/a/b/c/d", "/2015-03-31/functions/" + "x" * 5000])
def test_odd_paths(url, path):
    assert 400 <= request(url, "GET", path)[0] < 500


def test_health(url):
    assert request(url, "GET", "/livez")[0] == 200
    assert request(url, "GET", "/readyz")[0] == 200
    services = json.loads(request(url, "GET", "/_localstack/health")[2])["services"]
    assert set(services) >= {"sqs", "lambda"}
    metrics = request(url, "GET", "/metrics")[2].decode()
    assert "# TYPE" in metrics and metrics.rstrip().endswith("# EOF")
