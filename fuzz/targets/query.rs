//! The parameters of a request of the Query protocol.

use std::fmt::Debug;

use bytes::Bytes;
use lambfold_api::schema::Shape;
use lambfold_api::sqs::{
    CreateQueueRequest, ReceiveMessageRequest, SQS_CREATE_QUEUE, SQS_RECEIVE_MESSAGE, SQS_SEND_MESSAGE,
    SQS_SEND_MESSAGE_BATCH, SendMessageBatchRequest, SendMessageRequest,
};
use lambfold_api::wire::WireCodec;
use lambfold_api::{Fault, Operation};
use lambfold_aws_wire::{AwsQuery, QueryFormat, QueryRequest};
use quick_xml::Reader;
use quick_xml::events::Event;
use uuid::Uuid;

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
    let codec = |format| AwsQuery { format, request_id: Uuid::nil() };
    let read = |parameters: Vec<Bytes>| -> Result<T, Fault> {
        codec(QueryFormat::Xml).decode(operation, QueryRequest { parameters, queue_url: None })
    };
    let input = read(vec![Bytes::copy_from_slice(body)]);
    // However the same parameters are escaped, and wherever they stand, they say the same.
    let pairs = || form_urlencoded::parse(body);
    let escaped = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs()).finish();
    assert_eq!(input, read(vec![escaped.into()]));
    let one_by_one = pairs().map(|(name, value)| {
        form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish().into()
    });
    assert_eq!(input, read(one_by_one.collect()));
    match input {
        Ok(input) => {
            let document =
                codec(QueryFormat::Xml).encode(operation, input.clone()).expect("it can be written");
            well_formed(document.body());
            let document = codec(QueryFormat::Json).encode(operation, input).expect("it can be written");
            serde_json::from_slice::<serde_json::Value>(document.body()).expect("an answer is JSON");
        }
        Err(fault) => assert_eq!(fault.http_status(), 400, "bad parameters are the client's fault"),
    }
}

fn well_formed(document: &[u8]) {
    let mut reader = Reader::from_reader(document);
    while reader.read_event().expect("an answer is XML") != Event::Eof {}
}
