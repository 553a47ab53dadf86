//! CloudWatch Logs whose live tails go on until they are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lambfold_api::logs::start_live_tail_response_stream::Frame;
use lambfold_api::logs::*;
use lambfold_api::{BoxStream, CallContext, Fault};

/// The size of a frame of a flood.
pub(crate) const FLOOD_BYTES: usize = 256 << 10;

/// Counts the frames that it was asked for.
#[derive(Default)]
pub(crate) struct FakeLogs {
    pub(crate) asked_for: Arc<AtomicUsize>,
}

impl FakeLogs {
    /// One frame at once, then one each hour; a flood: large ones without end.
    fn frames(&self, flood: bool) -> BoxStream<Result<StartLiveTailResponseStream, Fault>> {
        let asked_for = self.asked_for.clone();
        Box::pin(futures_util::stream::unfold(0, move |number| {
            asked_for.fetch_add(1, Ordering::SeqCst);
            async move {
                if number > 0 && !flood {
                    let hour = Duration::from_hours(1);
                    let _ = tokio::time::timeout(hour, std::future::pending::<()>()).await;
                }
                let session_id = Some(format!("session {}", "x".repeat(if flood { FLOOD_BYTES } else { 0 })));
                let start = LiveTailSessionStart { session_id, ..LiveTailSessionStart::default() };
                let frame = StartLiveTailResponseStream { frame: Some(Frame::SessionStart(start)) };
                Some((Ok(frame), number + 1))
            }
        }))
    }
}

macro_rules! fake {
    ($($name:ident($input:ty) -> $output:ty;)*) => {
        #[async_trait]
        impl Logs for FakeLogs {
            async fn start_live_tail(
                &self,
                _: &CallContext,
                input: StartLiveTailRequest,
            ) -> Result<BoxStream<Result<StartLiveTailResponseStream, Fault>>, Fault> {
                Ok(self.frames(input.log_event_filter_pattern.as_deref() == Some("flood")))
            }

            $(async fn $name(&self, _: &CallContext, _: $input) -> Result<$output, Fault> {
                Ok(Default::default())
            })*
        }
    };
}

fake! {
    create_log_group(CreateLogGroupRequest) -> CreateLogGroupResponse;
    create_log_stream(CreateLogStreamRequest) -> CreateLogStreamResponse;
    delete_log_group(DeleteLogGroupRequest) -> DeleteLogGroupResponse;
    delete_log_stream(DeleteLogStreamRequest) -> DeleteLogStreamResponse;
    delete_retention_policy(DeleteRetentionPolicyRequest) -> DeleteRetentionPolicyResponse;
    describe_log_groups(DescribeLogGroupsRequest) -> DescribeLogGroupsResponse;
    describe_log_streams(DescribeLogStreamsRequest) -> DescribeLogStreamsResponse;
    filter_log_events(FilterLogEventsRequest) -> FilterLogEventsResponse;
    get_log_events(GetLogEventsRequest) -> GetLogEventsResponse;
    list_tags_for_resource(ListTagsForResourceRequest) -> ListTagsForResourceResponse;
    list_tags_log_group(ListTagsLogGroupRequest) -> ListTagsLogGroupResponse;
    put_log_events(PutLogEventsRequest) -> PutLogEventsResponse;
    put_retention_policy(PutRetentionPolicyRequest) -> PutRetentionPolicyResponse;
    tag_log_group(TagLogGroupRequest) -> TagLogGroupResponse;
    tag_resource(TagResourceRequest) -> TagResourceResponse;
    untag_log_group(UntagLogGroupRequest) -> UntagLogGroupResponse;
    untag_resource(UntagResourceRequest) -> UntagResourceResponse;
}
