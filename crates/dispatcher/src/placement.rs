//! Which execution environment takes an invocation. Pure: no clock, no I/O; calls in, decisions and [`Effect`]s out.
//!
//! Environments are kept per configuration, the most recently used on top. If none is idle a new one is started where
//! there is most room; if there is no room, idle environments of other functions make it, the longest idle first; if
//! there are none, the invocation waits. Provisioned environments are kept for their configuration and make no room.
//! Room that comes free goes to the function that has least at work, among those the one that waits longest: no
//! function can starve another.

#[cfg(test)]
mod properties;
mod provisioned;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

pub(crate) use self::worker::Observation;
use self::worker::Worker;

/// A worker's place in the dispatcher's list.
pub(crate) type WorkerId = usize;
/// Unique over all dispatchers and times.
pub(crate) type EnvironmentId = Arc<str>;
pub(crate) type ConfigurationId = Arc<str>;

/// A place in the queue for room; in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// What an invocation needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) configuration: ConfigurationId,
    pub(crate) memory_mb: u32,
    /// A new environment rather than one that may be at work still.
    pub(crate) settled: bool,
}

impl Need {
    /// Of an environment of that configuration and memory.
    pub(crate) fn of(configuration: ConfigurationId, memory_mb: u32) -> Self {
        Self { configuration, memory_mb, settled: false }
    }
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) worker: WorkerId,
    pub(crate) environment: EnvironmentId,
    /// The environment is to be made.
    pub(crate) cold: bool,
    /// The start of the worker that is meant.
    pub(crate) incarnation: String,
}

/// Something for the caller to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The wait of that ticket is over.
    Granted(Ticket, Grant),
    /// That environment is not needed any longer.
    Retire(WorkerId, EnvironmentId),
}

/// The answer to [`Placement::place`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    Now(Grant),
    /// Until [`Effect::Granted`] says so, or [`Placement::give_up`] is called.
    Wait(Ticket),
}

/// What became of an environment that had an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Idle,
    /// It may be at work for a while after its answer, as its extensions are: it is taken if there is no other.
    Lingers,
    /// It has not begun with this one, being at work still: it is idle when its worker says so.
    Busy,
    Gone,
}

/// What a worker says of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    Working,
    Idle,
    Gone,
}

#[derive(Debug)]
struct Environment {
    worker: WorkerId,
    configuration: ConfigurationId,
    memory_mb: u32,
    /// Kept ready for its configuration alone, whoever needs room.
    provisioned: bool,
    state: State,
    /// It ends by itself soon, and is provisioned.
    ending: bool,
    /// What its worker has said since it was given its invocation.
    heard: Heard,
    /// It has answered and may be at work still.
    lingers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Since that moment, in uses.
    Idle(u64),
    /// With an invocation of ours.
    Busy,
    /// At work for longer than we know of: with an invocation that an earlier dispatcher gave it, or with what follows one.
    Foreign,
    /// Being initialised ahead of any invocation, at our word.
    Preparing,
}

/// News of an environment may be sooner than its invocation's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    Nothing,
    Idle,
    Gone,
}

#[derive(Debug, Default)]
struct Configuration {
    /// The most recently used last.
    idle: Vec<EnvironmentId>,
    /// Those of them that are provisioned; used first.
    ready: Vec<EnvironmentId>,
    provisioned: usize,
    preparing: usize,
    /// Provisioned ones that end by themselves soon.
    ending: usize,
    busy: usize,
    waiting: VecDeque<(Ticket, Need)>,
    /// All environments, whatever they do.
    environments: usize,
}

/// The dispatcher's picture of all workers.
#[derive(Debug)]
pub(crate) struct Placement {
    id_prefix: String,
    next_id: u64,
    next_ticket: u64,
    uses: u64,
    workers: Vec<Worker>,
    environments: HashMap<EnvironmentId, Environment>,
    configurations: HashMap<ConfigurationId, Configuration>,
    /// Idle environments of each worker that may make room, the longest idle first.
    idle: BTreeMap<(WorkerId, u64), EnvironmentId>,
    /// Configurations that wait, the neediest first: least at work, then longest waiting.
    needy: BTreeSet<(usize, Ticket, ConfigurationId)>,
    /// Configurations that are not to be used again, while environments of them are left.
    outdated: HashSet<ConfigurationId>,
    /// How many environments are to be kept ready; nothing is ended for it before that is known.
    targets: Option<HashMap<ConfigurationId, usize>>,
    /// Something happened to a provisioned environment, or to a worker.
    provisioning_changed: bool,
}

