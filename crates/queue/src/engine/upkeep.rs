//! Upkeep of the store when there is time: removing what purged and deleted queues left, checkpoints.

use std::sync::Arc;
use std::time::Duration;

use lambfold_types::Clock;
use tokio_util::sync::CancellationToken;

use crate::options::Options;

use super::writer::{Request, WriterLink};

const INTERVAL: Duration = Duration::from_secs(1);

/// Rows removed in one transaction: short enough not to be noticed by those who wait behind it.
const ROWS: usize = 500;

/// Asks for upkeep at intervals, until `stop`.
pub(crate) async fn run(
    writer: WriterLink,
    clock: Arc<dyn Clock>,
    options: Arc<Options>,
    stop: CancellationToken,
) {
    loop {
        let next = clock.now() + INTERVAL;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = clock.sleep_until(next) => {}
        }
        let forget_before = clock.now() - options.recreate_cooldown.unwrap_or_default();
        let upkeep = Request::Upkeep(Box::new(move |store| match store.collect(ROWS, forget_before) {
            Ok(true) => true,
            Ok(false) => {
                store.idle();
                false
            }
            Err(error) => {
                tracing::error!(%error, "upkeep of the queue store failed");
                false
            }
        }));
        if !writer.send(upkeep).await {
            return;
        }
    }
}
