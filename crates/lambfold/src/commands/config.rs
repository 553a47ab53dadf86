//! `lambfold config`: the settings in force.

use crate::cli::Settings;

/// Prints them, or the commented defaults.
pub(crate) fn run(settings: &Settings, default: bool) -> anyhow::Result<()> {
    if default {
        print!("{}", lambfold_config::DEFAULTS);
    } else {
        print!("{}", settings.load()?.dump());
    }
    Ok(())
}
