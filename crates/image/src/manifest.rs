//! The documents of an image, as far as they matter: OCI's and Docker's have the same members.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{ImageError, unreadable};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// The largest document that is read.
pub(crate) const MAX_BYTES: u64 = 4 << 20;
/// The most layers that an image may have: more than Docker makes.
const MAX_LAYERS: usize = 128;
/// What entry point, command, directory and variables may have together: more than fits a process.
const MAX_SETTINGS_BYTES: usize = 128 << 10;

/// A blob by its digest.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing)]
    pub(crate) platform: Option<Platform>,
    #[serde(default, skip_serializing)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

/// A manifest, or an index of several.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

pub(crate) enum Manifest {
    Index(Vec<Descriptor>),
    Image(ImageManifest),
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ImageManifest {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: &'static str,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

impl Manifest {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| ImageError::Invalid(format!("The manifest is {}.", unreadable(&error))))?;
        let unknown = |what: &str| ImageError::MediaType(what.chars().take(200).collect());
        if document.schema_version != 2 {
            return Err(ImageError::Invalid("The manifest is not of schema version 2.".to_owned()));
        }
        match (document.manifests, document.config, document.layers) {
            (Some(manifests), None, None) => match document.media_type.as_str() {
                "" | OCI_INDEX | DOCKER_INDEX => Ok(Self::Index(manifests)),
                other => Err(unknown(other)),
            },
            (None, Some(config), Some(layers)) => {
                if !["", OCI_MANIFEST, DOCKER_MANIFEST].contains(&document.media_type.as_str()) {
                    return Err(unknown(&document.media_type));
                }
                if ![OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str()) {
                    return Err(unknown(&config.media_type));
                }
                if let Some(other) = layers.iter().find(|layer| !is_layer(&layer.media_type)) {
                    return Err(unknown(&other.media_type));
                }
                if layers.len() > MAX_LAYERS {
                    return Err(ImageError::Invalid(format!("The image has more than {MAX_LAYERS} layers.")));
                }
                Ok(Self::Image(ImageManifest::new(config, layers)))
            }
            _ => Err(unknown(&document.media_type)),
        }
    }
}

fn is_layer(media_type: &str) -> bool {
    let compression = media_type.strip_prefix(OCI_TAR).or_else(|| media_type.strip_prefix(DOCKER_TAR));
    compression.is_some_and(|it| ["", "+gzip", ".gzip", "+zstd", ".zstd"].contains(&it))
}

impl ImageManifest {
    fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: OCI_MANIFEST, config, layers }
    }

    /// The manifest of an image that has none, which is the same whenever the image is: with plain layers.
    pub(crate) fn made_of(config: &[u8], layers: impl Iterator<Item = (Digest, u64)>) -> Self {
        let descriptor = |media_type: &str, digest, size| Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        };
        let layers = layers.map(|(digest, size)| descriptor(OCI_TAR, digest, size)).collect();
        Self::new(descriptor(OCI_CONFIG, Digest::of(config), config.len() as u64), layers)
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// The configuration of an image.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default, rename = "config")]
    settings: Option<Settings>,
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// What an image says about how it is run.
pub(crate) struct Run {
    pub(crate) entry_point: Vec<String>,
    pub(crate) command: Vec<String>,
    pub(crate) working_directory: String,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Config {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        serde_json::from_slice(bytes).map_err(|error| {
            ImageError::Invalid(format!("The image's configuration is {}.", unreadable(&error)))
        })
    }

    pub(crate) fn diff_ids(&self) -> &[Digest] {
        &self.rootfs.diff_ids
    }

    pub(crate) fn run(self) -> Result<Run, ImageError> {
        if !["", "linux"].contains(&self.os.as_str()) {
            return Err(ImageError::Invalid("The image is not for Linux.".to_owned()));
        }
        let settings = self.settings.unwrap_or_default();
        let variables = settings.env.unwrap_or_default();
        // One without a value, or without a name, is none.
        let environment =
            variables.iter().filter_map(|it| it.split_once('=')).filter(|(name, _)| !name.is_empty());
        let environment: BTreeMap<String, String> =
            environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let run = Run {
            entry_point: settings.entrypoint.unwrap_or_default(),
            command: settings.cmd.unwrap_or_default(),
            working_directory: settings.working_dir.unwrap_or_default(),
            environment,
        };
        let texts = || {
            let words = run.entry_point.iter().chain(&run.command).chain([&run.working_directory]);
            words.chain(run.environment.iter().flat_map(|(name, value)| [name, value]))
        };
        if texts().map(|text| text.len() + 1).sum::<usize>() > MAX_SETTINGS_BYTES {
            return Err(ImageError::Invalid("The image's configuration is too large.".to_owned()));
        }
        if texts().any(|text| text.contains('\0')) {
            return Err(ImageError::Invalid("The image's configuration has a NUL in it.".to_owned()));
        }
        Ok(run)
    }
}

/// The name that images have for AWS's name of an architecture.
pub(crate) fn architecture_name(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        other => other,
    }
}
