//! The root of a sandbox whose files are a container image's: the image, read only, with `/proc`, `/dev` and what names
//! hosts mounted over it. What is in the image nobody trusts: it is never looked at through a link.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::step::Step;
use super::{base_root, init, sys};
use crate::protocol::Failure;
use crate::{ROOT_DIRECTORIES, ROOT_FILES};

/// Where in the shared root the image is put together: one of its empty directories, in this mount namespace only.
const PLACE: &str = "home";

/// Puts it together in this process's mount namespace, and makes it the root.
pub(super) fn build(shared: &Path, image: &OwnedFd) -> Result<(), Failure> {
    let root = shared.join(PLACE);
    base_root::attach(image, &root)?;
    // Mounting follows links, which would lead to the host's directories here.
    for name in ROOT_DIRECTORIES {
        require(&root, name, fs::FileType::is_dir)?;
    }
    for name in ROOT_FILES {
        require(&root, name, fs::FileType::is_file)?;
        let source = shared.join(name);
        rustix::mount::mount_bind(source, root.join(name)).step(format_args!("mount /{name}"))?;
    }
    base_root::attach(base_root::devices_copy(shared)?, &root.join("dev"))?;
    init::mount_proc(shared, &root.join("proc"))?;
    sys::pivot_root(&root).step("change the root")
}

fn require(root: &Path, name: &str, is: impl Fn(&fs::FileType) -> bool) -> Result<(), Failure> {
    let path = root.join(name);
    let metadata = fs::symlink_metadata(&path).step(format_args!("find /{name} in the image"))?;
    if is(&metadata.file_type()) {
        Ok(())
    } else {
        Err(Failure::Invalid(format!("/{name} in the image is not what a sandbox needs there")))
    }
}
