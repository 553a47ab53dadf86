//! The service on a store in memory.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lambfold_api::logs::start_live_tail_response_stream::Frame;
use lambfold_api::logs::*;
use lambfold_api::logstore::{DeliverRequest, DeliveredBatch, DeliveredEvent, LogIntake};
use lambfold_api::{CallContext, Fault};
use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_types::{Clock, Scope};
use tokio_util::sync::CancellationToken;

use crate::store::MemoryLogStore;
use crate::{LogsHandle, LogsService, Metrics, Options};

struct Rig {
    logs: LogsHandle,
    ctx: CallContext,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Rig {
    fn start(options: Options) -> Self {
        let store = Arc::new(MemoryLogStore::default());
        let clock = Arc::new(SystemClock::new());
        let service = LogsService::build(options, store, clock, Arc::new(SystemEntropy), Metrics::default());
        let logs = service.handle();
        let stop = CancellationToken::new();
        let running = tokio::spawn(service.run(stop.clone()));
        let ctx = CallContext::internal(Scope::default(), uuid::Uuid::nil());
        Self { logs, ctx, stop, running }
    }

    async fn with_stream() -> Self {
        let rig = Self::start(Options::default());
        let name = Some("g".to_owned());
        let group =
            CreateLogGroupRequest { log_group_name: name.clone(), ..CreateLogGroupRequest::default() };
        rig.logs.create_log_group(&rig.ctx, group).await.unwrap();
        let stream = CreateLogStreamRequest { log_group_name: name, log_stream_name: Some("s".into()) };
        rig.logs.create_log_stream(&rig.ctx, stream).await.unwrap();
        rig
    }

    async fn put(&self, messages: &[&str]) -> Result<PutLogEventsResponse, Fault> {
        let now = SystemClock::new().now().millis();
        let event =
            |message: &&str| InputLogEvent { timestamp: Some(now), message: Some((*message).to_owned()) };
        let input = PutLogEventsRequest {
            log_group_name: Some("g".into()),
            log_stream_name: Some("s".into()),
            log_events: Some(messages.iter().map(event).collect::<Vec<_>>().into()),
            ..PutLogEventsRequest::default()
        };
        self.logs.put_log_events(&self.ctx, input).await
    }

    async fn get(&self, token: Option<String>, head: bool, limit: i32) -> GetLogEventsResponse {
        let input = GetLogEventsRequest {
            log_group_name: Some("g".into()),
            log_stream_name: Some("s".into()),
            next_token: token,
            start_from_head: Some(head),
            limit: Some(limit),
            ..GetLogEventsRequest::default()
        };
        self.logs.get_log_events(&self.ctx, input).await.unwrap()
    }

    async fn filter(&self, input: FilterLogEventsRequest) -> Result<FilterLogEventsResponse, Fault> {
        let input = FilterLogEventsRequest { log_group_name: Some("g".into()), ..input };
        self.logs.filter_log_events(&self.ctx, input).await
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn messages(answer: &GetLogEventsResponse) -> Vec<&str> {
    answer.events.as_ref().unwrap().iter().filter_map(|event| event.message.as_deref()).collect()
}

#[tokio::test]
async fn a_stream_is_read_forwards_to_its_end_and_further_when_there_is_more() {
    let rig = Rig::with_stream().await;
    rig.put(&["a", "b", "c", "d", "e"]).await.unwrap();
    let first = rig.get(None, true, 2).await;
    assert_eq!(messages(&first), ["a", "b"]);
    let second = rig.get(first.next_forward_token, true, 2).await;
    assert_eq!(messages(&second), ["c", "d"]);
    let last = rig.get(second.next_forward_token.clone(), false, 2).await;
    assert_eq!(messages(&last), ["e"], "a token's direction counts");
    let end = rig.get(last.next_forward_token.clone(), true, 2).await;
    assert!(messages(&end).is_empty());
    assert_eq!(end.next_forward_token, last.next_forward_token, "the token repeats at the end");
    rig.put(&["f"]).await.unwrap();
    assert_eq!(messages(&rig.get(end.next_forward_token, true, 2).await), ["f"]);
    let back = rig.get(end.next_backward_token, true, 2).await;
    assert_eq!(messages(&back), ["d", "e"], "who turns round gets what was read last");

    let tail = rig.get(None, false, 2).await;
    assert_eq!(messages(&tail), ["e", "f"]);
    let before = rig.get(tail.next_backward_token, false, 3).await;
    assert_eq!(messages(&before), ["b", "c", "d"]);
    let start = rig.get(before.next_backward_token, false, 3).await;
    assert_eq!(messages(&start), ["a"]);
    let none = rig.get(start.next_backward_token.clone(), false, 3).await;
    assert_eq!(none.next_backward_token, start.next_backward_token);
    assert_eq!(messages(&rig.get(none.next_forward_token, false, 2).await), ["a", "b"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_search_goes_on_by_its_token_and_finds_each_event_once() {
    let rig = Rig::with_stream().await;
    let texts: Vec<String> =
        (0..25).map(|number| format!("{} {number}", if number % 5 == 0 { "hit" } else { "miss" })).collect();
    rig.put(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    let mut token = None;
    let mut found = Vec::new();
    loop {
        let input = FilterLogEventsRequest {
            filter_pattern: Some("hit".into()),
            limit: Some(2),
            next_token: token,
            ..FilterLogEventsRequest::default()
        };
        let page = rig.filter(input).await.unwrap();
        let events = page.events.unwrap().items;
        assert!(events.len() <= 2);
        found.extend(events.into_iter().map(|event| (event.event_id.unwrap(), event.message.unwrap())));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(
        found.iter().map(|(_, it)| it.as_str()).collect::<Vec<_>>(),
        ["hit 0", "hit 5", "hit 10", "hit 15", "hit 20"]
    );
    assert!(found.is_sorted_by(|one, two| one.0 < two.0));
    let broken =
        FilterLogEventsRequest { filter_pattern: Some("{ $.a".into()), ..FilterLogEventsRequest::default() };
    assert_eq!(rig.filter(broken).await.unwrap_err().code(), "InvalidParameterException");
    let token = FilterLogEventsRequest { next_token: Some("x".into()), ..FilterLogEventsRequest::default() };
    assert_eq!(rig.filter(token).await.unwrap_err().code(), "InvalidParameterException");
    rig.stop().await;
}

#[tokio::test]
async fn what_is_missing_is_told_apart() {
    let rig = Rig::start(Options::default());
    let fault = rig.put(&["x"]).await.unwrap_err();
    assert_eq!(
        (fault.code(), fault.message()),
        ("ResourceNotFoundException", "The specified log group does not exist.")
    );
    let group =
        CreateLogGroupRequest { log_group_name: Some("g".into()), ..CreateLogGroupRequest::default() };
    rig.logs.create_log_group(&rig.ctx, group.clone()).await.unwrap();
    let again = rig.logs.create_log_group(&rig.ctx, group).await.unwrap_err();
    assert_eq!(again.code(), "ResourceAlreadyExistsException");
    let fault = rig.put(&["x"]).await.unwrap_err();
    assert_eq!(
        (fault.code(), fault.message()),
        ("ResourceNotFoundException", "The specified log stream does not exist.")
    );
    rig.stop().await;
}

#[tokio::test]
async fn too_much_that_waits_is_refused() {
    let options = Options { most_waiting_bytes: 64 << 10, ..Options::default() };
    let rig = Rig::start(options);
    let batch = |bytes: usize| DeliverRequest {
        batches: vec![DeliveredBatch {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            log_group: "g".into(),
            log_stream: "s".into(),
            events: vec![DeliveredEvent { time_ms: 1, message: "x".repeat(bytes) }],
        }],
    };
    // Both enter before the writer has its turn.
    let first = rig.logs.deliver(&rig.ctx, batch(60 << 10));
    let second = rig.logs.deliver(&rig.ctx, batch(60 << 10));
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    assert_eq!(second.unwrap_err().code(), "ThrottlingException");
    rig.logs.deliver(&rig.ctx, batch(60 << 10)).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn a_live_tail_hears_what_matches_and_ends_with_the_service() {
    let rig = Rig::with_stream().await;
    let input = |pattern: &str| StartLiveTailRequest {
        log_group_identifiers: Some(vec!["g".to_owned()].into()),
        log_event_filter_pattern: Some(pattern.to_owned()),
        ..StartLiveTailRequest::default()
    };
    let mut tail = rig.logs.start_live_tail(&rig.ctx, input("wanted")).await.unwrap();
    let first = tail.next().await.unwrap().unwrap();
    assert!(matches!(first.frame, Some(Frame::SessionStart(_))));
    rig.put(&["not this", "wanted one"]).await.unwrap();
    rig.put(&["wanted two"]).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let frame =
            tokio::time::timeout(Duration::from_secs(5), tail.next()).await.unwrap().unwrap().unwrap();
        let Some(Frame::SessionUpdate(update)) = frame.frame else { panic!("an update") };
        assert_eq!(update.session_metadata.unwrap().sampled, Some(false));
        heard.extend(update.session_results.unwrap().items);
    }
    let texts: Vec<_> = heard.iter().filter_map(|event| event.message.as_deref()).collect();
    assert_eq!(texts, ["wanted one", "wanted two"]);
    assert_eq!(heard[0].log_group_identifier.as_deref(), Some("000000000000:g"));
    // Without events an update comes all the same.
    let empty = tokio::time::timeout(Duration::from_secs(5), tail.next()).await.unwrap().unwrap().unwrap();
    assert!(
        matches!(empty.frame, Some(Frame::SessionUpdate(update)) if update.session_results.as_ref().unwrap().is_empty())
    );
    let missing = StartLiveTailRequest {
        log_group_identifiers: Some(vec!["none".to_owned()].into()),
        ..StartLiveTailRequest::default()
    };
    let fault = rig.logs.start_live_tail(&rig.ctx, missing).await.err().unwrap();
    assert_eq!(fault.code(), "ResourceNotFoundException");
    rig.stop().await;
    assert!(tail.next().await.is_none());
}

#[tokio::test]
async fn live_tails_have_a_bound() {
    let rig = Rig::start(Options { most_live_tails_of_account: 1, most_live_tails: 2, ..Options::default() });
    let group =
        CreateLogGroupRequest { log_group_name: Some("g".into()), ..CreateLogGroupRequest::default() };
    rig.logs.create_log_group(&rig.ctx, group.clone()).await.unwrap();
    let input = StartLiveTailRequest {
        log_group_identifiers: Some(vec!["g".to_owned()].into()),
        ..StartLiveTailRequest::default()
    };
    let tail = rig.logs.start_live_tail(&rig.ctx, input.clone()).await.unwrap();
    let refused = rig.logs.start_live_tail(&rig.ctx, input.clone()).await.err().unwrap();
    assert_eq!(refused.code(), "LimitExceededException");
    // The places of one account are not another's.
    let other = |account: &str| {
        let mut other = rig.ctx.clone();
        other.scope.account = account.parse().unwrap();
        other
    };
    let (second, third) = (other("000000000002"), other("000000000003"));
    for account in [&second, &third] {
        rig.logs.create_log_group(account, group.clone()).await.unwrap();
    }
    let theirs = rig.logs.start_live_tail(&second, input.clone()).await;
    assert!(theirs.is_ok());
    // All together have a bound too.
    let refused = rig.logs.start_live_tail(&third, input.clone()).await.err().unwrap();
    assert_eq!(refused.code(), "LimitExceededException");
    drop(tail);
    assert!(rig.logs.start_live_tail(&rig.ctx, input.clone()).await.is_ok());
    drop(theirs);
    assert!(rig.logs.start_live_tail(&third, input).await.is_ok());
    rig.stop().await;
}
