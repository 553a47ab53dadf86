//! From a name to an image: its manifest, its configuration, its layers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use lambfold_api::BoxStream;
use tokio::sync::mpsc;

use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{Config, Descriptor, ImageManifest, Manifest, architecture_name};
use crate::place::{self, Piece};
use crate::reference::{Reference, Transport, Which};
use crate::registry::{self, Repository};
use crate::stored::Stored;

/// An index may lead to another one, and that to a manifest.
const MAX_DEPTH: usize = 3;
/// Pieces of a file on their way.
const PIECES: usize = 4;
const PIECE_BYTES: u64 = 256 << 10;

/// From where images may come.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Directories of this machine in which layouts and archives may be; absolute.
    pub directories: Vec<PathBuf>,
    /// Hosts of registries, with their port where it is not 443; `*` for all.
    pub registries: Vec<String>,
    /// `host[:port][/folder]` of the registry that stands for Amazon ECR's; empty for none.
    pub ecr_registry: String,
    /// Hosts, besides this machine, whose registries speak without TLS.
    pub insecure_registries: Vec<String>,
    /// A configuration file of Docker's with credentials; empty for none.
    pub registry_credentials: PathBuf,
}

/// Where images come from.
pub struct Images {
    options: Options,
    client: OnceLock<reqwest::Client>,
}

/// An image that can be run, if its layers are sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name, by digest.
    pub resolved_uri: String,
    /// Its manifest's.
    pub digest: Digest,
    /// The lowest first.
    pub layers: Vec<Layer>,
    /// `ENTRYPOINT`
    pub entry_point: Vec<String>,
    /// `CMD`
    pub command: Vec<String>,
    /// `WORKDIR`; may be empty.
    pub working_directory: String,
    /// `ENV`
    pub environment: BTreeMap<String, String>,
}

/// A layer of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Of the blob.
    pub digest: Digest,
    /// The blob's length, in bytes.
    pub size: u64,
    /// Of what is in the blob, without compression.
    pub diff_id: Digest,
}

impl Images {
    /// Asks nobody yet.
    pub fn new(options: Options) -> Self {
        Self { options, client: OnceLock::new() }
    }

    /// Finds the image of that name for an architecture (`x86_64` or `arm64`).
    pub async fn resolve(&self, uri: &str, architecture: &str) -> Result<Image, ImageError> {
        let reference = Reference::read(uri)?;
        let architecture = architecture_name(architecture).to_owned();
        let (digest, manifest, config) = match &reference {
            Reference::Registry { host, repository, which } => {
                let repository = self.repository(host, repository)?;
                let (digest, manifest) = of_registry(&repository, which, &architecture).await?;
                let config = repository.document(manifest.config.digest).await?;
                (digest, manifest, config)
            }
            Reference::Stored { transport, which, .. } => {
                let (transport, which) = (*transport, which.clone());
                self.stored(&reference, move |stored| {
                    if transport == Transport::DockerArchive {
                        let found = stored.docker(&which)?;
                        return Ok((found.manifest.digest(), found.manifest, found.config));
                    }
                    let (digest, manifest) = of_layout(stored, &which, &architecture)?;
                    let config = stored.document(manifest.config.digest)?;
                    Ok((digest, manifest, config))
                })
                .await?
            }
        };
        let config = Config::read(&config)?;
        let diff_ids = config.diff_ids().to_vec();
        if diff_ids.len() != manifest.layers.len() {
            return Err(ImageError::Invalid(
                "The image's layers are not those of its configuration.".to_owned(),
            ));
        }
        let layers = manifest.layers.iter().zip(diff_ids);
        let layers = layers
            .map(|(layer, diff_id)| Layer { digest: layer.digest, size: layer.size, diff_id })
            .collect();
        let run = config.run()?;
        Ok(Image {
            resolved_uri: reference.resolved(digest).to_string(),
            digest,
            layers,
            entry_point: run.entry_point,
            command: run.command,
            working_directory: run.working_directory,
            environment: run.environment,
        })
    }

