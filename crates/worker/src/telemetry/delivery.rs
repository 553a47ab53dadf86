//! One subscriber's batches on their way: again if they do not arrive, and given up after a while.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::Course;
use super::destination::Sender;
use super::event::Event;
use super::queue::{Batch, Queue};
use super::subscription::Subscription;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Before the second attempt; doubled each time. An extension's server may not listen yet when it subscribes.
const PAUSE: Duration = Duration::from_millis(50);
const ATTEMPTS: u32 = 6;

/// Counted while it exists.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Delivers, for ever.
pub(super) async fn run(queue: Arc<Queue>, subscription: Subscription, course: Arc<Course>) {
    let Ok(network) = course.network.subscribe().wait_for(Option::is_some).await.map(|it| it.clone()) else {
        return;
    };
    let Some(network) = network else { return };
    let mut sender = Sender::new(subscription.destination.clone(), network);
    loop {
        let batch = queue.batch(&*course.clock).await;
        let events = events(&batch, &subscription, &course);
        let reached = events.is_empty() || course.deliver(&mut sender, &events).await;
        queue.sent(&batch, reached, course.clock.now());
    }
}

/// With word of what is missing, whatever is subscribed to: who is not told takes it for all there was.
fn events(batch: &Batch, subscription: &Subscription, course: &Course) -> Vec<bytes::Bytes> {
    let mut events = batch.events.clone();
    if batch.lost.records > 0 {
        let reason = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs.";
        let event = Event::dropped(course.clock.now(), reason, batch.lost.records, batch.lost.bytes);
        events.extend(event.render(subscription.schema, false));
    }
    events
}

impl Course {
    /// False if it does not arrive.
    async fn deliver(&self, sender: &mut Sender, events: &[bytes::Bytes]) -> bool {
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            self.thawed().await;
            let outcome = {
                let _under_way = UnderWay::new(&self.under_way);
                let mut sending = pin!(sender.send(events));
                tokio::select! {
                    outcome = &mut sending => outcome,
                    () = self.patience() => Err("no answer within three seconds".into()),
                }
            };
            let Err(error) = outcome else { return true };
            tracing::debug!(error, attempt, "telemetry did not reach an extension");
            // What became of it cannot be known.
            sender.disconnect();
            if attempt < ATTEMPTS {
                self.clock.sleep_until(self.clock.now() + pause).await;
                pause *= 2;
            }
        }
        false
    }

    async fn thawed(&self) {
        // The sender is in `self`, so it cannot have gone.
        let _ = self.frozen.subscribe().wait_for(|frozen| !frozen).await;
    }

    /// Returns after [`ATTEMPT`] in which nothing stood still.
    async fn patience(&self) {
        let mut frozen = self.frozen.subscribe();
        loop {
            let _ = frozen.wait_for(|frozen| !frozen).await;
            tokio::select! {
                () = self.clock.sleep_until(self.clock.now() + ATTEMPT) => return,
                _ = frozen.changed() => {}
            }
        }
    }
}
