//! `LAMBFOLD_…` variables: each is read as what its setting is, and not as what it looks like, so that `12345` can be a token and
//! `1` a truth value. An empty one is none, as Compose passes what is not set.

use std::ffi::OsString;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use crate::DEFAULTS;

const PREFIX: &str = "LAMBFOLD_";
/// Between the parts of a key.
const SEPARATOR: &str = "__";
/// The command line's own.
const OF_THE_COMMAND_LINE: [&str; 2] = ["config", "roles"];

/// The settings among the variables of a process.
pub(crate) struct Environment(Vec<(String, OsString)>);

impl Environment {
    pub(crate) fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let own = variables.filter_map(|(name, value)| {
            let key = name.to_str()?.strip_prefix(PREFIX)?.to_ascii_lowercase();
            (!OF_THE_COMMAND_LINE.contains(&key.as_str())
                && !is_of_kubernetes(&key, &value.to_string_lossy())
                && !value.is_empty())
            .then_some((key, value))
        });
        Self(own.collect())
    }
}

/// What Kubernetes sets in every pod of a namespace that has a Service named `lambfold` or `lambfold-…`.
fn is_of_kubernetes(key: &str, value: &str) -> bool {
    let key = format!("_{key}");
    let numbered = |(_, rest): (&str, &str)| rest.starts_with(|first: char| first.is_ascii_digit());
    key.ends_with("_service_host")
        || key.ends_with("_service_port")
        || key.contains("_service_port_")
        || key.ends_with("_port") && value.contains("://")
        || key.split_once("_port_").is_some_and(numbered)
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("`LAMBFOLD_` environment variable(s)")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let defaults = Toml::string(DEFAULTS).data()?.remove(&Profile::Default).unwrap_or_default();
        let mut settings = Dict::new();
        for (key, text) in &self.0 {
            let text = text.to_str().ok_or_else(|| format!("the value of {key} is not UTF-8"))?;
            let path: Vec<&str> = key.split(SEPARATOR).collect();
            put(&mut settings, &path, value(default_of(&defaults, &path), text));
        }
        Ok(Profile::Default.collect(settings))
    }
}

fn default_of<'a>(table: &'a Dict, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    match (table.get(*first)?, rest) {
        (Value::Dict(_, inner), [_, ..]) => default_of(inner, rest),
        (value, []) => Some(value),
        _ => None,
    }
}

/// `text` as a value of the kind that `default` is; what is of no use as that is told apart later.
fn value(default: Option<&Value>, text: &str) -> Value {
    let by_its_looks = || text.parse().unwrap_or_else(|never| match never {});
    match default {
        Some(Value::String(..)) => Value::from(text),
        Some(Value::Bool(..)) => match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Value::from(true),
            "0" | "false" | "no" | "off" => Value::from(false),
            _ => Value::from(text),
        },
        // `[2001:db8::1]:53` is an item.
        Some(Value::Array(..)) if !(text.starts_with('[') && text.ends_with(']')) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::from(items.map(str::to_owned).collect::<Vec<_>>())
        }
        _ => by_its_looks(),
    }
}

fn put(settings: &mut Dict, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        settings.insert((*first).to_owned(), value);
        return;
    }
    let inner = settings.entry((*first).to_owned()).or_insert_with(|| Value::from(Dict::new()));
    if let Value::Dict(_, inner) = inner {
        put(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use figment::Figment;

    use super::*;
    use crate::Config;

    fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let layers = Figment::from(Toml::string(DEFAULTS)).merge(Environment::of(variables));
        layers.extract().map_err(|error| error.to_string())
    }

    #[test]
    fn a_variable_is_of_its_settings_kind() {
        let config = read(&[
            ("LAMBFOLD_DATA_DIR", "123"),
            ("LAMBFOLD_PEERS__CLUSTER_TOKEN", "true"),
            ("LAMBFOLD_STRICT", "1"),
            ("LAMBFOLD_WORKER__IDLE_SECONDS", "7"),
            ("LAMBFOLD_WORKER__ALLOW", "[2001:db8::/32]:443, a.example.com:443,"),
            ("LAMBFOLD_PEERS__WORKERS", "[unix:a,unix:b]"),
            ("OTHER", "1"),
        ])
        .unwrap();
        assert_eq!(config.data_dir, std::path::Path::new("123"));
        assert_eq!((&*config.peers.cluster_token, config.strict), ("true", true));
        assert_eq!(config.worker.idle_seconds, 7);
        assert_eq!(config.worker.allow, ["[2001:db8::/32]:443", "a.example.com:443"]);
        assert_eq!(config.peers.workers, ["unix:a", "unix:b"]);
    }

    #[test]
    fn what_is_no_setting_is_refused_but_for_what_others_set() {
        let found = |name: &str, value: &str| read(&[(name, value)]).unwrap_err();
        assert!(found("LAMBFOLD_LISETN", "x").contains("lisetn"));
        assert!(found("LAMBFOLD_PORT", "4570").contains("port"));
        let garbled = [(OsString::from("LAMBFOLD_DATA_DIR"), OsString::from_vec(vec![0xff]))];
        let error = Figment::from(Environment::of(garbled.into_iter())).extract::<Config>().unwrap_err();
        assert!(error.to_string().contains("data_dir is not UTF-8"), "{error}");
        assert!(found("LAMBFOLD_STRICT", "perhaps").contains("expected a boolean"));
        assert!(found("LAMBFOLD_WORKER__IDLE_SECONDS", "long").contains("worker.idle_seconds"));
        let config = read(&[
            ("LAMBFOLD_PORT", "tcp://10.0.0.1:4566"),
            ("LAMBFOLD_PORT_4566_TCP_ADDR", "10.0.0.1"),
            ("LAMBFOLD_SERVICE_HOST", "10.0.0.1"),
            ("LAMBFOLD_SERVICE_PORT_HTTP", "4566"),
            ("LAMBFOLD_WORKER_SERVICE_HOST", "10.0.0.2"),
            ("LAMBFOLD_GATEWAY_PORT", "tcp://10.0.0.3:80"),
            ("LAMBFOLD_CONFIG", "lambfold.toml"),
            ("LAMBFOLD_DATA_DIR", ""),
            ("LAMBFOLD_STRICT", ""),
        ])
        .unwrap();
        assert_eq!((config.data_dir, config.strict), (Config::defaults().data_dir, false));
    }
}
