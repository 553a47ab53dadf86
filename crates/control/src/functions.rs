//! Functions: one operation a file.

mod create;
mod delete;
mod environment;
mod get;
mod hot_reload;
mod image;
mod list;
mod publish;
mod render;
mod runtime;
mod settings;
mod update;
mod versions;

use lambfold_types::Timestamp;

pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use environment::open as open_environment;
pub(crate) use get::{find, function, get, get_code_signing, get_configuration, whole};
pub(crate) use list::{list, page_size};
pub(crate) use publish::{Edition, publish};
pub(crate) use update::{update_code, update_configuration};
pub(crate) use versions::list as list_versions;

/// `2026-01-31T23:59:59.000+0000`, as Lambda writes times of functions.
pub(crate) fn timestamp(at: Timestamp) -> String {
    at.utc("%Y-%m-%dT%H:%M:%S%.3f+0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_lambda_does() {
        assert_eq!(timestamp(Timestamp::from_millis(951_782_400_123)), "2000-02-29T00:00:00.123+0000");
    }
}
