//! What happened in a run, line by line: what two runs of one seed are compared by, and what a failure shows.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Clones share the lines.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Vec<String>>>);

impl History {
    pub(crate) fn note(&self, line: impl fmt::Display) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_string());
    }

    /// How many steps were taken.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// All lines.
    pub fn text(&self) -> String {
        self.tail(usize::MAX)
    }
}
