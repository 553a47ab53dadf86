//! The network of one environment.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lambfold_sandbox::{NetworkDevice, RESOLVER_IPV4, SANDBOX_IPV4, SANDBOX_IPV6};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet, yield_now};

use crate::audit::{Audit, Line, Traffic};
use crate::connections::{self, Share};
use crate::device::Device;
use crate::dns;
use crate::egress::Egress;
use crate::life::Life;
use crate::metrics::{Protocol, Verdict};
use crate::names::Names;
use crate::packet::{self, Ends, Incoming, Unreachable};
use crate::resolver::Way;
use crate::stream::Stream;
use crate::tcp::{self, Connection};
use crate::udp::Association;

/// Pairs of addresses between which one environment sends datagrams; for one more, the one that was quiet for the longest
/// goes.
const MOST_ASSOCIATIONS: usize = 256;
/// Queries of one environment that wait for name servers; further ones are lost, and asked again.
const MOST_QUERIES: usize = 64;
/// Packets of one connection that wait; further ones are lost, and sent again. What they hold is bounded by the
/// connection's window.
const PACKETS_WAITING: usize = 64;
/// Packets that are taken before others have their turn.
const AT_ONCE: usize = 32;
/// How long a connection may take to be made. Programs give up earlier.
const CONNECT_PATIENCE: Duration = Duration::from_mins(1);
const DNS: u16 = 53;

/// Whose connections they are; for the audit.
#[derive(Clone, Debug)]
pub struct Client {
    /// The function's ARN.
    pub function: String,
    /// The environment: its log stream, or another name of its own.
    pub environment: String,
}

/// Serves one environment's network until it is dropped, and every connection with it.
pub struct Network {
    _server: JoinSet<()>,
}

impl Network {
    /// Serves the other end of a sandbox's network device.
    pub fn start(network: NetworkDevice, egress: Arc<Egress>, client: Client) -> Self {
        let all = matches!(egress.policy, crate::Policy::AllowList(_));
        let audit = Audit::new(client, all, egress.metrics.clone(), Arc::clone(&egress.clock));
        let shared = Arc::new(Shared {
            device: Arc::new(Device::new(network)),
            names: Names::default(),
            audit,
            egress,
        });
        let mut server = JoinSet::new();
        server.spawn(Server::new(shared).run());
        Self { _server: server }
    }
}

struct Shared {
    device: Arc<Device>,
    names: Names,
    audit: Audit,
    egress: Arc<Egress>,
}

struct Server {
    shared: Arc<Shared>,
    share: Arc<Share>,
    tcp: HashMap<Ends, Opened>,
    udp: HashMap<Ends, Arc<Association>>,
    queries: Arc<Semaphore>,
    tasks: JoinSet<Done>,
}

/// A TCP connection whose task takes its packets.
struct Opened {
    packets: mpsc::Sender<Vec<u8>>,
    life: Arc<Life>,
}

/// What has come to its end.
enum Done {
    Tcp(Ends),
    Udp(Ends),
    Query,
}

