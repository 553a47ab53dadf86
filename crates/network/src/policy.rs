//! What a worker's functions may reach.

use std::fmt;

use crate::allow::{AllowList, EntryError};

/// The network policy of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The network as the host has it and Lambfold's endpoint, without what is internal to either.
    Open,
    /// Lambfold's endpoint and what is listed.
    AllowList(AllowList),
    /// Lambfold's endpoint.
    EndpointOnly,
    /// Nothing.
    None,
}

/// Settings that make no policy.
#[derive(Debug, thiserror::Error)]
pub enum ParsePolicyError {
    /// No such policy.
    #[error("'{0}' is not a network policy; use open, allow-list, endpoint-only or none")]
    Unknown(String),
    /// A list where none is asked for.
    #[error("an allow-list acts only under the policy allow-list")]
    Unused,
    /// No list where one is asked for.
    #[error("the policy allow-list needs a list; to permit nothing, use endpoint-only")]
    Empty,
    /// An entry of the list.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

impl Policy {
    /// By its name in settings, with the entries of the allow-list.
    pub fn parse<'a>(name: &str, allow: impl IntoIterator<Item = &'a str>) -> Result<Self, ParsePolicyError> {
        let mut allow = allow.into_iter().peekable();
        let listed = allow.peek().is_some();
        let policy = match name {
            "allow-list" if !listed => return Err(ParsePolicyError::Empty),
            "allow-list" => return Ok(Self::AllowList(AllowList::parse(allow)?)),
            "open" => Self::Open,
            "endpoint-only" => Self::EndpointOnly,
            "none" => Self::None,
            _ => return Err(ParsePolicyError::Unknown(name.to_owned())),
        };
        if listed { Err(ParsePolicyError::Unused) } else { Ok(policy) }
    }

    /// Whether functions reach anything beyond Lambfold, so that their sandboxes need a network device.
    pub fn has_network(&self) -> bool {
        matches!(self, Self::Open | Self::AllowList(_))
    }

    /// Whether functions reach Lambfold.
    pub fn has_endpoint(&self) -> bool {
        !matches!(self, Self::None)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Open => "open",
            Self::AllowList(_) => "allow-list",
            Self::EndpointOnly => "endpoint-only",
            Self::None => "none",
        })
    }
}
