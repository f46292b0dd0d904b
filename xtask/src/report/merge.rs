//! Joins the results of partitions: several machines that each tested a part of the
//! kernels of one session. The reports of the whole are those that one machine would
//! have given, apart from times.

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::compact::grouped;
use super::{files, matrix::order};
use crate::base::error::Failure;
use crate::model::results::{self, Results, RunName, Session};

#[derive(Clone, Debug)]
pub struct SessionPart {
    /// Where they are from, for people.
    pub place: String,
    pub text: String,
}

#[derive(Clone, Debug)]
pub struct MergedResults {
    /// Its findings may get more before [`MergedResults::text`] is written.
    pub results: Results,
    /// Nothing is missing or wrong so far, so that the whole can be judged.
    pub complete: bool,
    /// The lines of the runs as they were.
    lines: Vec<String>,
}

impl MergedResults {
    pub fn text(&self) -> Result<String> {
        let session = &self.results.session;
        let mut lines = vec![results::line("session-started", None, None, session)?];
        lines.extend_from_slice(&self.lines);
        for finding in &self.results.findings {
            lines.push(results::finding(finding)?);
        }
        if self.results.finished {
            lines.push(results::line("session-finished", None, None, &json!({}))?);
        }
        Ok(lines.join("\n") + "\n")
    }
}

struct ReadPart<'p> {
    part: &'p SessionPart,
    number: u32,
    results: Results,
}

/// Joins partitions, given in any order. One that is missing or was cut short is a
/// finding; results of a whole session are given back as they are.
pub fn merge(parts: &[SessionPart]) -> Result<MergedResults> {
    let mut read = Vec::new();
    for part in parts {
        let results = files::parse(&part.text, &part.place)?;
        let number = match results.session.partition {
            Some((number, _)) => number,
            None if parts.len() == 1 => 1,
            None => {
                let message = format!("{} is no partition but a whole session", part.place);
                let hint = "partitions come from `test --partition K/N`";
                return Err(Failure::usage(message).hint(hint).into());
            }
        };
        read.push(ReadPart {
            part,
            number,
            results,
        });
    }
    read.sort_by_key(|part| part.number);
    let Some(first) = read.first() else {
        return Err(Failure::usage("there are no results to merge").into());
    };
    let of = partitions(&first.results.session);
    for part in &read {
        belongs(first, part)?;
    }
    numbered(&read, of)?;
    let started = read.iter().map(|part| &part.results.session.started).min();
    let missing = (1..=of)
        .filter(|number| read.iter().all(|part| part.number != *number))
        .map(|number| format!("partition {number} of {of} is missing"));
    let mut results = Results {
        session: Session {
            partition: None,
            started: started.cloned().unwrap_or_default(),
            ..first.results.session.clone()
        },
        findings: missing.collect(),
        finished: read.iter().all(|part| part.results.finished),
        ..Results::default()
    };
    let mut lines = Vec::new();
    for ReadPart {
        part,
        number,
        results: found,
    } in read
    {
        if !found.finished {
            results.findings.push(match of {
                1 => "the session was cut short".to_owned(),
                _ => format!("partition {number} of {of} was cut short"),
            });
        }
        for finding in found.findings {
            if !results.findings.contains(&finding) {
                results.findings.push(finding);
            }
        }
        let mut lines_of_part = lines_by_run(&part.text);
        for run in found.runs {
            if results.runs.iter().any(|other| other.name == run.name) {
                results.findings.push(format!(
                    "{} was tested in two partitions; the results of partition {number} are left out",
                    run.name
                ));
                continue;
            }
            lines.extend(lines_of_part.extract_if(.., |(name, _)| *name == run.name));
            results.runs.push(run);
        }
    }
    results.runs.sort_by(|a, b| order(&a.name, &b.name));
    lines.sort_by(|(a, _), (b, _)| order(a, b));
    Ok(MergedResults {
        complete: results.findings.is_empty() && results.finished,
        results,
        lines: lines.into_iter().flat_map(|(_, lines)| lines).collect(),
    })
}

