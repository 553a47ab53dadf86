//! One layer on its way: hashed, looked through and stored in one go, so that it is nowhere whole in memory, and in the
//! object store only if it is what the image says.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use lambfold_image::{Digest, ImageError};
use lambfold_package::{LayerSummary, Limits, PackageError, inspect_image_layer};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload, WriteMultipart};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::record::{FunctionImage, ImageLayer};
use crate::service::Shared;

/// Pieces between who brings a layer and who looks through it.
const PIECES: usize = 4;
/// Parts that are being written at once.
const PARTS: usize = 2;

/// What was found in a layer that is stored: stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checked {
    entries: usize,
    unpacked_bytes: u64,
    diff_id: Digest,
}

impl Checked {
    /// What it leaves for the layers after it.
    pub(super) fn take_from(&self, limits: &mut Limits) {
        limits.entries = limits.entries.saturating_sub(self.entries);
        limits.unzipped_bytes = limits.unzipped_bytes.saturating_sub(self.unpacked_bytes);
    }

    /// Itself, if it is that layer and there is room for it: it may have been brought for another image.
    fn of(self, layer: &ImageLayer, limits: &Limits) -> Result<Self, ImageError> {
        if self.diff_id != layer.diff_id {
            return Err(ImageError::Invalid(
                "A layer is not what the image's configuration says.".to_owned(),
            ));
        }
        if self.unpacked_bytes > limits.unzipped_bytes || self.entries > limits.entries {
            return Err(unsound(&PackageError::TooLarge { limit: limits.unzipped_bytes }));
        }
        Ok(self)
    }
}

/// A layer that is there already.
pub(super) async fn find(
    shared: &Shared,
    layer: &ImageLayer,
    limits: &Limits,
) -> Result<Option<Checked>, ImageError> {
    known(shared, &note(layer)).await?.map(|checked| checked.of(layer, limits)).transpose()
}

/// Brings a layer, unless it is there already.
pub(super) async fn bring(
    shared: &Shared,
    image: &FunctionImage,
    layer: &ImageLayer,
    limits: &Limits,
) -> Result<Checked, ImageError> {
    if let Some(checked) = find(shared, layer, limits).await? {
        return Ok(checked);
    }
    let checked = fetch(shared, image, layer, limits).await?;
    let bytes = serde_json::to_vec(&checked).unwrap_or_default();
    // After the blob: what has a note is there.
    shared.objects.put(&note(layer), PutPayload::from(bytes)).await.map_err(|error| store_failed(&error))?;
    checked.of(layer, limits)
}

fn note(layer: &ImageLayer) -> Path {
    Path::from(format!("images/{}.json", layer.digest.hex()))
}

async fn known(shared: &Shared, note: &Path) -> Result<Option<Checked>, ImageError> {
    match shared.objects.get(note).await {
        Ok(found) => {
            let bytes = found.bytes().await.map_err(|error| store_failed(&error))?;
            Ok(serde_json::from_slice(&bytes).ok())
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(store_failed(&error)),
    }
}

async fn fetch(
    shared: &Shared,
    image: &FunctionImage,
    layer: &ImageLayer,
    limits: &Limits,
) -> Result<Checked, ImageError> {
    let blob = Path::from(format!("images/{}", layer.digest.hex()));
    let upload = shared.objects.put_multipart(&blob).await.map_err(|error| store_failed(&error))?;
    let mut upload = WriteMultipart::new(upload);
    match copy(shared, image, layer, limits, &mut upload).await {
        Ok(summary) => {
            upload.finish().await.map_err(|error| store_failed(&error))?;
            Ok(Checked {
                entries: summary.entries,
                unpacked_bytes: summary.unpacked_bytes,
                diff_id: Digest::new(summary.diff_id),
            })
        }
        Err(error) => {
            // What failed first is what is told.
            let _ = upload.abort().await;
            Err(error)
        }
    }
}

async fn copy(
    shared: &Shared,
    image: &FunctionImage,
    layer: &ImageLayer,
    limits: &Limits,
    upload: &mut WriteMultipart,
) -> Result<LayerSummary, ImageError> {
    let mut blob = shared.images.layer(&image.resolved_uri, layer.digest).await?;
    let (pieces, received) = mpsc::channel(PIECES);
    let limits = *limits;
    // Decompressing to count takes CPU time. It ends when `pieces` does.
    let inspected = tokio::task::spawn_blocking(move || {
        inspect_image_layer(Pieces { received, current: Bytes::new() }, &limits)
    });
    let (mut hash, mut length) = (Sha256::new(), 0_u64);
    while let Some(piece) = blob.next().await {
        let piece = piece?;
        length += piece.len() as u64;
        if length > layer.size {
            return Err(ImageError::Invalid("A layer is larger than the image says.".to_owned()));
        }
        hash.update(&piece);
        if pieces.send(piece.clone()).await.is_err() {
            // It has found something.
            break;
        }
        upload.wait_for_capacity(PARTS).await.map_err(|error| store_failed(&error))?;
        upload.write(&piece);
    }
    drop(pieces);
    let summary = inspected.await.map_err(|_| unavailable("Looking through a layer was cut off."))?;
    let summary = summary.map_err(|error| unsound(&error))?;
    if length != layer.size || Digest::new(hash.finalize().into()) != layer.digest {
        return Err(ImageError::Invalid(format!("A layer is damaged: its digest is not {}.", layer.digest)));
    }
    Ok(summary)
}

/// What comes, to who reads it in a thread of its own.
struct Pieces {
    received: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.received.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

fn unsound(error: &PackageError) -> ImageError {
    match error {
        PackageError::TooLarge { .. } => ImageError::Invalid(format!(
            "The image is larger than {} bytes unpacked.",
            Limits::of_image().unzipped_bytes
        )),
        PackageError::TooManyEntries { .. } => {
            ImageError::Invalid(format!("The image has more than {} files.", Limits::of_image().entries))
        }
        PackageError::Io(error) => {
            tracing::error!(%error, "a layer could not be read");
            unavailable("A layer could not be read.")
        }
        error => ImageError::Invalid(format!("A layer of the image cannot be unpacked: {error}.")),
    }
}

fn store_failed(error: &object_store::Error) -> ImageError {
    tracing::error!(%error, "the object store failed");
    unavailable("The object store failed.")
}

fn unavailable(text: &str) -> ImageError {
    ImageError::Unavailable(text.to_owned())
}
