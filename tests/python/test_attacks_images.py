"""Attacks by images: by what is in their layers, by what their documents say, and by registries. Nothing is written outside
the worker's directory, nothing is unpacked without end, nothing of this machine is read, and the function says why it is not
made."""

import gzip
import io
import json
import os
import pathlib
import tarfile
import time

import pytest

import images
from conftest import ROLE, error_of, unique
from test_images import SETTINGS, Place, app, place, registry  # noqa: F401 (fixtures)

EVIL = "/tmp/evil-of-an-image"
link, hard = (lambda name, target: images.member(name, tarfile.SYMTYPE, target)), (lambda name, target: images.member(name, tarfile.LNKTYPE, target))

#: Layers that are refused, and words of why.
REFUSED = {
    "absolute name": (images.layer({EVIL: "x"}), "absolute name"),
    "parent": (images.layer({"../../evil": "x"}), "`..`"),
    "parent below": (images.layer({"a/../../evil": "x"}), "`..`"),
    "through a link": (images.layer({}, link("l", "/tmp"), images.member("l/evil-of-an-image")), "no directory"),
    "a link becomes a directory": (images.layer({}, link("l", "/tmp"), images.member("l", tarfile.DIRTYPE)), "at once"),
    "hard link out": (images.layer({}, hard("h", "/etc/shadow")), "hard link"),
    "hard link up": (images.layer({}, hard("h", "../../../etc/shadow")), "hard link"),
    "hard link through a link": (images.layer({}, link("l", "/etc"), hard("h", "l/shadow")), "hard link"),
    "whiteout of the directory above": (images.layer({"a/.wh...": ""}), "illegal name"),
    "whiteout of itself": (images.layer({"a/.wh..": ""}), "illegal name"),
    "no archive": (b"\x1f\x8b" + bytes(1000), "not a sound archive"),
    "cut off": (images.layer({"a": "x" * 2000})[:1500], "not a sound archive"),
}


def failure(place, image, tag="v"):  # noqa: F811
    folder = place.folder / unique("attack")
    images.write_layout(folder, **{tag: image})
    name = place.create(f"oci:{folder}")
    shown = place.lam.get_function_configuration(FunctionName=name)
    place.lam.delete_function(FunctionName=name)
    return shown.get("StateReasonCode"), shown.get("StateReason")


@pytest.mark.parametrize("attack", REFUSED)
def test_layers_are_refused(place, attack):  # noqa: F811
    data, why = REFUSED[attack]
    code, reason = failure(place, images.Image(data, on=[images.base()], **SETTINGS))
    assert code == "InvalidImage" and why in reason, reason
    assert not os.path.exists(EVIL)


def test_what_is_taken_does_no_harm(place):  # noqa: F811
    """Devices, set-uid programs, links in the place of what a sandbox mounts, whiteouts of all there is."""
    evil = images.layer(
        {"bin/id2": open("/bin/id", "rb").read(), "etc2/.wh..wh..opq": ""},
        images.member("disk", tarfile.BLKTYPE), images.member("pipe", tarfile.FIFOTYPE), hard("disk2", "disk"),
        link("proc", "/etc"), link("dev", "/tmp"), link("etc", "/"), link("leak", "/../../../../etc/shadow"),
        images.member("bin/suid", size=0, mode=0o6777))
    above = images.layer({".wh.etc2": "", ".wh.missing": "", ".wh..wh.plnk/1.2": "x"})
    images.write_layout(place.folder / "harmless", v=images.Image(evil, above, on=[images.base()], **{**SETTINGS, "WorkingDir": "/"}))
    name = place.create(f"oci:{place.folder}/harmless")
    seen = place.run(name, "ls -ld /bin/suid /proc /dev /etc /tmp; ls -l / /dev; cat /leak; cat /etc/passwd; id -u; cat /proc/1/environ")
    assert "rws" not in seen and "disk" not in seen and "pipe" not in seen and "etc2" not in seen, seen
    assert "root:" not in seen and seen.count("No such file") >= 2, seen
    place.lam.delete_function(FunctionName=name)


