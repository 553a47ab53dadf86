"""Published versions and aliases through boto3 and the AWS CLI."""

import json

from conftest import error_of, eventually, unique, zip_of

ARN = "arn:aws:lambda:us-east-1:000000000000:function:"
TELL = """import os
def handler(event, context):
    return ["%s", context.function_version, os.environ["AWS_LAMBDA_FUNCTION_VERSION"],
            context.invoked_function_arn, context.log_stream_name, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]
"""


def publish(lam, name, **more):
    version = lam.publish_version(FunctionName=name, **more)["Version"]
    waiter = lam.get_waiter("published_version_active")
    waiter.wait(FunctionName=name, Qualifier=version, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    return version


def update_code(lam, name, source, **more):
    package = source if isinstance(source, bytes) else zip_of({"index.py": source})
    answer = lam.update_function_code(FunctionName=name, ZipFile=package, **more)
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    return answer


def call(lam, name, **more):
    answer = lam.invoke(FunctionName=name, **more)
    return answer["ExecutedVersion"], json.load(answer["Payload"])


def test_versions_do_not_change(lam, functions):
    name = functions(TELL % "one", Environment={"Variables": {"AA": "1"}})
    before = lam.get_function_configuration(FunctionName=name)
    first = lam.publish_version(FunctionName=name, Description="the first", CodeSha256=before["CodeSha256"],
                                RevisionId=before["RevisionId"])
    assert (first["Version"], first["FunctionArn"], first["Description"]) == ("1", f"{ARN}{name}:1", "the first")
    assert lam.get_function_configuration(FunctionName=name)["RevisionId"] != before["RevisionId"]
    again = lam.publish_version(FunctionName=name, Description="no change")
    assert (again["Version"], again["Description"]) == ("1", "the first")
    update_code(lam, name, TELL % "two")
    lam.update_function_configuration(FunctionName=name, Environment={"Variables": {"AA": "2"}}, Timeout=9)
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    old = lam.get_function(FunctionName=f"{name}:1")["Configuration"]
    assert (old["Timeout"], old["Environment"]["Variables"], old["CodeSha256"]) == (2, {"AA": "1"}, before["CodeSha256"])
    executed, told = call(lam, name, Qualifier="1")
    assert executed == "1" and told[:4] == ["one", "1", "1", f"{ARN}{name}:1"] and "/[1]" in told[4]
    executed, told = call(lam, f"{ARN}{name}:$LATEST")
    assert executed == "$LATEST" and told[:4] == ["two", "$LATEST", "$LATEST", f"{ARN}{name}:$LATEST"]
    assert publish(lam, name) == "2"
    assert call(lam, f"{name}:2")[1][0] == "two"
    listed = lam.list_versions_by_function(FunctionName=name)["Versions"]
    assert [(it["Version"], it["FunctionArn"]) for it in listed] == [
        (version, f"{ARN}{name}:{version}") for version in ["$LATEST", "1", "2"]]
    pages = lam.get_paginator("list_versions_by_function").paginate(FunctionName=name, PaginationConfig={"PageSize": 1})
    assert [it["Version"] for page in pages for it in page["Versions"]] == ["$LATEST", "1", "2"]
    lam.delete_function(FunctionName=name, Qualifier="1")
    assert error_of(lam.invoke, FunctionName=name, Qualifier="1") == (
        "ResourceNotFoundException", 404, f"Function not found: {ARN}{name}:1")
    assert error_of(lam.get_function, FunctionName=name, Qualifier="1")[2] == f"Function not found: {ARN}{name}:1"
    lam.update_function_configuration(FunctionName=name, Description="another")
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert publish(lam, name) == "3", "numbers are not given again"


def test_publish_with_code(lam, functions):
    name = functions(TELL % "one", Publish=True)
    waiter = lam.get_waiter("published_version_active")
    waiter.wait(FunctionName=name, Qualifier="1", WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert call(lam, name, Qualifier="1")[1][:2] == ["one", "1"]
    package = zip_of({"index.py": TELL % "two"})
    answer = update_code(lam, name, package, Publish=True)
    assert (answer["Version"], answer["FunctionArn"], answer["State"]) == ("2", f"{ARN}{name}:2", "Pending")
    waiter.wait(FunctionName=name, Qualifier="2", WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert call(lam, name, Qualifier="2")[1][:2] == ["two", "2"]
    assert update_code(lam, name, package, Publish=True)["Version"] == "2", "the same code is the same version"
    shown = [it["FunctionArn"] for page in lam.get_paginator("list_functions").paginate(FunctionVersion="ALL")
             for it in page["Functions"] if it["FunctionName"] == name]
    assert shown == [f"{ARN}{name}:{version}" for version in ["$LATEST", "1", "2"]]


def test_what_publishing_refuses(lam, functions):
    name = functions(TELL % "one")
    current = lam.get_function_configuration(FunctionName=name)["CodeSha256"]
    assert error_of(lam.publish_version, FunctionName=name, CodeSha256="nonsense") == (
        "InvalidParameterValueException", 400,
        f"CodeSHA256 (nonsense) is different from current CodeSHA256 in $LATEST ({current}). "
        "Please try again with the CodeSHA256 in $LATEST.")
    code, status, message = error_of(lam.publish_version, FunctionName=name, RevisionId="stale")
    assert (code, status) == ("PreconditionFailedException", 412) and "Revision Id" in message
    assert error_of(lam.invoke, FunctionName=f"{name}:1", Qualifier="2") == (
        "InvalidParameterValueException", 400,
        "The derived qualifier from the function name does not match the specified qualifier.")
    missing = unique("missing")
    assert error_of(lam.publish_version, FunctionName=missing)[2] == f"Function not found: {ARN}{missing}"
    publish(lam, name)
    assert error_of(lam.update_function_configuration, FunctionName=f"{name}:1", Timeout=5)[0] == (
        "InvalidParameterValueException")


def test_aliases(lam, functions):
    name = functions(TELL % "one")
    publish(lam, name)
    made = lam.create_alias(FunctionName=name, Name="live", FunctionVersion="1", Description="d")
    arn = f"{ARN}{name}:live"
    assert (made["AliasArn"], made["FunctionVersion"], made["Description"]) == (arn, "1", "d")
    executed, told = call(lam, name, Qualifier="live")
    assert executed == "1" and told[:4] == ["one", "1", "1", arn]
    assert lam.get_function_configuration(FunctionName=arn)["FunctionArn"] == arn
    assert lam.get_function_configuration(FunctionName=arn)["Version"] == "1"
    padded = lam.create_alias(FunctionName=name, Name="padded", FunctionVersion="01")
    assert padded["FunctionVersion"] == "1" and call(lam, name, Qualifier="padded")[0] == "1"
    lam.delete_alias(FunctionName=name, Name="padded")
    assert error_of(lam.delete_function, FunctionName=name, Qualifier="1") == (
        "ResourceConflictException", 409,
        "Unable to delete version because the following aliases reference it: [live]")
    update_code(lam, name, TELL % "two")
    publish(lam, name)
    assert call(lam, name, Qualifier="live")[0] == "1"
    assert error_of(lam.update_alias, FunctionName=name, Name="live", RevisionId="stale")[0] == "PreconditionFailedException"
    moved = lam.update_alias(FunctionName=name, Name="live", FunctionVersion="2", RevisionId=made["RevisionId"])
    assert (moved["FunctionVersion"], moved["Description"]) == ("2", "d") and moved["RevisionId"] != made["RevisionId"]
    eventually(lambda: call(lam, name, Qualifier="live")[1][0] == "two")
    lam.create_alias(FunctionName=name, Name="old", FunctionVersion="1")
    assert [it["Name"] for it in lam.list_aliases(FunctionName=name)["Aliases"]] == ["live", "old"]
    assert [it["Name"] for it in lam.list_aliases(FunctionName=name, FunctionVersion="1")["Aliases"]] == ["old"]
    lam.delete_alias(FunctionName=name, Name="old")
    lam.delete_alias(FunctionName=name, Name="old")
    assert error_of(lam.get_alias, FunctionName=name, Name="old") == (
        "ResourceNotFoundException", 404, f"Cannot find alias arn: {ARN}{name}:old")
    assert error_of(lam.update_alias, FunctionName=name, Name="old", Description="x")[2] == f"Alias not found: {ARN}{name}:old"
    assert error_of(lam.create_alias, FunctionName=name, Name="live", FunctionVersion="1")[2] == f"Alias already exists: {arn}"
    assert error_of(lam.create_alias, FunctionName=name, Name="x", FunctionVersion="10")[2] == f"Function not found: {ARN}{name}:10"
    eventually(lambda: error_of(lam.invoke, FunctionName=name, Qualifier="old")[2] == f"Function not found: {ARN}{name}:old")


def test_routing_weights_act(lam, functions):
    name = functions(TELL % "one", Publish=True)
    update_code(lam, name, TELL % "two")
    publish(lam, name)
    route = lambda weights: {"AdditionalVersionWeights": weights}
    made = lam.create_alias(FunctionName=name, Name="split", FunctionVersion="1", RoutingConfig=route({"2": 0.5}))
    assert made["RoutingConfig"] == route({"2": 0.5})
    executed = [call(lam, name, Qualifier="split")[0] for _ in range(40)]
    assert 5 <= executed.count("2") <= 35 and set(executed) == {"1", "2"}
    for weights, version, message in [
        ({"1": 0.5}, "1", "Invalid function version 1. Function version 1 is already included in routing configuration."),
        ({"2": 0.1, "3": 0.1}, "1", "Number of items in AdditionalVersionWeights cannot be greater than 1"),
        ({"2": 0.1}, "$LATEST", "$LATEST is not supported for an alias pointing to more than 1 version"),
        ({"10": 0.1}, "1", f"Function not found: {ARN}{name}:10"),
    ]:
        assert error_of(lam.update_alias, FunctionName=name, Name="split", FunctionVersion=version,
                        RoutingConfig=route(weights))[2] == message
    assert error_of(lam.update_alias, FunctionName=name, Name="split", RoutingConfig=route({"2": 1.5}))[0] == "ValidationException"
    assert error_of(lam.delete_function, FunctionName=f"{name}:2")[0] == "ResourceConflictException"
    assert "RoutingConfig" not in lam.update_alias(FunctionName=name, Name="split", RoutingConfig=route({}))
    eventually(lambda: {call(lam, name, Qualifier="split")[0] for _ in range(10)} == {"1"})
    lam.delete_function(FunctionName=f"{name}:2")


def test_a_mapping_feeds_an_alias(lam, sqs, functions):
    queue = sqs.create_queue(QueueName=unique("versions"))["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    source = "def handler(event, context):\n    print('ran', context.function_version, event['Records'][0]['body'])\n"
    name = functions(source, Publish=True)
    lam.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="1", WaiterConfig={"Delay": 1})
    lam.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert error_of(lam.create_event_source_mapping, FunctionName=f"{name}:dead", EventSourceArn=arn)[2] == (
        "Function does not exist")
    made = lam.create_event_source_mapping(FunctionName=f"{name}:live", EventSourceArn=arn)
    try:
        assert made["FunctionArn"] == f"{ARN}{name}:live"
        sqs.send_message(QueueUrl=queue, MessageBody="hello")
        gone = lambda: sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        eventually(lambda: {gone()["ApproximateNumberOfMessages"], gone()["ApproximateNumberOfMessagesNotVisible"]} == {"0"}, 30)
    finally:
        lam.delete_event_source_mapping(UUID=made["UUID"])
        sqs.delete_queue(QueueUrl=queue)
