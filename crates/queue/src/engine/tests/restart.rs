//! What a restart finds.

use std::time::Duration;

use crate::NewMessage;
use crate::queue::QueueCounts;

use super::harness::{Engine, secs};

#[tokio::test]
async fn everything_acknowledged_is_there_again() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    let keys = engine.handle.mac_keys().signing().clone();
    engine.send(&queue, &["a", "b", "c", "d"]).await;
    let delayed = NewMessage { delay: Some(secs(300)), ..NewMessage::default() };
    engine.handle.send(&queue, vec![delayed]).await.unwrap();
    let received = engine.receive(&queue, 2).await;
    engine.handle.delete(&queue, vec![received[0].handle]).await.unwrap();
    // By then a receive is written that nobody waits for.
    engine.pass(Duration::from_millis(10)).await;

    let engine = engine.restart().await;
    let queue = engine.handle.queue(queue.scope(), queue.name()).unwrap();
    assert_eq!(*engine.handle.mac_keys().signing(), keys, "old handles are still authentic");
    assert_eq!(engine.counts(&queue).await, QueueCounts { visible: 2, in_flight: 1, delayed: 1 });
    engine.pass(secs(29)).await;
    assert_eq!(engine.counts(&queue).await.in_flight, 1, "the deadline is the old one");
    engine.pass(Duration::from_millis(990)).await;
    assert_eq!(engine.counts(&queue).await, QueueCounts { visible: 3, in_flight: 0, delayed: 1 });
    let again = engine.receive(&queue, 10).await;
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|message| message.handle.epoch > received[0].handle.epoch));
    let twice = again.iter().find(|message| message.receive_count == 2).unwrap();
    assert_eq!(twice.first_received_at, received[1].first_received_at);
    engine.handle.delete(&queue, vec![received[1].handle]).await.unwrap();
    assert_eq!(engine.counts(&queue).await.in_flight, 2, "a handle of before the restart");
    engine.stop().await;
}

#[tokio::test]
async fn a_receive_that_was_not_committed_is_undone_but_its_handle_is_good() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    engine.send(&queue, &["a", "b"]).await;
    // The answer does not wait for the commit; nothing runs between it and the end.
    let received = engine.receive(&queue, 1).await.remove(0);
    let engine = engine.restart().await;
    let queue = engine.handle.queue(queue.scope(), queue.name()).unwrap();
    engine.handle.delete(&queue, vec![received.handle]).await.unwrap();
    let left = engine.receive(&queue, 10).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].body, "b");
    assert_eq!(engine.counts(&queue).await, QueueCounts { visible: 0, in_flight: 1, delayed: 0 });
    engine.stop().await;
}

#[tokio::test]
async fn deleted_queues_stay_deleted() {
    let engine = Engine::start().await;
    let old = engine.queue("jobs").await;
    engine.send(&old, &["a"]).await;
    engine.handle.delete_queue(&old).await.unwrap();
    let new = engine.queue("jobs").await;
    engine.send(&new, &["b"]).await;
    engine.pass(secs(2)).await;
    let engine = engine.restart().await;
    let found = engine.handle.queue(new.scope(), new.name()).unwrap();
    assert_eq!(found.incarnation(), new.incarnation());
    assert_eq!(engine.receive(&found, 10).await[0].body, "b");
    engine.handle.delete_queue(&found).await.unwrap();
    let engine = engine.restart().await;
    let newest = engine.queue("jobs").await;
    assert!(newest.incarnation() > new.incarnation(), "incarnations are not reused after a restart");
    engine.stop().await;
}
