//! The engine as its callers see it, over the memory store with a clock that is wound by hand.

mod cluster;
mod dead_letters;
mod failures;
mod fair;
mod fifo;
mod harness;
mod moves;
mod peek;
mod polling;
mod restart;
mod slow;

use std::time::Duration;

use lambfold_types::Scope;

use crate::error::Error;
use crate::queue::{CreateOutcome, NewQueue, QueueCounts};
use crate::{AttributeValue, MessageAttribute, NewMessage, Options};

use self::harness::{Engine, name, secs};

#[tokio::test]
async fn a_message_goes_in_and_out_whole() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    let attribute =
        MessageAttribute { data_type: "Number".into(), value: AttributeValue::String("7".into()) };
    let message = NewMessage {
        body: "grüße".into(),
        attributes: [("n".to_owned(), attribute)].into(),
        md5_of_body: [5; 16],
        ..NewMessage::default()
    };
    let sent = engine.handle.send(&queue, vec![message.clone()]).await.unwrap();
    let received = engine.receive(&queue, 10).await;
    assert_eq!(received.len(), 1);
    let got = &received[0];
    assert_eq!((got.message_id, got.sent_at), (sent[0].message_id, sent[0].sent_at));
    assert_eq!((&got.body, &got.attributes, got.md5_of_body), (&message.body, &message.attributes, [5; 16]));
    assert_eq!((got.receive_count, got.handle.receive_number, got.handle.sequence), (1, 1, sent[0].sequence));
    assert_eq!(got.handle.incarnation, queue.incarnation());
    assert_eq!(got.visible_at, engine.now() + secs(30));
    assert_eq!(engine.counts(&queue).await, QueueCounts { visible: 0, in_flight: 1, delayed: 0 });
    assert_eq!(engine.handle.delete(&queue, vec![got.handle, got.handle]).await.unwrap(), [Ok(()), Ok(())]);
    assert_eq!(engine.counts(&queue).await, QueueCounts::default());
    engine.stop().await;
}

#[tokio::test]
async fn same_names_in_other_scopes_are_other_queues() {
    let engine = Engine::start().await;
    let mut scopes = Vec::new();
    for (account, region) in
        [("000000000001", "us-east-1"), ("000000000001", "eu-west-1"), ("000000000002", "us-east-1")]
    {
        scopes.push(Scope { account: account.parse().unwrap(), region: region.parse().unwrap() });
    }
    let mut queues = Vec::new();
    for scope in &scopes {
        let made =
            engine.handle.create_queue(scope.clone(), name("jobs"), NewQueue::default()).await.unwrap();
        let CreateOutcome::Created(queue) = made else { panic!("it is new") };
        queues.push(queue);
    }
    for (index, queue) in queues.iter().enumerate() {
        engine.send(queue, &[&format!("for {index}")]).await;
    }
    for (index, scope) in scopes.iter().enumerate() {
        let queue = engine.handle.queue(scope, &name("jobs")).unwrap();
        let received = engine.receive(&queue, 10).await;
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].body, format!("for {index}"));
        let other = &queues[(index + 1) % queues.len()];
        let refused = engine.handle.delete(other, vec![received[0].handle]).await.unwrap();
        assert!(refused[0].is_err(), "the handle is of another queue");
    }
    engine.handle.delete_queue(&queues[0]).await.unwrap();
    assert!(engine.handle.queue(&scopes[0], &name("jobs")).is_err());
    assert!(engine.handle.queue(&scopes[1], &name("jobs")).is_ok());
    engine.stop().await;
}

