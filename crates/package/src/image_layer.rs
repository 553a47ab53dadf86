//! Layers of container images: tar archives, plain or compressed, that nobody trusts.
//!
//! [`inspect`] and [`unpack_file`] go the same way through a layer, so what was accepted can be unpacked. A layer is
//! unpacked by itself: what it takes away from those below stays in its directory as a file of that name ([`WHITEOUT`],
//! [`OPAQUE`]), for whoever lays layers over each other.
//!
//! What is refused: names that are absolute, have `..`, NUL or nothing in them; an entry below a file or a link; an
//! entry that makes a directory of a file or the other way round; hard links to what is no file before them in the same
//! layer; sparse files; sizes that contradict each other. What is left out: devices, pipes, owners, times, extended
//! attributes, set-id and sticky bits. Symbolic links may lead anywhere: nothing but a sandbox, whose root the image
//! is, follows them. Names that occur twice mean the later entry.

mod compression;
mod known;
mod members;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::compression::Uncompressed;
use self::known::{Kind, Known};
use self::members::{Member, MemberKind, Members};
use crate::error::{EntryProblem, PackageError};
use crate::limits::Limits;
use crate::sink::{Destination, Discard, Sink, write_error};

/// What the name of a file begins with that takes another one away: `.wh.name` in the same directory takes away `name`.
pub const WHITEOUT: &str = ".wh.";

/// The file that takes away all that lower layers have in its directory.
pub const OPAQUE: &str = ".wh..wh..opq";

/// What else begins so belongs to a storage driver.
const RESERVED: &[u8] = b".wh..wh.";

/// What a layer held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerSummary {
    /// Files, links, whiteouts and directories.
    pub entries: usize,
    /// Bytes of the layer without its compression: counted, not as declared.
    pub unpacked_bytes: u64,
    /// The SHA-256 of these, which images call the layer's diff id.
    pub diff_id: [u8; 32],
}

/// Goes through the whole layer as [`unpack_file`] does, but writes nothing.
pub fn inspect(layer: impl Read, limits: &Limits) -> Result<LayerSummary, PackageError> {
    walk(layer, limits, &mut Discard)
}

/// Unpacks `layer` into the directory `destination`, which must not exist yet (its parent must). Directories get mode
/// 0755, files 0644 plus the x bits that the layer has. When it fails nothing is left behind.
pub fn unpack_file(layer: &File, destination: &Path, limits: &Limits) -> Result<LayerSummary, PackageError> {
    let mut layer = layer;
    layer.seek(SeekFrom::Start(0)).map_err(PackageError::Io)?;
    Destination::fill(destination, |sink| walk(layer, limits, sink))
}

fn walk<S: Sink>(layer: impl Read, limits: &Limits, sink: &mut S) -> Result<LayerSummary, PackageError> {
    let buffered = BufReader::with_capacity(64 * 1024, layer);
    let uncompressed = Uncompressed::open(buffered, limits.unzipped_bytes)?;
    let counts = uncompressed.counts();
    let mut walk = Walk { limits, known: Known::default(), buffer: vec![0; 64 * 1024] };
    let outcome = walk.all(uncompressed, sink);
    if counts.exceeded() {
        return Err(PackageError::TooLarge { limit: limits.unzipped_bytes });
    }
    let (unpacked_bytes, diff_id) = outcome?;
    Ok(LayerSummary { entries: walk.known.len(), unpacked_bytes, diff_id })
}

struct Walk<'a> {
    limits: &'a Limits,
    known: Known,
    buffer: Vec<u8>,
}

