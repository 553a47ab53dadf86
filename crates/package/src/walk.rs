//! The one way through an archive.

use std::cell::RefCell;
use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use crate::central;
use crate::error::{EntryProblem, PackageError};
use crate::limits::{Limits, Summary};
use crate::name;
use crate::reader::Shared;
use crate::sink::{Sink, write_error};
use crate::tree::{MAX_TARGET_BYTES, NewEntry, Tree};

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// Reads the whole archive, checks everything and hands it to `sink`.
pub(crate) fn walk<R: Read + Seek, S: Sink>(
    archive: R,
    limits: &Limits,
    sink: &mut S,
) -> Result<Summary, PackageError> {
    let reader = RefCell::new(BufReader::with_capacity(64 * 1024, archive));
    let reader = Shared::new(&reader);
    central::refuse_floods(reader.clone(), limits)?;
    let mut archive = ZipArchive::new(reader.clone())?;
    central::check(reader, archive.central_directory_start(), archive.len(), limits)?;
    // Local headers agree with the central directory, no bytes belong to two entries, none is hidden.
    archive.validate_header_consistency()?;

    let mut walk = Walk { limits, tree: Tree::new(), unzipped_bytes: 0, buffer: vec![0; 64 * 1024] };
    let mut links = Vec::new();
    for index in 0..archive.len() {
        if let Some(link) = walk.entry(&mut archive, index, sink)? {
            links.push(link);
        }
    }
    // Last, so that every link is judged by the whole tree and no file is ever written through one.
    let mut steps = 0;
    for link in &links {
        let path = name::components(&link.name, limits)?;
        walk.tree
            .check_link(&path, &mut steps)
            .map_err(|problem| PackageError::entry(link.name.as_bytes(), problem))?;
    }
    for link in &links {
        sink.symlink(&link.path, Path::new(&link.target)).map_err(|error| write_error(&link.name, error))?;
    }
    Ok(Summary { entries: archive.len(), unzipped_bytes: walk.unzipped_bytes })
}

struct Walk<'a> {
    limits: &'a Limits,
    tree: Tree,
    unzipped_bytes: u64,
    buffer: Vec<u8>,
}

struct Link {
    name: String,
    path: PathBuf,
    target: String,
}

impl Walk<'_> {
    /// Takes one entry; a symbolic link is returned for later.
    fn entry<R: Read + Seek, S: Sink>(
        &mut self,
        archive: &mut ZipArchive<R>,
        index: usize,
        sink: &mut S,
    ) -> Result<Option<Link>, PackageError> {
        let data = archive.by_index_data(index)?;
        let refuse = {
            let raw = data.name_raw().to_vec();
            move |problem| PackageError::entry(&raw, problem)
        };
        if data.encrypted() {
            return Err(refuse(EntryProblem::Encrypted));
        }
        let name = data.name()?.into_owned();
        let (declared, mode) = (data.size(), data.unix_mode().unwrap_or(0));
        let components = name::components(&name, self.limits)?;
        let path: PathBuf = components.iter().collect();
        let is_directory = name.ends_with('/') || components.is_empty();
        match (mode & S_IFMT, is_directory) {
            (0 | S_IFREG | S_IFDIR, true) if declared == 0 => {
                self.insert(&components, &NewEntry::Directory).map_err(refuse)?;
                self.within_entries()?;
                // Reads nothing, but checks the checksum and the compressed bytes.
                self.copy(archive, index, declared, &mut std::io::sink())?.map_err(PackageError::Io)?;
                sink.directory(&path).map_err(|error| write_error(&name, error))?;
                Ok(None)
            }
            (0 | S_IFREG, false) => {
                self.insert(&components, &NewEntry::File).map_err(refuse)?;
                self.within_entries()?;
                let write_error = |error| write_error(&name, error);
                Self::parent(&path, sink).map_err(write_error)?;
                let mut file = sink.file(&path).map_err(write_error)?;
                self.copy(archive, index, declared, &mut file)?.map_err(PackageError::Io)?;
                sink.finish(file, mode).map_err(PackageError::Io)?;
                Ok(None)
            }
            (S_IFLNK, false) => {
                if declared > MAX_TARGET_BYTES as u64 {
                    return Err(refuse(EntryProblem::SymlinkTarget));
                }
                let mut target = Vec::new();
                self.copy(archive, index, declared, &mut target)?.map_err(PackageError::Io)?;
                let target = String::from_utf8(target).map_err(|_| refuse(EntryProblem::SymlinkTarget))?;
                self.insert(&components, &NewEntry::Symlink { target: &target }).map_err(refuse)?;
                self.within_entries()?;
                Self::parent(&path, sink).map_err(|error| write_error(&name, error))?;
                Ok(Some(Link { name, path, target }))
            }
            (0 | S_IFREG | S_IFDIR | S_IFLNK, _) => Err(refuse(EntryProblem::KindMismatch)),
            _ => Err(refuse(EntryProblem::SpecialFile)),
        }
    }

    fn insert(&mut self, components: &[&str], entry: &NewEntry<'_>) -> Result<(), EntryProblem> {
        self.tree.insert(components, entry)
    }

    fn within_entries(&self) -> Result<(), PackageError> {
        if self.tree.len() > self.limits.entries {
            return Err(PackageError::TooManyEntries { limit: self.limits.entries });
        }
        Ok(())
    }

    fn parent<S: Sink>(path: &Path, sink: &mut S) -> std::io::Result<()> {
        match path.parent() {
            Some(parent) if parent != Path::new("") => sink.directory(parent),
            _ => Ok(()),
        }
    }

    /// Decompresses an entry into `to`, counting. The outer error is the archive's, the inner one the writer's.
    fn copy<R: Read + Seek>(
        &mut self,
        archive: &mut ZipArchive<R>,
        index: usize,
        declared: u64,
        to: &mut impl Write,
    ) -> Result<std::io::Result<()>, PackageError> {
        let limit = self.limits.unzipped_bytes;
        let mut entry = archive.by_index(index)?;
        let mut copied = 0_u64;
        loop {
            let count = match entry.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(PackageError::read(error)),
            };
            copied += count as u64;
            self.unzipped_bytes += count as u64;
            if self.unzipped_bytes > limit {
                return Err(PackageError::TooLarge { limit });
            }
            if let Err(error) = to.write_all(&self.buffer[..count]) {
                return Ok(Err(error));
            }
        }
        if copied != declared {
            return Err(PackageError::malformed("an entry is smaller than declared"));
        }
        Ok(Ok(()))
    }
}