#[tokio::test]
async fn queues_are_listed_by_name_and_prefix() {
    let engine = Engine::start().await;
    for queue in ["b-2", "a", "b-1", "c", "b-3"] {
        engine.queue(queue).await;
    }
    let list = |prefix: &str, after: Option<&str>, max| {
        let after = after.map(name);
        let queues = engine.handle.list_queues(&Scope::default(), prefix, after.as_ref(), max);
        queues.iter().map(|queue| queue.name().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list("", None, 100), ["a", "b-1", "b-2", "b-3", "c"]);
    assert_eq!(list("b-", None, 2), ["b-1", "b-2"]);
    assert_eq!(list("b-", Some("b-2"), 2), ["b-3"]);
    assert_eq!(list("", Some("b-2"), 100), ["b-3", "c"]);
    assert_eq!(list("b.", None, 100), Vec::<String>::new());
    assert_eq!(list("", None, 0), Vec::<String>::new());
    engine.stop().await;
}

#[tokio::test]
async fn a_queue_of_the_same_name_is_another_queue() {
    let engine =
        Engine::start_with(Options { recreate_cooldown: Some(secs(60)), ..Options::default() }).await;
    let old = engine.queue("jobs").await;
    engine.send(&old, &["old"]).await;
    let handle = engine.receive(&old, 1).await[0].handle;
    engine.handle.delete_queue(&old).await.unwrap();
    assert!(matches!(engine.handle.delete_queue(&old).await, Err(Error::NoSuchQueue)));
    assert!(matches!(engine.handle.delete(&old, vec![handle]).await, Err(Error::NoSuchQueue)));
    assert!(matches!(engine.handle.send(&old, vec![NewMessage::default()]).await, Err(Error::NoSuchQueue)));
    let soon = engine.handle.create_queue(Scope::default(), name("jobs"), NewQueue::default()).await;
    assert!(matches!(soon, Err(Error::QueueDeletedRecently)));
    engine.pass(secs(60)).await;
    let new = engine.queue("jobs").await;
    assert!(new.incarnation() > old.incarnation());
    assert_eq!(engine.counts(&new).await, QueueCounts::default());
    let again =
        engine.handle.create_queue(Scope::default(), name("jobs"), NewQueue::default()).await.unwrap();
    assert!(matches!(again, CreateOutcome::Exists(queue) if queue == new));
    engine.stop().await;
}

#[tokio::test]
async fn changed_settings_are_in_force_at_once() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    engine.send(&queue, &["a"]).await;
    engine.pass(secs(5)).await;
    let before = queue.modified_at();
    let changed = engine.handle.update_queue(&queue, |properties| {
        properties.settings.visibility_timeout = secs(7);
        properties.attributes.insert("Policy".into(), "{}".into());
        Ok::<_, ()>(())
    });
    changed.await.unwrap().unwrap();
    assert_eq!(queue.modified_at(), engine.now());
    assert!(queue.modified_at() > before);
    let info = engine.handle.queue_info(&queue).await.unwrap();
    assert_eq!(info.properties.attributes["Policy"], "{}");
    assert_eq!(engine.receive(&queue, 1).await[0].visible_at, engine.now() + secs(7));
    engine.pass(secs(1)).await;
    let refused = engine.handle.update_queue(&queue, |properties| {
        properties.settings.visibility_timeout = Duration::ZERO;
        Err("no")
    });
    assert_eq!(refused.await.unwrap(), Err("no"));
    engine.handle.update_queue(&queue, |_| Ok::<_, ()>(())).await.unwrap().unwrap();
    assert!(queue.modified_at() < engine.now(), "what changes nothing is no modification");
    assert_eq!(queue.properties().settings.visibility_timeout, secs(7));
    engine.stop().await;
}

#[tokio::test]
async fn a_purge_takes_everything_and_keeps_its_distance() {
    let engine = Engine::start_with(Options { purge_cooldown: Some(secs(60)), ..Options::default() }).await;
    let queue = engine.queue("jobs").await;
    engine.send(&queue, &["a", "b", "c"]).await;
    let handle = engine.receive(&queue, 1).await[0].handle;
    engine.handle.purge(&queue).await.unwrap();
    assert_eq!(engine.counts(&queue).await, QueueCounts::default());
    assert!(matches!(engine.handle.purge(&queue).await, Err(Error::PurgeInProgress)));
    assert_eq!(engine.handle.delete(&queue, vec![handle]).await.unwrap(), [Ok(())]);
    engine.send(&queue, &["d"]).await;
    engine.pass(secs(61)).await;
    assert_eq!(engine.counts(&queue).await.visible, 1);
    engine.handle.purge(&queue).await.unwrap();
    engine.stop().await;
}

#[tokio::test]
async fn a_deep_backlog_comes_out_whole_through_little_memory() {
    let engine = Engine::start_with(Options { body_cache_bytes: 0, ..Options::default() }).await;
    let queue = engine.queue("jobs").await;
    let bodies: Vec<String> =
        (0..5_000).map(|number| format!("message {number} {}", "x".repeat(200))).collect();
    for chunk in bodies.chunks(100) {
        engine.send(&queue, &chunk.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    assert_eq!(engine.counts(&queue).await.visible, 5_000);
    let mut got = Vec::new();
    while got.len() < bodies.len() {
        let received = engine.receive(&queue, 10).await;
        assert_eq!(received.len(), 10, "full batches while there are messages");
        let handles = received.iter().map(|message| message.handle).collect();
        got.extend(received.into_iter().map(|message| String::from_utf8(message.body.to_vec()).unwrap()));
        engine.handle.delete(&queue, handles).await.unwrap();
    }
    assert_eq!(got, bodies);
    assert_eq!(engine.counts(&queue).await, QueueCounts::default());
    engine.stop().await;
}

#[tokio::test]
async fn a_stopped_service_says_so() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    let handle = engine.handle.clone();
    engine.stop().await;
    assert!(matches!(handle.send(&queue, vec![NewMessage::default()]).await, Err(Error::Stopping)));
    let created = handle.create_queue(Scope::default(), name("other"), NewQueue::default()).await;
    assert!(matches!(created, Err(Error::Stopping)));
    assert!(matches!(handle.delete_queue(&queue).await, Err(Error::Stopping)));
}

#[tokio::test]
async fn too_much_at_once_is_refused_not_kept() {
    let engine = Engine::start_with(Options { uncommitted_bytes: 1_000, ..Options::default() }).await;
    let queue = engine.queue("jobs").await;
    let large = NewMessage { body: vec![b'x'; 1_001].into(), ..NewMessage::default() };
    assert!(matches!(engine.handle.send(&queue, vec![large]).await, Err(Error::Overloaded)));
    engine.send(&queue, &["small"]).await;
    engine.send(&queue, &["small"]).await;
    assert_eq!(engine.counts(&queue).await.visible, 2, "room is given back");
    engine.stop().await;
}
