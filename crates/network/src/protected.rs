//! What belongs to the platform and no function reaches, whatever the policy.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lambfold_types::Clock;
use tokio::task::JoinSet;

use crate::address::{meanings, plain};

/// How soon a name that is not known is looked up again, and one that is: servers move.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(5);
const KNOWN_AGAIN: Duration = Duration::from_mins(1);

/// Tells the addresses of a `host:port`.
pub(crate) type Lookup =
    Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// The system's.
pub(crate) fn system_lookup() -> Lookup {
    Box::new(|endpoint| Box::pin(async move { Ok(tokio::net::lookup_host(endpoint).await?.collect()) }))
}

/// Ports of this machine, and addresses of others. Names among them are looked up again for as long as this lives.
pub(crate) struct Protected {
    known: Arc<RwLock<Known>>,
    _watch: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Known {
    /// On every address of this machine.
    ports: HashSet<u16>,
    addresses: HashSet<SocketAddr>,
}

struct Endpoint {
    text: String,
    /// Empty as long as they are not known.
    addresses: Vec<SocketAddr>,
    /// Whether it has been told that they are not.
    warned: bool,
}

impl Protected {
    /// From `host:port` texts: where Lambfold listens, and what it connects to. Names have been looked up once when this
    /// returns.
    pub(crate) async fn resolve(endpoints: Vec<String>, lookup: Lookup, clock: Arc<dyn Clock>) -> Self {
        let endpoint = |text| Endpoint { text, addresses: Vec::new(), warned: false };
        let mut endpoints: Vec<Endpoint> = endpoints.into_iter().map(endpoint).collect();
        let known = Arc::new(RwLock::default());
        look_up(&mut endpoints, &lookup, &known).await;
        let mut watch = JoinSet::new();
        // An address stays what it is.
        if endpoints.iter().any(|endpoint| endpoint.text.parse::<SocketAddr>().is_err()) {
            let known = Arc::clone(&known);
            watch.spawn(async move {
                loop {
                    let all_known = endpoints.iter().all(|endpoint| !endpoint.addresses.is_empty());
                    let again = if all_known { KNOWN_AGAIN } else { UNKNOWN_AGAIN };
                    clock.sleep_until(clock.now() + again).await;
                    look_up(&mut endpoints, &lookup, &known).await;
                }
            });
        }
        Self { known, _watch: watch }
    }

    /// Whether `address` ([`plain`]) is the platform's, or leads there through a gateway.
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        meanings(address.ip()).into_iter().flatten().any(|ip| {
            known.addresses.contains(&SocketAddr::new(ip, address.port()))
                || (known.ports.contains(&address.port()) && is_own(ip))
        })
    }
}

async fn look_up(endpoints: &mut [Endpoint], lookup: &Lookup, known: &RwLock<Known>) {
    for Endpoint { text, addresses, warned } in &mut *endpoints {
        match lookup(text.clone()).await {
            Ok(found) if !found.is_empty() => {
                if std::mem::take(warned) {
                    tracing::info!(endpoint = %text, "is known now, and kept from functions");
                }
                *addresses = found;
            }
            // What it had it may still have.
            _ if !addresses.is_empty() => {}
            outcome if !*warned => {
                let error = outcome.err().map(|error| error.to_string()).unwrap_or_default();
                tracing::warn!(endpoint = %text, error, "cannot be kept from functions until its name is known");
                *warned = true;
            }
            _ => {}
        }
    }
    let mut all = Known::default();
    endpoints.iter().flat_map(|endpoint| &endpoint.addresses).for_each(|address| all.add(*address));
    *known.write().unwrap_or_else(PoisonError::into_inner) = all;
}

impl Known {
    fn add(&mut self, address: SocketAddr) {
        let address = SocketAddr::new(plain(address.ip()), address.port());
        let ip = address.ip();
        if ip.is_unspecified() || ip.is_loopback() || is_own(ip) {
            self.ports.insert(address.port());
        } else {
            self.addresses.insert(address);
        }
    }
}

/// Whether this machine has an address, now: whoever can listen on it has it. Where that cannot be told it is taken to.
fn is_own(address: IpAddr) -> bool {
    match std::net::UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use lambfold_clock::{ManualClock, SystemClock};
    use lambfold_types::Timestamp;

    use super::{Lookup, Protected, UNKNOWN_AGAIN, system_lookup};

    #[tokio::test]
    async fn ports_of_this_machine_and_addresses_of_others() {
        let endpoints = ["0.0.0.0:4567", "127.0.0.1:5432", "192.0.2.77:7000"].map(str::to_owned).into();
        let protected = Protected::resolve(endpoints, system_lookup(), Arc::new(SystemClock::new())).await;
        for (address, is) in [
            ("127.0.0.1:4567", true),
            ("[::1]:5432", true),
            ("127.0.0.1:4566", false),
            ("192.0.2.77:7000", true),
            ("192.0.2.77:4567", false),
            ("203.0.113.1:4567", false),
            ("[64:ff9b::192.0.2.77]:7000", true),
            ("[64:ff9b::192.0.2.77]:7001", false),
            ("[2002:c000:24d::1]:7000", true),
        ] {
            assert_eq!(protected.contains(address.parse().unwrap()), is, "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_that_is_not_known_at_first_is_looked_up_again() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
        let there = Arc::new(AtomicBool::new(false));
        let known = Arc::clone(&there);
        let lookup: Lookup = Box::new(move |endpoint| {
            assert_eq!(endpoint, "database:5432");
            let known = known.load(Ordering::SeqCst);
            Box::pin(async move {
                if known {
                    Ok(vec!["192.0.2.9:5432".parse().unwrap()])
                } else {
                    Err(io::ErrorKind::NotFound.into())
                }
            })
        });
        let protected = Protected::resolve(vec!["database:5432".into()], lookup, clock.clone()).await;
        let address = "192.0.2.9:5432".parse().unwrap();
        assert!(!protected.contains(address));
        there.store(true, Ordering::SeqCst);
        for _ in 0..100 {
            clock.advance(UNKNOWN_AGAIN);
            tokio::task::yield_now().await;
        }
        assert!(protected.contains(address));
    }
}
