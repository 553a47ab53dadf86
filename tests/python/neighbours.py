"""What a warm function's callers notice of an attack by another function: latencies alone and meanwhile, in turn, and the
ratios of the rounds. The attacks are those of `attacks/resources.py`; what they come to is tested in `test_attacks_*`."""

import http.client
import os
import sys
import threading
import time

from attack_ground import Ground

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS_EACH", "4"))
#: Name, event, and settings of the function that attacks.
ATTACKS = [
    ("nothing", None, {}),
    ("busy processors", {"probe": "burn", "seconds": 2}, {"memory": 1024}),
    ("fork bomb", {"probe": "fork_bomb"}, {"memory": 4096, "timeout": 3}),
    ("many processes", {"probe": "processes", "seconds": 1}, {"memory": 2048}),
    ("memory bomb, heap", {"probe": "memory", "kind": "heap", "mib": 512}, {"memory": 128}),
    ("memory bomb, files in memory", {"probe": "memory", "kind": "memfd", "mib": 512}, {"memory": 128}),
    ("full /tmp", {"probe": "space", "mib": 700}, {"memory": 2048}),
    ("flood of short lines", {"probe": "log", "kind": "lines", "seconds": 2}, {}),
    ("flood without line ends", {"probe": "log", "kind": "endless", "seconds": 2}, {}),
    ("flood that is no text", {"probe": "log", "kind": "binary", "seconds": 2}, {}),
]
AUTHORIZATION = ("AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/lambda/aws4_request, "
                 "SignedHeaders=host, Signature=00")


def latencies(ground, name, seconds):
    """Of invocations one after the other over one connection, in ms. The client does as little as it can."""
    connection, times = http.client.HTTPConnection("127.0.0.1", ground.server.port), []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        connection.request("POST", f"/2015-03-31/functions/{name}/invocations", b"{}", {"Authorization": AUTHORIZATION})
        answer = connection.getresponse()
        body = answer.read()
        times.append((time.monotonic() - began) * 1000)
        assert answer.status == 200 and body == b"{}", (answer.status, body)
        time.sleep(0.002)
    connection.close()
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100], len(times)


def during(ground, attacker, event, act):
    """Acts while the attack is repeated."""
    over = threading.Event()

    def attack():
        while not over.is_set():
            ground.invoke(attacker, event)
    thread = threading.Thread(target=attack)
    if event:
        thread.start()
        time.sleep(0.3)
    result = act()
    over.set()
    if event:
        thread.join()
    return result


def median(values):
    return sorted(values)[len(values) // 2]


def main():
    ground = Ground("pool", LAMBFOLD_LOG_FILTER="info,function=off")
    try:
        ground.start()
        name = ground.deploy("neighbour")
        ground.invoke(name, {})
        latencies(ground, name, 1)
        print(f"load {os.getloadavg()[0]:.1f}, {ROUNDS} rounds of {SECONDS:g} s alone and {SECONDS:g} s meanwhile, at {ground.level}\n")
        print("| attack | p50 alone | meanwhile | ratio | p99 alone | meanwhile | ratio | invocations meanwhile |")
        print("|---|---|---|---|---|---|---|---|")
        for what, event, settings in ATTACKS:
            attacker = ground.deploy("resources", once=False, **settings) if event else None
            rounds = []
            for _ in range(ROUNDS):
                alone = latencies(ground, name, SECONDS)
                rounds.append((alone, during(ground, attacker, event, lambda: latencies(ground, name, SECONDS))))
            cells = []
            for place in (0, 1):
                alone, meanwhile = (median([one[half][place] for one in rounds]) for half in (0, 1))
                ratio = median([one[1][place] / one[0][place] for one in rounds])
                cells.append(f"{alone:.2f} | {meanwhile:.2f} | {ratio:.1f}")
            print(f"| {what} | {' | '.join(cells)} | {sum(one[1][2] for one in rounds)} |", flush=True)
            if attacker:
                ground.lam.delete_function(FunctionName=attacker)
        ground.close()
    finally:
        ground.remove()


if __name__ == "__main__":
    sys.exit(main())
