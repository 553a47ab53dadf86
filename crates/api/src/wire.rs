//! The seam between the operation table and the wire protocols: `lambfold-aws-wire` implements it.

use bytes::Bytes;

use crate::BoxStream;
use crate::fault::Fault;
use crate::operation::Operation;
use crate::schema::Shape;

/// One wire protocol: bytes to shapes and back. The generated `serve_…` functions call it around an operation.
pub trait WireCodec: Sync {
    /// A request whose body has been read.
    type Request: Send;
    /// An answer.
    type Response: Send;

    /// Reads the input of `operation`.
    fn decode<T: Shape>(&self, operation: &'static Operation, request: Self::Request) -> Result<T, Fault>;

    /// Writes its output.
    fn encode<T: Shape>(&self, operation: &'static Operation, output: T) -> Result<Self::Response, Fault>;

    /// Writes a streamed output, frame by frame. Waits for the head, where there is one.
    fn encode_stream<T: Frame>(
        &self,
        operation: &'static Operation,
        output: BoxStream<Result<T, Fault>>,
    ) -> impl Future<Output = Result<Self::Response, Fault>> + Send;
}

/// One frame of a streamed output: a message with one `oneof`, whose fields are the events of AWS's model under their
/// AWS names. Generated.
pub trait Frame: prost::Message + Sized + 'static {
    /// What the members of the output that are no events come to in the protocol of `codec`, if this frame has them: a
    /// stream's first frame may. Otherwise the frame itself.
    fn head<C: WireCodec>(
        self,
        codec: &C,
        operation: &'static Operation,
    ) -> Result<Result<C::Response, Fault>, Self>;

    /// The event that it is; `None` for a frame that says nothing.
    fn event(self) -> Result<Option<Event>, Fault>;
}

/// An event of a stream, ready for any framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The name in AWS's model, such as `sessionStart`.
    pub name: &'static str,
    /// What the payload is.
    pub content_type: &'static str,
    /// The event.
    pub payload: Bytes,
}

impl Event {
    /// The event `name`: a structure as JSON, or the bytes of its payload member.
    pub fn of<T: Shape>(name: &'static str, mut shape: T) -> Result<Self, Fault> {
        if T::HAS_PAYLOAD {
            let payload = shape.take_payload().unwrap_or_default();
            return Ok(Self { name, content_type: "application/octet-stream", payload });
        }
        let payload = serde_json::to_vec(&shape).map_err(|_| Fault::internal())?.into();
        Ok(Self { name, content_type: "application/json", payload })
    }
}
