//! Keeping the store within its bounds, in steps that hold up nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::service::Shared;

/// Between looks at whether there is something to do.
const REST: Duration = Duration::from_secs(2);
/// Between steps while there is.
const BREATH: Duration = Duration::from_millis(20);
/// Events of one step: some milliseconds of work.
const BUDGET: usize = 2000;

/// Removes what is no longer to be kept, until `shutdown`.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    loop {
        let now = shared.clock.now();
        let most = shared.options.most_bytes;
        let step = shared.own(move |store| Ok((store.maintain(now, most, BUDGET)?, store.stored_bytes()?)));
        let mut rest = REST;
        // What fails has been logged, and is tried again.
        if let Ok((done, bytes)) = step.await {
            shared.metrics.expired.inc_by(done.expired as u64);
            shared.metrics.evicted.inc_by(done.evicted as u64);
            shared.metrics.stored_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            if done.more {
                rest = BREATH;
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = shared.clock.sleep_until(shared.clock.now() + rest) => {}
        }
    }
}
