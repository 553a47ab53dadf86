"""Attacks on the kernel through its calls: mounts, namespaces, modules, tracing, and kernel parts with a bad record."""


def test_calls_are_refused(ground):
    answers = ground.attack("syscalls")
    state = answers.pop("state")
    for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert state[name] == "0" * 16, name
    assert (state["NoNewPrivs"], state["Seccomp"], state["capset"]) == ("1", "2", -1)
    if ground.level == "full":
        assert state["Groups"] == ""
    expected = {"int 0x80": {"killed"}, "clone3": {"ENOSYS"}, "x32": {"ENOSYS"}, "not yet invented": {"ENOSYS"}}
    wrong = {name: answer for name, answer in answers.items()
             if answer not in expected.get(name, {"EPERM", "ENOSYS", "EAFNOSUPPORT"})}
    assert wrong == {}
    # What has not been compiled into this kernel would be absent anyhow; most must be refused by us.
    assert sum(answer == "EPERM" for answer in answers.values()) > 50
