//! What a function may use, and what is told of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use lambfold_sandbox::{ExitStatus, SandboxError};
use tokio::io::AsyncReadExt;

use crate::stage::{finish, on_each, on_each_that_starts, until};

const MIB: u64 = 1 << 20;

fn python(program: &str) -> [&str; 5] {
    ["/usr/bin/python3", "-I", "-S", "-c", program]
}

#[tokio::test]
async fn exit_codes_and_signals_are_told() {
    on_each(async |stage| {
        for (script, status) in [
            ("exit 0", ExitStatus::Code(0)),
            ("exit 113", ExitStatus::Code(113)),
            ("kill -9 $$", ExitStatus::Signal(9)),
            ("kill -SEGV $$", ExitStatus::Signal(11)),
            ("kill -PIPE $$", ExitStatus::Signal(13)),
        ] {
            let (_, exit) = stage.shell(script).await;
            assert_eq!((exit.status, exit.oom), (status, false), "{script}");
            assert!(exit.memory_peak.is_some_and(|peak| peak > 0), "{:?}: {exit:?}", stage.kind);
        }
    })
    .await;
}

#[tokio::test]
async fn too_much_memory_is_fatal_and_said_so() {
    on_each(async |stage| {
        let program = "import _signal
held = []
while True: held.append(b'x' * 1000000); len(held) < 280 or _signal.pause()";
        let (running, _) = stage.start_with(&python(program), |assignment| assignment.memory_mb = 64).await;
        let (_, exit) = finish(running).await;
        assert_eq!((exit.status, exit.oom), (ExitStatus::Signal(9), true), "{:?}", stage.kind);
    })
    .await;
}

/// AWS: ephemeral storage is a disk and does not count to a function's memory.
#[tokio::test]
async fn files_in_tmp_are_not_memory() {
    on_each(async |stage| {
        let program = "import os
with open(os.environ['TMPDIR'] + '/file', 'wb') as file:
    for _ in range(150): file.write(b'x' * 1000000)
print('written', flush=True)
import time; time.sleep(0.3)
held = b'x' * 30000000
print('held', flush=True)
held = [held, b'x' * 150000000]; time.sleep(10)";
        let (running, _) = stage
            .start_with(&python(program), |assignment| {
                assignment.memory_mb = 64;
                assignment.ephemeral_storage_mb = 300;
            })
            .await;
        let (text, exit) = finish(running).await;
        assert_eq!(text, "written\nheld\n", "{:?}", stage.kind);
        assert_eq!((exit.status, exit.oom), (ExitStatus::Signal(9), true), "{:?}", stage.kind);
    })
    .await;
}

#[tokio::test]
async fn files_in_tmp_are_not_in_the_memory_peak() {
    on_each(async |stage| {
        if !stage.own_root() {
            return; // There /tmp is a directory of the host.
        }
        let program = "import sys, _signal
held = b'x' * 50000000
with open('/tmp/file', 'wb') as file:
    for _ in range(150): file.write(b'x' * 1000000)
print('done', flush=True)
len(sys.argv) > 1 or _signal.pause()";
        let peak_is_right = |peak: Option<u64>| {
            let peak = peak.unwrap();
            assert!((47 * MIB..100 * MIB).contains(&peak), "{:?}: {peak}", stage.kind);
        };
        let ends = [python(program).as_slice(), &["at once"]].concat();
        let (running, _) = stage.start_with(&ends, |assignment| assignment.ephemeral_storage_mb = 300).await;
        let (text, exit) = finish(running).await;
        assert_eq!(text, "done\n", "{:?}", stage.kind);
        peak_is_right(exit.memory_peak);
        let (mut running, _) =
            stage.start_with(&python(program), |assignment| assignment.ephemeral_storage_mb = 300).await;
        let mut line = [0; 5];
        running.take_output().unwrap().read_exact(&mut line).await.unwrap();
        peak_is_right(running.memory_peak().await);
    })
    .await;
}

