//! What a client does next.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lambfold_queue::{
    DeduplicationScope, NewMessage, NewQueue, Queue, QueueKind, QueueProperties, QueueSettings,
    ReceiveParams, Redrive, SystemAttributes,
};
use lambfold_types::{Clock, QueueName};

use crate::calls::{Call, Held};
use crate::ledger::NewEntry;

use super::{NAMES, World};

impl World {
    /// For the process in `slot`.
    pub(super) fn choose(&mut self, client: usize, slot: usize) -> Option<Call> {
        let (name, family) =
            self.dice.pick(&[NAMES[0], NAMES[0], NAMES[0], NAMES[1], NAMES[2], NAMES[2], NAMES[2], NAMES[3]]);
        let existing = self.existing(slot);
        let Some((_, queue)) = existing.iter().find(|(_, queue)| queue.name().as_str() == name) else {
            return Some(self.create(name));
        };
        let queue = queue.clone();
        match self.dice.below(1000) {
            0..300 => Some(self.send(queue, family)),
            300..660 => Some(self.receive(queue, client)),
            660..850 => {
                let held = self.some_held(&queue)?;
                Some(Call::Delete { queue, held })
            }
            850..950 => {
                let held = self.some_held(&queue)?;
                // Never what a receive asks for: the engine tells receives of one message apart by when they end, and cannot
                // if a change by an old handle in the same millisecond ends when they do.
                let millis = [0, 0, 1_777, 10_777, 60_777, 43_200_000];
                let change = |held| (held, Duration::from_millis(self.dice.pick(&millis)));
                Some(Call::Change { held: held.into_iter().map(change).collect(), queue })
            }
            950..955 => Some(Call::Purge { queue }),
            955..960 => Some(Call::DeleteQueue { queue }),
            960..975 => {
                let settings = self.settings(name);
                Some(Call::Settings { queue, settings })
            }
            975..992 => {
                let source = if self.dice.one_in(4) {
                    queue
                } else {
                    existing
                        .iter()
                        .find(|(of, it)| *of == family && it.name().as_str().contains('d'))?
                        .1
                        .clone()
                };
                let destination = match self.dice.below(3) {
                    0 => Some(if family == 0 { "s" } else { "f.fifo" }),
                    _ => None,
                };
                let destination = destination.and_then(|name| name.parse().ok());
                let destination = destination.filter(|name: &QueueName| name != source.name());
                let per_second = self.dice.one_in(2).then_some(2);
                Some(Call::StartMove { source, destination, per_second })
            }
            _ => {
                let node = self.slots[slot].node.as_ref()?;
                let tasks = existing.iter().flat_map(|(_, source)| {
                    node.handle.known_moves(source).into_iter().map(|task| (source.clone(), task))
                });
                let (source, task) = tasks.into_iter().find(|(_, task)| task.status.is_active())?;
                Some(Call::CancelMove { source, id: task.id })
            }
        }
    }

    fn create(&mut self, name: &str) -> Call {
        let kind = match (name.ends_with("fifo"), self.seed % 2) {
            (false, _) => QueueKind::Standard,
            (true, 0) => QueueKind::Fifo(DeduplicationScope::Queue),
            (true, _) => QueueKind::Fifo(DeduplicationScope::MessageGroup),
        };
        let properties = QueueProperties { settings: self.settings(name), ..QueueProperties::default() };
        Call::Create { name: name.parse().expect("a legal name"), new: NewQueue { kind, properties } }
    }

    fn settings(&mut self, name: &str) -> QueueSettings {
        let dead_letter_queue = match name {
            "s" => Some("sd"),
            "f.fifo" => Some("fd.fifo"),
            _ => None,
        };
        let redrive = dead_letter_queue.filter(|_| self.dice.one_in(2)).map(|name| Redrive {
            dead_letter_queue: name.parse().expect("a legal name"),
            max_receive_count: self.dice.pick(&[1, 2, 3]),
        });
        let retention = if self.dice.one_in(6) { 120 } else { 345_600 };
        QueueSettings {
            delay: Duration::from_secs(self.dice.pick(&[0, 0, 0, 0, 5])),
            visibility_timeout: Duration::from_secs(30),
            message_retention_period: Duration::from_secs(retention),
            receive_message_wait_time: Duration::ZERO,
            redrive,
        }
    }

    fn send(&mut self, queue: Queue, family: usize) -> Call {
        let now = self.clock.now();
        let is_fifo = queue.kind().is_fifo();
        let mut messages = Vec::new();
        let batch = Some(self.last_call + 1);
        for _ in 0..=self.dice.below(5) {
            let last = self.ledger.messages.len();
            if is_fifo && self.dice.one_in(3) && last > 0 {
                // Again, since the answer was lost, or the client is not sure of it.
                let number = last - 1 - self.dice.below(last.min(12));
                let is_here = self.ledger.messages[number].home == queue.incarnation();
                if is_here && !messages.contains(&number) && self.ledger.can_repeat(number, now) {
                    messages.push(number);
                    continue;
                }
            }
            let delay = (!is_fifo && self.dice.one_in(5)).then(|| self.dice.pick(&[0, 2, 20]));
            let entry = NewEntry {
                family,
                home: queue.incarnation(),
                group: is_fifo.then(|| self.dice.pick(&["a", "b", "c"]).to_owned()),
                deduplication_id: is_fifo.then(|| format!("d{last}")),
                delay: delay.map(Duration::from_secs),
            };
            messages.push(self.ledger.enter(entry, batch, now));
        }
        Call::Send { queue, messages }
    }

    /// A message as it is sent, the same each time.
    pub(super) fn message(&self, number: usize) -> NewMessage {
        let message = &self.ledger.messages[number];
        let mut body = format!("m{number} ");
        body.extend(std::iter::repeat_n('.', if number.is_multiple_of(2) { self.padding } else { 0 }));
        NewMessage {
            body: Bytes::from(body),
            attributes: BTreeMap::new(),
            md5_of_body: [0; 16],
            system: SystemAttributes {
                message_group_id: message.group.clone(),
                message_deduplication_id: message.deduplication_id.clone(),
                ..SystemAttributes::default()
            },
            delay: message.delay,
        }
    }

    fn receive(&mut self, queue: Queue, client: usize) -> Call {
        let seconds = |dice: &mut crate::dice::Dice, of: &[u64]| Duration::from_secs(dice.pick(of));
        let attempt_id = if queue.kind().is_fifo() && self.dice.one_in(3) {
            // The same again if the last one was not answered.
            let fresh = format!("a{}", self.last_call);
            Some(self.attempts.entry(client).or_insert(fresh).clone())
        } else {
            None
        };
        let params = ReceiveParams {
            max_messages: self.dice.pick(&[1, 1, 2, 10, 10]),
            visibility_timeout: Some(seconds(&mut self.dice, &[0, 1, 5, 30, 30, 60])),
            wait_time: Some(seconds(&mut self.dice, &[0, 0, 1, 20])),
            attempt_id,
        };
        Call::Receive { queue, params }
    }

    /// Some of the handles that clients have, old ones among them, of messages of a queue.
    fn some_held(&mut self, queue: &Queue) -> Option<Vec<Held>> {
        let of_queue: Vec<Held> =
            self.held.iter().filter(|held| held.queue == queue.incarnation()).copied().collect();
        if of_queue.is_empty() {
            return None;
        }
        let mut some: Vec<Held> = Vec::new();
        for _ in 0..=self.dice.below(4) {
            let held = self.dice.pick(&of_queue);
            if some.iter().all(|other| other.message != held.message) {
                some.push(held);
            }
        }
        Some(some)
    }
}
