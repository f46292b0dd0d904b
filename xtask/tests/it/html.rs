//! `report.html` of made-up sessions: hostile ones, large ones, and one like drgn's. The
//! pages are left in the target folder (`tmp/report-html`) to be looked at.

use std::collections::BTreeSet;
use std::path::Path;

use xtask::embedded::{REPORT_SCRIPT, REPORT_STYLE};
use xtask::event::{Counts, FinishedTest, RunOutcome, Stage, Tally, TestEvent, TestOutcome};
use xtask::expect::Expectation;
use xtask::report::html::render;
use xtask::results::{Evidence, Phases, Results, RunName, RunRecord, Session};

/// The bar for forty kernels and a thousand tests.
const LARGEST_PAGE: usize = 5_000_000;

fn session() -> Session {
    Session {
        project: "drgn".to_owned(),
        started: "2026-11-25T16:21:20Z".to_owned(),
        kernels: vec!["5.*".to_owned(), "6.*".to_owned(), "7.3.*".to_owned()],
        ..Session::default()
    }
}

fn finished(id: impl Into<String>, outcome: TestOutcome, seconds: f64) -> FinishedTest {
    FinishedTest {
        id: id.into(),
        outcome,
        seconds,
        reason: None,
        traceback: None,
        expected: None,
    }
}

/// A test that failed in this way.
fn failed(id: impl Into<String>, seconds: f64, reason: &str, at: &str) -> FinishedTest {
    let id = id.into();
    let method = id.rsplit('.').next().unwrap_or_default();
    FinishedTest {
        traceback: Some(format!(
            "Traceback (most recent call last):\n  File \"{at}\", line 123, in {method}\n    \
             self.assertEqual(actual, expected)\n    ~~~~~~~~~~~~~~~~^^^^^^^^^^^^^^^^^^\n{reason}\n"
        )),
        reason: Some(reason.to_owned()),
        ..finished(id, TestOutcome::Failed, seconds)
    }
}

fn skipped(id: impl Into<String>, reason: &str) -> FinishedTest {
    FinishedTest {
        reason: Some(reason.to_owned()),
        ..finished(id, TestOutcome::Skipped, 0.0)
    }
}

/// A run with these tests; what `cut` says, if anything, ended it before the last.
fn run(
    release: &str,
    flavor: &str,
    tests: Vec<FinishedTest>,
    cut: Option<RunOutcome>,
) -> RunRecord {
    let mut tally = Tally::default();
    let unrun = if cut.is_some() { 40 } else { 0 };
    tally.push(&TestEvent::RunStarted {
        tests: tests.len() as u64 + unrun,
    });
    let mut counts = Counts::default();
    let mut seconds = 0.0;
    for test in tests {
        counts.add(test.outcome);
        seconds += test.seconds;
        tally.push(&TestEvent::TestFinished(test));
    }
    let outcome = cut.unwrap_or_else(|| {
        tally.push(&TestEvent::RunFinished { counts, seconds });
        match tally.bad().next() {
            Some(_) => RunOutcome::TestsFailed,
            None => RunOutcome::Passed,
        }
    });
    RunRecord {
        name: RunName {
            kernel: release.to_owned(),
            arch: "x86_64".to_owned(),
            flavor: Some(flavor.to_owned()),
        },
        outcome,
        tally,
        seconds: Phases {
            prepare: Some(1.5),
            boot: Some(2.75),
            tests: Some(seconds),
            total: Some(seconds + 4.0),
        },
        acceleration: Some("KVM".to_owned()),
        retries: Vec::new(),
        evidence: Evidence::default(),
    }
}

