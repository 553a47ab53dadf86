//! A driver of one level with a directory of its own, and short ways to run a script in a sandbox of it.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lambfold_sandbox::{
    Assignment, Exit, ExitStatus, IsolationLevel, PreparedSandbox, RunningSandbox, SandboxDriver,
    SandboxError, SandboxListener, SandboxTemplate, Spawner, SpawnerCommand, SpawnerOptions, WaitingProgram,
};
use tokio::io::AsyncReadExt;

const NOBODY: u32 = 65534;

/// A level, whether the spawner is to be started as an ordinary user although the test is root, and whether functions
/// are assigned to a program that waits instead of being started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) level: IsolationLevel,
    pub(crate) as_nobody: bool,
    pub(crate) waits: bool,
}

/// Waits for its assignment, then becomes the command in it.
const SHIM: &str = "import os, _signal
os.write(3, b'r')
block = b''
while piece := os.read(3, 65536): block += piece
os.close(3)
os.chdir('/var/task')
variables = dict(variable.split(b'=', 1) for variable in block.split(b'\\0') if variable)
_signal.signal(_signal.SIGPIPE, _signal.SIG_DFL) # ignored by Python
command = variables.pop(b'COMMAND').split(b'\\x1f')
os.execve(command[0], command, variables)";

/// Every kind of sandbox that can be expected here. What root is needed for is named when it is left out.
pub(crate) fn kinds() -> Vec<Kind> {
    let kind = |level, as_nobody| Kind { level, as_nobody, waits: false };
    let waits = |level, as_nobody| Kind { level, as_nobody, waits: true };
    if rustix::process::geteuid().is_root() {
        vec![
            kind(IsolationLevel::Full, false),
            waits(IsolationLevel::Full, false),
            kind(IsolationLevel::Userns, true),
            waits(IsolationLevel::Userns, true),
            kind(IsolationLevel::Process, true),
            kind(IsolationLevel::Process, false),
        ]
    } else {
        eprintln!("SKIPPED: level full, which needs root");
        vec![
            kind(IsolationLevel::Userns, false),
            waits(IsolationLevel::Userns, false),
            kind(IsolationLevel::Process, false),
        ]
    }
}

pub(crate) struct Stage {
    pub(crate) kind: Kind,
    pub(crate) driver: Arc<dyn SandboxDriver>,
    pub(crate) directory: tempfile::TempDir,
}

/// Runs a test on every kind of sandbox, one after the other, and looks for leftovers after each.
pub(crate) async fn on_each<F: Future<Output = ()>>(test: impl Fn(Arc<Stage>) -> F) {
    on(kinds(), test).await;
}

/// The same where a command is to be started.
pub(crate) async fn on_each_that_starts<F: Future<Output = ()>>(test: impl Fn(Arc<Stage>) -> F) {
    on(kinds().into_iter().filter(|kind| !kind.waits).collect(), test).await;
}

/// The same where a program waits.
pub(crate) async fn on_each_that_waits<F: Future<Output = ()>>(test: impl Fn(Arc<Stage>) -> F) {
    on(kinds().into_iter().filter(|kind| kind.waits).collect(), test).await;
}

async fn on<F: Future<Output = ()>>(kinds: Vec<Kind>, test: impl Fn(Arc<Stage>) -> F) {
    for kind in kinds {
        eprintln!("--- {kind:?}");
        let stage = Arc::new(Stage::new(kind, |_| {}).await);
        test(Arc::clone(&stage)).await;
        stage.driver.shutdown().await;
        assert_eq!(leftovers(stage.directory.path()), Vec::<String>::new(), "{kind:?}");
    }
}

/// The options of a spawner of some kind in a directory with `code`, `runtime` and `state` in it.
pub(crate) fn options(kind: Kind, directory: &Path) -> SpawnerOptions {
    let spawner = env!("CARGO_BIN_EXE_lambfold-spawner");
    let command = if kind.as_nobody {
        let args = ["--reuid=65534", "--regid=65534", "--clear-groups", spawner];
        SpawnerCommand {
            program: "/usr/bin/setpriv".into(),
            args: args.into_iter().map(Into::into).collect(),
        }
    } else {
        SpawnerCommand::program(spawner)
    };
    let mut options = SpawnerOptions::new(command, directory.join("state"));
    options.at_most = kind.level;
    options.at_least = kind.level;
    options
}

/// Makes the directories that [`options`] needs.
pub(crate) fn directories(kind: Kind) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    // Functions run under uids of their own: what they read must be reachable for others.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["code", "runtime", "state"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    if kind.as_nobody {
        chown(directory.path().join("state"), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    directory
}

impl Stage {
    pub(crate) async fn new(kind: Kind, change: impl FnOnce(&mut SpawnerOptions)) -> Self {
        let directory = directories(kind);
        let mut options = options(kind, directory.path());
        change(&mut options);
        let driver = Spawner::start(options).await.unwrap();
        assert_eq!(driver.report().reached, kind.level);
        Self { kind, driver, directory }
    }

