//! The spawner's loop: requests of the worker, reports of the inits, ends of processes.

use std::collections::{HashMap, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::net::SendFlags;
use rustix::process::{Signal, WaitOptions, pidfd_send_signal, waitpid};

use super::cgroup::{Cgroups, Group};
use super::ground::Ground;
use super::init::{Order, Report};
use super::launch::{self, Launched};
use super::process_tree;
use super::sandbox::{Limits, Outputs, Phase, Sandbox, Waiting};
use super::step::Step;
use super::sys::{self, Child};
use crate::protocol::{Call, Failure, Message, Reply, Request};
use crate::{Assignment, Exit, ExitStatus, ProgramEnd, SandboxTemplate, packet};

/// How often memory is looked at, and leftovers are tried again. (The kernel can ring when a control group passes a size,
/// but to set that bell takes version 1 a grace period, ten times what starting a function takes.)
const TICK: Duration = Duration::from_millis(100);

/// Sockets that may be asked of one sandbox at once: one for each extension.
const MOST_SOCKETS: usize = 16;

/// What an event is about: the worker's socket; or a sandbox's number times [`KINDS`], plus nothing for its init's socket
/// and one for its init's end.
const WORKER: u64 = u64::MAX;
const KINDS: u64 = 2;
const SOCKET: u64 = 0;

pub(super) struct Server {
    pub(super) worker: OwnedFd,
    pub(super) ground: Ground,
    pub(super) cgroups: Cgroups,
    events: OwnedFd,
    sandboxes: HashMap<u64, Sandbox>,
    last_sandbox: u64,
    slots: u32,
    free_slots: Vec<u32>,
    /// Groups that were still busy when their last process had been reaped.
    busy_groups: Vec<Group>,
    /// Processes that delete directories.
    sweepers: Vec<Child>,
    last_tick: Instant,
}

impl Server {
    pub(super) fn new(
        worker: OwnedFd,
        ground: Ground,
        cgroups: Cgroups,
        slots: u32,
    ) -> Result<Self, Failure> {
        let events = epoll::create(epoll::CreateFlags::CLOEXEC).step("make an epoll")?;
        epoll::add(&events, &worker, epoll::EventData::new_u64(WORKER), epoll::EventFlags::IN)
            .step("watch the worker")?;
        Ok(Self {
            worker,
            ground,
            cgroups,
            events,
            sandboxes: HashMap::new(),
            last_sandbox: 0,
            slots,
            free_slots: (0..slots).rev().collect(),
            busy_groups: Vec::new(),
            sweepers: Vec::new(),
            last_tick: Instant::now(),
        })
    }

    /// Serves until the worker closes its socket or asks for the end, then cleans up.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        let mut last_call = None;
        while last_call.is_none() {
            let mut room = [MaybeUninit::uninit(); 64];
            let tick = self.needs_tick().then_some(Timespec { tv_sec: 0, tv_nsec: 100_000_000 });
            let ready: Vec<u64> = match epoll::wait(&self.events, &mut room, tick.as_ref()) {
                Ok((events, _)) => events.iter().map(|event| event.data.u64()).collect(),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error).step("wait for events"),
            };
            for token in ready {
                if token == WORKER {
                    match packet::receive::<Call>(&self.worker) {
                        Ok(Some((call, _))) if matches!(call.request, Request::Shutdown) => {
                            last_call = Some(Some(call.number));
                        }
                        Ok(Some((call, _))) => self.serve(call),
                        Ok(None) => last_call = Some(None),
                        Err(error) => {
                            eprintln!("lambfold spawner: a request cannot be read: {error}");
                            last_call = Some(None);
                        }
                    }
                    continue;
                }
                let sandbox = token / KINDS;
                if token % KINDS == SOCKET {
                    self.hear(sandbox);
                } else {
                    self.bury(sandbox);
                }
            }
            if self.needs_tick() && self.last_tick.elapsed() >= TICK {
                self.tick();
            }
        }
        self.end();
        if let Some(Some(number)) = last_call {
            self.reply(number, Ok(Reply::Done), &[]);
        }
        Ok(())
    }

    fn serve(&mut self, call: Call) {
        let number = call.number;
        let result = match call.request {
            Request::Start(_) | Request::Shutdown => Err(Failure::Invalid("already started".to_owned())),
            Request::Prepare(template) => match self.prepare(number, &template) {
                Ok(()) => return,
                Err(failure) => Err(failure),
            },
            Request::Assign { sandbox, assignment } => match self.assign(number, sandbox, assignment) {
                Ok(()) => return,
                Err(failure) => {
                    self.kill(sandbox);
                    Err(failure)
                }
            },
            Request::StartCommand { sandbox } => match self.start_command(number, sandbox) {
                Ok(()) => return,
                Err(failure) => Err(failure),
            },
            Request::Signal { sandbox, program, signal } => {
                if let Some(known) = self.sandboxes.get(&sandbox) {
                    // An init that does not hear any more has nothing left to signal.
                    let order = Order::Signal { program, signal };
                    let _ = packet::send(&known.socket, &order, &[], SendFlags::empty());
                }
                return;
            }
            Request::Stop { sandbox, stop } => {
                if let Some(known) = self.sandboxes.get(&sandbox) {
                    let _ = packet::send(&known.socket, &Order::Stop(stop), &[], SendFlags::empty());
                }
                return;
            }
            Request::Socket { sandbox } => match self.socket(number, sandbox) {
                Ok(()) => return,
                Err(failure) => Err(failure),
            },
            Request::Kill { sandbox } => {
                self.kill(sandbox);
                return;
            }
            Request::SetCpu { sandbox, millis } => match self.sandboxes.get(&sandbox) {
                Some(_) => self.cgroups.set_cpu(&sandbox.to_string(), millis).map(|()| Reply::Done),
                None => Err(Failure::Gone),
            },
            Request::MemoryPeak { sandbox } => match self.sandboxes.get_mut(&sandbox) {
                Some(known) => {
                    let peak = known.memory_peak_now(&self.ground, &self.cgroups, sandbox);
                    Ok(Reply::MemoryPeak { peak, tmp_used: known.tmp_peak > 0 })
                }
                None => Err(Failure::Gone),
            },
        };
        self.reply(number, result, &[]);
    }

    fn reply(&self, number: u64, result: Result<Reply, Failure>, descriptors: &[BorrowedFd<'_>]) {
        self.tell(&Message::Reply { number, result }, descriptors);
    }

    fn tell(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) {
        // If the worker has gone the loop sees it next.
        let _ = packet::send(&self.worker, message, descriptors, SendFlags::empty());
    }

    fn prepare(&mut self, number: u64, template: &SandboxTemplate) -> Result<(), Failure> {
        let Some(slot) = self.free_slots.pop() else { return Err(Failure::NoFreeSlot { slots: self.slots }) };
        self.last_sandbox += 1;
        let sandbox = self.last_sandbox;
        let launched = launch::launch(&self.ground, &self.cgroups, template, sandbox, slot);
        let Launched { init, socket, group, output } = match launched {
            Ok(launched) => launched,
            Err(failure) => {
                self.free_slots.push(slot);
                return Err(failure);
            }
        };
        let watched = rustix::io::ioctl_fionbio(&socket, true)
            .step("make a socket non-blocking")
            .and_then(|()| self.watch(&socket, sandbox * KINDS + SOCKET))
            .and_then(|()| self.watch(&init.pidfd, sandbox * KINDS + 1));
        let waiting = output.zip(template.waiting.as_ref()).map(|(output, program)| Waiting {
            output,
            open_files: program.open_files,
            processes: program.processes,
        });
        self.sandboxes.insert(
            sandbox,
            Sandbox {
                slot,
                init,
                socket,
                group,
                phase: Phase::Preparing(number),
                has_image: template.image_root.is_some(),
                waiting,
                starting: None,
                sockets: VecDeque::new(),
                status: None,
                failure: None,
                over_memory: false,
                watched_peak: 0,
                own_peak: 0,
                tmp_peak: 0,
                memory_now: None,
            },
        );
        if let Err(failure) = watched {
            // Not seen by the loop, so ended here; `bury` answers the call.
            if let Some(known) = self.sandboxes.get_mut(&sandbox) {
                known.failure = Some(failure);
            }
            self.kill(sandbox);
            self.bury(sandbox);
        }
        Ok(())
    }

    fn watch(&self, fd: &OwnedFd, token: u64) -> Result<(), Failure> {
        epoll::add(&self.events, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
            .step("watch a sandbox")
    }

    fn assign(&mut self, number: u64, sandbox: u64, assignment: Assignment) -> Result<(), Failure> {
        let Some(known) = self.sandboxes.get_mut(&sandbox) else { return Err(Failure::Gone) };
        if !matches!(known.phase, Phase::Prepared) {
            return Err(Failure::Invalid("the sandbox has an assignment already".to_owned()));
        }
        launch::check(&assignment)?;
        if let Some(waiting) = &known.waiting {
            waiting.check(&assignment)?;
        }
        let limits =
            Limits { memory_bytes: u64::from(assignment.memory_mb) << 20, tasks: assignment.processes };
        let name = sandbox.to_string();
        let tmp_mb = if self.ground.separate() { assignment.ephemeral_storage_mb } else { 0 };
        self.cgroups.limit(&name, assignment.memory_mb, tmp_mb, assignment.processes)?;
        known.memory_now = self.cgroups.memory_now_file(&name);
        let outputs = if let Some(waiting) = known.waiting.take() {
            launch::start(&self.ground, &known.socket, sandbox, assignment, &[], false)?;
            Outputs { command: waiting.output, companions: None }
        } else {
            let (command, output) = launch::output_pipe()?;
            let (mut companions, mut theirs) = (None, vec![output]);
            if !assignment.companions.commands.is_empty() {
                let (reader, output) = launch::output_pipe()?;
                companions = Some(reader);
                theirs.push(output);
            }
            let has_image = known.has_image;
            launch::start(&self.ground, &known.socket, sandbox, assignment, &theirs, has_image)?;
            Outputs { command, companions }
        };
        known.phase = Phase::Assigning(number, outputs, limits);
        Ok(())
    }

    fn socket(&mut self, number: u64, sandbox: u64) -> Result<(), Failure> {
        let Some(known) = self.sandboxes.get_mut(&sandbox) else { return Err(Failure::Gone) };
        if !matches!(known.phase, Phase::Running(_)) || known.sockets.len() >= MOST_SOCKETS {
            return Err(Failure::Invalid("the sandbox makes no socket now".to_owned()));
        }
        packet::send(&known.socket, &Order::Socket, &[], SendFlags::empty()).step("tell init")?;
        known.sockets.push_back(number);
        Ok(())
    }

    fn start_command(&mut self, number: u64, sandbox: u64) -> Result<(), Failure> {
        let Some(known) = self.sandboxes.get_mut(&sandbox) else { return Err(Failure::Gone) };
        if !matches!(known.phase, Phase::Running(_)) || known.starting.is_some() {
            return Err(Failure::Invalid("no command waits to be started".to_owned()));
        }
        packet::send(&known.socket, &Order::StartCommand, &[], SendFlags::empty()).step("tell init")?;
        known.starting = Some(number);
        Ok(())
    }

    fn kill(&mut self, sandbox: u64) {
        let Some(known) = self.sandboxes.get(&sandbox) else { return };
        if !self.ground.separate() {
            process_tree::kill_descendants(known.init.pid);
        }
        // It may have ended by itself already.
        let _ = pidfd_send_signal(&known.init.pidfd, Signal::KILL);
        self.cgroups.let_die(&sandbox.to_string());
    }

    /// Takes a report of an init. False if there is none.
    fn hear(&mut self, sandbox: u64) -> bool {
        let Some(known) = self.sandboxes.get_mut(&sandbox) else { return false };
        let (report, descriptors) = match packet::receive::<Report>(&known.socket) {
            Ok(Some(received)) => received,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Ok(None) | Err(_) => {
                // Its end, which the pidfd tells too. The socket would be readable for ever.
                let _ = epoll::delete(&self.events, &known.socket);
                return false;
            }
        };
        match report {
            Report::Built { addresses, network } => {
                let Phase::Preparing(number) = known.phase else { return true };
                known.phase = Phase::Prepared;
                let (freeze, file) = self.cgroups.freeze_file(&sandbox.to_string()).unzip();
                let file = file.map(OwnedFd::from);
                let all: Vec<BorrowedFd<'_>> = descriptors.iter().chain(&file).map(AsFd::as_fd).collect();
                let reply = Reply::Prepared {
                    sandbox,
                    addresses,
                    network,
                    host_tmp_dir: (!self.ground.separate())
                        .then(|| self.ground.slot_dir(sandbox).join("tmp")),
                    freeze,
                };
                self.reply(number, Ok(reply), &all);
            }
            Report::Started => {
                let Phase::Assigning(_, _, limits) = known.phase else { return true };
                let before = std::mem::replace(&mut known.phase, Phase::Running(limits));
                let Phase::Assigning(number, Outputs { command, companions }, _) = before else {
                    return true;
                };
                let peak = self.cgroups.memory_peak_file(&sandbox.to_string()).map(OwnedFd::from);
                let all = [&command].into_iter().chain(&companions).chain(&peak);
                let all: Vec<BorrowedFd<'_>> = all.map(AsFd::as_fd).collect();
                let reply = Reply::Assigned { companions: companions.is_some(), memory_peak: peak.is_some() };
                self.reply(number, Ok(reply), &all);
            }
            Report::CommandStarted(result) => {
                if let Some(number) = known.starting.take() {
                    self.reply(number, result.map(|()| Reply::Done), &[]);
                }
            }
            Report::Socket(result) => {
                if let Some(number) = known.sockets.pop_front() {
                    let all: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
                    self.reply(number, result.map(|()| Reply::Socket), &all);
                }
            }
            Report::ProgramEnded { program, status } => {
                let oom = known.over_memory || self.cgroups.killed_for_memory(&sandbox.to_string());
                let memory_peak = known.memory_peak_now(&self.ground, &self.cgroups, sandbox);
                let end = ProgramEnd { program, exit: Exit { status, oom, memory_peak } };
                self.tell(&Message::ProgramEnded { sandbox, end }, &[]);
            }
            Report::Failed(failure) => known.failure = Some(failure),
            Report::Exited { status, largest, in_tmp } => {
                known.status = Some(status);
                known.tmp_peak = known.tmp_peak.max(in_tmp);
                known.watched_peak = known.watched_peak.max(largest);
            }
        }
        true
    }

    /// Takes leave of a sandbox whose init has ended, and with it all that was in it.
    fn bury(&mut self, sandbox: u64) {
        if let Some(known) = self.sandboxes.get(&sandbox) {
            let _ = waitpid(Some(known.init.pid), WaitOptions::empty());
        }
        // What it said last may not have been read yet.
        while self.hear(sandbox) {}
        let Some(mut known) = self.sandboxes.remove(&sandbox) else { return };
        // Closing a descriptor takes it out of the epoll only if no fork still has a copy.
        let _ = epoll::delete(&self.events, &known.socket);
        let _ = epoll::delete(&self.events, &known.init.pidfd);
        if !self.ground.separate() {
            self.kill_orphans();
        }

        for number in known.starting.take().into_iter().chain(known.sockets.drain(..)) {
            self.reply(number, Err(Failure::Gone), &[]);
        }
        let name = sandbox.to_string();
        let memory_peak = known.memory_peak(&self.cgroups, sandbox);
        match known.phase {
            Phase::Preparing(number) | Phase::Assigning(number, ..) => {
                let failure = match (known.failure.unwrap_or(Failure::Gone), &known.waiting) {
                    (Failure::Setup(text), Some(waiting)) => {
                        Failure::Setup(format!("{text} ({})", waiting.last_words()))
                    }
                    (failure, _) => failure,
                };
                self.reply(number, Err(failure), &[]);
            }
            Phase::Prepared | Phase::Running(_) => {
                let oom = known.over_memory || self.cgroups.killed_for_memory(&name);
                let status = known.status.unwrap_or(ExitStatus::Signal(9));
                self.tell(&Message::Exited { sandbox, exit: Exit { status, oom, memory_peak } }, &[]);
            }
        }

        self.free_slots.push(known.slot);
        if !known.group.remove() {
            self.busy_groups.push(known.group);
        }
        if !self.ground.separate() {
            self.delete_directory(sandbox);
        }
    }

    /// Without pid namespaces, what an init that was killed has left comes to this process.
    fn kill_orphans(&self) {
        let known = |pid| {
            self.sandboxes.values().any(|sandbox| sandbox.init.pid == pid)
                || self.sweepers.iter().any(|sweeper| sweeper.pid == pid)
        };
        for orphan in process_tree::children(rustix::process::getpid()) {
            if !known(orphan) {
                process_tree::kill_descendants(orphan);
                let _ = rustix::process::kill_process(orphan, Signal::KILL);
                let _ = waitpid(Some(orphan), WaitOptions::empty());
            }
        }
    }

    /// In a process of its own: there may be gigabytes in it.
    fn delete_directory(&mut self, sandbox: u64) {
        let directory = self.ground.slot_dir(sandbox);
        match sys::fork(0, || i32::from(std::fs::remove_dir_all(&directory).is_err())) {
            Ok(sweeper) => self.sweepers.push(sweeper),
            Err(_) => {
                let _ = std::fs::remove_dir_all(&directory);
            }
        }
    }

    fn needs_tick(&self) -> bool {
        !self.busy_groups.is_empty()
            || !self.sweepers.is_empty()
            || self.sandboxes.values().any(|known| matches!(known.phase, Phase::Running(_)))
    }

    fn tick(&mut self) {
        self.last_tick = Instant::now();
        self.busy_groups.retain(|group| !group.remove());
        self.sweepers.retain(|sweeper| matches!(waitpid(Some(sweeper.pid), WaitOptions::NOHANG), Ok(None)));
        let mut over = Vec::new();
        for (sandbox, known) in &mut self.sandboxes {
            let Phase::Running(limits) = known.phase else { continue };
            let within = if self.cgroups.limits_memory() {
                known.look_at_group(&self.ground, &self.cgroups, *sandbox, limits)
            } else {
                known.look_at_processes(&self.cgroups, limits)
            };
            if !within {
                over.push(*sandbox);
            }
        }
        for sandbox in over {
            self.kill(sandbox);
        }
    }

    /// Leaves nothing behind.
    fn end(&mut self) {
        let all: Vec<u64> = self.sandboxes.keys().copied().collect();
        for sandbox in &all {
            self.kill(*sandbox);
        }
        for sandbox in all {
            self.bury(sandbox);
        }
        for sweeper in self.sweepers.drain(..) {
            let _ = waitpid(Some(sweeper.pid), WaitOptions::empty());
        }
        self.cgroups.remove();
    }
}
