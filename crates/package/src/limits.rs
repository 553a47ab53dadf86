//! What an archive may hold, and what it held.

/// Bounds of an archive. The default is AWS's where AWS has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files, symbolic links and directories together; directories count whether they have an entry of their own
    /// or not. AWS names no limit; 100,000.
    pub entries: usize,
    /// Bytes of all files together, unpacked. AWS: 262,144,000.
    pub unzipped_bytes: u64,
    /// Bytes of one entry's whole name. 2,048 leaves the half of `PATH_MAX` for where packages are mounted.
    pub name_bytes: usize,
    /// Components of one entry's name; 64.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 100_000, unzipped_bytes: 262_144_000, name_bytes: 2048, depth: 64 }
    }
}

impl Limits {
    /// Those of a container image. AWS: 10 GB unpacked; it names none for entries: 500,000. Names may be deeper than in
    /// packages.
    pub fn of_image() -> Self {
        Self { entries: 500_000, unzipped_bytes: 10 << 30, name_bytes: 2048, depth: 128 }
    }
}

/// What an archive held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries that the archive lists. Zero for an empty archive, which is a sound one.
    pub entries: usize,
    /// Bytes of all files together, unpacked: counted, not as declared.
    pub unzipped_bytes: u64,
}
