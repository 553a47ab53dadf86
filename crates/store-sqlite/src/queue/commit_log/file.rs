//! The file of the commit log: a block that says whose it is, then two segments that are written by turns, each from its
//! start. Records begin at a block. A segment ends where no record follows whose number is the next one: what stands behind
//! is of an earlier turn, and no number is used twice.
//!
//! All of it is written when it is made, so that a record changes nothing but the file's contents, and goes past the page
//! cache where the filesystem permits (`O_DIRECT`): what is left of a commit is one write that the device has made
//! durable when it returns (`O_DSYNC`).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use lambfold_queue::store::FencedWrite;

use crate::queue::space::Space;

/// What is written at once, and where records begin: no device has larger sectors.
const BLOCK: usize = 4096;

/// Of each segment.
pub(super) const SEGMENT_BYTES: u64 = 8 << 20;

/// A record is no longer than this: longer ones are not worth being written twice.
const RECORD_BYTES: usize = 1 << 20;

const LENGTH: u64 = BLOCK as u64 + 2 * SEGMENT_BYTES;

/// On a disk that has less than this many times the file's length none is made.
const SMALL_DISK: u64 = 64;

/// Begins every record and the file. The last byte is the number of the format: that of [`FencedWrite`], too.
pub(super) const MAGIC: [u8; 8] = *b"lfcommi\x01";

/// Magic, number, length and checksum of a record.
const HEADER: usize = 8 + 8 + 4 + 4;

/// Tells databases apart.
pub(super) type Identity = [u8; 16];

/// A commit, as it is read back.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) batch: Vec<FencedWrite>,
}

/// Where the next record is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    segment: u64,
    offset: u64,
}

impl Place {
    /// The start of the other segment.
    pub(super) fn turned(self) -> Self {
        Self { segment: 1 - self.segment, offset: 0 }
    }

    /// The start of the same segment.
    pub(super) fn anew(self) -> Self {
        Self { offset: 0, ..self }
    }

    fn has_room_for(self, bytes: usize) -> bool {
        self.offset + bytes as u64 <= SEGMENT_BYTES
    }

