//! `lambfold bench`: measures a running Lambfold, or one that it starts beside the bare durable reference.

use std::path::Path;

use lambfold_benches::{Options, reference, session};
use tokio::net::TcpListener;

/// Measures and prints a table.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.bootstrap {
        return lambfold_benches::bootstrap::serve();
    }
    if let Some(address) = &options.reference {
        return super::block_on(async {
            let listener = TcpListener::bind(address).await?;
            println!("Ready.");
            let directory = options.work_dir.as_deref().unwrap_or(Path::new("."));
            reference::serve(listener, directory).await
        });
    }
    crate::open_files::raise_limit();
    // One thread: the generator shares the machine with what it measures.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(session::run(options))
}
