//! Event source mappings: one operation a file.

mod create;
mod delete;
mod get;
mod render;
mod report;
mod settings;
mod update;

pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use get::{get, list};
pub(crate) use report::report;
pub(crate) use update::update;