impl Walk<'_> {
    fn all<R: Read, S: Sink>(
        &mut self,
        layer: Uncompressed<R>,
        sink: &mut S,
    ) -> Result<(u64, [u8; 32]), PackageError> {
        let mut members = Members::new(layer);
        members.each(self.limits, &mut |member, content| self.member(member, content, sink))?;
        members.into_inner().finish()
    }

    /// Takes one member. What it does not read of the content is skipped.
    fn member<S: Sink>(
        &mut self,
        member: &Member,
        content: &mut dyn Read,
        sink: &mut S,
    ) -> Result<(), PackageError> {
        let refuse = |problem| PackageError::entry(&member.name, problem);
        let write_error = |error| write_error(&String::from_utf8_lossy(&member.name), error);
        let components = members::components(&member.name, self.limits)?;
        let Some((last, parents)) = components.split_last() else {
            // The root itself.
            return if member.kind == MemberKind::Directory {
                Ok(())
            } else {
                Err(refuse(EntryProblem::KindMismatch))
            };
        };
        if components
            .iter()
            .any(|component| component.starts_with(RESERVED) && *component != OPAQUE.as_bytes())
        {
            return Ok(());
        }
        if parents.iter().any(|component| component.starts_with(WHITEOUT.as_bytes())) {
            return Err(refuse(EntryProblem::IllegalName));
        }
        let kind = match last.strip_prefix(WHITEOUT.as_bytes()) {
            Some(b"" | b"." | b"..") => return Err(refuse(EntryProblem::IllegalName)),
            Some(_) => Kind::Whiteout,
            None => match member.kind {
                MemberKind::Directory => Kind::Directory,
                MemberKind::File => Kind::File,
                MemberKind::Symlink => Kind::Symlink,
                MemberKind::HardLink => self.linked(member)?,
                MemberKind::Device => Kind::LeftOut,
            },
        };
        let path = path_of(&components);
        let before = self.known.insert(&components, kind).map_err(refuse)?;
        if self.known.len() > self.limits.entries || !self.known.fits() {
            return Err(PackageError::TooManyEntries { limit: self.limits.entries });
        }
        if kind == Kind::LeftOut {
            if before.is_some_and(Kind::is_there) {
                sink.remove(&path).map_err(write_error)?;
            }
            return Ok(());
        }
        if kind == Kind::Directory {
            return sink.directory(&path).map_err(write_error);
        }
        if !parents.is_empty() {
            sink.directory(&path_of(parents)).map_err(write_error)?;
        }
        let link = path_of(&members::components(&member.link, self.limits).unwrap_or_default());
        if member.kind == MemberKind::HardLink && link == path {
            return Ok(());
        }
        if before.is_some_and(Kind::is_there) {
            sink.remove(&path).map_err(write_error)?;
        }
        match (kind, member.kind) {
            (Kind::Whiteout, _) => {
                let file = sink.file(&path).map_err(write_error)?;
                sink.finish(file, 0).map_err(PackageError::Io)
            }
            (_, MemberKind::Symlink) => {
                sink.symlink(&path, Path::new(OsStr::from_bytes(&member.link))).map_err(write_error)
            }
            (_, MemberKind::HardLink) => sink.hard_link(&path, &link).map_err(write_error),
            _ => {
                let mut file = sink.file(&path).map_err(write_error)?;
                self.copy(member, content, &mut file)?;
                sink.finish(file, member.mode).map_err(PackageError::Io)
            }
        }
    }

    /// What a hard link becomes: another name of what it names.
    fn linked(&self, member: &Member) -> Result<Kind, PackageError> {
        let refused = || PackageError::entry(&member.name, EntryProblem::HardLinkTarget);
        let target = members::components(&member.link, self.limits).map_err(|_| refused())?;
        match self.known.get(&target) {
            Some(kind @ (Kind::File | Kind::Symlink | Kind::LeftOut)) => Ok(kind),
            _ => Err(refused()),
        }
    }

    fn copy(
        &mut self,
        member: &Member,
        content: &mut dyn Read,
        to: &mut impl Write,
    ) -> Result<(), PackageError> {
        let mut copied = 0_u64;
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(PackageError::read(error)),
            };
            copied += count as u64;
            to.write_all(&self.buffer[..count]).map_err(PackageError::Io)?;
        }
        if copied == member.size { Ok(()) } else { Err(PackageError::malformed("the archive is cut off")) }
    }
}

fn path_of(components: &[&[u8]]) -> PathBuf {
    components.iter().map(|component| OsStr::from_bytes(component)).collect()
}

#[cfg(test)]
mod tests;
