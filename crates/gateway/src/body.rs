//! Bodies of requests: read within bounds of size and time, without copying what arrives in one piece.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use lambfold_api::Fault;
use lambfold_types::Clock;
use tokio::select;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What is read and thrown away of a body over its limit, so that a client that is still sending hears the answer
/// instead of a broken connection. Beyond it the client learns it that way.
const DRAINED: usize = 32 << 20;
/// Memory that is set aside for a body before it arrives.
const SET_ASIDE: usize = 1 << 20;

/// What of a body may be held without having room for it.
const UNCOUNTED: usize = 64 << 10;

/// Memory for the bodies that are still arriving, all connections together: a client must not fill the machine by
/// sending large bodies that never end. Who finds no room waits, and sends no more meanwhile.
pub(crate) struct Room {
    /// In KiB.
    free: Semaphore,
    all: usize,
}

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        let all = (bytes >> 10).clamp(1, u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Self { free: Semaphore::new(all), all }
    }

    /// Room for a body of `bytes`, until it is dropped; all there is for one that is larger than that. The whole of it
    /// at once: two that had half of theirs would wait for each other.
    async fn take(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let wanted = bytes.div_ceil(1 << 10).min(self.all);
        // It is never closed.
        self.free.acquire_many(u32::try_from(wanted).unwrap_or(u32::MAX)).await.ok()
    }
}

/// The whole body, if it has at most `limit` bytes and comes, and finds room, within `patience`.
pub(crate) async fn read(
    body: Incoming,
    limit: usize,
    room: &Room,
    patience: Duration,
    clock: &dyn Clock,
    expects_continue: bool,
) -> Result<Bytes, Fault> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    // A client that asks first has sent nothing that would have to be read.
    if announced > limit.saturating_add(if expects_continue { 0 } else { DRAINED }) {
        return Err(Fault::too_large(limit));
    }
    let mut collect = pin!(collect(body, limit, room));
    // Most bodies are there already: no timer for those.
    let first = poll_fn(|cx| Poll::Ready(collect.as_mut().poll(cx))).await;
    if let Poll::Ready(outcome) = first {
        return outcome;
    }
    select! {
        biased;
        outcome = collect => outcome,
        () = clock.sleep_until(clock.now() + patience) => Err(Fault::raw(
            "RequestTimeout",
            "RequestTimeout",
            408,
            "The request's body did not arrive in time.",
        )),
    }
}

async fn collect(mut body: Incoming, limit: usize, room: &Room) -> Result<Bytes, Fault> {
    let Some(first) = next(&mut body).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() && first.len() <= limit {
        return Ok(first);
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let expected = first.len().saturating_add(announced).min(limit);
    // Without an announcement it may become as large as it may.
    let most = if body.size_hint().exact().is_some() { expected } else { limit };
    let mut whole = BytesMut::with_capacity(expected.min(UNCOUNTED));
    let mut taken = None;
    let mut rest = Some(first);
    while let Some(data) = rest {
        if whole.len().saturating_add(data.len()) > limit {
            drain(body, DRAINED).await;
            return Err(Fault::too_large(limit));
        }
        if taken.is_none() && whole.len().saturating_add(data.len()) > UNCOUNTED {
            taken = room.take(most).await;
            whole.reserve(expected.min(SET_ASIDE).saturating_sub(whole.len()));
        }
        whole.extend_from_slice(&data);
        rest = next(&mut body).await?;
    }
    Ok(whole.freeze())
}

async fn drain(mut body: Incoming, mut most: usize) {
    while let Ok(Some(data)) = next(&mut body).await {
        most = match most.checked_sub(data.len()) {
            Some(most) => most,
            None => return,
        };
    }
}

/// The next piece of data.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Fault> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            // Trailers are skipped.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => return Err(Fault::serialization("The request's body ended early.")),
        }
    }
}
