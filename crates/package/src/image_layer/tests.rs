//! Whole layers, sound and malicious, through both ways in.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::*;

/// One member as the header says it; nothing is corrected on the way.
struct Entry(EntryType, &'static str, &'static str, u32, &'static [u8]);

fn file(name: &'static str, data: &'static [u8]) -> Entry {
    Entry(EntryType::Regular, name, "", 0o644, data)
}

fn link(kind: EntryType, name: &'static str, target: &'static str) -> Entry {
    Entry(kind, name, target, 0o777, b"")
}

fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for Entry(kind, name, target, mode, data) in entries {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Inspects and unpacks: both must say the same, and a refusal must leave nothing behind, inside or outside.
fn both(layer: &[u8], limits: &Limits, look: impl FnOnce(&Path)) -> Result<LayerSummary, PackageError> {
    let directory = tempfile::tempdir().unwrap();
    let (blob, destination) = (tempfile::tempfile().unwrap(), directory.path().join("layer"));
    (&blob).write_all(layer).unwrap();
    let inspected = inspect(layer, limits);
    let unpacked = unpack_file(&blob, &destination, limits);
    assert_eq!(format!("{inspected:?}"), format!("{unpacked:?}"));
    match &unpacked {
        Ok(_) => look(&destination),
        Err(_) => assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "something was left behind"),
    }
    unpacked
}

fn problem(entries: &[Entry]) -> EntryProblem {
    match both(&tar(entries), &Limits::of_image(), |_| ()) {
        Err(PackageError::UnsafeEntry { problem, .. }) => problem,
        other => panic!("expected an unsafe entry, got {other:?}"),
    }
}

#[test]
fn a_layer_is_unpacked_whatever_its_compression() {
    let plain = tar(&[
        Entry(EntryType::Directory, "./", "", 0o755, b""),
        Entry(EntryType::Directory, "bin/", "", 0o700, b""),
        Entry(EntryType::Regular, "bin/tool", "", 0o6755, b"tool"),
        link(EntryType::Link, "bin/same", "bin/tool"),
        link(EntryType::Symlink, "bin/anywhere", "/etc/../../passwd"),
        file("new/dir/x\\y", b"1"),
        file("dev/.wh.gone", b""),
        file("dev/.wh..wh..opq", b""),
        file(".wh..wh.plnk/1.2", b""),
        Entry(EntryType::Char, "dev/null", "", 0o666, b""),
        link(EntryType::Link, "dev/zero", "dev/null"),
        Entry(EntryType::Fifo, "dev/pipe", "", 0o666, b""),
        file("twice", b"first"),
        file("twice", b"last"),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    // Two frames with one between them that is to be skipped.
    let (head, tail) = plain.split_at(1000);
    let frame = |bytes| ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
    let zstd = [frame(head), b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(), frame(tail)].concat();
    for layer in [plain.clone(), gzip.finish().unwrap(), zstd] {
        let summary = both(&layer, &Limits::of_image(), |root| {
            let mode =
                |name: &str| fs::symlink_metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
            assert_eq!((mode("bin"), mode("bin/tool"), mode("new/dir/x\\y")), (0o755, 0o755, 0o644));
            let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
            assert_eq!(inode("bin/tool"), inode("bin/same"));
            assert_eq!(fs::read_link(root.join("bin/anywhere")).unwrap(), Path::new("/etc/../../passwd"));
            assert_eq!(fs::read(root.join("twice")).unwrap(), b"last");
            let mut dev: Vec<_> =
                fs::read_dir(root.join("dev")).unwrap().map(|it| it.unwrap().file_name()).collect();
            dev.sort();
            assert_eq!(dev, [OPAQUE, ".wh.gone"], "whiteouts stay, devices are left out");
            assert!(!root.join(".wh..wh.plnk").exists());
        });
        let summary = summary.unwrap();
        assert_eq!(summary.unpacked_bytes, plain.len() as u64);
        assert_eq!(summary.diff_id[..], Sha256::digest(&plain)[..]);
    }
}

#[test]
fn what_would_get_out_is_refused() {
    for (entries, expected) in [
        (vec![file("/tmp/evil", b"x")], EntryProblem::AbsoluteName),
        (vec![file("../evil", b"x")], EntryProblem::ParentComponent),
        (vec![file("a/../../evil", b"x")], EntryProblem::ParentComponent),
        (vec![link(EntryType::Symlink, "l", "/tmp"), file("l/evil", b"x")], EntryProblem::BelowNonDirectory),
        (
            vec![link(EntryType::Symlink, "l", "/tmp"), Entry(EntryType::Directory, "l", "", 0o755, b"")],
            EntryProblem::KindMismatch,
        ),
        (
            vec![Entry(EntryType::Directory, "d", "", 0o755, b""), link(EntryType::Symlink, "d", "/tmp")],
            EntryProblem::KindMismatch,
        ),
        (vec![link(EntryType::Link, "h", "/etc/passwd")], EntryProblem::HardLinkTarget),
        (vec![link(EntryType::Link, "h", "../../etc/passwd")], EntryProblem::HardLinkTarget),
        (vec![link(EntryType::Link, "h", "not/there")], EntryProblem::HardLinkTarget),
        (vec![link(EntryType::Link, "h", "h")], EntryProblem::HardLinkTarget),
        (
            vec![link(EntryType::Symlink, "l", "/etc"), link(EntryType::Link, "h", "l/passwd")],
            EntryProblem::HardLinkTarget,
        ),
        (vec![file("a/.wh...", b"")], EntryProblem::IllegalName),
        (vec![file("a/.wh..", b"")], EntryProblem::IllegalName),
        (vec![file(".wh.", b"")], EntryProblem::IllegalName),
        (vec![file(".wh.d/evil", b"")], EntryProblem::IllegalName),
        (vec![file("", b"")], EntryProblem::IllegalName),
        (vec![file("./", b"x"), file(".", b"x")], EntryProblem::KindMismatch),
        (vec![Entry(EntryType::GNUSparse, "s", "", 0o644, b"")], EntryProblem::SpecialFile),
        (vec![link(EntryType::Symlink, "l", "")], EntryProblem::SymlinkTarget),
    ] {
        let name = entries.last().unwrap().1;
        assert_eq!(problem(&entries), expected, "{name}");
    }
}

#[test]
fn a_hard_link_to_a_link_does_not_lead_through_it() {
    let layer = tar(&[
        link(EntryType::Symlink, "l", "/tmp/evil-of-a-layer"),
        link(EntryType::Link, "h", "l"),
        file("h", b"replaces the link"),
    ]);
    both(&layer, &Limits::of_image(), |root| {
        assert!(fs::symlink_metadata(root.join("l")).unwrap().is_symlink());
        assert_eq!(fs::read(root.join("h")).unwrap(), b"replaces the link");
    })
    .unwrap();
    assert!(!Path::new("/tmp/evil-of-a-layer").exists());
}

#[test]
fn long_names_are_read_and_bounded() {
    let mut builder = Builder::new(Vec::new());
    let long = format!("{}/file", vec!["d".repeat(60); 20].join("/"));
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    builder.append_data(&mut header.clone(), &long, &b"x"[..]).unwrap();
    both(&builder.into_inner().unwrap(), &Limits::of_image(), |root| {
        assert_eq!(fs::read(root.join(&long)).unwrap(), b"x");
    })
    .unwrap();
    // A name of two gigabytes, said to follow: refused before any of it is read.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(2 << 30);
    header.set_cksum();
    let outcome = inspect(&header.as_bytes()[..], &Limits::of_image());
    assert!(matches!(outcome, Err(PackageError::UnsafeEntry { problem: EntryProblem::NameTooLong, .. })));
}

#[test]
fn bombs_and_stumps_are_refused() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = Builder::new(&mut gzip);
    let mut header = Header::new_gnu();
    header.set_size(64 << 20);
    header.set_mode(0o644);
    builder.append_data(&mut header, "zeros", std::io::repeat(0).take(64 << 20)).unwrap();
    builder.finish().unwrap();
    drop(builder);
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let limits = Limits { unzipped_bytes: 16 << 20, entries: 3, ..Limits::of_image() };
    assert!(matches!(both(&bomb, &limits, |_| ()), Err(PackageError::TooLarge { limit: 16_777_216 })));
    let many = tar(&[file("a/b/c", b""), file("d", b"")]);
    assert!(matches!(both(&many, &limits, |_| ()), Err(PackageError::TooManyEntries { limit: 3 })));
    let whole = tar(&[file("a", b"0123456789")]);
    for end in [100, 512, 515] {
        let outcome = both(&whole[..end], &limits, |_| ());
        assert!(matches!(outcome, Err(PackageError::Malformed { .. })), "{end}: {outcome:?}");
    }
    assert!(matches!(both(b"\x1f\x8bno gzip", &limits, |_| ()), Err(PackageError::Malformed { .. })));
    assert!(matches!(both(b"\x28\xb5\x2f\xfdno zstd", &limits, |_| ()), Err(PackageError::Malformed { .. })));
}
