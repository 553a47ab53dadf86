//! Looking at messages.

use std::time::Duration;

use crate::message::MessageState;
use crate::{NewMessage, Options};

use super::harness::{Engine, messages, secs};

#[tokio::test]
async fn a_look_shows_every_state_and_changes_nothing() {
    // Room for no body: what is shown comes from the store.
    let engine = Engine::start_with(Options { body_cache_bytes: 0, ..Options::default() }).await;
    let queue = engine.queue("jobs").await;
    engine.send(&queue, &["a", "b", "c"]).await;
    let later = NewMessage { delay: Some(secs(60)), ..messages(&["d"]).remove(0) };
    engine.handle.send(&queue, vec![later]).await.unwrap();
    let received = engine.receive(&queue, 2).await;
    engine.handle.delete(&queue, vec![received[1].handle]).await.unwrap();
    let first = engine.handle.peek(&queue, None, 2).await.unwrap();
    let seen = |page: &crate::Peeked| {
        let shown = page.messages.iter();
        shown
            .map(|(message, state)| (message.body.clone(), *state, message.receive_count))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        seen(&first),
        [("a".into(), MessageState::InFlight, 1), ("c".into(), MessageState::Visible, 0)]
    );
    assert_eq!(first.messages[0].0.visible_at, engine.now() + secs(30));
    let rest = engine.handle.peek(&queue, first.next, 2).await.unwrap();
    assert_eq!(seen(&rest), [("d".into(), MessageState::Delayed, 0)]);
    assert_eq!(rest.next, None);
    let taken = engine.receive(&queue, 10).await;
    assert_eq!(taken.iter().map(|it| (&*it.body, it.receive_count)).collect::<Vec<_>>(), [(&b"c"[..], 1)]);
    engine.handle.purge(&queue).await.unwrap();
    assert_eq!(engine.handle.peek(&queue, None, 10).await.unwrap(), crate::Peeked::default());
    engine.pass(Duration::from_mins(2)).await;
    engine.stop().await;
}

#[tokio::test]
async fn what_is_too_old_is_not_shown() {
    let engine = Engine::start().await;
    let queue = engine.queue("jobs").await;
    engine.send(&queue, &["a"]).await;
    engine.pass(Duration::from_hours(95)).await;
    assert_eq!(engine.handle.peek(&queue, None, 10).await.unwrap().messages.len(), 1);
    engine.pass(Duration::from_hours(1)).await;
    assert!(engine.handle.peek(&queue, None, 10).await.unwrap().messages.is_empty());
    engine.stop().await;
}
