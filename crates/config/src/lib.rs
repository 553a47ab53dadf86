//! Configuration: the commented defaults, then a file, then the environment, then flags. Validated once, here;
//! unknown keys are errors. The only place that reads `LAMBFOLD_…` variables.

mod control;
mod dispatcher;
mod environment;
mod gateway;
mod logs;
mod peers;
mod poller;
mod queue;
mod tls;
mod worker;

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

pub use control::Control;
pub use dispatcher::Dispatcher;
pub use gateway::Gateway;
pub use logs::Logs;
pub use peers::Peers;
pub use poller::Poller;
pub use queue::Queue;
pub use tls::{GatewayTls, PeersTls};
pub use worker::Worker;

/// The defaults, with a comment on each: `lambfold config --default` prints them.
pub const DEFAULTS: &str = include_str!("default.toml");

/// Everything that can be set. What each key means, its unit and its default stand in [`DEFAULTS`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything that must last is kept.
    pub data_dir: PathBuf,
    /// Where packages of functions are kept; empty for a folder of the data directory.
    pub packages_dir: PathBuf,
    /// Where AWS clients connect.
    pub listen: String,
    /// Where gRPC clients connect.
    pub grpc_listen: String,
    /// Whether AWS's unwelcome rules hold.
    pub strict: bool,
    /// How long a graceful stop may take.
    pub stop_within_seconds: u64,
    /// How log lines look: `text` or `json`.
    pub log_format: String,
    /// Which events are logged.
    pub log_filter: String,
    /// Where traces go; nowhere if empty.
    pub otlp_endpoint: String,
    /// The HTTP edge.
    pub gateway: Gateway,
    /// The queue service.
    pub queue: Queue,
    /// The control plane.
    pub control: Control,
    /// The data plane of invoke.
    pub dispatcher: Dispatcher,
    /// Event source mappings.
    pub poller: Poller,
    /// Execution environments.
    pub worker: Worker,
    /// CloudWatch Logs.
    pub logs: Logs,
    /// The other processes.
    pub peers: Peers,
}

/// Why the configuration cannot be used: the key, what was found and what is wanted.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is wrong: {0}")]
pub struct Error(Box<figment::Error>);

/// What was given on the command line: only the keys that were.
pub type Flags = figment::value::Dict;

impl Config {
    /// The defaults alone; what tests start from.
    pub fn defaults() -> Self {
        Figment::from(Toml::string(DEFAULTS)).extract().expect("a test reads the defaults")
    }

    /// Reads `file` if one is named, then the environment, then `flags`.
    pub fn load(file: Option<&Path>, flags: Flags) -> Result<Self, Error> {
        let mut layers = Figment::from(Toml::string(DEFAULTS));
        if let Some(file) = file {
            layers = layers.merge(Toml::file_exact(file));
        }
        layers
            .merge(environment::Environment::of(std::env::vars_os()))
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| Error(Box::new(error)))
    }

    /// The values in force as TOML, with secrets hidden.
    pub fn dump(&self) -> String {
        let mut shown = self.clone();
        if !shown.peers.cluster_token.is_empty() {
            "(hidden)".clone_into(&mut shown.peers.cluster_token);
        }
        if !shown.queue.database.is_empty() {
            "(hidden)".clone_into(&mut shown.queue.database);
        }
        toml::to_string(&shown).expect("plain values become TOML")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_complete() {
        let config = Config::defaults();
        assert_eq!(config.listen, "127.0.0.1:4566");
        assert!(!config.strict);
    }

    #[test]
    fn flags_beat_the_defaults_and_unknown_keys_are_refused() {
        let flags = Flags::from([("listen".to_owned(), "127.0.0.1:0".into())]);
        assert_eq!(Config::load(None, flags).unwrap().listen, "127.0.0.1:0");
        let flags = Flags::from([("lisetn".to_owned(), "127.0.0.1:0".into())]);
        let error = Config::load(None, flags).unwrap_err().to_string();
        assert!(error.contains("lisetn"), "{error}");
    }

    #[test]
    fn a_dump_hides_secrets() {
        let mut config = Config::defaults();
        config.peers.cluster_token = "secret".into();
        config.queue.database = "postgres://lambfold:secret@database/lambfold".into();
        assert!(!config.dump().contains("secret"));
        assert!(config.dump().contains("body_cache_mib = 12"));
    }
}
