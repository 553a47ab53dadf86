//! The fuzzer: libFuzzer around the target that `FUZZ_TARGET` names. One executable for all, since linking takes longer
//! than everything else; what a target does not run is not in its coverage.
#![no_main]

use std::sync::LazyLock;

use lambfold_fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    let Some((_, target)) = found else {
        panic!("FUZZ_TARGET has to be one of {:?}", TARGETS.map(|(name, _)| name));
    };
    *target
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