impl Server {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            share: shared.egress.connections.share(),
            shared,
            tcp: HashMap::new(),
            udp: HashMap::new(),
            queries: Arc::new(Semaphore::new(MOST_QUERIES)),
            tasks: JoinSet::new(),
        }
    }

    async fn run(mut self) {
        let device = Arc::clone(&self.shared.device);
        let share = Arc::clone(&self.share);
        let mut buffer = device.buffer();
        loop {
            let mut ready = tokio::select! {
                Some(done) = self.tasks.join_next() => {
                    self.forget(done);
                    continue;
                }
                count = share.called_back() => {
                    for _ in 0..count {
                        self.give_up_quietest();
                    }
                    continue;
                }
                ready = device.readable() => match ready {
                    Ok(ready) => ready,
                    Err(_) => return,
                },
            };
            for _ in 0..AT_ONCE {
                match device.receive(&mut buffer) {
                    Ok(packet) => self.take(packet),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready.clear_ready();
                        break;
                    }
                    // The sandbox has gone, and its device with it.
                    Err(_) => return,
                }
            }
            drop(ready);
            yield_now().await;
        }
    }

    /// Forgets what has ended, but not what has begun between the same ends since.
    fn forget(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Tcp(ends)) => {
                if self.tcp.get(&ends).is_some_and(|opened| opened.packets.is_closed()) {
                    self.tcp.remove(&ends);
                }
            }
            Ok(Done::Udp(ends)) => {
                if self.udp.get(&ends).is_some_and(has_ended) {
                    self.udp.remove(&ends);
                }
            }
            Ok(Done::Query) => {}
            Err(error) => {
                tracing::error!(%error, "a connection of a function broke");
                self.tcp.retain(|_, opened| !opened.packets.is_closed());
                self.udp.retain(|_, association| !has_ended(association));
            }
        }
    }

    /// Closes the connection that was quiet for the longest: another environment has taken over its place.
    fn give_up_quietest(&mut self) {
        let tcp = self.tcp.iter().map(|(ends, opened)| (Protocol::Tcp, *ends, &opened.life));
        let udp = self.udp.iter().map(|(ends, association)| (Protocol::Udp, *ends, &association.life));
        let Some((protocol, ends, life)) = tcp.chain(udp).min_by_key(|(.., life)| life.last_sign()) else {
            return;
        };
        life.end();
        match protocol {
            Protocol::Tcp => drop(self.tcp.remove(&ends)),
            Protocol::Udp | Protocol::Dns => drop(self.udp.remove(&ends)),
        }
    }

    fn take(&mut self, packet: &[u8]) {
        let Some(incoming) = packet::read(packet) else { return };
        let (Incoming::Tcp { ends, .. } | Incoming::Udp { ends, .. }) = incoming;
        if ![IpAddr::from(SANDBOX_IPV4), SANDBOX_IPV6.into()].contains(&ends.source.ip()) {
            return;
        }
        match incoming {
            Incoming::Tcp { ends, opens, resets } => self.segment(ends, packet, opens, resets),
            Incoming::Udp { ends, payload } if is_resolver(ends.destination) => self.query(ends, payload),
            Incoming::Udp { ends, payload } => self.datagram(ends, packet, payload),
        }
    }

    /// Has a name resolved, by a connection of the host's.
    fn query(&mut self, ends: Ends, payload: &[u8]) {
        let Ok(leave) = Arc::clone(&self.queries).try_acquire_owned() else { return };
        let Some(permit) = self.share.take() else { return };
        let (shared, query) = (Arc::clone(&self.shared), payload.to_vec());
        self.tasks.spawn(async move {
            if let Some(response) = shared.resolve(&query, Way::Datagram).await
                && packet::fits(&response)
            {
                shared.device.send(&packet::datagram(ends.destination, ends.source, &response));
            }
            drop((leave, permit));
            Done::Query
        });
    }

    fn segment(&mut self, ends: Ends, packet: &[u8], opens: bool, resets: bool) {
        if let Some(opened) = self.tcp.get(&ends) {
            match opened.packets.try_send(packet.to_vec()) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => return,
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
        let Shared { device, names, audit, egress } = &*self.shared;
        if !opens {
            if !resets {
                tcp::refuse(ends, packet.to_vec(), device, &egress.clock, &*egress.entropy);
            }
            return;
        }
        let destination = ends.destination.to_string();
        let protocol = Protocol::Tcp;
        let name = if is_resolver(ends.destination) {
            None
        } else {
            match egress.judge(protocol, ends.destination, names) {
                Ok(name) => name,
                Err(reason) => {
                    let verdict = Verdict::Denied;
                    audit.tell(&Line { protocol, destination, name: None, verdict, reason });
                    if let Some(report) = packet::unreachable(packet, Unreachable::Network) {
                        device.send(&report);
                    }
                    return;
                }
            }
        };
        let Some(permit) = self.permit() else {
            // Not refused: the function's system asks again in a moment.
            let (verdict, reason) = (Verdict::Limited, "too many connections");
            audit.tell(&Line { protocol, destination, name: None, verdict, reason });
            return;
        };
        let (sender, packets) = mpsc::channel(PACKETS_WAITING);
        let life = Arc::new(Life::new(egress.clock.now()));
        self.tcp.insert(ends, Opened { packets: sender, life: Arc::clone(&life) });
        let (shared, opening) = (Arc::clone(&self.shared), packet.to_vec());
        self.tasks.spawn(async move {
            shared.connection(ends, name, opening, packets, life).await;
            drop(permit);
            Done::Tcp(ends)
        });
    }

    fn datagram(&mut self, ends: Ends, packet: &[u8], payload: &[u8]) {
        let Shared { device, names, audit, egress } = &*self.shared;
        let now = egress.clock.now();
        if let Some(association) = self.udp.get(&ends)
            && !has_ended(association)
        {
            association.send(payload, device, now);
            return;
        }
        let destination = ends.destination.to_string();
        let protocol = Protocol::Udp;
        let refuse = |verdict, reason: &str, why| {
            let destination = destination.clone();
            audit.tell(&Line { protocol, destination, name: None, verdict, reason });
            if let Some(report) = packet::unreachable(packet, why) {
                device.send(&report);
            }
        };
        let name = match egress.judge(protocol, ends.destination, names) {
            Ok(name) => name,
            Err(reason) => return refuse(Verdict::Denied, reason, Unreachable::Network),
        };
        let Some(permit) = self.permit() else {
            return refuse(Verdict::Limited, "too many connections", Unreachable::Network);
        };
        let association = match Association::open(ends, now) {
            Ok(association) => Arc::new(association),
            Err(error) => return refuse(Verdict::Failed, &error.to_string(), Unreachable::Network),
        };
        association.send(payload, device, now);
        if self.udp.len() >= MOST_ASSOCIATIONS {
            let quietest = self.udp.iter().min_by_key(|(_, association)| association.life.last_sign());
            if let Some(association) = quietest.map(|(ends, _)| *ends).and_then(|ends| self.udp.remove(&ends))
            {
                association.life.end();
            }
        }
        self.udp.insert(ends, Arc::clone(&association));
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let record = Record { shared: &shared, protocol, ends, name, traffic: &association.traffic };
            association.receive(&shared.device, &*shared.egress.clock).await;
            drop((record, permit));
            Done::Udp(ends)
        });
    }

    /// Leave for one more connection.
    fn permit(&self) -> Option<Permit> {
        Some(Permit::new(self.share.take()?, &self.shared.egress))
    }
}

