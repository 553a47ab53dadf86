//! How roles in different processes reach each other: a Unix socket on one machine, TCP between machines.

mod tls;

use std::fmt;
use std::io;
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

use tls::Duplex;
pub use tls::{ClientTls, Identity, ServerStream, ServerTls, TlsError};

/// Where a peer listens: `unix:/path/to/socket` or `tcp:host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// A socket in a directory that only Lambfold's own user can enter: who reaches it is a peer.
    Unix(PathBuf),
    /// A network address: peers prove themselves by a certificate of the cluster's authority, or by its token.
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

/// A channel to `address` that connects when it is first used, and again after a loss. Over TCP inside `tls`, if given.
pub fn connect(address: &PeerAddress, tls: Option<ClientTls>) -> Channel {
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
        let (address, tls) = (address.clone(), tls.clone());
        async move { Ok::<_, io::Error>(TokioIo::new(open(&address, tls).await?)) }
    }))
}

async fn open(address: &PeerAddress, tls: Option<ClientTls>) -> io::Result<Box<dyn Duplex + Send>> {
    let stream = match address {
        PeerAddress::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        PeerAddress::Tcp(address) => TcpStream::connect(address).await?,
    };
    stream.set_nodelay(true)?;
    match (tls, address) {
        (Some(tls), PeerAddress::Tcp(address)) => {
            let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
            Ok(Box::new(tls.connect(host, stream).await?))
        }
        _ => Ok(Box::new(stream)),
    }
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
    pub async fn bind(address: &PeerAddress) -> io::Result<Self> {
        match address {
            PeerAddress::Unix(path) => {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                UnixListener::bind(path).map(Self::Unix)
            }
            PeerAddress::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
        }
    }

    /// The connections, for a tonic server; those over TCP inside `tls`, if given. A failed accept is skipped: it
    /// concerns one connection only.
    pub fn incoming(self, tls: Option<ServerTls>) -> impl Stream<Item = io::Result<PeerStream>> + Send {
        stream::unfold((self, tls), |(listener, tls)| async move {
            let accepted = match &listener {
                Self::Unix(listener) => listener.accept().await.map(|(stream, _)| PeerStream::Unix(stream)),
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    // Without it small frames wait for each other; a socket that refuses will show it when used.
                    let _ = stream.set_nodelay(true);
                    PeerStream::Tcp(match &tls {
                        Some(tls) => tls.accept(stream),
                        None => ServerStream::Plain(stream),
                    })
                }),
            };
            Some((accepted, (listener, tls)))
        })
    }
}

/// A connection that a peer made.
pub enum PeerStream {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(ServerStream<TcpStream>),
}

impl PeerStream {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut dyn Duplex> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream),
            Self::Tcp(stream) => Pin::new(stream),
        }
    }
}

impl Connected for PeerStream {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for PeerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures_util::StreamExt;
    use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{ClientTls, Identity, PeerAddress, PeerListener, ServerTls, open};

    /// An authority, and a peer for `localhost` that it vouches for.
    fn cluster(directory: &Path, name: &str) -> (std::path::PathBuf, Identity) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let file = |what: &str, text: String| {
            let path = directory.join(format!("{name}-{what}.pem"));
            std::fs::write(&path, text).unwrap();
            path
        };
        let identity =
            Identity { certificate: file("cert", certificate.pem()), key: file("key", key.serialize_pem()) };
        (file("authority", authority.pem()), identity)
    }

    #[tokio::test]
    async fn peers_on_tcp_want_a_certificate_of_their_own_authority() {
        let directory = tempfile::tempdir().unwrap();
        let (authority, peer) = cluster(directory.path(), "ours");
        let (strange_authority, stranger) = cluster(directory.path(), "theirs");
        let server = ServerTls::load(&peer, Some(&authority), &["h2"]).unwrap();
        let listener = PeerListener::bind(&PeerAddress::Tcp("localhost:0".to_owned())).await.unwrap();
        let PeerListener::Tcp(bound) = &listener else { panic!("it is TCP") };
        let port = bound.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut incoming = Box::pin(listener.incoming(Some(server)));
            while let Some(stream) = incoming.next().await {
                let mut stream = stream.unwrap();
                let mut word = [0; 4];
                if stream.read_exact(&mut word).await.is_ok() {
                    stream.write_all(b"pong").await.unwrap();
                }
            }
        });
        let address = PeerAddress::Tcp(format!("localhost:{port}"));
        let ping = async |tls: Option<ClientTls>| -> std::io::Result<String> {
            let mut stream = open(&address, tls).await?;
            stream.write_all(b"ping").await?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let ours = ClientTls::load(&authority, Some(&peer), &["h2"]).unwrap();
        assert_eq!(ping(Some(ours)).await.unwrap_or_default(), "pong");
        for (why, authority, identity) in [
            ("no certificate", &authority, None),
            ("another authority's certificate", &authority, Some(&stranger)),
            ("a server of another authority", &strange_authority, Some(&peer)),
        ] {
            let tls = ClientTls::load(authority, identity, &["h2"]).unwrap();
            assert_ne!(ping(Some(tls)).await.unwrap_or_default(), "pong", "{why}");
        }
        assert_ne!(ping(None).await.unwrap_or_default(), "pong", "no TLS at all");
    }

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