const OOPS: &str = "BUG: kernel NULL pointer dereference, address: 0000000000000008
#PF: supervisor read access in kernel mode
Oops: 0000 [#1] SMP NOPTI
CPU: 1 PID: 812 Comm: python3 Not tainted 6.9.12-vmtest1.1default #1
RIP: 0010:bpf_iter_task_next+0x4d/0x90
Call Trace:
 <TASK>
 bpf_seq_read+0x10e/0x490
 vfs_read+0xa2/0x330
 ksys_read+0x5f/0xe0
 </TASK>
";

/// A session like one of drgn's, with everything in it that a report tells.
fn realistic() -> Results {
    const MODULES: [(&str, &str); 8] = [
        ("tests.test_language_c", "TestPrettyPrintObject"),
        ("tests.test_dwarf", "TestTypes"),
        ("tests.test_symbol", "TestElfSymbol"),
        ("tests.linux_kernel.helpers.test_bpf", "TestBpf"),
        ("tests.linux_kernel.helpers.test_mm", "TestMm"),
        ("tests.linux_kernel.helpers.test_slab", "TestSlab"),
        ("tests.linux_kernel.test_stack_trace", "TestStackTrace"),
        ("tests.linux_kernel.bpf.test_iter", "TestBpfIterators"),
    ];
    let kernels = [
        ("4.9.337", "default"),
        ("4.19.325", "default"),
        ("5.4.302", "default"),
        ("5.10.248", "default"),
        ("5.15.198", "default"),
        ("6.1.192", "tiny"),
        ("6.1.192", "alternative"),
        ("6.1.192", "default"),
        ("6.6.121", "default"),
        ("6.9.12", "default"),
        ("6.12.107", "default"),
        ("6.18.9", "default"),
        ("7.3.4", "default"),
    ];
    let expected = "prints the raw pointer until drgn 0.3.1, see its issue 412";
    let mut runs = Vec::new();
    for (column, (version, flavor)) in kernels.into_iter().enumerate() {
        let mut tests = Vec::new();
        for (number, (module, class)) in MODULES.into_iter().enumerate() {
            for index in 0..40 {
                let id = format!("{module}.{class}.test_{:02}", index);
                let seconds = f64::from(index % 7) * 0.05 + 0.01;
                tests.push(match (number, index) {
                    (3, 0..=2) if column >= 10 => failed(
                        id,
                        seconds,
                        "AttributeError: 'struct bpf_prog' has no member 'aux_old'",
                        "/work/drgn/drgn/helpers/linux/bpf.py",
                    ),
                    (4, 3) if flavor == "tiny" => failed(
                        id,
                        seconds,
                        "AssertionError: 4096 != 16384",
                        "/work/drgn/tests/linux_kernel/helpers/test_mm.py",
                    ),
                    (5, 4..=20) if column < 4 => skipped(id, "kernel does not have SLUB"),
                    (6, 5) => FinishedTest {
                        seconds: 3.2 + f64::from(index),
                        ..finished(id, TestOutcome::Passed, 0.0)
                    },
                    (6, 6) if matches!(column, 3 | 8) => failed(
                        id,
                        1.25,
                        "AssertionError: 'schedule' not found in ['__switch_to']",
                        "/work/drgn/tests/linux_kernel/test_stack_trace.py",
                    ),
                    (6, 8..=21) => skipped(id, "not running in kdump"),
                    (7, 0) if column < 6 => FinishedTest {
                        expected: Some(expected.to_owned()),
                        ..failed(id, 0.1, "AssertionError: 1 != 2", "/work/drgn/tests/x.py")
                    },
                    (2, 9) => finished(id, TestOutcome::ExpectedFailure, 0.02),
                    (0, 7) => failed(
                        id,
                        0.02,
                        "AssertionError: '(char)97' != \"(char)'a'\"",
                        "/work/drgn/tests/test_language_c.py",
                    ),
                    _ => finished(id, TestOutcome::Passed, seconds),
                });
            }
        }
        let release = format!(
            "{version}-vmtest1.{}{flavor}",
            u8::from(flavor == "default")
        );
        runs.push(match column {
            9 => {
                tests.truncate(301);
                let mut run = run(
                    &release,
                    flavor,
                    tests,
                    Some(RunOutcome::Panicked {
                        how: "BUG: kernel NULL pointer dereference, address: 0000000000000008"
                            .to_owned(),
                        running: Some(
                            "tests.linux_kernel.bpf.test_iter.TestBpfIterators.test_21".to_owned(),
                        ),
                    }),
                );
                run.evidence = Evidence {
                    trouble: OOPS.to_owned(),
                    output_tail: "test_19 (tests.linux_kernel.bpf.test_iter) ... ok\n".repeat(12),
                    console_tail: format!("{OOPS}Kernel panic - not syncing: Fatal exception\n"),
                    logs: vec![(
                        "console".to_owned(),
                        format!("{release}/console.log").into(),
                    )],
                };
                run
            }
            11 => RunRecord {
                seconds: Phases {
                    prepare: Some(40.0),
                    ..Phases::default()
                },
                ..run(
                    &release,
                    flavor,
                    Vec::new(),
                    Some(RunOutcome::NotStarted {
                        stage: Stage::Setup,
                        how: "cannot build the test module: make ended with status 2".to_owned(),
                    }),
                )
            },
            4 => RunRecord {
                retries: vec![RunOutcome::Lost {
                    how: "QEMU ended with signal 9 (SIGKILL)".to_owned(),
                    running: None,
                }],
                ..run(&release, flavor, tests, None)
            },
            _ => run(&release, flavor, tests, None),
        });
    }
    runs[11].tally = Tally::default();
    Results {
        session: Session {
            expectations: vec![Expectation {
                test: "tests.linux_kernel.bpf.*.test_00".to_owned(),
                kernels: Some("<6.6".to_owned()),
                flavor: None,
                arch: None,
                reason: expected.to_owned(),
                until: Some("2027-03-01".to_owned()),
            }],
            ..session()
        },
        runs,
        findings: vec!["[[expect]] \"tests.gone.*\" matches no test".to_owned()],
        finished: true,
    }
}

/// Forty kernels and a thousand tests, of which 300 are not the same everywhere.
fn large() -> Results {
    let runs = (0..40_u32).map(|column| {
        let test = |number: u32| {
            let id = format!(
                "tests.linux_kernel.helpers.test_{:02}.TestHelpers{}.test_number_{number}",
                number % 23,
                number % 5
            );
            let seconds = f64::from(number % 11) * 0.01;
            let boundary = number % 38 + 1;
            match number {
                0..100 if column >= boundary => {
                    let reason = format!("AssertionError: {number} != {}", number + column / 10);
                    failed(id, seconds, &reason, "/work/drgn/tests/test_large.py")
                }
                100..200 if column < boundary => skipped(id, "needs a newer kernel"),
                200..250 if (column * 7 + number).is_multiple_of(5) => failed(
                    id,
                    seconds,
                    "AssertionError: now and then",
                    "/work/drgn/tests/x.py",
                ),
                250..300 if column < 20 => finished(id, TestOutcome::ExpectedFailure, seconds),
                300..314 => skipped(id, "not running in kdump"),
                _ => finished(id, TestOutcome::Passed, seconds),
            }
        };
        let tests = (0..1000).map(test).collect();
        let release = format!(
            "{}.{}.{}-vmtest1.1default",
            5 + column / 20,
            column % 20,
            column
        );
        run(&release, "default", tests, None)
    });
    Results {
        session: session(),
        runs: runs.collect(),
        findings: Vec::new(),
        finished: true,
    }
}

/// As many tests on as many kernels, all of which fail, each in a way of its own.
fn worst() -> Results {
    let runs = (0..40_u32).map(|column| {
        let test = |number: u32| {
            let id = format!("tests.test_{}.TestAll.test_{number}", number % 31);
            if (number + column).is_multiple_of(13) || number >> (column % 10) & 1 == 1 {
                return skipped(id, &format!("reason {} of many", number % 50));
            }
            let reason = format!(
                "AssertionError: <{number}> & <{column}>\n{}",
                "<\0>\n".repeat(200)
            );
            failed(id, 0.5, &reason, "/work/tests/test_all.py")
        };
        let tests = (0..1000).map(test).collect();
        let mut run = run(&format!("6.{column}.1"), "default", tests, None);
        let lines = "[    1.000000] <a & b>\x1b[0m\n".repeat(2000);
        run.evidence = Evidence {
            trouble: format!("{column}\n{lines}"),
            output_tail: lines.clone(),
            console_tail: lines,
            logs: Vec::new(),
        };
        run
    });
    Results {
        session: session(),
        runs: runs.collect(),
        findings: Vec::new(),
        finished: true,
    }
}

const HOSTILE: &str = "</code></pre></title></style><script>alert(1)</script><img src=x onerror=\"alert(1)\"> \
     &lt; ' \" \0\x1b[31m\r\n\u{202e}gnp.exe\u{2066}\u{200b}\u{85}\u{feff} --> ]]> {{x}} ${x}";

/// A guest that wants to get out of the page, by every string that it can choose.
fn hostile() -> Results {
    let text = || HOSTILE.to_owned();
    let runs = [
        TestOutcome::Failed,
        TestOutcome::Skipped,
        TestOutcome::Passed,
    ]
    .map(|outcome| {
        let test = |id: &str, expected: bool| FinishedTest {
            reason: Some(text()),
            traceback: Some(text()),
            expected: expected.then(text),
            ..finished(format!("{id}.{HOSTILE}"), outcome, 0.5)
        };
        let release = format!("6.{}.1-{HOSTILE}", outcome as u32);
        let tests = vec![
            test("a.B", false),
            test("a.B.c", true),
            finished(HOSTILE, TestOutcome::Passed, f64::MAX),
            skipped("a.b.C.always", HOSTILE),
        ];
        let mut run = run(
            &release,
            HOSTILE,
            tests,
            Some(RunOutcome::Stuck {
                phase: text(),
                how: text(),
                running: Some(format!("running.{HOSTILE}")),
            }),
        );
        run.name.arch = text();
        run.acceleration = Some(text());
        run.tally.garbage = 7;
        run.tally.last = Some(text());
        run.retries = vec![run.outcome.clone()];
        run.evidence = Evidence {
            trouble: text(),
            output_tail: text(),
            console_tail: text(),
            logs: vec![
                (text(), HOSTILE.into()),
                (text(), "javascript:alert(1)".into()),
                (text(), "/etc/passwd".into()),
            ],
        };
        run
    });
    Results {
        session: Session {
            project: text(),
            started: text(),
            kernels: vec![text()],
            partition: Some((1, 2)),
            filtered: true,
            expectations: vec![Expectation {
                test: text(),
                kernels: Some(text()),
                flavor: Some(text()),
                arch: Some(text()),
                reason: text(),
                until: Some(text()),
            }],
        },
        runs: runs.to_vec(),
        findings: vec![text()],
        finished: false,
    }
}

/// A page, left for people.
fn page(name: &str, results: &Results) -> String {
    let html = render(results);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-html");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.html")), &html).unwrap();
    html
}

