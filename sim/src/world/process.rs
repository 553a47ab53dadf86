//! Processes: their start, their crash, and those that do not know that they have been replaced.

use std::sync::Arc;

use lambfold_clock::SeededEntropy;
use lambfold_queue::store::StoreError;
use lambfold_queue::{Member, QueueHandle, QueueService};
use lambfold_types::PlainSealer;
use tokio_util::sync::CancellationToken;

use crate::executor::Process;
use crate::ledger::Check;
use crate::store::Connection;

use super::{TURNS, World};

/// A process that clients talk to.
pub(super) struct Node {
    pub(super) process: Process,
    pub(super) connection: Arc<Connection>,
    pub(super) handle: QueueHandle,
    /// Whether it is stopped, and does nothing until it goes on.
    pub(super) stopped: bool,
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
    pub(super) fn boot(&mut self, slot: usize) -> Check {
        let address = self.slots[slot].address.clone();
        for _ in 0..TURNS {
            self.processes += 1;
            let process = self.processes;
            let connection = Connection::new(process, &self.disk, self.is_cluster());
            let Ok(service) = self.build(process, &connection, &address) else { continue };
            if connection.is_dead() {
                continue;
            }
            self.history.note(format_args!("process {process} starts at {address}"));
            let handle = service.handle();
            let key = handle.mac_keys().signing().clone();
            if self.key.get_or_insert_with(|| key.clone()) != &key {
                return Err("the key of receipt handles has changed".to_owned());
            }
            let shutdown = CancellationToken::new();
            let run = self.executor.spawn(process, "service", service.run(shutdown.clone()));
            self.network.listens(&address, self.peer(process, handle.clone()));
            self.slots[slot].node = Some(Node { process, connection, handle, stopped: false, shutdown, run });
            return self.find_if_alone();
        }
        Err("no process can be started".to_owned())
    }

    fn build(
        &self,
        process: Process,
        connection: &Arc<Connection>,
        address: &str,
    ) -> Result<QueueService, StoreError> {
        let spawn = self.executor.spawner(process);
        let (options, clock) = (self.options.clone(), Arc::new(self.clock.clone()));
        let store = Arc::<Connection>::clone(connection);
        let seed = self.seed.wrapping_mul(1_000_003) + u64::from(process);
        let (entropy, sealer) = (Arc::new(SeededEntropy::new(seed)), Arc::new(PlainSealer));
        let member = self
            .is_cluster()
            .then(|| Member { address: address.to_owned(), carrier: Arc::new(self.network.clone()) });
        QueueService::build_on(spawn, options, store, clock, entropy, sealer, member)
    }

    /// A process that is the only one knows all queues that there are.
    pub(super) fn find_if_alone(&mut self) -> Check {
        if self.is_cluster() { Ok(()) } else { self.find_queues(0) }
    }

    /// Makes the ledger know the queues that clients of a process can call. A node need not know of all at once.
    pub(super) fn meet_queues(&mut self, slot: usize) -> Check {
        for (family, queue) in self.existing(slot) {
            self.ledger.know_queue(&queue, family);
        }
        self.find_if_alone()
    }

    /// Compares the queues that exist with those that must.
    pub(super) fn find_queues(&mut self, slot: usize) -> Check {
        let existing = self.existing(slot);
        let Some(node) = &self.slots[slot].node else { return Ok(()) };
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

    /// A process is killed where it stands, with all calls that it had.
    pub(super) fn crash(&mut self, slot: usize) {
        if let Some(node) = self.slots[slot].node.take() {
            node.connection.die();
            self.network.is_gone(&self.slots[slot].address);
            self.forget_calls(node.process);
            self.executor.kill(node.process);
            for shard in self.disk.state().owners.of(node.process) {
                self.ledger.owner_is_gone(shard);
            }
        }
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
        if self.is_cluster() {
            return self.node_misfortune();
        }
        match self.dice.below(4) {
            0 => self.stop_gracefully(0),
            1 => self.take_over(),
            _ => {
                self.history.note("crash");
                self.crash(0);
                self.boot(0)
            }
        }
    }

    /// A process is told to stop, and does.
    pub(super) fn stop_gracefully(&mut self, slot: usize) -> Check {
        // It may have to wait for another one.
        self.recover_all()?;
        let Some(node) = &self.slots[slot].node else { return Ok(()) };
        let (process, run) = (node.process, node.run);
        self.history.note(format_args!("process {process} is told to stop"));
        node.shutdown.cancel();
        for _ in 0..TURNS {
            // It may crash while it stops.
            if self.slots[slot].node.as_ref().is_none_or(|node| node.process != process) {
                return Ok(());
            }
            let mut ready = self.executor.ready();
            if ready.is_empty() && !self.executor.is_running(run) {
                // Who asked has been answered, unless another node has not yet.
                let asked = self.calls.iter().find(|(_, call)| call.process == process);
                if let Some((number, _)) = asked.filter(|_| !self.is_cluster()) {
                    return Err(format!("call {number} was never answered by a process that stopped"));
                }
                self.crash(slot);
                return self.boot(slot);
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
        let Some(node) = &self.slots[0].node else { return Ok(()) };
        let moves = |queue: &lambfold_queue::Queue| {
            node.handle.known_moves(queue).iter().any(|it| it.status.is_active())
        };
        let is_moving = self.existing(0).iter().any(|(_, queue)| moves(queue));
        if is_moving || self.calls.values().any(|call| call.call.is_of_directory()) {
            return Ok(());
        }
        self.bury();
        if let Some(node) = self.slots[0].node.take() {
            self.history.note(format_args!("process {} is replaced, and goes on", node.process));
            node.connection.is_replaced();
            self.zombie = Some(Zombie { process: node.process, connection: node.connection });
        }
        self.boot(0)
    }
}
