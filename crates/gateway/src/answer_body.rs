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

/// The body of an answer. A stream is asked for its next piece only when the connection has room for it.
pub(crate) enum AnswerBody<G> {
    /// It is here already: only writing is left, and hyper does that. Empty when it was taken.
    Whole(Bytes),
    Stream(Arc<Piecemeal<G>>),
}

/// An answer that comes in pieces. `G` is held until the last one is taken.
pub(crate) struct Piecemeal<G> {
    state: Mutex<State<G>>,
    clock: Arc<dyn Clock>,
}

enum State<G> {
    /// The source has no piece yet.
    Waiting(BoxStream<io::Result<Bytes>>, G),
    /// A piece was handed over at that time, and the connection has no room for the next one since.
    Handed(BoxStream<io::Result<Bytes>>, G, Timestamp),
    Ended,
    /// The client took nothing for too long.
    GivenUp,
}

impl<G: Send + 'static> AnswerBody<G> {
    /// `answer`, holding `guard` while there is more of it to come. A client that takes nothing of it for `patience` gets
    /// no more: what makes the answer, and has a bounded number of places, must not wait for it for ever.
    pub(crate) fn new(answer: Answer, guard: G, patience: Duration, clock: Arc<dyn Clock>) -> Self {
        match answer {
            Answer::Whole(body) => Self::Whole(body),
            Answer::Stream(body) => {
                let stream = Arc::new(Piecemeal { state: Mutex::new(State::Waiting(body, guard)), clock });
                tokio::spawn(watch(stream.clock.clone(), Arc::downgrade(&stream), patience));
                Self::Stream(stream)
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
        match *state {
            State::Ended | State::GivenUp => return,
            State::Waiting(..) => look = clock.now() + patience,
            State::Handed(_, _, since) if clock.now() < since + patience => look = since + patience,
            State::Handed(..) => {
                *state = State::GivenUp;
                return;
            }
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
        let (mut source, guard) = match std::mem::replace(&mut *state, State::Ended) {
            State::Waiting(source, guard) | State::Handed(source, guard, _) => (source, guard),
            State::Ended => return Poll::Ready(None),
            State::GivenUp => {
                let text = "the client took nothing of the answer for too long";
                return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, text))));
            }
        };
        let next = source.as_mut().poll_next(cx);
        match &next {
            Poll::Pending => *state = State::Waiting(source, guard),
            Poll::Ready(Some(_)) => *state = State::Handed(source, guard, self.clock.now()),
            Poll::Ready(None) => {}
        }
        next
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
            Self::Stream(stream) => stream.poll(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_empty(),
            Self::Stream(stream) => matches!(*stream.state(), State::Ended),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
