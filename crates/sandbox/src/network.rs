//! The network of a sandbox with a [device](crate::SpawnerOptions::network_device): what it is called and which
//! addresses are in it. All of them are ranges that no network routes (RFC 2544, RFC 4193), so they hide nothing.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

/// Of every sandbox: each has a network namespace of its own.
pub const SANDBOX_IPV4: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 1);
/// As [`SANDBOX_IPV4`]. Absent where the kernel has no IPv6.
pub const SANDBOX_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd4c, 0x616d, 0x6266, 0, 0, 0, 0, 1);
/// The name server in `/etc/resolv.conf`: whoever has the device must answer there.
pub const RESOLVER_IPV4: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 2);
/// The largest packet in either direction, in bytes: no datagram is ever in fragments.
pub const NETWORK_MTU: u16 = 65535;

/// Of the interface that functions see, where it has one.
pub(crate) const SANDBOX_HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Of the worker's end.
pub(crate) const WORKER_HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The worker's end of a sandbox's network: every packet that leaves the sandbox for anything but its own loopback is
/// read here, one at a time, and what is written arrives there. Non-blocking.
#[derive(Debug)]
pub struct NetworkDevice {
    /// The descriptor, registered with the runtime that asked for the sandbox.
    pub descriptor: AsyncFd<OwnedFd>,
    /// What is read and written.
    pub link: NetworkLink,
}

/// How packets stand on the descriptor of a [`NetworkDevice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkLink {
    /// A tun device: IP packets, and nothing else.
    Packets,
    /// A packet socket on one end of a veth pair, where there is no tun device: Ethernet frames, whose checksums may be left
    /// to hardware that is not there.
    Frames,
}

impl NetworkLink {
    /// What stands before a packet of IP version 4 or 6 that is written; of the same length in front of one that was read.
    pub fn header(self, version: u8) -> &'static [u8] {
        const fn frame(protocol: u16) -> [u8; 14] {
            let (mut header, mut at) = ([0; 14], 0);
            while at < 6 {
                header[at] = SANDBOX_HARDWARE[at];
                header[at + 6] = WORKER_HARDWARE[at];
                at += 1;
            }
            [header[12], header[13]] = protocol.to_be_bytes();
            header
        }
        const FRAME_IPV4: [u8; 14] = frame(0x0800);
        const FRAME_IPV6: [u8; 14] = frame(0x86dd);
        match (self, version) {
            (Self::Packets, _) => &[],
            (Self::Frames, 6) => &FRAME_IPV6,
            (Self::Frames, _) => &FRAME_IPV4,
        }
    }
}
