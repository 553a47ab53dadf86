//! A sandbox's network device, made by init inside of the sandbox's network namespace: of packets that come out at the
//! worker. A tun device, or, where the user may not open one, a veth pair whose far end is a packet socket. (A pair takes
//! ten times as long to make.)

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketType, netdevice};

use super::netlink::{End, Netlink};
use super::step::Step;
use super::sys;
use crate::network::{
    NETWORK_MTU, NetworkLink, SANDBOX_HARDWARE, SANDBOX_IPV4, SANDBOX_IPV6, WORKER_HARDWARE,
};
use crate::protocol::Failure;

/// What functions see.
const INTERFACE: &str = "net0";
/// The other end of a pair.
const FAR: &str = "net1";

/// Makes the device of this network namespace, and leads everything to it. Before the root is changed: `/dev/net` and
/// `/proc` are the host's.
pub(super) fn make() -> Result<(OwnedFd, NetworkLink), Failure> {
    let mut netlink = Netlink::open().step("open a netlink socket")?;
    let network = match tun() {
        Ok(descriptor) => (descriptor, NetworkLink::Packets),
        Err(no_tun) => {
            let descriptor =
                pair(&mut netlink).step(format_args!("make a tun device: {no_tun}; make a veth pair"))?;
            (descriptor, NetworkLink::Frames)
        }
    };
    let interface = index(INTERFACE).step("find the network device")?;
    keep_quiet(INTERFACE);
    netlink.bring_up(interface, NETWORK_MTU).step("bring up the network device")?;
    netlink.add_address(interface, SANDBOX_IPV4.into()).step("add the address")?;
    netlink.add_default_route(interface, SANDBOX_IPV4.into()).step("add the route")?;
    // A kernel without IPv6 knows no such addresses.
    let ipv6: IpAddr = SANDBOX_IPV6.into();
    if netlink.add_address(interface, ipv6).is_ok() {
        netlink.add_default_route(interface, ipv6).step("add the IPv6 route")?;
    }
    Ok(network)
}

fn tun() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let device = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    sys::attach_tun(&device, INTERFACE)?;
    Ok(device)
}

fn pair(netlink: &mut Netlink) -> io::Result<OwnedFd> {
    let near = End { name: INTERFACE, hardware: SANDBOX_HARDWARE };
    let far = End { name: FAR, hardware: WORKER_HARDWARE };
    netlink.make_veth(&near, &far, NETWORK_MTU)?;
    keep_quiet(FAR);
    let far = index(FAR)?;
    netlink.bring_up(far, NETWORK_MTU)?;
    sys::packet_socket(far)
}

fn index(name: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(netdevice::name_to_index(&socket, name)?)
}

/// Without this the kernel would look for IPv6 routers for ever, and an idle sandbox cost something.
fn keep_quiet(interface: &str) {
    for (name, value) in [("accept_ra", "0"), ("addr_gen_mode", "1"), ("autoconf", "0")] {
        // A kernel without IPv6 has none of them.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/{name}"), value);
    }
}
