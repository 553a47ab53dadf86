//! Names of queues.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A legal queue name: 1 to 80 of `[A-Za-z0-9_-]`, where `.fifo` at the end marks a FIFO queue and counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

/// The text is no queue name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")]
pub struct InvalidQueueName;

impl QueueName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name ends in `.fifo`.
    pub fn is_fifo(&self) -> bool {
        self.0.ends_with(".fifo")
    }
}

impl FromStr for QueueName {
    type Err = InvalidQueueName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let stem = text.strip_suffix(".fifo").unwrap_or(text);
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if stem.is_empty() || text.len() > 80 || !stem.bytes().all(legal) {
            return Err(InvalidQueueName);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_the_alphabet_and_length() {
        for good in ["a", "A-b_9", "jobs.fifo", &"x".repeat(80)] {
            assert!(good.parse::<QueueName>().is_ok(), "{good}");
        }
        for bad in
            ["", ".fifo", "a.b", "a/b", "a b", "ä", &"x".repeat(81), &format!("{}.fifo", "x".repeat(76))]
        {
            assert!(bad.parse::<QueueName>().is_err(), "{bad}");
        }
    }
}