/// The tags of a page without its style and script: name, attributes, end or start.
fn tags(html: &str) -> Vec<(&str, &str, bool)> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap();
        assert!(!tag.contains('<'), "{tag:?}");
        let (tag, end) = match tag.strip_prefix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        tags.push((name, attributes, end));
        rest = match name {
            "style" | "script" if !end => &after[after.find("</").unwrap()..],
            _ => after,
        };
    }
    tags
}

/// The values of an attribute.
fn values<'h>(tags: &[(&str, &'h str, bool)], attribute: &str) -> Vec<&'h str> {
    let start = format!("{attribute}=");
    let value = |attributes: &&'h str| {
        // Values with blanks are in double quotes, which are in no value.
        let mut rest: &'h str = attributes;
        loop {
            if let Some(value) = rest.strip_prefix(start.as_str()) {
                return Some(match value.strip_prefix('"') {
                    Some(value) => value.split('"').next().unwrap(),
                    None => value.split(' ').next().unwrap(),
                });
            }
            let end = rest.find([' ', '"'])?;
            let quoted = rest[end..].starts_with('"');
            rest = &rest[end + 1..];
            if quoted {
                rest = rest.split_once('"').unwrap().1;
            }
        }
    };
    let attributes = tags.iter().map(|(_, attributes, _)| *attributes);
    attributes
        .filter_map(|attributes| value(&attributes))
        .collect()
}

