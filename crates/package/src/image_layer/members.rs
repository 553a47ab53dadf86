//! The members of a tar archive, with the long names that PAX and GNU put in members of their own. The tar crate reads
//! those into memory whatever they take, so it is only asked for what is plainly there.

use std::io::Read;

use tar::{Archive, EntryType, PaxExtensions};

use crate::error::{EntryProblem, PackageError};
use crate::limits::Limits;

/// The longest component that Linux's file systems take, in bytes.
const COMPONENT_BYTES: usize = 255;
/// The longest target of a symbolic link that Linux takes, in bytes.
const TARGET_BYTES: usize = 4095;
/// What members that describe the next one may hold: names, and attributes that nobody looks at.
const DESCRIPTION_BYTES: u64 = 1 << 20;

/// One member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    /// Where a link leads; empty where it is none.
    pub(super) link: Vec<u8>,
    pub(super) kind: MemberKind,
    pub(super) mode: u32,
    pub(super) size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    Directory,
    File,
    Symlink,
    HardLink,
    /// A device or a pipe.
    Device,
}

/// What the members before one say about it.
#[derive(Default)]
struct Description {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

pub(super) struct Members<R: Read>(Archive<R>);

impl<R: Read> Members<R> {
    pub(super) fn new(archive: R) -> Self {
        Self(Archive::new(archive))
    }

    pub(super) fn into_inner(self) -> R {
        self.0.into_inner()
    }

    /// Hands each member and its content to `take`.
    pub(super) fn each(
        &mut self,
        limits: &Limits,
        take: &mut dyn FnMut(&Member, &mut dyn Read) -> Result<(), PackageError>,
    ) -> Result<(), PackageError> {
        let mut next = Description::default();
        for entry in self.0.entries().map_err(PackageError::read)?.raw(true) {
            let mut entry = entry.map_err(PackageError::read)?;
            let header = entry.header();
            let (entry_type, size) = (header.entry_type(), entry.size());
            let name = header.path_bytes().into_owned();
            let described = |mut content: &mut dyn Read| describe(&mut content, &name, size);
            match entry_type {
                EntryType::XGlobalHeader => drop(described(&mut entry)?),
                EntryType::XHeader => next.read_pax(&described(&mut entry)?)?,
                EntryType::GNULongName => next.name = Some(until_nul(described(&mut entry)?)),
                EntryType::GNULongLink => next.link = Some(until_nul(described(&mut entry)?)),
                _ => {
                    let description = std::mem::take(&mut next);
                    let header = entry.header();
                    let link = header.link_name_bytes().map(std::borrow::Cow::into_owned);
                    let mode = header.mode().map_err(PackageError::read)?;
                    let member = Member {
                        name: description.name.unwrap_or(name),
                        link: description.link.or(link).unwrap_or_default(),
                        kind: MemberKind::Device,
                        mode,
                        size,
                    };
                    let refuse = |problem| Err(PackageError::entry(&member.name, problem));
                    if description.sparse {
                        return refuse(EntryProblem::SpecialFile);
                    }
                    if description.size.is_some_and(|other| other != size) {
                        return Err(PackageError::malformed("two sizes for one entry"));
                    }
                    let kind = match entry_type {
                        // As archives of before POSIX have it.
                        EntryType::Regular | EntryType::Continuous if member.name.ends_with(b"/") => {
                            MemberKind::Directory
                        }
                        EntryType::Regular | EntryType::Continuous => MemberKind::File,
                        EntryType::Directory => MemberKind::Directory,
                        EntryType::Symlink => MemberKind::Symlink,
                        EntryType::Link => MemberKind::HardLink,
                        EntryType::Char | EntryType::Block | EntryType::Fifo => MemberKind::Device,
                        _ => return refuse(EntryProblem::SpecialFile),
                    };
                    let target = &member.link;
                    if kind == MemberKind::Symlink
                        && (target.is_empty() || target.len() > TARGET_BYTES || target.contains(&0))
                    {
                        return refuse(EntryProblem::SymlinkTarget);
                    }
                    if member.name.len() > limits.name_bytes {
                        return refuse(EntryProblem::NameTooLong);
                    }
                    take(&Member { kind, ..member }, &mut entry)?;
                }
            }
        }
        Ok(())
    }
}

/// The content of a member that describes the next one.
fn describe(content: &mut dyn Read, name: &[u8], size: u64) -> Result<Vec<u8>, PackageError> {
    if size > DESCRIPTION_BYTES {
        return Err(PackageError::entry(name, EntryProblem::NameTooLong));
    }
    let mut bytes = Vec::new();
    content.take(DESCRIPTION_BYTES).read_to_end(&mut bytes).map_err(PackageError::read)?;
    if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        Err(PackageError::malformed("the archive is cut off"))
    }
}

impl Description {
    fn read_pax(&mut self, bytes: &[u8]) -> Result<(), PackageError> {
        for extension in PaxExtensions::new(bytes) {
            let extension = extension.map_err(PackageError::read)?;
            let value = extension.value_bytes();
            match extension.key_bytes() {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.size =
                        Some(size.ok_or_else(|| PackageError::malformed("a size that is no number"))?);
                }
                key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// The components of a member's name; empty for `./`, the root. Unlike in packages any byte but NUL may be in them, as
/// images have files named so.
pub(super) fn components<'a>(name: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, PackageError> {
    let refuse = |problem| Err(PackageError::entry(name, problem));
    if name.is_empty() || name.contains(&0) {
        return refuse(EntryProblem::IllegalName);
    }
    if name.starts_with(b"/") {
        return refuse(EntryProblem::AbsoluteName);
    }
    let mut components = Vec::new();
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return refuse(EntryProblem::ParentComponent),
            long if long.len() > COMPONENT_BYTES => return refuse(EntryProblem::NameTooLong),
            normal => components.push(normal),
        }
    }
    if components.len() > limits.depth {
        return refuse(EntryProblem::NameTooLong);
    }
    Ok(components)
}
