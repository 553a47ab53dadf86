//! The Telemetry API, version 2022-07-01, and the Logs API, version 2020-08-15, of one execution environment (facts:
//! execution environment §3): who has subscribed to what, and every event on its way to them.
//!
//! Whoever tells an event never waits. Each subscriber has a queue that is bounded, and a task that takes batches out of it
//! and brings them to a server inside the sandbox; a slow or dead one loses events and is told so.

mod delivery;
mod destination;
mod event;
mod queue;
mod subscription;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lambfold_sandbox::SandboxNetwork;
use lambfold_types::{Clock, Timestamp};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub(crate) use self::event::{Event, Records};
use self::queue::Queue;
pub(crate) use self::queue::Room;
use self::subscription::Schema;
pub(crate) use self::subscription::{Api, Kind, Subscription};

/// What is remembered for those who have not subscribed yet.
const MOST_REMEMBERED: usize = 1000;
const MOST_REMEMBERED_BYTES: usize = 256 << 10;
/// An extension may change its mind, but not all the time.
const MOST_CHANGES: usize = 100;

/// One environment's.
pub(crate) struct Telemetry {
    /// Whether events are of any use: the way for everybody else costs one look at it.
    listens: AtomicBool,
    inner: Mutex<Inner>,
    course: Arc<Course>,
    room: Room,
}

/// What deliveries have to know of their environment.
pub(crate) struct Course {
    clock: Arc<dyn Clock>,
    /// The way in, once there is one.
    network: watch::Sender<Option<Arc<dyn SandboxNetwork>>>,
    /// Whether all processes stand still.
    frozen: watch::Sender<bool>,
    /// Attempts that are being made.
    under_way: AtomicUsize,
}

struct Inner {
    /// Whether one may subscribe.
    open: bool,
    /// Whether the function logs JSON.
    json: bool,
    changes: usize,
    /// What happened so far, while one may subscribe: who subscribes is told of it.
    remembered: Vec<Event>,
    remembered_bytes: usize,
    subscribers: Vec<Subscriber>,
    deliveries: JoinSet<()>,
}

struct Subscriber {
    /// The extension's identifier.
    identifier: String,
    subscription: Subscription,
    queue: Arc<Queue>,
    delivery: AbortHandle,
}

/// Why nobody is subscribed by a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Init is over.
    Closed,
    /// What is wrong.
    Invalid(String),
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Subscribed,
    /// It said again what it had said before.
    Unchanged,
}