def test_bombs(place):  # noqa: F811
    """Eleven gigabytes in eleven megabytes; half a million files and one."""
    began = time.monotonic()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as stream:
        header = images.member("zeros", size=11 << 30).tobuf(tarfile.GNU_FORMAT)
        stream.write(header)
        zeros = bytes(1 << 20)
        for _ in range(64):
            stream.write(zeros)
    member = packed.getvalue()
    # Members of gzip follow each other: the same 256 MiB again and again.
    zeros = gzip.compress(bytes(256 << 20), 1)
    code, reason = failure(place, raw(member + zeros * 44))
    assert code == "InvalidImage" and "larger than 10737418240 bytes" in reason, reason
    names = b"".join(images.member(f"{number:x}").tobuf() for number in range(500_001))
    code, reason = failure(place, raw(gzip.compress(names + bytes(1024), 1)))
    assert code == "InvalidImage" and "more than 500000 files" in reason, reason
    # A name of four gigabytes that is said to follow.
    name = images.member("x", tarfile.GNUTYPE_LONGNAME, size=4 << 30).tobuf(tarfile.GNU_FORMAT)
    code, reason = failure(place, raw(name + bytes(1024)))
    assert code == "InvalidImage" and "too long" in reason, reason
    print(f"\nbombs: {time.monotonic() - began:.1f} s")


def raw(blob):
    """An image of one layer that is not what its configuration says: it is refused before that is known."""
    image = images.Image(b"", **SETTINGS)
    manifest = json.loads(image.manifest)
    manifest["layers"] = [{"mediaType": image.media_type, "digest": images.sha256(blob), "size": len(blob)}]
    image.manifest = json.dumps(manifest).encode()
    image.digest = images.sha256(image.manifest)
    image.blobs.update({images.sha256(one): one for one in (blob, image.manifest)})
    return image


def test_documents_that_lie(place, registry):  # noqa: F811
    def refused(uri):
        return error_of(place.lam.create_function, FunctionName=unique("refused"), Role=ROLE, PackageType="Image", Code={"ImageUri": uri})
    good = images.Image(images.layer({"a": "x"}), **SETTINGS)
    uri = registry.push("lies/app", "v1", good)
    # Another manifest under its digest; one without end; one that leads to itself; one of something else.
    registry.manifests["lies/app", good.digest] = good.manifest + b" "
    assert "damaged" in refused(f"{registry.host}/lies/app@{good.digest}")[2]
    registry.manifests["lies/app", "v1"] = b" " * (5 << 20) + good.manifest
    assert "too large" in refused(uri)[2]
    deep = images.index(good)
    for _ in range(5):
        registry.manifests["lies/app", images.sha256(deep)] = deep
        entry = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": images.sha256(deep), "size": len(deep)}
        deep = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    registry.manifests["lies/app", "v1"] = deep
    assert "indexes lead to each other" in refused(uri)[2]
    chart = good.manifest.replace(b"oci.image.config", b"cncf.helm.config")
    registry.manifests["lies/app", "v1"] = chart
    assert "media type" in refused(uri)[2]
    # The configuration of another image.
    other = images.Image(images.layer({"b": "x"}), images.layer({}), **SETTINGS)
    manifest = json.loads(good.manifest)
    manifest["config"] = json.loads(other.manifest)["config"]
    registry.blobs.update(other.blobs)
    registry.manifests["lies/app", "v1"] = json.dumps(manifest).encode()
    assert "not those of its configuration" in refused(uri)[2]


def test_a_link_in_a_directory_of_images_leads_to_nothing_else(place):  # noqa: F811
    good = images.Image(images.layer({"a": "x"}), **SETTINGS)
    folder = place.folder / "links"
    images.write_layout(folder, v=good)
    blob = folder / "blobs" / "sha256" / images.sha256(good.config)[7:]
    blob.unlink()
    blob.symlink_to("/etc/passwd")
    code, status, message = error_of(place.lam.create_function, FunctionName=unique("refused"), Role=ROLE, PackageType="Image",
                                     Code={"ImageUri": f"oci:{folder}"})
    assert status in (400, 500) and "root:" not in message, message
    (place.folder / "etc").symlink_to("/etc")
    code, status, message = error_of(place.lam.create_function, FunctionName=unique("refused"), Role=ROLE, PackageType="Image",
                                     Code={"ImageUri": f"docker-archive:{place.folder}/etc/passwd"})
    assert (code, status) == ("AccessDeniedException", 403)


def test_images_need_a_root_of_their_own(ground):
    """Where there is none, functions of images are not made at all, rather than among the host's files."""
    place = Place(pathlib.Path(ground.server.data_dir) / "images", ground.server.url)
    images.write_layout(place.folder / "own", v=app())
    if ground.level == "process":
        code, status, message = error_of(place.create, uri="oci:own:v")
        assert (code, status) == ("InvalidParameterValueException", 400) and "a root of its own" in message, message
        return
    name = place.create("oci:own:v")
    assert place.run(name, "cat /work/version") == "1"
    place.lam.delete_function(FunctionName=name)
