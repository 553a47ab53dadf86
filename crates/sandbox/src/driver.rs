//! The interface between a worker and whatever isolates its functions: the spawner of this crate today, a microVM
//! manager behind the same traits another day.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::{LevelReport, NetworkDevice, SandboxError};

/// Makes sandboxes of one isolation level.
#[async_trait]
pub trait SandboxDriver: Send + Sync {
    /// The level reached, why it is not higher, and what is weaker than it should be.
    fn report(&self) -> &LevelReport;

    /// What this driver can enforce and do.
    fn capabilities(&self) -> Capabilities;

    /// Makes a living but empty sandbox, or one whose [`WaitingProgram`] is ready for an assignment. May be done ahead of
    /// need; what it holds is freed when the value is dropped.
    ///
    /// # Errors
    ///
    /// [`SandboxError::NoFreeSlot`] when as many as permitted exist; otherwise see the variants.
    async fn prepare(&self, template: SandboxTemplate) -> Result<Box<dyn PreparedSandbox>, SandboxError>;

    /// Kills every sandbox, waits until nothing of them is left, and ends the spawner. Later calls fail with
    /// [`SandboxError::SpawnerGone`].
    async fn shutdown(&self);

    /// Returns when the driver can make no more sandboxes, because it was shut down or its spawner ended.
    async fn closed(&self);
}

/// A sandbox that waits for its function.
#[async_trait]
pub trait PreparedSandbox: Send {
    /// Unique for the life of the driver; for logs.
    fn id(&self) -> u64;

    /// The listeners that the template asked for, in its order, non-blocking. Empty after the first call.
    fn take_listeners(&mut self) -> Vec<SandboxListener>;

    /// The worker's end of the sandbox's network, where [`Capabilities::network_device`] is true. The sandbox's end goes
    /// when it is dropped. `None` after the first call.
    fn take_network(&mut self) -> Option<NetworkDevice>;

    /// The paths that the function will see, given the directory of its code on the host. At levels with an own root
    /// these are AWS's (`/var/task`, …); without one they are host paths, so build command and environment from here.
    fn view(&self, code_dir: &Path) -> SandboxView;

    /// False when the waiting program, or all of the sandbox, has ended: there is nothing to assign to any more.
    fn is_alive(&self) -> bool;

    /// Sets limits, mounts the code and starts the command. Returns once the command has been executed; with
    /// [`Companions`], once these have been, and the command waits for [`RunningSandbox::start_command`]. Where a
    /// program waits ([`SandboxTemplate::waiting`]) it is given the environment instead; the assignment has no command
    /// then, and the same limits of open files and processes.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Exec`] when the program cannot be executed. Whatever the error, the sandbox is gone after it.
    async fn assign(self: Box<Self>, assignment: Assignment)
    -> Result<Box<dyn RunningSandbox>, SandboxError>;
}

/// A sandbox whose command has been started. Dropping it kills it.
#[async_trait]
pub trait RunningSandbox: Send + Sync {
    /// Unique for the life of the driver; for logs.
    fn id(&self) -> u64;

    /// Where the ends of single programs are told, in a sandbox with [`Companions`]. There neither the end of a companion
    /// nor that of the command ends the sandbox: it lives until it is killed. `None` after the first call.
    fn take_ends(&mut self) -> Option<mpsc::UnboundedReceiver<ProgramEnd>>;

    /// Starts the command that waits for its [`Companions`]. Returns once it has been executed.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Exec`] when the program cannot be executed; [`SandboxError::Invalid`] when it does not wait.
    async fn start_command(&self) -> Result<(), SandboxError>;

    /// Signals one program alone. Returns at once; does nothing where the program does not run (any more).
    fn signal(&self, program: SandboxProgram, signal: ProgramSignal);

    /// The read end of the pipe that is both stdout and stderr of the command. It ends when the last process of the sandbox has
    /// closed it. `None` after the first call.
    fn take_output(&mut self) -> Option<pipe::Receiver>;

    /// The same of all [`Companions`] together, where there are any.
    fn take_companions_output(&mut self) -> Option<pipe::Receiver>;

    /// The way to what listens inside.
    fn network(&self) -> Arc<dyn SandboxNetwork>;

    /// Waits until the command has ended; every other process of the sandbox is killed then. (With [`Companions`]: until
    /// the sandbox has been killed.) Cancel-safe, and may be called again: the answer stays.
    async fn wait(&self) -> Exit;

    /// Ends all processes with SIGKILL. Returns at once; [`wait`](Self::wait) tells when it has happened.
    fn kill(&self);

