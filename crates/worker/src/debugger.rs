//! The debugger of a function that asks for one (`LAMBFOLD_DEBUG_PORT`): it listens inside the environment, and the worker carries
//! connections there from the same port of this machine's loopback, for as long as the environment lives.
//!
//! Where sandboxes have no network of their own (level `process`) the debugger itself has the port.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_api::control::FunctionVersion;
use lambfold_sandbox::SandboxNetwork;
use lambfold_types::{Clock, DEBUG_PORT};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::relay::{Relay, Target};

/// How long a port is waited for that an environment before this one had, or what was started in it.
const PORT_PATIENCE: Duration = Duration::from_secs(2);
/// How often it is tried.
const PORT_PAUSE: Duration = Duration::from_millis(20);

/// Which ports of this machine lead to environments of this worker.
pub(crate) struct DebugPorts {
    allowed: bool,
    /// Whether sandboxes have networks of their own.
    own_network: bool,
    clock: Arc<dyn Clock>,
    taken: Mutex<HashMap<u16, Holder>>,
}

/// The environment that a port leads to.
#[derive(Clone)]
struct Holder {
    /// Account, region and name.
    function: [String; 3],
    configuration_id: String,
    /// Ends it when it is idle.
    retire: CancellationToken,
}

/// A port that is an environment's. Free again when dropped.
pub(crate) struct DebugPort {
    way: Way,
    port: u16,
    ports: Arc<DebugPorts>,
}

enum Way {
    /// Nobody is let through yet.
    Closed(TcpListener),
    Open(Relay),
    /// The debugger has the port itself.
    Direct,
}

impl DebugPorts {
    /// None are taken. `allowed`: whether functions may have any.
    pub(crate) fn new(allowed: bool, own_network: bool, clock: Arc<dyn Clock>) -> Self {
        Self { allowed, own_network, clock, taken: Mutex::default() }
    }