fn partitions(session: &Session) -> u32 {
    session.partition.map_or(1, |(_, of)| of)
}

/// Whether two partitions are of one session.
fn belongs(one: &ReadPart<'_>, other: &ReadPart<'_>) -> Result<()> {
    let (a, b) = (&one.results.session, &other.results.session);
    let kernels = |session: &Session| session.kernels.join(",");
    let tests = |session: &Session| match session.filtered {
        true => "some of the tests",
        false => "all tests",
    };
    let what = if a.project != b.project {
        format!("the project {} against {}", a.project, b.project)
    } else if partitions(a) != partitions(b) {
        format!("{} partitions against {}", partitions(a), partitions(b))
    } else if a.kernels != b.kernels {
        format!("the kernels {} against {}", kernels(a), kernels(b))
    } else if a.filtered != b.filtered {
        format!("{} against {}", tests(a), tests(b))
    } else if a.expectations != b.expectations {
        "other expectations in the project's vmtest.toml".to_owned()
    } else {
        return Ok(());
    };
    let (one, other) = (&one.part.place, &other.part.place);
    let message = format!("{one} and {other} are not of one session: {what}");
    Err(Failure::usage(message).into())
}

/// Whether each partition is there at most once and has a number that there can be.
fn numbered(read: &[ReadPart<'_>], of: u32) -> Result<()> {
    for ReadPart { part, number, .. } in read {
        if !(1..=of).contains(number) {
            let message = format!("{} says it is partition {number} of {of}", part.place);
            return Err(Failure::usage(message).into());
        }
    }
    for pair in read.windows(2) {
        let (one, other, number) = (&pair[0].part.place, &pair[1].part.place, pair[0].number);
        if number == pair[1].number {
            let message = format!("partition {number} of {of} is there twice: {one} and {other}");
            return Err(Failure::usage(message).into());
        }
    }
    Ok(())
}

/// The lines of each run, in order.
fn lines_by_run(text: &str) -> Vec<(RunName, Vec<String>)> {
    grouped(text.lines().filter_map(|line| {
        let fields = serde_json::from_str::<Value>(line).ok()?;
        let name = RunName::deserialize(&fields).ok()?;
        (fields["v"] == 1).then(|| (name, line.to_owned()))
    }))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::expectation::Expectation;
    use crate::report::tests::{self as samples, Sample};
    use crate::report::{junit, markdown};

    fn samples() -> [Sample; 4] {
        [
            Sample::kernel("5.4.*").not_started(),
            Sample::kernel("6.9-vmtest1.1default")
                .test("t.a", "failed")
                .test("t.b", "skipped"),
            Sample::kernel("local").test("l", "passed"),
            Sample::kernel("6.1-vmtest1.1default")
                .test("t.a", "passed")
                .panicked(Some("t.b")),
        ]
    }

    fn session(partition: Option<(u32, u32)>) -> Session {
        Session {
            partition,
            ..samples::session()
        }
    }

    fn part(number: u32, of: u32, samples: impl IntoIterator<Item = Sample>) -> SessionPart {
        SessionPart {
            place: format!("p{number}"),
            text: samples::text(&session(Some((number, of))), samples),
        }
    }

    #[test]
    fn merged_partitions_are_what_one_run_is() {
        let whole = samples::text(&session(None), samples());
        let [a, b, c, d] = samples();
        let parts = [part(3, 3, []), part(1, 3, [b, c]), part(2, 3, [d, a])];
        let merged = merge(&parts).unwrap();
        assert!(merged.complete);
        let text = merged.text().unwrap();
        let again = Results::parse(&text).unwrap();
        assert_eq!(again, merged.results);

        let whole = Results::parse(&whole).unwrap();
        assert_eq!(again.session, whole.session);
        assert_eq!(junit::render(&again), junit::render(&whole));
        let markdown = |results: &Results| markdown::render(results, 100_000);
        assert_eq!(markdown(&again), markdown(&whole));

        // Every line is there as it was.
        let lines = |text: &str| {
            let mut lines = text
                .lines()
                .filter(|line| !line.contains("session-"))
                .map(str::to_owned)
                .collect::<Vec<_>>();
            lines.sort();
            lines
        };
        let parts = parts.map(|part| part.text).concat();
        assert_eq!(lines(&text), lines(&parts));
        // What was merged can be merged.
        let place = "merged".to_owned();
        let once_more = merge(&[SessionPart {
            place,
            text: text.clone(),
        }])
        .unwrap();
        assert_eq!(once_more.text().unwrap(), text);
    }

    #[test]
    fn the_session_began_with_its_first_partition() {
        let mut later = session(Some((1, 2)));
        later.started = "2026-11-25T16:30:00Z".to_owned();
        let parts = [
            SessionPart {
                place: "a".to_owned(),
                text: samples::text(&later, []),
            },
            part(2, 2, []),
        ];
        let merged = merge(&parts).unwrap();
        assert_eq!(merged.results.session, session(None));
    }

    #[test]
    fn what_is_not_whole_is_found() {
        let mut cut = part(3, 4, [Sample::kernel("6.1").test("t", "passed")]);
        let end = cut.text.find("\"vm-finished\"").unwrap();
        cut.text.truncate(end);
        let merged =
            merge(&[cut, part(2, 4, [Sample::kernel("6.1").test("u", "passed")])]).unwrap();
        assert!(!merged.complete);
        assert!(!merged.results.finished);
        expect![[r#"
            partition 1 of 4 is missing
            partition 4 of 4 is missing
            partition 3 of 4 was cut short
            6.1 (x86_64) was tested in two partitions; the results of partition 3 are left out"#]]
        .assert_eq(&merged.results.findings.join("\n"));
        assert_eq!(merged.results.runs.len(), 1);
        assert_eq!(merged.results.runs[0].tally.finished_tests[0].id, "u");
        let again = Results::parse(&merged.text().unwrap()).unwrap();
        assert_eq!(again, merged.results);
    }

    fn refused(parts: &[SessionPart], expect: &Expect) {
        let error = merge(parts).unwrap_err();
        assert_eq!(crate::base::error::exit_status(&error), 2);
        expect.assert_eq(&format!("{error:#}"));
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let other = |change: &dyn Fn(&mut Session)| {
            let mut session = session(Some((2, 2)));
            change(&mut session);
            let place = "other".to_owned();
            let text = samples::text(&session, []);
            [part(1, 2, []), SessionPart { place, text }]
        };
        refused(
            &other(&|s| s.project = "drgn".to_owned()),
            &expect!["p1 and other are not of one session: the project example against drgn"],
        );
        refused(
            &other(&|s| s.kernels.clear()),
            &expect!["p1 and other are not of one session: the kernels 5.4.*,6.1.* against "],
        );
        refused(
            &other(&|s| s.filtered = true),
            &expect!["p1 and other are not of one session: all tests against some of the tests"],
        );
        refused(
            &other(&|s| s.partition = Some((2, 3))),
            &expect!["p1 and other are not of one session: 2 partitions against 3"],
        );
        refused(
            &other(&|s| s.partition = Some((1, 2))),
            &expect!["partition 1 of 2 is there twice: p1 and other"],
        );
        refused(
            &other(&|s| s.partition = None),
            &expect![
                "other is no partition but a whole session (partitions come from `test --partition K/N`)"
            ],
        );
        let expectation = Expectation {
            test: "t".to_owned(),
            complaint: false,
            kernels: None,
            flavor: None,
            arch: None,
            reason: "r".to_owned(),
            until: None,
        };
        refused(
            &other(&|s| s.expectations.push(expectation.clone())),
            &expect![
                "p1 and other are not of one session: other expectations in the project's vmtest.toml"
            ],
        );
        refused(
            &[part(3, 2, [])],
            &expect!["p3 says it is partition 3 of 2"],
        );
        refused(&[], &expect!["there are no results to merge"]);
        let text = "nothing".to_owned();
        let place = "p".to_owned();
        refused(
            &[SessionPart { place, text }],
            &expect!["cannot read p: no line of it is a test result"],
        );
    }
}
