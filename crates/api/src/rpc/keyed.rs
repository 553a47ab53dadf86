//! Keyed calls: the receiver remembers the outcome for a while, so that a retry after a lost answer neither runs
//! a function nor stores a message twice (DESIGN §2 Retries).

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use crate::fault::Fault;
use crate::operation::Operation;

/// Outcomes are remembered for at least as many later keyed calls. At 10,000 calls a second that is six seconds,
/// more than a peer goes on retrying; what is larger than a message is not worth more memory.
const MOST_REMEMBERED: usize = 1 << 16;

type Key = (&'static str, Uuid);
type Outcome = Result<Arc<dyn Any + Send + Sync>, Fault>;
type Pending = watch::Receiver<Option<Outcome>>;

/// The outcomes of recent keyed calls of one listener.
#[derive(Default)]
pub(super) struct Remembered {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    outcomes: HashMap<Key, Pending>,
    order: VecDeque<Key>,
}

impl Remembered {
    /// Runs `call` unless a call of that id ran or runs already; then its outcome. The call goes on when the
    /// caller that began it has gone, since another attempt may come to ask.
    pub(super) async fn once<Out, Fut>(
        &self,
        operation: &'static Operation,
        id: Uuid,
        call: Fut,
    ) -> Result<Out, Fault>
    where
        Out: Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, Fault>> + Send + 'static,
    {
        let mut pending = self.begin((operation.rpc_path, id), call);
        let outcome = pending.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        match outcome {
            Ok(Some(Ok(value))) => value.downcast_ref::<Out>().cloned().ok_or_else(Fault::internal),
            Ok(Some(Err(fault))) => Err(fault),
            // The task ended without an outcome: it panicked, or the runtime stops.
            Ok(None) | Err(_) => Err(Fault::internal()),
        }
    }

    fn begin<Out, Fut>(&self, key: Key, call: Fut) -> Pending
    where
        Out: Send + Sync + 'static,
        Fut: Future<Output = Result<Out, Fault>> + Send + 'static,
    {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pending) = table.outcomes.get(&key) {
            return pending.clone();
        }
        let (tell, pending) = watch::channel(None);
        table.outcomes.insert(key, pending.clone());
        table.order.push_back(key);
        if table.order.len() > MOST_REMEMBERED
            && let Some(oldest) = table.order.pop_front()
        {
            table.outcomes.remove(&oldest);
        }
        drop(table);
        tokio::spawn(async move {
            let outcome: Outcome = call.await.map(|value| Arc::new(value) as Arc<dyn Any + Send + Sync>);
            tell.send_replace(Some(outcome));
        });
        pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_second_attempt_gets_the_first_ones_outcome() {
        let remembered = Remembered::default();
        let runs = Arc::new(AtomicU32::new(0));
        let attempt = || {
            let runs = runs.clone();
            remembered.once(&crate::sqs::SQS_SEND_MESSAGE, Uuid::from_u128(7), async move {
                Ok::<_, Fault>(runs.fetch_add(1, Ordering::SeqCst))
            })
        };
        let (first, second) = tokio::join!(attempt(), attempt());
        assert_eq!((first, second, attempt().await), (Ok(0), Ok(0), Ok(0)));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }
}
