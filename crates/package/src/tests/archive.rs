//! Writes zip archives byte by byte, so that every field can lie.

/// One entry: what both of its headers say, and its bytes.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    /// What the local header says instead of `name`.
    pub(super) local_name: Option<Vec<u8>>,
    pub(super) data: Vec<u8>,
    pub(super) mode: u32,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) compressed: u32,
    pub(super) uncompressed: u32,
    /// Where the central header says that the local one is, instead of where it is.
    pub(super) offset: Option<u32>,
    pub(super) central_extra: Vec<u8>,
}

impl Entry {
    pub(super) fn file(name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        let length = u32::try_from(data.len()).unwrap();
        Self {
            name: name.as_ref().to_vec(),
            local_name: None,
            data: data.to_vec(),
            mode: 0o100_644,
            flags: 0,
            method: 0,
            crc: crc32(data),
            compressed: length,
            uncompressed: length,
            offset: None,
            central_extra: Vec::new(),
        }
    }

    pub(super) fn symlink(name: &str, target: &str) -> Self {
        Self { mode: 0o120_777, ..Self::file(name, target.as_bytes()) }
    }

    pub(super) fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }
}

/// The archive of these entries.
pub(super) fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut offsets = Vec::new();
    for entry in entries {
        offsets.push(u32::try_from(bytes.len()).unwrap());
        let name = entry.local_name.as_ref().unwrap_or(&entry.name);
        bytes.extend(*b"PK\x03\x04");
        bytes.extend(20_u16.to_le_bytes());
        common(&mut bytes, entry, name.len());
        bytes.extend(0_u16.to_le_bytes());
        bytes.extend(name);
        bytes.extend(&entry.data);
    }
    let start = bytes.len();
    for (entry, offset) in entries.iter().zip(offsets) {
        bytes.extend(*b"PK\x01\x02");
        // Made by Unix, needs 2.0.
        bytes.extend([20, 3, 20, 0]);
        common(&mut bytes, entry, entry.name.len());
        bytes.extend(u16::try_from(entry.central_extra.len()).unwrap().to_le_bytes());
        // No comment, disk 0, no internal attributes.
        bytes.extend([0; 6]);
        bytes.extend((entry.mode << 16).to_le_bytes());
        bytes.extend(entry.offset.unwrap_or(offset).to_le_bytes());
        bytes.extend(&entry.name);
        bytes.extend(&entry.central_extra);
    }
    let size = bytes.len() - start;
    let count = u64::try_from(entries.len()).unwrap();
    if entries.len() > 0xFFFE {
        let at = bytes.len() as u64;
        bytes.extend(*b"PK\x06\x06");
        bytes.extend(44_u64.to_le_bytes());
        bytes.extend([45, 3, 45, 0]);
        bytes.extend([0; 8]);
        for number in [count, count, size as u64, start as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(*b"PK\x06\x07");
        bytes.extend([0; 4]);
        bytes.extend(at.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
    }
    let short = u16::try_from(count).unwrap_or(u16::MAX);
    bytes.extend(*b"PK\x05\x06");
    bytes.extend([0; 4]);
    bytes.extend(short.to_le_bytes());
    bytes.extend(short.to_le_bytes());
    bytes.extend(u32::try_from(size).unwrap().to_le_bytes());
    bytes.extend(u32::try_from(start).unwrap().to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

/// The fields that both headers have, from the flags to the length of the name.
fn common(bytes: &mut Vec<u8>, entry: &Entry, name_length: usize) {
    bytes.extend(entry.flags.to_le_bytes());
    bytes.extend(entry.method.to_le_bytes());
    // Midnight of 1 January 1980.
    bytes.extend([0, 0, 0x21, 0]);
    bytes.extend(entry.crc.to_le_bytes());
    bytes.extend(entry.compressed.to_le_bytes());
    bytes.extend(entry.uncompressed.to_le_bytes());
    bytes.extend(u16::try_from(name_length).unwrap().to_le_bytes());
}

pub(super) fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}