    pub(crate) fn own_root(&self) -> bool {
        self.driver.capabilities().own_root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) async fn prepare(&self) -> Result<Box<dyn PreparedSandbox>, SandboxError> {
        self.prepare_for(1024, 1024).await
    }

    async fn prepare_for(
        &self,
        open_files: u32,
        processes: u32,
    ) -> Result<Box<dyn PreparedSandbox>, SandboxError> {
        let waiting = self.kind.waits.then(|| WaitingProgram {
            command: ["/usr/bin/python3", "-I", "-S", "-c", SHIM].map(str::to_owned).into(),
            environment: BTreeMap::new(),
            open_files,
            processes,
        });
        let template = SandboxTemplate {
            listen: vec![([127, 0, 0, 1], 9001).into()],
            runtime_dir: self.path("runtime"),
            image_root: None,
            waiting,
        };
        self.driver.prepare(template).await
    }

    /// Starts what an assignment says, or hands it over.
    pub(crate) async fn assign(
        &self,
        prepared: Box<dyn PreparedSandbox>,
        mut assignment: Assignment,
    ) -> Result<Box<dyn RunningSandbox>, SandboxError> {
        if self.kind.waits {
            let command = std::mem::take(&mut assignment.command).join("\x1f");
            assignment.environment.insert("COMMAND".to_owned(), command);
        }
        prepared.assign(assignment).await
    }

    /// An assignment with `TASK`, `RUNTIME`, `OPT`, `TMPDIR` and `API` in its environment.
    pub(crate) fn assignment(
        &self,
        prepared: &dyn PreparedSandbox,
        listener: &SandboxListener,
        command: &[&str],
    ) -> Assignment {
        let code = self.path("code");
        let view = prepared.view(&code);
        let mut assignment = Assignment::new(code, command.iter().map(ToString::to_string).collect());
        for (name, path) in [
            ("TASK", view.task_root),
            ("RUNTIME", view.runtime_dir),
            ("OPT", view.layers_dir),
            ("TMPDIR", view.tmp_dir),
        ] {
            assignment.environment.insert(name.to_owned(), path.display().to_string());
        }
        assignment.environment.insert("API".to_owned(), listener.address.to_string());
        assignment.environment.insert("PATH".to_owned(), "/usr/bin:/bin".to_owned());
        assignment
    }

    /// Starts a command with some change to its assignment.
    pub(crate) async fn start_with(
        &self,
        command: &[&str],
        change: impl FnOnce(&mut Assignment),
    ) -> (Box<dyn RunningSandbox>, SandboxListener) {
        let mut prepared = self.prepare().await.unwrap();
        let listener = prepared.take_listeners().remove(0);
        let mut assignment = self.assignment(prepared.as_ref(), &listener, command);
        change(&mut assignment);
        let limits = (assignment.open_files, assignment.processes);
        let (prepared, listener) = if limits == (1024, 1024) {
            (prepared, listener)
        } else {
            let mut other = self.prepare_for(limits.0, limits.1).await.unwrap();
            let listener = other.take_listeners().remove(0);
            assignment.environment.insert("API".to_owned(), listener.address.to_string());
            (other, listener)
        };
        (self.assign(prepared, assignment).await.unwrap(), listener)
    }

    pub(crate) async fn start(&self, command: &[&str]) -> Box<dyn RunningSandbox> {
        self.start_with(command, |_| {}).await.0
    }

    /// Runs a shell script to its end.
    pub(crate) async fn shell(&self, script: &str) -> (String, Exit) {
        finish(self.start(&["/bin/sh", "-c", script]).await).await
    }

    /// Runs a Python program, which must end well, and returns what it wrote.
    pub(crate) async fn python(&self, program: &str) -> String {
        let (text, exit) = finish(self.start(&["/usr/bin/python3", "-I", "-S", "-c", program]).await).await;
        assert_eq!(exit.status, ExitStatus::Code(0), "{:?}: {text}", self.kind);
        text
    }
}

/// All that a sandbox writes, and how it ends.
pub(crate) async fn finish(mut running: Box<dyn RunningSandbox>) -> (String, Exit) {
    let mut text = String::new();
    running.take_output().unwrap().read_to_string(&mut text).await.unwrap();
    (text, running.wait().await)
}

/// Waits, within reason, until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "still waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes of this machine with a text in their command line.
pub(crate) fn processes_with(marker: &str) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            String::from_utf8_lossy(&line).contains(marker).then_some(pid)
        })
        .collect()
}

/// Control groups named in a state directory's record that still exist, mounts below the directory, slot directories.
pub(crate) fn leftovers(directory: &Path) -> Vec<String> {
    let state = directory.join("state");
    let record = fs::read_to_string(state.join("cgroups")).unwrap_or_default();
    let mut found: Vec<String> = record
        .lines()
        .filter(|group| Path::new(group).exists())
        .map(|group| format!("control group {group}"))
        .collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let here = directory.display().to_string();
    found.extend(mounts.lines().filter(|line| line.contains(&here)).map(|line| format!("mount {line}")));
    let slots = fs::read_dir(state.join("slots")).into_iter().flatten().flatten();
    found.extend(slots.map(|entry| format!("directory {}", entry.path().display())));
    found
}
