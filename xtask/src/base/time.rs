//! Dates: of HTTP headers, of kernels and logs, and for people in their own time zone.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::error::Failure;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Seconds since 1970, 0 for a time before.
pub fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The time so many seconds after the start of 1970; `None` if it is too far off.
pub fn from_unix(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// The date of an HTTP header such as `Wed, 21 Oct 2015 07:28:00 GMT`, in seconds
/// since 1970. Only the form that senders must use (RFC 9110, section 5.6.7).
pub fn parse_http(text: &str) -> Option<u64> {
    let (_, rest) = text.trim().split_once(", ")?;
    let words = rest.split(' ').collect::<Vec<_>>();
    let [day, month, year, time, "GMT"] = words.as_slice() else {
        return None;
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let month = MONTHS.iter().position(|name| name == month)? as u64 + 1;
    let (day, year) = (number(day)?, number(year)?);
    let clock = time.split(':').map(number).collect::<Option<Vec<_>>>()?;
    let &[hours, minutes, seconds] = clock.as_slice() else {
        return None;
    };
    let sane = (1..=31).contains(&day)
        && (1970..10_000).contains(&year)
        && hours < 24
        && minutes < 60
        && seconds <= 60;
    sane.then(|| days(year, month, day) * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, 1970 or later.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // A year that begins in March has its odd day at the end, and the days before
    // its months are then given by one line: 0, 31, 61, 92, 122, 153, ...
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    before + (153 * month + 2) / 5 + day - 719_469
}

/// A time for people, in this host's time zone: the rules of time zones are in a
/// database that date(1) can read and we need not. Where it cannot be run, in UTC.
pub fn local(seconds: u64) -> String {
    let date = || {
        let shell = crate::base::process::shell().ok()?;
        let at = format!("@{seconds}");
        xshell::cmd!(shell, "date -d {at} '+%Y-%m-%d %H:%M:%S %Z'")
            .quiet()
            .ignore_stderr()
            .read()
            .ok()
    };
    date().unwrap_or_else(|| utc(seconds))
}

/// A time for people, in UTC.
pub fn utc(seconds: u64) -> String {
    let utc = Utc::from_seconds(seconds);
    format!(
        "{}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
        utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second
    )
}

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
        Self::from_seconds(unix(SystemTime::now()))
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

    /// Its day.
    pub fn date(&self) -> Date {
        Date {
            year: self.year,
            month: self.month,
            day: self.day,
        }
    }

    /// `20261122-170507`: sorts by time, and every file system takes it.
    pub fn file_name(&self) -> String {
        format!(
            "{:04}{:02}{:02}-{:02}{:02}{:02}",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }

    /// `2026-11-22T17:05:07Z` (RFC 3339).
    pub fn rfc3339(&self) -> String {
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }

    /// As `date -u` prints it in the C locale, e.g. `Thu Nov  6 18:15:32 UTC 2025`,
    /// which is the form that kernels have in `uname -v` and that `date -d` reads back
    /// (usr/gen_initramfs.sh does).
    pub fn c_locale(&self) -> String {
        let weekday = WEEKDAYS[self.weekday as usize % 7];
        let month = MONTHS[(self.month as usize - 1) % 12];
        format!(
            "{weekday} {month} {:2} {:02}:{:02}:{:02} UTC {}",
            self.day, self.hour, self.minute, self.second, self.year
        )
    }
}

/// A day of the Gregorian calendar, 1970 or later. Written `2026-11-25`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let date = || {
            let mut parts = text.split('-');
            let mut number = |digits: usize| {
                let part = parts.next()?;
                let plain = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
                plain.then(|| part.parse::<u64>().ok())?
            };
            let (year, month, day) = (number(4)?, number(2)?, number(2)?);
            let sane = year >= 1970
                && (1..=12).contains(&month)
                && (1..=31).contains(&day)
                && parts.next().is_none();
            // A day that the month does not have is counted as one of the next month.
            let date = Utc::from_seconds(sane.then(|| days(year, month, day))? * 86_400).date();
            (date == Self { year, month, day }).then_some(date)
        };
        date().ok_or_else(|| {
            Failure::usage(format!("{text:?} is no date")).hint("a date is written like 2026-11-25")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_headers_are_read() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(1_445_412_480)),
            ("Tue, 29 Feb 2028 23:59:59 GMT", Some(1_835_481_599)),
            ("Mon, 01 Mar 2100 00:00:00 GMT", Some(4_107_542_400)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Wed, 21 Oct 2015 07:28:00 CET", None),
            ("Wed, 21 Oct 2015 25:28:00 GMT", None),
            ("Wed, 0 Oct 2015 07:28:00 GMT", None),
            ("120", None),
            ("", None),
        ] {
            assert_eq!(parse_http(text), expected, "{text:?}");
        }
    }

    #[test]
    fn days_are_counted_as_they_are_named() {
        for day in (0..60_000).step_by(13) {
            let utc = Utc::from_seconds(day * 86_400);
            assert_eq!(days(utc.year, utc.month, utc.day), day);
        }
    }

    #[test]
    fn times_are_shown_with_their_zone() {
        assert_eq!(utc(1_445_412_480), "2015-10-21 07:28:00 UTC");
        // Whatever the zone, it is a date and a time near it.
        let local = local(1_445_412_480);
        assert!(local.starts_with("2015-10-2"), "{local}");
    }

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

    #[test]
    fn days_are_read_as_they_are_written_and_are_in_order() {
        let mut before = None;
        for day in 0..60_000 {
            let date = Utc::from_seconds(day * 86_400).date();
            assert_eq!(date.to_string().parse::<Date>().unwrap(), date);
            assert!(before < Some(date));
            before = Some(date);
        }
        for text in [
            "",
            "2026-02-29",
            "2026-00-01",
            "2026-01-00",
            "2026-13-01",
            "2026-11-31",
            "1969-12-31",
            "26-11-25",
            "2026-11-25T00:00:00Z",
            "2026-11-25-",
            "2026-11-+5",
            "2026/11/25",
        ] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }
}
