//! TLS as the configuration wants it.

use std::path::{Path, PathBuf};

use lambfold_api::transport::{ClientTls, Identity, ServerTls};
use lambfold_config::{GatewayTls, PeersTls};
use lambfold_gateway::{PlainFrom, Tls};

use crate::StartError;

/// What gRPC negotiates.
const HTTP2: &[&str] = &["h2"];
/// What AWS clients and gRPC clients negotiate.
const HTTP: &[&str] = &["h2", "http/1.1"];

/// TLS of the public listeners, if it is on.
pub(crate) fn public(config: &GatewayTls) -> Result<Option<Tls>, StartError> {
    let Some(identity) = identity("gateway.tls", &config.certificate, &config.key)? else { return Ok(None) };
    let plain = match config.plain.as_str() {
        "nobody" => PlainFrom::Nobody,
        "loopback" => PlainFrom::Loopback,
        "everybody" => PlainFrom::Everybody,
        other => {
            let text = format!("use nobody, loopback or everybody, not {other:?}");
            return Err(StartError::Setting("gateway.tls.plain", text));
        }
    };
    let server =
        ServerTls::load(&identity, None, HTTP).map_err(|error| StartError::Tls("gateway.tls", error))?;
    Ok(Some(Tls { server, plain }))
}

/// Mutual TLS between peers: the listener's side and the callers'.
#[derive(Clone)]
pub(crate) struct Mutual {
    pub(crate) server: ServerTls,
    pub(crate) client: ClientTls,
}

/// TLS between peers, if it is on.
pub(crate) fn peers(config: &PeersTls) -> Result<Option<Mutual>, StartError> {
    let Some(identity) = identity("peers.tls", &config.certificate, &config.key)? else { return Ok(None) };
    if is_empty(&config.authority) {
        return Err(StartError::Setting("peers.tls.authority", "is needed beside a certificate".into()));
    }
    let tls = |error| StartError::Tls("peers.tls", error);
    Ok(Some(Mutual {
        server: ServerTls::load(&identity, Some(&config.authority), HTTP2).map_err(tls)?,
        client: ClientTls::load(&config.authority, Some(&identity), HTTP2).map_err(tls)?,
    }))
}

fn identity(section: &'static str, certificate: &Path, key: &Path) -> Result<Option<Identity>, StartError> {
    match (is_empty(certificate), is_empty(key)) {
        (true, true) => Ok(None),
        (false, false) => {
            Ok(Some(Identity { certificate: PathBuf::from(certificate), key: PathBuf::from(key) }))
        }
        _ => Err(StartError::Setting(section, "certificate and key go together".into())),
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}
