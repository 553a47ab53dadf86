"""SnapStart through boto3: the hooks of published versions, which run in every environment since no snapshot is taken."""

import json

from conftest import error_of
from test_versions import call, publish

HOOKS = """import os
from snapshot_restore_py import register_after_restore, register_before_snapshot
done = ["init"]
register_before_snapshot(done.append, "first before")
@register_before_snapshot
def last():
    done.append("last before")
register_after_restore(done.append, "first after")
register_after_restore(done.append, "last after")
%s
def handler(event, context):
    return done, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
"""
ON = {"ApplyOn": "PublishedVersions"}


def test_hooks_run_around_where_a_snapshot_would_be(lam, functions):
    name = functions(HOOKS % "", SnapStart=ON)
    assert lam.get_function_configuration(FunctionName=name)["SnapStart"] == {**ON, "OptimizationStatus": "Off"}
    assert call(lam, name)[1] == [["init"], "on-demand"], "not for what is not published"
    version = publish(lam, name)
    shown = lam.get_function_configuration(FunctionName=name, Qualifier=version)
    assert shown["SnapStart"] == {**ON, "OptimizationStatus": "On"}
    assert call(lam, name, Qualifier=version)[1] == [
        ["init", "last before", "first before", "first after", "last after"], "snap-start"]
    assert error_of(lam.put_provisioned_concurrency_config, FunctionName=name, Qualifier=version,
                    ProvisionedConcurrentExecutions=1)[0] == "InvalidParameterValueException"
    lam.update_function_configuration(FunctionName=name, SnapStart={"ApplyOn": "None"})
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    version = publish(lam, name)
    assert call(lam, name, Qualifier=version)[1] == [["init"], "on-demand"]


def test_a_hook_that_fails_fails_init(lam, functions):
    for register in ["register_before_snapshot", "register_after_restore"]:
        name = functions(HOOKS % f"def fails():\n    raise ValueError('in a hook')\n{register}(fails)", SnapStart=ON)
        version = publish(lam, name)
        answer = lam.invoke(FunctionName=name, Qualifier=version)
        assert answer["FunctionError"] == "Unhandled"
        told = json.load(answer["Payload"])
        assert (told["errorType"], told["errorMessage"]) == ("ValueError", "in a hook")


def test_what_snap_start_refuses(lam, functions):
    name = functions(HOOKS % "")
    assert error_of(lam.update_function_configuration, FunctionName=name, SnapStart=ON, Runtime="python3.11") == (
        "InvalidParameterValueException", 400, "python3.11 is not supported for SnapStart enabled functions.")
    assert error_of(lam.update_function_configuration, FunctionName=name, SnapStart={"ApplyOn": "Always"})[0] == (
        "ValidationException")
    assert error_of(lam.update_function_configuration, FunctionName=name, SnapStart=ON, EphemeralStorage={"Size": 1024})[0] == (
        "InvalidParameterValueException")
