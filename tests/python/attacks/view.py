"""Looks for everything that is not its own: files, processes, descriptors, environments."""

import ctypes
import os
import resource
import signal
import stat

from probe import TASK, TMP, X86, in_child, libc, outcome, read, syscall

#: Never in this file in one piece, or the search would find it here.
SECRET = "SECRET-" + "of-the-victim"
SKIPPED = ("/usr", "/proc", "/root/.pyenv", "/lib", "/lib64", "/bin", "/sbin")


def handler(event, context):
    return globals()[event["probe"]](event)


def places(event):
    """Where its own things are."""
    return {"task": TASK, "tmp": TMP, "runtime": os.environ["LAMBDA_RUNTIME_DIR"]}


def files(event):
    """Paths that are tried by name."""
    return {path: outcome(read, path) for path in event["paths"]}


def search(event):
    """Every file that can be opened, and every variable of every process, with the secret in it."""
    found = []
    for top in event["folders"]:
        found += in_files(top)
    for pid in processes({}):
        for name in ("environ", "cmdline"):
            if SECRET in str(outcome(read, f"/proc/{pid}/{name}", 1 << 20)):
                found.append(f"/proc/{pid}/{name}")
    return found


def in_files(top):
    found = []
    for folder, folders, names in os.walk(top):
        folders[:] = [it for it in folders if os.path.join(folder, it) not in SKIPPED]
        for name in names:
            path = os.path.join(folder, name)
            try:
                if stat.S_ISREG(os.stat(path).st_mode) and SECRET in read(path, 1 << 20):
                    found.append(path)
            except OSError:
                pass
    return found


def processes(event):
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def others(event):
    """What can be had of processes by their ids: those of the host, and the sandbox's own first one."""
    opened = ("environ", "mem", "maps", "stack", "syscall", "root/etc/shadow", "cwd/x", "fd/0", "task")
    return {
        "kill": {pid: outcome(os.kill, pid, signal.SIGKILL) for pid in event["pids"]},
        "group": {pid: outcome(os.killpg, pid, signal.SIGKILL) for pid in event["pids"]},
        "pidfd": {pid: outcome(by_descriptor, pid) for pid in event["pids"]},
        "priority": {pid: outcome(os.setpriority, os.PRIO_PROCESS, pid, 19) for pid in event["pids"]},
        "policy": {pid: outcome(os.sched_setscheduler, pid, os.SCHED_IDLE, os.sched_param(0)) for pid in event["pids"]},
        "processors": {pid: outcome(os.sched_setaffinity, pid, [min(os.sched_getaffinity(0))]) for pid in event["pids"]},
        "limits": {pid: outcome(resource.prlimit, pid, resource.RLIMIT_CORE, (0, 0)) for pid in event["pids"]},
        "opened": [f"{pid}/{name}" for pid in [1, *event["pids"]] for name in opened
                   if outcome(read, f"/proc/{pid}/{name}") not in ("ENOENT", "EACCES", "EPERM", "ESRCH")
                   and outcome(os.listdir, f"/proc/{pid}/{name}") not in ("ENOENT", "EACCES", "EPERM", "ENOTDIR")],
    }


def by_descriptor(pid):
    signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGKILL)


def own_priority(event):
    """What is its own business; and all processes of its user at once."""
    return {
        "own": outcome(os.setpriority, os.PRIO_PROCESS, 0, max(1, os.getpriority(os.PRIO_PROCESS, 0))),
        "user": outcome(os.setpriority, os.PRIO_USER, 0, 19),
        "own limit": outcome(resource.setrlimit, resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK)),
    }


def shared(event):
    """System V segments and message queues that somebody else has made: by key, by number, by name."""
    def result(value):
        if value < 0:
            raise OSError(ctypes.get_errno(), "")
        return "got"
    libc.shmat.restype = ctypes.c_ssize_t
    return {
        "by key": outcome(lambda: result(libc.shmget(event["key"], 0, 0))),
        "by number": outcome(lambda: result(libc.shmat(event["number"], None, 0o10000))),
        "queue": syscall(240 if X86 else 180, ctypes.c_char_p(event["queue"].encode()), os.O_RDWR, 0, 0),
    }


def descriptors(event):
    """What is open, by the names that the kernel gives."""
    names = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass  # That of the listing itself.
    return sorted({name.split(":")[0] for name in names})


def write(event):
    """Puts a file into each directory."""
    def put(folder):
        with open(os.path.join(folder, "planted"), "w") as file:
            file.write("x")
    return {folder: outcome(put, folder) for folder in event["folders"]}


def overwrite(event):
    """Opens files of the kernel, of the platform and of its own package for writing."""
    return {path: outcome(lambda: open(path, "r+b").close()) for path in event["paths"]}


def metadata(event):
    """Changes what is known of files: modes, owners, times, links, devices."""
    code = f"{TASK}/view.py"
    os.symlink(code, f"{TMP}/link")
    return {
        "chmod code": outcome(os.chmod, code, 0o777),
        "chmod through a link": outcome(os.chmod, f"{TMP}/link", 0o777),
        "chown code": outcome(os.chown, code, os.getuid(), -1),
        "utime code": outcome(os.utime, code, (0, 0)),
        "unlink code": outcome(os.unlink, code),
        "rename code": outcome(os.rename, code, f"{TMP}/mine"),
        "link out of the code": outcome(os.link, code, f"{TMP}/hard"),
        "chmod a device": outcome(os.chmod, "/dev/null", 0o600),
        "device": outcome(os.mknod, f"{TMP}/device", stat.S_IFBLK | 0o600, os.makedev(8, 0)),
        "chown to root": outcome(os.chown, TMP, 0, 0),
    }


def modes(event):
    """Modes and times of files that are known by name, and whether they are there at all."""
    return {path: {"stat": outcome(lambda: os.stat(path).st_size >= 0), "chmod": outcome(os.chmod, path, 0o640),
                   "utime": outcome(os.utime, path, (0, 0))} for path in event["paths"]}


def setuid(event):
    """A program with all the bits that one may set: whose rights does it have?"""
    copy = f"{TMP}/id"
    with open("/usr/bin/id", "rb") as source, open(copy, "wb") as target:
        target.write(source.read())
    os.chmod(copy, 0o6755)
    found = [path for folder in ("/usr/bin", "/usr/sbin", "/usr/lib") for base, _, names in os.walk(folder)
             for path in (os.path.join(base, name) for name in names) if os.path.isfile(path) and os.stat(path).st_mode & 0o6000]

    def gains(program):
        # Whoever ran with other rights could not be looked at, and would say so by its ids.
        return os.popen(f"{program} -u; {program} -ru").read().split()
    return {
        "copy": gains(copy), "mine": str(os.getuid()), "programs": len(found),
        "su": outcome(in_child, lambda: os.execv("/usr/bin/su", ["su", "-c", "true"])) if "/usr/bin/su" in found else 1,
        "setuid": outcome(os.setuid, 0), "setgid": outcome(os.setgid, 0), "setgroups": outcome(os.setgroups, [0]),
    }
