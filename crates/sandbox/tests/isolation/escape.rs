//! Functions that try to see, reach or change what is not theirs.

use std::fs;
use std::net::TcpListener;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stage::{finish, on_each};

#[tokio::test]
async fn other_processes_cannot_be_seen_or_signalled() {
    on_each(async |stage| {
        let me = std::process::id();
        let text = stage
            .python(&format!(
                "import os, signal
pids = sorted(int(name) for name in os.listdir('/proc') if name.isdigit())
def kill(pid):
    try: os.kill(pid, 0); return 'reached'
    except OSError as error: return error.strerror
def read(path):
    try: open(path, 'rb').read(1); return 'read'
    except OSError: return 'refused'
print(pids)
print(kill({me}), kill(os.getppid()), kill(1))
print(*[read(f'/proc/{{pid}}/{{file}}') for pid in (1, {me}) for file in ('environ', 'mem', 'maps')])"
            ))
            .await;
        let mut lines = text.lines();
        let (pids, signals, files) = (lines.next().unwrap(), lines.next().unwrap(), lines.next().unwrap());
        if stage.own_root() {
            assert_eq!(pids, "[2]", "{:?}", stage.kind);
        }
        assert!(!signals.contains("reached"), "{:?}: {signals}", stage.kind);
        assert_eq!(files, "refused refused refused refused refused refused", "{:?}", stage.kind);
    })
    .await;
}

/// What the kernel asks no more for than the same user: how other processes run, and memory by a key.
#[tokio::test]
async fn other_processes_are_not_slowed_or_limited_and_share_no_memory() {
    on_each(async |stage| {
        let text = stage
            .python(
                "import ctypes, errno, os, resource
def outcome(call, *arguments):
    try: call(*arguments); return 'done'
    except OSError as error: return errno.errorcode[error.errno]
libc = ctypes.CDLL(None, use_errno=True)
def segment():
    if libc.shmget(0, 4096, 0o1600) < 0: raise OSError(ctypes.get_errno(), '')
for pid in (0, os.getppid()):
    print(outcome(os.setpriority, os.PRIO_PROCESS, pid, 19), outcome(os.sched_setaffinity, pid, [min(os.sched_getaffinity(0))]),
        outcome(os.sched_setscheduler, pid, os.SCHED_BATCH, os.sched_param(0)),
        outcome(resource.prlimit, pid, resource.RLIMIT_CORE, (0, 0)))
print(outcome(segment))",
            )
            .await;
        let own = "done done done done\n";
        let expected = if stage.own_root() {
            assert!(
                text.ends_with("done\n"),
                "{:?}: a segment in a namespace of its own: {text}",
                stage.kind
            );
            own.to_owned()
        } else {
            format!("{own}EPERM EPERM EPERM EPERM\nENOSYS\n")
        };
        assert!(text.starts_with(&expected), "{:?}: {text}", stage.kind);
    })
    .await;
}

#[tokio::test]
async fn files_of_the_host_and_of_other_sandboxes_cannot_be_read() {
    on_each(async |stage| {
        fs::write(stage.path("host-secret"), "secret").unwrap();
        let mut other =
            stage.start(&["/bin/sh", "-c", "echo mine > $TMPDIR/mine; echo $TMPDIR; exec sleep 100"]).await;
        let mut line = [0; 256];
        let length = other.take_output().unwrap().read(&mut line).await.unwrap();
        let other_tmp = String::from_utf8_lossy(&line[..length]).trim().to_owned();

        let (text, _) = stage
            .shell(&format!(
                "cat {secret} {other_tmp}/mine /etc/shadow /etc/machine-id /proc/1/root/etc/shadow 2>/dev/null
                 ls -A /root /home /sys {state} 2>/dev/null | grep -v -e : -e '^$' -e '^devices$'; true",
                secret = stage.path("host-secret").display(),
                state = stage.path("state").display(),
            ))
            .await;
        // Without a root of its own a function sees the world-readable part of /etc.
        let text = if stage.own_root() {
            text
        } else {
            let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
            text.replace(&machine_id, "")
        };
        assert_eq!(text, "", "{:?}", stage.kind);
        drop(other);
    })
    .await;
}

