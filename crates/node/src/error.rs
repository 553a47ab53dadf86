//! Why a node cannot start; each text says what to do.

use lambfold_api::transport::{ParsePeerAddressError, TlsError};

use crate::DirectoryError;

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory is taken or unusable.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({setting}): {reason}")]
    Listen {
        /// The setting that named it.
        setting: &'static str,
        /// The address.
        address: String,
        /// In words.
        reason: String,
    },
    /// A role runs elsewhere, but nobody said where.
    #[error("this process needs peers.{0}: run that role here too, or say where it runs")]
    PeerMissing(&'static str),
    /// An address in `[peers]` does not parse.
    #[error(transparent)]
    PeerAddress(#[from] ParsePeerAddressError),
    /// Peers on TCP that could not tell a peer from a stranger, or a token that cannot be sent.
    #[error("peers on tcp: addresses need [peers.tls] or peers.cluster_token, a text of visible ASCII")]
    ClusterToken,
    /// TLS cannot be set up.
    #[error("cannot use the files of {0}")]
    Tls(&'static str, #[source] TlsError),
    /// A setting has a value that its part does not take.
    #[error("the setting {0}: {1}")]
    Setting(&'static str, String),
    /// A part of this node cannot start.
    #[error("the {part} cannot start")]
    Part {
        /// Which.
        part: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StartError {
    /// Blames `part`.
    pub(crate) fn part<E>(part: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::Part { part, source: source.into() }
    }

    /// Words what the system said about an address.
    pub(crate) fn listen(setting: &'static str, address: &str, error: &std::io::Error) -> Self {
        let reason = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "the address is in use by another process; stop that one, or choose another address"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        Self::Listen { setting, address: address.to_owned(), reason }
    }
}
