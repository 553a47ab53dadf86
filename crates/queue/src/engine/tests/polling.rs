//! Long polls: what wakes them, what ends them.

use std::time::Duration;

use crate::error::Error;
use crate::{NewMessage, ReceiveParams};

use super::harness::{Engine, params, secs};

#[tokio::test]
async fn a_poll_wakes_by_a_send_and_ends_by_its_time() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    let (first, second) = (engine.poll(&queue, 10).await, engine.poll(&queue, 10).await);
    engine.send(&queue, &["a"]).await;
    assert_eq!(first.await.unwrap().unwrap().len(), 1);
    engine.pass(Duration::from_millis(19_999)).await;
    assert!(!second.is_finished());
    engine.pass(Duration::from_millis(1)).await;
    assert!(second.await.unwrap().unwrap().is_empty());
    engine.stop().await;
}

#[tokio::test]
async fn a_poll_wakes_by_delay_visibility_and_change() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    let delayed = NewMessage { delay: Some(secs(5)), ..NewMessage::default() };
    engine.handle.send(&queue, vec![delayed]).await.unwrap();
    let poll = engine.poll(&queue, 1).await;
    engine.pass(secs(5)).await;
    assert_eq!(poll.await.unwrap().unwrap()[0].receive_count, 1);
    engine.pass(secs(15)).await;
    let poll = engine.poll(&queue, 1).await;
    engine.pass(secs(15)).await;
    let again = poll.await.unwrap().unwrap();
    assert_eq!(again[0].receive_count, 2);
    let poll = engine.poll(&queue, 1).await;
    let changed =
        engine.handle.change_visibility(&queue, vec![(again[0].handle, Duration::ZERO)]).await.unwrap();
    assert_eq!(changed, [Ok(())]);
    assert_eq!(poll.await.unwrap().unwrap()[0].receive_count, 3);
    engine.stop().await;
}

#[tokio::test]
async fn a_poll_that_was_dropped_takes_no_message() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    let dropped = engine.poll(&queue, 1).await;
    let stays = engine.poll(&queue, 1).await;
    dropped.abort();
    engine.calm().await;
    engine.send(&queue, &["a"]).await;
    let received = stays.await.unwrap().unwrap();
    assert_eq!(received[0].receive_count, 1);
    engine.stop().await;
}

/// The receiver goes after the message was handed to it and before it looked.
#[tokio::test]
async fn a_message_on_its_way_to_one_who_left_comes_back() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    let mut poll = Box::pin(engine.handle.receive(&queue, params(1, 20)));
    let started = tokio::select! {
        biased;
        _ = &mut poll => false,
        () = engine.calm() => true,
    };
    assert!(started);
    engine.send(&queue, &["a"]).await;
    engine.calm().await;
    assert_eq!(engine.counts(&queue).await.in_flight, 1, "it was handed over");
    drop(poll);
    engine.calm().await;
    let received = engine.receive(&queue, 1).await;
    assert_eq!((received.len(), received[0].receive_count), (1, 1), "as if it had not been received");
    engine.stop().await;
}

#[tokio::test]
async fn the_queues_own_wait_counts_when_none_is_given() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    let update = engine.handle.update_queue(&queue, |properties| {
        properties.settings.receive_message_wait_time = secs(3);
        Ok::<_, ()>(())
    });
    update.await.unwrap().unwrap();
    let (handle, target) = (engine.handle.clone(), queue.clone());
    let asks = ReceiveParams { max_messages: 1, visibility_timeout: None, wait_time: None, attempt_id: None };
    let poll = tokio::spawn(async move { handle.receive(&target, asks).await });
    engine.calm().await;
    engine.pass(Duration::from_millis(2_999)).await;
    assert!(!poll.is_finished());
    engine.pass(Duration::from_millis(1)).await;
    assert!(poll.await.unwrap().unwrap().is_empty());
    assert!(engine.receive(&queue, 1).await.is_empty(), "a wait of zero beats it");
    engine.stop().await;
}

#[tokio::test]
async fn polls_of_a_deleted_queue_fail_and_of_a_stopping_service_end() {
    let engine = Engine::start().await;
    let (gone, stays) = (engine.queue("gone").await, engine.queue("stays").await);
    let (fails, ends) = (engine.poll(&gone, 1).await, engine.poll(&stays, 1).await);
    engine.handle.delete_queue(&gone).await.unwrap();
    assert!(matches!(fails.await.unwrap(), Err(Error::NoSuchQueue)));
    engine.shutdown();
    assert!(ends.await.unwrap().unwrap().is_empty());
    engine.stop().await;
}
