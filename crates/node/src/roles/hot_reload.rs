//! Which directories functions may be reloaded from, which control and workers must know alike.

use std::net::SocketAddr;
use std::path::PathBuf;

use lambfold_config::Config;
use lambfold_package::HotReload;

use crate::StartError;

/// What `worker.hot_reload` says.
pub(super) fn rules(config: &Config) -> Result<HotReload, StartError> {
    let mut rules = HotReload::default();
    if config.strict {
        return Ok(rules);
    }
    for entry in &config.worker.hot_reload {
        let path = PathBuf::from(entry);
        if entry == "~" {
            // Who can reach the API can have it read.
            rules.home = std::env::home_dir().filter(|_| listens_for_this_machine_only(&config.listen));
        } else if path.is_absolute() {
            rules.directories.push(path);
        } else {
            return Err(StartError::Setting(
                "worker.hot_reload",
                format!("{entry:?} is neither ~ nor an absolute path"),
            ));
        }
    }
    Ok(rules)
}

/// Whether nobody on another machine reaches what listens there.
pub(super) fn listens_for_this_machine_only(listen: &str) -> bool {
    listen.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
        || listen.starts_with("localhost:")
}
