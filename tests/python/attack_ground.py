"""Where the attacks on the sandbox take place: servers of their own, one per way in which a function comes to run, with a
secret in every place that a function must not reach. What the attacks do is in `attacks/`, code of functions that are
deployed through the public API; what must come of it is in the `test_attacks_*.py`."""

import json
import os
import pathlib
import re
import shutil
import tempfile
import threading
import time
import zipfile

import pytest

from conftest import BIN, ROLE, Server, client, unique, without_namespaces, zip_of

ATTACKS = pathlib.Path(__file__).parent / "attacks"
NOBODY = 65534
#: `pool`: environments that waited for their function. `plain`: started for it. `userns`: as an ordinary user. `process`: as
#: one who can make no namespaces either. That level keeps less: what it does not keep is expected in so many words, so that the
#: tests fail when it changes, and stands in docs/security.md ("What `process` does not keep").
GROUNDS = ("pool", "plain", "userns", "process")
#: Stands in the server's environment, in files of the host, and in a victim's code, variables, `/tmp` and memory.
SECRET = "SECRET-" + "of-the-victim"


@pytest.fixture(scope="session", params=GROUNDS)
def ground(request):
    if os.environ.get("TEST_URL") or os.environ.get("TEST_LAYOUT", "one") != "one":
        pytest.skip("the attacks start servers of their own: once is enough, in the layout of one process")
    if request.param == "userns" and os.geteuid() != 0:
        pytest.skip("the other grounds are those of an ordinary user already")
    ground = Ground(request.param)
    try:
        ground.start()
        yield ground
        ground.close()
    finally:
        ground.remove()


class Ground:
    """A server on a data directory of its own, with every way in and out that it may have."""

    def __init__(self, name, **settings):
        self.name = name
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lambfold-attacks-"))
        self.folder.chmod(0o755)
        (self.folder / "host.txt").write_text(SECRET)
        self.peer = self.folder / "home" / "peer.sock"
        self.peer.parent.mkdir()
        binary, user = BIN, None
        if name in ("userns", "process"):
            binary = self.folder / "lambfold"
            shutil.copy(BIN, binary)
            if os.geteuid() == 0:
                user = NOBODY
                os.chown(self.peer.parent, NOBODY, NOBODY)
        if name == "process":
            binary = without_namespaces(self.folder, binary, user)
        self.user = os.geteuid() if user is None else user
        settings = {"LAMBFOLD_PEERS__LISTEN": f"unix:{self.peer}", "HOST_SECRET": SECRET, "TMPDIR": str(self.peer.parent),
                    **settings}
        if name != "pool":
            settings["LAMBFOLD_WORKER__POOL_MEMORY_MIB"] = "0"
        self.server = Server(self.peer.parent / "data", settings=settings, binary=binary, user=user)
        self.made = {}

    def start(self):
        self.server.start()
        self.level = re.search(r"Isolation +(\w+)", self.server.banner).group(1)
        if self.name == "userns" and self.level != "userns":
            self.server.kill()
            pytest.skip(f"an ordinary user reaches {self.level} on this machine")
        assert self.name != "process" or self.level == "process", self.server.banner
        #: Whether functions have namespaces of their own.
        self.separate = self.level in ("full", "userns")
        self.lam = client("lambda", self.server.url)
        return self

    def close(self):
        """Stops the server, which must leave nothing behind."""
        before = self.processes()
        groups = self.groups()
        assert self.server.stop() == 0
        self.assert_nothing_is_left(before, groups)

    def assert_nothing_is_left(self, processes, groups):
        assert not [it for it in processes if alive(it)], "processes that outlive the server"
        assert not [it for it in groups if it.exists()], "control groups that outlive the server"
        assert str(self.folder) not in pathlib.Path("/proc/self/mountinfo").read_text(), "mounts that outlive the server"
        assert not [*self.folder.rglob("slots/*")], "directories of sandboxes that outlive the server"

    def remove(self):
        if self.server.process and self.server.process.poll() is None:
            self.server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self):
        """Of the server's, its spawner's and its functions: process ids with their times of start."""
        return tree(self.server.process.pid)

    def spawner(self):
        pid = spawner_of(self.server.process.pid)
        assert pid is not None, "a server has a spawner for as long as it runs"
        return pid

    def groups(self):
        """The control groups of the spawner and of every sandbox."""
        mine = re.compile(rf"/lambfold-[^/]*-{self.spawner()}(/|$)")
        # Groups, other servers' as well, go while they are looked for, which this passes over.
        return [pathlib.Path(path) for path, _, _ in os.walk("/sys/fs/cgroup") if mine.search(path)]

    def memory_mib(self):
        """What the server and its spawner have in memory, without the functions."""
        return sum(int(re.search(r"VmRSS:\s+(\d+)", status(pid)).group(1)) for pid in
                   (self.server.process.pid, self.spawner())) >> 10

    def deploy(self, subject, once=True, runtime="python3.11", memory=256, timeout=20, variables=None, **more):
        """A function with the code of `attacks/<subject>.py`; the same one again if it is there already."""
        if once and subject in self.made:
            return self.made[subject]
        files = {path.name: path.read_text() for path in (ATTACKS / f"{subject}.py", ATTACKS / "probe.py")}
        name = unique(subject.replace("_", "-"))
        if runtime.startswith("provided"):
            bootstrap = zipfile.ZipInfo("bootstrap")
            bootstrap.external_attr = 0o755 << 16
            files[bootstrap] = files.pop(f"{subject}.py")
        self.create(name, zip_of(files), runtime, f"{subject}.handler", memory, timeout, variables or {}, **more)
        if once:
            self.made[subject] = name
        return name

    def create(self, name, archive, runtime, handler, memory, timeout, variables, **more):
        self.lam.create_function(FunctionName=name, Runtime=runtime, Role=ROLE, Handler=handler, Timeout=timeout,
                                 MemorySize=memory, Environment={"Variables": variables}, Code={"ZipFile": archive}, **more)
        self.lam.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})

    def invoke(self, name, event=None, lam=None):
        answer = (lam or self.lam).invoke(FunctionName=name, Payload=json.dumps(event or {}).encode())
        return json.loads(answer["Payload"].read() or b"null")

    def attack(self, subject, event=None, **more):
        """What a function of that subject reports."""
        return self.invoke(self.deploy(subject, **more), event)