    /// The most memory, in bytes, that all processes together used since the sandbox began: from the cgroup where there
    /// is one, else from a watchdog's samples of the resident sets. Files in `/tmp` do not count, as on AWS, as far as
    /// the watchdog has seen them there. `None` when the sandbox has ended without telling.
    async fn memory_peak(&self) -> Option<u64>;

    /// Sets the CPU share: thousandths of one CPU, or `None` for no limit (as during init). Does nothing where
    /// [`Capabilities::cpu_quota`] is false.
    ///
    /// # Errors
    ///
    /// When the sandbox has ended or the system refuses.
    async fn set_cpu_millis(&self, millis: Option<u32>) -> Result<(), SandboxError>;

    /// Stops all processes until [`thaw`](Self::thaw); they can be killed all the same. By the control group where that
    /// can, else by SIGSTOP, soon after.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    fn freeze(&self) -> Result<(), SandboxError>;

    /// Lets frozen processes go on. Calls of the two act in their order.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    fn thaw(&self) -> Result<(), SandboxError>;
}

/// Connects to servers in a sandbox. May outlive it; then it connects to nothing.
#[async_trait]
pub trait SandboxNetwork: Send + Sync {
    /// Connects to that port of the sandbox's loopback interface; without [`Capabilities::own_network`], the host's.
    /// Waits while the sandbox is frozen.
    ///
    /// # Errors
    ///
    /// When nothing listens there, or the sandbox has ended.
    async fn connect(&self, port: u16) -> io::Result<TcpStream>;
}

/// What a driver can do beyond running a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about the machine, not states")]
pub struct Capabilities {
    /// Listeners are inside a network namespace of the sandbox, at the address asked for. Without it they are on the
    /// host's loopback at a free port.
    pub own_network: bool,
    /// Sandboxes have the network device that [`SpawnerOptions`](crate::SpawnerOptions) asked for.
    pub network_device: bool,
    /// The function sees AWS's paths (`/var/task`) in a root of its own.
    pub own_root: bool,
    /// Memory is bounded by the kernel, with room for `/tmp` where that is in memory; the assigned size itself is held
    /// to by a watchdog, within about a tenth of a second. Without this there is only the watchdog.
    pub memory_limit: bool,
    /// The number of processes and threads is bounded by the kernel (else by the watchdog).
    pub pids_limit: bool,
    /// [`RunningSandbox::set_cpu_millis`] works.
    pub cpu_quota: bool,
    /// [`RunningSandbox::freeze`] is the kernel's work on a control group, which processes do not notice.
    pub freeze: bool,
    /// Landlock is in force as the second fence.
    pub landlock: bool,
}

/// What a sandbox has before it is known which function will run in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxTemplate {
    /// Loopback addresses to listen on, such as 127.0.0.1:9001 for the Runtime API.
    pub listen: Vec<SocketAddr>,
    /// Directory on the host that is seen, read only, as `/var/runtime`.
    pub runtime_dir: PathBuf,
    /// Directory on the host that is the root, read only, in place of the system's directories and of code, layers and
    /// runtime: the files of a container image. It must have [`ROOT_DIRECTORIES`] and [`ROOT_FILES`], where what every
    /// sandbox has is mounted. Needs [`Capabilities::own_root`]; no program can wait in such a sandbox.
    pub image_root: Option<PathBuf>,
    /// A program to start before it is known for which function. Needs [`Capabilities::own_root`].
    pub waiting: Option<WaitingProgram>,
}

/// A program that is started, and enclosed as any function, before it has one: the interpreter and bootstrap of a
/// managed runtime.
///
/// It finds a socket at descriptor [`ASSIGNMENT_FD`], to which it writes one byte when it is ready, and from which it
/// then reads its assignment: the environment as `NAME=value` texts that end in a NUL each, up to the end of file. By
/// then `/var/task`, `/opt` and `/tmp` are the function's; the program changes to its working directory by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingProgram {
    /// The program (absolute, as seen inside) and its arguments.
    pub command: Vec<String>,
    /// Its whole environment until it has an assignment: nothing that is secret, or of one function.
    pub environment: BTreeMap<String, String>,
    /// As [`Assignment::open_files`].
    pub open_files: u32,
    /// As [`Assignment::processes`].
    pub processes: u32,
}

/// The directories that [`SandboxTemplate::image_root`] must have: no links.
pub const ROOT_DIRECTORIES: &[&str] = &["dev", "etc", "proc", "tmp"];

/// The files that [`SandboxTemplate::image_root`] must have: no links. What is in them is not seen.
pub const ROOT_FILES: &[&str] = &["etc/hosts", "etc/resolv.conf"];

/// Empty directories of a root that is no image's, where [`Assignment::seen_again`] may show others.
pub const SECOND_PLACES: &[&str] = &["/var/lang", "/var/node_modules"];

