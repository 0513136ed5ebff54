//! Moments as text: UTC, as RFC 3339 spells them.

use std::time::{Duration, SystemTime};

const DAY_SECONDS: u64 = 86_400;

/// `2026-02-03T04:05:06Z`.
pub(crate) fn seconds(time: SystemTime) -> String {
    let since = since_epoch(time);
    let (day, second) = (since.as_secs() / DAY_SECONDS, since.as_secs() % DAY_SECONDS);
    let (year, month, day) = date(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The same, to the nanosecond.
pub(crate) fn nanoseconds(time: SystemTime) -> String {
    let text = seconds(time);
    format!("{}.{:09}Z", text.trim_end_matches('Z'), since_epoch(time).subsec_nanos())
}

/// A store has no times before 1970.
fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Year, month and day of a day since 1970-01-01. Years are counted from March, so that the leap day is the last of one.
fn date(day: u64) -> (u64, u64, u64) {
    // 1970-01-01 is day 719,468 since 0000-03-01; 400 years have 146,097 days.
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_spelled_right() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(at)), text);
        }
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5_000_007);
        assert_eq!(nanoseconds(time), "2001-09-09T01:46:40.005000007Z");
    }

    #[test]
    fn days_follow_each_other_through_400_years() {
        let mut before = date(0);
        for day in 1..146_097 {
            let (year, month, number) = date(day);
            let is_next_day = (year, month, number) == (before.0, before.1, before.2 + 1);
            let is_next_month = (year, month, number) == (before.0, before.1 + 1, 1) && before.2 >= 28;
            let is_next_year =
                (year, month, number) == (before.0 + 1, 1, 1) && before.1 == 12 && before.2 == 31;
            assert!(is_next_day || is_next_month || is_next_year, "{before:?} then {:?}", date(day));
            before = date(day);
        }
    }
}
