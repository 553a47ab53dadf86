//! The way out of an environment to Lambfold itself: a listener inside its network namespace, piped to the gateway.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use lambfold_types::Clock;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections of one environment at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// After a failed accept: the process is out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Passes bytes on until it is dropped.
pub(crate) struct Relay {
    _server: JoinSet<()>,
}

impl Relay {
    /// Joins what connects to `listener` to `target` (`host:port`).
    pub(crate) fn start(listener: StdListener, target: String, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listener = TcpListener::from_std(listener)?;
        let mut server = JoinSet::new();
        server.spawn(accept(listener, target, clock));
        Ok(Self { _server: server })
    }
}

async fn accept(listener: TcpListener, target: String, clock: Arc<dyn Clock>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let Ok((inside, _)) = listener.accept().await else {
            clock.sleep_until(clock.now() + ACCEPT_PAUSE).await;
            continue;
        };
        let target = target.clone();
        connections.spawn(async move {
            if let Err(error) = pipe(inside, &target).await {
                tracing::debug!(%error, %target, "a function's connection to Lambfold ended");
            }
        });
    }
}

async fn pipe(mut inside: TcpStream, target: &str) -> io::Result<()> {
    let mut outside = TcpStream::connect(target).await?;
    inside.set_nodelay(true)?;
    outside.set_nodelay(true)?;
    copy_bidirectional(&mut inside, &mut outside).await?;
    Ok(())
}
