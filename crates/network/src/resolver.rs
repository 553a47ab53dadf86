//! Passes DNS queries on to the host's name servers, or to those of the settings.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use lambfold_types::{Clock, Entropy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::dns::{self, Question};

/// How long one server may take; programs ask again after five seconds.
const PATIENCE: Duration = Duration::from_secs(2);
const MOST_SERVERS: usize = 3;
const DNS: u16 = 53;

/// See the module.
pub(crate) struct Resolver {
    source: Source,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// How a query came, and its response goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// What does not fit is left out and marked so: the function asks again by a stream.
    Datagram,
    Stream,
}

enum Source {
    Given(Vec<SocketAddr>),
    /// A file of resolv.conf(5), read again when it changes: laptops change networks.
    File {
        path: PathBuf,
        read: Mutex<Option<(SystemTime, Vec<SocketAddr>)>>,
    },
}

impl Resolver {
    /// Asks `servers`, or those in `/etc/resolv.conf` if there are none.
    pub(crate) fn new(servers: Vec<SocketAddr>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let source = if servers.is_empty() {
            Source::File { path: "/etc/resolv.conf".into(), read: Mutex::new(None) }
        } else {
            Source::Given(servers)
        };
        Self { source, clock, entropy }
    }

    /// The response to a query: that of the first server that can answer, or else what one said instead.
    pub(crate) async fn ask(&self, query: &[u8], question: &Question, way: Way) -> Vec<u8> {
        let mut failure = None;
        for server in self.servers() {
            match self.ask_one(server, query, question, way).await {
                Ok(response) if dns::is_failure(&response) => failure = failure.or(Some(response)),
                Ok(response) => return dns::with_id(&response, dns::id(query)),
                Err(error) => tracing::debug!(%server, %error, "a name server does not answer"),
            }
        }
        match failure {
            Some(failure) => dns::with_id(&failure, dns::id(query)),
            None => dns::server_failure(query, question),
        }
    }

    fn servers(&self) -> Vec<SocketAddr> {
        match &self.source {
            Source::Given(servers) => servers.clone(),
            Source::File { path, read } => {
                let changed = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
                let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
                if let (Some((when, servers)), Some(changed)) = (&*read, changed)
                    && *when == changed
                {
                    return servers.clone();
                }
                let servers = parse(&fs::read_to_string(path).unwrap_or_default());
                *read = changed.map(|changed| (changed, servers.clone()));
                servers
            }
        }
    }

    async fn ask_one(
        &self,
        server: SocketAddr,
        query: &[u8],
        question: &Question,
        way: Way,
    ) -> io::Result<Vec<u8>> {
        // Not the function's: who can guess it, and the port, could put words into the server's mouth.
        let mut id = [0; 2];
        self.entropy.fill(&mut id);
        let id = u16::from_be_bytes(id);
        let query = dns::with_id(query, id);
        let asked = async {
            let response = by_datagram(server, &query, id, question).await?;
            if way == Way::Stream && dns::is_truncated(&response) {
                by_stream(server, &query, id, question).await
            } else {
                Ok(response)
            }
        };
        tokio::select! {
            response = asked => response,
            () = self.clock.sleep_until(self.clock.now() + PATIENCE) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

async fn by_datagram(server: SocketAddr, query: &[u8], id: u16, question: &Question) -> io::Result<Vec<u8>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut response = vec![0; 64 << 10];
    loop {
        let length = socket.recv(&mut response).await?;
        if dns::answers(&response[..length], id, question) {
            response.truncate(length);
            return Ok(response);
        }
    }
}

async fn by_stream(server: SocketAddr, query: &[u8], id: u16, question: &Question) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut response = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut response).await?;
    if dns::answers(&response, id, question) { Ok(response) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The servers of a resolv.conf(5); this machine's own if it names none.
fn parse(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let address = line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.to_owned();
        // A zone (fe80::1%eth0) is the index of an interface here.
        let (address, zone) = address.split_once('%').unwrap_or((&address, ""));
        match address.parse::<IpAddr>().ok()? {
            IpAddr::V6(address) if !zone.is_empty() => {
                let index = fs::read_to_string(format!("/sys/class/net/{zone}/ifindex")).ok()?;
                let index = index.trim().parse().ok()?;
                Some(std::net::SocketAddrV6::new(address, DNS, 0, index).into())
            }
            address => Some(SocketAddr::new(address, DNS)),
        }
    };
    let mut servers: Vec<SocketAddr> = text.lines().filter_map(server).take(MOST_SERVERS).collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, DNS).into());
    }
    servers
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use lambfold_clock::{SystemClock, SystemEntropy};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UdpSocket};

    use super::{Resolver, Way, parse};
    use crate::dns;

    /// Of `a.test`, its address.
    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
    const TRUNCATED: u8 = 2;

    /// The response with these flags in its third and fourth byte.
    fn response(query: &[u8], flags: [u8; 2]) -> Vec<u8> {
        [&query[..2], &[0x81 | flags[0], 0x80 | flags[1]], &query[4..]].concat()
    }

    /// A name server that says the same each time.
    async fn server(flags: [u8; 2]) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                socket.send_to(&response(&query[..length], flags), from).await.unwrap();
            }
        });
        address
    }

    async fn ask(servers: Vec<SocketAddr>, way: Way) -> Vec<u8> {
        let resolver = Resolver::new(servers, Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
        resolver.ask(QUERY, &dns::question(QUERY).unwrap(), way).await
    }

    #[tokio::test]
    async fn a_server_that_fails_is_not_the_last_one_asked() {
        let (good, no_such_name) = (server([0, 0]).await, server([0, 3]).await);
        for code in [2, 4, 5] {
            let bad = server([0, code]).await;
            assert_eq!(ask(vec![bad, good], Way::Datagram).await, response(QUERY, [0, 0]));
            assert_eq!(
                ask(vec![bad, bad], Way::Datagram).await,
                response(QUERY, [0, code]),
                "for want of others"
            );
        }
        assert_eq!(
            ask(vec![no_such_name, good], Way::Datagram).await,
            response(QUERY, [0, 3]),
            "an answer, too"
        );
    }

    #[tokio::test]
    async fn what_does_not_fit_is_fetched_for_streams_only() {
        let address = server([TRUNCATED, 0]).await;
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut query = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut query).await.unwrap();
            let response = response(&query, [0, 0]);
            stream.write_u16(response.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&response).await.unwrap();
        });
        assert_eq!(ask(vec![address], Way::Datagram).await, response(QUERY, [TRUNCATED, 0]));
        assert_eq!(ask(vec![address], Way::Stream).await, response(QUERY, [0, 0]));
    }

    #[test]
    fn servers_of_a_file() {
        let text = "# made by x\nsearch example.com\nnameserver 192.0.2.1 # first\n nameserver\t2001:db8::1\nnameserver x\n";
        assert_eq!(parse(text), ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()]);
        assert_eq!(parse(""), ["127.0.0.1:53".parse().unwrap()]);
    }
}
