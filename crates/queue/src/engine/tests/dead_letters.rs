//! Messages that were received too often, on their way to the dead-letter queue.

use crate::queue::{NewQueue, Queue, QueueCounts, QueueProperties, QueueSettings, Redrive};
use crate::store::Fault;
use crate::{CreateOutcome, Options};

use lambfold_types::Scope;

use super::harness::{Engine, name, secs};

async fn source(engine: &Engine, max_receive_count: u32) -> Queue {
    let redrive = Some(Redrive { dead_letter_queue: name("dead"), max_receive_count });
    let settings = QueueSettings { visibility_timeout: secs(1), redrive, ..QueueSettings::default() };
    let new = NewQueue {
        properties: QueueProperties { settings, ..QueueProperties::default() },
        ..NewQueue::default()
    };
    match engine.handle.create_queue(Scope::default(), name("jobs"), new).await.unwrap() {
        CreateOutcome::Created(queue) | CreateOutcome::Exists(queue) => queue,
    }
}

/// Receives what is visible and lets its visibility end.
async fn fail_once(engine: &Engine, queue: &Queue) -> usize {
    let received = engine.receive(queue, 10).await.len();
    engine.pass(secs(1)).await;
    received
}

#[tokio::test]
async fn a_message_moves_with_all_that_is_known_of_it() {
    let engine = Engine::start().await;
    let (queue, dead) = (source(&engine, 2).await, engine.queue("dead").await);
    engine.send(&queue, &["a", "b"]).await;
    let first = engine.receive(&queue, 10).await;
    engine.handle.delete(&queue, vec![first[1].handle]).await.unwrap();
    engine.pass(secs(1)).await;
    assert_eq!(fail_once(&engine, &queue).await, 1, "the second receive is allowed");
    assert_eq!(engine.counts(&dead).await, QueueCounts::default(), "nothing moves while nobody asks");
    assert!(engine.receive(&queue, 10).await.is_empty(), "the third finds nothing");
    engine.calm().await;
    assert_eq!(engine.counts(&queue).await, QueueCounts::default());
    let moved = engine.receive(&dead, 10).await.remove(0);
    assert_eq!(
        (moved.message_id, moved.sent_at, &moved.body),
        (first[0].message_id, first[0].sent_at, &first[0].body)
    );
    assert_eq!((moved.receive_count, moved.first_received_at), (3, first[0].first_received_at));
    assert_eq!(
        moved.system.dead_letter_queue_source_arn.as_deref(),
        Some("arn:aws:sqs:us-east-1:000000000000:jobs")
    );
    // An old handle of the source deletes nothing there any more, and is no error.
    engine.handle.delete(&queue, vec![first[0].handle]).await.unwrap();
    assert_eq!(engine.counts(&dead).await.in_flight, 1);
    // It is all on disk.
    let engine = engine.restart().await;
    let (queue, dead) =
        (engine.handle.queue(queue.scope(), queue.name()).unwrap(), engine.queue("dead").await);
    assert_eq!(engine.counts(&queue).await, QueueCounts::default());
    assert_eq!(engine.counts(&dead).await.in_flight, 1);
    engine.stop().await;
}

#[tokio::test]
async fn retention_counts_from_the_first_send() {
    let engine = Engine::start().await;
    let (queue, dead) = (source(&engine, 1).await, engine.queue("dead").await);
    engine.send(&queue, &["old"]).await;
    engine.pass(secs(3 * 86_400)).await;
    fail_once(&engine, &queue).await;
    engine.send(&dead, &["young"]).await;
    engine.receive(&queue, 10).await;
    engine.calm().await;
    assert_eq!(engine.counts(&dead).await.visible, 2);
    // Four days after its send, not after its move, and though the younger one came here before it; also after a
    // restart.
    let engine = engine.restart().await;
    let dead = engine.queue("dead").await;
    engine.pass(secs(86_400)).await;
    let left = engine.receive(&dead, 10).await;
    assert_eq!(left.iter().map(|it| &it.body[..]).collect::<Vec<_>>(), [b"young"]);
    engine.stop().await;
}

#[tokio::test]
async fn a_dead_letter_queue_that_is_missing_loses_nothing() {
    let engine = Engine::start().await;
    let queue = source(&engine, 1).await;
    engine.send(&queue, &["a", "b"]).await;
    for count in 1..5 {
        let received = engine.receive(&queue, 10).await;
        assert_eq!(received.len(), 2, "also a poll that does not wait gets them");
        assert!(received.iter().all(|it| it.receive_count == count));
        engine.pass(secs(1)).await;
    }
    // Once it is there, they go.
    let dead = engine.queue("dead").await;
    assert!(engine.receive(&queue, 10).await.is_empty());
    engine.calm().await;
    assert_eq!((engine.counts(&queue).await.visible, engine.counts(&dead).await.visible), (0, 2));
    engine.stop().await;
}

