//! Workers as they come, report and go.

use std::sync::Arc;

use super::{ConfigurationId, Effect, EnvironmentId, Heard, Observed, Placement, State, WorkerId};

/// What a worker says of one environment.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) environment: EnvironmentId,
    pub(crate) configuration: ConfigurationId,
    pub(crate) memory_mb: u32,
    pub(crate) observed: Observed,
    /// It is one of those that are kept ready.
    pub(crate) provisioned: bool,
    /// It ends by itself, soon.
    pub(crate) ending: bool,
    /// The configuration is still to be used.
    pub(crate) current: bool,
}

/// One worker: what it may hold and what it holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Worker {
    /// It is connected and has told all that it runs.
    pub(super) ready: bool,
    pub(super) incarnation: String,
    memory_mb: u64,
    most_environments: usize,
    used_mb: u64,
    environments: usize,
    /// What it has told since it connected, while there is more to come.
    listing: Vec<Observation>,
}

impl Worker {
    pub(super) fn fits(&self, memory_mb: u32) -> bool {
        self.environments < self.most_environments && self.used_mb + u64::from(memory_mb) <= self.memory_mb
    }

    /// Whether it fits a worker that has nothing else.
    pub(super) fn could_fit(&self, memory_mb: u32) -> bool {
        self.most_environments > 0 && u64::from(memory_mb) <= self.memory_mb
    }

    pub(super) fn free_memory_mb(&self) -> u64 {
        self.memory_mb.saturating_sub(self.used_mb)
    }

    pub(super) fn add(&mut self, memory_mb: u32) {
        self.used_mb += u64::from(memory_mb);
        self.environments += 1;
    }

    pub(super) fn remove(&mut self, memory_mb: u32) {
        self.used_mb -= u64::from(memory_mb);
        self.environments -= 1;
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> (u64, usize) {
        (self.used_mb, self.environments)
    }
}

impl Placement {
    /// A worker is heard. Of another incarnation than before, nothing of what was there is left.
    pub(crate) fn connected(
        &mut self,
        worker: WorkerId,
        incarnation: &str,
        memory_mb: u64,
        most_environments: u32,
    ) {
        let same = self.workers[worker].incarnation == incarnation;
        let known: Vec<(EnvironmentId, State)> = self
            .environments
            .iter()
            .filter(|(_, environment)| environment.worker == worker)
            .map(|(id, environment)| (Arc::clone(id), environment.state))
            .collect();
        for (id, state) in known {
            // What has an invocation of ours may still answer; all else is told of again.
            if !same || !matches!(state, State::Busy | State::Preparing) {
                self.remove(&id);
            }
        }
        let this = &mut self.workers[worker];
        incarnation.clone_into(&mut this.incarnation);
        this.memory_mb = memory_mb;
        this.most_environments = most_environments as usize;
        this.listing.clear();
        this.ready = false;
    }

    /// The worker has told of everything that existed.
    pub(crate) fn synced(&mut self, worker: WorkerId) -> Vec<Effect> {
        self.workers[worker].ready = true;
        self.provisioning_changed = true;
        let mut effects = Vec::new();
        let mut freed = Vec::new();
        for observation in std::mem::take(&mut self.workers[worker].listing) {
            self.take_over(worker, &observation, &mut effects);
            freed.push(observation.configuration);
        }
        self.serve(&freed, &mut effects);
        effects
    }

    /// The worker is not heard any more: nothing new goes there until it is. What runs there may still answer.
    pub(crate) fn disconnected(&mut self, worker: WorkerId) {
        self.workers[worker].ready = false;
        let here = self.environments.iter().filter(|(_, it)| it.worker == worker);
        let idle: Vec<EnvironmentId> =
            here.filter(|(_, it)| matches!(it.state, State::Idle(_))).map(|(id, _)| Arc::clone(id)).collect();
        // They are told of again when it is back.
        for id in idle {
            self.remove(&id);
        }
    }

    /// A worker tells of one environment.
    pub(crate) fn observed(&mut self, worker: WorkerId, observation: Observation) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.workers[worker].ready {
            self.take_over(worker, &observation, &mut effects);
            self.serve(&[observation.configuration], &mut effects);
        } else {
            self.workers[worker].listing.push(observation);
        }
        effects
    }

    /// Of environments that have an invocation of ours we know better than their worker; of their end nothing comes
    /// before the invocation's own answer, which says whether it may be placed again.
    fn take_over(&mut self, worker: WorkerId, observation: &Observation, effects: &mut Vec<Effect>) {
        let Observation { environment, configuration, memory_mb, observed, provisioned, ending, current } =
            observation;
        let outdated = !current || self.outdated.contains(configuration);
        if let Some(known) = self.environments.get_mut(environment) {
            known.heard = known.heard.max(match observed {
                Observed::Working => Heard::Nothing,
                Observed::Idle => Heard::Idle,
                Observed::Gone => Heard::Gone,
            });
        }
        match (self.environments.get(environment).map(|it| it.state), observed) {
            (Some(State::Busy | State::Preparing), _)
            | (None, Observed::Gone)
            | (Some(State::Foreign), Observed::Working) => {}
            (Some(_), Observed::Gone) => self.remove(environment),
            (_, Observed::Idle) if outdated => {
                effects.push(Effect::Retire(worker, Arc::clone(environment)));
                self.remove(environment);
            }
            (Some(State::Idle(_)), Observed::Idle) if self.environments[environment].lingers => {
                self.set_idle(environment);
            }
            (Some(State::Idle(_)), _) => {}
            (Some(State::Foreign), Observed::Idle) => self.take_back(environment, effects),
            (None, Observed::Idle) => {
                self.uses += 1;
                let idle = State::Idle(self.uses);
                self.insert(environment, worker, configuration, *memory_mb, idle, *provisioned);
            }
            (None, Observed::Working) => {
                self.insert(environment, worker, configuration, *memory_mb, State::Foreign, *provisioned);
                if outdated {
                    self.outdated.insert(Arc::clone(configuration));
                }
            }
        }
        if *ending {
            self.set_ending(environment);
        }
    }
}
