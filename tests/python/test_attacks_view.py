"""Attacks on what a function sees: it must find nothing that is not its own, and change nothing but its /tmp."""

import os
import pathlib
import subprocess

import pytest

from attack_ground import SECRET, tmp_of
from conftest import unique

REFUSED = {"ENOENT", "EACCES", "EPERM"}
#: One that every user may start.
PYTHON = "/usr/bin/python3"


@pytest.fixture
def view(ground, victim):
    return lambda probe, **event: ground.attack("view", {"probe": probe, **event})


def test_files_of_host_and_neighbours(ground, view, victim):
    data = ground.server.data_dir
    server, [first, *_] = ground.server.process.pid, victim
    paths = [str(ground.folder / "host.txt"), "/etc/shadow", "/etc/machine-id", "/etc/hostname", "/root/.bashrc",
             f"{data}/control.sqlite", f"{data}/queue.sqlite", f"{data}.log", "/sys/class/net", "/var/log/syslog",
             f"{data}/worker", str(tmp_of(first) / "victim"), f"/proc/{server}/root/etc/shadow", "/proc/1/root/etc/shadow",
             "/proc/self/root/../etc/shadow", "/var/task/../../etc/shadow", "/tmp/../../../etc/shadow", "/proc/kcore",
             "/proc/kallsyms", "/proc/keys", "/proc/sysrq-trigger", "/dev/mem", "/dev/sda", "/dev/kmsg", "/dev/vda"]
    answers = view("files", paths=paths)
    if ground.level == "process":
        # The system's directories and /proc are the host's there, as far as every user may read them.
        for path in ("/etc/machine-id", "/etc/hostname"):
            assert answers.pop(path) == content(path, ground.user), path
        assert answers.pop("/proc/kallsyms")[:16] in REFUSED | {"0" * 16}, "no addresses"
        del answers["/proc/keys"]  # Names of keys, none of which can be had: `test_calls_are_refused`.
    # /proc/kallsyms and the like are covered by /dev/null: empty.
    wrong = {path: it for path, it in answers.items() if it not in REFUSED | {""}}
    assert wrong == {}


def content(path, user):
    """What an ordinary user reads there, or the error's name."""
    program = ("import errno, sys\ntry: print(open(sys.argv[1]).read(64), end='')\n"
               "except OSError as error: print(errno.errorcode[error.errno], end='')")
    return subprocess.run([PYTHON, "-c", program, path], user=user, capture_output=True, text=True, check=True).stdout


def test_files_of_the_server_and_of_other_functions(ground, view, victim):
    """By their names, which whoever knows the source knows: databases, packages, other functions' `/tmp`."""
    files = [f"{path}/{name}" for path, _, names in os.walk(ground.folder) for name in names]
    if not ground.separate:
        own = tuple(f"{folder}/" for folder in view("places").values())
        files = [path for path in files if not path.startswith(own)]
    assert str(ground.folder / "host.txt") in files and (ground.separate or any(it.endswith("/tmp/victim") for it in files))
    wrong = {path: it for path, it in view("files", paths=files).items() if it not in REFUSED}
    assert wrong == {} and len(files) >= 8, files


def test_secrets_are_not_found(ground, view, victim):
    folders = ["/"]
    if not ground.separate:
        # Nobody may list `/` there: from each of what may be readable.
        folders += [str(ground.folder), ground.server.data_dir, str(tmp_of(victim[0])), "/etc", "/opt", "/tmp", "/var", "/run",
                    "/home", "/dev/shm"]
    assert view("search", folders=folders) == []


def test_processes(ground, view, victim):
    server = ground.server.process.pid
    pids = sorted({server, ground.spawner(), *victim})
    seen = view("processes")
    others = view("others", pids=pids)
    opened = others.pop("opened")
    if ground.separate:
        assert len(seen) == 1 and seen[0] < 10, "only its own process"
        assert opened == []
        # Nothing has these numbers in there, unless it is the function itself, which is too young for such numbers.
        for kind, outcomes in others.items():
            assert set(outcomes.values()) == {"ESRCH"}, kind
    else:
        # They are seen, with their names and command lines; no more is to be had of them, and nothing is done to them.
        assert set(pids) < set(seen)
        assert opened == [f"{pid}/task" for pid in [1, *pids]]
        for kind, outcomes in others.items():
            assert set(outcomes.values()) <= {"EPERM", "ESRCH" if kind == "group" else "EPERM"}, (kind, outcomes)
    assert ground.server.process.poll() is None and ground.invoke(ground.deploy("neighbour"), {"n": 2}) == {"n": 2}


