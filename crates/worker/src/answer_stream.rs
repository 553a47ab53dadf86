//! A streamed answer as the dispatcher gets it: the pieces in their order, and the end.

use futures_util::stream::{self, Stream};
use lambfold_api::Fault;
use lambfold_api::worker::invoke_frame::Frame;
use lambfold_api::worker::{AnswerHead, InvokeFrame};
use tokio::sync::mpsc;
use tracing::{Instrument, Span};

use crate::environment::Pending;
use crate::runtime_api::Piece;

/// The frames of an invocation whose pieces come over `pieces`. They end when the function has answered, or failed; its
/// process may be gone by then, with a piece on its way.
pub(crate) fn frames(
    pieces: mpsc::Receiver<Piece>,
    pending: Pending,
    span: Span,
) -> impl Stream<Item = Result<InvokeFrame, Fault>> + Send {
    let answer = Some(Box::pin(pending.answer().instrument(span)));
    stream::unfold((pieces, answer, None), |(mut pieces, mut answer, mut outcome)| async move {
        if let Some(coming) = &mut answer {
            tokio::select! {
                biased;
                Some(piece) = pieces.recv() => return Some((Ok(frame(piece)), (pieces, answer, None))),
                ended = coming => outcome = Some(ended),
            }
            // What came before the end is told before it; what its connection may still read is not.
            pieces.close();
            answer = None;
        }
        if let Some(piece) = pieces.recv().await {
            return Some((Ok(frame(piece)), (pieces, answer, outcome)));
        }
        let end = outcome?.map(|response| InvokeFrame { frame: Some(Frame::End(response)) });
        Some((end, (pieces, answer, None)))
    })
}

fn frame(piece: Piece) -> InvokeFrame {
    let frame = match piece {
        Piece::Head(content_type) => Frame::Head(AnswerHead { content_type }),
        Piece::Bytes(bytes) => Frame::Chunk(bytes),
    };
    InvokeFrame { frame: Some(frame) }
}
