//! Environments that are kept ready: how many there shall be, and what they are given room for.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ConfigurationId, Effect, EnvironmentId, Grant, Need, Placement, State};

/// What there is of a configuration's provisioned environments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Provisioned {
    /// All, also those that are on their way.
    pub(crate) allocated: usize,
    /// Those that are initialised, idle or not.
    pub(crate) available: usize,
    /// All but those that end by themselves soon.
    pub(crate) lasting: usize,
}

/// How many of a configuration's provisioned environments are too many.
#[derive(Clone, Copy, Debug, Default)]
struct Surplus {
    lasting: usize,
    /// Of those that end soon: they stay until others are initialised in their place.
    ending: usize,
}

impl Surplus {
    fn of(self, ending: bool) -> usize {
        if ending { self.ending } else { self.lasting }
    }
}

impl Placement {
    /// How many environments shall be kept ready of each configuration, and of others none: what is too much and idle
    /// ends now.
    pub(crate) fn set_targets(&mut self, targets: HashMap<ConfigurationId, usize>) -> Vec<Effect> {
        self.targets = Some(targets);
        let mut surplus: Vec<EnvironmentId> = Vec::new();
        for (id, configuration) in &self.configurations {
            let too_many = self.surplus(id);
            for ending in [true, false] {
                let idle = configuration.ready.iter().filter(|it| self.environments[*it].ending == ending);
                surplus.extend(idle.take(too_many.of(ending)).cloned());
            }
        }
        let mut effects = Vec::new();
        for environment in surplus {
            effects.push(Effect::Retire(self.environments[&environment].worker, Arc::clone(&environment)));
            self.remove(&environment);
        }
        self.serve(&[], &mut effects);
        effects
    }

    /// Room for one more environment to be kept ready, if there is any. To be [finished](Self::finish) when it is.
    pub(crate) fn provision(&mut self, need: &Need) -> (Option<Grant>, Vec<Effect>) {
        let mut effects = Vec::new();
        let grant =
            self.room(need, &mut effects).map(|worker| self.begin(worker, need, State::Preparing, true));
        (grant, effects)
    }

    /// What there is.
    pub(crate) fn provisioned(&self, configuration: &str) -> Provisioned {
        let known = self.configurations.get(configuration);
        known.map_or_else(Provisioned::default, |it| Provisioned {
            allocated: it.provisioned,
            available: it.provisioned - it.preparing,
            lasting: it.provisioned - it.ending,
        })
    }

    /// Whether there is a reason to look at what is provisioned again.
    pub(crate) fn take_provisioning_changed(&mut self) -> bool {
        std::mem::take(&mut self.provisioning_changed)
    }

    /// That environment ends by itself soon, if it is provisioned.
    pub(super) fn set_ending(&mut self, id: &EnvironmentId) {
        let Some(environment) = self.environments.get_mut(id).filter(|it| it.provisioned && !it.ending)
        else {
            return;
        };
        environment.ending = true;
        let configuration = Arc::clone(&environment.configuration);
        self.change(&configuration, |it| it.ending += 1);
        self.provisioning_changed = true;
    }

    /// Whether that environment is provisioned and nobody wants it to be.
    pub(super) fn is_surplus(&self, id: &EnvironmentId) -> bool {
        let environment = &self.environments[id];
        environment.provisioned && self.surplus(&environment.configuration).of(environment.ending) > 0
    }

    fn surplus(&self, configuration: &ConfigurationId) -> Surplus {
        let (Some(targets), Some(there)) = (&self.targets, self.configurations.get(configuration)) else {
            return Surplus::default();
        };
        let wanted = targets.get(configuration).copied().unwrap_or(0);
        let lasting = there.provisioned - there.ending;
        let initialised = lasting.saturating_sub(there.preparing);
        Surplus {
            lasting: lasting.saturating_sub(wanted),
            ending: (initialised + there.ending).saturating_sub(wanted).min(there.ending),
        }
    }
}
