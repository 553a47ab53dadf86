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

/// Removes what a crash left of objects that were being written: files `<object>#<number>`, which the store does not list.
/// Nobody may be writing.
pub(super) fn remove_unfinished(directory: &Path) -> std::io::Result<()> {
    for folder in std::fs::read_dir(directory)? {
        let folder = folder?;
        if !folder.file_type()?.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(folder.path())? {
            let file = file?;
            if file.file_type()?.is_file() && file.file_name().to_string_lossy().contains('#') {
                std::fs::remove_file(file.path())?;
            }
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use object_store::PutPayload;

    use super::*;

    #[tokio::test]
    async fn what_a_crash_cut_off_is_removed_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).unwrap();
        let whole = path::Path::from("images/ab");
        store.put(&whole, PutPayload::from_static(b"whole")).await.unwrap();
        // Forgotten, so that nothing tidies up behind it, as in a crash.
        let mut cut_off = store.put_multipart(&path::Path::from("images/cd")).await.unwrap();
        cut_off.put_part(PutPayload::from_static(b"half")).await.unwrap();
        std::mem::forget(cut_off);
        let files = || std::fs::read_dir(directory.path().join("images")).unwrap().count();
        assert_eq!(files(), 2);
        remove_unfinished(directory.path()).unwrap();
        assert_eq!(files(), 1);
        assert_eq!(store.get(&whole).await.unwrap().bytes().await.unwrap(), "whole");
    }
}
