//! What a FIFO queue's receiver may rely on when commits fail.

use std::time::Duration;

use lambfold_types::Scope;

use crate::error::Error;
use crate::queue::{CreateOutcome, DeduplicationScope, NewQueue, Queue, QueueKind, QueueProperties};
use crate::store::Fault;
use crate::{NewMessage, Redrive, SystemAttributes};

use super::harness::{Engine, name, params};

async fn fifo(engine: &Engine, text: &str, redrive: Option<Redrive>) -> Queue {
    let mut properties = QueueProperties::default();
    properties.settings.redrive = redrive;
    let new = NewQueue { kind: QueueKind::Fifo(DeduplicationScope::Queue), properties };
    match engine.handle.create_queue(Scope::default(), name(text), new).await.unwrap() {
        CreateOutcome::Created(queue) | CreateOutcome::Exists(queue) => queue,
    }
}

fn message(group: &str, body: &str) -> NewMessage {
    let system = SystemAttributes {
        message_group_id: Some(group.to_owned()),
        message_deduplication_id: Some(body.to_owned()),
        ..SystemAttributes::default()
    };
    NewMessage { body: body.to_owned().into(), system, ..NewMessage::default() }
}

#[tokio::test]
async fn nothing_is_handed_out_that_a_crash_would_hand_out_again() {
    let engine = Engine::start().await;
    let queue = fifo(&engine, "jobs.fifo", None).await;
    engine.handle.send(&queue, vec![message("g", "a"), message("g", "b")]).await.unwrap();
    engine.store.set(Some(Fault::Refuse));
    let refused = engine.handle.receive(&queue, params(1, 0)).await;
    assert!(matches!(refused, Err(Error::Store(_))), "{refused:?}");
    let received = engine.receive(&queue, 1).await;
    assert_eq!((&*received[0].body, received[0].receive_count), (&b"a"[..], 1));
    // At once, with no time for anything to linger.
    let engine = engine.restart().await;
    let queue = engine.handle.queue(&Scope::default(), &name("jobs.fifo")).unwrap();
    assert!(engine.receive(&queue, 10).await.is_empty(), "its group is locked");
    let deleted = engine.handle.delete(&queue, vec![received[0].handle]).await.unwrap();
    assert_eq!(deleted, [Ok(())], "by a handle from before the restart");
    assert_eq!(&*engine.receive(&queue, 10).await[0].body, b"b");
    let again = engine.handle.send(&queue, vec![message("g", "a")]).await.unwrap();
    assert!(again[0].is_duplicate);
    assert_eq!(again[0].message_id, received[0].message_id);
    engine.stop().await;
}

#[tokio::test]
async fn a_poll_wakes_when_its_group_is_unlocked() {
    let engine = Engine::start().await;
    let queue = fifo(&engine, "jobs.fifo", None).await;
    engine.handle.send(&queue, vec![message("g", "a"), message("g", "b")]).await.unwrap();
    let first = engine.receive(&queue, 1).await.remove(0);
    let poll = engine.poll(&queue, 1).await;
    assert!(!poll.is_finished());
    engine.handle.delete(&queue, vec![first.handle]).await.unwrap();
    assert_eq!(&*poll.await.unwrap().unwrap()[0].body, b"b");
    engine.stop().await;
}

#[tokio::test]
async fn a_receiver_that_left_before_the_commit_gives_its_messages_back() {
    let engine = Engine::start().await;
    let queue = fifo(&engine, "jobs.fifo", None).await;
    let poll = engine.poll(&queue, 1).await;
    poll.abort();
    engine.calm().await;
    engine.handle.send(&queue, vec![message("g", "a")]).await.unwrap();
    let received = engine.receive(&queue, 1).await;
    assert_eq!(received[0].receive_count, 1);
    engine.stop().await;
}

#[tokio::test]
async fn a_full_store_refuses_the_duplicate_with_the_original() {
    let engine = Engine::start().await;
    let queue = fifo(&engine, "jobs.fifo", None).await;
    engine.store.set(Some(Fault::Full));
    let (first, second) = tokio::join!(
        engine.handle.send(&queue, vec![message("g", "a")]),
        engine.handle.send(&queue, vec![message("g", "a")]),
    );
    assert!(matches!((first, second), (Err(Error::StorageFull), Err(Error::StorageFull))));
    engine.store.set(None);
    let sent = engine.handle.send(&queue, vec![message("g", "a")]).await.unwrap();
    assert!(!sent[0].is_duplicate);
    assert_eq!(engine.receive(&queue, 10).await.len(), 1);
    engine.stop().await;
}

#[tokio::test]
async fn dead_letters_keep_group_order_and_first_sending() {
    let engine = Engine::start().await;
    let redrive = Redrive { dead_letter_queue: name("dead.fifo"), max_receive_count: 1 };
    let queue = fifo(&engine, "jobs.fifo", Some(redrive)).await;
    let dead = fifo(&engine, "dead.fifo", None).await;
    let sent = engine.handle.send(&queue, vec![message("g", "a"), message("g", "b")]).await.unwrap();
    assert_eq!(engine.receive(&queue, 2).await.len(), 2);
    engine.pass(Duration::from_mins(1)).await;
    assert!(engine.receive(&queue, 2).await.is_empty());
    // The same id does not make a dead letter a duplicate.
    engine.handle.send(&dead, vec![message("g", "b")]).await.unwrap();
    let moved = engine.receive(&dead, 10).await;
    assert_eq!(moved.iter().map(|it| &*it.body).collect::<Vec<_>>(), [b"a", b"b", b"b"]);
    for (moved, sent) in moved.iter().zip(&sent) {
        assert_eq!(
            (moved.message_id, moved.sent_at, moved.receive_count),
            (sent.message_id, sent.sent_at, 2)
        );
        assert_eq!(moved.system.message_group_id.as_deref(), Some("g"));
        assert!(moved.system.dead_letter_queue_source_arn.as_deref().unwrap().ends_with(":jobs.fifo"));
    }
    engine.stop().await;
}

#[tokio::test]
async fn a_group_stays_locked_through_a_restart_behind_more_than_is_read_at_once() {
    let engine = Engine::start().await;
    let queue = fifo(&engine, "jobs.fifo", None).await;
    // Ten messages in flight of a mebibyte each, of ten groups that have one more.
    for n in 0..10 {
        let large =
            NewMessage { body: vec![b'x'; 1 << 20].into(), ..message(&n.to_string(), &format!("{n} a")) };
        engine.handle.send(&queue, vec![large, message(&n.to_string(), &format!("{n} b"))]).await.unwrap();
    }
    for _ in 0..10 {
        assert_eq!(engine.receive(&queue, 1).await.len(), 1);
    }
    let engine = engine.restart().await;
    let queue = engine.handle.queue(&Scope::default(), &name("jobs.fifo")).unwrap();
    assert!(engine.receive(&queue, 10).await.is_empty());
    engine.pass(Duration::from_secs(30)).await;
    assert_eq!(engine.receive(&queue, 10).await.len(), 10);
    engine.stop().await;
}
