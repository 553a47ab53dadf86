use lambfold_api::sqs::{
    BatchResultErrorEntry, DeleteMessageResponse, GetQueueAttributesResult, ListQueuesResult, Message,
    MessageAttributeValue, ReceiveMessageRequest, ReceiveMessageResult, SQS_DELETE_MESSAGE,
    SQS_GET_QUEUE_ATTRIBUTES, SQS_LIST_QUEUES, SQS_RECEIVE_MESSAGE, SQS_SEND_MESSAGE, SQS_SEND_MESSAGE_BATCH,
    SendMessageBatchRequest, SendMessageBatchResult, SendMessageBatchResultEntry, SendMessageRequest,
};
use proptest::prelude::*;

use super::*;

const CODEC: AwsQuery = AwsQuery { format: QueryFormat::Xml, request_id: Uuid::nil() };
const AS_JSON: AwsQuery = AwsQuery { format: QueryFormat::Json, request_id: Uuid::nil() };
const METADATA: &str =
    "<ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata>";

fn request(form: &str) -> QueryRequest {
    QueryRequest { parameters: vec![Bytes::copy_from_slice(form.as_bytes())], queue_url: None }
}

fn text(answer: &Response<Bytes>) -> &str {
    std::str::from_utf8(answer.body()).unwrap()
}

#[test]
fn parameters_become_members() {
    let form = "Action=SendMessage&QueueUrl=http%3A%2F%2Fh%2F1%2Fq&MessageBody=a+b%2Bc%0D&DelaySeconds=3\
                &MessageAttribute.2.Name=two&MessageAttribute.2.Value.DataType=Binary\
                &MessageAttribute.2.Value.BinaryValue=AQI%3D&MessageAttribute.1.Name=one\
                &MessageAttribute.1.Value.DataType=String&MessageAttribute.1.Value.StringValue=v\
                &MessageSystemAttribute.1.Name=AWSTraceHeader&MessageSystemAttribute.1.Value.StringValue=t\
                &MessageSystemAttribute.1.Value.DataType=String&Unknown.1.Member=x";
    let input: SendMessageRequest = CODEC.decode(&SQS_SEND_MESSAGE, request(form)).unwrap();
    assert_eq!(input.queue_url.as_deref(), Some("http://h/1/q"));
    assert_eq!(input.message_body.as_deref(), Some("a b+c\r"));
    assert_eq!(input.delay_seconds, Some(3));
    assert_eq!(input.message_attributes["one"].string_value.as_deref(), Some("v"));
    assert_eq!(input.message_attributes["two"].binary_value.as_deref(), Some(&[1, 2][..]));
    assert_eq!(input.message_system_attributes["AWSTraceHeader"].string_value.as_deref(), Some("t"));
}

#[test]
fn entries_come_in_the_order_of_their_numbers() {
    let form = "SendMessageBatchRequestEntry.10.Id=ten&SendMessageBatchRequestEntry.2.Id=two\
                &SendMessageBatchRequestEntry.2.MessageAttribute.1.Name=k\
                &SendMessageBatchRequestEntry.2.MessageAttribute.1.Value.DataType=Number\
                &SendMessageBatchRequestEntry.x.Id=never";
    let input: SendMessageBatchRequest = CODEC.decode(&SQS_SEND_MESSAGE_BATCH, request(form)).unwrap();
    let ids: Vec<_> = input.entries.iter().map(|entry| entry.id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["two", "ten"]);
    assert_eq!(input.entries[0].message_attributes["k"].data_type.as_deref(), Some("Number"));
}

#[test]
fn one_entry_needs_no_number() {
    let form = "MessageBody=b&MessageAttribute.Name=k&MessageAttribute.Value.DataType=String\
                &MessageAttribute.Value.StringValue=v";
    let input: SendMessageRequest = CODEC.decode(&SQS_SEND_MESSAGE, request(form)).unwrap();
    assert_eq!(input.message_attributes["k"].string_value.as_deref(), Some("v"));
    let form = "SendMessageBatchRequestEntry.Id=one&SendMessageBatchRequestEntry.MessageBody=b";
    let input: SendMessageBatchRequest = CODEC.decode(&SQS_SEND_MESSAGE_BATCH, request(form)).unwrap();
    assert_eq!(input.entries.len(), 1);
    assert_eq!(input.entries[0].id.as_deref(), Some("one"));
}

#[test]
fn the_queue_is_the_parameter_or_else_the_path() {
    let at_path = |form: &str| QueryRequest { queue_url: Some("http://h/1/path".into()), ..request(form) };
    let input: ReceiveMessageRequest =
        CODEC.decode(&SQS_RECEIVE_MESSAGE, at_path("AttributeName=All")).unwrap();
    assert_eq!(input.queue_url.as_deref(), Some("http://h/1/path"));
    assert_eq!(input.attribute_names, ["All"]);
    let input: ReceiveMessageRequest = CODEC.decode(&SQS_RECEIVE_MESSAGE, at_path("QueueUrl=given")).unwrap();
    assert_eq!(input.queue_url.as_deref(), Some("given"));
}

#[test]
fn wrong_values_are_refused() {
    for (form, words) in [
        ("DelaySeconds=x", "STRING_VALUE can not be converted to an Integer"),
        ("DelaySeconds=", "STRING_VALUE can not be converted to an Integer"),
        ("DelaySeconds=99999999999", "NUMBER_VALUE can not be converted to an Integer"),
        ("DelaySeconds=99999999999999999999999", "STRING_VALUE can not be converted to an Integer"),
        (
            "MessageAttribute.1.Name=a&MessageAttribute.1.Value.BinaryValue=*",
            "Invalid base64 in a blob member.",
        ),
    ] {
        let outcome: Result<SendMessageRequest, _> = CODEC.decode(&SQS_SEND_MESSAGE, request(form));
        let fault = outcome.unwrap_err();
        assert_eq!((fault.query_code(), fault.message()), ("MalformedInput", words), "{form}");
    }
}

