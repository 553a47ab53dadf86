//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use lambfold_benches::Options as BenchOptions;
use lambfold_config::{Config, Flags};
use lambfold_node::Role;

/// AWS Lambda and Amazon SQS that a team runs itself.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every role in this process (the default).
    Up(Settings),
    /// Run some roles in this process; the others are its peers.
    Serve {
        /// gateway, control, dispatcher, queue, poller, worker, logs: separated by commas.
        #[arg(long, env = "LAMBFOLD_ROLES", value_delimiter = ',', required = true)]
        roles: Vec<Role>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Print the settings in force.
    Config {
        /// Print the commented defaults instead.
        #[arg(long)]
        default: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Bring the databases of a data directory to this version's schema.
    Migrate(Settings),
    /// Ask a running Lambfold whether it is ready.
    Healthcheck {
        /// Where it listens: host:port.
        #[arg(long, default_value = "127.0.0.1:4566")]
        endpoint: String,
    },
    /// Show what a function logged.
    Logs(LogsOptions),
    /// Show the main path: a message goes in, a function runs, the message is gone.
    Demo {
        /// A running Lambfold (host:port); without it the demo starts one on a temporary directory.
        #[arg(long)]
        endpoint: Option<String>,
    },
    /// Measure a running Lambfold, or one that this starts beside the bare durable reference.
    Bench(BenchOptions),
    #[command(hide = true)]
    Spawner,
}

impl Default for Command {
    fn default() -> Self {
        Self::Up(Settings::default())
    }
}

/// Whose log, and how much of it.
#[derive(Debug, Args)]
pub(crate) struct LogsOptions {
    /// The function's name.
    pub(crate) function: String,
    /// Go on showing what comes.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// How far back to begin: 30s, 10m, 2h or 1d.
    #[arg(long, default_value = "10m")]
    pub(crate) since: String,
    /// Only what matches a filter pattern of CloudWatch Logs.
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// A running Lambfold: host:port or a URL.
    #[arg(long, default_value = "127.0.0.1:4566")]
    pub(crate) endpoint: String,
    /// The function's region.
    #[arg(long, env = "AWS_REGION", default_value_t = default_region())]
    pub(crate) region: String,
    /// The function's account.
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide_env_values = true, default_value = "000000000000")]
    pub(crate) account: String,
}

/// The other variable by which AWS's tools know it.
fn default_region() -> String {
    std::env::var("AWS_DEFAULT_REGION")
        .ok()
        .filter(|region| !region.is_empty())
        .unwrap_or_else(|| "us-east-1".to_owned())
}

/// What may be set on the command line; everything can be set in a file or the environment.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Settings {
    /// A TOML file of settings.
    #[arg(long, env = "LAMBFOLD_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything that must last is kept [env: LAMBFOLD_DATA_DIR] [default: lambfold-data].
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where AWS clients connect [env: LAMBFOLD_LISTEN] [default: 127.0.0.1:4566].
    #[arg(long)]
    pub(crate) listen: Option<String>,
    /// Where gRPC clients connect [env: LAMBFOLD_GRPC_LISTEN] [default: 127.0.0.1:4567].
    #[arg(long)]
    pub(crate) grpc_listen: Option<String>,
    /// text or json [env: LAMBFOLD_LOG_FORMAT] [default: text].
    #[arg(long)]
    pub(crate) log_format: Option<String>,
    /// Where traces go over OTLP/gRPC [env: LAMBFOLD_OTLP_ENDPOINT] [default: nowhere].
    #[arg(long)]
    pub(crate) otlp_endpoint: Option<String>,
    /// Turn on what AWS does and a laptop user would rather not have [env: LAMBFOLD_STRICT].
    #[arg(long)]
    pub(crate) strict: bool,
}

impl Settings {
    /// All layers, with these flags on top.
    pub(crate) fn load(&self) -> Result<Config, lambfold_config::Error> {
        let mut flags = Flags::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                flags.insert(key.to_owned(), value.into());
            }
        };
        put("data_dir", self.data_dir.as_ref().map(|path| path.display().to_string()));
        put("listen", self.listen.clone());
        put("grpc_listen", self.grpc_listen.clone());
        put("log_format", self.log_format.clone());
        put("otlp_endpoint", self.otlp_endpoint.clone());
        if self.strict {
            flags.insert("strict".to_owned(), true.into());
        }
        Config::load(self.config.as_deref(), flags)
    }
}
