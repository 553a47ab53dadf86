//! The peer listener: every service of this node, for the other processes of the same Lambfold.

use std::sync::Arc;

use lambfold_api::control::ControlRpc;
use lambfold_api::lambda::{LambdaInvokeRpc, LambdaRpc};
use lambfold_api::logs::LogsRpc;
use lambfold_api::logstore::LogIntakeRpc;
use lambfold_api::queue::QueuePeersRpc;
use lambfold_api::rpc::{Calls, PeerContext, RpcServer};
use lambfold_api::sqs::{SqsPeekRpc, SqsRpc};
use lambfold_api::telemetry::{Traces, TracesRpc};
use lambfold_api::transport::{PeerAddress, PeerListener};
use lambfold_api::worker::WorkerRpc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use super::Services;
use crate::node::Surroundings;
use crate::part::Part;
use crate::{Role, StartError, tls};

/// Starts the listener that `peers.listen` names, if it names one.
pub(crate) async fn start(
    around: &Surroundings,
    services: &Services,
    traces: Arc<dyn Traces>,
) -> Result<Option<Part>, StartError> {
    let peers = &around.config.peers;
    if peers.listen.is_empty() {
        return Ok(None);
    }
    let address: PeerAddress = peers.listen.parse()?;
    let token = Some(peers.cluster_token.clone()).filter(|token| !token.is_empty());
    let tls = tls::peers(&peers.tls)?.map(|mutual| mutual.server);
    if matches!(address, PeerAddress::Tcp(_)) && token.is_none() && tls.is_none() {
        return Err(StartError::ClusterToken);
    }
    let listen = |error| StartError::listen("peers.listen", &peers.listen, &error);
    let listener = PeerListener::bind(&address).await.map_err(listen)?;

    let source = Arc::new(PeerContext::new(around.clock.clone(), token));
    let rpc = || RpcServer::new(source.clone());
    let stop = CancellationToken::new();
    let mut calls = Calls::new(source.clone(), stop.clone());
    let (_, health) = tonic_health::server::health_reporter();
    let mut routes = Routes::builder();
    routes.add_service(health);
    calls.add(TracesRpc::add_to(&mut routes, traces, rpc()));
    if let Some(sqs) = &services.sqs {
        calls.add(SqsRpc::add_to(&mut routes, sqs.clone(), rpc()));
    }
    if let Some(peek) = &services.peek {
        calls.add(SqsPeekRpc::add_to(&mut routes, peek.clone(), rpc()));
    }
    if let Some(peers) = &services.queue_peers {
        calls.add(QueuePeersRpc::add_to(&mut routes, peers.clone(), rpc()));
    }
    if let Some(lambda) = &services.lambda {
        calls.add(LambdaRpc::add_to(&mut routes, lambda.clone(), rpc()));
    }
    if let Some(control) = &services.control {
        calls.add(ControlRpc::add_to(&mut routes, control.clone(), rpc()));
    }
    if let Some(invoke) = &services.invoke {
        calls.add(LambdaInvokeRpc::add_to(&mut routes, invoke.clone(), rpc()));
    }
    if let Some(logs) = &services.logs {
        calls.add(LogsRpc::add_to(&mut routes, logs.clone(), rpc()));
    }
    if let Some(intake) = &services.log_intake {
        calls.add(LogIntakeRpc::add_to(&mut routes, intake.clone(), rpc()));
    }
    if let Some(worker) = &services.worker {
        calls.add(WorkerRpc::add_to(&mut routes, worker.clone(), rpc()));
    }
    calls.add_to(&mut routes);
    let server = Server::builder()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        // A batch of calls in one, not in pieces of 16 KiB.
        .max_frame_size(1 << 18)
        .add_routes(routes.routes());
    // Blamed on whichever role is first: without its peers none can work.
    let role = around.roles.first().copied().unwrap_or(Role::Queue);
    Ok(Some(Part::start_with(role, stop, |stop| async move {
        if let Err(error) =
            server.serve_with_incoming_shutdown(listener.incoming(tls), stop.cancelled_owned()).await
        {
            tracing::error!(%error, "the peer listener ended");
        }
    })))
}