/// The text of all that is code, as people see it.
fn names(html: &str) -> BTreeSet<String> {
    let pieces = html.split("<code>").skip(1);
    let pieces = pieces.map(|piece| piece.split("</code>").next().unwrap());
    let text = |piece: &str| {
        let mut text = piece.replace("<wbr>", "").replace("</span>", "");
        text = text.replace("<span class=muted>", "");
        text
    };
    pieces.map(text).collect()
}

/// Checks what must be true of every page.
#[track_caller]
fn check(html: &str) {
    let tags = tags(html);
    let mut open = Vec::new();
    for (name, attributes, end) in &tags {
        let known = [
            "!DOCTYPE", "a", "article", "body", "button", "caption", "code", "details", "div",
            "footer", "h1", "h2", "h3", "h4", "head", "header", "html", "i", "input", "kbd",
            "label", "li", "main", "meta", "nav", "p", "pre", "rect", "script", "section", "span",
            "style", "summary", "svg", "table", "tbody", "td", "th", "thead", "title", "br", "wbr",
            "tr", "ul",
        ];
        assert!(known.contains(name), "{name:?}");
        if *end {
            // The end of a cell may be left out.
            if open.last() == Some(&"td") && *name == "tr" {
                open.pop();
            }
            assert_eq!(open.pop(), Some(*name));
        } else {
            if open.last() == Some(&"td") && *name == "td" {
                open.pop();
            }
            if !["!DOCTYPE", "meta", "input", "br", "wbr"].contains(name)
                && !attributes.ends_with('/')
            {
                open.push(*name);
            }
        }
    }
    assert_eq!(open, Vec::<&str>::new());

    let ids = values(&tags, "id");
    let distinct = ids.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(ids.len(), distinct.len(), "an id is there twice");
    for goal in values(&tags, "href") {
        match goal.strip_prefix('#') {
            Some(id) => assert!(distinct.contains(id), "{goal}"),
            None => assert!(goal.starts_with("./") && !goal.contains(':'), "{goal}"),
        }
    }
    for label in values(&tags, "aria-labelledby") {
        assert!(distinct.contains(label), "{label}");
    }
    for attribute in [
        "src",
        "srcset",
        "style",
        "action",
        "background",
        "onerror",
        "data",
    ] {
        assert_eq!(values(&tags, attribute), Vec::<&str>::new(), "{attribute}");
    }
    assert_eq!(html.matches("<script").count(), 1);
    assert!(!html.contains("http://") && !html.contains("https://"));
    let unseen = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert_eq!(html.find(unseen), None);
    // Headings leave out no level.
    let mut level = 0;
    for (name, _, end) in &tags {
        if let Some(number) = name.strip_prefix('h').and_then(|n| n.parse::<u32>().ok())
            && !end
        {
            assert!(number <= level + 1, "{name} after h{level}");
            level = number;
        }
    }
    for (name, attributes, end) in &tags {
        if *name == "th" && !end {
            assert!(attributes.contains("scope="), "{attributes}");
        }
    }
}

