//! REST JSON: the operation in method and path, members in path, query string, headers and body (facts: Lambda API §1).

mod decode;
mod encode;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use lambfold_api::schema::Shape;
use lambfold_api::wire::{Frame, WireCodec};
use lambfold_api::{BoxStream, Fault, Operation};

use crate::router::Labels;
use crate::serialization;

/// What a body is, in both directions.
pub(crate) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json");

/// A request whose operation the router found.
#[derive(Debug)]
pub struct RestRequest {
    /// Its head, for query and headers.
    pub head: Parts,
    /// The parts of the path that are members.
    pub labels: Labels,
    /// Its body.
    pub body: Bytes,
}

/// The codec of REST JSON.
#[derive(Clone, Copy, Debug)]
pub struct RestJson;

impl WireCodec for RestJson {
    type Request = RestRequest;
    type Response = Response<Bytes>;

    fn decode<T: Shape>(&self, _: &'static Operation, request: RestRequest) -> Result<T, Fault> {
        let outside = decode::outside(T::SCHEMA, &request)?;
        let json = if T::HAS_PAYLOAD { &[][..] } else { &request.body };
        let mut input: T =
            decode::input(T::SCHEMA, outside, json).map_err(|error| serialization::fault(&error))?;
        if T::HAS_PAYLOAD && !request.body.is_empty() {
            input.set_payload(request.body);
        }
        Ok(input)
    }

    fn encode<T: Shape>(
        &self,
        operation: &'static Operation,
        mut output: T,
    ) -> Result<Response<Bytes>, Fault> {
        let payload = output.take_payload();
        let encoded = encode::output(T::SCHEMA, &output).map_err(|_| Fault::internal())?;
        let status = encoded.status.or(operation.http.as_ref().map(|binding| binding.status)).unwrap_or(200);
        let mut response = Response::new(payload.unwrap_or(encoded.body));
        *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Fault::internal())?;
        *response.headers_mut() = encoded.headers;
        if !response.body().is_empty() {
            response.headers_mut().entry(header::CONTENT_TYPE).or_insert(CONTENT_TYPE);
        }
        Ok(response)
    }

    async fn encode_stream<T: Frame>(
        &self,
        operation: &'static Operation,
        _: BoxStream<Result<T, Fault>>,
    ) -> Result<Response<Bytes>, Fault> {
        Err(Fault::planned(operation))
    }
}

#[cfg(test)]
mod tests;
