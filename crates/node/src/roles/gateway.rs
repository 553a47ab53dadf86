//! The edge.

use std::sync::Arc;
use std::time::Duration;

use lambfold_api::authorize::AllowAll;
use lambfold_api::telemetry::Traces;
use lambfold_aws_wire::sigv4::Unverified;
use lambfold_gateway::{
    GatewayService, Metrics, Options, Services as EdgeServices, Surroundings as EdgeSurroundings,
};
use tokio::net::TcpListener;

use super::{Services, packages};
use crate::node::Surroundings;
use crate::part::Part;
use crate::{Role, StartError, tls};

/// Starts the edge on listeners that are bound already. Last: it serves what the others offer.
pub(crate) fn start(
    around: &mut Surroundings,
    services: &Services,
    http: TcpListener,
    grpc: TcpListener,
    traces: Arc<dyn Traces>,
) -> Result<Part, StartError> {
    let config = &around.config.gateway;
    let options = Options {
        max_connections: config.max_connections,
        max_body_bytes: config.max_body_bytes,
        body_memory_bytes: config.body_memory_mib.saturating_mul(1 << 20),
        header_timeout: Duration::from_secs(config.header_timeout_seconds),
        body_timeout: Duration::from_secs(config.body_timeout_seconds),
        request_timeout: Duration::from_secs(config.request_timeout_seconds),
        traces_every_request: around.traces_every_request,
        tls: tls::public(&config.tls)?,
        ..Options::default()
    };
    let services = EdgeServices {
        sqs: around.peers.sqs(services.sqs.clone())?,
        peek: around.peers.peek(services.peek.clone())?,
        lambda: around.peers.lambda(services.lambda.clone())?,
        invoke: around.peers.invoke(services.invoke.clone())?,
        logs: around.peers.logs(services.logs.clone())?,
        control: Some(around.peers.control(services.control.clone())?),
        traces,
        packages: Some(Arc::new(packages::Downloads(packages::open(&around.packages_dir)?))),
    };
    let metrics = Metrics::register(&mut around.registry);
    let edge = EdgeSurroundings {
        authorizer: Arc::new(AllowAll),
        verifier: Arc::new(Unverified::default()),
        clock: around.clock.clone(),
        entropy: around.entropy.clone(),
        metrics,
        registry: Arc::new(std::mem::take(&mut around.registry)),
        ready: Arc::new(|| true),
    };
    let service = GatewayService::build(options, services, edge);
    Ok(Part::start(Role::Gateway, |stop| service.run(http, grpc, stop)))
}
