"""kill -9 of what functions run in, at random moments, while they are invoked: a process of a function, the first process
of a sandbox, the spawner, the worker. Every invocation must be answered: with its own answer, with an error of the
function, or with a fault that says so; none may begin twice. Before and after, all that an environment consists of is
counted: processes, control groups, mounts, network namespaces, directories, descriptors.

The worker is a process of its own, so that the gateway outlives it."""

import collections
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

import botocore.exceptions

from attack_ground import alive, children, spawner_of, started, tree
from conftest import ROLE, Server, client, eventually, zip_of

ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))
SEED = int(os.environ.get("KILL_SEED", str(random.SystemRandom().randrange(1 << 32))))
#: How often each is killed, relatively.
VICTIMS = {"function": 10, "sandbox": 3, "spawner": 4, "worker": 3}
if "KILL_VICTIMS" in os.environ:
    VICTIMS = {whom: VICTIMS[whom] for whom in os.environ["KILL_VICTIMS"].split(",")}
#: After how many rounds all comes to rest and is counted.
REST = 50
IDLE_SECONDS = 1
#: What an invocation may come to. Nothing of it may take longer than this.
PATIENCE = 20
FUNCTION_ERRORS = {"Runtime.ExitError"}
FAULTS = {"ServiceException", "ServiceUnavailableException", "ServiceUnavailable", "TooManyRequestsException",
          "InternalFailure"}

SOURCE = """
import os, subprocess, time

def handler(event, context):
    if event["kind"] == "slow":
        time.sleep(0.15)
    if event["kind"] == "family":
        with open("/tmp/%d" % event["number"], "w") as file:
            file.write("x" * 100_000)
        made = [subprocess.Popen(["sleep", "0.1"]) for _ in range(3)]
        if event["number"] % 2:
            made[0].wait()
    return event["number"]
"""


