"""Functions of container images: from where they come, what AWS says about them, how they run. They run on a server of
their own, as root and as an ordinary user; in the layout of several processes on one process per role."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest

import images
from attack_ground import Ground
from conftest import BIN, ROLE, ROOT, client, error_of, eventually, free_port, unique, zip_of

SETTINGS = {"Entrypoint": ["/bin/bash", "/bootstrap.sh"], "Cmd": ["from-cmd"], "Env": ["OF_IMAGE=1", "BOTH=image", "PATH=/tools:/bin"],
            "WorkingDir": "/work"}


def test_a_published_image_is_active_once_it_is_there(place, registry):
    name = place.create(registry.push("published/app", "v1", app("1")), Publish=True)
    assert place.lam.get_function_configuration(FunctionName=name, Qualifier="1")["State"] == "Active"
    slow = app("2")
    uri = registry.push("published/app", "v2", slow)
    registry.slow = images.sha256(slow.layers[-1])
    try:
        assert place.lam.update_function_code(FunctionName=name, ImageUri=uri, Publish=True)["Version"] == "2"
        time.sleep(0.3)
        shown = place.lam.get_function_configuration(FunctionName=name, Qualifier="2")
        assert shown["State"] == "Pending", shown
    finally:
        registry.slow = None
    eventually(lambda: place.lam.get_function_configuration(FunctionName=name, Qualifier="2")["State"] == "Active")
    place.lam.delete_function(FunctionName=name)


def test_a_registry_leads_to_nothing_of_this_machine(place, registry):
    """A redirect to an address of this machine is followed where the registry is of this machine itself, and a challenge
    there gets no credentials."""
    other = images.Registry()
    try:
        uri = registry.push("led/app", "v1", app())
        registry.led = other.url
        code, status, _ = error_of(place.lam.create_function, FunctionName=unique("led"), Role=ROLE, PackageType="Image",
                                   Code={"ImageUri": uri.replace("led/", "private/")})
        assert (code, status) == ("AccessDeniedException", 403)
        assert other.asked and not any(path.startswith("/token") for path in other.asked)
    finally:
        registry.led = None
        other.close()


@pytest.fixture(scope="module")
def registry():
    registry = images.Registry()
    yield registry
    registry.close()


@pytest.fixture(scope="module", params=["full", "userns"])
def place(request, registry):
    """A server that may read images in `place.images`, and takes the registry for Amazon's."""
    if os.environ.get("TEST_URL") or os.environ.get("TEST_LAYOUT") == "cluster":
        pytest.skip("images need a server with settings of their own")
    if request.param == "userns" and (os.geteuid() != 0 or os.environ.get("TEST_LAYOUT") == "processes"):
        pytest.skip("once is enough")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lambfold-images-"))
    folder.chmod(0o755)
    request.addfinalizer(lambda: shutil.rmtree(folder, ignore_errors=True))
    login = folder / "config.json"
    login.write_text(json.dumps({"auths": {registry.host: {"username": "someone", "password": "a:password"}}}))
    settings = {"LAMBFOLD_CONTROL__IMAGE_DIRECTORIES": f'["{folder}"]', "LAMBFOLD_CONTROL__ECR_REGISTRY": registry.host,
                "LAMBFOLD_CONTROL__REGISTRY_CREDENTIALS": str(login)}
    if os.environ.get("TEST_LAYOUT") == "processes":
        port = free_port()
        env = {**os.environ, **settings, "TEST_BIN": BIN, "LAMBFOLD_LISTEN": f"127.0.0.1:{port}",
               "LAMBFOLD_GRPC_LISTEN": f"127.0.0.1:{free_port()}"}
        script = str(ROOT / "scripts" / "processes")
        subprocess.run([script, "up", str(folder / "roles")], env=env, check=True)
        yield Place(folder, f"http://127.0.0.1:{port}")
        subprocess.run([script, "down", str(folder / "roles")], env=env, check=True)
        return
    ground = Ground("userns" if request.param == "userns" else "plain", **settings)
    try:
        ground.start()
        yield Place(folder, ground.server.url)
        ground.close()
    finally:
        ground.remove()


