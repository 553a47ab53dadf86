//! What of rtnetlink(7) a sandbox's network takes.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const HEADER: usize = 16;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;

/// Speaks to this network namespace's configuration.
pub(super) struct Netlink {
    socket: OwnedFd,
    number: u32,
}

/// One end of a veth pair.
pub(super) struct End<'a> {
    pub(super) name: &'a str,
    pub(super) hardware: [u8; 6],
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // Protocol 0 is NETLINK_ROUTE.
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, number: 0 })
    }

    /// Makes a pair of joined Ethernet interfaces.
    pub(super) fn make_veth(&mut self, near: &End<'_>, far: &End<'_>, mtu: u16) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
        message.link(0, 0);
        message.end(near, mtu);
        let info = message.open(IFLA_LINKINFO);
        message.attribute(IFLA_INFO_KIND, b"veth");
        let data = message.open(IFLA_INFO_DATA);
        let peer = message.open(VETH_INFO_PEER);
        message.link(0, 0);
        message.end(far, mtu);
        for start in [peer, data, info] {
            message.close(start);
        }
        self.ask(message)
    }

    /// Sets an interface's largest packet, and switches it on, without neighbour discovery: there is one neighbour.
    pub(super) fn bring_up(&mut self, interface: u32, mtu: u16) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWLINK, 0);
        message.link(interface, (libc::IFF_UP | libc::IFF_NOARP).cast_unsigned());
        message.attribute(IFLA_MTU, &u32::from(mtu).to_ne_bytes());
        self.ask(message)
    }

    /// Gives an interface an address that is a network of its own.
    pub(super) fn add_address(&mut self, interface: u32, address: IpAddr) -> io::Result<()> {
        let (family, bytes) = octets(address);
        let mut message = Message::new(libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
        let prefix = u8::try_from(bytes.len() * 8).unwrap_or_default();
        message.bytes(&[family, prefix, IFA_F_NODAD, 0]);
        message.bytes(&interface.to_ne_bytes());
        message.attribute(IFA_LOCAL, &bytes);
        message.attribute(IFA_ADDRESS, &bytes);
        self.ask(message)
    }

    /// Sends everything of `like`'s family that is not for this namespace to an interface.
    pub(super) fn add_default_route(&mut self, interface: u32, like: IpAddr) -> io::Result<()> {
        let (family, _) = octets(like);
        let scope = if like.is_ipv4() { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
        let mut message = Message::new(libc::RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
        message.bytes(&[
            family,
            0,
            0,
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_BOOT,
            scope,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ]);
        message.attribute(RTA_OIF, &interface.to_ne_bytes());
        self.ask(message)
    }

    fn ask(&mut self, message: Message) -> io::Result<()> {
        self.number += 1;
        rustix::net::send(&self.socket, &message.finish(self.number), SendFlags::empty())?;
        let mut answer = [0; 1024];
        let (length, _) = rustix::net::recv(&self.socket, &mut answer, RecvFlags::empty())?;
        let unexpected = || io::Error::other("netlink answers something else");
        let word = |at: usize| answer[..length].get(at..at + 4)?.first_chunk::<4>().copied();
        let kind = word(4).map(|[low, high, ..]| u16::from_ne_bytes([low, high]));
        if kind != Some(NLMSG_ERROR) || word(8).map(u32::from_ne_bytes) != Some(self.number) {
            return Err(unexpected());
        }
        match word(HEADER).map(i32::from_ne_bytes).ok_or_else(unexpected)? {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (2, address.octets().to_vec()),
        IpAddr::V6(address) => (10, address.octets().to_vec()),
    }
}

/// One that is being written.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut message = Self(vec![0; HEADER]);
        message.0[4..6].copy_from_slice(&kind.to_ne_bytes());
        message.0[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        message
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// `struct ifinfomsg`; these flags are set, and no other is changed.
    fn link(&mut self, interface: u32, flags: u32) {
        self.bytes(&[0; 4]);
        for word in [interface, flags, flags] {
            self.bytes(&word.to_ne_bytes());
        }
    }

    fn end(&mut self, end: &End<'_>, mtu: u16) {
        self.attribute(IFLA_IFNAME, end.name.as_bytes());
        self.attribute(IFLA_ADDRESS, &end.hardware);
        self.attribute(IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.bytes(value);
        self.close(start);
    }

    /// Begins an attribute; what is written until it is closed is its value.
    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.bytes(&[0; 2]);
        self.bytes(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, number: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&number.to_ne_bytes());
        self.0
    }
}
