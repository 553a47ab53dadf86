//! A sandbox's network device on the runtime.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use lambfold_sandbox::{NETWORK_MTU, NetworkDevice, NetworkLink};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// See the module.
pub(crate) struct Device {
    descriptor: AsyncFd<OwnedFd>,
    link: NetworkLink,
}

impl Device {
    pub(crate) fn new(network: NetworkDevice) -> Self {
        Self { descriptor: network.descriptor, link: network.link }
    }

    /// Room for the largest packet with what stands before it.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        vec![0; usize::from(NETWORK_MTU) + self.link.header(4).len()]
    }

    pub(crate) async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.descriptor.readable().await
    }

    /// Takes one packet from the sandbox, if there is one.
    pub(crate) fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let length = rustix::io::read(self.descriptor.get_ref(), &mut *buffer)?;
        Ok(buffer[..length].get(self.link.header(4).len()..).unwrap_or_default())
    }

    /// Gives the sandbox a packet. If it cannot take it now the packet is lost, as on any network.
    pub(crate) fn send(&self, packet: &[u8]) {
        let header = self.link.header(packet.first().map_or(4, |byte| byte >> 4));
        let parts = [IoSlice::new(header), IoSlice::new(packet)];
        let parts = if header.is_empty() { &parts[1..] } else { &parts[..] };
        if let Err(error) = rustix::io::writev(self.descriptor.get_ref(), parts) {
            tracing::trace!(%error, length = packet.len(), "a packet to a sandbox is lost");
        }
    }
}
