//! What is measured, started by the bench itself: this executable, under another subcommand.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::target::Target;
use crate::usage;

/// A server that listens; killed when it is dropped.
pub struct Server {
    // In the order in which they stop.
    children: Vec<Child>,
    /// Where AWS clients connect: host:port.
    pub address: String,
    /// Where `/metrics` tells of its store: host:port.
    pub metrics_address: String,
}

impl Server {
    /// A Lambfold of its own under `directory`: all roles in one process, on SQLite.
    pub fn lambfold(directory: &Path) -> anyhow::Result<Self> {
        Self::lambfold_with(directory, &[])
    }

    /// The same with the queues in the Postgres database at `url`.
    pub fn lambfold_on_postgres(directory: &Path, url: &str) -> anyhow::Result<Self> {
        Self::lambfold_with(directory, &[("LAMBFOLD_QUEUE__DATABASE", url)])
    }

    /// The same with settings, as variables of the environment.
    pub fn lambfold_with(directory: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["up", "--listen", &address, "--grpc-listen", &free_address()?, "--data-dir"])
            .arg(directory.join("data"))
            .envs(settings.iter().copied());
        let child = start(command, &directory.join("lambfold.log"))?;
        Ok(Self { children: vec![child], metrics_address: address.clone(), address })
    }

    /// A gateway and a queue service as two processes under `directory`, joined by a Unix socket. The queue's process
    /// has a gateway, too, that takes no part: it only shows the queue's `/metrics`.
    pub fn two_processes(directory: &Path) -> anyhow::Result<Self> {
        let (address, metrics_address) = (free_address()?, free_address()?);
        let socket = format!("unix:{}", directory.join("queue.sock").display());
        let role = |roles: &str, listen: &str, data: &str| -> anyhow::Result<Command> {
            let mut command = Command::new(std::env::current_exe()?);
            command
                .args(["serve", "--roles", roles, "--listen", listen, "--grpc-listen", &free_address()?])
                .arg("--data-dir")
                .arg(directory.join(data))
                // Only queues are measured here; what else a gateway must know of is never called.
                .env("LAMBFOLD_PEERS__QUEUE", &socket)
                .env("LAMBFOLD_PEERS__CONTROL", &socket)
                .env("LAMBFOLD_PEERS__DISPATCHER", &socket)
                .env("LAMBFOLD_PEERS__LOGS", &socket);
            Ok(command)
        };
        let mut queue = role("queue,gateway", &metrics_address, "queue")?;
        queue.env("LAMBFOLD_PEERS__LISTEN", &socket);
        let queue = start(queue, &directory.join("queue.log"))?;
        // From here on the queue's process ends with this value, also if the gateway does not start.
        let mut server = Self { children: vec![queue], address, metrics_address };
        let gateway = role("gateway", &server.address, "gateway")?;
        server.children.insert(0, start(gateway, &directory.join("gateway.log"))?);
        Ok(server)
    }

    /// The bare durable reference, with its file in `directory`.
    pub fn reference(directory: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "--reference", &address, "--work-dir"]).arg(directory);
        let child = start(command, &directory.join("reference.log"))?;
        Ok(Self { children: vec![child], metrics_address: address.clone(), address })
    }

    /// Where the generator connects.
    pub fn target(&self) -> Target {
        Target::new(&self.address)
    }

    /// Where the store's metrics are.
    pub fn metrics(&self) -> Target {
        Target::new(&self.metrics_address)
    }

    /// The id of its process, where it is one.
    pub fn process(&self) -> anyhow::Result<u32> {
        Ok(self.children.first().context("it has a process")?.id())
    }

    /// The ids of its processes and all below them.
    pub fn processes(&self) -> Vec<u32> {
        let mut found: Vec<u32> = self.children.iter().map(Child::id).collect();
        let mut next = 0;
        while let Some(pid) = found.get(next).copied() {
            found.extend(usage::children(pid));
            next += 1;
        }
        found
    }

    /// Memory that is resident now, in MiB, over all of its processes.
    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        self.children.iter().map(|child| Ok(usage::resident_mib(child.id())?.0)).sum()
    }

    /// Stops it as an operator does, and waits until it is gone.
    pub fn stop(mut self) -> anyhow::Result<()> {
        for child in &mut self.children {
            kill_process(Pid::from_child(child), Signal::TERM)?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts it and returns when it says that it is ready.
fn start(mut command: Command, log: &Path) -> anyhow::Result<Child> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(log)?)
        .spawn()
        .context("start it")?;
    let output = child.stdout.take().context("its output is piped")?;
    for line in BufReader::new(output).lines() {
        if line?.ends_with("Ready.") {
            return Ok(child);
        }
    }
    child.wait()?;
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let end: Vec<&str> = log.lines().rev().take(3).collect();
    bail!("it ended before it was ready: {}", end.into_iter().rev().collect::<Vec<_>>().join(" / "))
}

fn free_address() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// How long starting took.
pub fn timed<T>(start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Duration)> {
    let began = Instant::now();
    Ok((start()?, began.elapsed()))
}
