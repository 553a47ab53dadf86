//! Whole archives, sound and malicious, through both ways in.

mod archive;

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use archive::{Entry, archive, crc32};
use zip::write::SimpleFileOptions;

use crate::{EntryProblem, Limits, PackageError, Summary, inspect, unpack, unpack_file};

/// Inspects and unpacks: both must say the same, and a refusal must leave nothing behind, inside or outside.
fn both(bytes: &[u8], limits: &Limits) -> Result<Summary, PackageError> {
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("package");
    let inspected = inspect(bytes, limits);
    let unpacked = unpack(bytes, &destination, limits);
    match (&inspected, &unpacked) {
        (Ok(one), Ok(two)) => {
            assert_eq!(one, two);
            assert!(destination.is_dir());
        }
        (Err(one), Err(two)) => {
            assert_eq!(format!("{one:?}"), format!("{two:?}"));
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "something was left behind");
        }
        (one, two) => panic!("inspect said {one:?}, unpack {two:?}"),
    }
    inspected
}

fn problem(entries: &[Entry]) -> EntryProblem {
    match both(&archive(entries), &Limits::default()) {
        Err(PackageError::UnsafeEntry { problem, .. }) => problem,
        other => panic!("expected an unsafe entry, got {other:?}"),
    }
}

fn assert_malformed(bytes: &[u8]) {
    match both(bytes, &Limits::default()) {
        Err(PackageError::Malformed { .. }) => {}
        other => panic!("expected a malformed archive, got {other:?}"),
    }
}