    fn in_file(self) -> u64 {
        BLOCK as u64 + self.segment * SEGMENT_BYTES + self.offset
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Whether it goes past the page cache.
    is_direct: bool,
    identity: Identity,
    /// What is being encoded.
    scratch: Vec<u8>,
    /// As it is written: from [`Self::start`] on, at a multiple of [`BLOCK`] in memory, too.
    aligned: Vec<u8>,
    start: usize,
    encoded: usize,
}

impl LogFile {
    /// The log at `path` of the database of that identity, made if it is not there, and what is in it. `None` where there is
    /// none, and the disk is small or none can be made.
    pub(super) fn open(
        path: &Path,
        identity: Identity,
        space: &Space,
    ) -> io::Result<Option<(Self, Vec<Record>)>> {
        let found = match std::fs::read(path) {
            Ok(bytes) => found(path, identity, &bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let is_new = found.is_none();
        if is_new && space.free().is_some_and(|free| free < SMALL_DISK * LENGTH) {
            return Ok(None);
        }
        if is_new && let Err(error) = make(path) {
            tracing::warn!(%error, "there is no commit log: every commit is the database's own");
            return Ok(None);
        }
        let (file, is_direct) = open_direct(path)?;
        let mut log = Self {
            path: path.to_owned(),
            file,
            is_direct,
            identity,
            scratch: Vec::new(),
            aligned: Vec::new(),
            start: 0,
            encoded: 0,
        };
        if is_new {
            log.align(&first_block(identity));
            log.write_at(0)?;
        }
        Ok(Some((log, found.unwrap_or_default())))
    }

    /// Encodes a record for [`Self::append`]; false if it is too long for the log.
    pub(super) fn encode(&mut self, number: u64, batch: &[FencedWrite]) -> bool {
        if batch.iter().map(|write| write.write.weight().1).sum::<usize>() > RECORD_BYTES {
            return false;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.resize(HEADER, 0);
        let encoded = postcard::to_io(batch, &mut scratch).is_ok() && scratch.len() <= RECORD_BYTES;
        if encoded {
            let (header, payload) = scratch.split_at_mut(HEADER);
            header.copy_from_slice(&header_of(self.identity, number, payload));
            self.align(&scratch);
        }
        self.scratch = scratch;
        encoded
    }

    /// Whether what was encoded has room at `place`.
    pub(super) fn fits(&self, place: Place) -> bool {
        place.has_room_for(self.encoded)
    }

    /// Writes what was encoded, durably, and moves `place` behind it.
    pub(super) fn append(&mut self, place: &mut Place) -> io::Result<()> {
        self.write_at(place.in_file())?;
        place.offset += self.encoded as u64;
        Ok(())
    }

    /// By what a record is durable, as the system says.
    pub(super) fn durability(&self) -> io::Result<&'static str> {
        let flags = rustix::fs::fcntl_getfl(&self.file)?;
        Ok(if flags.contains(rustix::fs::OFlags::DSYNC) { "O_DSYNC" } else { "fdatasync" })
    }

    /// Writes go to another file from now on; returns the one before.
    #[cfg(test)]
    pub(super) fn replace(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    /// Takes `bytes`, filled up to whole blocks.
    fn align(&mut self, bytes: &[u8]) {
        let blocks = bytes.len().next_multiple_of(BLOCK);
        if self.aligned.len() < blocks + BLOCK {
            self.aligned = vec![0; 2 * blocks + BLOCK];
            self.start = self.aligned.as_ptr().align_offset(BLOCK);
        }
        let (content, filling) = self.aligned[self.start..][..blocks].split_at_mut(bytes.len());
        content.copy_from_slice(bytes);
        filling.fill(0);
        self.encoded = blocks;
    }

    fn write_at(&mut self, at: u64) -> io::Result<()> {
        let bytes = &self.aligned[self.start..][..self.encoded];
        match self.file.write_all_at(bytes, at) {
            // Some filesystems take the flag, and not the writes.
            Err(error) if error.kind() == ErrorKind::InvalidInput && self.is_direct => {
                self.file = open_plain(&self.path)?;
                self.is_direct = false;
                self.file.write_all_at(bytes, at)?;
            }
            written => written?,
        }
        if cfg!(target_os = "linux") { Ok(()) } else { self.file.sync_data() }
    }
}

/// What a file has of the database of that identity; `None` if it is not that database's.
fn found(path: &Path, identity: Identity, bytes: &[u8]) -> io::Result<Option<Vec<Record>>> {
    let (is_whole, is_own) = (bytes.len() as u64 == LENGTH, bytes.get(8..24) == Some(&identity));
    if is_own && !(is_whole && bytes.starts_with(&MAGIC)) {
        // It may have commits that are nowhere else.
        let text = format!("{} is not as this release writes it", path.display());
        return Err(io::Error::new(ErrorKind::InvalidData, text));
    }
    let records = if is_whole { records(identity, bytes)? } else { Vec::new() };
    if is_own || !records.is_empty() {
        return Ok(Some(records));
    }
    if let Some(other) = bytes.get(8..24).filter(|_| bytes.starts_with(&MAGIC[..7])) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!("-of-{}", hex::encode(other)));
        tracing::warn!(path = %path.display(), aside = %Path::new(&aside).display(), "it is another database's: moved aside");
        std::fs::rename(path, aside)?;
    }
    Ok(None)
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<(File, bool)> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::WRONLY | OFlags::DSYNC | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags | OFlags::DIRECT, Mode::empty()) {
        Err(rustix::io::Errno::INVAL) => Ok((open_plain(path)?, false)),
        opened => Ok((opened?.into(), true)),
    }
}

#[cfg(target_os = "linux")]
fn open_plain(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::WRONLY | OFlags::DSYNC | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

#[cfg(not(target_os = "linux"))]
fn open_direct(path: &Path) -> io::Result<(File, bool)> {
    Ok((open_plain(path)?, false))
}

#[cfg(not(target_os = "linux"))]
fn open_plain(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// Writes all of a file that is no one's yet: it is not used before it has its whole length and its first block.
fn make(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0; 1 << 20];
    let mut left = LENGTH;
    while left > 0 {
        let piece = zeros.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&zeros[..piece])?;
        left -= piece as u64;
    }
    file.sync_all()?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn first_block(identity: Identity) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..8].copy_from_slice(&MAGIC);
    block[8..24].copy_from_slice(&identity);
    block
}

/// The checksum is over the identity as well, which no message's sender knows: what is in a message is never taken for a
/// record, wherever an earlier turn left it.
fn header_of(identity: Identity, number: u64, payload: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    // One that does not fit is too long anyway.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&number.to_le_bytes());
    header[16..20].copy_from_slice(&length.to_le_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&identity);
    checksum.update(&header[..20]);
    checksum.update(payload);
    header[20..].copy_from_slice(&checksum.finalize().to_le_bytes());
    header
}

/// All records of a file, by their numbers.
fn records(identity: Identity, file: &[u8]) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for segment in file[BLOCK..].chunks(usize::try_from(SEGMENT_BYTES).unwrap_or(usize::MAX)) {
        let mut rest = segment;
        let mut before: Option<u64> = None;
        while let Some((number, payload)) = record(identity, rest)
            && before.is_none_or(|before| before.checked_add(1) == Some(number))
        {
            let batch = postcard::from_bytes(payload).map_err(io::Error::other)?;
            records.push(Record { number, batch });
            before = Some(number);
            rest = &rest[(HEADER + payload.len()).next_multiple_of(BLOCK)..];
        }
    }
    records.sort_by_key(|record| record.number);
    Ok(records)
}

/// The record that `bytes` begin with, if it is whole.
fn record(identity: Identity, bytes: &[u8]) -> Option<(u64, &[u8])> {
    let header = bytes.first_chunk::<HEADER>()?;
    let number = u64::from_le_bytes(header[8..16].try_into().ok()?);
    let length = u32::from_le_bytes(header[16..20].try_into().ok()?);
    let payload = bytes[HEADER..].get(..usize::try_from(length).ok()?)?;
    (header_of(identity, number, payload) == *header).then_some((number, payload))
}
