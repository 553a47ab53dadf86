//! The edge.

use std::sync::Arc;
use std::time::Duration;

use lambfold_api::Endpoint;
use lambfold_api::authorize::AllowAll;
use lambfold_api::telemetry::Traces;
use lambfold_aws_wire::sigv4::Unverified;
use lambfold_gateway::{
    GatewayService, Metrics, Options, Services as EdgeServices, Surroundings as EdgeSurroundings,
};
use lambfold_types::DEBUG_LIMIT;
use tokio::net::TcpListener;

use super::{Services, debugger, packages};
use crate::node::Surroundings;
use crate::part::Part;
use crate::{Role, StartError, tls};

/// What an invocation that is debugged may take beyond its own time: it waits for its environment, package and port.
const DEBUG_SLACK: Duration = Duration::from_mins(3);

/// Scheme, host and port; queue URLs have no room for a path before the account.
fn public_url(text: &str) -> Result<Option<Endpoint>, StartError> {
    if text.is_empty() {
        return Ok(None);
    }
    let parts = text.strip_suffix('/').unwrap_or(text).split_once("://");
    let endpoint = parts.and_then(|(scheme, host)| Endpoint::new(scheme, host));
    endpoint.map(Some).ok_or_else(|| {
        StartError::Setting(
            "gateway.public_url",
            format!("{text} is not http:// or https:// with a host and a port"),
        )
    })
}

/// Starts the edge on listeners that are bound already. Last: it serves what the others offer.
pub(crate) fn start(
    around: &mut Surroundings,
    services: &Services,
    http: TcpListener,
    grpc: TcpListener,
    traces: Arc<dyn Traces>,
) -> Result<Part, StartError> {
    let config = &around.config.gateway;
    let request_timeout = Duration::from_secs(config.request_timeout_seconds);
    let invoke_timeout = if debugger::is_on(&around.config) {
        request_timeout.max(DEBUG_LIMIT + DEBUG_SLACK)
    } else {
        request_timeout
    };
    let options = Options {
        max_connections: config.max_connections,
        max_body_bytes: config.max_body_bytes,
        body_memory_bytes: config.body_memory_mib.saturating_mul(1 << 20),
        header_timeout: Duration::from_secs(config.header_timeout_seconds),
        body_timeout: Duration::from_secs(config.body_timeout_seconds),
        request_timeout,
        invoke_timeout,
        public_url: public_url(&config.public_url)?,
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