#[test]
fn an_empty_receive_has_an_empty_result() {
    let answer = CODEC.encode(&SQS_RECEIVE_MESSAGE, ReceiveMessageResult::default()).unwrap();
    assert_eq!(
        text(&answer),
        format!(
            "<?xml version=\"1.0\"?><ReceiveMessageResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">\
             <ReceiveMessageResult/>{METADATA}</ReceiveMessageResponse>"
        )
    );
    let answer = CODEC.encode(&SQS_DELETE_MESSAGE, DeleteMessageResponse {}).unwrap();
    assert_eq!(
        text(&answer),
        format!(
            "<?xml version=\"1.0\"?><DeleteMessageResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">\
             {METADATA}</DeleteMessageResponse>"
        )
    );
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/xml");
}

fn received() -> ReceiveMessageResult {
    let value = MessageAttributeValue {
        data_type: Some("Binary".into()),
        binary_value: Some(Bytes::from_static(&[1, 2])),
        ..MessageAttributeValue::default()
    };
    ReceiveMessageResult {
        messages: vec![Message {
            message_id: Some("id".into()),
            body: Some("a<b>\r\n&\"".into()),
            attributes: [("SenderId".to_owned(), "me".to_owned())].into(),
            message_attributes: [("k".to_owned(), value)].into(),
            ..Message::default()
        }],
    }
}

#[test]
fn messages_are_flattened() {
    let answer = CODEC.encode(&SQS_RECEIVE_MESSAGE, received()).unwrap();
    let result = text(&answer).split_once("<ReceiveMessageResult>").unwrap().1;
    assert_eq!(
        result.split_once("</ReceiveMessageResult>").unwrap().0,
        "<Message><MessageId>id</MessageId><Body>a&lt;b&gt;&#xD;\n&amp;&quot;</Body>\
         <Attribute><Name>SenderId</Name><Value>me</Value></Attribute>\
         <MessageAttribute><Name>k</Name><Value><BinaryValue>AQI=</BinaryValue><DataType>Binary</DataType></Value>\
         </MessageAttribute></Message>"
    );
    let output = SendMessageBatchResult {
        successful: vec![SendMessageBatchResultEntry { id: Some("1".into()), ..Default::default() }],
        failed: vec![BatchResultErrorEntry {
            id: Some("2".into()),
            sender_fault: Some(true),
            ..Default::default()
        }],
    };
    let answer = CODEC.encode(&SQS_SEND_MESSAGE_BATCH, output).unwrap();
    assert!(text(&answer).contains(
        "<SendMessageBatchResultEntry><Id>1</Id></SendMessageBatchResultEntry>\
         <BatchResultErrorEntry><Id>2</Id><SenderFault>true</SenderFault></BatchResultErrorEntry>"
    ));
}

#[test]
fn json_is_there_for_who_asks() {
    let answer = AS_JSON.encode(&SQS_LIST_QUEUES, ListQueuesResult::default()).unwrap();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(
        text(&answer),
        "{\"ListQueuesResponse\":{\"ListQueuesResult\":{\"NextToken\":null,\"queueUrls\":null},\
         \"ResponseMetadata\":{\"RequestId\":\"00000000-0000-0000-0000-000000000000\"}}}"
    );
    let output =
        GetQueueAttributesResult { attributes: [("DelaySeconds".to_owned(), "0".to_owned())].into() };
    let answer = AS_JSON.encode(&SQS_GET_QUEUE_ATTRIBUTES, output).unwrap();
    assert!(
        text(&answer)
            .contains(r#""GetQueueAttributesResult":{"Attributes":[{"Name":"DelaySeconds","Value":"0"}]}"#)
    );
    let answer = AS_JSON.encode(&SQS_RECEIVE_MESSAGE, received()).unwrap();
    assert!(text(&answer).contains(r#""messages":[{"#), "{}", text(&answer));
}

proptest! {
    #[test]
    fn no_form_breaks_the_reader(form in "[A-Za-z0-9.=&%+_-]{0,200}|(MessageAttribute\\.[0-9.]{0,12}[NV]?[a-z.]{0,8}=x&){0,20}|\\PC*") {
        let _: Result<SendMessageRequest, _> = CODEC.decode(&SQS_SEND_MESSAGE, request(&form));
        let _: Result<SendMessageBatchRequest, _> = CODEC.decode(&SQS_SEND_MESSAGE_BATCH, request(&form));
    }

    #[test]
    fn what_is_escaped_reads_back(body in "\\PC*|[<>&\"'\r\n\t ]*") {
        let message = Message { body: Some(body.clone()), ..Message::default() };
        let answer = CODEC.encode(&SQS_RECEIVE_MESSAGE, ReceiveMessageResult { messages: vec![message] }).unwrap();
        let escaped = text(&answer).split_once("<Body>").unwrap().1.split_once("</Body>").unwrap().0;
        prop_assert!(!escaped.contains(['<', '>', '\r', '"']));
        let plain = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")
            .replace("&apos;", "'").replace("&#xD;", "\r").replace("&amp;", "&");
        prop_assert_eq!(plain, body);
    }
}