fn deflated(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_package_is_unpacked_with_its_modes_and_links() {
    let bytes = archive(&[
        Entry::file("bootstrap", b"#!/bin/sh\n").with_mode(0o106_755),
        Entry::file("lambda_function.py", b"def handler(event, context): pass\n").with_mode(0o100_600),
        Entry::file("lib/", b"").with_mode(0o041_700),
        Entry::file("lib/deep/er/data", &vec![7; 100_000]).with_mode(0),
        Entry::symlink("lib/current", "deep/er"),
        Entry::symlink("handler.py", "./lambda_function.py"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("package");
    let summary = unpack(&bytes, &root, &Limits::default()).unwrap();
    // Links count with the bytes of their targets.
    assert_eq!(summary, Summary { entries: 6, unzipped_bytes: 10 + 34 + 100_000 + 7 + 20 });
    assert_eq!(inspect(&bytes, &Limits::default()).unwrap(), summary);
    for (path, expected) in [
        ("", 0o755),
        ("bootstrap", 0o755),
        ("lambda_function.py", 0o644),
        ("lib", 0o755),
        ("lib/deep", 0o755),
        ("lib/deep/er/data", 0o644),
    ] {
        assert_eq!(mode(&root.join(path)), expected, "{path}");
    }
    assert_eq!(fs::read(root.join("lib/current/data")).unwrap(), vec![7; 100_000]);
    assert_eq!(fs::read_link(root.join("handler.py")).unwrap(), Path::new("./lambda_function.py"));

    // From a file the same comes out; a directory that exists is refused and left alone.
    let stored = directory.path().join("package.zip");
    fs::write(&stored, &bytes).unwrap();
    let file = File::open(&stored).unwrap();
    let error = unpack_file(&file, &root, &Limits::default()).unwrap_err();
    assert!(matches!(error, PackageError::Io(_)), "{error:?}");
    let again = directory.path().join("again");
    assert_eq!(unpack_file(&file, &again, &Limits::default()).unwrap(), summary);
    assert_eq!(fs::read(again.join("handler.py")).unwrap(), fs::read(root.join("handler.py")).unwrap());
}

#[test]
fn what_other_tools_write_is_accepted() {
    let bytes =
        deflated(&[("index.mjs", b"export const handler = async () => 1;"), ("a/b", &vec![0; 70_000])]);
    assert_eq!(
        both(&bytes, &Limits::default()).unwrap(),
        Summary { entries: 2, unzipped_bytes: 37 + 70_000 }
    );
    // Names that differ in case only are two names.
    let bytes = archive(&[Entry::file("Readme", b"1"), Entry::file("README", b"2")]);
    assert_eq!(both(&bytes, &Limits::default()).unwrap().entries, 2);
    // An archive behind other bytes, as self-extracting ones are.
    let prefixed = [b"#!/bin/sh\nexit 0\n".as_slice(), &bytes].concat();
    assert_eq!(both(&prefixed, &Limits::default()).unwrap().entries, 2);
    // Nothing in it at all.
    assert_eq!(both(&archive(&[]), &Limits::default()).unwrap(), Summary::default());
}

#[test]
fn names_that_lead_out_are_refused() {
    for (name, expected) in [
        ("../evil", EntryProblem::ParentComponent),
        ("a/../../evil", EntryProblem::ParentComponent),
        ("/tmp/evil", EntryProblem::AbsoluteName),
        ("..\\evil", EntryProblem::IllegalName),
        ("C:\\evil", EntryProblem::IllegalName),
        ("a\0.py", EntryProblem::IllegalName),
    ] {
        assert_eq!(problem(&[Entry::file("fine", b""), Entry::file(name, b"x")]), expected, "{name:?}");
    }
    match both(&archive(&[Entry::file("../evil", b"x")]), &Limits::default()) {
        Err(PackageError::UnsafeEntry { entry, .. }) => assert_eq!(entry, "../evil"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn links_never_lead_out() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    assert_eq!(problem(&[Entry::symlink("link", target)]), EntryProblem::SymlinkTarget);
    assert_eq!(problem(&[Entry::symlink("a/link", "../../x")]), EntryProblem::SymlinkTarget);
    assert_eq!(problem(&[Entry::symlink("link", "link")]), EntryProblem::SymlinkTarget);
    assert_eq!(problem(&[Entry::symlink("link", &"x/".repeat(600))]), EntryProblem::SymlinkTarget);
    // A link and then a file through it, in both orders.
    let (link, file) = (Entry::symlink("dir", target), Entry::file("dir/evil", b"x"));
    assert_eq!(problem(&[link.clone(), file.clone()]), EntryProblem::BelowNonDirectory);
    assert_eq!(problem(&[file, link]), EntryProblem::DuplicateName);
    let (link, file) = (Entry::symlink("dir", "real"), Entry::file("dir/x", b"x"));
    assert_eq!(problem(&[link, file]), EntryProblem::BelowNonDirectory);
    assert_eq!(
        problem(&[Entry::symlink("a/up", ".."), Entry::symlink("sly", "a/up/../x")]),
        EntryProblem::SymlinkTarget
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn one_name_is_one_entry() {
    assert_eq!(
        problem(&[Entry::file("index.py", b"good"), Entry::file("index.py", b"evil")]),
        EntryProblem::DuplicateName
    );
    assert_eq!(
        problem(&[Entry::file("index.py", b"good"), Entry::file("./index.py", b"evil")]),
        EntryProblem::DuplicateName
    );
    assert_eq!(problem(&[Entry::file("a", b""), Entry::file("a/", b"")]), EntryProblem::DuplicateName);
}

#[test]
fn special_files_are_refused() {
    for kind in [0o010_000, 0o020_000, 0o060_000, 0o140_000] {
        let entry = Entry::file("device", b"").with_mode(kind | 0o644);
        assert_eq!(problem(&[entry]), EntryProblem::SpecialFile);
    }
    for (id, size) in [(0x000d_u16, 20_u16), (0x756e, 20)] {
        let mut entry = Entry::file("hard", b"");
        entry.central_extra.extend(id.to_le_bytes());
        entry.central_extra.extend(size.to_le_bytes());
        entry.central_extra.extend(vec![0; usize::from(size)]);
        assert_eq!(problem(&[entry]), EntryProblem::SpecialFile);
    }
    assert_eq!(problem(&[Entry::file("d", b"").with_mode(0o040_755)]), EntryProblem::KindMismatch);
    assert_eq!(problem(&[Entry::file("d/", b"x")]), EntryProblem::KindMismatch);
    assert_eq!(problem(&[Entry { flags: 1, ..Entry::file("secret", &[0; 16]) }]), EntryProblem::Encrypted);
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let zeros = vec![0; 3_000_000];
    let bytes = deflated(&[("a", &zeros), ("b", &zeros)]);
    assert!(bytes.len() < 20_000);
    let limit = |unzipped_bytes| Limits { unzipped_bytes, ..Limits::default() };
    assert_eq!(both(&bytes, &limit(6_000_000)).unwrap().unzipped_bytes, 6_000_000);
    match both(&bytes, &limit(5_999_999)) {
        Err(PackageError::TooLarge { limit: 5_999_999 }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn entries_that_share_bytes_are_refused() {
    // Two central headers for one local one, as in flat bombs with overlapping files.
    let one = Entry::file("a", &[0; 1000]);
    let two = Entry { offset: Some(0), local_name: Some(b"a".to_vec()), ..Entry::file("b", &[0; 1000]) };
    assert_malformed(&archive(&[one, two.clone()]));
    // A local header within the data of another entry: each file quotes the next, as in quines and zbsm bombs.
    let inner = archive(&[Entry::file("b", b"payload")]);
    let local_length = 30 + 1 + 7;
    let outer = Entry::file("a", &inner[..local_length]);
    let quoted = Entry { offset: Some(31), ..Entry::file("b", b"payload") };
    assert_malformed(&archive(&[outer, quoted]));
    // An entry that runs into the central directory.
    let reaching = Entry { compressed: 60, uncompressed: 60, ..Entry::file("a", b"x") };
    assert_malformed(&archive(&[reaching]));
    // An offset beyond the end.
    assert_malformed(&archive(&[Entry { offset: Some(u32::MAX - 1), ..two }]));
}

#[test]
fn headers_that_contradict_each_other_are_refused() {
    let renamed = Entry { local_name: Some(b"../../x".to_vec()), ..Entry::file("innocent", b"x") };
    assert_malformed(&archive(&[renamed]));
    // Wrong checksum.
    assert_malformed(&archive(&[Entry { crc: 1, ..Entry::file("a", b"abc") }]));
    // A declared size that is too small, too large, absurd.
    for size in [2, 4, u32::MAX - 1] {
        assert_malformed(&archive(&[Entry { uncompressed: size, ..Entry::file("a", b"abc") }]));
    }
    // A compressed entry whose declared size is a lie: more and less than comes out.
    let sound = deflated(&[("a", &[0; 5000])]);
    for lie in [1_u32, 4999, 5001, 1_000_000] {
        let mut bytes = sound.clone();
        let true_size = 5000_u32.to_le_bytes();
        let positions: Vec<usize> =
            (0..bytes.len() - 4).filter(|&at| bytes[at..at + 4] == true_size).collect();
        assert_eq!(positions.len(), 2);
        for at in positions {
            bytes[at..at + 4].copy_from_slice(&lie.to_le_bytes());
        }
        assert_malformed(&bytes);
    }
    // Unknown compression.
    assert_malformed(&archive(&[Entry { method: 14, ..Entry::file("a", b"abc") }]));
    // Entries in the directory beyond the declared number.
    let mut bytes = archive(&[Entry::file("a", b"1"), Entry::file("b", b"2")]);
    let end = bytes.len() - 22;
    for at in [end + 8, end + 10] {
        bytes[at] = 1;
    }
    assert_malformed(&bytes);
}

#[test]
fn garbage_and_every_truncation_are_refused() {
    for bytes in [b"".as_slice(), b"PK", b"PK\x05\x06", b"not a zip at all", &[0; 4096], &[0xFF; 4096]] {
        assert_malformed(bytes);
    }
    let sound = archive(&[Entry::file("a/b", b"hello"), Entry::symlink("c", "a/b")]);
    for end in 0..sound.len() {
        assert!(inspect(&sound[..end], &Limits::default()).is_err(), "cut at {end}");
    }
}

#[test]
fn no_single_wrong_byte_does_harm() {
    let sound = archive(&[
        Entry::file("a/b", b"hello"),
        Entry::symlink("c", "a/b"),
        Entry { method: 8, crc: crc32(b""), uncompressed: 0, ..Entry::file("d", &[3, 0]) },
    ]);
    both(&sound, &Limits::default()).unwrap();
    for at in 0..sound.len() {
        for flip in [0x01, 0x80, 0xFF] {
            let mut bytes = sound.clone();
            bytes[at] ^= flip;
            // Many flips are harmless (a time, a permission); none may panic or make the two ways differ.
            let _ = both(&bytes, &Limits::default());
        }
    }
}

#[test]
fn the_number_of_entries_is_bounded() {
    let entries: Vec<Entry> = (0..=100_000).map(|number| Entry::file(number.to_string(), b"")).collect();
    match inspect(&archive(&entries), &Limits::default()) {
        Err(PackageError::TooManyEntries { limit: 100_000 }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(inspect(&archive(&entries[1..]), &Limits::default()).unwrap().entries, 100_000);
    // Far too many are refused before anything is made for them.
    let few = Limits { entries: 10, ..Limits::default() };
    assert!(matches!(both(&archive(&entries[..50]), &few), Err(PackageError::TooManyEntries { limit: 10 })));
    // Directories that only names imply count.
    let deep = archive(&[Entry::file("1/2/3/4/5/6/7/8/9/10/11", b"")]);
    assert!(matches!(both(&deep, &few), Err(PackageError::TooManyEntries { limit: 10 })));
    let names = Limits { name_bytes: 8, ..Limits::default() };
    assert!(matches!(
        both(&archive(&[Entry::file("123456789", b"")]), &names),
        Err(PackageError::UnsafeEntry { problem: EntryProblem::NameTooLong, .. })
    ));
}
