//! Numbers as message attributes have them: text, and exact.

/// A decimal number of up to 38 digits, of 10^-128 to 10^126 if it is not zero.
pub(super) fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>()),
        None => (unsigned, Ok(0)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let (Ok(exponent), true) = (exponent, !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)) else {
        return false;
    };
    let Some(first) = digits.iter().position(|digit| *digit != b'0') else { return true };
    let significant = &digits[first..];
    // Of the first digit that counts: 1 in 12.3, -2 in 0.012.
    let place = i64::try_from(whole.len()).unwrap_or(i64::MAX) - 1 - i64::try_from(first).unwrap_or(i64::MAX);
    let magnitude = place.saturating_add(i64::from(exponent));
    let is_power = significant[0] == b'1' && significant[1..].iter().all(|digit| *digit == b'0');
    significant.len() <= 38 && (-128..=126).contains(&magnitude) && (magnitude < 126 || is_power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_value_not_of_its_notation() {
        let nines = "9".repeat(38);
        let padded = format!("{}1", "0".repeat(40));
        for number in [
            "0", "-0.0", "+1", "12.50", ".5", "5.", "1e126", "-1E126", "10e125", "0.1e127", "1e-128",
            "0e999", &nines, &padded,
        ] {
            assert!(is_number(number), "{number}");
        }
        let long = "1".repeat(39);
        for text in [
            "", "-", ".", "e5", "1e", "1e1.5", "1,5", "0x1", "NaN", "1e127", "12e126", "1.1e126", "1e-129",
            "0.1e-128", &long,
        ] {
            assert!(!is_number(text), "{text}");
        }
    }
}
