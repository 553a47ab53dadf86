//! Fuzz targets: readers of bytes that anybody can send or that an older release may have stored. A target is a plain
//! function that panics when a property does not hold; `scripts/fuzz` looks for such bytes, and the test here gives
//! every target what was found before.

mod targets {
    pub(crate) mod aws_json;
    pub(crate) mod query;
    pub(crate) mod queue_url;
    pub(crate) mod receipt_handle;
    pub(crate) mod record;
    pub(crate) mod sigv4;
}

use self::targets::{aws_json, query, queue_url, receipt_handle, record, sigv4};

/// A target takes any bytes.
pub type Target = fn(&[u8]);

/// The targets by name; the corpus of each is in the folder of that name.
pub const TARGETS: [(&str, Target); 6] = [
    ("aws_json", aws_json::run),
    ("query", query::run),
    ("queue_url", queue_url::run),
    ("receipt_handle", receipt_handle::run),
    ("record", record::run),
    ("sigv4", sigv4::run),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::TARGETS;

    #[test]
    fn the_corpus_holds() {
        for (name, target) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
            let files: Vec<_> =
                std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
            assert!(!files.is_empty(), "{name} has no corpus");
            target(b"");
            for file in files {
                target(&std::fs::read(&file).unwrap());
            }
        }
    }
}
