//! The one place that decides what environments reach.

use std::net::SocketAddr;
use std::sync::Arc;

use lambfold_sandbox::{RESOLVER_IPV4, SANDBOX_IPV4, SANDBOX_IPV6};
use lambfold_types::{Clock, Entropy};

use crate::address::{forbidden, plain};
use crate::connections::Connections;
use crate::metrics::{Metrics, Protocol};
use crate::names::Names;
use crate::policy::Policy;
use crate::protected::{Protected, system_lookup};
use crate::resolver::Resolver;

/// Between mail servers. A function that sends spam costs its operator the address; mail is handed in at 587.
pub(crate) const SMTP: u16 = 25;
/// Connections of all environments together: each takes up to 128 KiB and a descriptor.
const MOST_CONNECTIONS: usize = 4096;

/// What the network of a worker's environments is made from.
pub struct Parts {
    /// What may be reached.
    pub policy: Policy,
    /// `host:port` of what is never reached: where the platform listens, but for its public endpoint, and what it needs.
    pub protected: Vec<String>,
    /// Name servers to ask instead of the host's.
    pub name_servers: Vec<SocketAddr>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What is counted.
    pub metrics: Metrics,
}

/// The policy at work, shared by all environments of a worker.
pub struct Egress {
    pub(crate) policy: Policy,
    pub(crate) resolver: Resolver,
    pub(crate) connections: Arc<Connections>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
    protected: Protected,
}

impl Egress {
    /// Looks up the names of what is protected, and goes on doing so as long as this lives.
    pub async fn new(parts: Parts) -> Self {
        let Parts { policy, protected, name_servers, clock, entropy, metrics } = parts;
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        // The rest is for everything else that the process does.
        let half = files.and_then(|files| usize::try_from(files / 2).ok()).unwrap_or(MOST_CONNECTIONS);
        Self {
            policy,
            protected: Protected::resolve(protected, system_lookup(), Arc::clone(&clock)).await,
            resolver: Resolver::new(name_servers, Arc::clone(&clock), Arc::clone(&entropy)),
            connections: Connections::new(half.min(MOST_CONNECTIONS)),
            clock,
            entropy,
            metrics,
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether an environment that knows `names` may connect to an address: the name that led there if one did, or why
    /// it may not. The address is the one that is then connected to, so no name can change its mind in between.
    pub(crate) fn judge(
        &self,
        protocol: Protocol,
        destination: SocketAddr,
        names: &Names,
    ) -> Result<Option<String>, &'static str> {
        let destination = SocketAddr::new(plain(destination.ip()), destination.port());
        let (address, port) = (destination.ip(), destination.port());
        if let Some(what) = forbidden(address) {
            return Err(what);
        }
        if port == 0 || [RESOLVER_IPV4.into(), SANDBOX_IPV4.into(), SANDBOX_IPV6.into()].contains(&address) {
            return Err("the sandbox's own");
        }
        if self.protected.contains(destination) {
            return Err("the platform's own");
        }
        let now = self.clock.now();
        match &self.policy {
            Policy::Open if port == SMTP => Err("mail"),
            Policy::Open => Ok(names.find(address, now, |_| true)),
            Policy::AllowList(_) if protocol != Protocol::Tcp => Err("not TCP"),
            Policy::AllowList(list) => {
                let by_name = names.find(address, now, |name| list.permits_name(name, address, port));
                if by_name.is_some() || list.permits(address, port) { Ok(by_name) } else { Err("not listed") }
            }
            Policy::EndpointOnly | Policy::None => Err("no network"),
        }
    }

    /// Whether a name may be resolved. Under an allow-list only those in it: the question itself leaves the machine.
    pub(crate) fn may_resolve(&self, name: &str) -> bool {
        match &self.policy {
            Policy::Open => true,
            Policy::AllowList(list) => list.knows(name),
            Policy::EndpointOnly | Policy::None => false,
        }
    }
}
