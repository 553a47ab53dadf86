//! Fair queues: one tenant's backlog is not the others' (facts, SQS §5.7).

use crate::message::Received;
use crate::{NewMessage, Options, Queue, SystemAttributes};

use super::harness::{Engine, messages, secs};

fn of(tenant: &str, count: usize) -> Vec<NewMessage> {
    let system =
        SystemAttributes { message_group_id: Some(tenant.to_owned()), ..SystemAttributes::default() };
    (0..count)
        .map(|n| NewMessage { system: system.clone(), ..messages(&[&n.to_string()]).remove(0) })
        .collect()
}

fn tenant(message: &Received) -> &str {
    message.system.message_group_id.as_deref().unwrap_or_default()
}

/// How many messages a consumer that takes one at a time gets until it has `wanted` of the quiet tenant.
async fn dwell(engine: &Engine, queue: &Queue, wanted: usize) -> usize {
    let (mut taken, mut quiet) = (0, 0);
    while quiet < wanted {
        let received = engine.receive(queue, 1).await.remove(0);
        engine.handle.delete(queue, vec![received.handle]).await.unwrap();
        taken += 1;
        quiet += usize::from(tenant(&received) == "quiet");
    }
    taken
}

#[tokio::test]
async fn a_noisy_tenant_does_not_make_a_quiet_one_wait() {
    // Most of the backlog is in the store.
    let engine = Engine::start_with(Options { body_cache_bytes: 10_000, ..Options::default() }).await;
    let queue = engine.queue("jobs").await;
    for backlog in [1_000, 20_000] {
        for _ in 0..backlog / 1_000 {
            engine.handle.send(&queue, of("noisy", 1_000)).await.unwrap();
        }
        engine.handle.send(&queue, of("quiet", 5)).await.unwrap();
        let taken = dwell(&engine, &queue, 5).await;
        assert!(taken <= 10, "behind a backlog of {backlog} it took {taken} receives to get five messages");
    }
    engine.stop().await;
}

#[tokio::test]
async fn a_place_in_front_survives_a_restart_and_no_message_is_lost() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    engine.handle.send(&queue, of("noisy", 500)).await.unwrap();
    engine.handle.send(&queue, of("quiet", 3)).await.unwrap();
    let engine = engine.restart().await;
    let queue = engine.handle.queue(queue.scope(), queue.name()).unwrap();
    assert_eq!(engine.counts(&queue).await.visible, 503);
    let taken = dwell(&engine, &queue, 3).await;
    assert!(taken <= 6, "{taken}");
    let mut rest = 0;
    while engine.counts(&queue).await.visible > 0 {
        rest += engine.receive(&queue, 10).await.len();
    }
    assert_eq!(taken + rest, 503);
    engine.stop().await;
}

#[tokio::test]
async fn metrics_tell_quiet_groups_from_noisy_ones() {
    const QUIET: [&str; 5] = [
        "ApproximateNumberOfNoisyGroups",
        "ApproximateNumberOfMessagesVisibleInQuietGroups",
        "ApproximateNumberOfMessagesNotVisibleInQuietGroups",
        "ApproximateNumberOfMessagesDelayedInQuietGroups",
        "ApproximateAgeOfOldestMessageInQuietGroups",
    ];
    let engine = Engine::start().await;
    let (queue, plain) = (engine.queue("jobs").await, engine.queue("plain").await);
    engine.send(&plain, &["x"]).await;
    engine.handle.send(&queue, of("noisy", 50)).await.unwrap();
    engine.pass(secs(5)).await;
    engine.handle.send(&queue, of("quiet", 4)).await.unwrap();
    let delayed = of("quiet", 2).into_iter().map(|it| NewMessage { delay: Some(secs(900)), ..it });
    engine.handle.send(&queue, delayed.collect()).await.unwrap();
    engine.receive(&queue, 2).await;
    engine.pass(secs(7)).await;
    let metrics = engine.metrics(&queue).await;
    assert_eq!(QUIET.map(|name| metrics[name]), [1, 3, 1, 2, 7]);
    assert_eq!(metrics["ApproximateNumberOfMessagesVisible"], 52);
    assert_eq!(metrics["ApproximateAgeOfOldestMessage"], 12);
    let metrics = engine.metrics(&plain).await;
    assert_eq!(metrics["ApproximateNumberOfMessagesVisible"], 1);
    assert!(QUIET.iter().all(|name| !metrics.contains_key(*name)), "without groups it is no fair queue");
    engine.stop().await;
}