#[tokio::test]
async fn the_memory_peak_is_told_while_it_runs() {
    on_each(async |stage| {
        let program =
            "import _signal\nheld = b'x' * 50000000\ndel held\nprint('done', flush=True)\n_signal.pause()";
        let (mut running, _) = stage.start_with(&python(program), |_| {}).await;
        let mut line = [0; 5];
        running.take_output().unwrap().read_exact(&mut line).await.unwrap();
        let peak = running.memory_peak().await.unwrap();
        assert!((50 * MIB..100 * MIB).contains(&(peak + 3 * MIB)), "{:?}: {peak}", stage.kind);
    })
    .await;
}

#[tokio::test]
async fn tmp_is_bounded_in_bytes_and_files() {
    on_each(async |stage| {
        if !stage.own_root() {
            return; // Without mounts nothing bounds a directory; see the crate's documentation.
        }
        let program = "import os
def fill(name, size):
    try:
        with open('/tmp/' + name, 'wb') as file: file.write(b'x' * size)
        return 'fits'
    except OSError as error: return error.strerror
print(fill('a', 7 << 20), fill('b', 2 << 20))
os.remove('/tmp/a'); os.remove('/tmp/b')
try:
    for n in range(100000): open(f'/tmp/{n}', 'w').close()
except OSError as error: print(error.strerror, 100 < n < 1000)";
        let (running, _) =
            stage.start_with(&python(program), |assignment| assignment.ephemeral_storage_mb = 8).await;
        let (text, _) = finish(running).await;
        assert_eq!(text, "fits No space left on device\nNo space left on device True\n", "{:?}", stage.kind);
    })
    .await;
}

#[tokio::test]
async fn processes_and_files_are_bounded() {
    on_each(async |stage| {
        let program = "import os, _signal
files = []
try:
    while True: files.append(open('/dev/null'))
except OSError as error: print(error.strerror, len(files))
[file.close() for file in files]
children = 0
try:
    while children < 200:
        if os.fork() == 0: _signal.pause()
        children += 1
except OSError as error: print(error.strerror, children, flush=True)
_signal.pause()";
        let (mut running, _) = stage
            .start_with(&python(program), |assignment| {
                assignment.open_files = 64;
                assignment.processes = 30;
                assignment.memory_mb = 512;
            })
            .await;
        let mut output = running.take_output().unwrap();
        if stage.driver.capabilities().pids_limit {
            let mut text = vec![0; 200];
            let mut length = 0;
            while String::from_utf8_lossy(&text[..length]).lines().count() < 2 || text[length - 1] != b'\n' {
                let read = output.read(&mut text[length..]).await.unwrap();
                assert_ne!(read, 0, "{:?}: {}", stage.kind, String::from_utf8_lossy(&text));
                length += read;
            }
            let text = String::from_utf8_lossy(&text[..length]).into_owned();
            let (files, children) = text.trim().split_once('\n').unwrap();
            assert_eq!(files, "Too many open files 60", "{:?}", stage.kind);
            let children = children.strip_prefix("Resource temporarily unavailable ").unwrap();
            // Without a user namespace zombies of a killed spawner's functions, which had the same uid, count too
            // until the machine's init gets round to them.
            let expected = if stage.own_root() { 29..=29 } else { 15..=29 };
            assert!(expected.contains(&children.parse().unwrap()), "{:?}: {children}", stage.kind);
        } else {
            // The watchdog ends it.
            assert_eq!(running.wait().await.status, ExitStatus::Signal(9), "{:?}", stage.kind);
        }
    })
    .await;
}

