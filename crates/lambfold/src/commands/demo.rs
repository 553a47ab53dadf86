//! `lambfold demo`: a message goes in, a function runs, the message is gone, told step by step.

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use lambfold_benches::Server;
use lambfold_benches::queues::unique;
use lambfold_benches::target::{Target, pause, zip_of};
use lambfold_client::Connection;
use serde_json::{Value, json};

/// The demo's function: greets each message; one that says so fails the first time it is tried.
const HANDLER: &str = "\
def handler(event, context):
    if 'Records' not in event:
        print('hello from', context.function_name)
        return {'greeting': 'hello ' + event.get('name', 'world')}
    failures = []
    for record in event['Records']:
        attempt = int(record['attributes']['ApproximateReceiveCount'])
        print('message', record['body'], 'attempt', attempt)
        if record['body'] == 'fails once' and attempt == 1:
            failures.append({'itemIdentifier': record['messageId']})
    return {'batchItemFailures': failures}
";

/// Runs the scenario against `endpoint`, or a Lambfold of its own on a temporary directory, and narrates it.
pub(crate) fn run(endpoint: Option<&str>) -> anyhow::Result<()> {
    super::block_on(async {
        if let Some(endpoint) = endpoint {
            return narrate(endpoint).await;
        }
        let directory = tempfile::tempdir()?;
        let server = Server::lambfold(directory.path())?;
        narrate(&server.address).await
    })
}

/// Everything that the scenario makes it removes again.
async fn narrate(endpoint: &str) -> anyhow::Result<()> {
    let target = Target::new(endpoint);
    let mut story = Story::begin(&target);
    let name = unique("lambfold-demo");
    let outcome = scenario(&target, &mut story, &name).await;
    clean_up(&target, &name, &story.made).await;
    outcome?;
    story.tell("done", &format!("everything in {:.1} s", story.began.elapsed().as_secs_f64()));
    Ok(())
}

