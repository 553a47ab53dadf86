"""Provisioned and reserved concurrency through boto3."""

import json
import threading

from conftest import error_of, eventually, unique
from test_versions import ARN, call, publish, update_code

# Init takes a while, so that nobody can mistake a call that waited for it for one that did not.
TELL = """import os, time, uuid
time.sleep(0.3)
ME = uuid.uuid4().hex
def handler(event, context):
    if event.get("die"):
        os._exit(3)
    time.sleep(event.get("sleep", 0))
    return [ME, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], context.function_version, "%s"]
"""


def shown(lam, name, qualifier):
    return lam.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)


def ready(lam, name, qualifier, count):
    def holds():
        found = shown(lam, name, qualifier)
        return found if (found["Status"], found["AvailableProvisionedConcurrentExecutions"]) == ("READY", count) else None
    return eventually(holds, seconds=30, what=f"{count} environments ready")


def together(count, act):
    told = []
    calls = [threading.Thread(target=lambda: told.append(act())) for _ in range(count)]
    for it in calls:
        it.start()
    for it in calls:
        it.join()
    return told


def at_once(lam, name, count, seconds=0.7):
    return together(count, lambda: call(lam, name, Payload=json.dumps({"sleep": seconds}))[1])


def test_environments_are_kept_ready(lam, functions):
    name = functions(TELL % "one", timeout=10)
    version = publish(lam, name)
    made = lam.put_provisioned_concurrency_config(FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=2)
    assert (made["Status"], made["RequestedProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", 2)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 202
    found = ready(lam, name, version, 2)
    assert found["AllocatedProvisionedConcurrentExecutions"] == 2 and found["LastModified"] == made["LastModified"]
    answer = lam.invoke(FunctionName=name, Qualifier=version, LogType="Tail", Payload=b"{}")
    import base64
    assert "Init Duration" not in base64.b64decode(answer["LogResult"]).decode()
    assert json.load(answer["Payload"])[1:] == ["provisioned-concurrency", version, "one"]
    # Two have an environment that was ready, the third one spills over.
    kinds = sorted(it[1] for it in at_once(lam, f"{name}:{version}", 3))
    assert kinds == ["on-demand", "provisioned-concurrency", "provisioned-concurrency"]
    assert call(lam, name, Payload=b"{}")[1][1] == "on-demand", "the unpublished version has none"
    # Crashes are made good.
    before = {it[0] for it in at_once(lam, f"{name}:{version}", 2)}
    died = together(2, lambda: lam.invoke(FunctionName=name, Qualifier=version, Payload=json.dumps({"die": True}))["FunctionError"])
    assert died == ["Unhandled"] * 2
    ready(lam, name, version, 2)
    after = at_once(lam, f"{name}:{version}", 2)
    assert all(it[1] == "provisioned-concurrency" for it in after) and not before & {it[0] for it in after}
    lam.delete_provisioned_concurrency_config(FunctionName=name, Qualifier=version)
    assert error_of(lam.get_provisioned_concurrency_config, FunctionName=name, Qualifier=version)[:2] == (
        "ProvisionedConcurrencyConfigNotFoundException", 404)
    eventually(lambda: call(lam, f"{name}:{version}", Payload=b"{}")[1][1] == "on-demand")


def test_an_alias_takes_its_environments_along(lam, functions):
    name = functions(TELL % "one", timeout=10)
    publish(lam, name)
    lam.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    lam.put_provisioned_concurrency_config(FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=1)
    ready(lam, name, "live", 1)
    assert call(lam, f"{name}:live", Payload=b"{}")[1][1:] == ["provisioned-concurrency", "1", "one"]
    update_code(lam, name, TELL % "two")
    publish(lam, name)
    lam.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    eventually(lambda: call(lam, f"{name}:live", Payload=b"{}")[1][1:] == ["provisioned-concurrency", "2", "two"])
    ready(lam, name, "live", 1)
    assert error_of(lam.put_provisioned_concurrency_config, FunctionName=name, Qualifier="2",
                    ProvisionedConcurrentExecutions=1) == (
        "ResourceConflictException", 409, "Version is pointed by a Provisioned Concurrency alias")
    listed = lam.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
    assert [(it["FunctionArn"], it["Status"]) for it in listed] == [(f"{ARN}{name}:live", "READY")]
    assert call(lam, f"{name}:1", Payload=b"{}")[1][1] == "on-demand"


def test_an_init_that_fails_is_told(lam, functions):
    name = functions("raise RuntimeError('not today')\n")
    version = publish(lam, name)
    lam.put_provisioned_concurrency_config(FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=1)
    found = eventually(lambda: (it := shown(lam, name, version))["Status"] == "FAILED" and it, seconds=30)
    assert "FUNCTION_ERROR_INIT_FAILURE" in found["StatusReason"]
    assert found["AvailableProvisionedConcurrentExecutions"] == 0


def test_what_provisioning_refuses(lam, functions):
    name = functions(TELL % "one")
    version = publish(lam, name)
    put = lambda qualifier, count: error_of(lam.put_provisioned_concurrency_config, FunctionName=name,
                                            Qualifier=qualifier, ProvisionedConcurrentExecutions=count)
    assert put("$LATEST", 1) == ("InvalidParameterValueException", 400,
                                 "Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
    assert put("dead", 1) == ("ResourceNotFoundException", 404, f"Cannot find alias arn: {ARN}{name}:dead")
    assert put("10", 1) == ("ResourceNotFoundException", 404, f"Function not found: {ARN}{name}:10")
    assert put(version, 5000)[0] == "InvalidParameterValueException"


def test_reserved_concurrency(lam, functions):
    name = functions(TELL % "one", timeout=10)
    assert "ReservedConcurrentExecutions" not in lam.get_function_concurrency(FunctionName=name)
    assert lam.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)["ReservedConcurrentExecutions"] == 1
    assert lam.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 1
    assert lam.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 1}
    for _ in range(5):
        call(lam, name, Payload=b"{}")  # One after another they are one at once.
    # It gets its turn whichever of the two comes first.
    running = threading.Thread(target=eventually, args=(lambda: throttled(lam, name, sleep=3) is None,))
    running.start()
    eventually(lambda: throttled(lam, name) == "ReservedFunctionConcurrentInvocationLimitExceeded")
    code, status, _ = error_of(lam.invoke, FunctionName=name, Payload=b"{}")
    assert (code, status) == ("TooManyRequestsException", 429)
    running.join()
    lam.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    eventually(lambda: throttled(lam, name) == "ReservedFunctionConcurrentInvocationLimitExceeded")
    lam.delete_function_concurrency(FunctionName=name)
    eventually(lambda: throttled(lam, name) is None)
    assert error_of(lam.put_function_concurrency, FunctionName=f"{name}:$LATEST", ReservedConcurrentExecutions=1)[2].startswith(
        "This operation is permitted on Lambda functions only.")
    missing = unique("missing")
    assert error_of(lam.put_function_concurrency, FunctionName=missing, ReservedConcurrentExecutions=1)[2] == (
        f"Function not found: {ARN}{missing}:$LATEST")


def throttled(lam, name, **event):
    """Why a call is throttled, if it is."""
    try:
        lam.invoke(FunctionName=name, Payload=json.dumps(event))
    except lam.exceptions.TooManyRequestsException as error:
        return error.response["Reason"]
    return None
