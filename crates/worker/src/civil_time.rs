//! Wall time as log lines and stream names show it.

use lambfold_types::Timestamp;

/// `2026-01-02T03:04:05.678Z`
pub(crate) fn iso(time: Timestamp) -> String {
    let (year, month, day) = date(time);
    let milliseconds = time.millis().rem_euclid(86_400_000);
    let (seconds, milliseconds) = (milliseconds / 1000, milliseconds % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// `2026/01/02`
pub(crate) fn day(time: Timestamp) -> String {
    let (year, month, day) = date(time);
    format!("{year:04}/{month:02}/{day:02}")
}

/// Days to year, month and day in the Gregorian calendar: eras of 400 years whose years begin in March, so that the
/// leap day is the last one.
fn date(time: Timestamp) -> (i64, i64, i64) {
    let days = time.secs().div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096).div_euclid(365);
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_note() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_767_323_045, "2026-01-02T03:04:05.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
        ] {
            assert_eq!(iso(Timestamp::from_millis(seconds * 1000)), text);
        }
        assert_eq!(day(Timestamp::from_millis(1_767_323_045_678)), "2026/01/02");
    }
}