    /// The port that `function` asks for, if it asks for one, for an environment that `retire` ends when it is idle. An idle
    /// environment of the same function in another version or configuration gives its port away.
    ///
    /// # Errors
    ///
    /// When debuggers are off, or the port is somebody else's.
    pub(crate) async fn take(
        self: &Arc<Self>,
        function: &FunctionVersion,
        retire: &CancellationToken,
    ) -> Result<Option<DebugPort>, Failure> {
        let Some(debugger) = &function.debugger else { return Ok(None) };
        if !self.allowed {
            let text = format!("{DEBUG_PORT} is set, and debuggers are off on this worker (worker.debugger)");
            return Err(Failure::debugger(text));
        }
        let refused = |why: String| Failure::debugger(format!("{DEBUG_PORT}: port {} {why}", debugger.port));
        let port = u16::try_from(debugger.port).map_err(|_| refused("is none".to_owned()))?;
        let until = self.clock.now() + PORT_PATIENCE;
        loop {
            let why = match self.claim(port, function, retire) {
                Ok(mut claimed) => match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                    Ok(listener) => {
                        if self.own_network {
                            claimed.way = Way::Closed(listener);
                        }
                        return Ok(Some(claimed));
                    }
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        "of 127.0.0.1 is taken by another process".to_owned()
                    }
                    Err(error) => {
                        return Err(refused(format!("of 127.0.0.1 cannot be listened on: {error}")));
                    }
                },
                Err(holder) => {
                    let Holder { function: [_, _, name], .. } = &holder;
                    if holder.is_superseded_by(function) {
                        holder.retire.cancel();
                    }
                    format!("leads to another environment, of function {name}")
                }
            };
            if self.clock.now() >= until {
                return Err(refused(why));
            }
            self.clock.sleep_until(self.clock.now() + PORT_PAUSE).await;
        }
    }

    fn claim(
        self: &Arc<Self>,
        port: u16,
        function: &FunctionVersion,
        retire: &CancellationToken,
    ) -> Result<DebugPort, Holder> {
        match self.taken().entry(port) {
            Entry::Occupied(holder) => Err(holder.get().clone()),
            Entry::Vacant(free) => {
                free.insert(Holder::new(function, retire));
                Ok(DebugPort { way: Way::Direct, port, ports: Arc::clone(self) })
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u16, Holder>> {
        // Nothing that holds the lock leaves it half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder {
    fn new(function: &FunctionVersion, retire: &CancellationToken) -> Self {
        Self {
            function: identity(function),
            configuration_id: function.configuration_id.clone(),
            retire: retire.clone(),
        }
    }

    /// Of one configuration there is one environment: two of them would take turns for ever.
    fn is_superseded_by(&self, function: &FunctionVersion) -> bool {
        self.function == identity(function) && self.configuration_id != function.configuration_id
    }
}

fn identity(function: &FunctionVersion) -> [String; 3] {
    [function.account.clone(), function.region.clone(), function.function_name.clone()]
}

impl DebugPort {
    /// Lets connections through to the debugger in the sandbox that has this network. Does nothing where they need no help.
    pub(crate) fn open(mut self, network: Arc<dyn SandboxNetwork>) -> Self {
        if let Way::Closed(listener) = std::mem::replace(&mut self.way, Way::Direct) {
            let target = Target::Inside(network, self.port);
            self.way = Way::Open(Relay::start(listener, target, Arc::clone(&self.ports.clock)));
        }
        self
    }

    /// Whether a debugger is attached, as far as that can be seen here.
    pub(crate) fn is_attached(&self) -> bool {
        matches!(&self.way, Way::Open(relay) if relay.is_used())
    }
}

impl Drop for DebugPort {
    fn drop(&mut self) {
        self.ports.taken().remove(&self.port);
    }
}

#[cfg(test)]
mod tests {
    use lambfold_api::control::Debugger;
    use lambfold_clock::SystemClock;

    use super::*;

    fn ports(allowed: bool) -> Arc<DebugPorts> {
        Arc::new(DebugPorts::new(allowed, true, Arc::new(SystemClock::new())))
    }

    fn function(name: &str, configuration_id: &str, port: u16) -> FunctionVersion {
        FunctionVersion {
            function_name: name.into(),
            configuration_id: configuration_id.into(),
            debugger: Some(Debugger { port: port.into(), wait: false }),
            ..FunctionVersion::default()
        }
    }

    async fn text(ports: &Arc<DebugPorts>, function: &FunctionVersion) -> String {
        let refused = ports.take(function, &CancellationToken::new()).await;
        refused.map(|_| ()).unwrap_err().message("r")
    }

    async fn free_port() -> u16 {
        TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn who_asks_for_none_gets_none() {
        let other = FunctionVersion::default();
        assert!(ports(false).take(&other, &CancellationToken::new()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn off_is_off() {
        let text = text(&ports(false), &function("f", "1", free_port().await)).await;
        assert!(text.contains("debuggers are off") && text.contains("worker.debugger"), "{text}");
    }

    #[tokio::test]
    async fn a_port_is_one_environments_until_it_ends() {
        let (ports, port) = (ports(true), free_port().await);
        let retire = CancellationToken::new();
        let held = ports.take(&function("f", "1", port), &retire).await.unwrap().unwrap();
        for other in [function("f", "1", port), function("g", "2", port)] {
            let text = text(&ports, &other).await;
            assert!(text.contains("leads to another environment, of function f"), "{text}");
        }
        assert!(!retire.is_cancelled(), "neither of them supersedes it");
        drop(held);
        assert!(ports.take(&function("g", "2", port), &retire).await.is_ok());
    }

    #[tokio::test]
    async fn an_older_configuration_gives_way() {
        let (ports, port) = (ports(true), free_port().await);
        let retire = CancellationToken::new();
        let held = ports.take(&function("f", "1", port), &retire).await.unwrap().unwrap();
        let idle = async {
            retire.cancelled().await;
            drop(held);
        };
        let (newer, other) = (function("f", "2", port), CancellationToken::new());
        let (taken, ()) = tokio::join!(ports.take(&newer, &other), idle);
        assert!(taken.unwrap().is_some() && !other.is_cancelled());
    }

    #[tokio::test]
    async fn a_port_of_somebody_else_is_told_of() {
        let other = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = other.local_addr().unwrap().port();
        let ports = ports(true);
        let text = text(&ports, &function("f", "1", port)).await;
        assert!(text.contains(&format!("port {port} of 127.0.0.1 is taken by another process")), "{text}");
        drop(other);
        assert!(ports.take(&function("f", "1", port), &CancellationToken::new()).await.is_ok());
    }
}