#[tokio::test]
async fn the_share_of_cpu_time_can_be_set_and_lifted() {
    on_each(async |stage| {
        let program = "import time
start, cpu = time.monotonic(), time.process_time()
while time.monotonic() - start < 0.6: pass
print(int((time.process_time() - cpu) * 1000))";
        let script = format!("read go < $TMPDIR/go; exec /usr/bin/python3 -I -S -c '{program}'");
        // A pipe in /tmp cannot be reached from here: the API's listener says when the quota is set.
        let script = script.replace("read go < $TMPDIR/go", "sleep 0.2");
        let (running, _) = stage.start_with(&["/bin/sh", "-c", &script], |_| {}).await;
        running.set_cpu_millis(Some(100)).await.unwrap();
        let (text, _) = finish(running).await;
        if stage.driver.capabilities().cpu_quota {
            let used: u64 = text.trim().parse().unwrap();
            assert!(used <= 200, "{:?}: {used} ms of CPU in 600 ms at a tenth of one", stage.kind);
        }
        let running = stage.start(&["/bin/sleep", "100"]).await;
        running.set_cpu_millis(Some(1)).await.unwrap();
        running.set_cpu_millis(None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_frozen_function_stands_still() {
    on_each(async |stage| {
        let mut running = stage.start(&["/bin/sh", "-c", "while true; do echo tick; sleep 0.01; done"]).await;
        let mut output = running.take_output().unwrap();
        let mut bytes = [0; 4096];
        assert_ne!(output.read(&mut bytes).await.unwrap(), 0);
        running.freeze().unwrap();
        // What was on its way when it stopped may still come; then nothing does.
        until("it is silent", || {
            while output.try_read(&mut bytes).is_ok_and(|read| read > 0) {}
            std::thread::sleep(Duration::from_millis(200));
            output.try_read(&mut bytes).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        });
        running.thaw().unwrap();
        assert_ne!(output.read(&mut bytes).await.unwrap(), 0);
        // A frozen one can be killed.
        running.freeze().unwrap();
        let start = Instant::now();
        running.kill();
        assert_eq!(running.wait().await.status, ExitStatus::Signal(9));
        assert!(start.elapsed() < Duration::from_secs(5));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_executed_is_named() {
    on_each_that_starts(async |stage| {
        fs::write(stage.path("code/plain"), "not executable").unwrap();
        fs::write(stage.path("code/garbage"), "neither script nor binary").unwrap();
        fs::set_permissions(stage.path("code/garbage"), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, errno) in
            [("absent", libc_errno::ENOENT), ("plain", libc_errno::EACCES), ("garbage", libc_errno::ENOEXEC)]
        {
            let mut prepared = stage.prepare().await.unwrap();
            let listener = prepared.take_listeners().remove(0);
            let program = prepared.view(&stage.path("code")).task_root.join(name).display().to_string();
            let assignment = stage.assignment(prepared.as_ref(), &listener, &[&program]);
            match prepared.assign(assignment).await.err() {
                Some(SandboxError::Exec { program: named, errno: got }) => {
                    assert_eq!((named, got), (program, errno), "{:?}", stage.kind);
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

/// The numbers, which are the same on all architectures of Linux that are supported.
mod libc_errno {
    pub(super) const ENOENT: i32 = 2;
    pub(super) const ENOEXEC: i32 = 8;
    pub(super) const EACCES: i32 = 13;
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    on_each_that_starts(async |stage| {
        type Change = fn(&mut lambfold_sandbox::Assignment);
        let changes: [(&str, Change); 9] = [
            ("the command is empty", |a| a.command.clear()),
            ("not a path", |a| a.command = vec!["sh".into()]),
            ("NUL", |a| a.command = vec!["/bin/sh".into(), "a\0b".into()]),
            ("NUL", |a| drop(a.environment.insert("A".into(), "\0".into()))),
            ("environment variable", |a| drop(a.environment.insert("A=B".into(), String::new()))),
            ("not an absolute path", |a| a.code_dir = "code".into()),
            ("must not be zero", |a| a.memory_mb = 0),
            ("at least 16 files", |a| a.open_files = 0),
            ("over the limit", |a| drop(a.environment.insert("BIG".into(), "x".repeat(200_000)))),
        ];
        for (expected, change) in changes {
            let mut prepared = stage.prepare().await.unwrap();
            let listener = prepared.take_listeners().remove(0);
            let mut assignment = stage.assignment(prepared.as_ref(), &listener, &["/bin/true"]);
            change(&mut assignment);
            match prepared.assign(assignment).await.err() {
                Some(SandboxError::Invalid(text)) => assert!(text.contains(expected), "{text}"),
                other => panic!("{expected}: {other:?}"),
            }
        }
        // A directory that is not there is not the caller's mistake in form, but fails as plainly.
        let mut prepared = stage.prepare().await.unwrap();
        let listener = prepared.take_listeners().remove(0);
        let mut assignment = stage.assignment(prepared.as_ref(), &listener, &["/bin/true"]);
        assignment.code_dir = "/nowhere/at/all".into();
        let error = prepared.assign(assignment).await.err().unwrap();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    })
    .await;
}
