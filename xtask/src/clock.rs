//! Dates: of HTTP headers, and for people in their own time zone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::kbuild::make::civil;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

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
        let shell = crate::process::shell().ok()?;
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
    let (year, month, day) = civil(seconds / 86_400);
    let second = seconds % 86_400;
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
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
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month as u64, of_month), day);
        }
    }

    #[test]
    fn times_are_shown_with_their_zone() {
        assert_eq!(utc(1_445_412_480), "2015-10-21 07:28:00 UTC");
        // Whatever the zone, it is a date and a time near it.
        let local = local(1_445_412_480);
        assert!(local.starts_with("2015-10-2"), "{local}");
    }
}