#[test]
fn a_page_is_sound_whatever_the_guest_says() {
    let html = page("hostile", &hostile());
    check(&html);
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(html.contains("␀␛[31m"));
    assert!(html.contains("⟨U+202E⟩gnp.exe⟨U+2066⟩"));
    check(&page("empty", &Results::default()));
}

#[test]
fn a_page_tells_what_there_is_to_know() {
    let html = page("realistic", &realistic());
    check(&html);
    for text in [
        // The boundary, the tests at it, what they say there.
        "fails from 6.12",
        "AttributeError: 'struct bpf_prog' has no member 'aux_old'",
        "Skipped on every kernel: 14 tests",
        "✗ panicked",
        "bpf_iter_task_next+0x4d/0x90",
        "✗ setup failed",
        "QEMU ended with signal 9 (SIGKILL)",
        "prints the raw pointer until drgn 0.3.1",
        "fails wherever it was run",
        "[[expect]] &quot;tests.gone.*&quot; matches no test",
        "href=\"./6.9.12-vmtest1.1default/console.log\"",
        "Started 2026-11-25 16:21:20 UTC",
    ] {
        assert!(html.contains(text), "{text}");
    }
    // In this order, which is that of their importance.
    let sections = [
        "kernels",
        "differences",
        "failures",
        "skipped",
        "broken",
        "expected",
        "same",
    ];
    let places = sections.map(|section| html.find(&format!("<h2 id=\"{section}\">")).unwrap());
    assert!(places.is_sorted());
    // One traceback on three kernels is there once.
    let traceback = "AttributeError: 'struct bpf_prog' has no member 'aux_old'</pre>";
    assert_eq!(html.matches(traceback).count(), 3);
}

#[test]
fn the_verdict_is_that_of_the_exit_status() {
    let passed = || vec![finished("t.T.a", TestOutcome::Passed, 0.1)];
    let mut results = Results {
        runs: vec![run("6.1.1", "default", passed(), None)],
        finished: true,
        ..Results::default()
    };
    let verdict = |results: &Results| {
        let html = render(results);
        let (_, rest) = html.split_once("<p><span class=\"mark ").unwrap();
        let (verdict, _) = rest.split_once("</span>").unwrap();
        verdict.to_owned()
    };
    assert_eq!(verdict(&results), "good\">✓ passed");
    results
        .findings
        .push("partition 2 of 3 is missing".to_owned());
    assert_eq!(verdict(&results), "bad\">✗ not as it should be");
    results.runs[0].outcome = RunOutcome::Lost {
        how: "killed".to_owned(),
        running: None,
    };
    assert_eq!(verdict(&results), "bad\">✗ a kernel did not last");
    let failed = vec![failed("t.T.b", 0.1, "AssertionError", "x.py")];
    results.runs.push(run("6.6.1", "default", failed, None));
    assert_eq!(verdict(&results), "bad\">✗ tests failed");
    results.runs.clear();
    assert_eq!(verdict(&results), "warn\">▲ nothing was run");
}