async fn scenario(target: &Target, story: &mut Story, name: &str) -> anyhow::Result<()> {
    let mut aws = target.connection();

    let input = json!({ "QueueName": name, "Attributes": { "VisibilityTimeout": "1" } });
    let url = text(&aws.sqs("CreateQueue", &input).await.context("create the queue")?["QueueUrl"])?;
    story.made.insert("queue", url.clone());
    story.tell("queue", &url);

    let zip = STANDARD.encode(zip_of(&[("index.py", HANDLER.as_bytes())])?);
    let input = json!({
        "FunctionName": name, "Runtime": "python3.12", "Handler": "index.handler", "Timeout": 1,
        "Role": "arn:aws:iam::000000000000:role/demo", "Code": { "ZipFile": zip },
    });
    aws.lambda(Method::POST, "/2015-03-31/functions", Some(&input)).await.context("create the function")?;
    story.made.insert("function", name.to_owned());
    until(&mut aws, "the function to become active", async |aws| {
        let path = format!("/2015-03-31/functions/{name}/configuration");
        Ok(aws.lambda(Method::GET, &path, None).await?["State"] == "Active")
    })
    .await?;
    story.tell("function", "a Python handler, packaged as a zip: Pending → Active");

    let cold = invoke(&mut aws, name).await?;
    story.tell("invoke", &format!("first call (cold start): {}", cold.payload));
    for line in cold.log.lines() {
        story.detail(line);
    }
    let warm = invoke(&mut aws, name).await?;
    story.tell("invoke", &format!("second call (warm): {:.2} ms round trip", warm.millis));

    let queue_arn = {
        let input = json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] });
        text(&aws.sqs("GetQueueAttributes", &input).await?["Attributes"]["QueueArn"])?
    };
    let input = json!({
        "EventSourceArn": queue_arn, "FunctionName": name, "BatchSize": 10,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
    });
    let path = "/2015-03-31/event-source-mappings";
    let uuid =
        text(&aws.lambda(Method::POST, path, Some(&input)).await.context("create the mapping")?["UUID"])?;
    story.made.insert("mapping", uuid.clone());
    until(&mut aws, "the mapping to be enabled", async |aws| {
        let path = format!("/2015-03-31/event-source-mappings/{uuid}");
        Ok(aws.lambda(Method::GET, &path, None).await?["State"] == "Enabled")
    })
    .await?;
    story.tell("mapping", "queue → function, enabled");

    let trace = Trace::new();
    let input = json!({
        "QueueUrl": url, "MessageBody": "the first message",
        "MessageAttributes": { "colour": { "DataType": "String", "StringValue": "red" } },
    });
    let sent = aws.sqs_traced("SendMessage", &input, Some(&trace.header)).await.context("send a message")?;
    story.tell("send", &format!("one message with an attribute: {}", text(&sent["MessageId"])?));
    let entries: Vec<_> = (0..9)
        .map(|id| json!({ "Id": id.to_string(), "MessageBody": format!("message {id} of a batch") }))
        .chain([json!({ "Id": "flaky", "MessageBody": "fails once" })])
        .collect();
    let answer = aws.sqs("SendMessageBatch", &json!({ "QueueUrl": url, "Entries": entries })).await?;
    story.tell("send", &format!("a batch of {}", answer["Successful"].as_array().map_or(0, Vec::len)));

    let began = Instant::now();
    let mut left = u64::MAX;
    until(&mut aws, "the messages to be processed and deleted", async |aws| {
        let names = json!(["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]);
        let input = json!({ "QueueUrl": url, "AttributeNames": names });
        let counts = aws.sqs("GetQueueAttributes", &input).await?;
        let counts = counts["Attributes"].as_object().cloned().unwrap_or_default();
        let now = counts.values().filter_map(|count| count.as_str()?.parse::<u64>().ok()).sum();
        if now != left {
            left = now;
            story
                .tell("handler", &format!("{left} left after {:.0} ms", began.elapsed().as_secs_f64() * 1e3));
        }
        Ok(left == 0)
    })
    .await?;
    story.tell(
        "empty",
        "the one that failed came back after its visibility timeout, succeeded, and is gone too",
    );

    let spans = trace.spans(&mut aws).await?;
    story.tell("trace", &format!("of the first message, {}", trace.id));
    for line in summary(&spans) {
        story.detail(&line);
    }
    Ok(())
}

/// Removes what the scenario made, as far as it got; what cannot be removed is named.
async fn clean_up(target: &Target, name: &str, made: &BTreeMap<&'static str, String>) {
    let mut aws = target.connection();
    if let Some(uuid) = made.get("mapping") {
        let path = format!("/2015-03-31/event-source-mappings/{uuid}");
        report("mapping", aws.lambda(Method::DELETE, &path, None).await.map(drop));
    }
    if made.contains_key("function") {
        let path = format!("/2015-03-31/functions/{name}");
        report("function", aws.lambda(Method::DELETE, &path, None).await.map(drop));
    }
    if let Some(url) = made.get("queue") {
        report("queue", aws.sqs("DeleteQueue", &json!({ "QueueUrl": url })).await.map(drop));
    }
}

fn report(what: &str, outcome: Result<(), lambfold_client::Error>) {
    if let Err(error) = outcome {
        eprintln!("the demo's {what} could not be removed: {error}");
    }
}

struct Invocation {
    payload: String,
    log: String,
    millis: f64,
}

async fn invoke(aws: &mut Connection, name: &str) -> anyhow::Result<Invocation> {
    let began = Instant::now();
    let answer =
        aws.invoke(name, Bytes::from_static(br#"{"name":"Lambfold"}"#), true).await.context("invoke")?;
    let millis = began.elapsed().as_secs_f64() * 1e3;
    let payload = String::from_utf8_lossy(&answer.body).into_owned();
    if answer.header("x-amz-function-error").is_some() {
        bail!("the function failed: {payload}");
    }
    let log = STANDARD.decode(answer.header("x-amz-log-result").unwrap_or_default())?;
    Ok(Invocation { payload, log: String::from_utf8_lossy(&log).into_owned(), millis })
}

/// Asks until it is so; ten seconds at most.
async fn until(
    aws: &mut Connection,
    what: &str,
    mut so: impl AsyncFnMut(&mut Connection) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if so(aws).await? {
            return Ok(());
        }
        pause(20).await;
    }
    bail!("waited ten seconds for {what}")
}

fn text(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).context("the answer lacks a member that AWS always sends")
}

/// The trace that the first message is part of.
struct Trace {
    id: String,
    header: String,
}

impl Trace {
    fn new() -> Self {
        let mut id = unique("").replace('-', "");
        // X-Ray ids begin with the time; any eight digits will do for one that never leaves this machine.
        id.replace_range(..1, "6");
        let (time, rest) = id.split_at(8);
        let header = format!("Root=1-{time}-{rest};Parent={};Sampled=1", &rest[..16]);
        Self { id, header }
    }

    /// The spans that the server remembers; those of the delete come a moment after the message has gone.
    async fn spans(&self, aws: &mut Connection) -> anyhow::Result<Vec<Value>> {
        let path = format!("/_lambfold/traces/{}", self.id);
        let mut spans = Vec::new();
        for _ in 0..50 {
            let answer = aws.get(&path).await?;
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            spans = body["spans"].as_array().cloned().unwrap_or_default();
            if spans.iter().any(|span| span["name"] == "poller.batch") {
                break;
            }
            pause(20).await;
        }
        Ok(spans)
    }
}

/// One line a span: when it began after the first, how long it took, what it was.
fn summary(spans: &[Value]) -> Vec<String> {
    let micros = |span: &Value, key: &str| span[key].as_i64().unwrap_or_default();
    let origin = spans.iter().map(|span| micros(span, "start_us")).min().unwrap_or_default();
    let meaning = |name: &str| match name {
        "queue.send" => "sent",
        "queue.receive" => "received",
        "poller.batch" => "batched",
        "worker.init" => "started",
        "worker.invoke" => "invoked",
        "queue.delete" => "deleted",
        _ => "",
    };
    let millis = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or_default()).as_secs_f64() * 1e3;
    spans
        .iter()
        .map(|span| {
            let name = span["name"].as_str().unwrap_or_default();
            let start = micros(span, "start_us");
            let took = micros(span, "end_us") - start;
            format!(
                "{:>9.2} ms  {:<9} {name:<18} took {:.2} ms",
                millis(start - origin),
                meaning(name),
                millis(took)
            )
        })
        .collect()
}

/// What is told on the terminal, with the time since the beginning.
struct Story {
    began: Instant,
    made: BTreeMap<&'static str, String>,
}

impl Story {
    fn begin(target: &Target) -> Self {
        say(format_args!("Lambfold demo against {}", target.endpoint));
        Self { began: Instant::now(), made: BTreeMap::new() }
    }

    fn tell(&self, step: &str, what: &str) {
        say(format_args!("[{:>7.1} ms] {step:<9} {what}", self.began.elapsed().as_secs_f64() * 1e3));
    }

    #[expect(clippy::unused_self, reason = "part of the story")]
    fn detail(&self, line: &str) {
        say(format_args!("{:14}{line}", ""));
    }
}

/// Nobody has to listen: what the demo made is removed all the same.
fn say(line: Arguments<'_>) {
    _ = writeln!(std::io::stdout(), "{line}");
}