/// Whether nobody receives for it any more: the server has the last reference.
fn has_ended(association: &Arc<Association>) -> bool {
    Arc::strong_count(association) == 1
}

/// One connection of all that there may be, counted while it is held.
struct Permit {
    _permit: connections::Permit,
    egress: Arc<Egress>,
}

impl Permit {
    fn new(permit: connections::Permit, egress: &Arc<Egress>) -> Self {
        egress.metrics.open.inc();
        Self { _permit: permit, egress: Arc::clone(egress) }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.egress.metrics.open.dec();
    }
}

/// A connection that stands, told of when it ends, however that comes about.
struct Record<'a> {
    shared: &'a Shared,
    protocol: Protocol,
    ends: Ends,
    name: Option<String>,
    traffic: &'a Traffic,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if is_resolver(self.ends.destination) {
            return;
        }
        let line = Line {
            protocol: self.protocol,
            destination: self.ends.destination.to_string(),
            name: self.name.as_deref(),
            verdict: Verdict::Allowed,
            reason: "",
        };
        self.shared.audit.tell_with(&line, self.traffic);
    }
}

impl Shared {
    /// The whole of a connection that is permitted.
    async fn connection(
        self: &Arc<Self>,
        ends: Ends,
        name: Option<String>,
        opening: Vec<u8>,
        mut packets: mpsc::Receiver<Vec<u8>>,
        life: Arc<Life>,
    ) {
        let Self { device, egress, .. } = &**self;
        let mut resolving = JoinSet::new();
        let stream: io::Result<Box<dyn Stream>> = if is_resolver(ends.destination) {
            let (near, far) = tokio::io::duplex(64 << 10);
            let shared = Arc::clone(self);
            resolving.spawn(async move { shared.resolve_stream(far).await });
            Ok(Box::new(near))
        } else {
            tokio::select! {
                stream = connect(ends.destination) => stream,
                () = egress.clock.sleep_until(egress.clock.now() + CONNECT_PATIENCE) => {
                    Err(io::ErrorKind::TimedOut.into())
                }
                () = life.must_end() => Err(io::Error::other("given up for another environment's")),
            }
        };
        // What came meanwhile is the opening again.
        while packets.try_recv().is_ok() {}
        let (clock, entropy) = (&egress.clock, &*egress.entropy);
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => return self.not_connected(ends, name.as_deref(), opening, &error),
        };
        let traffic = Traffic::default();
        let record = Record { shared: self, protocol: Protocol::Tcp, ends, name, traffic: &traffic };
        let (device, clock) = (Arc::clone(device), Arc::clone(clock));
        let mut connection = Connection::accept(ends, opening, device, clock, entropy, Arc::clone(&life));
        tokio::select! {
            () = connection.join(stream, &mut packets, &traffic) => {}
            () = life.must_end() => connection.abort(),
        }
        drop(record);
    }

    /// Tells a function what became of its connection, as its own system would.
    fn not_connected(&self, ends: Ends, name: Option<&str>, opening: Vec<u8>, error: &io::Error) {
        let Self { device, audit, egress, .. } = self;
        match error.kind() {
            // The function's own system gives up when it sees fit.
            io::ErrorKind::TimedOut => {}
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                if let Some(report) = packet::unreachable(&opening, Unreachable::Network) {
                    device.send(&report);
                }
            }
            _ => tcp::refuse(ends, opening, device, &egress.clock, &*egress.entropy),
        }
        audit.tell(&Line {
            protocol: Protocol::Tcp,
            destination: ends.destination.to_string(),
            name,
            verdict: Verdict::Failed,
            reason: &error.to_string(),
        });
    }

    /// The response to a query; `None` if it is none.
    async fn resolve(&self, query: &[u8], way: Way) -> Option<Vec<u8>> {
        let question = dns::question(query)?;
        let permitted = self.egress.may_resolve(&question.name);
        if !permitted {
            self.audit.tell(&Line {
                protocol: Protocol::Dns,
                destination: question.name.clone(),
                name: None,
                verdict: Verdict::Denied,
                reason: "not listed",
            });
            return Some(dns::no_such_name(query, &question));
        }
        let response = self.egress.resolver.ask(query, &question, way).await;
        for (address, life) in dns::addresses(&response, &question) {
            self.names.learn(address, &question.name, life, self.egress.clock.now());
        }
        Some(response)
    }

    /// Queries and responses one after the other, each with its length before it.
    async fn resolve_stream(&self, mut stream: DuplexStream) {
        while let Ok(length) = stream.read_u16().await {
            let mut query = vec![0; length.into()];
            if stream.read_exact(&mut query).await.is_err() {
                return;
            }
            let Some(response) = self.resolve(&query, Way::Stream).await else { return };
            let Ok(length) = u16::try_from(response.len()) else { return };
            if stream.write_all(&[&length.to_be_bytes(), &response[..]].concat()).await.is_err() {
                return;
            }
        }
    }
}

async fn connect(destination: SocketAddr) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(destination).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

fn is_resolver(address: SocketAddr) -> bool {
    address == SocketAddr::from((RESOLVER_IPV4, DNS))
}

#[cfg(test)]
mod tests;
