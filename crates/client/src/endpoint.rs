//! Where an AWS endpoint is, and whether it speaks TLS.

use std::fmt;
use std::io;
use std::sync::OnceLock;

use lambfold_api::transport::ClientTls;
use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// `host:port`, `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    secure: bool,
    authority: String,
}

impl Endpoint {
    /// `host:port`
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Opens a connection to it, inside TLS if it is `https`.
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let (host, port) = match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (self.authority.as_str(), Some(if self.secure { 443 } else { 80 })),
        };
        let port =
            port.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the port is no number"))?;
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        stream.set_nodelay(true)?;
        if self.secure { Ok(Box::new(trust()?.connect(host, stream).await?)) } else { Ok(Box::new(stream)) }
    }
}

/// A connection, whatever it runs over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The certificate authorities of the system, or of the file that `SSL_CERT_FILE` names.
fn trust() -> io::Result<ClientTls> {
    static TRUST: OnceLock<ClientTls> = OnceLock::new();
    if let Some(tls) = TRUST.get() {
        return Ok(tls.clone());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientTls::trusting(roots, None, &["http/1.1"]).map_err(io::Error::other)?;
    Ok(TRUST.get_or_init(|| tls).clone())
}

impl From<&str> for Endpoint {
    fn from(text: &str) -> Self {
        let (secure, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.eq_ignore_ascii_case("https"), rest),
            None => (false, text),
        };
        Self { secure, authority: rest.trim_end_matches('/').to_owned() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn the_scheme_may_be_left_out() {
        for (text, shown) in [
            ("127.0.0.1:4566", "http://127.0.0.1:4566"),
            ("http://127.0.0.1:4566/", "http://127.0.0.1:4566"),
            ("https://lambfold.example", "https://lambfold.example"),
        ] {
            assert_eq!(Endpoint::from(text).to_string(), shown);
        }
    }
}
