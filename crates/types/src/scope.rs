//! Account and region: the first two parts of every key that Lambfold stores.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::text::beginning;

/// A 12-digit AWS account id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

/// The text is not exactly twelve decimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an account id is twelve decimal digits, not {0:?}")]
pub struct InvalidAccountId(pub String);

impl AccountId {
    /// `000000000000`: the account of a request that names none (DESIGN §6).
    pub const DEFAULT: Self = Self(0);

    /// Its digits.
    fn digits(self) -> [u8; 12] {
        let mut rest = self.0;
        let mut digits = [b'0'; 12];
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        digits
    }
}

impl FromStr for AccountId {
    type Err = InvalidAccountId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            text.parse().map(Self).map_err(|_| InvalidAccountId(text.to_owned()))
        } else {
            Err(InvalidAccountId(beginning(text)))
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Part of every ARN and queue URL.
        f.write_str(std::str::from_utf8(&self.digits()).expect("digits are ASCII"))
    }
}

/// An AWS region name, such as `us-east-1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(Arc<str>);

/// The text cannot be a region name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a region is 1 to 32 lower-case letters, digits and hyphens, not {0:?}")]
pub struct InvalidRegion(pub String);

impl Region {
    /// `us-east-1`: the region of a request that names none (DESIGN §6).
    pub fn default_region() -> Self {
        Self("us-east-1".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition that a region belongs to, by its prefix: `aws`, `aws-cn`, `aws-us-gov`.
    pub fn partition(&self) -> &'static str {
        if self.0.starts_with("cn-") {
            "aws-cn"
        } else if self.0.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        }
    }
}

impl FromStr for Region {
    type Err = InvalidRegion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidRegion(beginning(text)))
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a resource lives. Part of every key: two scopes never see each other's names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The owning account.
    pub account: AccountId,
    /// The region.
    pub region: Region,
}

impl Default for Scope {
    fn default() -> Self {
        Self { account: AccountId::DEFAULT, region: Region::default_region() }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_ids_are_twelve_digits() {
        assert_eq!("000000000042".parse::<AccountId>().unwrap().to_string(), "000000000042");
        for wrong in ["", "42", "00000000004x", "0000000000421", "+00000000042"] {
            assert!(wrong.parse::<AccountId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn regions_are_lower_case_words() {
        assert_eq!("cn-north-1".parse::<Region>().unwrap().partition(), "aws-cn");
        for wrong in ["", "US-EAST-1", "eu west", "../etc", "a/b"] {
            assert!(wrong.parse::<Region>().is_err(), "{wrong}");
        }
    }
}
