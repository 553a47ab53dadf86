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
}

impl Placement {
    /// How many environments shall be kept ready of each configuration, and of others none: what is too much and idle
    /// ends now.
    pub(crate) fn set_targets(&mut self, targets: HashMap<ConfigurationId, usize>) -> Vec<Effect> {
        self.targets = Some(targets);
        let surplus: Vec<EnvironmentId> = self
            .configurations
            .iter()
            .flat_map(|(id, it)| it.ready.iter().take(self.surplus(id)).cloned())
            .collect();
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
        })
    }

    /// Whether there is a reason to look at what is provisioned again.
    pub(crate) fn take_provisioning_changed(&mut self) -> bool {
        std::mem::take(&mut self.provisioning_changed)
    }

    /// Whether that environment is provisioned and nobody wants it to be.
    pub(super) fn is_surplus(&self, id: &EnvironmentId) -> bool {
        let environment = &self.environments[id];
        environment.provisioned && self.surplus(&environment.configuration) > 0
    }

    fn surplus(&self, configuration: &ConfigurationId) -> usize {
        let Some(targets) = &self.targets else { return 0 };
        let wanted = targets.get(configuration).copied().unwrap_or(0);
        self.configurations.get(configuration).map_or(0, |it| it.provisioned.saturating_sub(wanted))
    }
}
