//! One run: what happens next, and to whom.

mod chance;
mod end;
mod nodes;
mod process;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lambfold_queue::{CreateOutcome, MacKey, Options, Queue};
use lambfold_types::{Clock, QueueName, Scope};

use crate::Servers;
use crate::calls::{Answer, Call, Held, InFlight, perform};
use crate::clock::VirtualClock;
use crate::dice::Dice;
use crate::executor::Executor;
use crate::history::History;
use crate::ledger::{Asked, Check, Family, Ledger};
use crate::network::Network;
use crate::store::{Disk, Rates};

use self::nodes::Slot;
use self::process::Zombie;

/// The queues of a run: two families of a queue and its dead-letter queue.
const NAMES: [(&str, Family); 4] = [("s", 0), ("sd", 0), ("f.fifo", 1), ("fd.fifo", 1)];

const CLIENTS: usize = 6;

/// A run has so many rounds, after each of which all is quiet for a moment and compared.
const ROUNDS: usize = 8;
const ACTIONS: usize = 160;

/// More turns than anything takes.
const TURNS: usize = 20_000;

pub(crate) struct World {
    dice: Dice,
    clock: VirtualClock,
    history: History,
    executor: Executor,
    disk: Arc<Disk>,
    ledger: Ledger,
    options: Options,
    rates: Rates,
    /// How often the network between nodes loses something, once in so many times.
    loss: usize,
    /// How often a process is replaced, once in so many actions.
    misfortune: usize,
    padding: usize,
    /// Whether commits take long, so that much is decided in the meantime.
    slow_writer: bool,
    seed: u64,
    processes: u32,
    /// Where processes are: one, or the nodes of a cluster.
    slots: Vec<Slot>,
    network: Network,
    zombie: Option<Zombie>,
    key: Option<MacKey>,
    last_call: u64,
    calls: BTreeMap<u64, InFlight>,
    answers: Answers,
    held: Vec<Held>,
    /// Tasks that get no turn until so many more turns were taken.
    stalled: BTreeMap<u64, usize>,
    attempts: BTreeMap<usize, String>,
}

type Answers = Arc<Mutex<Vec<(u64, Answer)>>>;

impl Drop for World {
    fn drop(&mut self) {
        self.network.close();
    }
}

impl World {
    pub(crate) fn new(servers: Servers, seed: u64, history: History) -> Self {
        let mut dice = Dice::new(seed, 1);
        let few = |dice: &mut Dice, usual, few| if dice.one_in(4) { few } else { usual };
        let options = Options {
            in_flight_limit: few(&mut dice, 120_000, 5),
            recreate_cooldown: dice.one_in(4).then_some(Duration::from_mins(1)),
            purge_cooldown: dice.one_in(4).then_some(Duration::from_mins(1)),
            body_cache_bytes: few(&mut dice, 16 << 20, 0),
            indexed_messages: few(&mut dice, 2_000_000, 24),
            waiters: few(&mut dice, 10_000, 2),
            command_queue: few(&mut dice, 4096, 3),
            ..Options::default()
        };
        let rates = match dice.below(4) {
            0 => Rates::default(),
            1 => Rates { crash: 60, ..Rates::default() },
            2 => Rates { failure: 25, read_failure: 60, ..Rates::default() },
            _ => Rates { crash: 60, failure: 40, read_failure: 100, ..Rates::default() },
        };
        let (nodes, rates, misfortune) = match servers {
            Servers::One => (1, rates, dice.pick(&[0, 100, 250, 600])),
            // What fails in the store is lost sight of for a while: most runs have the nodes' own misfortunes alone.
            Servers::Nodes => {
                let rates = if dice.one_in(2) { Rates::default() } else { rates };
                let rates = Rates { crash: rates.crash * 4, renewal: dice.pick(&[0, 12, 3]), ..rates };
                (2 + dice.below(2), rates, dice.pick(&[40, 80, 160, 600]))
            }
        };
        let loss = if dice.one_in(2) { 0 } else { 12 };
        let padding = few(&mut dice, 0, 20_000);
        let slow_writer = dice.one_in(3);
        let line = format!(
            "seed {seed}: {nodes} {rates:?} loss {loss} misfortune {misfortune} padding {padding} slow {slow_writer} {options:?}"
        );
        history.note(line);
        let clock = VirtualClock::new();
        Self {
            dice,
            executor: Executor::new(),
            disk: Disk::new(seed, clock.clone(), history.clone()),
            network: Network::new(seed, history.clone()),
            clock,
            history,
            ledger: Ledger::default(),
            options,
            rates,
            misfortune,
            padding,
            slow_writer,
            seed,
            processes: 0,
            slots: (0..nodes).map(Slot::new).collect(),
            loss,
            zombie: None,
            key: None,
            last_call: 0,
            calls: BTreeMap::new(),
            answers: Arc::default(),
            held: Vec::new(),
            stalled: BTreeMap::new(),
            attempts: BTreeMap::new(),
        }
    }

