//! Commits that fail, and a store that is full.

use std::time::Duration;

use lambfold_types::Scope;

use crate::error::Error;
use crate::queue::{CreateOutcome, NewQueue, QueueCounts};
use crate::store::Fault;

use super::harness::{Engine, messages, name, params, secs};

#[tokio::test]
async fn a_failed_commit_takes_back_what_it_was_to_hold() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    engine.send(&queue, &["a", "b"]).await;
    let received = engine.receive(&queue, 1).await.remove(0);
    engine.calm().await;
    assert_eq!(engine.receive(&queue, 10).await.len(), 1);
    // A receive is committed soon, though nobody waits for it.
    engine.pass(Duration::from_millis(10)).await;

    engine.store.set(Some(Fault::Refuse));
    let waits = engine.poll(&queue, 1).await;
    let (sent, deleted) = tokio::join!(
        engine.handle.send(&queue, messages(&["c"])),
        engine.handle.delete(&queue, vec![received.handle]),
    );
    assert!(matches!(sent, Err(Error::Store(_))));
    assert!(matches!(deleted, Err(Error::Store(_))));
    assert_eq!(engine.counts(&queue).await, QueueCounts { visible: 0, in_flight: 2, delayed: 0 });

    engine.send(&queue, &["d"]).await;
    assert_eq!(waits.await.unwrap().unwrap()[0].body, "d", "who waited goes on waiting");
    let again = engine.handle.delete(&queue, vec![received.handle]).await.unwrap();
    assert_eq!(again, [Ok(())], "handles stay good");
    assert_eq!(engine.counts(&queue).await.in_flight, 2);
    engine.pass(secs(31)).await;
    let left = engine.receive(&queue, 10).await;
    let mut bodies: Vec<_> = left.iter().map(|message| message.body.clone()).collect();
    bodies.sort();
    assert_eq!(bodies, ["b", "d"]);
    engine.stop().await;
}

#[tokio::test]
async fn an_unknown_outcome_is_read_back() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    engine.send(&queue, &["a"]).await;
    let before = engine.receive(&queue, 1).await.remove(0);
    // A receive is written soon, though nobody waits for it; not with the commit that fails.
    engine.pass(Duration::from_millis(10)).await;
    engine.store.set(Some(Fault::Unknown));
    assert!(matches!(engine.handle.send(&queue, messages(&["b"])).await, Err(Error::Store(_))));
    let received = engine.receive(&queue, 10).await;
    assert_eq!(received.len(), 1, "it had been stored after all");
    assert_eq!(received[0].body, "b");
    assert!(received[0].handle.epoch > before.handle.epoch);
    engine.stop().await;
}

#[tokio::test]
async fn a_full_store_refuses_sends_and_nothing_else() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    engine.send(&queue, &["a", "b"]).await;
    engine.store.set(Some(Fault::Full));
    assert!(matches!(engine.handle.send(&queue, messages(&["c"])).await, Err(Error::StorageFull)));
    let received = engine.receive(&queue, 1).await.remove(0);
    let (sent, deleted) = tokio::join!(
        engine.handle.send(&queue, messages(&["c"])),
        engine.handle.delete(&queue, vec![received.handle]),
    );
    assert!(matches!(sent, Err(Error::StorageFull)));
    assert_eq!(deleted.unwrap(), [Ok(())], "also in the same commit");
    assert_eq!(engine.counts(&queue).await, QueueCounts { visible: 1, in_flight: 0, delayed: 0 });
    engine.store.set(None);
    engine.send(&queue, &["d"]).await;
    assert_eq!(engine.receive(&queue, 10).await.len(), 2);
    engine.pass(secs(1)).await;
    let engine = engine.restart().await;
    let queue = engine.queue("jobs").await;
    assert_eq!(engine.counts(&queue).await.in_flight, 2);
    engine.stop().await;
}

#[tokio::test]
async fn a_broken_store_is_tried_again() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    engine.send(&queue, &["a"]).await;
    engine.store.set(Some(Fault::Broken));
    let waits = engine.poll(&queue, 10).await;
    assert_eq!(waits.await.unwrap().unwrap().len(), 1);
    let waits = engine.poll(&queue, 10).await;
    assert!(matches!(engine.handle.send(&queue, messages(&["b"])).await, Err(Error::Store(_))));
    engine.calm().await;
    assert!(matches!(waits.await.unwrap(), Err(Error::Store(_))), "nobody waits for a store that is broken");
    assert!(matches!(engine.handle.receive(&queue, params(1, 0)).await, Err(Error::Store(_))));
    engine.store.set(None);
    engine.pass(secs(1)).await;
    assert_eq!(engine.receive(&queue, 10).await[0].body, "a");
    engine.stop().await;
}

/// Found by the simulation: nobody could use or make a queue of that name until a restart.
#[tokio::test]
async fn a_queue_whose_creation_seemed_to_fail_is_found() {
    let engine = Engine::start().await;
    engine.store.set(Some(Fault::Unknown));
    let create = || engine.handle.create_queue(Scope::default(), name("jobs"), NewQueue::default());
    assert!(matches!(create().await, Err(Error::Store(_))));
    let Ok(CreateOutcome::Exists(queue)) = create().await else { panic!("it exists") };
    engine.send(&queue, &["a"]).await;
    assert_eq!(engine.receive(&queue, 1).await.len(), 1);
    engine.stop().await;
}

/// Found by the simulation: the queue was listed and could not be deleted, and who used it was told that the service
/// was stopping.
#[tokio::test]
async fn a_queue_whose_deletion_seemed_to_fail_can_be_deleted() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    engine.send(&queue, &["a"]).await;
    engine.store.set(Some(Fault::Unknown));
    assert!(matches!(engine.handle.delete_queue(&queue).await, Err(Error::Store(_))));
    for _ in 0..3 {
        let sent = engine.handle.send(&queue, messages(&["b"])).await;
        assert!(matches!(sent, Err(Error::NoSuchQueue)));
    }
    engine.handle.delete_queue(&queue).await.unwrap();
    assert!(engine.handle.queue(queue.scope(), queue.name()).is_err());
    let new = engine.queue("jobs").await;
    assert_eq!(engine.counts(&new).await, QueueCounts::default());
    engine.stop().await;
}

#[tokio::test]
async fn one_queues_deletion_does_not_fail_anothers_commit() {
    let engine = Engine::start().await;
    let (gone, stays) = (engine.queue("gone").await, engine.queue("stays").await);
    engine.send(&gone, &["a"]).await;
    engine.send(&stays, &["a"]).await;
    let (deleted, lost, kept) = tokio::join!(
        engine.handle.delete_queue(&gone),
        engine.handle.send(&gone, messages(&["b"])),
        engine.handle.send(&stays, messages(&["b"])),
    );
    deleted.unwrap();
    kept.unwrap();
    assert!(matches!(lost, Ok(_) | Err(Error::NoSuchQueue)));
    assert_eq!(engine.counts(&stays).await.visible, 2);
    engine.stop().await;
}
