//! Packages in the object store, under their SHA-256.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lambfold_api::lambda::ErrorCode;
use lambfold_api::{CallContext, Fault};
use lambfold_package::{Limits, PackageError, inspect};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use sha2::{Digest, Sha256};

use crate::faults;

/// The largest zip that may be uploaded directly.
const MOST_ZIPPED_BYTES: usize = 52_428_800;

/// A package that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) sha256: String,
    pub(crate) size: u64,
    /// The bytes of its files.
    pub(crate) unzipped_bytes: u64,
}

/// Refuses what cannot be a package; what that costs is bounded.
pub(crate) async fn check(zip: Bytes) -> Result<Stored, Fault> {
    if zip.len() > MOST_ZIPPED_BYTES {
        let text = format!("Zipped size must be smaller than {MOST_ZIPPED_BYTES} bytes");
        return Err(Fault::new(ErrorCode::RequestEntityTooLargeException, text));
    }
    // Decompressing to count takes CPU time.
    let inspected = tokio::task::spawn_blocking(move || {
        let summary = inspect(&zip, &Limits::default())?;
        let sha256 = STANDARD.encode(Sha256::digest(&zip));
        Ok(Stored { sha256, size: zip.len() as u64, unzipped_bytes: summary.unzipped_bytes })
    });
    inspected.await.map_err(|_| Fault::internal())?.map_err(|error: PackageError| match error {
        PackageError::TooLarge { limit } => {
            faults::invalid_parameter(format!("Unzipped size must be smaller than {limit} bytes"))
        }
        PackageError::TooManyEntries { limit } => {
            faults::invalid_parameter(format!("The package has more than {limit} files and folders."))
        }
        PackageError::Malformed { .. } | PackageError::UnsafeEntry { .. } => faults::invalid_parameter(
            "Could not unzip uploaded file. Please check your file, then try to upload again.",
        ),
        PackageError::Io(error) => {
            tracing::error!(%error, "a package could not be read");
            Fault::internal()
        }
    })
}

/// Stores a checked package durably. Before the row that names it: a crash between the two leaves an object that
/// nothing names, never a name without its object.
pub(crate) async fn put(objects: &Arc<dyn ObjectStore>, stored: &Stored, zip: Bytes) -> Result<(), Fault> {
    let path = location(&stored.sha256).ok_or_else(Fault::internal)?;
    if objects.head(&path).await.is_ok_and(|found| found.size == stored.size) {
        return Ok(());
    }
    objects.put(&path, PutPayload::from_bytes(zip)).await.map(drop).map_err(|error| failed(&error))
}

/// The package of that SHA-256 in hexadecimal.
pub(crate) async fn get(objects: &Arc<dyn ObjectStore>, hex: &str) -> Result<Option<Bytes>, Fault> {
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    match objects.get(&Path::from(format!("packages/{}", hex.to_ascii_lowercase()))).await {
        Ok(found) => found.bytes().await.map(Some).map_err(|error| failed(&error)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

/// Whether the object is there.
pub(crate) async fn exists(objects: &Arc<dyn ObjectStore>, sha256: &str) -> Result<bool, Fault> {
    match objects.head(&location(sha256).ok_or_else(Fault::internal)?).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

/// Where the caller can download the package of that `CodeSha256`.
pub(crate) fn link(ctx: &CallContext, sha256: &str) -> String {
    format!("{}/_lambfold/packages/{}", ctx.endpoint, hex_of(sha256).unwrap_or_default())
}

/// The hexadecimal form of a `CodeSha256`.
fn hex_of(sha256: &str) -> Option<String> {
    STANDARD.decode(sha256).ok().map(hex::encode)
}

/// Where the package of that `CodeSha256` is; `None` if it is none.
pub(crate) fn location(sha256: &str) -> Option<Path> {
    hex_of(sha256).map(|hex| Path::from(format!("packages/{hex}")))
}

pub(crate) fn failed(error: &object_store::Error) -> Fault {
    tracing::error!(%error, "the object store failed");
    Fault::of_storage(error)
}
