//! `lambfold migrate`: the databases at this version's schema, without a start.

use crate::cli::Settings;

/// Opens and migrates every store of the data directory.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    lambfold_node::migrate(&config)?;
    println!("{} is at this version's schema", config.data_dir.display());
    Ok(())
}
