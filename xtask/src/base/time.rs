//! Dates: of HTTP headers, of kernels and logs, and for people in their own time zone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::base::error::Failure;

/// A day of the Gregorian calendar. Written `2026-11-25`.
pub use jiff::civil::Date;

/// Seconds since 1970, 0 for a time before.
pub fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// `None` if it is too far off.
pub fn from_unix(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// The date of an HTTP header such as `Wed, 21 Oct 2015 07:28:00 GMT`, in seconds
/// since 1970. Only the form that senders must use (RFC 9110, section 5.6.7).
pub fn parse_http(text: &str) -> Option<u64> {
    let time = DateTime::strptime("%a, %d %b %Y %H:%M:%S GMT", text.trim()).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?;
    u64::try_from(time.timestamp().as_second()).ok()
}

/// A time for people, in this host's time zone.
pub fn local(seconds: u64) -> String {
    for_people(seconds, TimeZone::system())
}

fn for_people(seconds: u64, zone: TimeZone) -> String {
    let time = at(seconds).with_time_zone(zone);
    time.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// In UTC; the last moment of the calendar, the year 9999, for what is later.
fn at(seconds: u64) -> Zoned {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    time.to_zoned(TimeZone::UTC)
}

/// Now, in seconds since 1970.
pub fn now() -> u64 {
    unix(SystemTime::now())
}

/// `20261122-170507`: sorts by time, and every file system takes it.
pub fn file_name(seconds: u64) -> String {
    at(seconds).strftime("%Y%m%d-%H%M%S").to_string()
}

/// `2026-11-22T17:05:07Z`.
pub fn rfc3339(seconds: u64) -> String {
    at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// As `date -u` prints it in the C locale, e.g. `Thu Nov  6 18:15:32 UTC 2025`,
/// which is the form that kernels have in `uname -v` and that `date -d` reads back
/// (usr/gen_initramfs.sh does).
pub fn c_locale(seconds: u64) -> String {
    at(seconds).strftime("%a %b %e %H:%M:%S UTC %Y").to_string()
}

/// A date as people write it, `2026-11-25`, from 1970 on.
pub fn parse_date(text: &str) -> Result<Date, Failure> {
    let date = Date::strptime("%Y-%m-%d", text).ok();
    // Shorter and longer forms of numbers are read, too.
    date.filter(|date| date.year() >= 1970 && date.to_string() == text)
        .ok_or_else(|| {
            Failure::usage(format!("{text:?} is no date")).hint("a date is written like 2026-11-25")
        })
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
    fn times_are_shown_with_their_zone() {
        assert_eq!(
            for_people(1_445_412_480, TimeZone::UTC),
            "2015-10-21 07:28:00 UTC"
        );
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
            assert_eq!(c_locale(seconds), text);
            assert_eq!(file_name(seconds), name);
        }
    }

    #[test]
    fn days_are_read_as_they_are_written_and_are_in_order() {
        let mut before = None;
        for day in 0..60_000 {
            let date = at(day * 86_400).date();
            assert_eq!(parse_date(&date.to_string()).unwrap(), date);
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
            assert!(parse_date(text).is_err(), "{text}");
        }
    }
}
