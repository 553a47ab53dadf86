//! What functions reach, from the settings and what the sandboxes can do.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lambfold_config::Config;
use lambfold_network::{Egress, Metrics, Parts, Policy};
use lambfold_sandbox::{Capabilities, LevelReport};

use crate::StartError;
use crate::node::Surroundings;

/// The policy that the settings ask for.
pub(super) fn policy(config: &lambfold_config::Worker) -> Result<Policy, StartError> {
    let allow = config.allow.iter().map(String::as_str);
    Policy::parse(&config.network, allow)
        .map_err(|error| StartError::Setting("worker.network, worker.allow", error.to_string()))
}

/// What is in force.
pub(super) struct InForce {
    /// What environments reach beyond the endpoint; nothing if there is none.
    pub(super) egress: Option<Arc<Egress>>,
    /// Whether they reach the endpoint.
    pub(super) endpoint: bool,
    /// In words.
    pub(super) summary: String,
}

/// Puts a policy in force. One that cannot be kept to is refused; `open`, which promises the least, gives way.
pub(super) async fn enforce(
    policy: Policy,
    capabilities: Capabilities,
    report: &LevelReport,
    around: &mut Surroundings,
) -> Result<InForce, StartError> {
    let endpoint = policy.has_endpoint();
    let nothing = |summary| Ok(InForce { egress: None, endpoint, summary });
    if !capabilities.own_network {
        let level = report.reached;
        return if policy == Policy::Open {
            nothing(format!("this host's, all of it: isolation {level} separates no network"))
        } else {
            let text =
                format!("'{policy}' cannot be enforced at isolation {level}, which separates no network");
            Err(StartError::Setting("worker.network", text))
        };
    }
    if !policy.has_network() {
        return nothing(policy.to_string());
    }
    if !capabilities.network_device {
        return if policy == Policy::Open {
            tracing::warn!("functions reach the endpoint only: sandboxes cannot have a network device here");
            nothing("endpoint-only (open is not available)".to_owned())
        } else {
            let text = format!("'{policy}' needs a network device in sandboxes: {}", report.notes.join("; "));
            Err(StartError::Setting("worker.network", text))
        };
    }
    let summary = policy.to_string();
    let parts = Parts {
        policy,
        protected: protected(&around.config, around.grpc)?,
        name_servers: name_servers(&around.config.worker.name_servers)?,
        clock: around.clock.clone(),
        entropy: around.entropy.clone(),
        metrics: Metrics::register(&mut around.registry),
    };
    Ok(InForce { egress: Some(Arc::new(Egress::new(parts).await)), endpoint, summary })
}

fn name_servers(settings: &[String]) -> Result<Vec<SocketAddr>, StartError> {
    let server = |text: &String| {
        let with_port = text.parse::<SocketAddr>().ok();
        with_port.or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 53))).ok_or_else(|| {
            StartError::Setting("worker.name_servers", format!("'{text}' is no address, nor one with a port"))
        })
    };
    settings.iter().map(server).collect()
}

/// Where the platform listens, but for the endpoint that functions may use, and what it needs, as `host:port`.
fn protected(config: &Config, grpc: Option<SocketAddr>) -> Result<Vec<String>, StartError> {
    let peers = &config.peers;
    let roles =
        [&peers.listen, &peers.advertise, &peers.control, &peers.dispatcher, &peers.queue, &peers.logs];
    let peers = roles.into_iter().chain(&peers.workers).chain(&peers.traces);
    let mut all: Vec<String> =
        peers.filter_map(|peer| peer.strip_prefix("tcp:")).map(str::to_owned).collect();
    all.push(grpc.map_or_else(|| config.grpc_listen.clone(), |address| address.to_string()));
    if !config.queue.database.is_empty() {
        let database = lambfold_store_postgres::endpoints(&config.queue.database);
        all.extend(database.map_err(|error| StartError::Setting("queue.database", error.to_string()))?);
    }
    all.extend(host(&config.otlp_endpoint, 4317));
    Ok(all)
}

/// The `host:port` of a URL.
fn host(url: &str, default_port: u16) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next().filter(|host| !host.is_empty())?;
    let has_port = host.rsplit(']').next().is_some_and(|bare| bare.contains(':'));
    Some(if has_port { host.to_owned() } else { format!("{host}:{default_port}") })
}

#[cfg(test)]
mod tests {
    use lambfold_config::Config;

    use super::{host, protected};

    #[test]
    fn hosts_of_urls() {
        assert_eq!(host("http://localhost:4317", 4317).as_deref(), Some("localhost:4317"));
        assert_eq!(host("https://user@[2001:db8::1]/x", 4317).as_deref(), Some("[2001:db8::1]:4317"));
        assert_eq!(host("", 1), None);
    }

    #[test]
    fn the_database_is_kept_from_functions_however_its_url_names_it() {
        let mut config = Config::defaults();
        config.queue.database =
            "postgres://user@one/lambfold?host=two&hostaddr=192.0.2.7&port=6000".to_owned();
        let all = protected(&config, None).unwrap();
        for endpoint in ["one:5432", "two:6000", "192.0.2.7:5432"] {
            assert!(all.iter().any(|it| it == endpoint), "{endpoint}: {all:?}");
        }
        config.queue.database = "no-url".to_owned();
        assert!(protected(&config, None).is_err());
    }
}
