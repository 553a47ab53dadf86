"""Looks for everything that is not its own: files, processes, descriptors, environments."""

import os
import signal
import stat

from probe import in_child, outcome, read

#: Never in this file in one piece, or the search would find it here.
SECRET = "SECRET-" + "of-the-victim"
SKIPPED = ("/usr", "/proc", "/root/.pyenv", "/lib", "/lib64", "/bin", "/sbin")


def handler(event, context):
    return globals()[event["probe"]](event)


def files(event):
    """Paths that are tried by name."""
    return {path: outcome(read, path) for path in event["paths"]}


def search(event):
    """Every file that can be opened, and every variable of every process, with the secret in it."""
    found = []
    for folder, folders, names in os.walk("/"):
        folders[:] = [it for it in folders if os.path.join(folder, it) not in SKIPPED]
        for name in names:
            path = os.path.join(folder, name)
            try:
                if stat.S_ISREG(os.stat(path).st_mode) and SECRET in read(path, 1 << 20):
                    found.append(path)
            except OSError:
                pass
    for pid in processes({}):
        for name in ("environ", "cmdline"):
            if SECRET in str(outcome(read, f"/proc/{pid}/{name}", 1 << 20)):
                found.append(f"/proc/{pid}/{name}")
    return found


def processes(event):
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def others(event):
    """What can be had of processes by their ids: those of the host, and the sandbox's own first one."""
    opened = ("environ", "mem", "maps", "stack", "syscall", "root/etc/shadow", "cwd/x", "fd/0", "task")
    return {
        "kill": {pid: outcome(os.kill, pid, signal.SIGKILL) for pid in event["pids"]},
        "group": {pid: outcome(os.killpg, pid, signal.SIGKILL) for pid in event["pids"]},
        "pidfd": {pid: outcome(os.pidfd_open, pid) for pid in event["pids"]},
        "priority": {pid: outcome(os.setpriority, os.PRIO_PROCESS, pid, 19) for pid in event["pids"]},
        "opened": [f"{pid}/{name}" for pid in [1, *event["pids"]] for name in opened
                   if outcome(read, f"/proc/{pid}/{name}") not in ("ENOENT", "EACCES", "EPERM", "ESRCH")
                   and outcome(os.listdir, f"/proc/{pid}/{name}") not in ("ENOENT", "EACCES", "EPERM", "ENOTDIR")],
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
    os.symlink("/var/task/view.py", "/tmp/link")
    return {
        "chmod code": outcome(os.chmod, "/var/task/view.py", 0o777),
        "chmod through a link": outcome(os.chmod, "/tmp/link", 0o777),
        "chown code": outcome(os.chown, "/var/task/view.py", os.getuid(), -1),
        "utime code": outcome(os.utime, "/var/task/view.py", (0, 0)),
        "unlink code": outcome(os.unlink, "/var/task/view.py"),
        "rename code": outcome(os.rename, "/var/task/view.py", "/tmp/mine"),
        "link out of the code": outcome(os.link, "/var/task/view.py", "/tmp/hard"),
        "chmod a device": outcome(os.chmod, "/dev/null", 0o600),
        "device": outcome(os.mknod, "/tmp/device", stat.S_IFBLK | 0o600, os.makedev(8, 0)),
        "chown to root": outcome(os.chown, "/tmp", 0, 0),
    }


def setuid(event):
    """A program with all the bits that one may set: whose rights does it have?"""
    copy = "/tmp/id"
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
