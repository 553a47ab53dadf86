//! How roles in different processes reach each other: a Unix socket on one machine, TCP between machines.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Uri};

/// Where a peer listens: `unix:/path/to/socket` or `tcp:host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// A socket in a directory that only Lambfold's own user can enter: who reaches it is a peer.
    Unix(PathBuf),
    /// A network address: peers prove themselves by the cluster token.
    Tcp(String),
}

/// The text is no peer address.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0:?} is no peer address: write unix:/path/to/socket or tcp:host:port")]
pub struct ParsePeerAddressError(String);

impl FromStr for PeerAddress {
    type Err = ParsePeerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) if address.contains(':') => Ok(Self::Tcp(address.to_owned())),
            _ => Err(ParsePeerAddressError(text.to_owned())),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// A channel to `address` that connects when it is first used, and again after a loss.
pub fn connect(address: &PeerAddress) -> Channel {
    // The URI only fills the `:authority` header; the connector knows where to go.
    let endpoint = Endpoint::from_static("http://lambfold.internal")
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .tcp_nodelay(true);
    let address = address.clone();
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let address = address.clone();
        async move {
            let stream = match address {
                PeerAddress::Unix(path) => PeerStream::Unix(UnixStream::connect(path).await?),
                PeerAddress::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    PeerStream::Tcp(stream)
                }
            };
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    }))
}

/// A bound peer listener.
#[derive(Debug)]
pub enum PeerListener {
    /// On a Unix socket.
    Unix(UnixListener),
    /// On TCP.
    Tcp(TcpListener),
}

impl PeerListener {
    /// Binds `address`. A socket file that a killed process left is replaced: the caller holds the lock of the
    /// directory it lies in.
    pub async fn bind(address: &PeerAddress) -> std::io::Result<Self> {
        match address {
            PeerAddress::Unix(path) => {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                UnixListener::bind(path).map(Self::Unix)
            }
            PeerAddress::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
        }
    }

    /// The connections, for a tonic server. A failed accept is skipped: it concerns one connection only.
    pub fn incoming(self) -> impl Stream<Item = std::io::Result<PeerStream>> + Send {
        stream::unfold(self, |listener| async move {
            let accepted = match &listener {
                Self::Unix(listener) => listener.accept().await.map(|(stream, _)| PeerStream::Unix(stream)),
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    // Without it small frames wait for each other; a socket that refuses will show it when used.
                    let _ = stream.set_nodelay(true);
                    PeerStream::Tcp(stream)
                }),
            };
            Some((accepted, listener))
        })
    }
}

/// A connection between peers.
#[derive(Debug)]
pub enum PeerStream {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
}

impl Connected for PeerStream {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for PeerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PeerAddress;

    #[test]
    fn addresses_read_as_they_are_written() {
        for text in ["unix:/run/lambfold/queue.sock", "tcp:queue.internal:4570", "tcp:[::1]:4570"] {
            assert_eq!(text.parse::<PeerAddress>().unwrap().to_string(), text);
        }
        for wrong in ["", "unix:relative", "tcp:", "http://x:1", "queue:4570"] {
            assert!(wrong.parse::<PeerAddress>().is_err(), "{wrong}");
        }
    }
}
