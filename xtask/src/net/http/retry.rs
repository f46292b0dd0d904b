//! What is worth another attempt, and after how long. Nothing here waits.
//!
//! [`classify`] looks at one failure; [`Retry`] counts them and says what to do.
//!
//! - Connections that break, servers that fall silent, and the statuses that say
//!   "later" (408, 429, 500, 502, 503, 504) are tried again. Waits double from
//!   [`HttpLimits::pause`], each shortened by up to a half at random, so that many
//!   clients that failed together do not come back together.
//! - A server that says how long is believed: `Retry-After` in seconds or as a
//!   date (RFC 9110, section 10.2.3), and GitHub's quota, of which nothing is left
//!   until a time (`x-ratelimit-remaining: 0` with `x-ratelimit-reset`, on 403 and
//!   429; docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api).
//!   Up to [`LONGEST_WAIT`]; who must wait longer is told until when instead.
//! - A host that cannot be reached or found is not tried again, because asking in
//!   a second finds the same; nor is any other status.

use std::time::{Duration, SystemTime};

use super::{HttpError, HttpLimits, header};
use crate::base::time;

/// Nobody is made to wait longer than this without being asked.
pub const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// GitHub asks for at least a minute after its secondary limit if it does not say
/// how long (same page).
const SECONDARY_WAIT: Duration = Duration::from_secs(60);

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Another attempt finds the same.
    Final,
    /// It may pass.
    Passing,
    /// The server said when to come back.
    Until(SystemTime),
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Wait(Duration),
    /// The failure stands.
    GiveUp,
    /// The server wants us to come back at that time, which is too long to wait.
    TooLong(SystemTime),
}

/// The class of a failure.
pub fn classify(error: &HttpError, now: SystemTime) -> Class {
    let answer = match error {
        HttpError::Unreachable(_) | HttpError::Invalid(_) | HttpError::Limited(_) => {
            return Class::Final;
        }
        HttpError::Broken(_) => return Class::Passing,
        HttpError::Answer(answer) => answer,
    };
    let header = |name| header(&answer.headers, name).map(str::trim);
    let after = header("retry-after").and_then(|value| match value.parse() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
        Err(_) => time::parse_http(value).and_then(time::from_unix),
    });
    if let Some(until) = after.filter(|_| answer.status >= 400) {
        return Class::Until(until);
    }
    if matches!(answer.status, 403 | 429) {
        let reset = header("x-ratelimit-reset").and_then(|value| value.parse().ok());
        if header("x-ratelimit-remaining") == Some("0")
            && let Some(until) = reset.and_then(time::from_unix)
        {
            return Class::Until(until);
        }
        let text = String::from_utf8_lossy(&answer.body).to_lowercase();
        if text.contains("secondary rate limit") {
            return Class::Until(now + SECONDARY_WAIT);
        }
    }
    match answer.status {
        408 | 429 | 500 | 502 | 503 | 504 => Class::Passing,
        _ => Class::Final,
    }
}

/// Counts the attempts at one thing.
#[derive(Clone, Debug)]
pub struct Retry {
    attempts: u32,
    pause: Duration,
    failed: u32,
    random: u64,
}

impl Retry {
    pub fn new(limits: &HttpLimits) -> Self {
        use std::hash::{BuildHasher, Hasher};
        // Seeded by the system; good enough to spread clients over time.
        let random = std::hash::RandomState::new().build_hasher().finish();
        Self::seeded(limits, random)
    }

    fn seeded(limits: &HttpLimits, random: u64) -> Self {
        let (attempts, pause) = (limits.attempts, limits.pause);
        Self {
            attempts,
            pause,
            failed: 0,
            random,
        }
    }

    /// What to do after another failure.
    pub fn after(&mut self, class: Class, now: SystemTime) -> Decision {
        self.failed += 1;
        let wait = match class {
            Class::Final => return Decision::GiveUp,
            Class::Until(until) => {
                let wait = until.duration_since(now).unwrap_or_default();
                if wait > LONGEST_WAIT {
                    return Decision::TooLong(until);
                }
                // Clocks differ, and an answer in the same second would be another no.
                wait + self.shortened(Duration::from_secs(1))
            }
            Class::Passing => {
                let doublings = self.failed.saturating_sub(1).min(16);
                let wait = self.pause * 2u32.pow(doublings);
                self.shortened(wait.min(LONGEST_WAIT))
            }
        };
        if self.failed >= self.attempts {
            return Decision::GiveUp;
        }
        Decision::Wait(wait)
    }

    /// Something went well: the next failure is the first one again.
    pub fn reset(&mut self) {
        self.failed = 0;
    }

