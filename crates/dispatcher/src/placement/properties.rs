//! Whatever comes in whatever order: bounds hold, environments have one invocation at a time, tickets are answered
//! once, and nobody waits while there is something to have.

use std::collections::HashMap;

use proptest::prelude::*;

use super::tests::observation;
use super::*;

const MEMORY_MB: u64 = 512;
const MOST: u32 = 5;
const CONFIGURATIONS: [(&str, u32); 3] = [("f", 128), ("g", 128), ("h", 256)];

#[derive(Clone, Copy, Debug)]
enum Step {
    Place(usize),
    Finish(usize, Fate),
    Free(usize),
    GiveUp(usize),
    Outdate(usize),
    Disconnect(usize),
    Reconnect(usize),
    Restart(usize),
    Gone(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let index = 0..16usize;
    prop_oneof![
        6 => (0..CONFIGURATIONS.len()).prop_map(Step::Place),
        4 => index.clone().prop_map(|at| Step::Finish(at, Fate::Idle)),
        1 => index.clone().prop_map(|at| Step::Finish(at, Fate::Lingers)),
        1 => index.clone().prop_map(|at| Step::Finish(at, Fate::Busy)),
        1 => index.clone().prop_map(|at| Step::Finish(at, Fate::Gone)),
        1 => index.clone().prop_map(Step::Free),
        1 => index.clone().prop_map(Step::GiveUp),
        1 => (0..CONFIGURATIONS.len()).prop_map(Step::Outdate),
        1 => (0..2usize).prop_map(Step::Disconnect),
        1 => (0..2usize).prop_map(Step::Reconnect),
        1 => (0..2usize).prop_map(Step::Restart),
        1 => index.prop_map(Step::Gone),
    ]
}

/// The world around the dispatcher.
struct World {
    placement: Placement,
    /// Environments with an invocation of ours.
    running: Vec<Grant>,
    /// Those that would not take one, being at work still.
    refusing: Vec<Grant>,
    waiting: HashMap<Ticket, &'static str>,
    /// What each worker really has: its environments, by id.
    workers: Vec<HashMap<EnvironmentId, (ConfigurationId, u32, bool)>>,
    connected: Vec<bool>,
    incarnations: Vec<u32>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            placement: Placement::new("e".into(), 2),
            running: Vec::new(),
            refusing: Vec::new(),
            waiting: HashMap::new(),
            workers: vec![HashMap::new(); 2],
            connected: vec![false; 2],
            incarnations: vec![1; 2],
        };
        world.reconnect(0);
        world.reconnect(1);
        world
    }

    fn granted(&mut self, grant: Grant, configuration: &str, memory_mb: u32) {
        assert!(self.connected[grant.worker], "work for a worker that is away");
        assert!(self.running.iter().all(|it| it.environment != grant.environment), "two invocations at once");
        let environments = &mut self.workers[grant.worker];
        let entry = (Arc::from(configuration), memory_mb, true);
        let before = environments.insert(Arc::clone(&grant.environment), entry);
        assert_eq!(before.is_none(), grant.cold, "cold is what is not there");
        if let Some((known, _, busy)) = before {
            assert!(&*known == configuration && !busy);
        }
        self.running.push(grant);
    }

    fn effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Granted(ticket, grant) => {
                    let configuration = self.waiting.remove(&ticket).expect("granted once, to who waits");
                    let memory = CONFIGURATIONS.iter().find(|(name, _)| *name == configuration).unwrap().1;
                    self.granted(grant, configuration, memory);
                }
                Effect::Retire(worker, environment) => {
                    assert!(self.running.iter().all(|it| it.environment != environment), "retired at work");
                    self.workers[worker].remove(&environment);
                }
            }
        }
    }

    fn reconnect(&mut self, worker: usize) {
        if self.connected[worker] {
            return;
        }
        self.connected[worker] = true;
        let incarnation = self.incarnations[worker].to_string();
        self.placement.connected(worker, &incarnation, MEMORY_MB, MOST);
        for (id, (configuration, memory, busy)) in self.workers[worker].clone() {
            let observed = if busy { Observed::Working } else { Observed::Idle };
            let effects =
                self.placement.observed(worker, observation(&id, &configuration, memory, observed, true));
            self.effects(effects);
        }
        let effects = self.placement.synced(worker);
        self.effects(effects);
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Place(which) => {
                let (configuration, memory_mb) = CONFIGURATIONS[which];
                let (placed, effects) = self.placement.place(Need::of(configuration.into(), memory_mb));
                self.effects(effects);
                match placed {
                    Placed::Now(grant) => self.granted(grant, configuration, memory_mb),
                    Placed::Wait(ticket) => {
                        self.waiting.insert(ticket, configuration);
                    }
                }
            }
            Step::Finish(at, fate) if !self.running.is_empty() => {
                let grant = self.running.remove(at % self.running.len());
                match fate {
                    Fate::Busy => self.refusing.push(grant.clone()),
                    Fate::Idle | Fate::Lingers => {
                        if let Some(entry) = self.workers[grant.worker].get_mut(&grant.environment) {
                            entry.2 = false;
                        }
                    }
                    Fate::Gone => {
                        self.workers[grant.worker].remove(&grant.environment);
                    }
                }
                let effects = self.placement.finish(&grant.environment, fate);
                self.effects(effects);
            }
            Step::Free(at) if !self.refusing.is_empty() => {
                let grant = self.refusing.remove(at % self.refusing.len());
                let known = self.workers[grant.worker].get_mut(&grant.environment);
                let Some((configuration, memory_mb, busy)) = known else { return };
                *busy = false;
                let observed =
                    observation(&grant.environment, configuration, *memory_mb, Observed::Idle, true);
                if self.connected[grant.worker] {
                    let effects = self.placement.observed(grant.worker, observed);
                    self.effects(effects);
                }
            }
            Step::GiveUp(at) if !self.waiting.is_empty() => {
                let mut tickets: Vec<Ticket> = self.waiting.keys().copied().collect();
                tickets.sort();
                let ticket = tickets[at % tickets.len()];
                let configuration = self.waiting.remove(&ticket).unwrap();
                self.placement.give_up(ticket, configuration);
            }
            Step::Outdate(which) => {
                let effects = self.placement.outdate(CONFIGURATIONS[which].0);
                self.effects(effects);
            }
            Step::Disconnect(worker) => {
                self.connected[worker] = false;
                self.placement.disconnected(worker);
            }
            Step::Reconnect(worker) => self.reconnect(worker),
            Step::Restart(worker) => {
                self.placement.disconnected(worker);
                self.connected[worker] = false;
                self.incarnations[worker] += 1;
                self.workers[worker].clear();
                self.refusing.retain(|grant| grant.worker != worker);
                let lost: Vec<Grant> = self.running.extract_if(.., |grant| grant.worker == worker).collect();
                for grant in lost {
                    let effects = self.placement.finish(&grant.environment, Fate::Gone);
                    self.effects(effects);
                }
            }
            Step::Gone(at) => {
                let idle: Vec<(usize, EnvironmentId, ConfigurationId)> = (0..2)
                    .filter(|worker| self.connected[*worker])
                    .flat_map(|worker| {
                        let it = self.workers[worker].iter().filter(|(_, (_, _, busy))| !busy);
                        it.map(move |(id, (configuration, ..))| (worker, id.clone(), configuration.clone()))
                    })
                    .collect();
                if let Some((worker, id, configuration)) = idle.get(at % idle.len().max(1)) {
                    self.workers[*worker].remove(id);
                    let effects = self
                        .placement
                        .observed(*worker, observation(id, configuration, 0, Observed::Gone, true));
                    self.effects(effects);
                }
            }
            Step::Finish(..) | Step::Free(_) | Step::GiveUp(_) => {}
        }
    }

    fn check(&self) {
        for (at, worker) in self.placement.workers.iter().enumerate() {
            let (used, count) = worker.used();
            assert!(used <= MEMORY_MB && count <= MOST as usize, "a worker is overfull");
            if self.connected[at] {
                let real: u64 = self.workers[at].values().map(|(_, memory, _)| u64::from(*memory)).sum();
                assert_eq!((used, count), (real, self.workers[at].len()), "the picture is wrong");
            }
        }
        for configuration in self.waiting.values() {
            let idle = self.placement.configurations.get(*configuration).map_or(0, |it| it.idle.len());
            assert_eq!(idle, 0, "somebody waits beside an idle environment");
        }
        let waiting: usize = self.placement.configurations.values().map(|it| it.waiting.len()).sum();
        assert_eq!(waiting, self.waiting.len());
        let needy = self.placement.configurations.values().filter(|it| !it.waiting.is_empty()).count();
        assert_eq!(needy, self.placement.needy.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(512)))]
    #[test]
    fn the_picture_is_always_right(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.apply(step);
            world.check();
        }
        // When everything that runs is done, and all workers are there, nobody is left waiting.
        world.reconnect(0);
        world.reconnect(1);
        while !world.running.is_empty() || !world.refusing.is_empty() {
            world.apply(Step::Finish(0, Fate::Idle));
            world.apply(Step::Free(0));
            world.check();
        }
        prop_assert!(world.waiting.is_empty());
    }
}
