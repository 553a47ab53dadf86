//! Isolation of function code: the privileged **spawner** process and the driver through which the worker asks it
//! for sandboxes. AWS's counterpart is the microVM manager on a Lambda worker host.
//!
//! This is the only crate that knows the operating system, and the only one with `unsafe` code.
//!
//! # How it is used
//!
//! ```no_run
//! # async fn example() -> Result<(), lambfold_sandbox::SandboxError> {
//! use lambfold_sandbox::{Assignment, SandboxDriver, SandboxTemplate, Spawner, SpawnerCommand, SpawnerOptions};
//!
//! let options = SpawnerOptions::new(SpawnerCommand::this_executable("spawner")?, "/var/lib/lambfold/sandbox");
//! let driver = Spawner::start(options).await?;
//! tracing::info!(level = %driver.report().reached, "isolation");
//!
//! let mut prepared = driver
//!     .prepare(SandboxTemplate {
//!         listen: vec![([127, 0, 0, 1], 9001).into()],
//!         runtime_dir: "/var/lib/lambfold/runtimes/python".into(),
//!         image_root: None,
//!         waiting: None,
//!     })
//!     .await?;
//! let listeners = prepared.take_listeners(); // live in the worker, reachable from inside only
//! let code = std::path::PathBuf::from("/var/lib/lambfold/code/0a1b");
//! let view = prepared.view(&code); // paths as the function will see them
//! let mut assignment = Assignment::new(code, vec![format!("{}/bootstrap", view.runtime_dir.display())]);
//! assignment.environment.insert("AWS_LAMBDA_RUNTIME_API".into(), listeners[0].address.to_string());
//! assignment.environment.insert("LAMBDA_TASK_ROOT".into(), view.task_root.display().to_string());
//! let mut running = prepared.assign(assignment).await?;
//! let output = running.take_output(); // merged stdout and stderr
//! let exit = running.wait().await;
//! # let _ = (output, exit); Ok(()) }
//! ```
//!
//! # Shape
//!
//! * [`SandboxDriver::prepare`] makes a living but empty sandbox: namespaces, root, cgroup, `lo`, listeners. It may be
//!   done ahead of need (pools). [`PreparedSandbox::assign`] sets the limits, mounts code and layers and starts the
//!   command. Both are cheap; see `docs/performance.md`.
//! * A sandbox may be prepared with a program that waits in it ([`WaitingProgram`]), enclosed already as a function is.
//!   Its assignment sets the limits, attaches code and layers in the living mount namespace (sandboxes' first processes
//!   stay there, with the rights to it that functions never have) and hands over the environment: nothing is started.
//! * A sandbox may have the files of a container image as its root ([`SandboxTemplate::image_root`]) in place of the host's
//!   system directories; `/proc`, `/dev`, `/tmp` and the fences are those of every sandbox.
//! * An assignment may have programs that start before its command and run beside it ([`Companions`]: AWS's external
//!   extensions). All are forked together, and each is let go when its turn comes; in such a sandbox programs end one by
//!   one, and the sandbox when it is killed.
//! * Nothing waits for teardown: [`RunningSandbox::kill`] returns at once and the spawner reaps.
//! * The spawner is the same executable started anew (or the `lambfold-spawner` binary of this crate), single threaded,
//!   with its end of a socket as standard input. It ends when that socket closes, whatever killed the worker, and takes
//!   every sandbox, mount and cgroup with it.

//!
//! # Levels
//!
//! | | `full` | `userns` | `process` |
//! | --- | --- | --- | --- |
//! | needs | root (mounts, namespaces, ids) | user namespaces of ordinary users | nothing |
//! | ids | a uid per sandbox, shown as 993/990 | the caller's, shown as 993/990 | the caller's; as root a uid per sandbox |
//! | root, `/proc`, pids, host name | own | own | the host's |
//! | System V IPC, message queues of POSIX | own | own | none: refused by seccomp |
//! | network | own: `lo`, and if asked for a device to the worker | the same | the host's |
//! | memory, processes, CPU | control groups | delegated control groups, else rlimits and a watchdog | the same |
//! | `/tmp` | own, bounded | own, bounded | a directory of its own by `TMPDIR`; not bounded |
//! | several layers | merged | merged | refused; one is linked |
//! | capabilities, `no_new_privs`, seccomp | none, set, in force | the same | the same |
//! | Landlock | second fence | second fence | the only fence around files, other processes and abstract sockets |
//!
//! At `process` Landlock does not cover changes of mode, owner or times: as an ordinary user a function could change those
//! of the user's own files, though not their contents; nor connections to sockets that are files. What is the same user's and no
//! file, Landlock does not cover either: seccomp keeps functions there from System V IPC, message queues, and the priorities
//! and limits of other processes.
//!
//! `unisolated` runs the command as `process` does, without seccomp and Landlock.
//!
//! Where the kernel counts `/tmp` to a control group, the group's hard limit is memory plus ephemeral storage, as AWS's
//! `/tmp` is no memory; what is not `/tmp`'s is held to the assigned size by the spawner, within a tenth of a second.
//! Linux 5.12 is needed for the two upper levels. An extra directory below `/tmp` is covered by the function's own `/tmp`.

#[cfg(target_os = "linux")]
mod client;
mod driver;
mod error;
mod level;
mod network;
mod options;
#[cfg(target_os = "linux")]
mod packet;
#[cfg(target_os = "linux")]
mod protocol;
#[cfg(target_os = "linux")]
mod spawner;

#[cfg(target_os = "linux")]
pub use client::Spawner;
pub use driver::{
    ASSIGNMENT_FD, Assignment, Capabilities, Companions, Exit, ExitStatus, OUTPUT_FD, PreparedSandbox,
    ProgramEnd, ProgramSignal, ROOT_DIRECTORIES, ROOT_FILES, RunningSandbox, SECOND_PLACES, SandboxDriver,
    SandboxListener, SandboxNetwork, SandboxProgram, SandboxTemplate, SandboxView, WaitingProgram,
};
pub use error::SandboxError;
pub use level::{IsolationLevel, LevelReport, ParseIsolationLevelError, Refusal};
pub use network::{NETWORK_MTU, NetworkDevice, NetworkLink, RESOLVER_IPV4, SANDBOX_IPV4, SANDBOX_IPV6};
pub use options::{SpawnerCommand, SpawnerOptions};
#[cfg(target_os = "linux")]
pub use spawner::spawner_main;
