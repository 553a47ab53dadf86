//! Moving messages out of a dead-letter queue.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::engine::Command;
use crate::error::Error;
use crate::queue::{Queue, QueueCounts};
use crate::store::Fault;
use crate::{MoveStatus, Redrive};

use super::harness::{Engine, name, params, secs};

/// `jobs`, of which `dead` has got the messages.
async fn with_dead_letters(engine: &Engine, bodies: &[&str]) -> (Queue, Queue) {
    let (jobs, dead) = (engine.queue("jobs").await, engine.queue("dead").await);
    let redrive = Redrive { dead_letter_queue: name("dead"), max_receive_count: 1 };
    let set = |properties: &mut crate::QueueProperties| {
        properties.settings.redrive = Some(redrive);
        Ok::<_, ()>(())
    };
    engine.handle.update_queue(&jobs, set).await.unwrap().unwrap();
    engine.send(&jobs, bodies).await;
    assert_eq!(engine.receive(&jobs, bodies.len()).await.len(), bodies.len());
    engine.pass(Duration::from_mins(1)).await;
    assert!(engine.receive(&jobs, 1).await.is_empty());
    assert_eq!(visible(engine, &dead).await, bodies.len() as u64);
    (jobs, dead)
}

async fn visible(engine: &Engine, queue: &Queue) -> u64 {
    engine.counts(queue).await.visible
}

#[tokio::test]
async fn messages_go_back_to_where_they_came_from_as_new_ones() {
    let engine = Engine::start().await;
    let (jobs, dead) = with_dead_letters(&engine, &["a", "b", "c"]).await;
    let task = engine.handle.start_move(&dead, None, None).await.unwrap();
    assert_eq!((task.to_move, task.status), (3, MoveStatus::Running));
    engine.calm().await;
    let ended = engine.handle.moves(&dead).await.unwrap().remove(0);
    assert_eq!((ended.status, ended.moved, ended.id), (MoveStatus::Completed, 3, task.id));
    assert_eq!(engine.counts(&dead).await, QueueCounts::default());
    let back = engine.receive(&jobs, 10).await;
    assert_eq!(back.len(), 3);
    for message in back {
        assert_eq!((message.receive_count, message.sent_at), (1, engine.now()));
        assert_eq!(message.system.dead_letter_queue_source_arn, None);
    }
    engine.stop().await;
}

#[tokio::test]
async fn the_rate_is_kept_and_a_task_survives_a_restart() {
    let engine = Engine::start().await;
    let (_, dead) = with_dead_letters(&engine, &["a", "b", "c", "d", "e"]).await;
    engine.handle.start_move(&dead, None, Some(2)).await.unwrap();
    engine.calm().await;
    assert_eq!(visible(&engine, &dead).await, 3);
    assert!(matches!(engine.handle.start_move(&dead, None, None).await, Err(Error::MoveInProgress)));
    engine.pass(Duration::from_millis(999)).await;
    assert_eq!(visible(&engine, &dead).await, 3);
    engine.pass(Duration::from_millis(1)).await;
    assert_eq!(visible(&engine, &dead).await, 1);
    let engine = engine.restart().await;
    engine.pass(Duration::from_secs(1)).await;
    let scope = lambfold_types::Scope::default();
    let queue = |text: &str| engine.handle.queue(&scope, &name(text)).unwrap();
    assert_eq!(visible(&engine, &queue("jobs")).await, 5);
    engine.pass(Duration::from_secs(1)).await;
    assert_eq!(engine.handle.moves(&queue("dead")).await.unwrap()[0].status, MoveStatus::Completed);
    engine.stop().await;
}

#[tokio::test]
async fn a_cancelled_task_leaves_the_rest_where_it_is() {
    let engine = Engine::start().await;
    let (jobs, dead) = with_dead_letters(&engine, &["a", "b", "c"]).await;
    let task = engine.handle.start_move(&dead, None, Some(1)).await.unwrap();
    engine.calm().await;
    assert_eq!(engine.handle.cancel_move(&dead, task.id).await.unwrap(), Some(1));
    engine.pass(Duration::from_secs(1)).await;
    assert_eq!(engine.handle.moves(&dead).await.unwrap()[0].status, MoveStatus::Cancelled);
    assert_eq!(engine.handle.cancel_move(&dead, task.id).await.unwrap(), None);
    assert_eq!((visible(&engine, &dead).await, visible(&engine, &jobs).await), (2, 1));
    engine.stop().await;
}

