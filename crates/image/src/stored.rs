//! Images on this machine: OCI layouts, as directories and as tar archives, and what `docker save` writes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::{ImageError, unreadable};
use crate::manifest::{Descriptor, ImageManifest, MAX_BYTES, Manifest};
use crate::place::{self, Piece};
use crate::reference::{Transport, Which};

/// The most members that an archive of images may have.
const MAX_MEMBERS: usize = 10_000;
/// How many links one may go through: `docker save` once wrote layers twice so.
const MAX_LINKS: usize = 4;
/// What tools note a tag under.
const TAG: &str = "org.opencontainers.image.ref.name";
/// What containerd and Docker note a whole name under.
const NAME: &str = "io.containerd.image.name";

/// Where the files of an image are.
pub(crate) enum Stored {
    Directory(PathBuf),
    Archive { file: File, members: HashMap<PathBuf, Kept> },
}

/// A member of an archive.
pub(crate) enum Kept {
    File { offset: u64, length: u64 },
    Link(PathBuf),
}

/// One image of `manifest.json` in a Docker archive.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

/// An image of a Docker archive: the manifest that was made for it, its configuration, and where its layers are.
pub(crate) struct FromDocker {
    pub(crate) manifest: ImageManifest,
    pub(crate) config: Vec<u8>,
    layers: Vec<(Digest, String)>,
}

