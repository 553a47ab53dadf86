//! A function's container image.

use std::collections::BTreeMap;

use lambfold_image::Digest;
use serde::{Deserialize, Serialize};

/// What is known of an image since it was resolved, and what the function changes about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionImage {
    /// `ImageUri`, as it was given.
    pub uri: String,
    /// `ResolvedImageUri`
    pub resolved_uri: String,
    /// The lowest first.
    pub layers: Vec<ImageLayer>,
    /// The image's own.
    pub entry_point: Vec<String>,
    /// The image's own.
    pub command: Vec<String>,
    /// The image's own; may be empty.
    pub working_directory: String,
    /// The image's own.
    pub environment: BTreeMap<String, String>,
    /// `ImageConfig`
    #[serde(default)]
    pub overrides: ImageOverrides,
    /// Why it could not be had.
    #[serde(default)]
    pub failure: Option<ImageFailure>,
}

/// A layer of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// Of the blob, which the object store has under it.
    pub digest: Digest,
    /// The blob's length, in bytes.
    pub size: u64,
    /// Of what is in the blob, without compression.
    pub diff_id: Digest,
}

/// `ImageConfig`: what beats the image's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageOverrides {
    /// `EntryPoint`
    pub entry_point: Option<Vec<String>>,
    /// `Command`
    pub command: Option<Vec<String>>,
    /// `WorkingDirectory`
    pub working_directory: Option<String>,
}

/// `StateReasonCode` and `StateReason`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFailure {
    /// AWS's code.
    pub code: String,
    /// In words.
    pub reason: String,
}
