//! Whether functions may be debugged, which control, workers and the gateway must know alike.

use lambfold_config::Config;

use super::hot_reload::listens_for_this_machine_only;

/// What `worker.debugger` comes to. Whoever reaches the API could otherwise have ports of this machine opened.
pub(super) fn is_on(config: &Config) -> bool {
    config.worker.debugger && !config.strict && listens_for_this_machine_only(&config.listen)
}
