//! What every part of the poller is given.

use std::sync::Arc;
use std::time::Duration;

use lambfold_api::control::Control;
use lambfold_api::lambda::LambdaInvoke;
use lambfold_api::sqs::Sqs;
use lambfold_api::{CallContext, Fault, TraceContext};
use lambfold_types::{Clock, Entropy, Scope, Timestamp, uuid_v4};

use crate::functions::FunctionTimeouts;
use crate::metrics::Metrics;
use crate::options::Options;

/// The services that the poller calls, and where its time and randomness come from.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) control: Arc<dyn Control>,
    pub(crate) sqs: Arc<dyn Sqs>,
    pub(crate) invoke: Arc<dyn LambdaInvoke>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
    pub(crate) timeouts: FunctionTimeouts,
}

impl Shared {
    /// A call of our own in `scope`, which may take `within`.
    pub(crate) fn context(
        &self,
        scope: &Scope,
        trace: Option<TraceContext>,
        within: Duration,
    ) -> CallContext {
        let mut ctx = CallContext::internal(scope.clone(), uuid_v4(&*self.entropy));
        ctx.trace = trace;
        ctx.deadline = Some(self.clock.now() + within);
        ctx
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now() + time).await;
    }

    /// Sleeps until `at`; for ever without one.
    pub(crate) async fn sleep_until(&self, at: Option<Timestamp>) {
        match at {
            Some(at) => self.clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Bounds a call by its own deadline and a little more: whatever stands between us and the service should have
    /// given up by then.
    pub(crate) async fn bounded<T>(
        &self,
        ctx: &CallContext,
        call: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let guard = ctx.deadline.map(|deadline| deadline + Duration::from_secs(5));
        tokio::select! {
            biased;
            outcome = call => outcome,
            () = self.sleep_until(guard) => Err(Fault::deadline_exceeded()),
        }
    }
}
