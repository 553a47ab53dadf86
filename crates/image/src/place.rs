//! The directories of this machine from which images may be read: nobody may read another file through a name of an
//! image.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use crate::error::ImageError;

/// A file, or a part of one.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) file: File,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Piece {
    /// All of it, if it is not longer than `limit`.
    pub(crate) fn read(&self, limit: u64) -> Result<Vec<u8>, ImageError> {
        if self.length > limit {
            return Err(ImageError::Invalid("A document of the image is too large.".to_owned()));
        }
        let mut bytes = vec![0; usize::try_from(self.length).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, self.offset).map_err(|error| unreadable(&error))?;
        Ok(bytes)
    }
}

pub(crate) fn unreadable(error: &io::Error) -> ImageError {
    ImageError::Unavailable(format!("The image cannot be read: {error}."))
}

/// Finds what an image's name says, in one of `directories`. A relative path is looked for in each of them.
pub(crate) fn find(path: &Path, directories: &[PathBuf]) -> Result<PathBuf, ImageError> {
    let denied = || {
        let directories: Vec<_> = directories.iter().map(|it| it.display().to_string()).collect();
        ImageError::Denied(format!(
            "Images on this machine are read from {} only; the setting control.image_directories names more.",
            if directories.is_empty() { "no directory".to_owned() } else { directories.join(", ") }
        ))
    };
    if path.components().any(|component| component == Component::ParentDir) {
        return Err(denied());
    }
    if path.is_relative() {
        let found = directories.iter().find_map(|directory| beneath(directory, path).ok());
        return found
            .ok_or_else(|| ImageError::NotFound(format!("There is no image at {}.", path.display())));
    }
    // First by name, so that nobody learns what there is elsewhere; then by where links lead.
    let Some((directory, rest)) =
        directories.iter().find_map(|directory| Some((directory, path.strip_prefix(directory).ok()?)))
    else {
        return Err(denied());
    };
    beneath(directory, rest).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => denied(),
        _ => ImageError::NotFound(format!("There is no image at {}.", path.display())),
    })
}

/// Opens a plain file below a directory.
pub(crate) fn open(directory: &Path, name: &Path) -> io::Result<Piece> {
    let path = beneath(directory, name)?;
    // Anything else might block, or never end.
    if !path.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok(Piece { file, offset: 0, length })
}

/// Where a name below a directory leads, if not out of it.
fn beneath(directory: &Path, name: &Path) -> io::Result<PathBuf> {
    let directory = directory.canonicalize()?;
    let path = directory.join(name).canonicalize()?;
    if path.starts_with(&directory) { Ok(path) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_the_directories_is_found() {
        let root = tempfile::tempdir().unwrap();
        let images = root.path().join("images");
        std::fs::create_dir_all(images.join("app")).unwrap();
        std::fs::write(root.path().join("secret"), "").unwrap();
        symlink("../secret", images.join("link")).unwrap();
        symlink("/etc", images.join("etc")).unwrap();
        let directories = [images.clone()];
        assert!(find(&images.join("app"), &directories).unwrap().ends_with("images/app"));
        assert!(find(Path::new("app"), &directories).unwrap().ends_with("images/app"));
        let denied = |path: &Path| matches!(find(path, &directories), Err(ImageError::Denied(_)));
        assert!(denied(Path::new("/etc/passwd")) && denied(&root.path().join("nothing")));
        assert!(denied(&images.join("../secret")) && denied(Path::new("../secret")));
        assert!(denied(&images.join("link")) && denied(&images.join("etc/passwd")));
        assert!(matches!(find(&images.join("none"), &directories), Err(ImageError::NotFound(_))));
        assert!(matches!(find(Path::new("link"), &directories), Err(ImageError::NotFound(_))));
        assert!(open(&images, Path::new("app")).is_err(), "no file");
    }
}