@pytest.fixture(scope="session")
def victim(ground):
    """A function with secrets, warm and waiting for its next event, as the process ids that the host knows."""
    before = {pid for pid, _ in ground.processes()}
    name = ground.deploy("victim", variables={"VICTIM_SECRET": SECRET})
    ground.invoke(name, {"secret": SECRET})
    mine = [pid for pid, _ in ground.processes() if SECRET in in_tmp(pid)]
    assert mine, "the secret is where this test believes it"
    ground.victim = name
    return sorted({*mine, *({pid for pid, _ in ground.processes()} - before)})


def variables_of(pid):
    """The environment variables of a process of this machine."""
    try:
        text = pathlib.Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return {}
    return dict(it.split("=", 1) for it in text.split("\0") if "=" in it)


def tmp_of(pid):
    """The `/tmp` of a function's process, as this machine sees it."""
    # Without a root of its own it has the directory that TMPDIR names.
    return pathlib.Path(f"/proc/{pid}/root{variables_of(pid).get('TMPDIR', '/tmp')}")


def in_tmp(pid):
    try:
        return (tmp_of(pid) / "victim").read_text()
    except OSError:
        return ""


class Neighbour:
    """A function of no interest to anybody, invoked all the time; how long that takes."""

    def __init__(self, ground):
        self.ground, self.lam, self.times, self.stopped = ground, client("lambda", ground.server.url), [], threading.Event()
        self.name = ground.deploy("neighbour")
        ground.invoke(self.name)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped.is_set():
            began = time.monotonic()
            assert self.ground.invoke(self.name, {"n": 1}, self.lam) == {"n": 1}
            self.times.append((began, (time.monotonic() - began) * 1000))
            self.stopped.wait(0.002)

    def figures(self, since, least=20):
        """Median and 99th percentile, in milliseconds, and how many."""
        times = sorted(took for began, took in self.times if began >= since)
        assert len(times) >= least, f"the neighbour was served {len(times)} times only"
        return times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)], len(times)

    def during(self, what, act, bound_ms=1000, least=20):
        """Acts, and compares what the neighbour had before with what it has meanwhile: `least` invocations at least."""
        since = time.monotonic()
        time.sleep(0.7)
        before = self.figures(since)
        since = time.monotonic()
        outcome = act()
        time.sleep(max(0, 0.7 - (time.monotonic() - since)))
        meanwhile = self.figures(since, least)
        print(f"\n{self.ground.name}: neighbour during {what}: p50 {before[0]:.1f} -> {meanwhile[0]:.1f} ms, "
              f"p99 {before[1]:.1f} -> {meanwhile[1]:.1f} ms ({meanwhile[2]} invocations)")
        assert meanwhile[1] < bound_ms and self.thread.is_alive()
        return outcome

    def stop(self):
        self.stopped.set()
        self.thread.join()


@pytest.fixture
def neighbour(ground):
    neighbour = Neighbour(ground)
    yield neighbour
    neighbour.stop()


def status(pid):
    return pathlib.Path(f"/proc/{pid}/status").read_text()


def started(pid):
    """When a process started, which with its id names it for ever; nothing if it has ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def alive(process):
    pid, when = process
    return when is not None and started(pid) == when


def children(pid):
    found = set()
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []  # It has ended.
    for thread in threads:
        try:
            found |= {int(child) for child in pathlib.Path(f"/proc/{pid}/task/{thread}/children").read_text().split()}
        except OSError:
            pass  # The thread has just ended.
    return [(child, when) for child in found if (when := started(child))]


def spawner_of(pid):
    """The spawner of a server or worker; nothing while there is none."""
    for child, _ in children(pid):
        try:
            if pathlib.Path(f"/proc/{child}/cmdline").read_bytes().endswith(b"\0spawner\0"):
                return child
        except OSError:
            pass  # One that looked for interpreters, say, and has just ended.
    return None


def tree(pid):
    found = [(pid, started(pid))]
    for process in found:
        found.extend(children(process[0]))
    return found