impl Placement {
    /// For so many workers, of which nothing is known yet. `id_prefix` must be new at every start.
    pub(crate) fn new(id_prefix: String, workers: usize) -> Self {
        Self {
            id_prefix,
            next_id: 0,
            next_ticket: 0,
            uses: 0,
            workers: (0..workers).map(|_| Worker::default()).collect(),
            environments: HashMap::new(),
            configurations: HashMap::new(),
            idle: BTreeMap::new(),
            needy: BTreeSet::new(),
            outdated: HashSet::new(),
            targets: None,
            provisioning_changed: false,
        }
    }

    /// Whether any worker can be given work.
    pub(crate) fn has_workers(&self) -> bool {
        self.workers.iter().any(|worker| worker.ready)
    }

    /// Whether no worker has that much memory, or may have environments at all.
    pub(crate) fn is_too_large(&self, memory_mb: u32) -> bool {
        !self.workers.iter().any(|worker| worker.could_fit(memory_mb))
    }

    /// Finds an environment, or a place in the queue. Does not overtake.
    pub(crate) fn place(&mut self, need: Need) -> (Placed, Vec<Effect>) {
        let mut effects = Vec::new();
        let waiting = self.configurations.get(&need.configuration).is_some_and(|it| !it.waiting.is_empty());
        if !waiting && let Some(grant) = self.grant(&need, &mut effects) {
            return (Placed::Now(grant), effects);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.change(&need.configuration.clone(), |it| it.waiting.push_back((ticket, need)));
        (Placed::Wait(ticket), effects)
    }

    /// Ends a wait without success.
    pub(crate) fn give_up(&mut self, ticket: Ticket, configuration: &str) {
        if let Some((configuration, _)) = self.configurations.get_key_value(configuration) {
            let configuration = Arc::clone(configuration);
            self.change(&configuration, |it| it.waiting.retain(|(waiting, _)| *waiting != ticket));
        }
    }

    /// The invocation that an environment had is answered, or never began there.
    pub(crate) fn finish(&mut self, environment: &str, fate: Fate) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some((id, known)) = self.environments.get_key_value(environment) else { return effects };
        let (id, configuration) = (Arc::clone(id), Arc::clone(&known.configuration));
        let heard = known.heard;
        let usable = fate != Fate::Gone && heard != Heard::Gone && self.workers[known.worker].ready;
        if !usable {
            self.remove(&id);
        } else if fate == Fate::Busy && heard == Heard::Nothing {
            self.set_foreign(&id);
        } else {
            self.take_back(&id, &mut effects);
            if fate == Fate::Lingers && heard == Heard::Nothing {
                self.put_last(&id);
            }
        }
        self.serve(&[configuration], &mut effects);
        effects
    }

    /// That configuration is not to be used again: its environments end, now or when they are done.
    pub(crate) fn outdate(&mut self, configuration: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some((id, known)) = self.configurations.get_key_value(configuration) else { return effects };
        let (id, idle) = (Arc::clone(id), [known.idle.clone(), known.ready.clone()].concat());
        self.outdated.insert(Arc::clone(&id));
        for environment in idle {
            effects.push(Effect::Retire(self.environments[&environment].worker, Arc::clone(&environment)));
            self.remove(&environment);
        }
        self.tidy(&id);
        self.serve(&[], &mut effects);
        effects
    }

    /// The configurations that have environments.
    pub(crate) fn configurations(&self) -> Vec<ConfigurationId> {
        self.configurations.keys().cloned().collect()
    }

    /// An idle environment, or room for a new one, made if need be.
    fn grant(&mut self, need: &Need, effects: &mut Vec<Effect>) -> Option<Grant> {
        let known = self.configurations.get(&need.configuration);
        let idle = |lingers: bool| {
            let known = known?;
            let mut last = [known.ready.last(), known.idle.last()].into_iter().flatten();
            last.find(|id| self.environments[*id].lingers == lingers).cloned()
        };
        // Nobody is ended for one that may be free in a moment.
        let is_room = || self.workers.iter().any(|worker| worker.ready && worker.fits(need.memory_mb));
        let lingering = || idle(true).filter(|_| !need.settled || !is_room());
        if let Some(environment) = idle(false).or_else(lingering) {
            return Some(self.reuse(environment));
        }
        let worker = self.room(need, effects)?;
        Some(self.begin(worker, need, State::Busy, false))
    }

    fn reuse(&mut self, environment: EnvironmentId) -> Grant {
        self.set_busy(&environment);
        let worker = self.environments[&environment].worker;
        let incarnation = self.workers[worker].incarnation.clone();
        Grant { worker, environment, cold: false, incarnation }
    }

