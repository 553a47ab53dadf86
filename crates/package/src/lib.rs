//! Deployment packages and layers: zip archives that nobody trusts; and the layers of container images, tar archives that
//! nobody trusts ([`inspect_image_layer`], [`unpack_image_layer`]).
//!
//! [`inspect`] says whether an archive may be accepted (the control plane asks, when code is uploaded); [`unpack`]
//! and [`unpack_file`] write one into a fresh directory (the worker does, once per package). All of them go the
//! same way through the archive, so what was accepted can be unpacked.
//!
//! What is refused: names that are absolute, have `..`, NUL, a backslash or nothing in them; two entries of one
//! name; an entry below a file or below a symbolic link; symbolic links that lead out; devices, pipes, sockets and
//! hard links; encrypted entries; entries that share bytes; local headers that say something else than the central
//! directory; checksums and sizes that are wrong. Sizes are counted while decompressing: what the archive declares
//! is never believed.
//!
//! [`HotReload`] says which directories may stand in for a package, unpacked as they are.
//!
//! Not here: where packages are stored, and how they are mounted.

mod central;
mod error;
mod hot_reload;
mod image_layer;
mod limits;
mod name;
mod reader;
mod sink;
mod tree;
mod walk;

#[cfg(test)]
mod tests;

pub use error::{EntryProblem, PackageError};
pub use hot_reload::{HOT_RELOAD_BUCKET, HOT_RELOAD_SHA256, HotReload, HotReloadError};
pub use image_layer::{
    LayerSummary, OPAQUE, WHITEOUT, inspect as inspect_image_layer, unpack_file as unpack_image_layer,
};
pub use limits::{Limits, Summary};

use std::fs::File;
use std::io::Cursor;
use std::path::Path;

use crate::sink::{Destination, Discard};

/// Goes through the whole archive as [`unpack`] does, decompressing every entry, but writes nothing.
pub fn inspect(archive: &[u8], limits: &Limits) -> Result<Summary, PackageError> {
    walk::walk(Cursor::new(archive), limits, &mut Discard)
}

/// Unpacks `archive` into the directory `destination`, which must not exist yet (its parent must). Directories get
/// mode 0755, files 0644 plus the x bits that the archive has; set-id and sticky bits are dropped. When it fails
/// nothing is left behind.
pub fn unpack(archive: &[u8], destination: &Path, limits: &Limits) -> Result<Summary, PackageError> {
    Destination::fill(destination, |sink| walk::walk(Cursor::new(archive), limits, sink))
}

/// As [`unpack`], from an open file, which is read in pieces. Nobody may write to the file meanwhile.
pub fn unpack_file(archive: &File, destination: &Path, limits: &Limits) -> Result<Summary, PackageError> {
    Destination::fill(destination, |sink| walk::walk(archive, limits, sink))
}
