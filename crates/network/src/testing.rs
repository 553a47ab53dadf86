//! A sandbox's side of its network, by hand, for tests.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use lambfold_sandbox::{NetworkDevice, NetworkLink, SANDBOX_IPV4};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpProtocol, IpRepr, Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket,
};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixDatagram;

use crate::packet::Ends;

/// A network device, and where what is written to it arrives.
pub(crate) fn device() -> (NetworkDevice, Arc<UnixDatagram>) {
    let (near, far) = UnixDatagram::pair().unwrap();
    let descriptor = OwnedFd::from(near.into_std().unwrap());
    #[expect(deprecated, reason = "the other constructor is unsafe")]
    let descriptor = AsyncFd::new(descriptor).unwrap();
    (NetworkDevice { descriptor, link: NetworkLink::Packets }, Arc::new(far))
}

/// An address of this machine that is not loopback, which no function reaches.
pub(crate) fn own_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("203.0.113.1:9").ok()?;
    let address = socket.local_addr().unwrap().ip();
    if address.is_loopback() {
        eprintln!("SKIPPED: this machine has no address but loopback");
    }
    Some(address).filter(|address| !address.is_loopback())
}

/// From this port of the sandbox's.
pub(crate) fn ends(port: u16, destination: SocketAddr) -> Ends {
    Ends { source: (SANDBOX_IPV4, port).into(), destination }
}

/// Long enough for anything that happens at all.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("it does not happen")
}

/// The next packet that the sandbox gets.
pub(crate) async fn packet(device: &UnixDatagram) -> Vec<u8> {
    let mut packet = vec![0; 1 << 16];
    let length = soon(device.recv(&mut packet)).await.unwrap();
    packet.truncate(length);
    packet
}

/// The payload of a datagram to the sandbox, and the port that it is for.
pub(crate) fn datagram(packet: &[u8]) -> Option<(u16, Vec<u8>)> {
    let packet = Ipv4Packet::new_checked(packet).unwrap();
    if packet.next_header() != IpProtocol::Udp {
        return None;
    }
    let datagram = UdpPacket::new_checked(packet.payload()).unwrap();
    Some((datagram.dst_port(), datagram.payload().to_vec()))
}

/// The function's side of a TCP connection, as simple as can be: it is in order, and nothing is lost.
pub(crate) struct Peer {
    pub(crate) ends: Ends,
    next: TcpSeqNumber,
    seen: TcpSeqNumber,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) port: u16,
    pub(crate) resets: bool,
    pub(crate) ends: bool,
    /// Up to where what was sent has arrived.
    acknowledged: Option<TcpSeqNumber>,
}

impl Peer {
    /// With the packet that opens the connection.
    pub(crate) fn open(ends: Ends) -> (Self, Vec<u8>) {
        let mut peer = Self { ends, next: TcpSeqNumber(1000), seen: TcpSeqNumber(0) };
        let opening = peer.send(TcpControl::Syn, &[]);
        (peer, opening)
    }

    /// The next segment.
    pub(crate) fn send(&mut self, control: TcpControl, payload: &[u8]) -> Vec<u8> {
        let opens = control == TcpControl::Syn;
        let segment = TcpRepr {
            src_port: self.ends.source.port(),
            dst_port: self.ends.destination.port(),
            control,
            seq_number: self.next,
            ack_number: (!opens).then_some(self.seen),
            window_len: 60_000,
            window_scale: None,
            max_seg_size: opens.then_some(1460),
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        };
        self.next += payload.len() + control.len();
        let (source, destination) = (self.ends.source.ip(), self.ends.destination.ip());
        let length = segment.buffer_len();
        let ip = IpRepr::new(source.into(), destination.into(), IpProtocol::Tcp, length, 64);
        let mut packet = vec![0; ip.header_len() + length];
        let checksums = ChecksumCapabilities::default();
        ip.emit(&mut packet[..], &checksums);
        segment.emit(
            &mut TcpPacket::new_unchecked(&mut packet[ip.header_len()..]),
            &ip.src_addr(),
            &ip.dst_addr(),
            &checksums,
        );
        packet
    }

    /// Takes a segment that came, and what it says.
    pub(crate) fn take(&mut self, packet: &[u8]) -> Segment {
        let packet = Ipv4Packet::new_checked(packet).unwrap();
        assert_eq!(packet.next_header(), IpProtocol::Tcp);
        let segment = TcpPacket::new_checked(packet.payload()).unwrap();
        let length = segment.segment_len();
        if length > 0 {
            self.seen = segment.seq_number() + length;
        }
        Segment {
            port: segment.dst_port(),
            resets: segment.rst(),
            ends: segment.fin(),
            acknowledged: segment.ack().then(|| segment.ack_number()),
        }
    }

    /// Whether `segment` acknowledges all that was sent.
    pub(crate) fn is_acknowledged(&self, segment: &Segment) -> bool {
        segment.acknowledged == Some(self.next)
    }
}
