//! `lambfold healthcheck`: for Compose and Kubernetes, which see only the exit code.

use anyhow::{Context, bail};
use lambfold_benches::Target;

/// Succeeds if the Lambfold at `endpoint` says that it is ready.
pub(crate) fn run(endpoint: &str) -> anyhow::Result<()> {
    super::block_on(async {
        let answer =
            Target::new(endpoint).connection().get("/readyz").await.context("ask whether it is ready")?;
        if !answer.status.is_success() {
            bail!("not ready: {}", String::from_utf8_lossy(&answer.body));
        }
        println!("ready");
        Ok(())
    })
}