/// Where a [`WaitingProgram`] finds its socket.
pub const ASSIGNMENT_FD: i32 = 3;

/// Where every program finds the pipe of its output a second time, whatever becomes of its standard output: for a runtime's own
/// records.
pub const OUTPUT_FD: i32 = 4;

/// A socket that the worker accepts on and that only this sandbox can reach (given [`Capabilities::own_network`]).
#[derive(Debug)]
pub struct SandboxListener {
    /// The address as asked for in the template.
    pub requested: SocketAddr,
    /// The address at which the function reaches it.
    pub address: SocketAddr,
    /// The listening socket, non-blocking.
    pub listener: TcpListener,
}

/// Where the function finds things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxView {
    /// The code: `/var/task`.
    pub task_root: PathBuf,
    /// The runtime's files: `/var/runtime`.
    pub runtime_dir: PathBuf,
    /// The merged layers: `/opt`.
    pub layers_dir: PathBuf,
    /// The only writable directory: `/tmp`. Where it is another one, set `TMPDIR` to it.
    pub tmp_dir: PathBuf,
}

impl SandboxView {
    /// That of every sandbox with a root of its own: AWS's paths.
    pub fn own_root() -> Self {
        Self {
            task_root: "/var/task".into(),
            runtime_dir: "/var/runtime".into(),
            layers_dir: "/opt".into(),
            tmp_dir: "/tmp".into(),
        }
    }
}

/// What a sandbox is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Directory on the host that is seen, read only, as `/var/task`; the command starts in it. Its files must be
    /// readable for others: the function runs under a uid of its own. Not used with [`SandboxTemplate::image_root`].
    pub code_dir: PathBuf,
    /// Directories on the host that are seen, merged and read only, as `/opt`; a later one wins.
    pub layers: Vec<PathBuf>,
    /// Directories that are seen at a second place, too: that place, which is one of [`SECOND_PLACES`], and the directory, both as
    /// seen inside. One that is not there, or only over links, is left out. Not at a level without an own root.
    pub seen_again: Vec<(PathBuf, PathBuf)>,
    /// The program (absolute, as seen inside) and its arguments. Empty where a program waits for the assignment. With
    /// [`SandboxTemplate::image_root`] a name without `/` is looked for in the `PATH` of `environment`, and a relative
    /// one is the working directory's.
    pub command: Vec<String>,
    /// Where the command starts, as seen inside, with [`SandboxTemplate::image_root`].
    pub working_directory: PathBuf,
    /// The whole environment: nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// Memory of all processes together, in MiB.
    pub memory_mb: u32,
    /// Size of `/tmp` in MiB.
    pub ephemeral_storage_mb: u32,
    /// The most open files per process. AWS: 1024.
    pub open_files: u32,
    /// The most processes and threads. AWS: 1024.
    pub processes: u32,
    /// Host name seen inside. AWS shows the link-local address `169.254.x.y`.
    pub hostname: String,
    /// Not where a program waits for the assignment.
    pub companions: Companions,
}

/// Programs that run beside the command, enclosed as it is and within the same limits, and start before it: AWS's
/// external extensions. They start in `/`, and print to a pipe of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Companions {
    /// Each one's program (absolute, as seen inside) and arguments. At most 16.
    pub commands: Vec<Vec<String>>,
    /// The whole environment of each of them.
    pub environment: BTreeMap<String, String>,
}

/// One of the programs that an assignment names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxProgram {
    /// [`Assignment::command`], or the program that waited.
    Command,
    /// The one of that index in [`Companions::commands`].
    Companion(usize),
}

/// What [`RunningSandbox::signal`] can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramSignal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// A program of a sandbox with [`Companions`] has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramEnd {
    /// Which one.
    pub program: SandboxProgram,
    /// How. Memory is that of the whole sandbox so far.
    pub exit: Exit,
}

impl Assignment {
    /// A command with AWS's default limits: 128 MB of memory, 512 MB of `/tmp`, 1024 files and processes.
    pub fn new(code_dir: PathBuf, command: Vec<String>) -> Self {
        Self {
            code_dir,
            layers: Vec::new(),
            seen_again: Vec::new(),
            command,
            working_directory: "/".into(),
            environment: BTreeMap::new(),
            memory_mb: 128,
            ephemeral_storage_mb: 512,
            open_files: 1024,
            processes: 1024,
            hostname: "169.254.76.1".to_owned(),
            companions: Companions::default(),
        }
    }
}

/// How a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// What became of the command.
    pub status: ExitStatus,
    /// It, or a process of it, was killed for using more memory than assigned.
    pub oom: bool,
    /// The most memory in bytes, as [`RunningSandbox::memory_peak`] tells it.
    pub memory_peak: Option<u64>,
}

/// What became of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It ended with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}
