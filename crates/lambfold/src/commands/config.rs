//! `lambfold config`: the settings in force.

use std::io::{ErrorKind, Write};

use anyhow::Context;

use crate::cli::Settings;

/// Prints them, or the commented defaults.
pub(crate) fn run(settings: &Settings, default: bool) -> anyhow::Result<()> {
    let text = if default { lambfold_config::DEFAULTS.to_owned() } else { settings.load()?.dump() };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("print the settings"),
    }
}