impl Telemetry {
    /// One that nobody may subscribe to yet.
    pub(crate) fn new(clock: Arc<dyn Clock>, room: Room) -> Self {
        let inner = Inner {
            open: false,
            json: false,
            changes: 0,
            remembered: Vec::new(),
            remembered_bytes: 0,
            subscribers: Vec::new(),
            deliveries: JoinSet::new(),
        };
        let course = Course {
            clock,
            network: watch::Sender::new(None),
            frozen: watch::Sender::new(false),
            under_way: AtomicUsize::new(0),
        };
        Self { listens: AtomicBool::new(false), inner: Mutex::new(inner), course: Arc::new(course), room }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock leaves it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets extensions subscribe. `json`: the function logs JSON.
    pub(crate) fn open(&self, json: bool) {
        let mut inner = self.inner();
        (inner.open, inner.json) = (true, json);
        self.listens.store(true, Ordering::Relaxed);
    }

    /// Init is over: nobody may subscribe any more.
    pub(crate) fn close(&self) {
        let mut inner = self.inner();
        inner.open = false;
        inner.remembered = Vec::new();
        self.listens.store(!inner.subscribers.is_empty(), Ordering::Relaxed);
    }

    /// The way into the sandbox: deliveries begin.
    pub(crate) fn connect_by(&self, network: Arc<dyn SandboxNetwork>) {
        self.course.network.send_replace(Some(network));
    }

    /// Whether there is, or may come, anybody who wants events.
    pub(crate) fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    /// Tells everybody who wants it.
    pub(crate) fn publish(&self, event: Event) {
        if !self.listens() {
            return;
        }
        let now = self.course.clock.now();
        let mut inner = self.inner();
        let mut rendered: Vec<(Schema, Option<Bytes>)> = Vec::new();
        for Subscriber { subscription, queue, .. } in &inner.subscribers {
            if !subscription.wants(event.kind()) {
                continue;
            }
            // Once per schema; subscribers share the bytes.
            let known = rendered.iter().find(|(schema, _)| *schema == subscription.schema);
            let bytes = if let Some((_, bytes)) = known {
                bytes.clone()
            } else {
                let bytes = event.render(subscription.schema, inner.json);
                rendered.push((subscription.schema, bytes.clone()));
                bytes
            };
            if let Some(bytes) = bytes {
                queue.push(bytes, now);
            }
        }
        let cost = event.cost();
        if inner.open
            && inner.remembered.len() < MOST_REMEMBERED
            && inner.remembered_bytes + cost <= MOST_REMEMBERED_BYTES
        {
            inner.remembered_bytes += cost;
            inner.remembered.push(event);
        }
    }

    /// Takes the extension of that identifier in, or what it wants now instead of what it wanted.
    pub(crate) fn subscribe(
        &self,
        identifier: &str,
        api: Api,
        body: &[u8],
    ) -> Result<(Outcome, Subscription), Refusal> {
        let mut inner = self.inner();
        if !inner.open {
            return Err(Refusal::Closed);
        }
        let subscription = Subscription::parse(api, body).map_err(Refusal::Invalid)?;
        let before = inner.subscribers.iter().position(|it| it.identifier == identifier);
        let mut waiting = None;
        if let Some(before) = before {
            let known = &inner.subscribers[before].subscription;
            if known == &subscription {
                return Ok((Outcome::Unchanged, subscription));
            }
            if known.api != api {
                let text = format!("the extension has subscribed to the {} API", known.api.name());
                return Err(Refusal::Invalid(text));
            }
            if inner.changes >= MOST_CHANGES {
                return Err(Refusal::Invalid("the subscription was changed too often".to_owned()));
            }
            inner.changes += 1;
            let former = inner.subscribers.swap_remove(before);
            former.delivery.abort();
            let same = former.subscription.schema == subscription.schema
                && former.subscription.types == subscription.types;
            waiting = same.then(|| former.queue.rest());
        }
        let queue = Arc::new(Queue::new(subscription.buffering, self.room.clone()));
        let now = self.course.clock.now();
        // What it has been told of is not told again.
        let waiting = waiting.unwrap_or_else(|| {
            let wanted = inner.remembered.iter().filter(|event| subscription.wants(event.kind()));
            wanted.filter_map(|event| event.render(subscription.schema, inner.json)).collect()
        });
        for event in waiting {
            queue.push(event, now);
        }
        let run = delivery::run(Arc::clone(&queue), subscription.clone(), Arc::clone(&self.course));
        let delivery = inner.deliveries.spawn(run);
        let identifier = identifier.to_owned();
        inner.subscribers.push(Subscriber {
            identifier,
            subscription: subscription.clone(),
            queue,
            delivery,
        });
        Ok((Outcome::Subscribed, subscription))
    }

    /// Whether an attempt to deliver is being made.
    pub(crate) fn is_delivering(&self) -> bool {
        self.course.under_way.load(Ordering::Relaxed) > 0
    }

    /// All processes stand still, or go on: meanwhile nothing is delivered, and no time passes for who gets something.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        if self.listens() {
            self.course.frozen.send_replace(frozen);
        }
    }

    /// Sends all that waits, within that time.
    pub(crate) async fn flush(&self, until: Timestamp) {
        let queues: Vec<Arc<Queue>> =
            self.inner().subscribers.iter().map(|subscriber| Arc::clone(&subscriber.queue)).collect();
        for queue in &queues {
            queue.flush();
        }
        let all = async {
            for queue in &queues {
                queue.emptied().await;
            }
        };
        tokio::select! {
            () = all => {}
            () = self.course.clock.sleep_until(until) => {}
        }
    }
}
