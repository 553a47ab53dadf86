//! TLS of listeners and clients: PEM files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// TLS of the public listeners. Off while both files are empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayTls {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Whose plain connections are taken nevertheless.
    pub plain: String,
}

/// TLS between peers on TCP. Off while all files are empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersTls {
    /// This process's certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities whose certificates peers must have.
    pub authority: PathBuf,
}
