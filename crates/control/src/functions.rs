//! Functions: one operation a file.

mod create;
mod delete;
mod environment;
mod get;
mod list;
mod render;
mod runtime;
mod settings;
mod update;

use lambfold_types::Timestamp;

pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use environment::open as open_environment;
pub(crate) use get::{get, get_configuration};
pub(crate) use list::list;
pub(crate) use update::{update_code, update_configuration};

/// `2026-01-31T23:59:59.000+0000`, as Lambda writes times of functions.
pub(crate) fn timestamp(at: Timestamp) -> String {
    let (days, rest) = (at.secs().div_euclid(86_400), at.secs().rem_euclid(86_400));
    // Days to a civil date: Howard Hinnant's algorithm, for the proleptic Gregorian calendar.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let millis = at.millis().rem_euclid(1000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}+0000",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_lambda_does() {
        assert_eq!(timestamp(Timestamp::from_millis(951_782_400_123)), "2000-02-29T00:00:00.123+0000");
    }
}
