//! The Query protocol of SQS: form parameters in, XML out, or JSON where the client asks for it (facts: SQS §1.2).

mod json;
mod member;
mod params;
mod xml;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use lambfold_api::schema::Shape;
use lambfold_api::wire::{Frame, WireCodec};
use lambfold_api::{BoxStream, Fault, Operation};
use uuid::Uuid;

use crate::fault::object;
use crate::serialization;

/// In what an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryFormat {
    /// XML.
    Xml,
    /// JSON, under `Accept: application/json`.
    Json,
}

/// A request of the Query protocol.
#[derive(Clone, Debug)]
pub struct QueryRequest {
    /// The parameters, as they stood in the body or in the URL; the body's come first where there are both.
    pub parameters: Vec<Bytes>,
    /// The queue URL that the request was sent to: it stands in for a `QueueUrl` that is not among the parameters.
    pub queue_url: Option<String>,
}

/// The codec of the Query protocol. Made for each request: documents name it.
#[derive(Clone, Copy, Debug)]
pub struct AwsQuery {
    /// In what the answer is written.
    pub format: QueryFormat,
    /// The request's id.
    pub request_id: Uuid,
}

impl WireCodec for AwsQuery {
    type Request = QueryRequest;
    type Response = Response<Bytes>;

    fn decode<T: Shape>(&self, _: &'static Operation, request: QueryRequest) -> Result<T, Fault> {
        let mut root = params::Node::default();
        for pair in request.parameters.iter().flat_map(|text| form_urlencoded::parse(text)) {
            root.insert(&pair.0, pair.1);
        }
        if let Some(url) = request.queue_url {
            root.insert("QueueUrl", url.into());
        }
        T::deserialize(member::Structure { node: &root, schema: T::SCHEMA })
            .map_err(|error| serialization::fault(&error))
    }

    fn encode<T: Shape>(&self, operation: &'static Operation, output: T) -> Result<Response<Bytes>, Fault> {
        let body = match self.format {
            QueryFormat::Xml => xml::document(operation, &output, self.request_id),
            QueryFormat::Json => json::document(operation, &output, self.request_id),
        };
        Ok(answer(body.map_err(|_| Fault::internal())?, self.format))
    }

    async fn encode_stream<T: Frame>(
        &self,
        operation: &'static Operation,
        _: BoxStream<Result<T, Fault>>,
    ) -> Result<Response<Bytes>, Fault> {
        Err(Fault::planned(operation))
    }
}

fn answer(body: Bytes, format: QueryFormat) -> Response<Bytes> {
    let mut response = Response::new(body);
    let content_type = match format {
        QueryFormat::Xml => "text/xml",
        QueryFormat::Json => "application/json",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The document that tells an error; its status is set by the caller.
pub(crate) fn error(fault: &Fault, format: QueryFormat, request_id: Uuid) -> Response<Bytes> {
    let side = if fault.is_sender() { "Sender" } else { "Receiver" };
    // The one text that AWS words otherwise in this protocol.
    let message = match (fault.code(), fault.message()) {
        ("QueueDoesNotExist", "The specified queue does not exist.") => {
            "The specified queue does not exist for this wsdl version."
        }
        (_, message) => message,
    };
    let body = match format {
        QueryFormat::Xml => xml::error(side, fault.query_code(), message, request_id),
        QueryFormat::Json => object(|map| {
            use serde::ser::SerializeMap;
            let error = json::ErrorBody { side, code: fault.query_code(), message };
            map.serialize_entry("Error", &error)?;
            map.serialize_entry("RequestId", &request_id.to_string())
        }),
    };
    answer(body, format)
}

/// The value of the first parameter of that name.
pub(crate) fn parameter(parameters: &[Bytes], wanted: &str) -> Option<String> {
    parameters
        .iter()
        .flat_map(|text| form_urlencoded::parse(text))
        .find(|(name, _)| name == wanted)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests;
