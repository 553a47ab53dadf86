//! Names of functions and what can stand behind them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The bare name of a function: 1 to 64 of `[A-Za-z0-9_-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionName(Arc<str>);

impl FunctionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FunctionName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(())
        }
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What follows a function's name: digits are a version, `$LATEST` the unpublished one, all else an alias
/// (facts: Lambda API §3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qualifier {
    /// `$LATEST`
    Latest,
    /// A published version.
    Version(u64),
    /// An alias.
    Alias(Arc<str>),
}

impl FromStr for Qualifier {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if text == "$LATEST" {
            Ok(Self::Latest)
        } else if text.is_empty() || text.len() > 128 || !text.bytes().all(legal) {
            Err(())
        } else if text.bytes().all(|b| b.is_ascii_digit()) {
            text.parse().map(Self::Version).map_err(|_| ())
        } else {
            Ok(Self::Alias(text.into()))
        }
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("$LATEST"),
            Self::Version(number) => write!(f, "{number}"),
            Self::Alias(name) => f.write_str(name),
        }
    }
}
