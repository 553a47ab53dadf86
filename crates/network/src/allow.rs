//! The allow-list: names and networks, with ports or without.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::is_private;

/// Where functions may connect to. Everything else they may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    host: Host,
    /// Every port, if none.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// This name.
    Name(String),
    /// Every name below this one, as `*.example.com` has it, but not the name itself.
    Below(String),
    Network(IpNet),
}

/// An entry that says nothing sensible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{entry}' is no entry of an allow-list: {reason}")]
pub struct EntryError {
    entry: String,
    reason: &'static str,
}

impl AllowList {
    /// Reads entries: a name (`api.example.com`), all names below one (`*.example.com`), an address or a network
    /// (`10.1.0.0/16`, `[2001:db8::/32]`), each with a port behind a colon or for every port.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, EntryError> {
        let entry = |text: &str| {
            parse_entry(text.trim()).map_err(|reason| EntryError { entry: text.to_owned(), reason })
        };
        Ok(Self { entries: entries.into_iter().map(entry).collect::<Result<_, _>>()? })
    }

    /// Whether there is a reason to resolve a name: some port of it may be permitted.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.host.is_named(name))
    }

    /// Whether an address may be connected to for its own sake.
    pub(crate) fn permits(&self, address: IpAddr, port: u16) -> bool {
        self.entries.iter().any(|entry| {
            matches!(&entry.host, Host::Network(network) if network.contains(&address)) && entry.is_for(port)
        })
    }

    /// Whether an address may be connected to because `name` was resolved to it. A private address only if the list has
    /// that very name: those below another may be made by somebody else.
    pub(crate) fn permits_name(&self, name: &str, address: IpAddr, port: u16) -> bool {
        self.entries.iter().any(|entry| {
            entry.host.is_named(name)
                && entry.is_for(port)
                && (matches!(entry.host, Host::Name(_)) || !is_private(address))
        })
    }
}

impl Entry {
    /// Mail is sent only where its port is named.
    fn is_for(&self, port: u16) -> bool {
        match self.port {
            Some(own) => own == port,
            None => port != crate::egress::SMTP,
        }
    }
}

impl Host {
    fn is_named(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Below(parent) => {
                name.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            Self::Network(_) => false,
        }
    }
}

fn parse_entry(text: &str) -> Result<Entry, &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("a bracket is not closed")?;
        (
            host,
            if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or("after ] comes :port")?) },
        )
    } else if text.matches(':').count() > 1 {
        // An IPv6 address without brackets has no port.
        (text, None)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        None => None,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err("the port must be a number from 1 to 65535"),
            Ok(port) => Some(port),
        },
    };
    Ok(Entry { host: parse_host(host)?, port })
}

fn parse_host(text: &str) -> Result<Host, &'static str> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Host::Network(address.into()));
    }
    if let Ok(network) = text.parse::<IpNet>() {
        return if network.trunc() == network {
            Ok(Host::Network(network))
        } else {
            Err("bits of the address are set beyond the network's prefix")
        };
    }
    let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let (name, below) = match text.strip_prefix("*.") {
        Some(parent) => (parent.to_owned(), true),
        None => (text, false),
    };
    let is_label = |label: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.len() <= 63 && label.bytes().all(good)
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err("use a name, *.name, an address or a network; a * stands for whole names in front only");
    }
    if name.split('.').all(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("it is neither an address nor a name");
    }
    Ok(if below { Host::Below(name) } else { Host::Name(name) })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::AllowList;

    fn list(entries: &[&str]) -> AllowList {
        AllowList::parse(entries.iter().copied()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn names_and_what_is_below_them() {
        let list = list(&["API.example.com.:443", "*.example.org", "db.internal:5432"]);
        let (public, private) = (ip("203.0.113.9"), ip("10.0.0.9"));
        assert!(list.permits_name("api.example.com", public, 443));
        assert!(!list.permits_name("api.example.com", public, 80));
        for other in ["example.com", "xapi.example.com", "api.example.com.evil.net", "a.api.example.com"] {
            assert!(!list.knows(other), "{other}");
        }
        assert!(
            list.permits_name("a.example.org", public, 1)
                && list.permits_name("a.b.example.org", public, 443)
        );
        for other in ["example.org", ".example.org", "aexample.org", "a.example.org.evil.net"] {
            assert!(!list.knows(other), "{other}");
        }
        assert!(
            list.permits_name("db.internal", private, 5432),
            "a name of its own may be a private address"
        );
        assert!(!list.permits_name("a.example.org", private, 443), "one below another may not");
        assert!(!list.permits(public, 443), "a name permits no address by itself");
    }

    #[test]
    fn networks_and_ports() {
        let list =
            list(&["10.1.0.0/16:5432", "203.0.113.9", "[2001:db8::/32]:443", "2001:db9::1", "192.0.2.1:25"]);
        assert!(list.permits(ip("10.1.2.3"), 5432) && !list.permits(ip("10.1.2.3"), 80));
        assert!(!list.permits(ip("10.2.0.1"), 5432));
        assert!(
            list.permits(ip("203.0.113.9"), 80) && !list.permits(ip("203.0.113.9"), 25),
            "mail by its port only"
        );
        assert!(list.permits(ip("192.0.2.1"), 25));
        assert!(list.permits(ip("2001:db8::5"), 443) && list.permits(ip("2001:db9::1"), 1));
    }

    #[test]
    fn nonsense_is_refused() {
        for entry in [
            "",
            "*",
            "*.",
            "a*b.com",
            "a.*.com",
            "x:0",
            "x:70000",
            "x:y",
            "10.1.2.3/16",
            "1.2.3",
            "[::1",
            "a..b",
            "a b",
        ] {
            assert!(AllowList::parse([entry]).is_err(), "{entry}");
        }
    }
}
