//! A `lambfold` process on a temporary directory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use lambfold_client::{Connection, Credentials};
use lambfold_clock::SystemClock;

use crate::kill::pause;

/// A running `lambfold up`; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// What it printed up to `Ready.`
    pub banner: String,
    /// Where it listens.
    pub address: String,
}

/// Addresses that were free a moment ago.
pub(crate) fn free_addresses() -> (String, String) {
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, other) = (bind(), bind());
    (one.local_addr().unwrap().to_string(), other.local_addr().unwrap().to_string())
}

/// `lambfold up` on a directory and addresses, not started yet.
pub(crate) fn up(directory: &Path, address: &str, grpc: &str) -> Command {
    command(&["up"], directory, address, grpc)
}

fn command(verb: &[&str], directory: &Path, address: &str, grpc: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lambfold"));
    command
        .args(verb)
        .args(["--listen", address, "--grpc-listen", grpc, "--data-dir"])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Server {
    /// Starts it and waits for the banner. Panics with its output if it ends before.
    pub(crate) fn start(directory: &Path, addresses: &(String, String)) -> Self {
        Self::run(directory, addresses, up(directory, &addresses.0, &addresses.1))
    }

    /// The same after a line of shell.
    pub(crate) fn start_after(shell: &str, directory: &Path, addresses: &(String, String)) -> Self {
        let server = up(directory, &addresses.0, &addresses.1);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{shell} && exec \"$0\" \"$@\"")])
            .arg(server.get_program())
            .args(server.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self::run(directory, addresses, command)
    }

    /// The same with some roles only, and settings by the environment.
    pub(crate) fn serve(
        directory: &Path,
        addresses: &(String, String),
        roles: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut command = command(&["serve", "--roles", roles], directory, &addresses.0, &addresses.1);
        command.envs(settings.iter().copied());
        Self::run(directory, addresses, command)
    }

    fn run(directory: &Path, (address, _): &(String, String), mut command: Command) -> Self {
        let log =
            std::fs::File::options().create(true).append(true).open(directory.with_extension("log")).unwrap();
        let mut child = command.stderr(log).spawn().unwrap();
        let mut banner = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            banner.push_str(&line);
            banner.push('\n');
            if line.ends_with("Ready.") {
                return Self { child, banner, address: address.clone() };
            }
        }
        let log = std::fs::read_to_string(directory.with_extension("log")).unwrap_or_default();
        panic!("lambfold ended before it was ready: {:?}\n{banner}\n{log}", child.wait());
    }

    /// A connection to it.
    pub(crate) fn connection(&self) -> Connection {
        connection(&self.address)
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// SIGSTOP; returns when all its threads stand still. The signal alone says little: one thread after the other learns of
    /// it, and until then they take calls, and commit what they were asked.
    pub(crate) async fn stop(&self) {
        self.signal("STOP");
        while !self.stands_still() {
            pause(1).await;
        }
    }

    fn stands_still(&self) -> bool {
        let mut threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        threads.all(|thread| {
            // One that has ended in between stands still, too.
            let Ok(stat) = std::fs::read_to_string(thread.unwrap().path().join("stat")) else { return true };
            // The state stands behind the name, which may contain anything.
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// How many files it may open, and could at most.
    pub(crate) fn file_limits(&self) -> (String, String) {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut fields = line.split_whitespace().map(str::to_owned);
        (fields.next().unwrap(), fields.next().unwrap())
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; whether it exited with success.
    pub(crate) fn terminate(mut self) -> bool {
        self.signal("TERM");
        self.child.wait().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `kill` and `terminate` there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to `address`, as the default account.
pub(crate) fn connection(address: &str) -> Connection {
    Connection::new(&address.into(), &Credentials::default(), "us-east-1", Arc::new(SystemClock::new()))
}
