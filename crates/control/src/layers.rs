//! Layers: one operation a file, and how functions refer to them.

mod delete;
mod get;
mod list;
mod permissions;
mod publish;
mod references;
mod render;
mod target;

pub(crate) use delete::delete;
pub(crate) use get::{get, get_by_arn};
pub(crate) use list::{list, list_versions};
pub(crate) use permissions::{add as add_permission, policy, remove as remove_permission};
pub(crate) use publish::publish;
pub(crate) use references::{fits, resolve};
