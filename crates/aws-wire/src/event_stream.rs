//! AWS's event stream encoding (`application/vnd.amazon.eventstream`): messages of headers and payload, each framed by
//! its length and two CRC-32s, one after another in a body that does not end until the stream does.
//!
//! Source: the Smithy specification of the encoding, <https://smithy.io/2.0/aws/amazon-eventstream.html>.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, Response, header};
use lambfold_api::schema::Shape;
use lambfold_api::wire::{Event, Frame, WireCodec};
use lambfold_api::{BoxStream, Fault, Operation};

/// What a body of such messages calls itself.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.amazon.eventstream");

/// The most bytes of headers and of a payload in one message.
const MOST_HEADER_BYTES: usize = 128 << 10;
const MOST_PAYLOAD_BYTES: usize = 24 << 20;
/// The type of a header whose value is text.
const STRING: u8 = 7;
/// Total length, length of the headers, their CRC.
const PRELUDE: usize = 12;
/// The CRC of all.
const TRAILER: usize = 4;

/// A message with text headers. `None` if it is larger than the encoding allows.
pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Option<Bytes> {
    let mut written = BytesMut::with_capacity(128);
    for (name, value) in headers {
        written.put_u8(u8::try_from(name.len()).ok()?);
        written.put_slice(name.as_bytes());
        written.put_u8(STRING);
        written.put_u16(u16::try_from(value.len()).ok()?);
        written.put_slice(value.as_bytes());
    }
    if written.len() > MOST_HEADER_BYTES || payload.len() > MOST_PAYLOAD_BYTES {
        return None;
    }
    let total = PRELUDE + written.len() + payload.len() + TRAILER;
    let mut message = BytesMut::with_capacity(total);
    message.put_u32(u32::try_from(total).ok()?);
    message.put_u32(u32::try_from(written.len()).ok()?);
    message.put_u32(crc32fast::hash(&message));
    message.put_slice(&written);
    message.put_slice(payload);
    message.put_u32(crc32fast::hash(&message));
    Some(message.freeze())
}

/// An event.
fn event(name: &str, content_type: &str, payload: &[u8]) -> Option<Bytes> {
    let headers = [(":event-type", name), (":content-type", content_type), (":message-type", "event")];
    message(&headers, payload)
}

/// A failure in the middle: what AWS's model calls an exception of the stream.
fn exception(fault: &Fault) -> Option<Bytes> {
    let payload = serde_json::json!({ "message": fault.message() }).to_string();
    let headers = [
        (":exception-type", fault.code()),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    ];
    message(&headers, payload.as_bytes())
}

/// What an operation answers with: a body at hand, or one that comes piece by piece.
pub enum Answer {
    /// All of it.
    Whole(Bytes),
    /// As it comes; whoever reads slowly is written to slowly. An error breaks the connection: nothing else tells a
    /// client that what it has is not all.
    Stream(BoxStream<io::Result<Bytes>>),
}

impl From<Bytes> for Answer {
    fn from(body: Bytes) -> Self {
        Self::Whole(body)
    }
}

/// A protocol whose streamed outputs are event streams. What is not streamed stays as the protocol inside has it.
#[derive(Clone, Copy, Debug)]
pub struct EventStreams<C> {
    codec: C,
    /// The RPC protocols tell the members of the output that are no events in an event of their own; REST has headers.
    initial_response: bool,
}

impl<C> EventStreams<C> {
    /// For AWS JSON: a stream begins with an `initial-response`.
    pub fn rpc(codec: C) -> Self {
        Self { codec, initial_response: true }
    }

    /// For REST.
    pub fn rest(codec: C) -> Self {
        Self { codec, initial_response: false }
    }
}

impl<C: WireCodec<Response = Response<Bytes>>> WireCodec for EventStreams<C> {
    type Request = C::Request;
    type Response = Response<Answer>;

    fn decode<T: Shape>(&self, operation: &'static Operation, request: C::Request) -> Result<T, Fault> {
        self.codec.decode(operation, request)
    }

    fn encode<T: Shape>(&self, operation: &'static Operation, output: T) -> Result<Response<Answer>, Fault> {
        Ok(self.codec.encode(operation, output)?.map(Answer::Whole))
    }

    async fn encode_stream<T: Frame>(
        &self,
        operation: &'static Operation,
        mut output: BoxStream<Result<T, Fault>>,
    ) -> Result<Response<Answer>, Fault> {
        let (mut head, mut first) = (Response::new(Bytes::new()), None);
        if self.initial_response {
            let events = Encoded { frames: Some(output) };
            let begin = event("initial-response", "application/json", b"{}");
            return Ok(streamed(head, futures_util::stream::iter(begin).chain(events)));
        }
        // A failure before the first frame has a status of its own.
        match output.next().await.transpose()?.map(|frame| frame.head(&self.codec, operation)) {
            Some(Ok(encoded)) => head = encoded?,
            Some(Err(frame)) => first = Some(Ok(frame)),
            None => {}
        }
        let frames: BoxStream<_> = Box::pin(futures_util::stream::iter(first).chain(output));
        Ok(streamed(head, Encoded { frames: Some(frames) }))
    }
}

fn streamed(head: Response<Bytes>, body: impl Stream<Item = Bytes> + Send + 'static) -> Response<Answer> {
    let (mut head, _) = head.into_parts();
    head.headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    Response::from_parts(head, Answer::Stream(Box::pin(body.map(Ok))))
}

/// Frames as messages; an exception is the last one.
struct Encoded<T> {
    frames: Option<BoxStream<Result<T, Fault>>>,
}

impl<T: Frame> Stream for Encoded<T> {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let Some(frames) = &mut self.frames else { return Poll::Ready(None) };
            let Some(next) = std::task::ready!(frames.as_mut().poll_next(cx)) else {
                self.frames = None;
                return Poll::Ready(None);
            };
            match next.and_then(Frame::event) {
                Ok(None) => {}
                Ok(Some(Event { name, content_type, payload })) => {
                    if let Some(message) = event(name, content_type, &payload) {
                        return Poll::Ready(Some(message));
                    }
                    self.frames = None;
                    return Poll::Ready(exception(&Fault::internal()));
                }
                Err(fault) => {
                    self.frames = None;
                    return Poll::Ready(exception(&fault));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
