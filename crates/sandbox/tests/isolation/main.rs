//! Real sandboxes at every level that this machine permits, with functions that try to get out. As root: `full`, and
//! `userns` and `process` with a spawner that runs as an ordinary user, and `process` as root; as an ordinary user
//! the two that need no root.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod companions;
mod escape;
mod image;
mod lifecycle;
mod limits;
mod network;
mod network_device;
mod stage;
mod view;
mod waiting;
