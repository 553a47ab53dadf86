//! Connections of an environment carried on between its network namespace and this machine: its way out to Lambfold itself, and a
//! developer's way in to its debugger.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lambfold_sandbox::SandboxNetwork;
use lambfold_types::{Clock, Timestamp};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections of one environment at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// After a failed accept: the process is out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How long what is to listen inside may take to do so, once somebody has connected.
const INSIDE_PATIENCE: Duration = Duration::from_secs(10);
/// How often that is tried.
const INSIDE_PAUSE: Duration = Duration::from_millis(50);

/// Where connections lead.
#[derive(Clone)]
pub(crate) enum Target {
    /// `host:port` of this machine or another.
    Outside(String),
    /// A port in the environment, where something listens or soon will.
    Inside(Arc<dyn SandboxNetwork>, u16),
}

/// Passes bytes on until it is dropped.
pub(crate) struct Relay {
    open: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Relay {
    /// Joins what connects to `listener` to `target`.
    pub(crate) fn start(listener: TcpListener, target: Target, clock: Arc<dyn Clock>) -> Self {
        let open = Arc::new(AtomicUsize::new(0));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, target, Arc::clone(&open), clock));
        Self { open, _server: server }
    }

    /// Whether anybody is connected.
    pub(crate) fn is_used(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }
}

/// Counted while it exists.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, target: Target, open: Arc<AtomicUsize>, clock: Arc<dyn Clock>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let Ok((near, _)) = listener.accept().await else {
            clock.sleep_until(clock.now() + ACCEPT_PAUSE).await;
            continue;
        };
        let (target, clock, open) = (target.clone(), Arc::clone(&clock), Open::new(&open));
        connections.spawn(async move {
            let _open = open;
            if let Err(error) = pipe(near, &target, &*clock).await {
                tracing::debug!(%error, %target, "a connection of an environment ended");
            }
        });
    }
}

async fn pipe(mut near: TcpStream, target: &Target, clock: &dyn Clock) -> io::Result<()> {
    let mut far = match target {
        Target::Outside(address) => TcpStream::connect(address).await?,
        Target::Inside(network, port) => {
            inside(&**network, *port, clock.now() + INSIDE_PATIENCE, clock).await?
        }
    };
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

async fn inside(
    network: &dyn SandboxNetwork,
    port: u16,
    until: Timestamp,
    clock: &dyn Clock,
) -> io::Result<TcpStream> {
    loop {
        match network.connect(port).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && clock.now() < until => {
                clock.sleep_until(clock.now() + INSIDE_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Outside(address) => f.write_str(address),
            Self::Inside(_, port) => write!(f, "port {port} inside"),
        }
    }
}

#[cfg(test)]
mod tests {
    use lambfold_clock::SystemClock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// This machine's own network in place of a sandbox's.
    struct Host;

    #[async_trait::async_trait]
    impl SandboxNetwork for Host {
        async fn connect(&self, port: u16) -> io::Result<TcpStream> {
            TcpStream::connect(("127.0.0.1", port)).await
        }
    }

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// A relay to `port` inside, and its own.
    async fn relay(port: u16) -> (Relay, u16) {
        let (near, own) = listener().await;
        (Relay::start(near, Target::Inside(Arc::new(Host), port), Arc::new(SystemClock::new())), own)
    }

    #[tokio::test]
    async fn who_comes_before_something_listens_inside_is_let_through_when_it_does() {
        // A port that was free a moment ago.
        let (reserved, inside) = listener().await;
        drop(reserved);
        let (relay, port) = relay(inside).await;
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        client.write_all(b"early").await.unwrap();
        let mut byte = [0; 1];
        let clock = SystemClock::new();
        tokio::select! {
            read = client.read(&mut byte) => panic!("it was not kept: {read:?}"),
            () = clock.sleep_until(clock.now() + INSIDE_PAUSE * 3) => {}
        }
        let late = TcpListener::bind(("127.0.0.1", inside)).await.unwrap();
        let (mut server, _) = late.accept().await.unwrap();
        let mut heard = [0; 5];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"early");
        server.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        assert!(relay.is_used());
        drop((client, server));
        while relay.is_used() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn nobody_is_left_when_it_ends() {
        let (server, inside) = listener().await;
        let (relay, port) = relay(inside).await;
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (_inside, _) = server.accept().await.unwrap();
        drop(relay);
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
        // Its port is free, although connections to it were open.
        let clock = SystemClock::new();
        let until = clock.now() + Duration::from_secs(5);
        while let Err(error) = TcpListener::bind(("127.0.0.1", port)).await {
            assert!(clock.now() < until, "{error}");
            clock.sleep_until(clock.now() + ACCEPT_PAUSE).await;
        }
    }
}