    /// A new environment.
    fn begin(&mut self, worker: WorkerId, need: &Need, state: State, provisioned: bool) -> Grant {
        let environment: EnvironmentId = format!("{}-{}", self.id_prefix, self.next_id).into();
        self.next_id += 1;
        self.insert(&environment, worker, &need.configuration, need.memory_mb, state, provisioned);
        let incarnation = self.workers[worker].incarnation.clone();
        Grant { worker, environment, cold: true, incarnation }
    }

    /// A worker with room, or where idle environments can make it.
    fn room(&mut self, need: &Need, effects: &mut Vec<Effect>) -> Option<WorkerId> {
        let candidates = || self.workers.iter().enumerate().filter(|(_, worker)| worker.ready);
        let free = candidates().filter(|(_, worker)| worker.fits(need.memory_mb));
        if let Some((worker, _)) = free.max_by_key(|(_, worker)| worker.free_memory_mb()) {
            return Some(worker);
        }
        let possible: Vec<WorkerId> = candidates().map(|(id, _)| id).collect();
        let (worker, victims) =
            possible.into_iter().find_map(|id| Some((id, self.victims(id, need.memory_mb)?)))?;
        for victim in victims {
            effects.push(Effect::Retire(worker, Arc::clone(&victim)));
            self.remove(&victim);
        }
        Some(worker)
    }

    /// The idle environments, the longest idle first, whose end would make room. `None` if that is not enough.
    fn victims(&self, worker: WorkerId, memory_mb: u32) -> Option<Vec<EnvironmentId>> {
        let mut after = self.workers[worker].clone();
        let mut victims = Vec::new();
        for environment in self.idle.range((worker, 0)..(worker + 1, 0)).map(|(_, id)| id) {
            after.remove(self.environments[environment].memory_mb);
            victims.push(Arc::clone(environment));
            if after.fits(memory_mb) {
                return Some(victims);
            }
        }
        None
    }

    /// Gives what room there is to those that wait. Those in `freed` have idle environments perhaps, of use to them
    /// alone.
    fn serve(&mut self, freed: &[ConfigurationId], effects: &mut Vec<Effect>) {
        while let Some((_, _, neediest)) = self.needy.first().cloned() {
            if !self.serve_one(&neediest, effects) && !freed.iter().any(|it| self.serve_one(it, effects)) {
                return;
            }
        }
    }

    fn serve_one(&mut self, configuration: &ConfigurationId, effects: &mut Vec<Effect>) -> bool {
        let waiting = self.configurations.get(configuration).and_then(|it| it.waiting.front().cloned());
        let Some((ticket, need)) = waiting else { return false };
        let Some(grant) = self.grant(&need, effects) else { return false };
        self.change(configuration, |it| {
            it.waiting.pop_front();
        });
        effects.push(Effect::Granted(ticket, grant));
        true
    }

    fn insert(
        &mut self,
        id: &EnvironmentId,
        worker: WorkerId,
        configuration: &ConfigurationId,
        memory_mb: u32,
        state: State,
        provisioned: bool,
    ) {
        let environment = Environment {
            worker,
            configuration: Arc::clone(configuration),
            memory_mb,
            provisioned,
            state,
            ending: false,
            heard: Heard::Nothing,
            lingers: false,
        };
        self.environments.insert(Arc::clone(id), environment);
        self.workers[worker].add(memory_mb);
        self.change(configuration, |it| {
            it.environments += 1;
            it.provisioned += usize::from(provisioned);
            match state {
                State::Busy => it.busy += 1,
                State::Preparing => it.preparing += 1,
                State::Idle(_) if provisioned => it.ready.push(Arc::clone(id)),
                State::Idle(_) => it.idle.push(Arc::clone(id)),
                State::Foreign => {}
            }
        });
        if let State::Idle(since) = state
            && !provisioned
        {
            self.idle.insert((worker, since), Arc::clone(id));
        }
    }

    fn remove(&mut self, id: &EnvironmentId) {
        let Some(Environment { worker, configuration, memory_mb, provisioned, state, ending, .. }) =
            self.environments.remove(id)
        else {
            return;
        };
        self.provisioning_changed |= provisioned;
        self.workers[worker].remove(memory_mb);
        if let State::Idle(since) = state {
            self.idle.remove(&(worker, since));
        }
        self.change(&configuration, |it| {
            it.environments -= 1;
            it.provisioned -= usize::from(provisioned);
            it.ending -= usize::from(ending);
            match state {
                State::Idle(_) if provisioned => it.ready.retain(|idle| idle != id),
                State::Idle(_) => it.idle.retain(|idle| idle != id),
                State::Busy => it.busy -= 1,
                State::Preparing => it.preparing -= 1,
                State::Foreign => {}
            }
        });
    }

