"""Attacks on the Runtime API by a bootstrap of its own: they cost that function its environment, and nobody else anything."""

import threading
import time

import pytest


def bootstrap_of(ground, **more):
    name = ground.deploy("runtime_api", runtime="provided.al2023", **more)
    return lambda attack, **event: ground.invoke(name, {"attack": attack, **event})


@pytest.fixture
def bootstrap(ground):
    return bootstrap_of(ground, timeout=3)


def test_answers_out_of_turn(ground, bootstrap):
    assert bootstrap("twice") == {"answer": 1}
    assert bootstrap("echo") == {"statuses": [202, 400]}, "the second answer was refused"
    mine = bootstrap("foreign", ids=["11111111-1111-4111-8111-111111111111"])
    assert mine and set(mine) <= {400, 404}
    assert bootstrap("many_next") in ([200], [403], [200, 403])
    assert bootstrap("echo", n=1) == {"attack": "echo", "n": 1}


def test_requests_of_other_environments_cannot_be_answered(ground, bootstrap):
    """The ids of a neighbour's invocations are no secret; only its own environment may answer them."""
    victim = ground.deploy("resources", once=True)
    answers = []
    running = threading.Thread(target=lambda: answers.append(ground.invoke(victim, {"probe": "burn", "seconds": 1.5})))
    running.start()
    time.sleep(0.4)
    assert set(bootstrap("foreign", ids=["next", "response"])) <= {400, 404}
    running.join()
    assert answers == [None]


@pytest.mark.parametrize("attack, error", [
    ("half", "Runtime.TruncatedResponse"), ("hanging", "Sandbox.Timedout"), ("silent", "Sandbox.Timedout"),
])
def test_answers_that_do_not_come(bootstrap, attack, error):
    assert bootstrap(attack)["errorType"] == error
    assert bootstrap("echo", after=attack) == {"attack": "echo", "after": attack}, "it is served again"


def test_garbage(ground):
    # It waits for answers that do not come.
    bootstrap = bootstrap_of(ground, once=False, timeout=20)
    assert bootstrap("garbage") == "still here"
    error = bootstrap("headers")
    assert error["errorMessage"] == "a\nSTART RequestId: forged", "the function's own words, and no more"
    assert bootstrap("echo") == {"attack": "echo"}


def test_bodies_that_nobody_looks_at_are_not_kept(ground, neighbour, bootstrap):
    before, most, stop = ground.memory_mib(), [0], threading.Event()

    def watch():
        while not stop.wait(0.05):
            most[0] = max(most[0], ground.memory_mib())
    watcher = threading.Thread(target=watch)
    watcher.start()
    # One at a time is read of what does look at it: the others wait, which costs this function its time.
    name = ground.deploy("runtime_api", once=False, runtime="provided.al2023", timeout=60)
    outcome = neighbour.during("bodies to the Runtime API", lambda: ground.invoke(name, {"attack": "bodies", "connections": 30}))
    stop.set()
    watcher.join()
    ground.lam.delete_function(FunctionName=name)
    print(f"{ground.name}: server {before} -> {most[0]} MiB")
    assert outcome == 30 and most[0] - before < 96


@pytest.mark.parametrize("how", ["silence", "connections"])
def test_init_that_does_not_end(ground, neighbour, how):
    """A bootstrap that never calls `next`, and one that takes every connection first."""
    name = ground.deploy("runtime_api", once=False, runtime="provided.al2023", timeout=3,
                         variables={"AT_INIT": how, "CONNECTIONS": "140"})
    answer = neighbour.during(f"an init of {how}", lambda: ground.invoke(name, {"attack": "echo"}))
    if how == "silence":
        assert answer["errorType"] == "Sandbox.Timedout"
    else:
        assert answer == {"attack": "echo"}
    ground.lam.delete_function(FunctionName=name)
