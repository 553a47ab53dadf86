//! Processes: their start, their crash, and those that do not know that they have been replaced.

use std::sync::Arc;

use lambfold_clock::SeededEntropy;
use lambfold_queue::{QueueHandle, QueueService};
use lambfold_types::PlainSealer;
use tokio_util::sync::CancellationToken;

use crate::executor::Process;
use crate::ledger::Check;
use crate::store::Connection;

use super::{TURNS, World};

/// The process that clients talk to.
pub(super) struct Node {
    pub(super) process: Process,
    pub(super) connection: Arc<Connection>,
    pub(super) handle: QueueHandle,
    shutdown: CancellationToken,
    run: u64,
}

/// A process that was replaced and goes on for a while.
pub(super) struct Zombie {
    pub(super) process: Process,
    pub(super) connection: Arc<Connection>,
}

impl World {
    /// Starts a process over what the disk holds.
    pub(super) fn boot(&mut self) -> Check {
        for _ in 0..TURNS {
            self.processes += 1;
            let process = self.processes;
            let connection = Connection::new(process, &self.disk);
            let seed = self.seed.wrapping_mul(1_000_003) + u64::from(process);
            let service = QueueService::build_on(
                self.executor.spawner(process),
                self.options.clone(),
                Arc::<Connection>::clone(&connection),
                Arc::new(self.clock.clone()),
                Arc::new(SeededEntropy::new(seed)),
                Arc::new(PlainSealer),
            );
            let Ok(service) = service else { continue };
            if connection.is_dead() {
                continue;
            }
            self.history.note(format_args!("process {process} starts"));
            let handle = service.handle();
            let key = handle.mac_keys().signing().clone();
            if self.key.get_or_insert_with(|| key.clone()) != &key {
                return Err("the key of receipt handles has changed".to_owned());
            }
            let shutdown = CancellationToken::new();
            let run = self.executor.spawn(process, "service", service.run(shutdown.clone()));
            self.disk.state().faults = 0;
            self.ledger.doubt_receives();
            self.node = Some(Node { process, connection, handle, shutdown, run });
            return self.find_queues();
        }
        Err("no process can be started".to_owned())
    }

    /// Compares the queues that exist with those that must.
    pub(super) fn find_queues(&mut self) -> Check {
        let existing = self.existing();
        let Some(node) = &self.node else { return Ok(()) };
        for (family, queue) in &existing {
            self.ledger.know_queue(queue, *family);
            if self.ledger.queues[&queue.incarnation()].is_gone {
                return Err(format!("{queue:?} exists although it was deleted"));
            }
            if node.handle.known_moves(queue).iter().any(|task| task.status.is_active()) {
                self.ledger.start_moving(queue.incarnation());
            }
        }
        let is_there =
            |incarnation: &u64| existing.iter().any(|(_, queue)| queue.incarnation() == *incarnation);
        let lost = self.ledger.queues.iter().filter(|(number, queue)| !queue.is_gone && !is_there(number));
        for (number, is_doubtful) in
            lost.map(|(number, queue)| (*number, queue.is_doubtful)).collect::<Vec<_>>()
        {
            if !is_doubtful {
                return Err(format!("the queue {number} is lost"));
            }
            self.ledger.queue_is_gone(number);
        }
        Ok(())
    }

    /// The process is killed where it stands, with all calls that it had.
    pub(super) fn crash(&mut self) {
        if let Some(node) = self.node.take() {
            node.connection.die();
            self.forget_calls(node.process);
            self.executor.kill(node.process);
            self.ledger.doubt_receives();
        }
        self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    pub(super) fn bury(&mut self) {
        if let Some(zombie) = self.zombie.take() {
            self.history.note(format_args!("process {} is gone for good", zombie.process));
            zombie.connection.die();
            self.forget_calls(zombie.process);
            self.executor.kill(zombie.process);
        }
    }

    /// Nobody waits any longer for what a process may answer.
    pub(super) fn forget_calls(&mut self, process: Process) {
        let calls = self.calls.iter().filter(|(_, call)| call.process == process);
        for number in calls.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.drop_call(number);
        }
    }

    /// The process is replaced, one way or another.
    pub(super) fn misfortune(&mut self) -> Check {
        match self.dice.below(4) {
            0 => self.stop_gracefully(),
            1 => self.take_over(),
            _ => {
                self.history.note("crash");
                self.crash();
                self.boot()
            }
        }
    }

    /// The process is told to stop, and does.
    fn stop_gracefully(&mut self) -> Check {
        let Some(node) = &self.node else { return Ok(()) };
        let (process, run) = (node.process, node.run);
        self.history.note(format_args!("process {process} is told to stop"));
        node.shutdown.cancel();
        for _ in 0..TURNS {
            // It may crash while it stops.
            if self.node.as_ref().is_none_or(|node| node.process != process) {
                return Ok(());
            }
            let mut ready = self.executor.ready();
            if ready.is_empty() && !self.executor.is_running(run) {
                // Who asked has been answered.
                if let Some((number, _)) = self.calls.iter().find(|(_, call)| call.process == process) {
                    return Err(format!("call {number} was never answered by a process that stopped"));
                }
                self.crash();
                return self.boot();
            }
            if ready.is_empty() {
                let next = self.clock.next_deadline().ok_or("a process does not stop")?;
                let time = next.since(lambfold_types::Clock::now(&self.clock));
                self.pass(time);
                ready = self.executor.ready();
            }
            if !ready.is_empty() {
                let task = self.dice.pick(&ready);
                self.turn(task)?;
            }
        }
        Err("a process does not stop".to_owned())
    }

    /// Another process takes over while this one lives on and knows nothing of it. The fence is around messages only: a
    /// process that changes queues would not be held off.
    fn take_over(&mut self) -> Check {
        let Some(node) = &self.node else { return Ok(()) };
        let moves = |queue: &lambfold_queue::Queue| {
            node.handle.known_moves(queue).iter().any(|it| it.status.is_active())
        };
        let is_moving = self.existing().iter().any(|(_, queue)| moves(queue));
        if is_moving || self.calls.values().any(|call| call.call.is_of_directory()) {
            return Ok(());
        }
        self.bury();
        if let Some(node) = self.node.take() {
            self.history.note(format_args!("process {} is replaced, and goes on", node.process));
            node.connection.is_replaced();
            self.zombie = Some(Zombie { process: node.process, connection: node.connection });
        }
        self.boot()
    }
}
