//! The seam between the operation table and the wire protocols: `lambfold-aws-wire` implements it.

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

    /// Writes a streamed output, frame by frame.
    fn encode_stream<T: prost::Message + 'static>(
        &self,
        operation: &'static Operation,
        output: BoxStream<Result<T, Fault>>,
    ) -> Result<Self::Response, Fault>;
}
