//! Container images: their files are the root, their configuration says what runs.

use std::path::PathBuf;
use std::sync::Arc;

use lambfold_api::control::{ContainerImage, FunctionVersion};

use super::{Contents, Launcher, extensions};
use crate::error::LaunchError;
use crate::failure::Failure;
use crate::running::Running;

impl Launcher {
    /// Makes the root directory of an image.
    pub(super) async fn image_contents(&self, image: &ContainerImage) -> Result<Contents, LaunchError> {
        if !self.driver.capabilities().own_root {
            return Err(LaunchError::NoImages(self.driver.report().reached));
        }
        let root = self.packages.image(&image.layers).await?;
        // Not through a link: it would be followed on the host.
        let opt = root.path().join("opt");
        let opt = std::fs::symlink_metadata(&opt).is_ok_and(|it| it.is_dir()).then_some(opt);
        let extensions = extensions(opt.as_deref())?;
        Ok(Contents { package: root, layers: None, extensions })
    }

    /// Starts an environment of an image; none waits for those.
    pub(super) async fn launch_image(
        &self,
        function: &Arc<FunctionVersion>,
        log_stream: &str,
        contents: Contents,
    ) -> Result<Running, LaunchError> {
        let (files, root) = (self.runtime_files.directory(None), contents.package.path());
        let template = self.template(files.to_owned(), Some(root.to_owned()), None);
        let vacant = self.open(template).await?;
        self.occupy(vacant, function, log_stream, None, contents).await
    }
}

/// Entry point and command, if there are any.
pub(super) fn command(function: &FunctionVersion) -> Result<Vec<String>, LaunchError> {
    let command = function.image.as_ref().map(|image| image.command.clone()).unwrap_or_default();
    if command.is_empty() {
        let text = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
        return Err(LaunchError::Function(Failure::invalid_entrypoint(text)));
    }
    Ok(command)
}

/// Where the command starts.
pub(super) fn working_directory(function: &FunctionVersion) -> PathBuf {
    let named = function.image.as_ref().map(|image| image.working_directory.as_str());
    PathBuf::from(named.filter(|directory| !directory.is_empty()).unwrap_or("/"))
}
