"""Function URLs: their settings through boto3, and real HTTP to them."""

import base64
import http.client
import json
import time
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from conftest import error_of

ECHO = """
import json
def handler(event, context):
    if event["rawPath"] == "/fail":
        raise ValueError("no")
    if event["rawPath"] == "/plain":
        return {"a": 1}
    if event["rawPath"] == "/bad":
        return {"statusCode": "what"}
    return {"statusCode": 201, "headers": {"Content-Type": "text/x", "Access-Control-Allow-Origin": "https://mine"},
            "cookies": ["a=1", "b=2"], "body": json.dumps(event)}
"""

STREAMS = """
const { setTimeout: pause } = require('timers/promises');
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  if (event.rawPath === '/early') throw new Error('no');
  if (event.rawPath !== '/bare') {
    stream = awslambda.HttpResponseStream.from(stream, {
      statusCode: 203, headers: { 'Content-Type': 'text/event-stream', 'X-A': 'b' }, cookies: ['c=1'] });
  }
  for (const word of ['one ', 'two ', 'three']) { stream.write(word); await pause(700); }
  if (event.rawPath === '/half') throw new RangeError('half way');
  stream.end();
});
"""


def ask(url, function_url, method="GET", path="/", body=None, headers=None):
    """The answer, and the connection that it comes on. Names below localhost are not resolved everywhere: by header."""
    at, named = urllib.parse.urlsplit(url), urllib.parse.urlsplit(function_url)
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=30)
    connection.request(method, path, body, {"Host": named.netloc, **(headers or {})})
    return connection.getresponse(), connection


def make(lam, name, **settings):
    return lam.create_function_url_config(FunctionName=name, **{"AuthType": "NONE", **settings})


def test_settings(lam, functions):
    name = functions(ECHO)
    cors = {"AllowOrigins": ["https://a"], "MaxAge": 60}
    made = make(lam, name, Cors=cors)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    host = urllib.parse.urlsplit(made["FunctionUrl"]).hostname
    url_id, rest = host.split(".", 1)
    assert len(url_id) == 32 and rest.startswith("lambda-url.us-east-1.")
    assert made["FunctionArn"].endswith(f":function:{name}") and made["Cors"] == cors and "InvokeMode" not in made
    code, status, text = error_of(lambda: make(lam, name))
    assert (code, status) == ("ResourceConflictException", 409) and "FunctionUrlConfig exists for this Lambda function" in text
    got = lam.get_function_url_config(FunctionName=name)
    assert (got["FunctionUrl"], got["InvokeMode"], got["AuthType"]) == (made["FunctionUrl"], "BUFFERED", "NONE")
    changed = lam.update_function_url_config(FunctionName=name, AuthType="AWS_IAM", InvokeMode="RESPONSE_STREAM")
    assert (changed["AuthType"], changed["InvokeMode"], changed["Cors"]) == ("AWS_IAM", "RESPONSE_STREAM", cors)
    listed, = lam.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"]
    assert listed["CreationTime"] == made["CreationTime"] and listed["FunctionUrl"] == made["FunctionUrl"]
    lam.delete_function_url_config(FunctionName=name)
    assert error_of(lambda: lam.get_function_url_config(FunctionName=name))[0] == "ResourceNotFoundException"
    assert error_of(lambda: lam.delete_function_url_config(FunctionName=name))[0] == "ResourceNotFoundException"
    assert error_of(lambda: make(lam, "is-not-there")) == (
        "ResourceNotFoundException", 404, "Function does not exist")
    assert error_of(lambda: make(lam, name, Qualifier="7"))[0] == "ValidationException"


