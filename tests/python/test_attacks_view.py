"""Attacks on what a function sees: it must find nothing that is not its own, and change nothing but its /tmp."""

import pytest

from attack_ground import SECRET


@pytest.fixture
def view(ground, victim):
    return lambda probe, **event: ground.attack("view", {"probe": probe, **event})


def test_files_of_host_and_neighbours(ground, view, victim):
    data = ground.server.data_dir
    server, [first, *_] = ground.server.process.pid, victim
    paths = [str(ground.folder / "host.txt"), "/etc/shadow", "/etc/machine-id", "/etc/hostname", "/root/.bashrc",
             f"{data}/control.sqlite", f"{data}/queue.sqlite", f"{data}.log", "/sys/class/net", "/var/log/syslog",
             f"/proc/{first}/root/tmp/victim", f"/proc/{server}/root/etc/shadow", "/proc/1/root/etc/shadow",
             "/proc/self/root/../etc/shadow", "/var/task/../../etc/shadow", "/tmp/../../../etc/shadow", "/proc/kcore",
             "/proc/kallsyms", "/proc/keys", "/proc/sysrq-trigger", "/dev/mem", "/dev/sda", "/dev/kmsg", "/dev/vda"]
    # /proc/kallsyms and the like are covered by /dev/null: empty.
    wrong = {path: it for path, it in view("files", paths=paths).items() if it not in ("ENOENT", "EACCES", "EPERM", "")}
    assert wrong == {}


def test_secrets_are_not_found(view):
    assert view("search") == []


def test_processes(ground, view, victim):
    server = ground.server.process.pid
    pids = sorted({server, ground.spawner(), *victim})
    seen = view("processes")
    assert len(seen) == 1 and seen[0] < 10, "only its own process"
    others = view("others", pids=pids)
    assert others.pop("opened") == []
    # Nothing has these numbers in there, unless it is the function itself, which is too young for such numbers.
    for kind, outcomes in others.items():
        assert set(outcomes.values()) == {"ESRCH"}, kind
    assert ground.server.process.poll() is None and ground.invoke(ground.deploy("neighbour"), {"n": 2}) == {"n": 2}


def test_descriptors(view):
    # Its own connections, its output, and nothing that is a file or directory of the host.
    assert set(view("descriptors")) <= {"/dev/null", "pipe", "socket", "anon_inode"}


def test_only_tmp_can_be_written(view):
    folders = ["/", "/var/task", "/opt", "/var/runtime", "/usr/lib", "/etc", "/dev", "/dev/shm", "/mnt", "/root", "/home",
               "/var", "/proc", "/proc/sys/kernel", "/sys/fs/cgroup", "/tmp"]
    written = view("write", folders=folders)
    assert written.pop("/tmp") is None
    assert set(written.values()) <= {"EROFS", "EACCES", "EPERM", "ENOENT"}, written
    files = ["/var/task/view.py", "/var/runtime/bootstrap.py", "/usr/bin/env", "/etc/passwd", "/etc/hosts",
             "/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward",
             "/proc/sysrq-trigger", "/proc/1/mem", "/proc/1/oom_score_adj", "/proc/self/uid_map"]
    opened = view("overwrite", paths=files)
    # What is covered by /dev/null, or is a map that has been written already, may be opened; it takes nothing.
    assert {path for path, it in opened.items() if it not in ("EROFS", "EACCES", "EPERM", "ENOENT")} <= {
        "/proc/sysrq-trigger", "/proc/self/uid_map"}, opened


def test_metadata_of_what_it_has_not(view):
    changed = view("metadata")
    # EINVAL: there is no root to give a file to.
    assert set(changed.values()) <= {"EROFS", "EPERM", "EACCES", "EXDEV", "EINVAL"}, changed


def test_setuid_gives_nothing(view):
    gained = view("setuid")
    assert gained["copy"] == [gained["mine"]] * 2
    assert gained["su"] != 0, gained
    assert {gained["setuid"], gained["setgid"], gained["setgroups"]} <= {"EPERM", "EINVAL"}, gained
