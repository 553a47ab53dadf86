//! The control plane as its callers know it: the Lambda API through the public edge, and the watch. Most of it runs
//! over the memory store and over SQLite. Requests and answers are written as AWS's JSON.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

/// Makes a test of each function, over each store.
macro_rules! over_each_store {
    ($($test:ident)+) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::rig::Rig::start(crate::rig::Store::Memory)).await;
            })+
        }

        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::rig::Rig::start(crate::rig::Store::Sqlite)).await;
            })+
        }
    };
}

mod code;
mod functions;
mod layers;
mod mapping_settings;
mod mappings;
mod names;
mod refusals;
mod restart;
mod rig;
mod sweep;
mod tags;
mod versions;
mod watch;
