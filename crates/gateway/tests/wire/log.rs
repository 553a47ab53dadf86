//! What the edge asked and called, in order.

use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};

use lambfold_api::authorize::{Authorizer, Resource};
use lambfold_api::interceptor::{Input, Interceptor};
use lambfold_api::{CallContext, Fault, Operation};

/// What becomes of a call.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Everything is allowed, and the fakes answer.
    #[default]
    Serve,
    /// Everything is allowed, and every call of a service fails with [`REACHED`].
    Reach,
    /// Nothing is allowed.
    Deny,
}

/// No entry.
pub(crate) const NOTHING: [&str; 0] = [];
/// The code of the fault that shows that a service was reached.
pub(crate) const REACHED: &str = "Reached";

/// The authoriser, and what stands before each of the fakes.
#[derive(Default)]
pub(crate) struct Log {
    policy: Policy,
    entries: Mutex<Vec<String>>,
    contexts: Mutex<Vec<CallContext>>,
    /// Calls that have neither ended nor been dropped.
    pub(crate) pending: AtomicUsize,
}

impl Log {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// The entries since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.entries.lock().unwrap())
    }

    /// The context of the last call of a service.
    pub(crate) fn context(&self) -> CallContext {
        self.contexts.lock().unwrap().last().expect("a call came").clone()
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::SeqCst)
    }

    fn add(&self, entry: String) {
        self.entries.lock().unwrap().push(entry);
    }
}

impl Authorizer for Log {
    fn authorize(
        &self,
        _: &CallContext,
        operation: &'static Operation,
        _: &Resource<'_>,
    ) -> Result<(), Fault> {
        self.add(format!("ask {}", operation.action));
        match self.policy {
            Policy::Serve | Policy::Reach => Ok(()),
            Policy::Deny => Err(Fault::raw("AccessDeniedException", "AccessDenied", 403, "Not you.")),
        }
    }
}

/// Writes down each call of a service.
pub(crate) struct Recorder(pub(crate) Arc<Log>);

impl Interceptor for Recorder {
    async fn around<In, Out, F, Fut>(
        &self,
        operation: &'static Operation,
        ctx: &CallContext,
        input: In,
        call: F,
    ) -> Result<Out, Fault>
    where
        In: Input,
        Out: Send,
        F: FnOnce(In) -> Fut + Send,
        Fut: Future<Output = Result<Out, Fault>> + Send,
    {
        self.0.add(format!("call {}", operation.action));
        self.0.contexts.lock().unwrap().push(ctx.clone());
        let _pending = Pending::new(&self.0.pending);
        if self.0.policy == Policy::Reach {
            return Err(Fault::raw(REACHED, REACHED, 400, "The service was reached."));
        }
        call(input).await
    }
}

struct Pending<'a>(&'a AtomicUsize);

impl<'a> Pending<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Counts panics of this thread from now on. A test's runtime runs all of the edge on the test's own thread; a task that
/// panics would otherwise pass unnoticed.
pub(crate) fn watch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            print(info);
        }));
    });
    PANICS.set(0);
}

/// How many there were.
pub(crate) fn panics() -> usize {
    PANICS.get()
}