#[tokio::test]
async fn the_network_is_the_sandboxes_own() {
    on_each(async |stage| {
        let host = TcpListener::bind("127.0.0.1:0").unwrap();
        let program = format!(
            "import os, _socket as socket
def connect(address):
    peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try: peer.connect(address); return peer
    except OSError as error: return error.strerror
host, port = os.environ['API'].split(':')
api = connect((host, int(port)))
api.send(b'ping'); print(api.recv(100))
print(connect(('127.0.0.1', {})), connect(('169.254.169.254', 80)))",
            host.local_addr().unwrap().port()
        );
        let (running, listener) =
            stage.start_with(&["/usr/bin/python3", "-I", "-S", "-c", &program], |_| {}).await;
        assert_eq!(listener.requested.port(), 9001);
        let accepting = tokio::net::TcpListener::from_std(listener.listener).unwrap();
        let (mut connection, _) = accepting.accept().await.unwrap();
        let mut bytes = [0; 4];
        connection.read_exact(&mut bytes).await.unwrap();
        connection.write_all(b"pong").await.unwrap();

        let (text, _) = finish(running).await;
        assert!(text.starts_with("b'pong'\n"), "{:?}: {text}", stage.kind);
        if stage.driver.capabilities().own_network {
            assert_eq!(listener.address.port(), 9001);
            assert_eq!(text, "b'pong'\nConnection refused Network is unreachable\n", "{:?}", stage.kind);
        }
    })
    .await;
}

#[tokio::test]
async fn two_sandboxes_listen_on_the_same_address_without_meeting() {
    on_each(async |stage| {
        let mut one = stage.prepare().await.unwrap();
        let mut two = stage.prepare().await.unwrap();
        let (one, two) = (one.take_listeners().remove(0), two.take_listeners().remove(0));
        if stage.driver.capabilities().own_network {
            assert_eq!((one.address, two.address), (one.requested, two.requested));
        } else {
            assert_ne!(one.address, two.address);
        }
    })
    .await;
}

#[tokio::test]
async fn dangerous_system_calls_are_refused() {
    on_each(async |stage| {
        let text = stage
            .python(
                "import ctypes, errno, os, _socket as socket
libc = ctypes.CDLL(None, use_errno=True)
def result(value): return 'done' if value >= 0 else errno.errorcode[ctypes.get_errno()].replace('EINVAL', 'EPERM')
def call(number, *args): return result(libc.syscall(ctypes.c_long(number), *[ctypes.c_long(arg) for arg in args]))
tmp = os.environ['TMPDIR'].encode()
print('mount', result(libc.mount(b'x', tmp, b'tmpfs', 0, None)))
print('umount', result(libc.umount2(tmp, 2)))
print('unshare', result(libc.unshare(0x10000000)), result(libc.unshare(0x20000)))
print('setns', result(libc.setns(os.open('/proc/self/ns/net', os.O_RDONLY), 0)))
print('chroot', result(libc.chroot(tmp)))
print('ptrace', result(libc.ptrace(0, 0, 0, 0)))
print('personality', result(libc.personality(0x40000)))
print('setuid', result(libc.setuid(0)), result(libc.setgroups(1, (ctypes.c_uint * 1)(0))))
x86 = os.uname().machine == 'x86_64'
for name, number in dict(
    clone3=435, io_uring_setup=425, open_tree=428, fsopen=430, mount_setattr=442, pidfd_getfd=438,
    bpf=321 if x86 else 280, perf_event_open=298 if x86 else 241, userfaultfd=323 if x86 else 282,
    keyctl=250 if x86 else 219, open_by_handle_at=304 if x86 else 265, unknown=500,
).items(): print(name, call(number, 0, 0, 0, 0, 0))
print('clone', call(56 if x86 else 220, 0x10000011, 0, 0, 0, 0))
for family, kind, protocol in ((17, 3, 768), (40, 1, 0), (16, 3, 12), (38, 5, 0), (2, 3, 1)):
    try: socket.socket(family, kind, protocol); print('socket', family, 'done')
    except OSError as error: print('socket', family, errno.errorcode[error.errno])",
            )
            .await;
        let expected = "mount EPERM\numount EPERM\nunshare EPERM EPERM\nsetns EPERM\nchroot EPERM\nptrace EPERM\n\
                        personality EPERM\nsetuid EPERM EPERM\nclone3 ENOSYS\nio_uring_setup ENOSYS\n\
                        open_tree EPERM\nfsopen EPERM\nmount_setattr EPERM\npidfd_getfd EPERM\nbpf EPERM\n\
                        perf_event_open EPERM\nuserfaultfd EPERM\nkeyctl EPERM\nopen_by_handle_at EPERM\n\
                        unknown ENOSYS\nclone EPERM\nsocket 17 EAFNOSUPPORT\nsocket 40 EAFNOSUPPORT\n\
                        socket 16 EAFNOSUPPORT\nsocket 38 EAFNOSUPPORT\nsocket 2 EPERM\n";
        assert_eq!(text, expected, "{:?}", stage.kind);
    })
    .await;
}

