//! Page tokens: opaque to callers, and versioned by their first character.

use lambfold_api::Fault;

use crate::faults;
use crate::record::Position;

/// Where a reader of a stream goes on, as AWS shows it: `f/…` forwards, `b/…` backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadToken {
    Forward(Position),
    Backward(Position),
}

impl ReadToken {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let position = |text: &str| parse_position(text).ok_or_else(faults::invalid_token);
        match text.split_at_checked(2) {
            Some(("f/", rest)) => position(rest).map(Self::Forward),
            Some(("b/", rest)) => position(rest).map(Self::Backward),
            _ => Err(faults::invalid_token()),
        }
    }
}

impl std::fmt::Display for ReadToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forward(position) => write!(f, "f/{}", digits(*position)),
            Self::Backward(position) => write!(f, "b/{}", digits(*position)),
        }
    }
}

/// The 56 digits that AWS gives events and tokens.
pub(crate) fn digits(position: Position) -> String {
    format!("1{:019}{:036}", position.time_ms.max(0), position.sequence)
}

/// The position in 56 such digits.
pub(crate) fn parse_position(text: &str) -> Option<Position> {
    if text.len() != 56 || !text.bytes().all(|it| it.is_ascii_digit()) || !text.starts_with('1') {
        return None;
    }
    Some(Position { time_ms: text[1..20].parse().ok()?, sequence: text[20..].parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn tokens_survive_a_round_trip(time_ms in 0..i64::MAX, sequence: u64, text in "\\PC{0,60}") {
            let position = Position { time_ms, sequence };
            for token in [ReadToken::Forward(position), ReadToken::Backward(position)] {
                proptest::prop_assert_eq!(ReadToken::parse(&token.to_string()).unwrap(), token);
            }
            if let Err(fault) = ReadToken::parse(&text) {
                proptest::prop_assert_eq!(fault.code(), "InvalidParameterException");
            }
        }
    }
}
