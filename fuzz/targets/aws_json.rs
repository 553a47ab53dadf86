//! The body of an AWS JSON request.

use std::fmt::Debug;

use bytes::Bytes;
use lambfold_api::Operation;
use lambfold_api::schema::Shape;
use lambfold_api::sqs::{
    CreateQueueRequest, ReceiveMessageRequest, SQS_CREATE_QUEUE, SQS_RECEIVE_MESSAGE, SQS_SEND_MESSAGE,
    SQS_SEND_MESSAGE_BATCH, SendMessageBatchRequest, SendMessageRequest,
};
use lambfold_api::validate::Violations;
use lambfold_api::wire::WireCodec;
use lambfold_aws_wire::AwsJson;
use serde::de::IgnoredAny;

/// The first byte says for which operation the rest is.
pub(crate) fn run(data: &[u8]) {
    let Some((which, body)) = data.split_first() else { return };
    match which % 4 {
        0 => check::<SendMessageRequest>(&SQS_SEND_MESSAGE, body),
        1 => check::<SendMessageBatchRequest>(&SQS_SEND_MESSAGE_BATCH, body),
        2 => check::<ReceiveMessageRequest>(&SQS_RECEIVE_MESSAGE, body),
        _ => check::<CreateQueueRequest>(&SQS_CREATE_QUEUE, body),
    }
}

fn check<T: Shape + PartialEq + Debug>(operation: &'static Operation, body: &[u8]) {
    let decoded: Result<T, _> = AwsJson.decode(operation, Bytes::copy_from_slice(body));
    let is_json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    match decoded {
        Ok(input) => {
            assert!(is_json && is_object, "what is no JSON object was taken for an input");
            input.validate(&mut Violations::default());
            let written = AwsJson.encode(operation, input.clone()).expect("an input can be written");
            let again: T = AwsJson.decode(operation, written.into_body()).expect("and read again");
            assert_eq!(input, again);
        }
        Err(fault) => assert_eq!(fault.http_status(), 400, "a bad body is the client's fault"),
    }
}
