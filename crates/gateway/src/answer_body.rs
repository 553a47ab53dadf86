//! Bodies of answers: written as the client takes them.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use lambfold_api::BoxStream;
use lambfold_aws_wire::Answer;
use lambfold_types::{Clock, Timestamp};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The most that a connection gets of an answer at once. It asks for more when nearly all is written, so every piece says
/// that the client reads: one of several megabytes would leave a slow client no sign of life to give.
const MOST_PIECE_BYTES: usize = 64 << 10;

/// The body of an answer. A stream is asked for its next piece only when the connection has room for it.
pub(crate) enum AnswerBody<G> {
    /// It is here already: only writing is left, and hyper does that. Empty when it was taken.
    Whole(Bytes),
    Stream {
        pieces: Arc<Piecemeal<G>>,
        /// Ends the watch over it.
        _watched: DropGuard,
    },
}

/// An answer that comes in pieces. `G` is held until the last one is taken.
pub(crate) struct Piecemeal<G> {
    state: Mutex<State<G>>,
    clock: Arc<dyn Clock>,
}

enum State<G> {
    Open(Open<G>),
    Ended,
    /// The client took nothing for too long.
    GivenUp,
}

struct Open<G> {
    source: BoxStream<io::Result<Bytes>>,
    _guard: G,
    /// What the source gave and the connection has not taken.
    rest: Bytes,
    /// When a piece was handed over, if the connection has had no room for the next one since; `None` while the source has
    /// no piece yet.
    handed: Option<Timestamp>,
}

impl<G: Send + 'static> AnswerBody<G> {
    /// `answer`, holding `guard` while there is more of it to come. A client that takes nothing of it for `patience` gets
    /// no more: what makes the answer, and has a bounded number of places, must not wait for it for ever. One of `tasks`
    /// watches that.
    pub(crate) fn new(
        answer: Answer,
        guard: G,
        patience: Duration,
        clock: Arc<dyn Clock>,
        tasks: &TaskTracker,
    ) -> Self {
        match answer {
            Answer::Whole(body) => Self::Whole(body),
            Answer::Stream(source) => {
                let open = Open { source, _guard: guard, rest: Bytes::new(), handed: None };
                let pieces = Arc::new(Piecemeal { state: Mutex::new(State::Open(open)), clock });
                let over = CancellationToken::new();
                let watch = watch(pieces.clock.clone(), Arc::downgrade(&pieces), patience);
                tasks.spawn(over.clone().run_until_cancelled_owned(watch));
                Self::Stream { pieces, _watched: over.drop_guard() }
            }
        }
    }
}

async fn watch<G>(clock: Arc<dyn Clock>, stream: Weak<Piecemeal<G>>, patience: Duration) {
    let mut look = clock.now() + patience;
    loop {
        clock.sleep_until(look).await;
        let Some(stream) = stream.upgrade() else { return };
        let mut state = stream.state();
        let State::Open(open) = &*state else { return };
        look = open.handed.unwrap_or(clock.now()) + patience;
        if look <= clock.now() {
            *state = State::GivenUp;
            return;
        }
    }
}

impl<G> Piecemeal<G> {
    fn state(&self) -> MutexGuard<'_, State<G>> {
        // A source that panicked is not asked again: it was taken out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut state = self.state();
        let mut open = match std::mem::replace(&mut *state, State::Ended) {
            State::Open(open) => open,
            State::Ended => return Poll::Ready(None),
            State::GivenUp => {
                let text = "the client took nothing of the answer for too long";
                return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, text))));
            }
        };
        if open.rest.is_empty() {
            match open.source.as_mut().poll_next(cx) {
                Poll::Pending => {
                    open.handed = None;
                    *state = State::Open(open);
                    return Poll::Pending;
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(bytes))) => open.rest = bytes,
            }
        }
        let piece = open.rest.split_to(open.rest.len().min(MOST_PIECE_BYTES));
        open.handed = Some(self.clock.now());
        *state = State::Open(open);
        Poll::Ready(Some(Ok(piece)))
    }
}

impl<G> Body for AnswerBody<G> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => {
                let body = std::mem::take(body);
                Poll::Ready((!body.is_empty()).then(|| Ok(Frame::data(body))))
            }
            Self::Stream { pieces, .. } => {
                pieces.poll(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_empty(),
            Self::Stream { pieces, .. } => matches!(*pieces.state(), State::Ended),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};
    use http_body_util::BodyExt;
    use lambfold_clock::ManualClock;

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    fn body(pieces: Vec<Bytes>, clock: &ManualClock, tasks: &TaskTracker) -> AnswerBody<()> {
        let pieces = stream::iter(pieces.into_iter().map(Ok)).chain(stream::pending());
        AnswerBody::new(Answer::Stream(Box::pin(pieces)), (), PATIENCE, Arc::new(clock.clone()), tasks)
    }

    /// Lets everything happen that needs no time. One thread runs all tasks, so enough turns do.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_slow_client_that_reads_gets_all_and_one_that_stops_gets_no_more() {
        let (clock, tasks) = (ManualClock::at(Timestamp::from_millis(0)), TaskTracker::new());
        let all = (0..251).cycle().take(MOST_PIECE_BYTES * 3 + 7).collect::<Bytes>();
        let mut body = body(vec![all.clone(), all.clone()], &clock, &tasks);
        let mut taken = Vec::new();
        // Ten minutes for what came from its source as two pieces.
        for _ in 0..8 {
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(piece.len() <= MOST_PIECE_BYTES);
            taken.extend_from_slice(&piece);
            clock.advance(PATIENCE.saturating_sub(Duration::from_secs(1)));
            settle().await;
        }
        assert!(taken == [all.clone(), all].concat());
        clock.advance(PATIENCE);
        settle().await;
        assert_eq!(body.frame().await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_source_that_takes_its_time_is_no_fault_of_the_client() {
        let (clock, tasks) = (ManualClock::at(Timestamp::from_millis(0)), TaskTracker::new());
        let mut body = body(vec![Bytes::from_static(b"a")], &clock, &tasks);
        body.frame().await.unwrap().unwrap();
        for _ in 0..3 {
            assert!(body.frame().now_or_never().is_none());
            clock.advance(PATIENCE * 2);
            settle().await;
        }
        assert!(body.frame().now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_watch_ends_with_the_answer() {
        let (clock, tasks) = (ManualClock::at(Timestamp::from_millis(0)), TaskTracker::new());
        let body = body(Vec::new(), &clock, &tasks);
        settle().await;
        assert_eq!(tasks.len(), 1);
        drop(body);
        settle().await;
        assert!(tasks.is_empty(), "no time has passed");
    }
}