#[test]
fn the_same_results_give_the_same_page_in_whatever_order_they_came() {
    let mut results = realistic();
    let html = render(&results);
    assert_eq!(render(&results), html);
    results.runs.reverse();
    assert_eq!(render(&results), html);
}

#[test]
fn forty_kernels_with_a_thousand_tests_fit() {
    for (name, results) in [("large", large()), ("worst", worst())] {
        let html = page(name, &results);
        check(&html);
        assert!(html.len() < LARGEST_PAGE, "{name}: {}", html.len());
        let names = names(&html);
        for test in &results.runs[0].tally.finished_tests {
            assert!(names.contains(&test.id), "{name}: {}", test.id);
        }
    }
}

#[test]
fn tests_without_number_do_not_make_a_page_without_end() {
    // More cells than a browser likes: what is left are names.
    let runs = (0..40_u32).map(|column| {
        let test = |number: u32| {
            let outcome = match number >> (column % 14) & 1 {
                1 => TestOutcome::Failed,
                _ => TestOutcome::Passed,
            };
            finished(format!("t.T.test_{number}"), outcome, 0.0)
        };
        run(
            &format!("6.{column}"),
            "x",
            (0..2000).map(test).collect(),
            None,
        )
    });
    let html = render(&Results {
        runs: runs.collect(),
        ..Results::default()
    });
    check(&html);
    let cells = html.matches("<td class=").count();
    assert!(cells < 45_000, "{cells}");
    assert!(names(&html).contains("t.T.test_1999"));
}

#[test]
fn reasons_without_number_do_not_either() {
    let runs = (0..10_u32).map(|column| {
        let test = |number| skipped(format!("t.T.test_{number}"), &format!("{column} {number}"));
        let tests = (0..1000).map(test).collect();
        run(&format!("6.{column}"), "x", tests, None)
    });
    let html = render(&Results {
        runs: runs.collect(),
        ..Results::default()
    });
    check(&html);
    assert!(html.contains("Skipped on every kernel: 1000 tests"));
    assert!(html.contains("And 9500 more reasons: see results.jsonl."));
    assert!(html.len() < 1_000_000, "{}", html.len());
}

#[test]
fn style_and_script_end_where_the_page_says() {
    for text in [REPORT_STYLE, REPORT_SCRIPT] {
        assert!(!text.contains("</") && !text.contains("<!"));
    }
}

/// The contrast of two colours, from 1 to 21 (WCAG 2.2, "contrast ratio").
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |colour: &str| {
        let channel = |at: usize| {
            let value = u8::from_str_radix(&colour[at..at + 2], 16).unwrap();
            let value = f64::from(value) / 255.0;
            match value <= 0.04045 {
                true => value / 12.92,
                false => ((value + 0.055) / 1.055).powf(2.4),
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    };
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    one.max(other) / one.min(other)
}

#[test]
fn colours_can_be_told_apart_in_light_and_dark() {
    let blocks = REPORT_STYLE.split(":root {").skip(1);
    let blocks = blocks.map(|block| block.split('}').next().unwrap());
    let blocks = blocks.collect::<Vec<_>>();
    assert_eq!(blocks.len(), 3, "light, dark, print");
    for (number, block) in blocks.iter().enumerate() {
        let colour = |name: &str| {
            let start = format!("--{name}: ");
            let line = |block: &'static str| {
                let mut lines = block.lines();
                lines.find_map(|line| line.trim().strip_prefix(start.as_str())?.strip_suffix(';'))
            };
            line(block).or_else(|| line(blocks[0])).unwrap()
        };
        let text = [
            ("text", "back"),
            ("text", "panel"),
            ("muted", "back"),
            ("muted", "panel"),
            ("link", "back"),
            ("link", "panel"),
            ("good-text", "good-back"),
            ("bad-text", "bad-back"),
            ("warn-text", "warn-back"),
            ("dim-text", "dim-back"),
        ];
        for (one, other) in text {
            let ratio = contrast(colour(one), colour(other));
            assert!(ratio >= 4.5, "{number}: {one} on {other}: {ratio:.2}");
        }
        // What is no text (WCAG 2.2, 1.4.11).
        for one in ["focus", "prepare", "boot", "tests", "other"] {
            let ratio = contrast(colour(one), colour("back"));
            assert!(ratio >= 3.0, "{number}: {one}: {ratio:.2}");
        }
    }
}
