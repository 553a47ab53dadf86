"""Nothing is left: of functions that did their worst, and of servers and spawners that were killed while they ran.
ATTACK_ROUNDS sets how many of each are killed."""

import os
import pathlib
import signal
import threading
import time

import pytest

from attack_ground import Ground, alive, children
from conftest import eventually

ROUNDS = int(os.environ.get("ATTACK_ROUNDS", "2"))


@pytest.fixture(params=["pool", "plain", "process"])
def own(request):
    """A server that ends what has been idle for two seconds."""
    if os.environ.get("TEST_URL") or os.environ.get("TEST_LAYOUT", "one") != "one":
        pytest.skip("starts servers of its own")
    own = Ground(request.param, LAMBFOLD_WORKER__IDLE_SECONDS="2")
    yield own
    own.remove()


def busy(own, seconds=60):
    """Functions in the middle of something: children that sleep, files in /tmp, a half answer."""

    forks = own.deploy("resources", once=False, memory=1024, timeout=seconds)
    api = own.deploy("runtime_api", once=False, runtime="provided.al2023", timeout=seconds)
    for name, event in ((forks, {"probe": "burn", "seconds": seconds}), (api, {"attack": "hanging"})):
        threading.Thread(target=lambda n=name, e=event: quietly(own, n, e), daemon=True).start()
    eventually(lambda: len(own.processes()) >= 12, what="functions at work")


def quietly(own, name, event):
    try:
        own.invoke(name, event)
    except Exception:
        pass  # The server is killed meanwhile.


def test_environments_leave_nothing(own):
    """In a server that runs on: processes, control groups, mounts and descriptors are what they were."""
    own.start()

    def state():
        mounts = pathlib.Path(f"/proc/{own.spawner()}/mountinfo").read_text().count("\n")
        return mounts, len(os.listdir(f"/proc/{own.spawner()}/fd"))
    own.attack("view", {"probe": "processes"})
    # What waits for functions comes and goes; whoever has one has ended within two idle seconds.
    before = state()
    name = own.deploy("resources", once=False, timeout=1, memory=256)
    for _ in range(3):
        own.invoke(name, {"probe": "fork_bomb"})
        own.invoke(name, {"probe": "memory", "kind": "heap", "mib": 512})
    if own.name != "pool":
        eventually(lambda: not children(own.spawner()), 20, "every sandbox gone")
        eventually(lambda: len([it for it in own.groups() if it.parent.name.startswith("lambfold-")]) == 0, what="their groups gone")
        mounts, descriptors = state()
        assert mounts == before[0] and descriptors <= before[1], (before, mounts, descriptors)
    own.close()


@pytest.mark.parametrize("whom", ["server", "spawner"])
def test_killed(own, whom):
    """kill -9 in the middle of it, and again: no process, group or mount is left, and the next server serves."""
    for number in range(ROUNDS):
        own.made.clear()
        own.start()
        busy(own)
        processes, groups, spawner = own.processes(), own.groups(), own.spawner()
        server = own.server.process
        os.kill(server.pid if whom == "server" else spawner, signal.SIGKILL)
        if whom == "spawner":
            functions = [it for it in processes if it[0] != server.pid]
            eventually(lambda: not [it for it in functions if alive(it)], what="the end of the spawner's sandboxes")
            # The worker starts another one, and serves.
            assert own.attack("view", {"probe": "processes"})
            server.send_signal(signal.SIGTERM)
            assert server.wait(20) == 0
        server.wait()
        eventually(lambda: not [it for it in processes if alive(it)], what="the end of all processes")
        began = time.monotonic()
        own.start()  # Sweeps the groups that a killed spawner could not remove.
        assert own.attack("view", {"probe": "processes"})
        eventually(lambda: not [it for it in groups if it.exists()], what=f"round {number}: old groups gone")
        assert time.monotonic() - began < 20
        own.close()