#[tokio::test]
async fn what_cannot_be_moved_stays_and_the_task_says_why() {
    let engine = Engine::start().await;
    let (_, dead) = with_dead_letters(&engine, &["a"]).await;
    let gone = engine.queue("gone").await;
    engine.handle.start_move(&dead, Some(name("gone")), None).await.unwrap();
    engine.handle.delete_queue(&gone).await.unwrap();
    engine.calm().await;
    let task = engine.handle.moves(&dead).await.unwrap().remove(0);
    let reason = task.failure_reason.as_deref();
    assert_eq!((task.status, reason), (MoveStatus::Failed, Some("AWS.SimpleQueueService.NonExistentQueue")));
    assert_eq!(visible(&engine, &dead).await, 1, "at once");
    engine.send(&dead, &["of its own"]).await;
    engine.handle.start_move(&dead, None, None).await.unwrap();
    engine.calm().await;
    let task = engine.handle.moves(&dead).await.unwrap().into_iter().find(|task| task.to_move == 2).unwrap();
    assert_eq!(task.failure_reason.as_deref(), Some("CouldNotDetermineMessageSource"));
    assert_eq!((task.moved, visible(&engine, &dead).await), (1, 1));
    engine.stop().await;
}

#[tokio::test]
async fn a_store_that_fails_or_is_full_loses_nothing_and_doubles_nothing() {
    for fault in [Fault::Refuse, Fault::Unknown, Fault::Full] {
        let engine = Engine::start().await;
        let (jobs, dead) = with_dead_letters(&engine, &["a", "b"]).await;
        engine.handle.start_move(&dead, None, Some(1)).await.unwrap();
        engine.calm().await;
        engine.store.set(Some(fault));
        engine.pass(Duration::from_secs(1)).await;
        engine.store.set(None);
        // Until what was in flight is visible again, and is moved.
        for _ in 0..70 {
            engine.pass(Duration::from_secs(1)).await;
        }
        if visible(&engine, &dead).await > 0 {
            engine.handle.start_move(&dead, None, None).await.unwrap();
            engine.calm().await;
        }
        let mut bodies: Vec<_> = engine.receive(&jobs, 10).await.into_iter().map(|it| it.body).collect();
        bodies.sort();
        assert_eq!(bodies, ["a", "b"], "{fault:?}");
        assert_eq!(engine.counts(&dead).await, QueueCounts::default(), "{fault:?}");
        assert!(engine.handle.receive(&dead, params(1, 0)).await.unwrap().is_empty());
        engine.stop().await;
    }
}

#[tokio::test]
async fn tasks_of_queues_that_are_gone_are_forgotten() {
    let engine = Engine::start().await;
    let (jobs, dead) = with_dead_letters(&engine, &["a"]).await;
    engine.handle.start_move(&dead, None, None).await.unwrap();
    engine.calm().await;
    assert_eq!(stored(&engine), 1);
    engine.handle.delete_queue(&dead).await.unwrap();
    engine.handle.start_move(&jobs, Some(name("dead")), None).await.unwrap();
    engine.calm().await;
    assert_eq!(stored(&engine), 1, "only the new one");
    engine.stop().await;
}

fn stored(engine: &Engine) -> usize {
    use crate::QueueStore;
    engine.store.load_directory().unwrap().move_tasks.len()
}

/// Found by the simulation: a task that took long let go of what somebody else had received since.
#[tokio::test]
async fn only_what_is_still_held_is_let_go() {
    let engine = Engine::start().await;
    let queue = engine.queue("dead").await;
    engine.send(&queue, &["a"]).await;
    let first = engine.receive(&queue, 1).await.remove(0).handle;
    engine.pass(secs(30)).await;
    let second = engine.receive(&queue, 1).await.remove(0).handle;
    for (handle, in_flight) in [(first, 1), (second, 0)] {
        let (reply, done) = oneshot::channel();
        queue.link().send(Command::Release { handles: vec![handle], reply }).unwrap();
        done.await.unwrap().unwrap();
        assert_eq!(engine.counts(&queue).await.in_flight, in_flight);
    }
    engine.stop().await;
}
