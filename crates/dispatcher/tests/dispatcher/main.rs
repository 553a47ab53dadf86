//! The dispatcher between a control plane and a worker that do as they are told, in manual time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod neighbours;
mod provisioned;

use std::time::Duration;

use futures_util::StreamExt;
use lambfold_api::control::watch_event::Event;
use lambfold_api::lambda::invoke_with_response_stream_frame::Frame;
use lambfold_api::lambda::{InvocationRequest, InvokeWithResponseStreamRequest, LambdaInvoke};
use lambfold_api::worker::{EnvironmentState, InvokeResponse};
use lambfold_api::{CallContext, Fault};
use lambfold_dispatcher::Options;

use crate::neighbours::{Act, Neighbours, function};

fn request(name: &str) -> InvocationRequest {
    InvocationRequest { function_name: Some(name.into()), ..InvocationRequest::default() }
}

fn payload(answer: Result<lambfold_api::lambda::InvocationResponse, Fault>) -> String {
    String::from_utf8(answer.unwrap().payload.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn an_environment_that_is_gone_costs_the_caller_nothing() {
    let here = Neighbours::start(Options::default(), 10, vec![function("f", "c1")]).await;
    here.script([Act::Fault("EnvironmentGone"), Act::Fault("EnvironmentGone"), Act::Answer("1")]);
    assert_eq!(payload(here.invoke("f").await), "1");
    let calls = here.calls();
    assert!(calls.iter().all(|call| call.cold));
    let mut ids: Vec<_> = calls.iter().map(|call| call.environment.clone()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3, "each placed anew");
    assert!(calls.iter().all(|call| call.request_id == calls[0].request_id));
}

#[tokio::test]
async fn what_may_have_begun_is_never_made_again() {
    let here = Neighbours::start(Options::default(), 10, vec![function("f", "c1")]).await;
    for code in ["WorkerRestarted", "ServiceUnavailable", "InternalFailure"] {
        here.script([Act::Fault(code)]);
        let fault = here.invoke("f").await.unwrap_err();
        assert_eq!((fault.code(), fault.http_status()), ("ServiceException", 500), "{code}");
    }
    assert_eq!(here.calls().len(), 3);
}

#[tokio::test]
async fn the_account_is_bounded_and_an_answered_invocation_counts_no_longer() {
    let options = Options { account_concurrency: 2, ..Options::default() };
    let here = Neighbours::start(options, 10, vec![function("f", "c1")]).await;
    here.script([Act::Hold, Act::Hold]);
    let first = here.spawn("f");
    let second = here.spawn("f");
    here.until(|here| here.calls().len() == 2).await;
    let throttled = here.invoke("f").await.unwrap_err();
    assert_eq!((throttled.code(), throttled.http_status()), ("TooManyRequestsException", 429));
    assert_eq!(throttled.members()["Reason"], "ConcurrentInvocationLimitExceeded");
    assert!(throttled.retry_after().is_some());
    // A caller that has gone leaves its invocation running, and counted.
    first.abort();
    assert!(first.await.is_err());
    assert_eq!(here.invoke("f").await.unwrap_err().http_status(), 429);
    here.release();
    assert_eq!(payload(second.await.unwrap()), "null");
    here.script([Act::Answer("3")]);
    assert_eq!(payload(here.invoke("f").await), "3");
}

#[tokio::test]
async fn a_full_machine_makes_callers_wait_then_throttles_them() {
    let here = Neighbours::start(Options::default(), 1, vec![function("f", "c1"), function("g", "c2")]).await;
    here.script([Act::Hold]);
    let running = here.spawn("f");
    here.until(|here| here.calls().len() == 1).await;
    let waiting = here.spawn("g");
    here.settle().await;
    here.clock.advance(Duration::from_secs(3));
    let throttled = waiting.await.unwrap().unwrap_err();
    assert_eq!(throttled.code(), "TooManyRequestsException");
    let waiting = here.spawn("g");
    here.settle().await;
    here.script([Act::Answer("2")]);
    here.release();
    assert_eq!(payload(running.await.unwrap()), "null");
    assert_eq!(payload(waiting.await.unwrap()), "2");
    assert_eq!(here.retired().len(), 1, "f's environment made room for g's");
}

#[tokio::test]
async fn without_a_worker_callers_wait_for_its_return() {
    let here = Neighbours::start(Options::default(), 10, vec![function("f", "c1")]).await;
    here.disconnect_worker().await;
    let waiting = here.spawn("f");
    here.settle().await;
    here.clock.advance(Duration::from_secs(3));
    assert_eq!(waiting.await.unwrap().unwrap_err().http_status(), 503);
    let waiting = here.spawn("f");
    here.settle().await;
    here.script([Act::Answer("1")]);
    here.connect_worker("w2");
    here.clock.advance(Duration::from_secs(1));
    assert_eq!(payload(waiting.await.unwrap()), "1");
    assert_eq!(here.calls().last().unwrap().incarnation, "w2");
}

#[tokio::test]
async fn functions_stay_known_while_control_is_away() {
    let here = Neighbours::start(Options::default(), 10, vec![function("f", "c1")]).await;
    here.disconnect_control().await;
    here.script([Act::Answer("1")]);
    assert_eq!(payload(here.invoke("f").await), "1");
    // One that is not known may have been made meanwhile.
    let unknown = here.spawn("g");
    here.settle().await;
    here.clock.advance(Duration::from_secs(1));
    here.settle().await;
    assert!(!unknown.is_finished());
    here.clock.advance(Duration::from_millis(1001));
    assert_eq!(unknown.await.unwrap().unwrap_err().http_status(), 404);
}

#[tokio::test]
async fn a_function_made_this_moment_is_found_when_the_news_comes() {
    let here = Neighbours::start(Options::default(), 10, vec![]).await;
    let waiting = here.spawn("f");
    here.settle().await;
    here.script([Act::Answer("1")]);
    here.tell(Event::Function(function("f", "c1")));
    assert_eq!(payload(waiting.await.unwrap()), "1");
    let mut pending = function("p", "c2");
    pending.state = "Pending".into();
    here.tell(Event::Function(pending));
    let waiting = here.spawn("p");
    here.settle().await;
    here.script([Act::Answer("2")]);
    here.tell(Event::Function(function("p", "c2")));
    assert_eq!(payload(waiting.await.unwrap()), "2");
    let unknown = here.spawn("g");
    here.settle().await;
    here.clock.advance(Duration::from_millis(101));
    let fault = unknown.await.unwrap().unwrap_err();
    assert_eq!(
        fault.message(),
        "Function not found: arn:aws:lambda:us-east-1:000000000000:function:g:$LATEST"
    );
}

#[tokio::test]
async fn updates_and_deletions_retire_environments() {
    let here = Neighbours::start(Options::default(), 10, vec![function("f", "c1")]).await;
    here.script([Act::Answer("1"), Act::Answer("2")]);
    here.invoke("f").await.unwrap();
    let old = here.calls()[0].environment.clone();
    here.tell(Event::Function(function("f", "c2")));
    here.until(|here| here.retired() == [old.clone()]).await;
    here.invoke("f").await.unwrap();
    let newer = here.calls()[1].clone();
    assert!(newer.cold);
    here.tell(Event::FunctionRemoved("f-1".into()));
    here.until(|here| here.retired().contains(&newer.environment)).await;
    // What a worker still has of it is not wanted either.
    here.report("left-over", "c1", EnvironmentState::Idle);
    here.until(|here| here.retired().contains(&"left-over".to_owned())).await;
}

#[tokio::test]
async fn requests_are_checked_before_anything_runs() {
    let here = Neighbours::start(Options::default(), 10, vec![function("f", "c1")]).await;
    let ctx = || {
        CallContext::internal(
            lambfold_types::Scope::default(),
            lambfold_types::uuid_v4(&lambfold_clock::SystemEntropy),
        )
    };
    let fault = async |input| here.dispatcher.invoke(&ctx(), input).await.unwrap_err();
    let not_json = fault(InvocationRequest { payload: Some("{".into()), ..request("f") }).await;
    assert_eq!(not_json.code(), "InvalidRequestContentException");
    assert!(
        not_json
            .message()
            .starts_with("Could not parse request body into json: Could not parse payload into json: ")
    );
    let event = fault(InvocationRequest { invocation_type: Some("Event".into()), ..request("f") }).await;
    assert_eq!(event.http_status(), 501);
    let mut pending = function("p", "c2");
    pending.state = "Pending".into();
    here.tell(Event::Function(pending));
    let waiting = here.spawn("p");
    here.settle().await;
    assert!(!waiting.is_finished(), "it may become Active this moment");
    here.clock.advance(Duration::from_millis(101));
    let pending = waiting.await.unwrap().unwrap_err();
    assert_eq!((pending.code(), pending.http_status()), ("ResourceConflictException", 409));
    let dry = InvocationRequest { invocation_type: Some("DryRun".into()), ..request("f") };
    let dry = here.dispatcher.invoke(&ctx(), dry).await.unwrap();
    assert_eq!((dry.status_code, dry.payload), (Some(204), None));
    assert!(here.calls().is_empty());
}

#[tokio::test]
async fn answers_carry_what_the_caller_asked_for() {
    let here = Neighbours::start(Options::default(), 10, vec![function("f", "c1")]).await;
    let answer = InvokeResponse {
        payload: "{}".into(),
        function_error: "Unhandled".into(),
        log_tail: "log".into(),
        ..InvokeResponse::default()
    };
    here.script([Act::Respond(answer)]);
    let answer = here.invoke("f").await.unwrap();
    assert_eq!((answer.status_code, answer.function_error.as_deref()), (Some(200), Some("Unhandled")));
    assert_eq!(
        (answer.log_result.as_deref(), answer.executed_version.as_deref()),
        (Some("bG9n"), Some("$LATEST"))
    );
    let trace = &here.calls()[0].trace_header;
    assert!(trace.starts_with("Root=1-") && trace.ends_with(";Sampled=0"), "{trace}");
}

#[tokio::test]
async fn a_streamed_answer_has_a_head_pieces_and_an_end() {
    let here = Neighbours::start(Options::default(), 10, vec![function("f", "c1")]).await;
    let ctx = CallContext::internal(lambfold_types::Scope::default(), uuid::Uuid::from_u128(1));
    let stream = async |invocation_type: Option<&str>| {
        let input = InvokeWithResponseStreamRequest {
            function_name: Some("f".into()),
            invocation_type: invocation_type.map(str::to_owned),
            ..InvokeWithResponseStreamRequest::default()
        };
        let frames = here.dispatcher.invoke_with_response_stream(&ctx, input).await?;
        let frames: Vec<_> = frames.map(|frame| frame.unwrap().frame.unwrap()).collect().await;
        Ok::<_, Fault>(frames)
    };
    let head = |frames: &[Frame]| match &frames[0] {
        Frame::Head(head) => (head.status_code, head.executed_version.clone()),
        _ => panic!("the head comes first"),
    };
    let chunks = |frames: &[Frame]| {
        let pieces = frames.iter().filter_map(|frame| match frame {
            Frame::Chunk(update) => update.payload.clone(),
            _ => None,
        });
        pieces.map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    let complete = |frames: &[Frame]| match frames.last() {
        Some(Frame::Complete(event)) => (event.error_code.clone(), event.error_details.clone()),
        _ => panic!("the end comes last"),
    };

    here.script([Act::Answer("abcd")]);
    let frames = stream(None).await.unwrap();
    assert_eq!(head(&frames), (Some(200), Some("$LATEST".into())));
    assert_eq!(chunks(&frames), ["ab", "cd"]);
    assert_eq!(complete(&frames), (None, None));

    // Gone before it began: placed again, as any invocation.
    here.script([Act::Fault("EnvironmentGone"), Act::Answer("xy")]);
    assert_eq!(chunks(&stream(None).await.unwrap()), ["x", "y"]);

    let failed = InvokeResponse {
        payload: r#"{"errorType":"E"}"#.into(),
        function_error: "Unhandled".into(),
        ..InvokeResponse::default()
    };
    here.script([Act::Respond(failed)]);
    let frames = stream(None).await.unwrap();
    assert!(chunks(&frames).is_empty());
    assert_eq!(complete(&frames), (Some("Unhandled".into()), Some(r#"{"errorType":"E"}"#.into())));

    here.script([Act::Fault("InternalFailure")]);
    assert_eq!(stream(None).await.err().unwrap().code(), "ServiceException");

    let dry = stream(Some("DryRun")).await.unwrap();
    assert_eq!((head(&dry).0, dry.len()), (Some(204), 1));
}

#[tokio::test]
async fn control_is_told_of_a_worker_again_and_again_while_it_is_heard_of() {
    let here = Neighbours::start(Options::default(), 10, vec![]).await;
    here.until(|here| !here.told().is_empty()).await;
    let first = here.told().remove(0);
    assert_eq!(first.runtimes, ["python3.12"]);
    here.settle().await;
    let before = here.told().len();
    here.clock.advance(Duration::from_secs(20));
    here.until(|here| here.told().len() > before).await;
    assert_eq!(here.told().last().unwrap().incarnation, first.incarnation);
    here.disconnect_worker().await;
    here.settle().await;
    let last = here.told().len();
    here.clock.advance(Duration::from_mins(1));
    here.settle().await;
    assert_eq!(here.told().len(), last, "not of one that is not heard of");
}