class Cluster:
    """A server with everything but the worker, and a worker."""

    def __init__(self, folder):
        self.folder = folder
        main, worker = (f"unix:{folder}/{name}.sock" for name in ("main", "worker"))
        self.main = Server(folder / "main", verb=("serve", "--roles", "logs,queue,control,dispatcher,poller,gateway"),
                           settings={"LAMBFOLD_PEERS__LISTEN": main, "LAMBFOLD_PEERS__WORKERS": f"[{worker}]"})
        self.worker = Server(folder / "worker", verb=("serve", "--roles", "worker"), settings={
            "LAMBFOLD_PEERS__LISTEN": worker, "LAMBFOLD_PEERS__LOGS": main, "LAMBFOLD_PEERS__CONTROL": main,
            "LAMBFOLD_PEERS__DISPATCHER": main, "LAMBFOLD_PEERS__QUEUE": main,
            "LAMBFOLD_PACKAGES_DIR": f"{folder}/main/packages", "LAMBFOLD_WORKER__ENDPOINT": self.main.url[7:],
            "LAMBFOLD_WORKER__IDLE_SECONDS": str(IDLE_SECONDS)})
        #: Process ids of all spawners that there were, which their control groups are named after.
        self.spawners = set()

    def start(self):
        self.main.start()
        self.worker.start()
        return self

    def stop(self):
        assert self.worker.stop() == 0
        assert self.main.stop() == 0

    def spawner(self):
        """The one that is there now; nothing while there is none."""
        pid = spawner_of(self.worker.process.pid)
        if pid is not None:
            self.spawners.add(pid)
        return pid

    def sandboxes(self):
        """The first process of each."""
        spawner = self.spawner()
        return [] if spawner is None else [pid for pid, _ in children(spawner)]

    def groups(self):
        """Control groups of any spawner of ours, by hierarchy: of sandboxes, and of spawners."""
        found = collections.Counter()
        for mount in os.listdir("/sys/fs/cgroup"):
            # Groups go while they are looked for, which this passes over.
            for path, below, _ in os.walk(f"/sys/fs/cgroup/{mount}"):
                stem, _, spawner = os.path.basename(path).rpartition("-")
                if stem.startswith("lambfold-") and spawner.isdigit() and int(spawner) in self.spawners:
                    found["spawner", mount] += 1
                    found["sandbox", mount] += len(below)
        return +found

    def processes(self):
        """All that run in sandboxes of ours, whoever their parents are by now."""
        return [pid for pid in pids() if any(f"-{spawner}/" in in_group(pid) for spawner in self.spawners)]

    def mounts(self):
        """Of the host's, and of the spawner's own namespace, that have to do with our folder."""
        found = 0
        for pid in ("self", self.spawner()):
            if pid is not None:
                found += pathlib.Path(f"/proc/{pid}/mountinfo").read_text().count(str(self.folder))
        return found

    def directories(self):
        """Of sandboxes, and of everything that the worker keeps; packages stay."""
        kept = [path for path in (self.folder / "worker").rglob("*") if path.is_dir()]
        return sum("packages" not in path.parts for path in kept)

    def count(self):
        worker, spawner = self.worker.process.pid, self.spawner()
        return {
            "sandboxes": len(self.sandboxes()), "processes": len(self.processes()),
            "control groups": max((many for (kind, _), many in self.groups().items() if kind == "sandbox"), default=0),
            "groups of spawners": max((many for (kind, _), many in self.groups().items() if kind == "spawner"), default=0),
            "network namespaces": len({namespace(pid) for pid in self.processes()} - {None}),
            "mounts": self.mounts(), "directories": self.directories(),
            "descriptors of the worker": descriptors(worker), "of the spawner": descriptors(spawner),
            "threads": len(os.listdir(f"/proc/{worker}/task")), "resident MiB": resident(worker) >> 10,
        }


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def in_group(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cgroup").read_text().replace("\n", "/\n")
    except OSError:
        return ""


def namespace(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd")) if pid else 0


def resident(pid):
    [line] = [line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


class Load:
    """Clients, one per kind of invocation, that check what they are answered."""

    def __init__(self, url):
        self.url, self.lock = url, threading.Lock()
        self.outcomes, self.successes, self.wrong, self.longest = collections.Counter(), [], [], 0.0
        self.running, self.ended = threading.Event(), threading.Event()
        self.at_rest = threading.Barrier(len(KINDS) + 1)
        self.threads = [threading.Thread(target=self.client, args=(kind,), daemon=True) for kind in KINDS]
        lam = client("lambda", url)
        for kind in KINDS:
            lam.create_function(FunctionName=kind, Runtime="python3.12", Handler="index.handler", Role=ROLE, Timeout=10,
                                Code={"ZipFile": zip_of({"index.py": SOURCE})})
            lam.get_waiter("function_active_v2").wait(FunctionName=kind, WaiterConfig={"Delay": 1, "MaxAttempts": 20})

    def start(self):
        self.running.set()
        for thread in self.threads:
            thread.start()

    def rest(self):
        """Returns when no invocation is under way, until `go_on`."""
        self.running.clear()
        self.at_rest.wait(PATIENCE * 2)

    def go_on(self):
        self.running.set()
        self.at_rest.wait(PATIENCE * 2)

    def stop(self):
        """While at rest."""
        self.ended.set()
        self.running.set()
        self.at_rest.wait(PATIENCE * 2)
        for thread in self.threads:
            thread.join()

    def client(self, kind):
        lam, number = client("lambda", self.url), 0
        while not self.ended.is_set():
            if not self.running.is_set():
                self.at_rest.wait()
                self.running.wait()
                self.at_rest.wait()
                continue
            number += 1
            began = time.monotonic()
            try:
                if kind == "cold":
                    # Another configuration: the next invocation has a new environment.
                    lam.update_function_configuration(FunctionName=kind, Environment={"Variables": {"START": str(number)}})
                    # Whoever was killed may have had a part in it.
                    waiter = lam.get_waiter("function_updated_v2")
                    waiter.wait(FunctionName=kind, WaiterConfig={"Delay": 1, "MaxAttempts": PATIENCE})
                began = time.monotonic()
                outcome = self.invoke(lam, kind, number)
            except Exception as error:
                outcome = f"wrong: {error!r}"
            self.note(kind, outcome, began)
            time.sleep(0.01)

    def invoke(self, lam, kind, number):
        try:
            answer = lam.invoke(FunctionName=kind, Payload=json.dumps({"kind": kind, "number": number}))
        except botocore.exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            return code if code in FAULTS else f"wrong: {error!r}"
        payload = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            error = payload.get("errorType")
            return error if error in FUNCTION_ERRORS else f"wrong: {payload}"
        return "success" if payload == number else f"wrong: {payload} instead of {number}"

    def note(self, kind, outcome, began):
        now = time.monotonic()
        with self.lock:
            self.longest = max(self.longest, now - began)
            self.outcomes["wrong" if outcome.startswith("wrong") else outcome] += 1
            if outcome == "success":
                self.successes.append(now)
            elif outcome.startswith("wrong"):
                self.wrong.append((kind, outcome))
            if now - began > PATIENCE:
                self.wrong.append((kind, f"{outcome} after {now - began:.1f} s"))


KINDS = ("quick", "slow", "family", "cold")


def kill(cluster, whom, chance):
    """Kills one such process; false if there is none at the moment."""
    if whom == "worker":
        cluster.spawner()
        cluster.worker.kill()
        cluster.worker.start()
        return True
    if whom == "spawner":
        found = [pid for pid in [cluster.spawner()] if pid]
    elif whom == "sandbox":
        found = cluster.sandboxes()
    else:
        found = [pid for init in cluster.sandboxes() for pid, _ in tree(init)[1:]]
    if not found:
        return False
    try:
        os.kill(chance.choice(found), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def settled(cluster):
    """Waits until what was invoked is gone: what waits for functions is left, and each has what belongs to it."""
    seen = []

    def sound():
        seen.append(cluster.count())
        now = seen[-1]
        return cluster.spawner() and now["sandboxes"] == now["control groups"] == now["network namespaces"] and \
            now["groups of spawners"] == 1 and len(seen) > 3 and seen[-2]["sandboxes"] == now["sandboxes"]
    time.sleep(IDLE_SECONDS + 0.5)
    try:
        eventually(sound, 60, "rest")
    except AssertionError:
        raise AssertionError(f"something is left: {seen[-1]}, groups {cluster.groups()}")
    return seen[-1]


def run(cluster, chance):
    load = Load(cluster.main.url)
    load.start()
    time.sleep(1)
    load.rest()
    first = settled(cluster)
    print(f"seed {SEED}; before: {first}", flush=True)
    load.go_on()
    killed, back, whoms = collections.Counter(), collections.defaultdict(list), list(VICTIMS)
    for number in range(1, ROUNDS + 1):
        time.sleep(chance.random() * 0.3)
        # The short form, too, has each of them.
        whom = whoms[number % len(whoms)] if number <= len(whoms) else chance.choices(whoms, VICTIMS.values())[0]
        began = time.monotonic()
        if not kill(cluster, whom, chance):
            continue
        killed[whom] += 1
        if whom in ("spawner", "worker"):
            eventually(lambda: load.successes and load.successes[-1] > began, PATIENCE, f"a success after the end of the {whom}")
            back[whom].append(next(at for at in load.successes if at > began) - began)
        if number % REST == 0 or number == ROUNDS:
            load.rest()
            print(f"after {number} rounds ({dict(killed)}): {settled(cluster)}; {dict(load.outcomes)}", flush=True)
            load.go_on()
        assert not load.wrong, load.wrong[:5]
    load.rest()
    last = settled(cluster)
    load.stop()
    assert not load.wrong, load.wrong[:5]
    for what in ("mounts", "directories"):
        assert last[what] <= first[what], (what, first, last)
    # What waits for functions has descriptors, too, and its number follows the cold starts.
    more = max(0, last["sandboxes"] - first["sandboxes"])
    for what, each in {"descriptors of the worker": 6, "of the spawner": 4}.items():
        assert last[what] <= first[what] + more * each + 10, (what, first, last)
    for whom, times in back.items():
        print(f"{whom}: invocations succeed again after {sorted(times)[len(times) // 2]:.3f} s (median of {len(times)}), "
              f"{max(times):.3f} s at most")
    assert load.outcomes["success"] > ROUNDS, load.outcomes
    begun_twice(cluster)
    return killed, load


def begun_twice(cluster):
    """No invocation may begin again after it has begun: that is for its caller to decide."""
    logs, began = client("logs", cluster.main.url), collections.Counter()
    for kind in KINDS:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{kind}",
                                                                 filterPattern='"START RequestId: "')
        began.update(event["message"].split()[2] for page in pages for event in page["events"]
                     if event["message"].startswith("START "))
    twice = [request for request, times in began.items() if times > 1]
    assert began and not twice, f"{len(twice)} of {len(began)} invocations began twice: {twice[:5]}"
    print(f"{len(began)} invocations in the logs, none of which began twice")


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lambfold-kill-"))
    cluster = Cluster(folder)
    try:
        cluster.start()
        killed, load = run(cluster, random.Random(SEED))
        everything = [it for server in (cluster.main, cluster.worker) for it in tree(server.process.pid)]
        cluster.spawner()
        cluster.stop()
        left = {"processes": [it for it in everything if alive(it)] + cluster.processes(), "groups": dict(cluster.groups()),
                "mounts": pathlib.Path("/proc/self/mountinfo").read_text().count(str(folder)),
                "sandboxes": [path.name for path in (folder / "worker" / "sandboxes" / "slots").glob("*")]}
        assert not any(left.values()), f"left after the end: {left}"
        print(f"{sum(killed.values())} kills ({dict(killed)}), {dict(load.outcomes)}, longest {load.longest:.2f} s, nothing left")
        print("1 passed, 0 failed")
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        print(f"seed {SEED}; logs are in {folder}", file=sys.stderr)
        for server in (cluster.worker, cluster.main):
            if server.process and server.process.poll() is None:
                server.kill()
        raise


if __name__ == "__main__":
    sys.exit(main())
