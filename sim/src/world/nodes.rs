//! Nodes that share the store: where they are, and what happens to them. A node that is *stopped* does nothing at all until
//! it goes on, and then knows by its clock how long that was; one that is *cut off* reaches the store no more.

use std::time::Duration;

use lambfold_queue::QueueHandle;
use lambfold_types::Clock;

use crate::executor::Process;
use crate::ledger::Check;
use crate::network::Peer;
use crate::store::LEASE;

use super::World;
use super::process::Node;

/// Tasks have no more turns than this before time goes on.
const TURNS_IN_A_MOMENT: usize = 2_000;

/// A place for a process, at an address.
pub(super) struct Slot {
    pub(super) address: String,
    pub(super) node: Option<Node>,
    /// What is the matter with it, for so many actions more: it is not there, stopped or cut off.
    trouble: usize,
}

impl Slot {
    pub(super) fn new(number: usize) -> Self {
        Self { address: format!("node-{number}"), node: None, trouble: 0 }
    }
}

impl World {
    /// Whether there are several nodes.
    pub(super) fn is_cluster(&self) -> bool {
        self.slots.len() > 1
    }

    /// A process as its clients and other nodes reach it.
    pub(super) fn peer(&self, process: Process, handle: QueueHandle) -> Peer {
        Peer { handle, spawn: self.executor.spawner(process), clock: self.clock.clone() }
    }

    /// Whether a task is of a node that is stopped.
    pub(super) fn is_stopped(&self, task: u64) -> bool {
        let process = self.executor.process(task);
        let mut nodes = self.slots.iter().filter_map(|slot| slot.node.as_ref());
        nodes.any(|node| node.stopped && Some(node.process) == process)
    }

    /// Something happens to a node, for a while.
    pub(super) fn node_misfortune(&mut self) -> Check {
        let slot = self.dice.below(self.slots.len());
        if self.slots[slot].trouble > 0 {
            return Ok(());
        }
        let Some(node) = &mut self.slots[slot].node else { return Ok(()) };
        let process = node.process;
        match self.dice.below(6) {
            0 => return self.stop_gracefully(slot),
            1 => {
                self.history.note(format_args!("p{process} is cut off from the store"));
                node.connection.cut_off(true);
            }
            2 | 3 => {
                self.history.note("crash");
                self.crash(slot);
            }
            _ => {
                self.history.note(format_args!("p{process} is stopped"));
                node.stopped = true;
            }
        }
        self.slots[slot].trouble = 5 + self.dice.below(150);
        if self.dice.one_in(2) { self.live(LEASE + Duration::from_secs(1)) } else { Ok(()) }
    }

    /// Troubles end by and by.
    pub(super) fn get_better(&mut self) -> Check {
        for slot in 0..self.slots.len() {
            let trouble = &mut self.slots[slot].trouble;
            if *trouble > 0 {
                *trouble -= 1;
                if *trouble == 0 {
                    self.recover(slot)?;
                }
            }
        }
        Ok(())
    }

    /// All is well with all nodes.
    pub(super) fn recover_all(&mut self) -> Check {
        (0..self.slots.len()).try_for_each(|slot| self.recover(slot))
    }

    fn recover(&mut self, slot: usize) -> Check {
        self.slots[slot].trouble = 0;
        let Some(node) = &mut self.slots[slot].node else { return self.boot(slot) };
        if node.stopped {
            self.history.note(format_args!("p{} goes on", node.process));
            node.stopped = false;
        }
        if node.connection.is_cut_off() {
            self.history.note(format_args!("p{} reaches the store again", node.process));
            node.connection.cut_off(false);
        }
        Ok(())
    }

    /// A node that died in a call to the store is missed for a while; a lone process is replaced at once.
    pub(super) fn mourn(&mut self) -> Check {
        for slot in 0..self.slots.len() {
            if self.slots[slot].node.as_ref().is_some_and(|node| node.connection.is_dead()) {
                self.history.note("crash in a call to the store");
                self.crash(slot);
                if !self.is_cluster() {
                    return self.boot(slot);
                }
                self.slots[slot].trouble = 1 + self.dice.below(100);
            }
        }
        Ok(())
    }

    /// Much time passes: at a leap, or with everybody at work meanwhile.
    pub(super) fn long_pass(&mut self) -> Check {
        if !self.is_cluster() {
            let seconds = self.dice.pick(&[1, 1, 5, 30, 61, 150, 301]);
            self.pass(Duration::from_secs(seconds));
            return Ok(());
        }
        let seconds = self.dice.pick(&[1, 1, 2, 3, 5, 8, 31]);
        if self.dice.one_in(6) {
            let seconds = self.dice.pick(&[seconds, 150, 301]);
            self.pass(Duration::from_secs(seconds));
            return Ok(());
        }
        self.live(Duration::from_secs(seconds))
    }

    /// Time passes, and whoever can do something does it in time.
    pub(super) fn live(&mut self, time: Duration) -> Check {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            let next = self.clock.next_deadline().unwrap_or(end).min(end);
            let step = next.since(self.clock.now());
            self.pass(step.max(Duration::from_millis(1)));
            for _ in 0..TURNS_IN_A_MOMENT {
                let awake = self.awake();
                if awake.is_empty() {
                    break;
                }
                let task = self.dice.pick(&awake);
                self.turn(task)?;
            }
        }
        Ok(())
    }
}