impl Stored {
    /// Blocks: an archive's headers are read from its start to its end.
    pub(crate) fn open(transport: Transport, path: &Path) -> Result<Self, ImageError> {
        if transport == Transport::Layout {
            return Ok(Self::Directory(path.to_owned()));
        }
        let (directory, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        let piece = place::open(directory, Path::new(name)).map_err(|error| place::unreadable(&error))?;
        let members = members(&piece.file)?;
        Ok(Self::Archive { file: piece.file, members })
    }

    fn piece(&self, name: &Path) -> Result<Option<Piece>, ImageError> {
        match self {
            Self::Directory(directory) => match place::open(directory, name) {
                Ok(piece) => Ok(Some(piece)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(place::unreadable(&error)),
            },
            Self::Archive { file, members } => {
                let mut name = name.to_owned();
                for _ in 0..=MAX_LINKS {
                    match members.get(&name) {
                        None => return Ok(None),
                        Some(Kept::Link(target)) => name.clone_from(target),
                        Some(Kept::File { offset, length }) => {
                            let file = file.try_clone().map_err(|error| place::unreadable(&error))?;
                            return Ok(Some(Piece { file, offset: *offset, length: *length }));
                        }
                    }
                }
                Ok(None)
            }
        }
    }

    /// The blob of that digest of a layout.
    pub(crate) fn blob(&self, digest: Digest) -> Result<Piece, ImageError> {
        let name = Path::new("blobs/sha256").join(digest.hex());
        self.piece(&name)?
            .ok_or_else(|| ImageError::Invalid(format!("The image is not whole: it has no blob {digest}.")))
    }

    /// A document of a layout, which must be what its digest says.
    pub(crate) fn document(&self, digest: Digest) -> Result<Vec<u8>, ImageError> {
        let bytes = self.blob(digest)?.read(MAX_BYTES)?;
        if Digest::of(&bytes) == digest { Ok(bytes) } else { Err(damaged(digest)) }
    }

    /// Which manifest or index of a layout is meant.
    pub(crate) fn top(&self, which: &Which) -> Result<Digest, ImageError> {
        if let Some(digest) = which.digest {
            return Ok(digest);
        }
        let index = self.piece(Path::new("index.json"))?;
        let index = index.ok_or_else(|| {
            ImageError::Invalid("There is no index.json: this is no OCI layout.".to_owned())
        })?;
        let index: Index = serde_json::from_slice(&index.read(MAX_BYTES)?)
            .map_err(|error| ImageError::Invalid(format!("index.json is {}.", unreadable(&error))))?;
        let is_named = |descriptor: &&Descriptor| match &which.tag {
            None => true,
            Some(tag) => [TAG, NAME].iter().any(|note| {
                descriptor
                    .annotations
                    .get(*note)
                    .is_some_and(|name| name == tag || name.ends_with(&format!(":{tag}")))
            }),
        };
        let mut named = index.manifests.iter().filter(is_named);
        match (named.next(), named.next()) {
            (Some(one), None) => Ok(one.digest),
            (None, _) => Err(ImageError::NotFound("There is no image of that tag.".to_owned())),
            (Some(_), Some(_)) => Err(ImageError::InvalidName(
                "There are several images: name one by its tag or digest.".to_owned(),
            )),
        }
    }

    /// The image of a Docker archive that is meant.
    pub(crate) fn docker(&self, which: &Which) -> Result<FromDocker, ImageError> {
        let broken =
            |why: String| ImageError::Invalid(format!("This is no archive of `docker save`: {why}."));
        let list = self
            .piece(Path::new("manifest.json"))?
            .ok_or_else(|| broken("there is no manifest.json".into()))?;
        let images: Vec<DockerImage> =
            serde_json::from_slice(&list.read(MAX_BYTES)?).map_err(|error| broken(unreadable(&error)))?;
        let mut several = false;
        let mut found = None;
        for image in images {
            let named = which.tag.as_ref().is_none_or(|tag| {
                image.repo_tags.iter().flatten().any(|name| name == tag || without_default(name) == tag)
            });
            if named {
                several = found.is_some();
                found = Some(image);
            }
        }
        let image =
            found.ok_or_else(|| ImageError::NotFound("There is no image of that name.".to_owned()))?;
        if several {
            return Err(ImageError::InvalidName(
                "There are several images: name one, as in :app:latest.".to_owned(),
            ));
        }
        let config = self.piece(Path::new(&image.config))?.ok_or_else(|| broken("it is not whole".into()))?;
        let config = config.read(MAX_BYTES)?;
        let diff_ids = crate::manifest::Config::read(&config)?.diff_ids().to_vec();
        if diff_ids.len() != image.layers.len() {
            return Err(broken("its layers are not those of its configuration".into()));
        }
        let mut layers = Vec::new();
        for (name, diff_id) in image.layers.into_iter().zip(diff_ids) {
            let piece = self.piece(Path::new(&name))?.ok_or_else(|| broken("it is not whole".into()))?;
            layers.push((blob_of(&name).unwrap_or(diff_id), piece.length, name));
        }
        let manifest =
            ImageManifest::made_of(&config, layers.iter().map(|(digest, size, _)| (*digest, *size)));
        if which.digest.is_some_and(|digest| digest != manifest.digest()) {
            return Err(ImageError::NotFound("The archive has another image now.".to_owned()));
        }
        // So that a manifest made here is held to what others are.
        Manifest::read(&serde_json::to_vec(&manifest).unwrap_or_default())?;
        Ok(FromDocker {
            manifest,
            config,
            layers: layers.into_iter().map(|(digest, _, name)| (digest, name)).collect(),
        })
    }

    /// A layer of a Docker archive.
    pub(crate) fn docker_layer(&self, which: &Which, digest: Digest) -> Result<Piece, ImageError> {
        let image = self.docker(which)?;
        let name = image.layers.iter().find(|(its, _)| *its == digest).map(|(_, name)| name);
        let piece = name.map(|name| self.piece(Path::new(name))).transpose()?.flatten();
        piece.ok_or_else(|| ImageError::NotFound("The archive has another image now.".to_owned()))
    }
}

/// The digest of a layer that its name in the archive tells. Others are not compressed: theirs is the diff id.
fn blob_of(name: &str) -> Option<Digest> {
    name.strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse().ok())
}

/// The name as people write it who leave out what Docker puts in.
fn without_default(name: &str) -> &str {
    name.strip_prefix("docker.io/library/").unwrap_or(name)
}

pub(crate) fn damaged(digest: Digest) -> ImageError {
    ImageError::Invalid(format!("The image is damaged: the digest of {digest} is another one."))
}

/// Where the members of an archive are.
fn members(file: &File) -> Result<HashMap<PathBuf, Kept>, ImageError> {
    let broken = |error: std::io::Error| ImageError::Invalid(format!("The archive cannot be read: {error}."));
    let mut start = [0; 2];
    if BufReader::new(file).read(&mut start).is_ok() && start == [0x1f, 0x8b] {
        return Err(ImageError::Invalid("The archive is compressed: unpack it with gunzip.".to_owned()));
    }
    std::io::Seek::rewind(&mut &*file).map_err(broken)?;
    let mut archive = tar::Archive::new(file);
    let mut members = HashMap::new();
    // Names of images' files are short: longer ones, in members of their own, are not looked at.
    for entry in archive.entries_with_seek().map_err(broken)?.raw(true) {
        let entry = entry.map_err(broken)?;
        let header = entry.header();
        let name =
            std::path::absolute(Path::new("/").join(header.path().map_err(broken)?)).map_err(broken)?;
        let name = name.strip_prefix("/").unwrap_or(&name).to_owned();
        let kept = if header.entry_type().is_file() {
            Kept::File { offset: entry.raw_file_position(), length: entry.size() }
        } else if let Some(target) = header.link_name().map_err(broken)? {
            Kept::Link(beside(&name, &target))
        } else {
            continue;
        };
        members.insert(name, kept);
        if members.len() > MAX_MEMBERS {
            return Err(ImageError::Invalid(format!("The archive has more than {MAX_MEMBERS} members.")));
        }
    }
    Ok(members)
}

/// Where a link in the archive leads, within it.
fn beside(name: &Path, target: &Path) -> PathBuf {
    let mut path = name.parent().unwrap_or(Path::new("")).to_owned();
    for component in target.components() {
        match component {
            std::path::Component::ParentDir => {
                path.pop();
            }
            std::path::Component::Normal(part) => path.push(part),
            _ => {}
        }
    }
    path
}
