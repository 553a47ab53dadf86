"""Attacks by taking: what a function can have is bounded, and its neighbours keep their latency meanwhile."""

import pytest

from conftest import eventually


@pytest.fixture
def resources(ground):
    return lambda probe, **event: ground.attack("resources", {"probe": probe, **event}, memory=2048, timeout=20)


def killed(answer, error):
    return isinstance(answer, dict) and answer.get("errorType") == error


def test_processes_threads_descriptors(ground, neighbour, resources):
    made = neighbour.during("many processes", lambda: resources("processes", seconds=1))
    if ground.level == "process":
        # The kernel counts all of this user's together, so it is given no limit: the watchdog is the only one, and kills.
        assert killed(made, "Runtime.ExitError"), made
        assert killed(resources("threads", seconds=1), "Runtime.ExitError")
    else:
        # Where no control group counts processes, the watchdog may be there before the limit, and kills.
        assert ground.name == "userns" and killed(made, "Runtime.ExitError") or (
            made["made"] < 1024 and made["refusal"] == "Resource temporarily unavailable"), made
        made = resources("threads")
        assert made["made"] < 1024 and "can't start new thread" in made["refusal"]
    made = resources("descriptors")
    assert made["made"] < 1024 and made["refusal"] == "Too many open files"


def test_fork_bomb(ground, neighbour):
    name = ground.deploy("resources", once=False, memory=4096, timeout=3)
    before = len(ground.processes())
    # At `process` nothing but the watchdog bounds it, which on a busy machine takes its time: the neighbours wait for that.
    bounds = {"bound_ms": 10_000, "least": 3} if ground.level == "process" else {}
    answer = neighbour.during("a fork bomb", lambda: ground.invoke(name, {"probe": "fork_bomb"}), **bounds)
    watched = ground.level in ("userns", "process") and killed(answer, "Runtime.ExitError")
    assert watched or killed(answer, "Sandbox.Timedout"), answer
    ground.lam.delete_function(FunctionName=name)
    eventually(lambda: len(ground.processes()) <= before + 4, what="the end of the bomb's processes")


@pytest.mark.parametrize("kind", ["heap", "processes", "memfd", "segment", "sockets"])
def test_memory(request, ground, neighbour, kind):
    unseen = {"userns": ("memfd", "segment"), "process": ("memfd",)}
    if kind in unseen.get(ground.name, ()):
        request.applymarker(pytest.mark.xfail(strict=True, reason=
            "without a memory control group a watchdog counts what processes have mapped: files in memory and detached "
            "segments are nobody's (docs/security.md)"))
    name = ground.deploy("resources", once=False, memory=128, timeout=15)
    answer = neighbour.during(f"a memory bomb by {kind}", lambda: ground.invoke(
        name, {"probe": "memory", "kind": kind, "mib": 512}))
    ground.lam.delete_function(FunctionName=name)
    if kind == "segment" and ground.level == "process":
        assert answer == "got 0 MiB", "there are no segments"
        return
    if kind == "sockets" and isinstance(answer, str):
        # The kernel bounds what one socket may hold, 1,024 descriptors how many there are, and the control group all of
        # them, if there is one: by the function's memory and its /tmp.
        assert int(answer.split()[1]) <= 128 + 512, answer
        return
    assert killed(answer, "Runtime.OutOfMemory") or killed(answer, "Runtime.ExitError"), answer


def test_tmp(ground, resources, neighbour):
    if ground.level == "process":
        # A directory of the host, which nothing bounds: more than its size, and more than 64 files per MiB, fit.
        filled = neighbour.during("a full /tmp", lambda: resources("space", mib=520, files=33_000))
        assert filled == {"mib": 520, "by_bytes": "no end", "files": 33_000, "by_files": "no end"}
        return
    filled = neighbour.during("a full /tmp", lambda: resources("space", mib=700))
    full = "No space left on device"
    assert filled["mib"] <= 512 and filled["by_bytes"] == full
    assert filled["files"] < 40_000 and filled["by_files"] == full


@pytest.mark.parametrize("kind", ["lines", "endless", "binary"])
def test_log_flood(ground, neighbour, resources, kind):
    before = ground.memory_mib()
    written = neighbour.during(f"a flood of log ({kind})", lambda: resources("log", kind=kind, seconds=2))
    after = ground.memory_mib()
    print(f"{ground.name}: {written} MiB printed, server {before} -> {after} MiB")
    assert isinstance(written, int) and after - before < 256


def test_all_processors(resources, neighbour):
    assert neighbour.during("busy processors", lambda: resources("burn", seconds=2)) is None
