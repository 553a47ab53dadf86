//! The public gRPC listener: the same services behind the same edge, with reflection and health.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream;
use lambfold_api::interceptor::{Input, Interceptor, PublicEdge};
use lambfold_api::lambda::lambda_invoke_server::LambdaInvokeServer;
use lambfold_api::lambda::lambda_server::LambdaServer;
use lambfold_api::lambda::{Lambda, LambdaInvoke, LambdaInvokeRpc, LambdaRpc};
use lambfold_api::logs::logs_server::LogsServer;
use lambfold_api::logs::{Logs, LogsRpc};
use lambfold_api::rpc::{ContextSource, RpcServer};
use lambfold_api::sqs::sqs_peek_server::SqsPeekServer;
use lambfold_api::sqs::sqs_server::SqsServer;
use lambfold_api::sqs::{Sqs, SqsPeek, SqsPeekRpc, SqsRpc};
use lambfold_api::{CallContext, FILE_DESCRIPTOR_SET, Fault, Operation};
use lambfold_types::Clock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::listener::Listener;
use crate::{Metrics, Options};

/// The bytes with which HTTP/2 begins. hyper waits for them for ever; after them its pings find out who is gone.
const HTTP2_PREFACE: usize = 24;

/// The services that the public may call.
pub(crate) struct Public {
    pub(crate) sqs: Arc<dyn Sqs>,
    pub(crate) peek: Arc<dyn SqsPeek>,
    pub(crate) lambda: Arc<dyn Lambda>,
    pub(crate) invoke: Arc<dyn LambdaInvoke>,
    pub(crate) logs: Arc<dyn Logs>,
}

/// Serves gRPC clients until `shutdown`; returns when the last call has its answer.
pub(crate) async fn serve(
    public: Public,
    context: impl ContextSource,
    listener: TcpListener,
    options: &Options,
    metrics: &Metrics,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) {
    let rpc = RpcServer::new(Arc::new(context));
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<SqsServer<SqsRpc>>().await;
    reporter.set_serving::<SqsPeekServer<SqsPeekRpc>>().await;
    reporter.set_serving::<LambdaServer<LambdaRpc>>().await;
    reporter.set_serving::<LambdaInvokeServer<LambdaInvokeRpc>>().await;
    reporter.set_serving::<LogsServer<LogsRpc>>().await;
    // Reflection shows what is served here: not the services between our own roles.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(SqsServer::<SqsRpc>::NAME)
            .with_service_name(SqsPeekServer::<SqsPeekRpc>::NAME)
            .with_service_name(LambdaServer::<LambdaRpc>::NAME)
            .with_service_name(LambdaInvokeServer::<LambdaInvokeRpc>::NAME)
            .with_service_name(LogsServer::<LogsRpc>::NAME)
            .with_service_name("grpc.health.v1.Health")
    };
    let mut routes = Routes::builder();
    routes
        .add_service(health)
        .add_service(reflection().build_v1().expect("the build made the descriptors"))
        .add_service(reflection().build_v1alpha().expect("the build made the descriptors"));
    SqsRpc::add_to(&mut routes, public.sqs, rpc.clone());
    SqsPeekRpc::add_to(&mut routes, public.peek, rpc.clone());
    LambdaRpc::add_to(&mut routes, public.lambda, rpc.clone());
    LambdaInvokeRpc::add_to(&mut routes, public.invoke, rpc.clone());
    LogsRpc::add_to(&mut routes, public.logs, rpc);
    let server = Server::builder()
        // For messages that do not come: a call that was made has a deadline, which is earlier.
        .timeout(options.body_timeout.saturating_add(options.invoke_timeout))
        .max_concurrent_streams(256)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .add_routes(routes.routes());
    let listener = Listener::new(listener, "grpc", HTTP2_PREFACE, options, metrics, clock);
    let incoming = stream::unfold(listener, |listener| async move {
        let connection = listener.accept().await;
        Some((Ok::<_, std::io::Error>(connection), listener))
    });
    if let Err(error) = server.serve_with_incoming_shutdown(incoming, shutdown.cancelled()).await {
        tracing::error!(%error, "the gRPC listener ended");
    }
}

/// The public edge, with its calls counted.
pub(crate) struct Observed {
    edge: PublicEdge,
    metrics: Metrics,
}

impl Observed {
    pub(crate) fn new(edge: PublicEdge, metrics: Metrics) -> Self {
        Self { edge, metrics }
    }
}

impl Interceptor for Observed {
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
        let began = Instant::now();
        let _under_way = self.metrics.begin();
        let outcome = self.edge.around(operation, ctx, input, call).await;
        let status = outcome.as_ref().map_or_else(Fault::http_status, |_| 200);
        self.metrics.answered(Some(operation), "grpc", status, began.elapsed());
        outcome
    }
}
