//! Our own look at the central directory, for what the zip crate does not tell: how many entries there are before
//! it makes room for them, names that occur twice, and links hidden in extra fields.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};

use crate::error::{EntryProblem, PackageError};
use crate::limits::Limits;

const SIGNATURE: [u8; 4] = *b"PK\x01\x02";
const FIXED_BYTES: usize = 46;

/// Refuses an archive that could hold far more entries than allowed before anything is allocated for them. Counts
/// signatures of central headers anywhere: packages within packages have some too, so four times the limit passes
/// here, and the exact count comes later.
pub(crate) fn refuse_floods<R: Read + Seek>(mut archive: R, limits: &Limits) -> Result<(), PackageError> {
    archive.seek(SeekFrom::Start(0)).map_err(PackageError::Io)?;
    let most = limits.entries.saturating_mul(4);
    let mut found = 0_usize;
    let mut matched = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match archive.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(PackageError::Io(error)),
        };
        for &byte in &buffer[..count] {
            if byte == SIGNATURE[matched] {
                matched += 1;
            } else {
                matched = usize::from(byte == SIGNATURE[0]);
            }
            if matched == SIGNATURE.len() {
                matched = 0;
                found += 1;
                if found > most {
                    return Err(PackageError::TooManyEntries { limit: limits.entries });
                }
            }
        }
    }
}

/// Goes through the central headers at `start` and expects `listed` of them, all with names of their own.
pub(crate) fn check<R: Read + Seek>(
    mut archive: R,
    start: u64,
    listed: usize,
    limits: &Limits,
) -> Result<(), PackageError> {
    if listed > limits.entries {
        return Err(PackageError::TooManyEntries { limit: limits.entries });
    }
    archive.seek(SeekFrom::Start(start)).map_err(PackageError::read)?;
    let mut names = HashSet::with_capacity(listed);
    loop {
        let mut signature = [0; SIGNATURE.len()];
        archive.read_exact(&mut signature).map_err(PackageError::read)?;
        if signature != SIGNATURE {
            break;
        }
        let mut fixed = [0; FIXED_BYTES - SIGNATURE.len()];
        archive.read_exact(&mut fixed).map_err(PackageError::read)?;
        let length = |at: usize| usize::from(u16::from_le_bytes([fixed[at - 4], fixed[at - 3]]));
        let mut name = vec![0; length(28)];
        archive.read_exact(&mut name).map_err(PackageError::read)?;
        let mut extra = vec![0; length(30)];
        archive.read_exact(&mut extra).map_err(PackageError::read)?;
        archive
            .seek(SeekFrom::Current(i64::try_from(length(32)).unwrap_or(0)))
            .map_err(PackageError::read)?;
        if has_link(&extra) {
            return Err(PackageError::entry(&name, EntryProblem::SpecialFile));
        }
        if let Some(twice) = names.replace(name) {
            return Err(PackageError::entry(&twice, EntryProblem::DuplicateName));
        }
        if names.len() > limits.entries {
            return Err(PackageError::TooManyEntries { limit: limits.entries });
        }
    }
    if names.len() == listed {
        Ok(())
    } else {
        Err(PackageError::malformed("the central directory has another number of entries than declared"))
    }
}

/// Whether an extra field of PKWARE's (0x000d) or ASi's (0x756e) Unix kind carries the target of a hard or
/// symbolic link, or the numbers of a device. Nobody writes them today; some unpackers still follow them.
fn has_link(mut extra: &[u8]) -> bool {
    while let [id0, id1, size0, size1, rest @ ..] = extra {
        let size = usize::from(u16::from_le_bytes([*size0, *size1]));
        let carries = match u16::from_le_bytes([*id0, *id1]) {
            0x000d => size > 12,
            0x756e => size > 14,
            _ => false,
        };
        if carries {
            return true;
        }
        extra = rest.get(size..).unwrap_or_default();
    }
    false
}