#[tokio::test]
async fn a_move_is_whole_or_not_at_all() {
    for fault in [Fault::Refuse, Fault::Unknown, Fault::Full] {
        let engine = Engine::start_with(Options::default()).await;
        let (queue, dead) = (source(&engine, 1).await, engine.queue("dead").await);
        engine.send(&queue, &["a", "b", "c"]).await;
        fail_once(&engine, &queue).await;
        engine.pass(secs(1)).await;
        engine.store.set(Some(fault));
        let poll = engine.poll(&queue, 10).await;
        engine.calm().await;
        engine.store.set(None);
        let (left, moved) = (engine.counts(&queue).await, engine.counts(&dead).await);
        assert_eq!(left.visible + left.in_flight + moved.visible, 3, "{fault:?}: {left:?} {moved:?}");
        // What could not be moved is tried again.
        engine.pass(secs(2)).await;
        engine.receive(&queue, 10).await;
        engine.pass(secs(2)).await;
        engine.calm().await;
        poll.abort();
        assert_eq!(
            (engine.counts(&queue).await, engine.counts(&dead).await.visible),
            (QueueCounts::default(), 3),
            "{fault:?}"
        );
        let engine = engine.restart().await;
        let dead = engine.queue("dead").await;
        assert_eq!(engine.receive(&dead, 10).await.len(), 3, "{fault:?}");
        engine.stop().await;
    }
}

#[tokio::test]
async fn purges_and_changed_policies_meet_moves() {
    let engine = Engine::start().await;
    let (queue, dead) = (source(&engine, 1).await, engine.queue("dead").await);
    engine.send(&queue, &["a"]).await;
    fail_once(&engine, &queue).await;
    let change = |properties: &mut QueueProperties| {
        properties.settings.redrive = None;
        Ok::<(), ()>(())
    };
    engine.handle.update_queue(&queue, change).await.unwrap().unwrap();
    assert_eq!(fail_once(&engine, &queue).await, 1, "without a policy it is handed out again");
    let change = |properties: &mut QueueProperties| {
        properties.settings.redrive = Some(Redrive { dead_letter_queue: name("dead"), max_receive_count: 3 });
        Ok::<(), ()>(())
    };
    engine.handle.update_queue(&queue, change).await.unwrap().unwrap();
    assert_eq!(fail_once(&engine, &queue).await, 1);
    let (poll, purged) = tokio::join!(engine.poll(&queue, 1), engine.handle.purge(&queue));
    purged.unwrap();
    engine.calm().await;
    poll.abort();
    assert_eq!(engine.counts(&queue).await, QueueCounts::default());
    assert!(engine.counts(&dead).await.visible <= 1);
    engine.stop().await;
}

/// Found by the simulation: the owner of the source read its shard anew, found the letters again, and so on without
/// end.
#[tokio::test]
async fn a_dead_letter_queue_that_cannot_be_taken_does_not_disturb_the_source() {
    let engine = Engine::start().await;
    let (queue, dead) = (source(&engine, 1).await, engine.queue("dead").await);
    engine.send(&queue, &["a"]).await;
    fail_once(&engine, &queue).await;
    engine.store.set(Some(Fault::Broken));
    let poll = engine.poll(&queue, 1).await;
    engine.pass(secs(25)).await;
    assert!(poll.await.unwrap().unwrap().is_empty(), "who waits at the source is told nothing of it");
    engine.store.set(None);
    engine.pass(secs(1)).await;
    assert!(engine.receive(&queue, 1).await.is_empty());
    engine.calm().await;
    assert_eq!(engine.counts(&dead).await.visible, 1);
    engine.stop().await;
}

/// Found by the simulation: a delete was acknowledged while its message was being moved, and the move failed.
#[tokio::test]
async fn a_delete_waits_for_the_move_of_its_message() {
    let engine = Engine::start().await;
    let (queue, dead) = (source(&engine, 1).await, engine.queue("dead").await);
    engine.send(&queue, &["a"]).await;
    let handle = engine.receive(&queue, 1).await.remove(0).handle;
    engine.pass(secs(1)).await;
    engine.send(&dead, &["there already"]).await;
    engine.hold_up_commits(true);
    let poll = engine.poll(&queue, 1).await;
    let deleting = tokio::spawn({
        let (handles, queue) = (engine.handle.clone(), queue.clone());
        async move { handles.delete(&queue, vec![handle]).await }
    });
    engine.calm().await;
    engine.store.set(Some(Fault::Full));
    engine.hold_up_commits(false);
    assert_eq!(deleting.await.unwrap().unwrap(), [Ok(())]);
    engine.store.set(None);
    engine.pass(secs(25)).await;
    assert!(poll.await.unwrap().unwrap().is_empty());
    assert!(engine.receive(&queue, 1).await.is_empty());
    engine.calm().await;
    assert_eq!(engine.counts(&queue).await, QueueCounts::default());
    assert_eq!(engine.counts(&dead).await.visible, 1, "it could not be moved, and so was deleted");
    engine.stop().await;
}
