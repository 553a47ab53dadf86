//! IP packets: which connection they belong to, and the few that are made here.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6DstUnreachable, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, IpRepr, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpPacket, UdpPacket, UdpRepr,
};

/// What of a packet an error report carries, beyond its header: enough to find whose it was.
const REPORTED: usize = 64;
const HOPS: u8 = 64;
/// Who reports: no system believes an address such as 0.1.2.3 or 224.0.0.1 to have sent something.
const REPORTER_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd4c, 0x616d, 0x6266, 0, 0, 0, 0, 2);

/// The two ends of a connection, seen from the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// What came out of a sandbox.
pub(crate) enum Incoming<'a> {
    /// A segment of a TCP connection.
    Tcp { ends: Ends, opens: bool, resets: bool },
    /// A datagram.
    Udp { ends: Ends, payload: &'a [u8] },
}

/// Tells what a packet is; `None` for what no one here answers (ICMP, fragments, nonsense).
pub(crate) fn read(packet: &[u8]) -> Option<Incoming<'_>> {
    let (source, destination, protocol, payload): (IpAddr, IpAddr, _, _) = match packet.first()? >> 4 {
        4 => {
            let packet = Ipv4Packet::new_checked(packet).ok()?;
            if packet.more_frags() || packet.frag_offset() != 0 {
                return None;
            }
            (packet.src_addr().into(), packet.dst_addr().into(), packet.next_header(), packet.payload())
        }
        6 => {
            let packet = Ipv6Packet::new_checked(packet).ok()?;
            (packet.src_addr().into(), packet.dst_addr().into(), packet.next_header(), packet.payload())
        }
        _ => return None,
    };
    let ends = |source_port, destination_port| Ends {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    };
    match protocol {
        IpProtocol::Tcp => {
            let segment = TcpPacket::new_checked(payload).ok()?;
            let opens = segment.syn() && !segment.ack() && !segment.rst();
            let ends = ends(segment.src_port(), segment.dst_port());
            Some(Incoming::Tcp { ends, opens, resets: segment.rst() })
        }
        IpProtocol::Udp => {
            let datagram = UdpPacket::new_checked(payload).ok()?;
            let ends = ends(datagram.src_port(), datagram.dst_port());
            Some(Incoming::Udp { ends, payload: datagram.payload() })
        }
        _ => None,
    }
}

/// A datagram from one address to another. Both are of one family, and it is short enough: see [`fits`].
pub(crate) fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let datagram = UdpRepr { src_port: from.port(), dst_port: to.port() };
    let length = datagram.header_len() + payload.len();
    let ip = IpRepr::new(from.ip().into(), to.ip().into(), IpProtocol::Udp, length, HOPS);
    let checksums = ChecksumCapabilities::default();
    let mut packet = vec![0; ip.header_len() + length];
    ip.emit(&mut packet[..], &checksums);
    datagram.emit(
        &mut UdpPacket::new_unchecked(&mut packet[ip.header_len()..]),
        &ip.src_addr(),
        &ip.dst_addr(),
        payload.len(),
        |room| room.copy_from_slice(payload),
        &checksums,
    );
    packet
}

/// Whether a datagram goes into one packet of either family.
pub(crate) fn fits(payload: &[u8]) -> bool {
    payload.len() <= usize::from(lambfold_sandbox::NETWORK_MTU) - 48
}

/// Why there is no way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// The function sees `ENETUNREACH`, as if there were no network; of an IPv6 datagram `EACCES`.
    Network,
    /// It sees `ECONNREFUSED`.
    Port,
}

/// The report that a packet of the sandbox's has not arrived, to its sender.
pub(crate) fn unreachable(packet: &[u8], why: Unreachable) -> Option<Vec<u8>> {
    let checksums = ChecksumCapabilities::default();
    match packet.first()? >> 4 {
        4 => {
            let lost = Ipv4Packet::new_checked(packet).ok()?;
            let payload = lost.payload();
            // Not all of the header is told, options are not.
            let header = Ipv4Repr {
                src_addr: lost.src_addr(),
                dst_addr: lost.dst_addr(),
                next_header: lost.next_header(),
                payload_len: payload.len(),
                hop_limit: lost.hop_limit(),
            };
            let reason = match why {
                Unreachable::Network => Icmpv4DstUnreachable::NetProhibited,
                Unreachable::Port => Icmpv4DstUnreachable::PortUnreachable,
            };
            let report =
                Icmpv4Repr::DstUnreachable { reason, header, data: &payload[..payload.len().min(REPORTED)] };
            let ip = Ipv4Repr {
                src_addr: lambfold_sandbox::RESOLVER_IPV4,
                dst_addr: lost.src_addr(),
                next_header: IpProtocol::Icmp,
                payload_len: report.buffer_len(),
                hop_limit: HOPS,
            };
            let mut packet = vec![0; ip.buffer_len() + report.buffer_len()];
            ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &checksums);
            report.emit(&mut Icmpv4Packet::new_unchecked(&mut packet[ip.buffer_len()..]), &checksums);
            Some(packet)
        }
        6 => {
            let lost = Ipv6Packet::new_checked(packet).ok()?;
            let payload = lost.payload();
            let header = Ipv6Repr {
                src_addr: lost.src_addr(),
                dst_addr: lost.dst_addr(),
                next_header: lost.next_header(),
                payload_len: payload.len(),
                hop_limit: lost.hop_limit(),
            };
            let reason = match why {
                // For a datagram that would be no reason to give up.
                Unreachable::Network if lost.next_header() == IpProtocol::Udp => {
                    Icmpv6DstUnreachable::AdminProhibit
                }
                Unreachable::Network => Icmpv6DstUnreachable::NoRoute,
                Unreachable::Port => Icmpv6DstUnreachable::PortUnreachable,
            };
            let report =
                Icmpv6Repr::DstUnreachable { reason, header, data: &payload[..payload.len().min(REPORTED)] };
            let ip = Ipv6Repr {
                src_addr: REPORTER_IPV6,
                dst_addr: lost.src_addr(),
                next_header: IpProtocol::Icmpv6,
                payload_len: report.buffer_len(),
                hop_limit: HOPS,
            };
            let mut packet = vec![0; ip.buffer_len() + report.buffer_len()];
            ip.emit(&mut Ipv6Packet::new_unchecked(&mut packet[..]));
            report.emit(
                &ip.src_addr,
                &ip.dst_addr,
                &mut Icmpv6Packet::new_unchecked(&mut packet[ip.buffer_len()..]),
                &checksums,
            );
            Some(packet)
        }
        _ => None,
    }
}
