//! The whole service between models of its neighbours. Throughout, the models watch over two rules: nothing is
//! deleted that no function has processed, and no function gets a message that somebody else could have by now.

mod control;
mod functions;
mod queues;
mod world;

use std::time::Duration;

use functions::Does;
use lambfold_api::TraceContext;
use lambfold_telemetry::{self as telemetry, Telemetry};
use lambfold_types::Clock;
use world::{World, mapping};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test]
async fn messages_are_processed_and_deleted() {
    let world = World::with(|it| it.qualifier = "live".into()).await;
    let ids = world.queues.send("jobs", &["one"]);
    world.settle().await;
    world.queues.send("jobs", &["two", "three"]);
    world.settle().await;
    assert_eq!(world.functions.batches("jobs"), [vec!["one"], vec!["two", "three"]]);
    let invocation = &world.functions.invocations("jobs")[0];
    assert_eq!(invocation.event["Records"][0]["messageId"], ids[0].as_str());
    assert_eq!(invocation.event["Records"][0]["attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(invocation.qualifier.as_deref(), Some("live"));
    assert!(world.queues.left("jobs").is_empty());
    assert_eq!(world.control.reached("jobs"), [(1, "Enabled".to_owned())]);
    assert_eq!(world.control.results("jobs"), ["OK"]);
    assert_eq!(world.metric(r#"poller_batches_total{outcome="Success"}"#), "2");
    assert_eq!(world.metric(r#"poller_messages_total{outcome="Deleted"}"#), "3");
    // The queue's own visibility timeout counts: none was asked for.
    assert!(world.queues.queue("jobs", |queue| queue.receives.iter().all(|it| it.1.is_none())));
    world.stop().await;
}

#[tokio::test]
async fn what_a_function_fails_on_comes_back_after_its_visibility_timeout() {
    let world = World::with(|_| {}).await;
    world.functions.does("jobs", Does::Fails);
    let begun = world.clock.now();
    world.queues.send("jobs", &["a", "b"]);
    world.advance(secs(29)).await;
    assert_eq!(world.functions.batches("jobs").len(), 1);
    world.functions.does("jobs", Does::Answers("\"fine\""));
    world.advance(secs(2)).await;
    let invocations = world.functions.invocations("jobs");
    assert_eq!(invocations.len(), 2);
    assert!(invocations[1].at.since(begun) >= secs(30));
    assert_eq!(invocations[1].event["Records"][1]["attributes"]["ApproximateReceiveCount"], "2");
    assert!(world.queues.left("jobs").is_empty());
    assert_eq!(world.control.results("jobs"), ["PROBLEM: Function call failed", "OK"]);
    world.stop().await;
}

#[tokio::test]
async fn only_the_messages_that_a_function_names_come_back() {
    let world = World::with(|it| it.report_batch_item_failures = true).await;
    world.functions.does("jobs", Does::ReportsBad);
    world.queues.send("jobs", &["good 1", "bad 1", "good 2", "bad 2"]);
    world.settle().await;
    assert_eq!(world.queues.left("jobs"), ["bad 1", "bad 2"]);
    world.advance(secs(29)).await;
    assert_eq!(world.functions.batches("jobs").len(), 1);
    world.advance(secs(1)).await;
    assert_eq!(world.functions.batches("jobs")[1], ["bad 1", "bad 2"]);
    // An answer that makes no sense fails the whole batch.
    world.functions.does("jobs", Does::Answers(r#"{"batchItemFailures":[{"itemIdentifier":"nobody"}]}"#));
    world.advance(secs(30)).await;
    assert_eq!(world.functions.batches("jobs").len(), 3);
    assert_eq!(world.queues.left("jobs"), ["bad 1", "bad 2"]);
    assert_eq!(world.metric(r#"poller_batches_total{outcome="FunctionError"}"#), "1");
    world.stop().await;
}

#[tokio::test]
async fn a_throttled_batch_is_tried_again_while_it_is_held() {
    let world = World::with(|_| {}).await;
    for refusal in [429, 503] {
        world.functions.does("jobs", Does::Refuses(refusal));
        world.queues.send("jobs", &["x"]);
        world.advance(secs(5)).await;
        let tries = world.functions.invocations("jobs");
        // 0.1, 0.2, 0.4, 0.8, 1.6 s and so on, half of it by chance: five to eight attempts.
        assert!((4..=9).contains(&tries.len()), "{}", tries.len());
        world.functions.does("jobs", Does::Answers("null"));
        world.advance(secs(10)).await;
        assert!(world.queues.left("jobs").is_empty());
        let last = world.functions.invocations("jobs").pop().unwrap();
        assert_eq!(last.event["Records"][0]["attributes"]["ApproximateReceiveCount"], "1");
        world.functions.state().invocations.clear();
    }
    // Throttled for ever: left when the time is up, received anew, never invoked in between (the model checks).
    world.functions.does("jobs", Does::Refuses(429));
    world.queues.send("jobs", &["x"]);
    world.advance(secs(65)).await;
    let last = world.functions.invocations("jobs").pop().unwrap();
    assert_eq!(last.event["Records"][0]["attributes"]["ApproximateReceiveCount"], "3");
    assert_eq!(world.queues.left("jobs"), ["x"]);
    assert_eq!(world.metric(r#"poller_batches_total{outcome="Throttled"}"#), "2");
    world.stop().await;
}

#[tokio::test]
async fn a_function_that_is_not_there_is_not_hammered() {
    let world = World::with(|it| it.batch_size = 1).await;
    world.functions.does("jobs", Does::Refuses(404));
    let bodies: Vec<String> = (0..200).map(|it| it.to_string()).collect();
    world.queues.send("jobs", &bodies.iter().map(String::as_str).collect::<Vec<_>>());
    world.advance(secs(20)).await;
    let tried = world.functions.batches("jobs").len();
    assert!(tried < 60, "{tried}");
    assert_eq!(world.control.results("jobs"), ["PROBLEM: Function call failed"]);
    assert_eq!(world.queues.left("jobs").len(), 200);
    world.functions.does("jobs", Does::Answers("null"));
    world.until("all are processed", |world| world.queues.left("jobs").is_empty()).await;
    world.stop().await;
}

#[tokio::test]
async fn a_window_gathers_one_batch() {
    let world = World::with(|it| {
        it.batch_size = 25;
        it.maximum_batching_window_seconds = 10;
    })
    .await;
    let begun = world.clock.now();
    for body in ["a", "b", "c"] {
        world.queues.send("jobs", &[body]);
        world.advance(secs(3)).await;
    }
    assert!(world.functions.batches("jobs").is_empty());
    world.advance(secs(1)).await;
    assert_eq!(world.functions.batches("jobs"), [["a", "b", "c"]]);
    assert_eq!(world.functions.invocations("jobs")[0].at.since(begun), secs(10));
    assert!(world.queues.left("jobs").is_empty());
    // window + function timeout + 30 is more than the queue's 30.
    assert!(world.queues.queue("jobs", |queue| queue.receives.iter().all(|it| it.1 == Some(43))));
    // As many as a batch takes do not wait for the window, however many receives they need.
    let bodies: Vec<String> = (0..25).map(|it| it.to_string()).collect();
    world.queues.send("jobs", &bodies.iter().map(String::as_str).collect::<Vec<_>>());
    world.settle().await;
    assert_eq!(world.functions.batches("jobs")[1], bodies);
    world.stop().await;
}

#[tokio::test]
async fn what_waited_too_long_for_a_place_is_not_invoked() {
    let world = World::with(|it| {
        it.maximum_concurrency = 2;
        it.maximum_batching_window_seconds = 1;
    })
    .await;
    world.functions.does("jobs", Does::Hangs);
    for body in ["takes a place", "takes the other", "waits"] {
        world.queues.send("jobs", &[body]);
        world.advance(secs(2)).await;
    }
    assert_eq!(world.functions.state().running, 2);
    let receives = |world: &World| world.queues.queue("jobs", |queue| queue.messages[2].receives);
    assert_eq!(receives(&world), 1);
    // Held for window + function timeout + 30 = 34 s; the places are taken for longer.
    world.advance(secs(40)).await;
    world.functions.does("jobs", Does::Answers("null"));
    world.functions.release();
    world.advance(secs(2)).await;
    // The model has seen that nothing was invoked late.
    assert!(world.queues.left("jobs").is_empty());
    assert_eq!(world.metric(r#"poller_messages_total{outcome="Expired"}"#), "1");
    let last = world.functions.invocations("jobs").pop().unwrap();
    assert_eq!(last.event["Records"][0]["attributes"]["ApproximateReceiveCount"], "2");
    world.stop().await;
}

#[tokio::test]
async fn a_large_batch_closes_at_six_megabytes() {
    let world = World::with(|it| {
        it.batch_size = 100;
        it.maximum_batching_window_seconds = 60;
    })
    .await;
    let body = "x".repeat(1_000_000);
    world.queues.send("jobs", &[body.as_str(); 8]);
    world.settle().await;
    assert_eq!(world.functions.batches("jobs").iter().map(Vec::len).collect::<Vec<_>>(), [6]);
    world.advance(secs(60)).await;
    assert_eq!(world.functions.batches("jobs").iter().map(Vec::len).collect::<Vec<_>>(), [6, 2]);
    world.stop().await;
}

#[tokio::test]
async fn disabling_acts_at_once_and_lets_what_runs_finish() {
    let world = World::with(|_| {}).await;
    world.functions.does("jobs", Does::Hangs);
    world.queues.send("jobs", &["first"]);
    world.settle().await;
    assert_eq!(world.functions.state().running, 1);
    world.control.set_desired_state("jobs", "Disabled");
    world.settle().await;
    assert_eq!(world.queues.state().polls, 0, "the long poll goes on");
    world.queues.send("jobs", &["second"]);
    world.advance(secs(5)).await;
    assert_eq!(world.functions.batches("jobs"), [["first"]]);
    assert_eq!(world.control.reached("jobs"), [(1, "Enabled".to_owned())]);
    world.functions.release();
    world.settle().await;
    assert_eq!(world.queues.left("jobs"), ["second"]);
    assert_eq!(world.control.reached("jobs")[1..], [(2, "Disabled".to_owned())]);
    world.functions.does("jobs", Does::Answers("null"));
    world.control.set_desired_state("jobs", "Enabled");
    world.settle().await;
    assert!(world.queues.left("jobs").is_empty());
    assert_eq!(world.control.reached("jobs")[2..], [(3, "Enabled".to_owned())]);
    world.stop().await;
}

#[tokio::test]
async fn disabling_hands_back_what_was_not_invoked() {
    let world = World::with(|it| {
        it.batch_size = 100;
        it.maximum_batching_window_seconds = 60;
    })
    .await;
    world.queues.send("jobs", &["gathered"]);
    world.advance(secs(1)).await;
    let hidden = |world: &World| {
        let now = world.clock.now();
        world.queues.queue("jobs", |queue| queue.messages.iter().filter(|it| it.visible_at > now).count())
    };
    assert_eq!(hidden(&world), 1);
    world.control.set_desired_state("jobs", "Disabled");
    world.settle().await;
    assert_eq!(hidden(&world), 0);
    // The same for a batch that is throttled: it is not running.
    world.functions.does("jobs", Does::Refuses(429));
    world.control.change("jobs", |it| {
        it.desired_state = "Enabled".into();
        it.maximum_batching_window_seconds = 0;
    });
    world.advance(secs(5)).await;
    assert_eq!(hidden(&world), 1);
    world.control.set_desired_state("jobs", "Disabled");
    world.settle().await;
    assert_eq!(hidden(&world), 0);
    assert_eq!(world.control.reached("jobs").pop().unwrap(), (4, "Disabled".to_owned()));
    assert_eq!(world.metric(r#"poller_messages_total{outcome="HandedBack"}"#), "2");
    world.stop().await;
}

#[tokio::test]
async fn a_mapping_that_is_created_disabled_receives_nothing() {
    let world = World::with(|it| it.desired_state = "Disabled".into()).await;
    world.queues.send("jobs", &["x"]);
    world.advance(secs(60)).await;
    assert!(world.queues.queue("jobs", |queue| queue.receives.is_empty()));
    assert_eq!(world.control.reached("jobs"), [(1, "Disabled".to_owned())]);
    world.stop().await;
}

#[tokio::test]
async fn filters_that_cannot_be_applied_let_nothing_through() {
    let world = World::with(|it| it.filter_patterns = vec![r#"{"body":{"a":[1]}}"#.into()]).await;
    world.queues.send("jobs", &["x"]);
    world.advance(secs(60)).await;
    assert!(world.functions.batches("jobs").is_empty());
    assert!(world.control.results("jobs")[0].starts_with("PROBLEM: FilterCriteria"));
    world.stop().await;
}

#[tokio::test]
async fn deleting_waits_for_what_runs_and_says_so() {
    let world = World::with(|_| {}).await;
    world.functions.does("jobs", Does::Hangs);
    world.queues.send("jobs", &["first"]);
    world.settle().await;
    world.control.set_desired_state("jobs", "Deleted");
    world.advance(secs(2)).await;
    assert_eq!(world.control.reached("jobs").len(), 1);
    world.functions.release();
    world.settle().await;
    assert!(world.queues.left("jobs").is_empty());
    assert_eq!(world.control.reached("jobs")[1..], [(2, "Deleted".to_owned())]);
    assert_eq!(world.metric("poller_mappings"), "1");
    world.control.remove("jobs");
    world.settle().await;
    assert_eq!(world.metric("poller_mappings"), "0");
    world.stop().await;
}

#[tokio::test]
async fn a_queue_that_is_away_for_a_while_is_polled_again() {
    let world = World::with(|_| {}).await;
    world.queues.state().away = true;
    world.queues.send("jobs", &["x"]);
    world.advance(secs(60)).await;
    assert!(world.functions.batches("jobs").is_empty());
    world.queues.state().away = false;
    world.advance(secs(6)).await;
    assert!(world.queues.left("jobs").is_empty());
    // Away between invoke and delete: deleted as soon as it is back, and not processed twice.
    world.functions.does("jobs", Does::Hangs);
    world.queues.send("jobs", &["y"]);
    world.settle().await;
    world.queues.state().away = true;
    world.functions.release();
    world.advance(secs(5)).await;
    world.queues.state().away = false;
    world.advance(secs(6)).await;
    assert!(world.queues.left("jobs").is_empty());
    assert_eq!(world.functions.batches("jobs"), [["x"], ["y"]]);
    world.stop().await;
}

#[tokio::test]
async fn deletes_that_fail_are_tried_again() {
    let world = World::with(|it| {
        it.batch_size = 35;
        it.maximum_batching_window_seconds = 1;
    })
    .await;
    world.queues.state().failing_deletes = 3;
    world.queues.state().failing_delete_entries = 7;
    let bodies: Vec<String> = (0..35).map(|it| it.to_string()).collect();
    world.queues.send("jobs", &bodies.iter().map(String::as_str).collect::<Vec<_>>());
    world.advance(secs(3)).await;
    assert!(world.queues.left("jobs").is_empty());
    assert_eq!(world.functions.batches("jobs").len(), 1);
    assert_eq!(world.metric(r#"poller_messages_total{outcome="Deleted"}"#), "35");
    world.stop().await;
}

#[tokio::test]
async fn without_control_everything_goes_on() {
    let world = World::with(|_| {}).await;
    world.control.goes_away();
    world.queues.send("jobs", &["x"]);
    world.advance(secs(30)).await;
    assert!(world.queues.left("jobs").is_empty());
    assert_eq!(world.control.results("jobs"), [""; 0]);
    // A change and a removal that happened while nobody could be told.
    world.queues.create("more", 30);
    world.control.put(mapping("more"));
    world.control.comes_back();
    world.until("control is watched again", |world| world.control.is_watched()).await;
    world.advance(secs(6)).await;
    assert_eq!(world.control.results("jobs"), ["OK"], "what was to be told is told late");
    assert_eq!(world.metric("poller_mappings"), "2");
    world.control.goes_away();
    world.control.remove("jobs");
    world.control.comes_back();
    world.until("it is gone", |world| world.metric("poller_mappings") == "1").await;
    world.queues.send("jobs", &["nobody"]);
    world.queues.send("more", &["somebody"]);
    world.advance(secs(6)).await;
    assert_eq!((world.queues.left("jobs").len(), world.queues.left("more").len()), (1, 0));
    world.stop().await;
}

#[tokio::test]
async fn results_that_alternate_do_not_flood_control() {
    let world = World::with(|_| {}).await;
    for round in 0..100 {
        let does = if round % 2 == 0 { Does::Fails } else { Does::Answers("null") };
        world.functions.does("jobs", does);
        world.queues.send("jobs", &["x"]);
        world.advance(Duration::from_millis(50)).await;
    }
    let told = world.control.results("jobs").len();
    assert!((4..=8).contains(&told), "{told} in five seconds");
    // A state does not wait behind a result.
    world.control.set_desired_state("jobs", "Disabled");
    world.settle().await;
    assert_eq!(world.control.reached("jobs").pop().unwrap(), (2, "Disabled".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn a_queue_that_is_deleted_is_a_problem_until_it_is_back() {
    let world = World::with(|_| {}).await;
    world.queues.delete("jobs");
    world.advance(secs(90)).await;
    let text = "PROBLEM: The queue does not exist. It may have been deleted.";
    assert_eq!(world.control.results("jobs"), [text]);
    world.queues.create("jobs", 30);
    world.queues.send("jobs", &["x"]);
    world.advance(secs(31)).await;
    assert!(world.queues.left("jobs").is_empty());
    assert_eq!(world.control.results("jobs").last().unwrap(), "OK");
    world.stop().await;
}

#[tokio::test]
async fn a_stuck_mapping_slows_no_other() {
    let world = World::with(|it| it.batch_size = 1).await;
    world.queues.create("more", 30);
    world.control.put(mapping("more"));
    world.functions.does("jobs", Does::Hangs);
    let bodies: Vec<String> = (0..500).map(|it| it.to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    world.queues.send("jobs", &bodies);
    world.advance(secs(20)).await;
    // Scaled out to the cap and stuck there, holding no more than it runs.
    assert_eq!(world.functions.state().running, 50);
    let held = world.queues.queue("jobs", |queue| queue.messages.iter().filter(|it| it.receives > 0).count());
    assert_eq!(held, 50);
    world.queues.send("more", &bodies[..100]);
    world.settle().await;
    assert!(world.queues.left("more").is_empty(), "no time went by");
    world.functions.does("jobs", Does::Answers("null"));
    world.functions.release();
    world.until("all are processed", |world| world.queues.left("jobs").is_empty()).await;
    world.stop().await;
}

#[tokio::test]
async fn concurrency_starts_at_five_and_keeps_to_the_maximum() {
    for (maximum, at_start, after_a_minute) in [(0, 5, 50), (2, 2, 2), (7, 5, 7)] {
        let world = World::with(|it| {
            it.batch_size = 1;
            it.maximum_concurrency = maximum;
        })
        .await;
        world.functions.does("jobs", Does::Hangs);
        let bodies: Vec<String> = (0..100).map(|it| it.to_string()).collect();
        world.queues.send("jobs", &bodies.iter().map(String::as_str).collect::<Vec<_>>());
        world.settle().await;
        assert_eq!(world.functions.state().running, at_start);
        world.advance(secs(25)).await;
        assert_eq!(world.functions.state().running, after_a_minute);
        assert_eq!(world.functions.state().most_running, after_a_minute);
        world.stop().await;
    }
}

#[tokio::test]
async fn a_fifo_receive_is_one_batch() {
    let world = World::with(|it| {
        it.event_source_arn = "arn:aws:sqs:us-east-1:000000000000:jobs.fifo".into();
        it.batch_size = 3;
    })
    .await;
    world.queues.create("jobs.fifo", 30);
    world.until("polled", |world| world.queues.state().polls > 0).await;
    world.queues.send("jobs.fifo", &["1", "2", "3", "4", "5"]);
    world.settle().await;
    assert!(world.queues.queue("jobs.fifo", |queue| queue.receives.iter().all(|it| it.0 == 3)));
    assert_eq!(world.functions.batches("jobs").iter().map(Vec::len).sum::<usize>(), 5);
    world.stop().await;
}

#[tokio::test]
async fn stopping_finishes_what_runs_and_hands_back_the_rest() {
    let world = World::with(|it| {
        it.batch_size = 2;
        it.maximum_batching_window_seconds = 60;
    })
    .await;
    world.functions.does("jobs", Does::Hangs);
    world.queues.send("jobs", &["a", "b", "c"]);
    world.settle().await;
    assert_eq!(world.functions.batches("jobs"), [["a", "b"]]);
    world.shutdown.cancel();
    world.advance(secs(1)).await;
    assert_eq!(world.queues.state().polls, 0);
    let now = world.clock.now();
    assert!(world.queues.queue("jobs", |queue| queue.messages[2].visible_at <= now));
    assert!(!world.poller.is_finished());
    world.functions.release();
    world.settle().await;
    assert!(world.poller.is_finished());
    assert_eq!(world.queues.left("jobs"), ["c"]);
    world.stop().await;
}

#[tokio::test]
async fn stopping_takes_no_longer_than_it_says() {
    let world = World::with(|_| {}).await;
    world.functions.does("jobs", Does::Hangs);
    world.queues.send("jobs", &["a"]);
    world.settle().await;
    let begun = world.clock.now();
    world.shutdown.cancel();
    world.until("stopped", |world| world.poller.is_finished()).await;
    assert_eq!(world.clock.now().since(begun), secs(10));
    assert_eq!(world.functions.state().running, 0);
    assert_eq!(world.queues.left("jobs"), ["a"]);
    world.stop().await;
}

#[tokio::test]
async fn a_batch_that_panics_ends_nothing_but_itself() {
    let world = World::with(|_| {}).await;
    world.functions.does("jobs", Does::Panics);
    world.queues.send("jobs", &["x"]);
    world.advance(secs(1)).await;
    world.functions.does("jobs", Does::Answers("null"));
    world.queues.send("jobs", &["y"]);
    world.settle().await;
    assert_eq!(world.queues.left("jobs"), ["x"]);
    world.advance(secs(31)).await;
    assert!(world.queues.left("jobs").is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_batch_is_a_child_of_one_sender_and_linked_to_all() {
    let log_filter = "off".to_owned();
    let telemetry = Telemetry::init(&telemetry::Options { log_filter, ..Default::default() }).unwrap();
    let world = World::with(|it| {
        it.batch_size = 4;
        it.maximum_batching_window_seconds = 5;
    })
    .await;
    let trace = |digit: &str, sampled: bool| TraceContext {
        trace_id: u128::from_str_radix(&digit.repeat(32), 16).unwrap(),
        span_id: 7,
        sampled,
    };
    let senders = [trace("a", false), trace("b", true), trace("c", true)];
    world.queues.send_traced("jobs", "none", None);
    for sender in senders {
        world.queues.send_traced("jobs", "traced", Some(&sender.to_amzn()));
    }
    world.settle().await;
    let spans = telemetry.recorder().spans(&"b".repeat(32));
    let batch = spans.iter().find(|it| it.name == "poller.batch").unwrap();
    assert_eq!(
        (batch.trace_id.as_str(), batch.parent_span_id.as_str()),
        (&*"b".repeat(32), "0000000000000007")
    );
    let links: Vec<&str> = batch.links.iter().map(|it| it.trace_id.as_str()).collect();
    assert_eq!(links, ["a".repeat(32), "b".repeat(32), "c".repeat(32)]);
    assert_eq!(batch.attributes["outcome"], "Success");
    // What the function's invocation belongs to.
    let passed = world.functions.invocations("jobs")[0].trace.unwrap();
    assert_eq!(passed.trace_id, senders[1].trace_id);
    assert_eq!(format!("{:016x}", passed.span_id), batch.span_id);
    // Nobody sampled: no span, but the trace is carried on.
    world.queues.send_traced("jobs", "traced", Some(&senders[0].to_amzn()));
    world.advance(secs(5)).await;
    assert_eq!(world.functions.invocations("jobs")[1].trace, Some(senders[0]));
    assert!(telemetry.recorder().spans(&"a".repeat(32)).iter().all(|it| it.trace_id != "a".repeat(32)));
    world.stop().await;
}

#[tokio::test]
async fn whatever_happens_every_message_is_processed_in_the_end() {
    let world = World::with(|it| {
        it.batch_size = 4;
        it.report_batch_item_failures = true;
    })
    .await;
    let weather =
        [Does::Answers("null"), Does::Fails, Does::ReportsBad, Does::Refuses(429), Does::Refuses(500)];
    for round in 0_usize..60 {
        world.functions.does("jobs", weather[(round * 7 + round / 5) % weather.len()].clone());
        world.queues.send("jobs", &["good", "bad", "good"]);
        world.queues.state().away = round % 11 == 3;
        world.queues.state().failing_deletes = round % 3;
        if round % 13 == 5 {
            world.control.goes_away();
        } else {
            world.control.comes_back();
        }
        world.advance(Duration::from_millis(300 * (round as u64 % 9))).await;
    }
    world.queues.state().away = false;
    world.control.comes_back();
    world.functions.does("jobs", Does::Answers("{}"));
    world.until("the queue is empty", |world| world.queues.left("jobs").is_empty()).await;
    assert_eq!(world.queues.state().processed.len(), 180);
    world.stop().await;
}