    pub(crate) fn run(mut self) -> Check {
        for slot in 0..self.slots.len() {
            self.boot(slot)?;
        }
        for round in 0..ROUNDS {
            self.history.note(format_args!("round {round}"));
            self.disk.state().rates = self.rates;
            self.network.set_loss(self.loss);
            for _ in 0..ACTIONS {
                self.act()?;
            }
            self.settle()?;
        }
        self.end()
    }

    /// Something happens.
    fn act(&mut self) -> Check {
        match self.dice.below(100) {
            0..70 => self.step(),
            70..88 => self.call(),
            88..94 => {
                let millis = self.dice.pick(&[1, 3, 10, 40]);
                self.pass(Duration::from_millis(millis));
                Ok(())
            }
            94 | 95 => self.long_pass(),
            96 | 97 => {
                self.hang_up();
                Ok(())
            }
            98 => {
                let ready = self.executor.ready();
                if !ready.is_empty() {
                    let task = self.dice.pick(&ready);
                    self.stalled.insert(task, 10 + self.dice.below(100));
                    self.history.note(format_args!("  task {task} stalls"));
                }
                Ok(())
            }
            _ => {
                let full = self.dice.one_in(8);
                self.disk.state().full = full && self.rates.failure > 0;
                Ok(())
            }
        }?;
        self.get_better()?;
        if self.dice.one_in(self.misfortune) { self.misfortune() } else { Ok(()) }
    }

    /// Gives one task a turn.
    fn step(&mut self) -> Check {
        let awake = self.awake();
        if awake.is_empty() {
            return Ok(());
        }
        let mut task = self.dice.pick(&awake);
        if self.slow_writer && self.executor.name(task) == "queue-writer" && !self.dice.one_in(8) {
            task = self.dice.pick(&awake);
        }
        self.turn(task)
    }

    /// The tasks that may have a turn: those that are ready, but for stalled ones and those of nodes that are stopped.
    fn awake(&mut self) -> Vec<u64> {
        let ready = self.executor.ready();
        self.stalled.retain(|_, turns| {
            *turns = turns.saturating_sub(1);
            *turns > 0
        });
        let is_awake = |task: &u64| !self.stalled.contains_key(task) && !self.is_stopped(*task);
        ready.into_iter().filter(is_awake).collect()
    }

    fn turn(&mut self, task: u64) -> Check {
        let before = self.clock.now();
        let (name, ended) = self.executor.poll(task);
        self.history.note(format_args!(
            "{} {name} {task}{}",
            self.clock.now(),
            if ended { " ends" } else { "" }
        ));
        if self.clock.now() != before {
            self.ledger.time_passes(self.clock.now());
        }
        self.look_at_owners()?;
        if self.zombie.as_ref().is_some_and(|zombie| zombie.connection.is_dead()) {
            self.bury();
        }
        self.mourn()?;
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        for (call, answer) in answers {
            self.answer(call, &answer)?;
        }
        Ok(())
    }

