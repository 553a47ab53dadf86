//! What belongs to the platform and no function reaches, whatever the policy.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use crate::address::plain;

/// Ports of this machine, and addresses of others.
#[derive(Debug, Default)]
pub(crate) struct Protected {
    /// On every address of this machine.
    ports: HashSet<u16>,
    addresses: HashSet<SocketAddr>,
}

impl Protected {
    /// From `host:port` texts: where Lambfold listens, and what it connects to. Names are resolved now.
    pub(crate) async fn resolve(endpoints: Vec<String>) -> Self {
        let mut protected = Self::default();
        for endpoint in endpoints {
            match tokio::net::lookup_host(&endpoint).await {
                Ok(addresses) => addresses.for_each(|address| protected.add(address)),
                Err(error) => {
                    tracing::warn!(%endpoint, %error, "cannot be kept from functions: the name is not known now");
                }
            }
        }
        protected
    }

    fn add(&mut self, address: SocketAddr) {
        let address = SocketAddr::new(plain(address.ip()), address.port());
        let ip = address.ip();
        if ip.is_unspecified() || ip.is_loopback() || is_own(ip) {
            self.ports.insert(address.port());
        } else {
            self.addresses.insert(address);
        }
    }

    /// Whether `address` ([`plain`]) is the platform's.
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&address) || (self.ports.contains(&address.port()) && is_own(address.ip()))
    }
}

/// Whether this machine has an address, now: whoever can listen on it has it.
fn is_own(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::Protected;

    #[tokio::test]
    async fn ports_of_this_machine_and_addresses_of_others() {
        let endpoints = ["0.0.0.0:4567", "127.0.0.1:5432", "192.0.2.77:7000"].map(str::to_owned).into();
        let protected = Protected::resolve(endpoints).await;
        for (address, is) in [
            ("127.0.0.1:4567", true),
            ("[::1]:5432", true),
            ("127.0.0.1:4566", false),
            ("192.0.2.77:7000", true),
            ("192.0.2.77:4567", false),
            ("203.0.113.1:4567", false),
        ] {
            assert_eq!(protected.contains(address.parse().unwrap()), is, "{address}");
        }
    }
}
