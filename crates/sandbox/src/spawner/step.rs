//! Errors of building a sandbox: the step that failed and what the system said. They cross process borders as text.

use std::fmt::Display;

use crate::protocol::Failure;

/// Adds the step to an error.
pub(super) trait Step<T> {
    /// `what` is the step in plain words: "mount /proc".
    fn step(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> Step<T> for Result<T, E> {
    fn step(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::Setup(format!("{what}: {error}")))
    }
}

/// The text of a failure, for reports.
pub(super) fn describe(failure: &Failure) -> String {
    crate::SandboxError::from(failure.clone()).to_string()
}