class Place:
    def __init__(self, folder, url):
        self.folder, self.lam = folder, client("lambda", url)

    def create(self, uri, wait=True, name=None, **more):
        name = name or unique("image")
        made = self.lam.create_function(FunctionName=name, Role=ROLE, PackageType="Image", Code={"ImageUri": uri}, Timeout=5, **more)
        assert (made["State"], made["PackageType"]) == ("Pending", "Image")
        if wait:
            self.settled(name)
        return name

    def settled(self, name):
        """What a function shows when it is active, or will not be."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            shown = self.lam.get_function_configuration(FunctionName=name)
            if shown["State"] != "Pending" and shown.get("LastUpdateStatus") != "InProgress":
                return shown
            time.sleep(0.05)
        raise AssertionError(f"{name} stays {shown}")

    def run(self, name, script):
        """What a function of the runtime of `images` says to it."""
        answer = self.lam.invoke(FunctionName=name, Payload=json.dumps(script))
        text = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, text
        return text

    def fails(self, name):
        answer = self.lam.invoke(FunctionName=name, Payload=b'""')
        assert answer["FunctionError"] == "Unhandled"
        told = json.loads(answer["Payload"].read())
        return told["errorType"], told["errorMessage"].partition(" Error: ")[2]


def app(version="1", **more):
    files = {"work/version": f"{version}\n", "tools/tool": "#!/bin/bash\necho a tool\n"}
    return images.Image(images.layer(files), on=[images.base()], **{**SETTINGS, **more})


def test_every_form_of_an_image_runs(place, registry):
    plain, packed = app(), app(compress=True)
    images.write_layout(place.folder / "layout", v1=plain, packed=packed)
    (place.folder / "oci.tar").write_bytes(images.layer(images.layout_files(v1=packed)))
    (place.folder / "docker.tar").write_bytes(images.docker_save(app=plain))
    (place.folder / "new.tar").write_bytes(images.docker_save(layout=True, app=packed))
    other = app("other", architecture="s390x")
    tagged = registry.push("team/app", "v1", packed)
    both = registry.push("team/app", "both", other, plain)
    repository = tagged.rpartition(":")[0]
    layout, docker = f"oci:{place.folder}/layout", f"docker-archive:{place.folder}/docker.tar"
    ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app"
    for uri, resolved in [
        (f"{layout}:v1", f"{layout}@{plain.digest}"), (f"{layout}@{packed.digest}", f"{layout}@{packed.digest}"),
        ("oci-archive:oci.tar", f"oci-archive:oci.tar@{packed.digest}"), (docker, None), (f"{docker}:app:latest", None),
        ("docker-archive:new.tar:app:latest", None), ("oci-archive:new.tar:app", f"oci-archive:new.tar@{packed.digest}"),
        (tagged, f"{repository}@{packed.digest}"), (f"{repository}@{plain.digest}", f"{repository}@{plain.digest}"),
        (both, f"{repository}@{plain.digest}"), (f"{ecr}:v1", f"{ecr}@{packed.digest}"),
    ]:
        name = place.create(uri)
        found = place.lam.get_function(FunctionName=name)
        assert found["Configuration"]["State"] == "Active", found
        code = found["Code"]
        assert (code["RepositoryType"], code["ImageUri"]) == ("ECR", uri) and "Location" not in code
        assert code["ResolvedImageUri"].rpartition("@sha256:")[2] == found["Configuration"]["CodeSha256"]
        if resolved:
            assert code["ResolvedImageUri"] == resolved
        assert not {"Runtime", "Handler", "ImageConfigResponse", "Layers"} & set(found["Configuration"])
        assert place.run(name, "cat /work/version; tool; echo $PWD $OF_IMAGE $1") == "1\na tool\n/work 1 from-cmd", uri
        place.lam.delete_function(FunctionName=name)


def test_settings_of_the_function_beat_those_of_the_image(place):
    images.write_layout(place.folder / "settings", v1=app("1"), v2=app("2"))
    uri = f"oci:{place.folder}/settings"
    config = {"EntryPoint": ["bash", "/bootstrap.sh"], "Command": ["a", "b"], "WorkingDirectory": "/tools"}
    name = place.create(f"{uri}:v1", ImageConfig=config, Environment={"Variables": {"BOTH": "function"}})
    shown = place.lam.get_function_configuration(FunctionName=name)
    assert shown["ImageConfigResponse"] == {"ImageConfig": config}
    assert place.run(name, "echo $* $PWD $BOTH $AWS_LAMBDA_FUNCTION_NAME") == f"a b /tools function {name}"
    # Another image keeps them, and an empty ImageConfig takes them away.
    updated = place.lam.update_function_code(FunctionName=name, ImageUri=f"{uri}:v2")
    assert updated["LastUpdateStatus"] == "InProgress"
    assert place.settled(name)["LastUpdateStatus"] == "Successful"
    assert place.run(name, "cat /work/version; echo $PWD") == "2\n/tools"
    place.lam.update_function_configuration(FunctionName=name, ImageConfig={}, Timeout=6)
    assert "ImageConfigResponse" not in place.settled(name)
    assert place.run(name, "echo $* $PWD") == "from-cmd /work"
    would = place.lam.update_function_code(FunctionName=name, ImageUri=f"{uri}:v1", DryRun=True)
    assert would["CodeSha256"] == shown["CodeSha256"], "that of the image which is asked about"
    assert place.run(name, "cat /work/version") == "2", "and nothing has changed"
    place.lam.delete_function(FunctionName=name)


def test_layers_of_images_change_those_below(place):
    below = images.layer({"a/gone": "1", "a/stays": "1", "b/gone": "1", "c": "1", "replaced": "1"},
                         images.member("link", images.tarfile.SYMTYPE, "a"))
    above = images.layer({"a/.wh.gone": "", "b/.wh..wh..opq": "", "b/new": "2", ".wh.c": "", "c/d": "2", "replaced": "2"})
    images.write_layout(place.folder / "whiteouts", v=images.Image(below, above, on=[images.base()], **{**SETTINGS, "WorkingDir": ""}))
    name = place.create(f"oci:{place.folder}/whiteouts")
    assert place.run(name, "echo /a/* /b/* /c/* $PWD; cat /replaced /link/stays") == "/a/stays /b/new /c/d /\n21"
    seen = place.run(name, "ls /; (echo x > /x) 2>&1; echo x > /tmp/x && cat /tmp/x; cat /etc/hosts; ls /dev; id -u")
    assert "Read-only file system" in seen and "\nx\n127.0.0.1 localhost" in seen and seen.endswith("zero\n993"), seen
    place.lam.delete_function(FunctionName=name)


def test_what_cannot_start_says_why_as_on_aws(place):
    settings = {"Entrypoint": ["/bin/bash", "/bootstrap.sh"]}
    cases = {"none": {}, "missing": {"Entrypoint": ["/no/such"]}, "lookup": {"Cmd": ["no-such"]}, "format": {"Cmd": ["/bad"]},
             "directory": {**settings, "WorkingDir": "/no/such"}}
    bad = images.layer({"bad": b"\x7fELF"})
    images.write_layout(place.folder / "broken", **{tag: images.Image(bad, on=[images.base()], **it) for tag, it in cases.items()})
    entrypoint, directory = "Runtime.InvalidEntrypoint", "Runtime.InvalidWorkingDir"
    for tag, expected in {
        "none": (entrypoint, "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        "missing": (entrypoint, "fork/exec /no/such: no such file or directory"),
        "lookup": (entrypoint, 'exec: "no-such": executable file not found in $PATH'),
        "format": (entrypoint, "fork/exec /bad: exec format error"),
        "directory": (directory, "chdir /no/such: no such file or directory"),
    }.items():
        name = place.create(f"oci:{place.folder}/broken:{tag}")
        assert place.fails(name) == expected
        place.lam.delete_function(FunctionName=name)


def test_extensions_of_an_image_start_before_its_runtime(place):
    extension = """#!/bin/bash
exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API%:*}/${AWS_LAMBDA_RUNTIME_API#*:}"
printf 'POST /2020-01-01/extension/register HTTP/1.1\\r\\nHost: x\\r\\nLambda-Extension-Name: ext\\r\\nContent-Length: 13\\r\\n\\r\\n{"events":[]}' >&3
while IFS= read -r line <&3 && line=${line%$'\\r'} && [ -n "$line" ]; do
  case ${line,,} in lambda-extension-identifier:*) id=${line#*: } ;; esac
done
exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API%:*}/${AWS_LAMBDA_RUNTIME_API#*:}"
echo here > /tmp/extension
printf 'GET /2020-01-01/extension/event/next HTTP/1.1\\r\\nHost: x\\r\\nLambda-Extension-Identifier: %s\\r\\n\\r\\n' "$id" >&3
read -r line <&3
"""
    with_extension = images.Image(images.layer({"opt/extensions/ext": extension}), on=[images.base()], **{**SETTINGS, "WorkingDir": "/"})
    images.write_layout(place.folder / "extension", v=with_extension)
    name = place.create(f"oci:{place.folder}/extension")
    assert place.run(name, "cat /tmp/extension") == "here"
    place.lam.delete_function(FunctionName=name)


def test_a_private_registry_gets_credentials(place, registry):
    uri = registry.push("private/app", "v1", app("private", compress=True))
    name = place.create(uri)
    assert place.run(name, "cat /work/version") == "private"
    assert any(path.startswith("/token?") and "repository%3Aprivate%2Fapp%3Apull" in path for path in registry.asked)
    place.lam.delete_function(FunctionName=name)


def test_what_does_not_go_together_is_refused(place):
    images.write_layout(place.folder / "rules", v=app())
    uri, lam = f"oci:{place.folder}/rules", place.lam
    image = {"FunctionName": unique("refused"), "Role": ROLE, "PackageType": "Image", "Code": {"ImageUri": uri}}
    package = {**image, "PackageType": "Zip", "Runtime": "provided.al2023", "Handler": "x", "Code": {"ZipFile": zip_of({"bootstrap": "x"})}}
    layer_arn = "arn:aws:lambda:us-east-1:000000000000:layer:l:1"
    of_image = "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."
    hot = {"S3Bucket": "hot-reload", "S3Key": str(place.folder)}
    of_zip = "Please don't provide ImageConfig when the intended function PackageType is Zip."
    for arguments, message in [
        ({**image, "Runtime": "python3.12"}, of_image), ({**image, "Handler": "x"}, of_image), ({**image, "Layers": [layer_arn]}, of_image),
        ({**image, "Code": {"ZipFile": b"x"}}, "Please provide ImageUri when creating a function with packageType Image."),
        ({**package, "ImageConfig": {"Command": ["x"]}}, of_zip),
        ({**image, "Code": {"ImageUri": uri, **hot}}, "Please provide ImageUri when creating a function with packageType Image."),
        ({**package, "Code": {"ImageUri": uri}}, "Please provide a source for function code."),
        ({**package, "Code": {"ImageUri": uri, **hot}}, "Please don't provide ImageUri when creating a function with packageType Zip."),
    ]:
        assert error_of(lam.create_function, **arguments) == ("InvalidParameterValueException", 400, message)
    no_uri = "Please provide ImageUri when updating a function with packageType Image."
    name, zipped = place.create(uri), unique("zip")
    lam.create_function(**{**package, "FunctionName": zipped})
    place.settled(zipped)
    for call, arguments, message in [
        (lam.update_function_code, {"FunctionName": name, "ZipFile": b"x"}, no_uri),
        (lam.update_function_code, {"FunctionName": name, **hot}, no_uri),
        (lam.update_function_code, {"FunctionName": name, "ImageUri": uri, **hot}, no_uri),
        (lam.update_function_code, {"FunctionName": name}, no_uri),
        (lam.update_function_configuration, {"FunctionName": name, "Handler": "x"}, of_image),
        (lam.update_function_configuration, {"FunctionName": zipped, "ImageConfig": {"Command": ["x"]}}, of_zip),
        (lam.update_function_code, {"FunctionName": zipped, "ImageUri": uri}, "Please don't provide ImageUri when updating a function with packageType Zip."),
    ]:
        assert error_of(call, **arguments) == ("InvalidParameterValueException", 400, message)
    for made in (name, zipped):
        lam.delete_function(FunctionName=made)


def test_images_that_are_not_there_or_may_not_be_read(place, registry):
    def refused(uri):
        return error_of(place.lam.create_function, FunctionName=unique("refused"), Role=ROLE, PackageType="Image", Code={"ImageUri": uri})
    missing = f"{registry.host}/team/none:v1"
    assert refused(missing) == ("InvalidParameterValueException", 400, f"Source image {missing} does not exist. Provide a valid source image.")
    for uri in (f"oci:{place.folder}/nothing", "oci-archive:nothing.tar"):
        assert refused(uri)[2].endswith("does not exist. Provide a valid source image.")
    for uri, hint in {"oci:/etc": "control.image_directories", "docker-archive:/etc/passwd": "control.image_directories",
                      f"oci:{place.folder}/../..": "control.image_directories"}.items():
        code, status, message = refused(uri)
        assert (code, status) == ("AccessDeniedException", 403) and hint in message, message
    for uri in ("app", "app:v1", "localhost:1/A B", "oci:", f"{registry.host}/x@sha256:1"):
        code, status, message = refused(uri)
        assert (code, status) == ("InvalidParameterValueException", 400)
        assert message.startswith(f"Source image {uri} is not valid. Provide a valid source image."), message
    no_login = images.Registry()
    try:
        code, status, message = refused(no_login.push("private/app", "v1", app()))
        assert (code, status) == ("AccessDeniedException", 403) and message.startswith(
            "Lambda does not have permission to access the ECR image. Check the ECR permissions."), message
    finally:
        no_login.close()
    code, status, message = refused(f"localhost:{free_port()}/app:v1")
    assert (code, status) == ("ServiceException", 500) and "cannot be reached" in message


def test_an_image_that_cannot_be_brought_leaves_what_there_was(place, registry):
    good = app("good")
    name = place.create(registry.push("broken/app", "v1", good))
    bad = app("bad")
    uri = registry.push("broken/app", "v2", bad)
    registry.blobs[images.sha256(bad.layers[-1])] = bytes(len(bad.layers[-1]))
    place.lam.update_function_code(FunctionName=name, ImageUri=uri)
    shown = place.settled(name)
    assert (shown["LastUpdateStatus"], shown["LastUpdateStatusReasonCode"]) == ("Failed", "InvalidImage"), shown
    assert place.run(name, "cat /work/version") == "good"
    created = place.create(uri)
    shown = place.lam.get_function_configuration(FunctionName=created)
    assert (shown["State"], shown["StateReasonCode"]) == ("Failed", "InvalidImage"), shown
    # What is published of it is not there either; version 1 of the first one is what still runs.
    for function in (name, created):
        version = place.lam.publish_version(FunctionName=function)["Version"]
        eventually(lambda: place.lam.get_function_configuration(FunctionName=function, Qualifier=version)["State"] != "Pending")
        shown = place.lam.get_function_configuration(FunctionName=function, Qualifier=version)
        assert (shown["State"], shown["StateReasonCode"]) == ("Failed", "InvalidImage"), shown
    # The registry has lost a layer.
    lost = app("lost")
    uri = registry.push("broken/app", "v3", lost)
    del registry.blobs[images.sha256(lost.layers[-1])]
    gone = place.create(uri)
    assert place.lam.get_function_configuration(FunctionName=gone)["StateReasonCode"] == "ImageDeleted"
    for made in (name, created, gone):
        place.lam.delete_function(FunctionName=made)
