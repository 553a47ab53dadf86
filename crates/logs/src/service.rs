//! The service: its parts, and the public and the peers' API on them.

use std::sync::Arc;

use lambfold_api::logs::{
    CreateLogGroupRequest, CreateLogGroupResponse, CreateLogStreamRequest, CreateLogStreamResponse,
    DeleteLogGroupRequest, DeleteLogGroupResponse, DeleteLogStreamRequest, DeleteLogStreamResponse,
    DeleteRetentionPolicyRequest, DeleteRetentionPolicyResponse, DescribeLogGroupsRequest,
    DescribeLogGroupsResponse, DescribeLogStreamsRequest, DescribeLogStreamsResponse, FilterLogEventsRequest,
    FilterLogEventsResponse, GetLogEventsRequest, GetLogEventsResponse, ListTagsForResourceRequest,
    ListTagsForResourceResponse, ListTagsLogGroupRequest, ListTagsLogGroupResponse, Logs,
    PutLogEventsRequest, PutLogEventsResponse, PutRetentionPolicyRequest, PutRetentionPolicyResponse,
    StartLiveTailRequest, StartLiveTailResponseStream, TagLogGroupRequest, TagLogGroupResponse,
    TagResourceRequest, TagResourceResponse, UntagLogGroupRequest, UntagLogGroupResponse,
    UntagResourceRequest, UntagResourceResponse,
};
use lambfold_api::logstore::{DeliverRequest, DeliverResponse, LogIntake};
use lambfold_api::{BoxStream, CallContext, Fault};
use lambfold_types::{Clock, Entropy, RunFuture};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::operations::{deliver, events, filter, groups, live_tail, put, streams, tags};
use crate::store::{LogStore, StoreError};
use crate::tail::Tails;
use crate::writer::{self, Intake, Outlet};
use crate::{Metrics, Options, faults, upkeep};

/// Calls of the store at once, beside what the service itself writes and removes: SQLite has one writer and one reader.
const STORE_CALLS: usize = 4;

/// CloudWatch Logs.
pub struct LogsService {
    handle: LogsHandle,
    outlet: Outlet,
}

/// The way in; cheap to clone.
#[derive(Clone)]
pub struct LogsHandle(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) options: Options,
    store: Arc<dyn LogStore>,
    calls: Semaphore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
    pub(crate) intake: Intake,
    pub(crate) tails: Tails,
    /// Ends live tails when the service stops.
    pub(crate) stopping: CancellationToken,
}

impl LogsService {
    /// Puts the parts together; nothing is written before [`LogsService::run`].
    pub fn build(
        options: Options,
        store: Arc<dyn LogStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: Metrics,
    ) -> Self {
        let (intake, outlet) = writer::channel(options.most_waiting_bytes);
        let shared = Shared {
            tails: Tails::new(
                options.most_live_tails,
                options.most_live_tails_of_account,
                metrics.live_tails.clone(),
            ),
            options,
            store,
            calls: Semaphore::new(STORE_CALLS),
            clock,
            entropy,
            metrics,
            intake,
            stopping: CancellationToken::new(),
        };
        Self { handle: LogsHandle(Arc::new(shared)), outlet }
    }

    /// The way in.
    pub fn handle(&self) -> LogsHandle {
        self.handle.clone()
    }

    /// Writes and keeps the store within its bounds until `shutdown`; what waits then is written before it returns.
    pub fn run(self, shutdown: CancellationToken) -> RunFuture {
        Box::pin(self.work(shutdown))
    }

    async fn work(self, shutdown: CancellationToken) {
        let Self { handle, outlet } = self;
        let shared = handle.0;
        let _tails_end = shared.stopping.clone().drop_guard();
        let writer = writer::run(shared.clone(), outlet, shutdown.clone());
        tokio::join!(writer, upkeep::run(shared, shutdown));
    }
}

impl Shared {
    /// Runs a call of the store off the async threads.
    pub(crate) async fn store<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn LogStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Fault> {
        let _turn = self.calls.acquire().await.map_err(|_| Fault::unavailable())?;
        self.own(call).await
    }

    /// The same for the writer and upkeep, which no search holds up.
    pub(crate) async fn own<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn LogStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Fault> {
        let store = self.store.clone();
        let outcome =
            tokio::task::spawn_blocking(move || call(&*store)).await.map_err(|_| Fault::internal())?;
        outcome.map_err(|error| faults::of_store(&error))
    }
}

macro_rules! operations {
    ($($name:ident($input:ty) -> $output:ty = $by:path;)*) => {
        #[async_trait::async_trait]
        impl Logs for LogsHandle {
            $(async fn $name(&self, ctx: &CallContext, input: $input) -> Result<$output, Fault> {
                $by(&self.0, ctx, input).await
            })*
        }
    };
}

operations! {
    create_log_group(CreateLogGroupRequest) -> CreateLogGroupResponse = groups::create;
    delete_log_group(DeleteLogGroupRequest) -> DeleteLogGroupResponse = groups::delete;
    describe_log_groups(DescribeLogGroupsRequest) -> DescribeLogGroupsResponse = groups::describe;
    put_retention_policy(PutRetentionPolicyRequest) -> PutRetentionPolicyResponse = groups::put_retention;
    delete_retention_policy(DeleteRetentionPolicyRequest) -> DeleteRetentionPolicyResponse = groups::delete_retention;
    create_log_stream(CreateLogStreamRequest) -> CreateLogStreamResponse = streams::create;
    delete_log_stream(DeleteLogStreamRequest) -> DeleteLogStreamResponse = streams::delete;
    describe_log_streams(DescribeLogStreamsRequest) -> DescribeLogStreamsResponse = streams::describe;
    put_log_events(PutLogEventsRequest) -> PutLogEventsResponse = put::put;
    get_log_events(GetLogEventsRequest) -> GetLogEventsResponse = events::get;
    filter_log_events(FilterLogEventsRequest) -> FilterLogEventsResponse = filter::filter;
    start_live_tail(StartLiveTailRequest) -> BoxStream<Result<StartLiveTailResponseStream, Fault>> = live_tail::start;
    tag_resource(TagResourceRequest) -> TagResourceResponse = tags::tag_resource;
    untag_resource(UntagResourceRequest) -> UntagResourceResponse = tags::untag_resource;
    list_tags_for_resource(ListTagsForResourceRequest) -> ListTagsForResourceResponse = tags::list_for_resource;
    tag_log_group(TagLogGroupRequest) -> TagLogGroupResponse = tags::tag_group;
    untag_log_group(UntagLogGroupRequest) -> UntagLogGroupResponse = tags::untag_group;
    list_tags_log_group(ListTagsLogGroupRequest) -> ListTagsLogGroupResponse = tags::list_of_group;
}

#[async_trait::async_trait]
impl LogIntake for LogsHandle {
    async fn deliver(&self, _: &CallContext, input: DeliverRequest) -> Result<DeliverResponse, Fault> {
        deliver::deliver(&self.0, input).await
    }
}
