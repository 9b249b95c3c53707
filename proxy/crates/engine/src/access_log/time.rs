//! Wall time as text, in UTC; a second's text is made once.

use std::io::Write as _;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The last second's text in both forms.
#[derive(Debug, Default)]
pub struct Clock {
    unix_s: Option<u64>,
    /// `2026-11-27T03:52:42`.
    iso: Vec<u8>,
    /// `27/Nov/2026:03:52:42 +0000`, as nginx has it.
    common: Vec<u8>,
}

impl Clock {
    /// Up to the second, without zone.
    pub(super) fn iso(&mut self, unix_s: u64) -> &[u8] {
        self.make(unix_s);
        &self.iso
    }

    /// In the Common Log Format.
    pub(super) fn common(&mut self, unix_s: u64) -> &[u8] {
        self.make(unix_s);
        &self.common
    }

    fn make(&mut self, unix_s: u64) {
        if self.unix_s == Some(unix_s) {
            return;
        }
        self.unix_s = Some(unix_s);
        let (year, month, day) = date(unix_s / 86_400);
        let second = unix_s % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        self.iso.clear();
        self.common.clear();
        let _ = write!(
            self.iso,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        );
        let name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
        let _ = write!(
            self.common,
            "{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000"
        );
    }
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 1 March of the year 0
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates_also_at_the_ends_of_months_and_leap_years() {
        let mut clock = Clock::default();
        for (unix_s, iso) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_795_751_562, "2026-11-27T03:52:42"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(clock.iso(unix_s), iso.as_bytes());
        }
        let common: &[u8] = b"27/Nov/2026:03:52:42 +0000";
        assert_eq!(clock.common(1_795_751_562), common);
    }
}
