//! Answers that are streamed, in the terms of `InvokeWithResponseStream` (facts: Lambda API, Response streaming).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use lambfold_api::lambda::invoke_with_response_stream_frame::Frame;
use lambfold_api::lambda::{
    InvocationRequest, InvokeResponseStreamUpdate, InvokeWithResponseStreamCompleteEvent,
    InvokeWithResponseStreamFrame, InvokeWithResponseStreamHead, InvokeWithResponseStreamRequest,
};
use lambfold_api::worker::InvokeResponse;
use lambfold_api::{BoxStream, Fault};
use tokio::sync::mpsc;

use crate::invocation::Piece;

type Frames = BoxStream<Result<InvokeWithResponseStreamFrame, Fault>>;

/// The same request of the ordinary invoke: all that is checked, and given to the function, is the same.
pub(crate) fn as_invocation(input: InvokeWithResponseStreamRequest) -> InvocationRequest {
    InvocationRequest {
        function_name: input.function_name,
        invocation_type: input.invocation_type,
        log_type: input.log_type,
        client_context: input.client_context,
        payload: input.payload,
        qualifier: input.qualifier,
        tenant_id: input.tenant_id,
        durable_execution_name: None,
    }
}

/// What a dry run answers: nothing but the head.
pub(crate) fn dry_run(executed_version: String) -> Frames {
    Box::pin(stream::iter([Ok(head(204, executed_version, String::new()))]))
}

/// The frames of an invocation that began with `first`. They are taken from the worker as they are read.
pub(crate) fn frames(executed_version: String, first: Piece, pieces: mpsc::Receiver<Piece>) -> Frames {
    let (content_type, first) = match first {
        Piece::Head(content_type) => (content_type, None),
        other => (String::new(), Some(other)),
    };
    let head = head(200, executed_version, content_type);
    let rest = stream::unfold((first, Some(pieces)), |(first, pieces)| async move {
        let mut pieces = pieces?;
        let piece = match first {
            Some(piece) => Some(piece),
            None => pieces.recv().await,
        };
        Some(match piece {
            Some(Piece::Bytes(bytes)) => (vec![chunk(bytes)], (None, Some(pieces))),
            Some(Piece::Head(_)) => (Vec::new(), (None, Some(pieces))),
            Some(Piece::End(outcome)) => (end(outcome), (None, None)),
            // The task that ran it is gone.
            None => (end(Err(Fault::internal())), (None, None)),
        })
    });
    let rest = rest.flat_map(stream::iter);
    Box::pin(stream::once(std::future::ready(head)).chain(rest).map(Ok))
}

/// An answer that was not streamed is one piece. Errors are told in the last frame: the status has been sent.
fn end(outcome: Result<InvokeResponse, Fault>) -> Vec<InvokeWithResponseStreamFrame> {
    let mut frames = Vec::with_capacity(2);
    let complete = match outcome {
        Ok(response) => {
            let failed = !response.function_error.is_empty();
            if !failed && !response.payload.is_empty() {
                frames.push(chunk(response.payload.clone()));
            }
            InvokeWithResponseStreamCompleteEvent {
                error_code: failed.then_some(response.function_error),
                error_details: failed.then(|| String::from_utf8_lossy(&response.payload).into_owned()),
                log_result: (!response.log_tail.is_empty()).then(|| STANDARD.encode(&response.log_tail)),
            }
        }
        Err(fault) => InvokeWithResponseStreamCompleteEvent {
            error_code: Some(fault.code().to_owned()),
            error_details: Some(fault.message().to_owned()),
            log_result: None,
        },
    };
    frames.push(frame(Frame::Complete(complete)));
    frames
}

fn head(status: i32, executed_version: String, content_type: String) -> InvokeWithResponseStreamFrame {
    frame(Frame::Head(InvokeWithResponseStreamHead {
        status_code: Some(status),
        executed_version: Some(executed_version),
        response_stream_content_type: (!content_type.is_empty()).then_some(content_type),
    }))
}

fn chunk(payload: Bytes) -> InvokeWithResponseStreamFrame {
    frame(Frame::Chunk(InvokeResponseStreamUpdate { payload: Some(payload) }))
}

fn frame(frame: Frame) -> InvokeWithResponseStreamFrame {
    InvokeWithResponseStreamFrame { frame: Some(frame) }
}
