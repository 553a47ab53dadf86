//! Why an archive is refused.

use std::fmt;
use std::io;

use zip::result::ZipError;

/// Why an archive was refused, or could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The bytes are not an archive, or one that cannot be read: truncated, a wrong checksum or size, headers
    /// that contradict each other, entries that share bytes, a compression that is not known.
    #[error("not a sound archive: {reason}")]
    Malformed {
        /// What is wrong, for a log.
        reason: String,
    },
    /// An entry that must not be unpacked.
    #[error("entry {entry:?} {problem}")]
    UnsafeEntry {
        /// The entry's name; long ones are cut.
        entry: String,
        /// What is wrong with it.
        problem: EntryProblem,
    },
    /// The files are larger together than [`crate::Limits::unzipped_bytes`].
    #[error("unpacked, the archive is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The archive holds more than [`crate::Limits::entries`].
    #[error("the archive holds more than {limit} files and directories")]
    TooManyEntries {
        /// The limit.
        limit: usize,
    },
    /// The machine failed, not the archive: the file could not be read, or the destination not be written.
    #[error("reading or writing the package failed")]
    Io(#[source] io::Error),
}

/// What makes an entry unsafe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryProblem {
    /// The name starts with `/` or a drive letter.
    AbsoluteName,
    /// The name has a component `..`.
    ParentComponent,
    /// The name is empty, or has a NUL, a control character or a backslash in it.
    IllegalName,
    /// The name, or a component of it, is too long or too deep.
    NameTooLong,
    /// Another entry has the same name.
    DuplicateName,
    /// The name leads through a file or a symbolic link as if it were a directory.
    BelowNonDirectory,
    /// A symbolic link that leads out of the archive, in circles, or nowhere that a link can.
    SymlinkTarget,
    /// A device, pipe, socket or hard link.
    SpecialFile,
    /// A hard link to what the archive does not have before it, or what is no file.
    HardLinkTarget,
    /// Name and mode disagree on whether it is a directory, or a directory has content.
    KindMismatch,
    /// The entry is encrypted.
    Encrypted,
}

impl fmt::Display for EntryProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AbsoluteName => "has an absolute name",
            Self::ParentComponent => "has `..` in its name",
            Self::IllegalName => "has an illegal name",
            Self::NameTooLong => "has a name that is too long or too deep",
            Self::DuplicateName => "has the name of another one",
            Self::BelowNonDirectory => "lies below something that is no directory",
            Self::SymlinkTarget => "is a symbolic link that leads out of the archive",
            Self::SpecialFile => "is neither file, directory nor symbolic link",
            Self::HardLinkTarget => "is a hard link to no file before it",
            Self::KindMismatch => "is a directory and a file at once",
            Self::Encrypted => "is encrypted",
        })
    }
}

impl PackageError {
    pub(crate) fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed { reason: reason.into() }
    }

    pub(crate) fn entry(name: &[u8], problem: EntryProblem) -> Self {
        let entry = String::from_utf8_lossy(name).chars().take(256).collect();
        Self::UnsafeEntry { entry, problem }
    }

    /// An error of a read: of the archive if its content caused it, of the machine otherwise.
    pub(crate) fn read(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::Unsupported
            | io::ErrorKind::Other => Self::malformed(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

impl From<ZipError> for PackageError {
    fn from(error: ZipError) -> Self {
        match error {
            ZipError::Io(error) => Self::read(error),
            other => Self::malformed(other.to_string()),
        }
    }
}
