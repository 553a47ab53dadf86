//! What kinds of addresses there are, whichever way they are written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Where clouds keep a machine's credentials, outside of the link-local range: Alibaba's, Azure's, Oracle's.
const METADATA_IPV4: &[Ipv4Addr] =
    &[Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// The same: Google's, Oracle's, Scaleway's, Akamai's, Alibaba's. AWS's has a range, below.
const METADATA_IPV6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200),
];

const fn ipv4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn ipv6(first: u16, second: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

/// Never reached, under no policy, and what they are.
const FORBIDDEN_IPV4: &[(Ipv4Net, &str)] = &[
    (ipv4(0, 0, 0, 0, 8), "unspecified"),
    (ipv4(127, 0, 0, 0, 8), "loopback"),
    (ipv4(169, 254, 0, 0, 16), "link-local"),
    (ipv4(224, 0, 0, 0, 4), "multicast"),
    (ipv4(240, 0, 0, 0, 4), "reserved"),
];
const FORBIDDEN_IPV6: &[(Ipv6Net, &str)] = &[
    // The unspecified address, loopback, and IPv4 addresses in a form that nobody uses any more.
    (ipv6(0, 0, 96), "loopback"),
    (ipv6(0xfe80, 0, 10), "link-local"),
    (ipv6(0xfec0, 0, 10), "site-local"),
    (ipv6(0xff00, 0, 8), "multicast"),
    // AWS's own: fd00:ec2::254 is its metadata service, ::23 its container credentials.
    (ipv6(0xfd00, 0x0ec2, 32), "metadata"),
];

/// Reached where a policy permits them, but not by names that anybody could have made.
const PRIVATE_IPV4: &[Ipv4Net] =
    &[ipv4(10, 0, 0, 0, 8), ipv4(172, 16, 0, 0, 12), ipv4(192, 168, 0, 0, 16), ipv4(100, 64, 0, 0, 10)];
const PRIVATE_IPV6: &[Ipv6Net] = &[ipv6(0xfc00, 0, 7)];

/// The addresses that packets to `address` may end at: itself, and the IPv4 address inside of it, if any.
#[expect(clippy::many_single_char_names, reason = "the parts of an address")]
pub(crate) fn meanings(address: IpAddr) -> [Option<IpAddr>; 2] {
    let IpAddr::V6(outer) = address else { return [Some(address), None] };
    let inner = |bytes: [u8; 4]| Some(IpAddr::from(bytes));
    let [_, _, a, b, c, d, .., w, x, y, z] = outer.octets();
    match outer.segments() {
        // Mapped: the system itself takes it for the IPv4 address.
        [0, 0, 0, 0, 0, 0xffff, ..] => [inner([w, x, y, z]), None],
        // Translated by a gateway (RFC 6052), tunnelled (RFC 3056), and Teredo's, whose client is inverted.
        [0x64, 0xff9b, ..] => [Some(address), inner([w, x, y, z])],
        [0x2002, ..] => [Some(address), inner([a, b, c, d])],
        [0x2001, 0, ..] => [Some(address), inner([!w, !x, !y, !z])],
        _ => [Some(address), None],
    }
}

/// What the system connects to when it is given `address`.
pub(crate) fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Why an address is never reached; `None` if a policy decides.
pub(crate) fn forbidden(address: IpAddr) -> Option<&'static str> {
    meanings(address).into_iter().flatten().find_map(|meaning| match meaning {
        IpAddr::V4(it) if METADATA_IPV4.contains(&it) => Some("metadata"),
        IpAddr::V4(it) => FORBIDDEN_IPV4.iter().find(|(net, _)| net.contains(&it)).map(|(_, what)| *what),
        IpAddr::V6(it) if METADATA_IPV6.contains(&it) => Some("metadata"),
        IpAddr::V6(it) => FORBIDDEN_IPV6.iter().find(|(net, _)| net.contains(&it)).map(|(_, what)| *what),
    })
}

/// Whether an address belongs to somebody's own network.
pub(crate) fn is_private(address: IpAddr) -> bool {
    meanings(address).into_iter().flatten().any(|meaning| match meaning {
        IpAddr::V4(it) => PRIVATE_IPV4.iter().any(|net| net.contains(&it)),
        IpAddr::V6(it) => PRIVATE_IPV6.iter().any(|net| net.contains(&it)),
    })
}

#[cfg(test)]
mod tests {
    use super::{forbidden, is_private};

    #[test]
    fn internal_addresses_are_forbidden_in_every_form() {
        for (address, what) in [
            ("127.0.0.1", "loopback"),
            ("127.8.9.10", "loopback"),
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("169.254.169.254", "link-local"),
            ("169.254.170.2", "link-local"),
            ("100.100.100.200", "metadata"),
            ("168.63.129.16", "metadata"),
            ("192.0.0.192", "metadata"),
            ("224.0.0.251", "multicast"),
            ("255.255.255.255", "reserved"),
            ("::", "loopback"),
            ("::1", "loopback"),
            ("::127.0.0.1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "link-local"),
            ("64:ff9b::7f00:1", "loopback"),
            ("64:ff9b::a9fe:a9fe", "link-local"),
            ("64:ff9b:1::a9fe:a9fe", "link-local"),
            ("2002:7f00:1::1", "loopback"),
            ("2002:a9fe:a9fe::", "link-local"),
            ("2001:0:1::5601:5601", "link-local"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("fd00:ec2::254", "metadata"),
            ("fd20:ce::254", "metadata"),
            ("fd00:c1::a9fe:a9fe", "metadata"),
            ("fd00:42::42", "metadata"),
            ("fd00:a9fe:a9fe::1", "metadata"),
            ("fd00:100::100:200", "metadata"),
        ] {
            assert_eq!(forbidden(address.parse().unwrap()), Some(what), "{address}");
        }
        for address in [
            "8.8.8.8",
            "10.0.0.1",
            "192.168.1.1",
            "2001:4860:4860::8888",
            "fd00::1",
            "fd00:42::43",
            "64:ff9b::808:808",
        ] {
            assert_eq!(forbidden(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        for address in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in ["172.32.0.1", "8.8.8.8", "2001:db8::1"] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }
}
