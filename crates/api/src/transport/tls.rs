//! TLS of listeners and of clients, from PEM files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{Accept, TlsAcceptor, TlsConnector, client, server};

/// A certificate chain and its private key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM of the kind that is wanted.
    #[error("{} holds no {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why not.
        #[source]
        source: pem::Error,
    },
    /// The files are sound, but do not go together.
    #[error("the certificates cannot be used")]
    Certificates(#[from] rustls::Error),
    /// The authority cannot vouch for anybody.
    #[error("the certificate authority cannot be used")]
    Authority(#[from] rustls::client::VerifierBuilderError),
}

/// The server's side: who it is, and from whom it wants a certificate in turn.
#[derive(Clone)]
pub struct ServerTls(TlsAcceptor);

impl ServerTls {
    /// Speaks as `identity`, offering `protocols` (ALPN, the preferred first). With `clients`, a file of certificate
    /// authorities, only clients with a certificate of one of those are served.
    pub fn load(identity: &Identity, clients: Option<&Path>, protocols: &[&str]) -> Result<Self, TlsError> {
        let builder = with_ring(ServerConfig::builder_with_provider)?;
        let builder = match clients {
            Some(path) => {
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(authorities(path)?.into(), provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
            None => builder.with_no_client_auth(),
        };
        let (certificates, key) = read(identity)?;
        let mut config = builder.with_single_cert(certificates, key)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Self(Arc::new(config).into()))
    }

    /// Begins to serve `stream`; the handshake is made when it is first read from or written to.
    pub fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> ServerStream<S> {
        ServerStream::Handshake(Box::new(self.0.accept(stream)))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// The client's side: whom it trusts, and who it is.
#[derive(Clone)]
pub struct ClientTls(TlsConnector);

impl ClientTls {
    /// Trusts servers with a certificate of one of the `authorities` (a PEM file), and shows them `identity`.
    pub fn load(authority: &Path, identity: Option<&Identity>, protocols: &[&str]) -> Result<Self, TlsError> {
        Self::trusting(authorities(authority)?, identity, protocols)
    }

    /// The same with certificate authorities at hand.
    pub fn trusting(
        roots: RootCertStore,
        identity: Option<&Identity>,
        protocols: &[&str],
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build()?;
        let builder = with_ring(ClientConfig::builder_with_provider)?.with_webpki_verifier(verifier);
        let mut config = match identity {
            Some(identity) => {
                let (certificates, key) = read(identity)?;
                builder.with_client_auth_cert(certificates, key)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Self(Arc::new(config).into()))
    }

    /// Shakes hands with the server that is to be `host` (a name or an address, without a port).
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<client::TlsStream<S>> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.0.connect(name, stream).await
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

/// An accepted connection: plain, or inside TLS, whose handshake is part of the first read or write, so that a slow
/// one holds up nobody who waits to be accepted.
pub enum ServerStream<S> {
    /// Without TLS.
    Plain(S),
    /// TLS, not agreed upon yet.
    Handshake(Box<Accept<S>>),
    /// TLS.
    Tls(Box<server::TlsStream<S>>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> ServerStream<S> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Duplex>>> {
        if let Self::Handshake(accept) = self {
            let stream = ready!(Pin::new(&mut **accept).poll(cx))?;
            *self = Self::Tls(Box::new(stream));
        }
        match self {
            Self::Plain(stream) => Poll::Ready(Ok(Pin::new(stream))),
            Self::Tls(stream) => Poll::Ready(Ok(Pin::new(&mut **stream))),
            Self::Handshake(_) => Poll::Pending,
        }
    }
}

/// What can be read from and written to.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ServerStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_ready(cx))?.poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ServerStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_ready(cx))?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_ready(cx))?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Handshake(_) => false,
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_ready(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // There is nothing to say goodbye to.
            Self::Handshake(_) => Poll::Ready(Ok(())),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

/// The cryptography is named, not found: another crate's choice of features would make the default ambiguous.
fn with_ring<C: rustls::ConfigSide>(
    builder: impl FnOnce(Arc<rustls::crypto::CryptoProvider>) -> ConfigBuilder<C, rustls::WantsVersions>,
) -> Result<ConfigBuilder<C, WantsVerifier>, rustls::Error> {
    builder(Arc::new(rustls::crypto::ring::default_provider())).with_safe_default_protocol_versions()
}

fn read(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(file(&identity.key, "private key"))?;
    Ok((certificates(&identity.certificate)?, key))
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(file(path, "certificate")(pem::Error::NoItemsFound)),
        found => found.map_err(file(path, "certificate")),
    }
}

fn file(path: &Path, what: &'static str) -> impl FnOnce(pem::Error) -> TlsError {
    move |source| TlsError::File { path: path.to_owned(), what, source }
}
