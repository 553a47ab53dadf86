//! A worker with a real sandbox, at the strongest level that this machine gives, and real interpreters.

mod happy_path;
mod support;