def test_priorities_of_all_processes_of_its_user(ground, view):
    """A function may be nice itself; where others have its user, not on their behalf."""
    before = os.getpriority(os.PRIO_PROCESS, ground.server.process.pid)
    name = ground.deploy("view", once=False)
    answers = ground.invoke(name, {"probe": "own_priority"})
    ground.lam.delete_function(FunctionName=name)
    assert answers.pop("own") is None and answers.pop("own limit") is None
    # In a process namespace these are its own.
    assert answers["user"] in (("EPERM",) if ground.level == "process" else (None, "EPERM"))
    assert os.getpriority(os.PRIO_PROCESS, ground.server.process.pid) == before


def test_shared_memory_and_queues_of_others(ground, view):
    """System V's and POSIX's, of the user who runs the server, for whoever is that user."""
    queue, key = unique("queue"), int.from_bytes(os.urandom(3)) + 1
    owner = subprocess.Popen([PYTHON, "-c", OWNER, str(key), queue], user=ground.user, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    try:
        number = int(owner.stdout.readline())
        answers = view("shared", key=key, number=number, queue=queue)
    finally:
        owner.communicate("")
    # Namespaces of their own are empty; without any there are no such calls.
    assert answers == ({"by key": "ENOENT", "by number": "EINVAL", "queue": "ENOENT"} if ground.separate else
                       dict.fromkeys(("by key", "by number", "queue"), "ENOSYS"))


#: Makes a segment by a key and a queue by a name, tells the segment's number, and removes both at the end of its input.
OWNER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
key, queue = int(sys.argv[1]), b"/" + sys.argv[2].encode()
number = libc.shmget(key, 4096, 0o1600)
assert number >= 0 and libc.mq_open(queue, os.O_CREAT | os.O_RDWR, 0o600, None) >= 0, ctypes.get_errno()
print(number, flush=True)
sys.stdin.read()
libc.shmctl(number, 0, None)
libc.mq_unlink(queue)
"""


def test_descriptors(view):
    # Its own connections, its output, and nothing that is a file or directory of the host.
    assert set(view("descriptors")) <= {"/dev/null", "pipe", "socket", "anon_inode"}


def test_only_tmp_can_be_written(ground, view):
    own = view("places")
    folders = ["/", own["task"], "/opt", own["runtime"], "/usr/lib", "/var/tmp", str(ground.folder), ground.server.data_dir, "/etc", "/dev", "/dev/shm", "/mnt", "/root", "/home",
               "/var", "/proc", "/proc/sys/kernel", "/sys/fs/cgroup", "/tmp", own["tmp"]]
    written = view("write", folders=folders)
    assert written.pop(own["tmp"]) is None
    assert set(written.values()) <= {"EROFS", "EACCES", "EPERM", "ENOENT"}, written
    files = [f"{own['task']}/view.py", f"{own['runtime']}/bootstrap.py", f"{ground.server.data_dir}/control.sqlite", "/usr/bin/env", "/etc/passwd", "/etc/hosts",
             "/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward",
             "/proc/sysrq-trigger", "/proc/1/mem", "/proc/1/oom_score_adj", "/proc/self/uid_map"]
    opened = view("overwrite", paths=files)
    # What is covered by /dev/null, or is a map that has been written already, may be opened; it takes nothing.
    assert {path for path, it in opened.items() if it not in ("EROFS", "EACCES", "EPERM", "ENOENT")} <= {
        "/proc/sysrq-trigger", "/proc/self/uid_map"}, opened


def test_metadata_of_what_it_has_not(ground, view):
    changed = view("metadata")
    if ground.level == "process":
        # Landlock knows nothing of modes, owners and times, and the package's files are those of this user.
        for what in ("chmod code", "chmod through a link", "chown code", "utime code"):
            assert changed.pop(what) is None, what
    # EINVAL: there is no root to give a file to.
    assert set(changed.values()) <= {"EROFS", "EPERM", "EACCES", "EXDEV", "EINVAL"}, changed


def test_modes_and_times_of_the_users_files(ground, view):
    """At `process` they are changed; what the new modes would permit is not to be had all the same."""
    file = ground.peer.parent / "file"
    file.write_text(SECRET)
    file.chmod(0o400)
    os.chown(file, ground.user, -1)
    path, before = str(file), file.stat()
    answers, after = view("modes", paths=[path])[path], file.stat()
    assert set(view("overwrite", paths=[path]).values()) | set(view("files", paths=[path]).values()) <= {"EACCES", "ENOENT"}
    if ground.level == "process":
        assert answers == {"stat": True, "chmod": None, "utime": None}
        assert (after.st_mode & 0o777, after.st_mtime) == (0o640, 0)
    else:
        assert set(answers.values()) == {"ENOENT"}
        assert (after.st_mode, after.st_mtime) == (before.st_mode, before.st_mtime)


def test_setuid_gives_nothing(view):
    gained = view("setuid")
    assert gained["copy"] == [gained["mine"]] * 2
    assert gained["su"] != 0, gained
    assert {gained["setuid"], gained["setgid"], gained["setgroups"]} <= {"EPERM", "EINVAL"}, gained
