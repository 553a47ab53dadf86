//! The object store of packages: a directory, every write synced.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lambfold_api::Fault;
use lambfold_gateway::Packages;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt, path};

use crate::StartError;

/// Opens the directory, making it if it is not there.
pub(super) fn open(directory: &Path) -> Result<Arc<dyn ObjectStore>, StartError> {
    std::fs::create_dir_all(directory).map_err(StartError::part("package store"))?;
    let store = LocalFileSystem::new_with_prefix(directory).map_err(StartError::part("package store"))?;
    Ok(Arc::new(store.with_fsync(true)))
}

/// What `Code.Location` leads to.
pub(super) struct Downloads(pub(super) Arc<dyn ObjectStore>);

#[async_trait::async_trait]
impl Packages for Downloads {
    async fn package(&self, sha256: &str) -> Result<Option<Bytes>, Fault> {
        let failed = |error: object_store::Error| {
            tracing::error!(%error, "a package cannot be read");
            Fault::internal()
        };
        match self.0.get(&path::Path::from(format!("packages/{sha256}"))).await {
            Ok(found) => found.bytes().await.map(Some).map_err(failed),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}
