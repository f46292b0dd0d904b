//! A range of kernel versions, as a project file has it: `>=5.11, <5.19`.
//!
//! ```text
//! range = term ("," term)*          all of them must hold
//! term  = [">=" | ">" | "<=" | "<"] VERSION
//! ```
//!
//! A series stands for its point releases and release candidates: `6.1` are all of
//! 6.1, `<=6.1` are these and what is older, `>6.1` what is newer than all of them. Where
//! one point in the order is meant it is the series' first release: `>=6.1` and `<6.1`
//! divide between 6.1's last candidate and 6.1, in the order of [`crate::model::version`]. A
//! version such as `6.1.55` or `7.3-rc2` is that version alone, with any suffix.

use std::fmt;
use std::str::FromStr;

use crate::base::error::Failure;
use crate::model::version::{Position, Series, Version};

const GRAMMAR: &str = "a range of kernels is written like 6.1, '>=5.11' or '>=5.11, <5.19'";

/// A checked range; there are versions in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRange {
    text: String,
    start: Position,
    /// The first version behind it; `None` if it has no end.
    end: Option<Position>,
}

impl KernelRange {
    pub fn contains(&self, version: &Version) -> bool {
        let position = version.position();
        position >= self.start && self.end.is_none_or(|end| position < end)
    }
}

impl fmt::Display for KernelRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for KernelRange {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let mut range = Self {
            text: text.trim().to_owned(),
            start: Position::FIRST,
            end: None,
        };
        for term in text.split(',') {
            let (start, end) = term_bounds(term.trim())?;
            range.start = range.start.max(start.unwrap_or(Position::FIRST));
            range.end = [range.end, end].into_iter().flatten().min();
        }
        if range.end.is_some_and(|end| end <= range.start) {
            let message = format!("no kernel is in the range {:?}", range.text);
            return Err(Failure::usage(message).hint("all of its terms must hold at once"));
        }
        Ok(range)
    }
}

/// Where the kernels of a term begin, and what is the first behind them.
fn term_bounds(term: &str) -> Result<(Option<Position>, Option<Position>), Failure> {
    let split = term.find(|c: char| !"<>=".contains(c));
    let (operator, version) = term.split_at(split.unwrap_or(term.len()));
    let wrong = |what: &str| Failure::usage(format!("{what} in a range of kernels")).hint(GRAMMAR);
    let Ok(version) = version.trim().parse::<Version>() else {
        return Err(wrong(&format!("{term:?} names no version")));
    };
    let here = version.position();
    let Series { major, minor } = version.series;
    // Whether there is a series of that name does not matter.
    let next = Series {
        major,
        minor: minor.saturating_add(1),
    };
    // All that the term's version stands for.
    let (first, behind) = match version.is_series() {
        true => (Position::start_of(version.series), Position::start_of(next)),
        false => (here, here.next()),
    };
    match operator {
        "" => Ok((Some(first), Some(behind))),
        ">=" => Ok((Some(here), None)),
        ">" => Ok((Some(behind), None)),
        "<" => Ok((None, Some(here))),
        "<=" => Ok((None, Some(behind))),
        _ => Err(wrong(&format!("{operator:?} is no operator"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In order, oldest first.
    const VERSIONS: [&str; 15] = [
        "4.9.337", "5.10.223", "5.11-rc7", "5.11", "5.11.22", "5.18.19", "5.19-rc1", "5.19",
        "6.0.19", "6.1-rc1", "6.1", "6.1.55", "6.1.192", "6.2-rc1", "7.3-rc2",
    ];

    fn inside(range: &str) -> String {
        let range = range.parse::<KernelRange>().unwrap();
        VERSIONS
            .into_iter()
            .filter(|version| range.contains(&version.parse().unwrap()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn ranges() {
        for (range, expected) in [
            ("6.1", "6.1-rc1 6.1 6.1.55 6.1.192"),
            ("6.1.55", "6.1.55"),
            ("6.1.0", "6.1"),
            ("7.3-rc2", "7.3-rc2"),
            (">=5.11, <5.19", "5.11 5.11.22 5.18.19 5.19-rc1"),
            ("<5.19,>=5.11", "5.11 5.11.22 5.18.19 5.19-rc1"),
            (
                " >= 5.11-rc1 , < 5.19-rc1 ",
                "5.11-rc7 5.11 5.11.22 5.18.19",
            ),
            (
                ">5.11, <=6.1",
                "5.18.19 5.19-rc1 5.19 6.0.19 6.1-rc1 6.1 6.1.55 6.1.192",
            ),
            (">6.1", "6.2-rc1 7.3-rc2"),
            (">6.1.55, 6.1", "6.1.192"),
            (">=6.1.55, <=6.1.192", "6.1.55 6.1.192"),
            ("<4.10", "4.9.337"),
            (">7.3", ""),
        ] {
            assert_eq!(inside(range), expected, "{range}");
        }
    }

    #[test]
    fn every_pair_of_bounds_takes_what_lies_between() {
        for (i, from) in VERSIONS.iter().enumerate() {
            for (j, to) in VERSIONS.iter().enumerate().skip(i + 1) {
                let range = format!(">={from}, <{to}");
                assert_eq!(inside(&range), VERSIONS[i..j].join(" "), "{range}");
                let empty = format!(">={to}, <{from}");
                assert!(empty.parse::<KernelRange>().is_err(), "{empty}");
            }
        }
    }

    #[test]
    fn mistakes() {
        let message = |text: &str| text.parse::<KernelRange>().unwrap_err().to_string() + "\n";
        expect_test::expect![[r#"
            "" names no version in a range of kernels (a range of kernels is written like 6.1, '>=5.11' or '>=5.11, <5.19')
            "" names no version in a range of kernels (a range of kernels is written like 6.1, '>=5.11' or '>=5.11, <5.19')
            ">= 6.x" names no version in a range of kernels (a range of kernels is written like 6.1, '>=5.11' or '>=5.11, <5.19')
            "6.1.*" names no version in a range of kernels (a range of kernels is written like 6.1, '>=5.11' or '>=5.11, <5.19')
            "=>" is no operator in a range of kernels (a range of kernels is written like 6.1, '>=5.11' or '>=5.11, <5.19')
            "==" is no operator in a range of kernels (a range of kernels is written like 6.1, '>=5.11' or '>=5.11, <5.19')
            no kernel is in the range "6.1, 6.2" (all of its terms must hold at once)
            no kernel is in the range "<5.11, >=5.11" (all of its terms must hold at once)
        "#]]
        .assert_eq(
            &[
                "", ">=5.11,", ">= 6.x", "6.1.*", "=>6.1", "==6.1", "6.1, 6.2", "<5.11, >=5.11",
            ]
            .map(message)
            .concat(),
        );
        // The largest numbers do not overflow.
        let huge = ">4294967295.4294967295".parse::<KernelRange>().unwrap();
        assert!(!huge.contains(&"6.1".parse().unwrap()));
        "4294967295.1.4294967295"
            .parse::<KernelRange>()
            .unwrap_err();
    }
}
