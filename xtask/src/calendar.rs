//! Seconds since 1970 as a date in UTC, in the forms that we write.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in UTC, in the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    /// The year, e.g. 2026.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 6, 0 is Sunday.
    pub weekday: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
}

impl Utc {
    /// Now.
    pub fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::from_seconds(now.unwrap_or_default().as_secs())
    }

    /// From seconds since 1970.
    pub fn from_seconds(seconds: u64) -> Self {
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // 1 January 1970 was a Thursday.
        let weekday = (days + 4) % 7;
        // Days to a date: the year begins in March, so that the leap day is its last.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, year) = if month < 10 {
            (month + 3, year + era * 400)
        } else {
            (month - 9, year + era * 400 + 1)
        };
        Self {
            year,
            month,
            day,
            weekday,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// `20261122-170507`: sorts by time, and every file system takes it.
    pub fn file_name(&self) -> String {
        format!(
            "{:04}{:02}{:02}-{:02}{:02}{:02}",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }

    /// As `date -u` prints it in the C locale, e.g. `Thu Nov  6 18:15:32 UTC 2025`,
    /// which is the form that kernels have in `uname -v` and that `date -d` reads back
    /// (usr/gen_initramfs.sh does).
    pub fn c_locale(&self) -> String {
        let weekday = pick("Sun Mon Tue Wed Thu Fri Sat", self.weekday);
        let month = pick(
            "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
            self.month - 1,
        );
        format!(
            "{weekday} {month} {:2} {:02}:{:02}:{:02} UTC {}",
            self.day, self.hour, self.minute, self.second, self.year
        )
    }
}

fn pick(words: &'static str, index: u64) -> &'static str {
    let index = usize::try_from(index).unwrap_or_default();
    words.split(' ').nth(index).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_date() {
        for (seconds, text, name) in [
            (0, "Thu Jan  1 00:00:00 UTC 1970", "19700101-000000"),
            (
                951_782_400,
                "Tue Feb 29 00:00:00 UTC 2000",
                "20000229-000000",
            ),
            (
                1_762_452_932,
                "Thu Nov  6 18:15:32 UTC 2025",
                "20251106-181532",
            ),
            (
                1_795_367_107,
                "Sun Nov 22 17:05:07 UTC 2026",
                "20261122-170507",
            ),
            (
                4_107_542_399,
                "Sun Feb 28 23:59:59 UTC 2100",
                "21000228-235959",
            ),
            (
                4_107_542_400,
                "Mon Mar  1 00:00:00 UTC 2100",
                "21000301-000000",
            ),
        ] {
            let utc = Utc::from_seconds(seconds);
            assert_eq!(utc.c_locale(), text);
            assert_eq!(utc.file_name(), name);
        }
    }
}