def test_an_alias_has_its_own(lam, functions, url):
    name = functions(ECHO.replace('"/plain"', '"/"'))
    assert error_of(lambda: make(lam, name, Qualifier="live"))[0] == "ResourceNotFoundException"
    lam.publish_version(FunctionName=name)
    lam.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    made = make(lam, name, Qualifier="live")
    assert made["FunctionArn"].endswith(f":function:{name}:live")
    assert make(lam, name)["FunctionUrl"] != made["FunctionUrl"]
    assert len(lam.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"]) == 2
    answer, _ = ask(url, made["FunctionUrl"])
    assert (answer.status, json.loads(answer.read())) == (200, {"a": 1})
    lam.delete_alias(FunctionName=name, Name="live")
    assert ask(url, made["FunctionUrl"])[0].status == 403
    # It outlives the alias, and answers again when there is one of that name.
    assert lam.get_function_url_config(FunctionName=name, Qualifier="live")["FunctionUrl"] == made["FunctionUrl"]
    lam.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert ask(url, made["FunctionUrl"])[0].status == 200
    # A page may begin behind one that is gone.
    page = lam.list_function_url_configs(FunctionName=name, MaxItems=1)
    lam.delete_function_url_config(FunctionName=name)
    rest = lam.list_function_url_configs(FunctionName=name, Marker=page["NextMarker"])["FunctionUrlConfigs"]
    assert [it["FunctionUrl"] for it in rest] == [made["FunctionUrl"]]
    assert error_of(lam.list_function_url_configs, FunctionName=name, Marker="no")[0] == "InvalidParameterValueException"


def test_requests_and_answers(lam, functions, url):
    made = make(lam, functions(ECHO))["FunctionUrl"]
    answer, _ = ask(url, made, "POST", "/a/b?x=1&x=2&y=%20", b"\x00\xff",
                    {"Cookie": "k=v; l=w", "Content-Type": "application/octet-stream", "User-Agent": "me"})
    assert (answer.status, answer.getheader("Content-Type")) == (201, "text/x")
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    event = json.loads(answer.read())
    assert (event["version"], event["rawPath"], event["rawQueryString"]) == ("2.0", "/a/b", "x=1&x=2&y=%20")
    assert event["queryStringParameters"] == {"x": "1,2", "y": " "} and event["cookies"] == ["k=v", "l=w"]
    assert event["isBase64Encoded"] and base64.b64decode(event["body"]) == b"\x00\xff"
    context = event["requestContext"]
    assert context["http"]["method"] == "POST" and context["http"]["userAgent"] == "me"
    assert context["requestId"] == answer.getheader("x-amzn-RequestId") and context["accountId"] == "anonymous"
    assert urllib.parse.urlsplit(made).hostname == context["domainName"]
    answer, _ = ask(url, made, path="/plain")
    assert (answer.status, answer.getheader("Content-Type"), json.loads(answer.read())) == (
        200, "application/json", {"a": 1})
    for path in ("/fail", "/bad"):
        answer, _ = ask(url, made, path=path)
        assert (answer.status, answer.read()) == (502, b"Internal Server Error")
    # A function's paths are its own.
    answer, _ = ask(url, made, path="/metrics")
    assert json.loads(answer.read())["rawPath"] == "/metrics"
    answer, _ = ask(url, made, "POST", body=b"x" * 6_291_457)
    assert answer.status == 413


def test_who_may(lam, functions, url):
    name = functions(ECHO)
    made = make(lam, name, AuthType="AWS_IAM")["FunctionUrl"]
    answer, _ = ask(url, made)
    assert answer.status == 403 and json.loads(answer.read())["Message"].startswith("Forbidden")

    def signed(account, service="lambda"):
        request = botocore.awsrequest.AWSRequest("GET", made)
        botocore.auth.SigV4Auth(botocore.credentials.Credentials(account, "x"), service, "us-east-1").add_auth(request)
        return ask(url, made, headers=dict(request.headers.items()))[0]

    answer = signed("000000000000")
    event = json.loads(answer.read())
    assert answer.status == 201 and event["requestContext"]["authorizer"]["iam"]["accountId"] == "000000000000"
    assert "authorization" not in event["headers"]
    assert signed("111111111111").status == 403 and signed("000000000000", "sqs").status == 403
    lam.update_function_url_config(FunctionName=name, AuthType="NONE")
    assert ask(url, made)[0].status == 201
    lam.delete_function_url_config(FunctionName=name)
    answer, _ = ask(url, made)
    assert (answer.status, json.loads(answer.read())) == (403, {"Message": None})


def test_cross_origin(lam, functions, url):
    name = functions(ECHO)
    made = make(lam, name, Cors={"AllowOrigins": ["https://a"], "AllowMethods": ["PUT"], "MaxAge": 5})["FunctionUrl"]
    asked = {"Origin": "https://a", "Access-Control-Request-Method": "PUT"}
    answer, _ = ask(url, made, "OPTIONS", "/fail", headers=asked)
    assert (answer.status, answer.getheader("Access-Control-Allow-Methods")) == (200, "PUT")
    answer, _ = ask(url, made, headers={"Origin": "https://a"})
    assert answer.headers.get_all("Access-Control-Allow-Origin") == ["https://a"]
    lam.update_function_url_config(FunctionName=name, Cors={})
    answer, _ = ask(url, made, "OPTIONS", headers=asked)
    assert (answer.status, answer.getheader("Access-Control-Allow-Origin")) == (201, "https://mine")


def test_streams(lam, functions, url):
    name = functions(STREAMS, file="index.js", runtime="nodejs20.x", timeout=20)
    made = make(lam, name, InvokeMode="RESPONSE_STREAM")["FunctionUrl"]
    ask(url, made)[0].read()
    answer, _ = ask(url, made)
    assert (answer.status, answer.getheader("X-A"), answer.getheader("Set-Cookie")) == (203, "b", "c=1")
    assert answer.getheader("Content-Type") == "text/event-stream"
    began, pieces = time.monotonic(), []
    while piece := answer.read1():
        pieces.append((time.monotonic() - began, piece))
    assert b"".join(piece for _, piece in pieces) == b"one two three"
    assert pieces[-1][0] - pieces[0][0] > 0.4, "the first piece came long before the end"
    answer, _ = ask(url, made, path="/bare")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "application/octet-stream")
    assert answer.read() == b"one two three"
    answer, _ = ask(url, made, path="/early")
    assert (answer.status, answer.read()) == (502, b"Internal Server Error")
    answer, _ = ask(url, made, path="/half")
    assert answer.status == 203
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
