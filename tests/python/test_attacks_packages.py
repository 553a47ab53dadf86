"""Attacks by what is uploaded, as a function's code and as a layer: nothing is written outside its directory, nothing is
unpacked without end, and the answer is AWS's. (`fuzz` has the archives that nobody would think of.)"""

import io
import os
import stat
import struct
import time
import zipfile
import zlib

import pytest

from conftest import ROLE, client, error_of, unique, zip_of

UNZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."
SIZE = "Unzipped size must be smaller than 262144000 bytes"


def entry(name, mode=0o644, extra=b""):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr, info.extra = 3, mode << 16, extra
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def archive(*entries):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        for info, data in entries:
            target.writestr(info, data)
    return packed.getvalue()


def named(name):
    # zipfile corrects some names by itself: they are put in afterwards.
    plain = "n" * len(name.encode())
    return archive((entry("index.py"), b""), (entry(plain), b"evil")).replace(plain.encode(), name.encode())


def links_to(target, behind=()):
    return archive((entry("index.py"), b""), (entry("link", stat.S_IFLNK | 0o777), target), *behind)


def overlapping():
    """Two names for the bytes of one entry, as in bombs that do not nest."""
    data = zlib.compress(b"x" * 1000)[2:-4]
    crc = zlib.crc32(b"x" * 1000)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(data), 1000, 1, 0) + b"a" + data
    central = b"".join(struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(data), 1000, 1, 0, 0, 0, 0, 0, 0) + name
                       for name in (b"a", b"b"))
    return local + central + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(central), len(local), 0)


def declared_small():
    """Ten megabytes that say they are ten bytes."""
    sound = bytearray(zip_of({"index.py": bytes(10 << 20)}))
    for at, field in ((sound.find(b"PK\3\4"), 22), (sound.find(b"PK\1\2"), 24)):
        sound[at + field:at + field + 4] = struct.pack("<L", 10)
    return bytes(sound)


ATTACKS = {
    "parent": lambda: named("../../evil"), "parent below": lambda: named("a/../../b"), "absolute": lambda: named("/tmp/evil-of-a-zip"),
    "backslash": lambda: named("..\\..\\evil"), "drive": lambda: named("C:/evil"), "control": lambda: named("a\nb"),
    "link out": lambda: links_to("/etc/passwd"), "link up": lambda: links_to("../../../etc/passwd"),
    "through a link": lambda: links_to("/tmp", [(entry("link/evil-of-a-zip"), b"x")]),
    "through a chain of links": lambda: links_to(".", [(entry("link2", stat.S_IFLNK | 0o777), "link/../.."), (entry("link2/evil"), b"x")]),
    "twice, first as a link": lambda: links_to("/tmp/evil-of-a-zip", [(entry("link"), b"x")]),
    "links in a circle": lambda: links_to("other", [(entry("other", stat.S_IFLNK | 0o777), "link")]),
    "hard link": lambda: archive((entry("index.py", extra=struct.pack("<HH", 0x000d, 23) + bytes(12) + b"/etc/passwd"), b"")),
    "device": lambda: archive((entry("disk", stat.S_IFBLK | 0o666), b"")), "pipe": lambda: archive((entry("pipe", stat.S_IFIFO | 0o666), b"")),
    "socket": lambda: archive((entry("socket", stat.S_IFSOCK | 0o666), b"")), "overlapping": overlapping,
    "declared small": declared_small, "no archive": lambda: b"PK\3\4" + bytes(1000), "100,001 files":
        lambda: archive(*[(zipfile.ZipInfo(f"{number}"), b"") for number in range(100_001)]),
    "deep": lambda: named("/".join("a" * 200)), "a long name": lambda: named("a" * 5000),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_archives_are_refused(url, attack):
    lam, data, began = client("lambda", url), ATTACKS[attack](), time.monotonic()
    name = unique("attack")
    code, status, message = error_of(lam.create_function, FunctionName=name, Runtime="python3.12", Role=ROLE,
                                     Handler="index.handler", Code={"ZipFile": data})
    assert (code, status) == ("InvalidParameterValueException", 400), message
    assert error_of(lam.get_function, FunctionName=name)[0] == "ResourceNotFoundException"
    assert error_of(lam.publish_layer_version, LayerName=name, Content={"ZipFile": data})[:2] == (code, status)
    assert not os.path.exists("/tmp/evil-of-a-zip")
    assert time.monotonic() - began < 20


def test_bombs(url):
    """Flat: a gigabyte in a megabyte. In many files. Nested: what is within is not unpacked, and so may be uploaded."""
    lam = client("lambda", url)
    flat = zip_of({"zeros": bytes(300 << 20)})
    many = archive(*[(entry(f"{number}"), bytes(3 << 20)) for number in range(100)])
    for data in (flat, many):
        assert error_of(lam.publish_layer_version, LayerName=unique("bomb"), Content={"ZipFile": data}) == (
            "InvalidParameterValueException", 400, SIZE)
    nested = lam.publish_layer_version(LayerName=unique("nested"), Content={"ZipFile": zip_of({"inner.zip": flat})})
    assert nested["Version"] == 1


def test_modes_do_not_get_through(ground):
    """Set-uid and set-gid in a package and in a layer; files that nobody could read; what is written to them."""
    # `/var/task` and `/opt`, unless there is no root of its own.
    source = ("import os\ntask = os.environ['LAMBDA_TASK_ROOT']\n"
              "[opt] = [it[:-4] for it in os.environ['PATH'].split(':') if it.endswith('/opt/bin')]\n"
              "def handler(event, context):\n    return [oct(os.stat(p).st_mode) for p in "
              "(task + '/tool', task + '/closed', opt + '/tool')] + [os.popen(opt + '/tool -u').read(), str(os.getuid())]\n")
    tool = open("/usr/bin/id", "rb").read()
    package = archive((entry("index.py"), source), (entry("tool", stat.S_IFREG | 0o6777), tool), (entry("closed", 0o000), b"x"))
    layer = ground.lam.publish_layer_version(LayerName=unique("modes"), Content={
        "ZipFile": archive((entry("tool", stat.S_IFREG | 0o6777), tool))})
    name = unique("modes")
    ground.create(name, package, "python3.11", "index.handler", 128, 10, {}, Layers=[layer["LayerVersionArn"]])
    in_task, closed, in_layer, uid, mine = ground.invoke(name)
    assert in_task == in_layer and int(in_task, 8) & 0o7022 == 0 and int(in_task, 8) & 0o555 == 0o555
    assert int(closed, 8) & 0o7022 == 0
    assert uid.strip() == mine