#[tokio::test]
async fn nothing_gives_privileges_back() {
    on_each(async |stage| {
        let (text, _) = stage
            .shell("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -s '\\t' ' '; mount --version >/dev/null && mount -t tmpfs x $TMPDIR 2>/dev/null && echo MOUNTED; true")
            .await;
        for line in text.lines() {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            let expected = match name {
                "NoNewPrivs" => "1",
                "Seccomp" => "2",
                // An ordinary user's process cannot empty its bounding set; `no_new_privs` makes it moot.
                "CapBnd" if !stage.own_root() => continue,
                _ => "0000000000000000",
            };
            assert_eq!(value, expected, "{:?}: {line}", stage.kind);
        }
        assert_eq!(text.lines().count(), 7, "{text}");
    })
    .await;
}

#[tokio::test]
async fn threads_and_subprocesses_work_behind_the_filter() {
    on_each(async |stage| {
        let text = stage
            .python(
                "import sys; sys.path.append('/usr/lib/python3/dist-packages')
import threading, subprocess, socket, tempfile, os
results = []
threads = [threading.Thread(target=lambda: results.append(1)) for _ in range(8)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
left, right = socket.socketpair(); left.send(b'x')
with tempfile.TemporaryFile() as file: file.write(b'data')
print(len(results), subprocess.check_output(['/bin/echo', 'child']), right.recv(1), len(os.urandom(8)))",
            )
            .await;
        assert_eq!(text, "8 b'child\\n' b'x' 8\n", "{:?}", stage.kind);
    })
    .await;
}

#[tokio::test]
async fn node_runs_behind_the_filter() {
    if !std::path::Path::new("/usr/bin/node").exists() {
        eprintln!("SKIPPED: there is no /usr/bin/node");
        return;
    }
    on_each(async |stage| {
        let program = "const fs = require('fs'), os = require('os');
const worker = new (require('worker_threads').Worker)('require(\"worker_threads\").parentPort.postMessage(6 * 7)', {eval: true});
worker.on('message', answer => {
    fs.writeFileSync(process.env.TMPDIR + '/x', 'file');
    const child = require('child_process').execFileSync('/bin/echo', ['child']).toString();
    console.log(answer, fs.readFileSync(process.env.TMPDIR + '/x', 'utf8'), child.trim(), os.cpus().length > 0, os.totalmem() > 0);
});";
        let (running, _) =
            stage.start_with(&["/usr/bin/node", "-e", program], |assignment| assignment.memory_mb = 512).await;
        let (text, exit) = finish(running).await;
        assert_eq!((text.as_str(), exit.status), ("42 file child true true\n", lambfold_sandbox::ExitStatus::Code(0)), "{:?}", stage.kind);
    })
    .await;
}