    /// What the store saw in the last turn.
    fn look_at_owners(&mut self) -> Check {
        let takeovers = {
            let owners = &mut self.disk.state().owners;
            owners.check()?;
            owners.take_takeovers()
        };
        for takeover in takeovers {
            self.ledger.shard_is_taken(&takeover);
        }
        Ok(())
    }

    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.history.note(format_args!("{} {} s pass", self.clock.now(), time.as_secs_f64()));
        self.ledger.time_passes(self.clock.now());
    }

    /// A client that has nothing to do asks for something.
    fn call(&mut self) -> Check {
        let idle: Vec<usize> =
            (0..CLIENTS).filter(|client| self.calls.values().all(|call| call.client != *client)).collect();
        let there: Vec<usize> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].node.is_some()).collect();
        if idle.is_empty() || there.is_empty() {
            return Ok(());
        }
        let slot = self.dice.pick(&there);
        self.meet_queues(slot)?;
        let client = self.dice.pick(&idle);
        if let Some(call) = self.choose(client, slot) {
            self.begin(client, slot, call);
        }
        Ok(())
    }

    /// Puts a call to the process in a slot.
    fn begin(&mut self, client: usize, slot: usize, call: Call) -> Option<u64> {
        let node = self.slots[slot].node.as_ref()?;
        self.last_call += 1;
        let number = self.last_call;
        self.history.note(format_args!(
            "{} call {number} of client {client} to p{}: {call:?}",
            self.clock.now(),
            node.process
        ));
        let began_tick = self.ledger.tick();
        self.ledger.begins(&call, self.clock.now());
        let messages = match &call {
            Call::Send { messages, .. } => messages.iter().map(|number| self.message(*number)).collect(),
            _ => Vec::new(),
        };
        let (process, answers) = (node.process, Arc::clone(&self.answers));
        let (handle, of_call) = (node.handle.clone(), call.clone());
        let way = self.is_cluster().then(|| (self.network.clone(), self.peer(process, handle.clone())));
        let future = async move {
            let answer = match way {
                Some((network, here)) => network.perform(here, of_call, messages).await,
                None => perform(handle, of_call, messages).await,
            };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push((number, answer));
        };
        let task = self.executor.spawn(process, "call", Box::pin(future));
        let began = self.clock.now();
        self.calls.insert(number, InFlight { client, process, call, began, began_tick, task });
        Some(number)
    }

    fn answer(&mut self, number: u64, answer: &Answer) -> Check {
        let Some(done) = self.calls.remove(&number) else { return Ok(()) };
        self.history.note(format_args!("  answer {number}: {}", Shown(answer)));
        let now = self.clock.now();
        match (&done.call, answer) {
            (Call::Receive { queue, params }, Answer::Received(Ok(received))) => {
                let zombie = self.zombie.as_ref().map(|zombie| zombie.process);
                let asked = Asked {
                    queue: queue.incarnation(),
                    timeout: params.visibility_timeout.unwrap_or_default(),
                    attempt: params.attempt_id.as_deref(),
                    by_zombie: zombie == Some(done.process),
                };
                self.attempts.remove(&done.client);
                let held = self.ledger.received(&done, &asked, received)?;
                self.held.extend(held);
                let surplus = self.held.len().saturating_sub(60);
                self.held.drain(..surplus);
                Ok(())
            }
            (Call::Create { .. }, Answer::Created(Ok(outcome))) => {
                self.ledger.answered(&done, answer, now)?;
                let (CreateOutcome::Created(queue) | CreateOutcome::Exists(queue)) = outcome;
                self.ledger.know_queue(queue, family(queue));
                self.find_if_alone()
            }
            _ => self.ledger.answered(&done, answer, now),
        }
    }

    /// A client does not wait any longer.
    fn hang_up(&mut self) {
        let calls = self.calls.iter().filter(|(_, call)| !call.call.is_of_directory());
        let calls: Vec<u64> = calls.map(|(number, _)| *number).collect();
        if calls.is_empty() {
            return;
        }
        let number = self.dice.pick(&calls);
        // Receivers do it all the time.
        if self.calls[&number].call.is_receive() || self.dice.one_in(3) {
            self.drop_call(number);
        }
    }

    fn drop_call(&mut self, number: u64) {
        if let Some(call) = self.calls.remove(&number) {
            self.history.note(format_args!("  call {number} is given up"));
            self.executor.drop_task(call.task);
            self.ledger.is_lost(&call);
        }
    }

    /// All queues that exist, as the process in a slot knows them.
    fn existing(&self, slot: usize) -> Vec<(Family, Queue)> {
        let Some(node) = &self.slots[slot].node else { return Vec::new() };
        let find = |(name, family): (&str, Family)| {
            let name: QueueName = name.parse().ok()?;
            Some((family, node.handle.queue(&Scope::default(), &name).ok()?))
        };
        NAMES.into_iter().filter_map(find).collect()
    }
}

/// The family that a queue is of.
fn family(queue: &Queue) -> Family {
    NAMES.into_iter().find(|(name, _)| *name == queue.name().as_str()).map_or(0, |(_, family)| family)
}

/// An answer as the history shows it.
struct Shown<'a>(&'a Answer);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Answer::Received(Ok(received)) => {
                write!(f, "received")?;
                for message in received {
                    let body = String::from_utf8_lossy(&message.body);
                    let name = body.split(' ').next().unwrap_or_default();
                    let (handle, until) = (&message.handle, message.visible_at);
                    let (sequence, number) = (handle.sequence, handle.receive_number);
                    write!(f, " {name} (sequence {sequence}, receive {number}, until {until})")?;
                }
                Ok(())
            }
            other => write!(f, "{other:?}"),
        }
    }
}
