//! AWS JSON, 1.0 and 1.1: the operation in `X-Amz-Target`, one JSON object in, one out (facts: SQS §1.1).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use lambfold_api::schema::Shape;
use lambfold_api::wire::{Frame, WireCodec};
use lambfold_api::{BoxStream, Fault, Operation};

use crate::serialization;
use crate::strict::Strict;

/// What AWS JSON 1.0 calls itself.
pub(crate) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");
/// What AWS JSON 1.1 calls itself.
pub(crate) const CONTENT_TYPE_1_1: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");

/// Most answers have room in it: they grow no buffer.
const USUAL_BYTES: usize = 1 << 10;

/// The codec of AWS JSON, of the version that the operation's service speaks. A request is its body.
#[derive(Clone, Copy, Debug)]
pub struct AwsJson;

impl WireCodec for AwsJson {
    type Request = Bytes;
    type Response = Response<Bytes>;

    fn decode<T: Shape>(&self, _: &'static Operation, request: Bytes) -> Result<T, Fault> {
        let mut json = serde_json::Deserializer::from_slice(&request);
        T::deserialize(Strict(&mut json))
            .and_then(|input| json.end().map(|()| input))
            .map_err(|error| serialization::fault(&error))
    }

    fn encode<T: Shape>(&self, operation: &'static Operation, output: T) -> Result<Response<Bytes>, Fault> {
        // Operations without an output shape answer with an empty body.
        let body = if T::SCHEMA.members.is_empty() {
            Bytes::new()
        } else {
            let mut body = Vec::with_capacity(USUAL_BYTES);
            serde_json::to_writer(&mut body, &output).map_err(|_| Fault::internal())?;
            body.into()
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::OK;
        let content_type = if operation.json_version == "1.1" { CONTENT_TYPE_1_1 } else { CONTENT_TYPE };
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
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
mod tests {
    use lambfold_api::sqs::{
        CreateQueueResult, DeleteMessageResponse, ReceiveMessageResult, SQS_CREATE_QUEUE, SQS_DELETE_MESSAGE,
        SQS_RECEIVE_MESSAGE, SQS_SEND_MESSAGE, SendMessageRequest,
    };

    use super::*;

    #[test]
    fn an_input_is_one_json_object() {
        let body = r#"{"QueueUrl":"http://localhost:4566/000000000000/jobs","MessageBody":"a\u0000\ud83d\ude00","DelaySeconds":-1,
            "MessageAttributes":{"k":{"DataType":"Binary","BinaryValue":"AQI="}}}"#;
        let input: SendMessageRequest =
            AwsJson.decode(&SQS_SEND_MESSAGE, Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(input.message_body.as_deref(), Some("a\0😀"));
        assert_eq!(input.delay_seconds, Some(-1));
        assert_eq!(input.message_attributes["k"].binary_value.as_deref(), Some(&[1, 2][..]));
        let trailing: Result<SendMessageRequest, _> =
            AwsJson.decode(&SQS_SEND_MESSAGE, Bytes::from_static(b"{} {}"));
        assert_eq!(trailing.unwrap_err().code(), "SerializationException");
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let answer = AwsJson.encode(&SQS_RECEIVE_MESSAGE, ReceiveMessageResult::default()).unwrap();
        assert_eq!(answer.body(), "{}");
        let answer = AwsJson.encode(&SQS_DELETE_MESSAGE, DeleteMessageResponse {}).unwrap();
        assert_eq!(answer.body(), "");
        let output = CreateQueueResult { queue_url: Some("http://h/1/q".into()) };
        let answer = AwsJson.encode(&SQS_CREATE_QUEUE, output).unwrap();
        assert_eq!(answer.body(), r#"{"QueueUrl":"http://h/1/q"}"#);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/x-amz-json-1.0");
    }

    proptest::proptest! {
        /// Whole, cut off, or with a byte changed: an answer or a fault, never a panic; and what is no JSON is refused.
        #[test]
        fn no_body_breaks_the_reader(
            body in "\\PC{0,64}|[{}\\[\\]\":,a-z0-9QueMsgBody]{0,64}", cut in 0..200usize, at in 0..200usize, byte: u8
        ) {
            let decode = |bytes: Vec<u8>| -> Result<SendMessageRequest, Fault> {
                AwsJson.decode(&SQS_SEND_MESSAGE, bytes.into())
            };
            if serde_json::from_str::<serde_json::Value>(&body).is_err() {
                proptest::prop_assert_eq!(decode(body.clone().into_bytes()).unwrap_err().http_status(), 400);
            }
            let whole = br#"{"QueueUrl":"q","MessageBody":"b","DelaySeconds":1,"MessageAttributes":{"k":{"DataType":"Binary","BinaryValue":"AQI="}}}"#;
            let mut changed = whole.to_vec();
            changed.truncate(cut.max(1));
            let last = changed.len() - 1;
            changed[at.min(last)] = byte;
            if let Err(fault) = decode(changed) {
                proptest::prop_assert_eq!(fault.http_status(), 400);
            }
        }
    }
}
