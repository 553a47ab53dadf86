//! `/_aws/sqs/messages`: what a queue holds, without receiving it, as tools that know LocalStack ask for it. XML in the
//! form of ReceiveMessage, or JSON that says the same, for `Accept: application/json`.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use lambfold_api::sqs::{Message, PeekMessagesRequest, ReceiveMessageResult, SQS_RECEIVE_MESSAGE};
use lambfold_api::wire::WireCodec;
use lambfold_api::{CallContext, Fault};
use lambfold_aws_wire::{AwsQuery, Protocol, QueryFormat};
use lambfold_types::uuid_v4;
use serde_json::{Map, Value, json};

use crate::front::Front;
use crate::identity;

const PAGE: &str = "/_aws/sqs/messages";
const PER_PEEK: i32 = 100;
/// Messages that are looked at, and bytes of bodies that are shown, at most.
const MOST: usize = 10_000;
const MOST_BYTES: usize = 64 << 20;

/// What LocalStack puts where a receipt handle would be.
const NO_HANDLE: &str = "SQS/BACKDOOR/ACCESS";

/// Whether the path is this page's.
pub(crate) fn is_page(path: &str) -> bool {
    path.strip_prefix(PAGE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What is asked for.
struct Wanted {
    queue_url: Option<String>,
    region: Option<String>,
    in_flight: bool,
    delayed: bool,
}

impl Wanted {
    /// The queue stands in the parameter `QueueUrl`, or as region, account and name in the path.
    fn read(head: &Parts) -> Self {
        let parameters: Vec<(String, String)> =
            form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let value = |name: &str| parameters.iter().find(|(it, _)| it == name).map(|(_, value)| value.clone());
        let is_set = |name: &str| value(name).is_some_and(|value| matches!(&*value, "true" | "True" | "1"));
        let path: Vec<&str> = head.uri.path()[PAGE.len()..].split('/').filter(|it| !it.is_empty()).collect();
        let (in_flight, delayed) = (is_set("ShowInvisible"), is_set("ShowDelayed"));
        match path[..] {
            [region, account, name] => Self {
                queue_url: Some(format!("/{account}/{name}")),
                region: Some(region.to_owned()),
                in_flight,
                delayed,
            },
            _ => Self { queue_url: value("QueueUrl"), region: None, in_flight, delayed },
        }
    }

    fn shows(&self, state: &str) -> bool {
        match state {
            "in flight" => self.in_flight,
            "delayed" => self.delayed,
            _ => true,
        }
    }
}

impl Front {
    /// The page, for the request with that head.
    pub(crate) async fn messages(&self, head: Parts) -> Response<Bytes> {
        if head.method != Method::GET {
            let mut refusal = Response::new(Bytes::from_static(b"Only GET is answered here.\n"));
            *refusal.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return refusal;
        }
        let accepts = identity::text(&head.headers, &header::ACCEPT).unwrap_or_default();
        let format = if accepts.contains("application/json") { QueryFormat::Json } else { QueryFormat::Xml };
        let request_id = uuid_v4(&*self.entropy);
        let outcome = async {
            let wanted = Wanted::read(&head);
            let mut ctx = self.context(&head, b"", request_id)?;
            if let Some(region) = &wanted.region {
                ctx.scope.region = region.parse().map_err(|_| no_such_queue())?;
            }
            let messages = self.peek_all(&ctx, &wanted).await?;
            match format {
                QueryFormat::Json => Ok(as_json(messages, &request_id.to_string())),
                QueryFormat::Xml => {
                    let result = ReceiveMessageResult { messages };
                    AwsQuery { format, request_id }.encode(&SQS_RECEIVE_MESSAGE, result)
                }
            }
        };
        let answer = outcome.await;
        answer.unwrap_or_else(|fault: Fault| Protocol::Query(format).fault(&fault, request_id))
    }

    async fn peek_all(&self, ctx: &CallContext, wanted: &Wanted) -> Result<Vec<Message>, Fault> {
        let mut messages: Vec<Message> = Vec::new();
        let (mut seen, mut bytes) = (0, 0);
        let mut next_token = None;
        loop {
            let input = PeekMessagesRequest {
                queue_url: wanted.queue_url.clone(),
                max_number_of_messages: Some(PER_PEEK),
                next_token,
            };
            let page = self.peek.peek_messages(ctx, input).await?;
            let bodies = page.messages.iter().filter_map(|it| it.message.as_ref()?.body.as_ref());
            bytes += bodies.map(String::len).sum::<usize>();
            seen += page.messages.len();
            let shown =
                page.messages.into_iter().filter(|it| wanted.shows(it.state.as_deref().unwrap_or_default()));
            messages.extend(
                shown
                    .filter_map(|it| it.message)
                    .map(|message| Message { receipt_handle: Some(NO_HANDLE.to_owned()), ..message }),
            );
            next_token = page.next_token;
            if next_token.is_none() || seen >= MOST || bytes >= MOST_BYTES {
                return Ok(messages);
            }
        }
    }
}

fn no_such_queue() -> Fault {
    Fault::new(lambfold_api::sqs::ErrorCode::QueueDoesNotExist, "The specified queue does not exist.")
}

/// The XML as LocalStack turns it into JSON: elements of the same name become a list, and one alone does not.
fn as_json(messages: Vec<Message>, request_id: &str) -> Response<Bytes> {
    let messages = messages.into_iter().map(message).collect();
    let page = json!({
        "ReceiveMessageResponse": {
            "ReceiveMessageResult": one_or_many("Message", messages).map(Value::Object),
            "ResponseMetadata": { "RequestId": request_id },
        }
    });
    let mut response = Response::new(Bytes::from(page.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn message(message: Message) -> Value {
    let mut shown = Map::new();
    let texts = [
        ("MessageId", message.message_id),
        ("ReceiptHandle", message.receipt_handle),
        ("MD5OfBody", message.md5_of_body),
        ("Body", message.body),
        ("MD5OfMessageAttributes", message.md5_of_message_attributes),
    ];
    for (name, text) in texts {
        shown.extend(text.map(|text| (name.to_owned(), Value::String(text))));
    }
    let attributes = message.attributes.into_iter();
    let attributes = attributes.map(|(name, value)| json!({ "Name": name, "Value": value })).collect();
    shown.extend(one_or_many("Attribute", attributes).unwrap_or_default());
    let attributes = message.message_attributes.into_iter().map(|(name, value)| {
        let value = serde_json::to_value(value).unwrap_or_default();
        json!({ "Name": name, "Value": value })
    });
    shown.extend(one_or_many("MessageAttribute", attributes.collect()).unwrap_or_default());
    Value::Object(shown)
}

fn one_or_many(name: &str, mut values: Vec<Value>) -> Option<Map<String, Value>> {
    let value = if values.len() == 1 { values.pop()? } else { Value::Array(values) };
    if value.as_array().is_some_and(Vec::is_empty) {
        return None;
    }
    Some(Map::from_iter([(name.to_owned(), value)]))
}