    /// Between a half of `wait` and all of it.
    fn shortened(&mut self, wait: Duration) -> Duration {
        // Knuth's constants for a linear congruential generator; the upper bits
        // are the random ones.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let part = u32::try_from(self.random >> 48).unwrap_or(0);
        wait / 2 + wait / 2 / 65_536 * part
    }
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::*;
    use ureq::http::{HeaderName, HeaderValue};

    fn at(seconds: u64) -> SystemTime {
        time::from_unix(seconds).unwrap()
    }

    fn class(status: u16, headers: &[(&'static str, &'static str)], text: &str) -> Class {
        let value = |text| HeaderValue::from_static(text);
        let headers = headers.iter();
        let headers = headers.map(|(name, text)| (HeaderName::from_static(name), value(text)));
        let answer = Answer {
            status,
            headers: headers.collect(),
            body: text.as_bytes().to_vec(),
        };
        classify(&HttpError::Answer(Box::new(answer)), at(1000))
    }

    #[test]
    fn answers_have_a_class() {
        let date = "Thu, 01 Jan 1970 00:20:00 GMT";
        for (status, headers, text, expected) in [
            (404, &[][..], "", Class::Final),
            (401, &[], "", Class::Final),
            (422, &[], "", Class::Final),
            (403, &[], "no rights", Class::Final),
            (500, &[], "", Class::Passing),
            (502, &[], "", Class::Passing),
            (429, &[], "", Class::Passing),
            (429, &[("retry-after", "7")], "", Class::Until(at(1007))),
            (503, &[("retry-after", date)], "", Class::Until(at(1200))),
            (503, &[("retry-after", "soon")], "", Class::Passing),
            (
                403,
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1060"),
                ],
                "",
                Class::Until(at(1060)),
            ),
            (
                403,
                &[
                    ("x-ratelimit-remaining", "9"),
                    ("x-ratelimit-reset", "1060"),
                ],
                "",
                Class::Final,
            ),
            (
                404,
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1060"),
                ],
                "",
                Class::Final,
            ),
            (
                403,
                &[],
                "You have exceeded a secondary rate limit.",
                Class::Until(at(1060)),
            ),
            (
                429,
                &[("retry-after", "18446744073709551615")],
                "",
                Class::Passing,
            ),
        ] {
            assert_eq!(
                class(status, headers, text),
                expected,
                "{status} {headers:?}"
            );
        }
    }

    #[test]
    fn failures_without_an_answer_have_a_class() {
        let class = |error| classify(&error, at(1000));
        assert_eq!(class(HttpError::Broken(String::new())), Class::Passing);
        assert_eq!(class(HttpError::Unreachable(String::new())), Class::Final);
        assert_eq!(class(HttpError::Invalid(String::new())), Class::Final);
    }

    #[test]
    fn waits_double_are_spread_and_end() {
        let limits = HttpLimits::default();
        let mut seen = Vec::new();
        for seed in 0..50 {
            let mut retry = Retry::seeded(&limits, seed << 40);
            for pause in [500, 1000, 2000] {
                let Decision::Wait(wait) = retry.after(Class::Passing, at(0)) else {
                    panic!("it gave up after {seen:?}");
                };
                let pause = Duration::from_millis(pause);
                assert!(wait >= pause / 2 && wait <= pause, "{wait:?} of {pause:?}");
                seen.push(wait);
            }
            assert_eq!(retry.after(Class::Passing, at(0)), Decision::GiveUp);
        }
        seen.sort();
        seen.dedup();
        assert!(seen.len() > 100, "{}", seen.len());
    }

    #[test]
    fn a_server_that_says_when_is_believed_within_a_bound() {
        let mut retry = Retry::seeded(&HttpLimits::default(), 7);
        let Decision::Wait(wait) = retry.after(Class::Until(at(1100)), at(1000)) else {
            panic!("100 s are waited out");
        };
        assert!(wait >= Duration::from_secs(100) && wait <= Duration::from_secs(101));
        // A time that is past is no reason to hurry.
        let Decision::Wait(wait) = retry.after(Class::Until(at(1)), at(1000)) else {
            panic!("it may be asked again");
        };
        assert!(wait <= Duration::from_secs(1));
        assert_eq!(
            retry.after(Class::Until(at(1121)), at(1000)),
            Decision::TooLong(at(1121))
        );
        assert_eq!(
            retry.after(Class::Until(at(1001)), at(1000)),
            Decision::GiveUp
        );
        retry.reset();
        assert!(matches!(
            retry.after(Class::Passing, at(1000)),
            Decision::Wait(_)
        ));
        assert_eq!(retry.after(Class::Final, at(1000)), Decision::GiveUp);
    }
}