    fn set_idle(&mut self, id: &EnvironmentId) {
        self.uses += 1;
        let state = State::Idle(self.uses);
        let Some(environment) = self.environments.get_mut(id) else { return };
        let before = std::mem::replace(&mut environment.state, state);
        environment.lingers = false;
        // One more is available.
        self.provisioning_changed |= before == State::Preparing;
        let (worker, configuration) = (environment.worker, Arc::clone(&environment.configuration));
        let provisioned = environment.provisioned;
        if let State::Idle(since) = before {
            self.idle.remove(&(worker, since));
        }
        if !provisioned {
            self.idle.insert((worker, self.uses), Arc::clone(id));
        }
        self.change(&configuration, |it| {
            match before {
                State::Busy => it.busy -= 1,
                State::Preparing => it.preparing -= 1,
                State::Idle(_) | State::Foreign => {}
            }
            let idle = if provisioned { &mut it.ready } else { &mut it.idle };
            idle.retain(|idle| idle != id);
            idle.push(Arc::clone(id));
        });
    }

    fn set_busy(&mut self, id: &EnvironmentId) {
        let Some(environment) = self.environments.get_mut(id) else { return };
        environment.heard = Heard::Nothing;
        let State::Idle(since) = std::mem::replace(&mut environment.state, State::Busy) else { return };
        let (worker, configuration) = (environment.worker, Arc::clone(&environment.configuration));
        let provisioned = environment.provisioned;
        self.idle.remove(&(worker, since));
        self.change(&configuration, |it| {
            // Taken from the top, so found at once.
            let idle = if provisioned { &mut it.ready } else { &mut it.idle };
            if let Some(at) = idle.iter().rposition(|idle| idle == id) {
                idle.remove(at);
            }
            it.busy += 1;
        });
    }

    /// It is idle again, and there may be no more use for it.
    fn take_back(&mut self, id: &EnvironmentId, effects: &mut Vec<Effect>) {
        let Some(Environment { worker, configuration, .. }) = self.environments.get(id) else { return };
        let (worker, configuration) = (*worker, Arc::clone(configuration));
        if self.outdated.contains(&configuration) || self.is_surplus(id) {
            effects.push(Effect::Retire(worker, Arc::clone(id)));
            self.remove(id);
            return;
        }
        self.set_idle(id);
        // It may stand in for one that ends.
        self.provisioning_changed |= self.configurations.get(&configuration).is_some_and(|it| it.ending > 0);
    }

    /// One of ours that is at work still.
    fn set_foreign(&mut self, id: &EnvironmentId) {
        let Some(environment) = self.environments.get_mut(id) else { return };
        if std::mem::replace(&mut environment.state, State::Foreign) == State::Busy {
            let configuration = Arc::clone(&environment.configuration);
            self.change(&configuration, |it| it.busy -= 1);
        }
    }

    /// It is idle as far as we are concerned, and of its configuration to be used last.
    fn put_last(&mut self, id: &EnvironmentId) {
        let Some(environment) = self.environments.get_mut(id) else { return };
        environment.lingers = true;
        let (configuration, provisioned) = (Arc::clone(&environment.configuration), environment.provisioned);
        self.change(&configuration, |it| {
            let idle = if provisioned { &mut it.ready } else { &mut it.idle };
            idle.retain(|idle| idle != id);
            idle.insert(0, Arc::clone(id));
        });
    }

    /// Changes a configuration and keeps the order of the needy.
    fn change(&mut self, id: &ConfigurationId, change: impl FnOnce(&mut Configuration)) {
        let configuration = self.configurations.entry(Arc::clone(id)).or_default();
        let needy = |it: &Configuration| it.waiting.front().map(|(ticket, _)| (it.busy, *ticket));
        let before = needy(configuration);
        change(configuration);
        let after = needy(configuration);
        if before != after {
            if let Some((busy, ticket)) = before {
                self.needy.remove(&(busy, ticket, Arc::clone(id)));
            }
            if let Some((busy, ticket)) = after {
                self.needy.insert((busy, ticket, Arc::clone(id)));
            }
        }
        self.tidy(id);
    }

    fn tidy(&mut self, id: &ConfigurationId) {
        if self.configurations.get(id).is_some_and(|it| it.environments == 0 && it.waiting.is_empty()) {
            self.configurations.remove(id);
            self.outdated.remove(id);
        }
    }
}
