//! The one way in. What waits is committed together; what would make too much wait is refused.

use std::sync::Arc;
use std::time::Duration;

use lambfold_api::Fault;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::faults;
use crate::record::{Batch, Event, Position};
use crate::service::Shared;
use crate::store::Found;
use crate::tail::Arrived;

/// Batches that may wait; most are bounded by their bytes before.
const WAITING: usize = 4096;
/// Batches of one commit.
const COMMIT: usize = 512;
/// Permits count kibibytes.
const UNIT: usize = 1024;
/// When to come again after a refusal.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Where batches go in.
pub(crate) struct Intake {
    waiting: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    most: usize,
}

/// The other end.
pub(crate) struct Outlet(mpsc::Receiver<Waiting>);

struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<Found<()>, Fault>>,
    /// Held until it is written.
    room: Option<OwnedSemaphorePermit>,
}

type Answer = oneshot::Receiver<Result<Found<()>, Fault>>;

pub(crate) fn channel(most_waiting_bytes: usize) -> (Intake, Outlet) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let most = (most_waiting_bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
    (Intake { waiting: sender, room: Arc::new(Semaphore::new(most)), most }, Outlet(receiver))
}

impl Intake {
    /// Appends `batch` and returns when it is committed. Refused at once if too much waits.
    pub(crate) async fn append(&self, shared: &Shared, batch: Batch) -> Result<Found<()>, Fault> {
        let mut answers = self.enter(shared, vec![batch])?;
        match answers.pop() {
            Some(answer) => answer.await.unwrap_or_else(|_| Err(Fault::unavailable())),
            None => Err(Fault::internal()),
        }
    }

    /// The same for several: all enter, or none does.
    pub(crate) async fn append_all(&self, shared: &Shared, batches: Vec<Batch>) -> Result<(), Fault> {
        for answer in self.enter(shared, batches)? {
            answer.await.unwrap_or_else(|_| Err(Fault::unavailable()))?;
        }
        Ok(())
    }

    fn enter(&self, shared: &Shared, batches: Vec<Batch>) -> Result<Vec<Answer>, Fault> {
        let refused = || {
            shared.metrics.refused.inc();
            Fault::overloaded(RETRY_AFTER)
        };
        let places = match self.waiting.try_reserve_many(batches.len()) {
            Ok(places) => places,
            Err(TrySendError::Closed(())) => return Err(Fault::unavailable()),
            Err(TrySendError::Full(())) => return Err(refused()),
        };
        // What is larger than all the room has it to itself.
        let units = |batch: &Batch| batch.bytes().div_ceil(UNIT).max(1);
        let total = batches.iter().map(units).sum::<usize>().min(self.most);
        let wanted = u32::try_from(total).unwrap_or(u32::MAX);
        let mut room = self.room.clone().try_acquire_many_owned(wanted).map_err(|_| refused())?;
        let mut answers = Vec::with_capacity(batches.len());
        for (place, batch) in places.zip(batches) {
            let (answer, answered) = oneshot::channel();
            // The last of those that are too large together has what is left.
            let room = room.split(units(&batch).min(room.num_permits()));
            place.send(Waiting { batch, answer, room });
            answers.push(answered);
        }
        Ok(answers)
    }
}

/// Writes until `shutdown`, and then what waits.
pub(crate) async fn run(shared: Arc<Shared>, mut outlet: Outlet, shutdown: CancellationToken) {
    let mut waiting = Vec::with_capacity(COMMIT);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled(), if !outlet.0.is_closed() => {
                outlet.0.close();
                continue;
            }
            count = outlet.0.recv_many(&mut waiting, COMMIT) => {
                if count == 0 {
                    return;
                }
            }
        }
        commit(&shared, std::mem::take(&mut waiting)).await;
    }
}

async fn commit(shared: &Shared, waiting: Vec<Waiting>) {
    let now = shared.clock.now();
    let (batches, rest): (Vec<Batch>, Vec<_>) =
        waiting.into_iter().map(|Waiting { batch, answer, room }| (batch, (answer, room))).unzip();
    let batches = Arc::new(batches);
    let written = batches.clone();
    let outcome = shared.own(move |store| store.append(&written, now)).await;
    let outcomes = match outcome {
        Ok(outcomes) => outcomes,
        Err(fault) => {
            for (answer, _) in rest {
                // Whoever waited may have gone.
                let _ = answer.send(Err(fault.clone()));
            }
            return;
        }
    };
    let batches = Arc::try_unwrap(batches).unwrap_or_else(|shared| (*shared).clone());
    for ((batch, (answer, _room)), outcome) in batches.into_iter().zip(rest).zip(outcomes) {
        let told = match outcome {
            Found::Here(first) => {
                shared.metrics.events.inc_by(batch.events.len() as u64);
                shared.tails.publish(|| arrived(batch, first, now));
                Found::Here(())
            }
            Found::NoGroup => Found::NoGroup,
            Found::NoStream => Found::NoStream,
        };
        let _ = answer.send(Ok(told));
    }
}

fn arrived(batch: Batch, first: u64, now: lambfold_types::Timestamp) -> Arrived {
    let Batch { scope, group, stream, events, .. } = batch;
    let events = events.into_iter().zip(first..).map(|(event, sequence)| Event {
        position: Position { time_ms: event.time.millis(), sequence },
        stream: stream.clone(),
        ingested: now,
        message: event.message,
    });
    Arrived { scope, group, events: events.collect() }
}

/// What a caller of an append hears.
pub(crate) fn told(found: &Found<()>) -> Result<(), Fault> {
    match found {
        Found::Here(()) => Ok(()),
        Found::NoGroup => Err(faults::no_group()),
        Found::NoStream => Err(faults::no_stream()),
    }
}