    /// The blob of a layer of the image that [`Image::resolved_uri`] names. Who reads it must look at its digest.
    pub async fn layer(
        &self,
        resolved_uri: &str,
        digest: Digest,
    ) -> Result<BoxStream<Result<Bytes, ImageError>>, ImageError> {
        let reference = Reference::read(resolved_uri)?;
        match &reference {
            Reference::Registry { host, repository, .. } => {
                self.repository(host, repository)?.blob(digest).await
            }
            Reference::Stored { transport, which, .. } => {
                let (transport, which) = (*transport, which.clone());
                let piece = self.stored(&reference, move |stored| {
                    if transport == Transport::DockerArchive {
                        stored.docker_layer(&which, digest)
                    } else {
                        stored.blob(digest)
                    }
                });
                Ok(pieces(piece.await?))
            }
        }
    }

    fn repository(&self, host: &str, name: &str) -> Result<Repository, ImageError> {
        let client = if let Some(client) = self.client.get() {
            client.clone()
        } else {
            let client = registry::client()?;
            self.client.get_or_init(|| client).clone()
        };
        Repository::open(client, host, name, &self.options)
    }

    /// Looks at an image on this machine, off the async threads.
    async fn stored<T: Send + 'static>(
        &self,
        reference: &Reference,
        look: impl FnOnce(&Stored) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let Reference::Stored { transport, path, .. } = reference.clone() else {
            return Err(ImageError::InvalidName("The image is in a registry.".to_owned()));
        };
        let directories = self.options.directories.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let path = place::find(&path, &directories)?;
            look(&Stored::open(transport, &path)?)
        });
        looked.await.map_err(|_| ImageError::Unavailable("Reading the image was cut off.".to_owned()))?
    }
}

async fn of_registry(
    repository: &Repository,
    which: &Which,
    architecture: &str,
) -> Result<(Digest, ImageManifest), ImageError> {
    let mut which = which.clone();
    for _ in 0..MAX_DEPTH {
        let (digest, bytes) = repository.manifest(&which).await?;
        match Manifest::read(&bytes)? {
            Manifest::Image(manifest) => return Ok((digest, manifest)),
            Manifest::Index(manifests) => {
                which = Which { tag: None, digest: Some(choose(&manifests, architecture)?) };
            }
        }
    }
    Err(too_deep())
}

fn of_layout(
    stored: &Stored,
    which: &Which,
    architecture: &str,
) -> Result<(Digest, ImageManifest), ImageError> {
    let mut digest = stored.top(which)?;
    for _ in 0..MAX_DEPTH {
        match Manifest::read(&stored.document(digest)?)? {
            Manifest::Image(manifest) => return Ok((digest, manifest)),
            Manifest::Index(manifests) => digest = choose(&manifests, architecture)?,
        }
    }
    Err(too_deep())
}

/// The manifest of an index for Linux on that architecture. One without a platform will do where there is nothing else.
fn choose(manifests: &[Descriptor], architecture: &str) -> Result<Digest, ImageError> {
    let fits = |it: &&Descriptor| {
        it.platform.as_ref().is_some_and(|its| its.os == "linux" && its.architecture == architecture)
    };
    let found = manifests.iter().find(fits).or_else(|| match manifests {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    });
    found
        .map(|found| found.digest)
        .ok_or_else(|| ImageError::Invalid(format!("The image has no manifest for linux/{architecture}.")))
}

fn too_deep() -> ImageError {
    ImageError::Invalid("The image's indexes lead to each other.".to_owned())
}

/// A file's part, piece by piece.
fn pieces(piece: Piece) -> BoxStream<Result<Bytes, ImageError>> {
    use std::os::unix::fs::FileExt;
    let (sender, receiver) = mpsc::channel(PIECES);
    let piece = Arc::new(piece);
    tokio::task::spawn_blocking(move || {
        let mut at = 0;
        while at < piece.length {
            let length = PIECE_BYTES.min(piece.length - at);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            let read = piece.file.read_exact_at(&mut bytes, piece.offset + at);
            let failed = read.is_err();
            let message = read.map(|()| bytes.into()).map_err(|error| place::unreadable(&error));
            // Who has gone needs no more.
            if sender.blocking_send(message).is_err() || failed {
                return;
            }
            at += length;
        }
    });
    Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    }))
}
