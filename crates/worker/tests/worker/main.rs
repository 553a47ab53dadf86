//! A worker with a real sandbox, at the strongest level that this machine gives, and real interpreters.

mod dispatched;
mod happy_path;
mod support;
