"""Layers through boto3: published, downloaded, mounted at /opt, deleted while in use."""

import hashlib
import base64
import urllib.request
import zipfile

from conftest import error_of, unique, zip_of
from test_lambda import invoke


def publish(lam, files, **more):
    name = unique("layer")
    return name, lam.publish_layer_version(LayerName=name, Content={"ZipFile": zip_of(files)}, **more)


def test_layer_versions(lam):
    archive = {"python/shared.py": "value = 1\n"}
    name, first = publish(lam, archive, Description="d", CompatibleRuntimes=["python3.12"], LicenseInfo="MIT")
    assert first["LayerVersionArn"] == f"arn:aws:lambda:us-east-1:000000000000:layer:{name}:1"
    downloaded = urllib.request.urlopen(first["Content"]["Location"]).read()
    assert base64.b64encode(hashlib.sha256(downloaded).digest()).decode() == first["Content"]["CodeSha256"]
    assert first["Content"]["CodeSize"] == len(downloaded)
    second = lam.publish_layer_version(LayerName=name, Content={"ZipFile": downloaded})
    assert second["Version"] == 2
    found = lam.get_layer_version_by_arn(Arn=second["LayerVersionArn"])
    assert (found["Version"], found["CreatedDate"]) == (2, second["CreatedDate"])
    pages = lam.get_paginator("list_layer_versions").paginate(LayerName=name, PaginationConfig={"PageSize": 1})
    assert [version["Version"] for page in pages for version in page["LayerVersions"]] == [2, 1]
    layers = [layer for page in lam.get_paginator("list_layers").paginate() for layer in page["Layers"]]
    assert [layer["LatestMatchingVersion"]["Version"] for layer in layers if layer["LayerName"] == name] == [2]
    # By the ARN in the place of the name, which clients percent-encode.
    assert lam.get_layer_version(LayerName=first["LayerArn"], VersionNumber=1)["LicenseInfo"] == "MIT"
    lam.delete_layer_version(LayerName=name, VersionNumber=2)
    assert error_of(lam.get_layer_version, LayerName=name, VersionNumber=2) == (
        "ResourceNotFoundException", 404, "The resource you requested does not exist.")


def test_function_with_layers(lam, functions):
    below, first = publish(lam, {"python/shared.py": "value = 'below'\n", "python/only.py": "value = 'only'\n"})
    above, second = publish(lam, {"python/shared.py": "value = 'above'\n"})
    source = "import shared, only\ndef handler(event, context):\n    return [shared.value, only.value]\n"
    arns = [first["LayerVersionArn"], second["LayerVersionArn"]]
    name = functions(source, Layers=arns)
    shown = lam.get_function_configuration(FunctionName=name)["Layers"]
    assert [layer["Arn"] for layer in shown] == arns and shown[0]["CodeSize"] == first["Content"]["CodeSize"]
    assert invoke(lam, name)[1] == ["above", "only"]
    lam.delete_layer_version(LayerName=above, VersionNumber=1)
    lam.update_function_configuration(FunctionName=name, Description="a cold start")
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert invoke(lam, name)[1] == ["above", "only"], "a deleted layer version keeps working where it is"
    assert error_of(lam.update_function_configuration, FunctionName=name, Layers=arns) == (
        "InvalidParameterValueException", 400, f"Layer version {arns[1]} does not exist.")
    lam.update_function_configuration(FunctionName=name, Layers=arns[:1])
    lam.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert invoke(lam, name)[1] == ["below", "only"]


def test_an_es_module_imports_from_a_layer(lam, functions):
    package = {"nodejs/node_modules/lent/package.json": '{"main": "lent.js"}', "nodejs/node_modules/lent/lent.js": "module.exports = 'lent'"}
    _, layer = publish(lam, package)
    source = "import lent from 'lent';\nexport const handler = async () => [lent, (await import('lent')).default];\n"
    name = functions(source, file="index.mjs", runtime="nodejs20.x", Layers=[layer["LayerVersionArn"]])
    assert invoke(lam, name)[1] == ["lent", "lent"]


def test_a_wrapper_brings_a_sitecustomize(lam, functions):
    wrapper = zipfile.ZipInfo("wrapper")
    wrapper.external_attr = 0o755 << 16
    files = {wrapper: "#!/bin/bash\nexport PYTHONPATH=/opt/instrumented:$PYTHONPATH\nexec \"$@\"\n",
             "instrumented/sitecustomize.py": "import builtins\nbuiltins.instrumented = True\n"}
    _, layer = publish(lam, files)
    source = "def handler(event, context):\n    return instrumented\n"
    name = functions(source, Layers=[layer["LayerVersionArn"]], Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}})
    assert invoke(lam, name)[1] is True


def test_layer_permissions(lam, url):
    from conftest import client
    other = client("lambda", url, account="222222222222")
    name, layer = publish(lam, {"python/shared.py": ""})
    code, status, message = error_of(other.get_layer_version_by_arn, Arn=layer["LayerVersionArn"])
    assert (code, status) == ("AccessDeniedException", 403) and "lambda:GetLayerVersion" in message
    lam.add_layer_version_permission(LayerName=name, VersionNumber=1, StatementId="all", Principal="*",
                                     Action="lambda:GetLayerVersion")
    assert other.get_layer_version_by_arn(Arn=layer["LayerVersionArn"])["Version"] == 1
    policy = lam.get_layer_version_policy(LayerName=name, VersionNumber=1)
    lam.remove_layer_version_permission(LayerName=name, VersionNumber=1, StatementId="all", RevisionId=policy["RevisionId"])
    assert error_of(other.get_layer_version_by_arn, Arn=layer["LayerVersionArn"])[0] == "AccessDeniedException"
