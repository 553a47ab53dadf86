//! The edge, put together.

use std::sync::Arc;

use lambfold_api::Endpoint;
use lambfold_api::authorize::Authorizer;
use lambfold_api::control::Control;
use lambfold_api::interceptor::PublicEdge;
use lambfold_api::lambda::{Lambda, LambdaInvoke, LambdaInvokeVia, LambdaVia};
use lambfold_api::logs::{Logs, LogsVia};
use lambfold_api::sqs::{Sqs, SqsPeek, SqsPeekVia, SqsVia};
use lambfold_api::telemetry::Traces;
use lambfold_aws_wire::Router;
use lambfold_aws_wire::sigv4::Verifier;
use lambfold_types::{Clock, Entropy, RunFuture};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::body::Room;
use crate::front::Front;
use crate::function_url;
use crate::identity::PublicContext;
use crate::pages::{Packages, Pages};
use crate::rpc::{self, Observed};
use crate::{Metrics, Options, connection};

/// What the edge leads to.
pub struct Services {
    /// SQS.
    pub sqs: Arc<dyn Sqs>,
    /// Looking at messages.
    pub peek: Arc<dyn SqsPeek>,
    /// Lambda but for invoke.
    pub lambda: Arc<dyn Lambda>,
    /// Lambda's invoke.
    pub invoke: Arc<dyn LambdaInvoke>,
    /// CloudWatch Logs.
    pub logs: Arc<dyn Logs>,
    /// Where function URLs are known from; without it there are none.
    pub control: Option<Arc<dyn Control>>,
    /// The spans of all roles.
    pub traces: Arc<dyn Traces>,
    /// Packages of functions, where this process can reach them.
    pub packages: Option<Arc<dyn Packages>>,
}

/// What the edge works with.
pub struct Surroundings {
    /// Asked before every operation.
    pub authorizer: Arc<dyn Authorizer>,
    /// Decides who a caller is.
    pub verifier: Arc<dyn Verifier>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for request ids.
    pub entropy: Arc<dyn Entropy>,
    /// The edge's own metrics.
    pub metrics: Metrics,
    /// Everybody's metrics, for `/metrics`.
    pub registry: Arc<Registry>,
    /// Whether this node can do its work, for `/readyz`.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The edge. It has no handle: nobody in the process calls it.
pub struct GatewayService {
    front: Arc<Front>,
    options: Options,
    services: Services,
    around: Surroundings,
}

impl GatewayService {
    /// Puts the edge together. Nothing is served yet.
    pub fn build(options: Options, services: Services, around: Surroundings) -> Self {
        let edge = || PublicEdge::new(around.authorizer.clone());
        let front = Arc::new(Front {
            router: Router::new(),
            sqs: Arc::new(SqsVia::new(services.sqs.clone(), edge())),
            peek: Arc::new(SqsPeekVia::new(services.peek.clone(), edge())),
            lambda: Arc::new(LambdaVia::new(services.lambda.clone(), edge())),
            invoke: Arc::new(LambdaInvokeVia::new(services.invoke.clone(), edge())),
            logs: Arc::new(LogsVia::new(services.logs.clone(), edge())),
            verifier: around.verifier.clone(),
            clock: around.clock.clone(),
            entropy: around.entropy.clone(),
            metrics: around.metrics.clone(),
            pages: Pages {
                registry: around.registry.clone(),
                ready: around.ready.clone(),
                traces: services.traces.clone(),
                packages: services.packages.clone(),
            },
            urls: Arc::default(),
            room: Room::new(options.body_memory_bytes),
            options: options.clone(),
            stopping: CancellationToken::new(),
        });
        Self { front, options, services, around }
    }

    /// Serves AWS clients on `http` and gRPC clients on `grpc` until `shutdown` is cancelled; then answers what it has
    /// been asked and returns.
    pub fn run(self, http: TcpListener, grpc: TcpListener, shutdown: CancellationToken) -> RunFuture {
        Box::pin(self.work(http, grpc, shutdown))
    }

    async fn work(self, http: TcpListener, grpc: TcpListener, shutdown: CancellationToken) {
        let Self { front, options, services, around } = self;
        let urls = {
            let (table, stop) = (front.urls.clone(), shutdown.clone());
            let (clock, entropy) = (around.clock.clone(), around.entropy.clone());
            let control = services.control;
            async move {
                if let Some(control) = control {
                    function_url::follow(table, control, clock, entropy, stop).await;
                }
            }
        };
        let endpoint = options.public_url.clone().or_else(|| {
            let scheme = if options.tls.is_some() { "https" } else { "http" };
            Endpoint::new(scheme, &format!("localhost:{}", http.local_addr().ok()?.port()))
        });
        let context = PublicContext {
            verifier: around.verifier,
            clock: around.clock.clone(),
            entropy: around.entropy,
            request_timeout: options.invoke_timeout,
            endpoint: endpoint.unwrap_or_default(),
        };
        let edge = || Observed::new(PublicEdge::new(around.authorizer.clone()), around.metrics.clone());
        let public = rpc::Public {
            sqs: Arc::new(SqsVia::new(services.sqs, edge())),
            peek: Arc::new(SqsPeekVia::new(services.peek, edge())),
            lambda: Arc::new(LambdaVia::new(services.lambda, edge())),
            invoke: Arc::new(LambdaInvokeVia::new(services.invoke, edge())),
            logs: Arc::new(LogsVia::new(services.logs, edge())),
        };
        let stopping = front.stopping.clone();
        let stop = async {
            shutdown.cancelled().await;
            stopping.cancel();
        };
        tokio::join!(
            stop,
            urls,
            connection::serve(front, http, shutdown.clone()),
            rpc::serve(public, context, grpc, &options, &around.metrics, around.clock, shutdown.clone()),
        );
    }
}
