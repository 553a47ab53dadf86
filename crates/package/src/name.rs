//! Names of entries: which are allowed, and what they mean.

use crate::error::{EntryProblem, PackageError};
use crate::limits::Limits;

/// The longest component that Linux's file systems take, in bytes.
const COMPONENT_BYTES: usize = 255;

/// The components of an entry's name; empty for `./`, the root. Empty and `.` components are skipped, as the kernel
/// would.
pub(crate) fn components<'a>(name: &'a str, limits: &Limits) -> Result<Vec<&'a str>, PackageError> {
    let refuse = |problem| Err(PackageError::entry(name.as_bytes(), problem));
    if name.len() > limits.name_bytes {
        return refuse(EntryProblem::NameTooLong);
    }
    // A backslash is a separator to whoever reads the archive on Windows: two readings of one name.
    if name.is_empty() || name.contains(|c: char| c.is_control() || c == '\\') {
        return refuse(EntryProblem::IllegalName);
    }
    let drive = matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if drive || name.starts_with('/') {
        return refuse(EntryProblem::AbsoluteName);
    }
    let mut components = Vec::new();
    for component in name.split('/') {
        match component {
            "" | "." => {}
            ".." => return refuse(EntryProblem::ParentComponent),
            long if long.len() > COMPONENT_BYTES => return refuse(EntryProblem::NameTooLong),
            normal => components.push(normal),
        }
    }
    if components.len() > limits.depth {
        return refuse(EntryProblem::NameTooLong);
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_names_become_components() {
        let limits = Limits::default();
        for (name, expected) in [
            ("lambda_function.py", vec!["lambda_function.py"]),
            ("./a//b/", vec!["a", "b"]),
            ("./", vec![]),
            ("..a/b..", vec!["..a", "b.."]),
            ("ä/日本", vec!["ä", "日本"]),
            ("node_modules/@scope/x", vec!["node_modules", "@scope", "x"]),
        ] {
            assert_eq!(components(name, &limits).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn every_unsafe_name_is_refused_for_its_reason() {
        let limits = Limits { name_bytes: 300, depth: 4, ..Limits::default() };
        for (name, problem) in [
            ("", EntryProblem::IllegalName),
            ("a\0b", EntryProblem::IllegalName),
            ("..\\evil", EntryProblem::IllegalName),
            ("a\\b", EntryProblem::IllegalName),
            ("a\nb", EntryProblem::IllegalName),
            ("/etc/passwd", EntryProblem::AbsoluteName),
            ("C:/x", EntryProblem::AbsoluteName),
            ("../evil", EntryProblem::ParentComponent),
            ("a/../b", EntryProblem::ParentComponent),
            ("a/..", EntryProblem::ParentComponent),
            ("a/b/c/d/e", EntryProblem::NameTooLong),
            (&"x".repeat(256), EntryProblem::NameTooLong),
            (&"x/".repeat(151), EntryProblem::NameTooLong),
        ] {
            match components(name, &limits) {
                Err(PackageError::UnsafeEntry { problem: found, .. }) => {
                    assert_eq!(found, problem, "{name:?}");
                }
                other => panic!("{name:?}: {other:?}"),
            }
        }
    }
}
