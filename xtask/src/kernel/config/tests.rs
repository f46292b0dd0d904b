//! Tests of the parent module: snapshots of merges, texts and audits.

use expect_test::{Expect, expect};

use super::*;
use crate::base::{embedded::CONFIGS, paths::Files};
use crate::model::arch;

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn fragments(texts: &[(&str, &str)]) -> Merged {
    let parsed = texts
        .iter()
        .map(|(path, text)| parse_fragment(path, text).unwrap())
        .collect();
    merge_fragments(parsed).unwrap()
}

#[test]
fn later_fragments_win_and_origins_are_remembered() {
    let merged = fragments(&[
        (
            "base",
            "# The file.\n\n# One.\nCONFIG_A=y\nCONFIG_B=m\n\n# Two.\n#: since 5.0 (abc \"title\")\nCONFIG_C=\"x\"\n",
        ),
        (
            "flavors/tiny",
            "# Not here.\nCONFIG_A=n\n# Text.\nCONFIG_C=\"y\"\n",
        ),
        ("arch/x", "# Again.\nCONFIG_A=m\n"),
    ]);
    expect![[r##"
        # [base]
        # One.
        CONFIG_B=m

        # [flavors/tiny]
        # Text.
        # (line 4; overrides base:9)
        #: since 5.0
        CONFIG_C="y"

        # [arch/x]
        # Again.
        # (line 2; overrides base:4, flavors/tiny:2)
        CONFIG_A=m
    "##]]
    .assert_eq(&merged.annotated(None));
}

#[test]
fn each_version_gets_its_own_text() {
    let merged = fragments(&[(
        "base",
        "# Why.\nCONFIG_A=0x10\n#: since 5.2\nCONFIG_B=y\n#: until 6.0\nCONFIG_C=y\n\
         #: since 4.14\n#: renamed-to CONFIG_E since 4.15\n#: renamed-to CONFIG_F since 6.5\n#: until 6.8\nCONFIG_D=y\n",
    )]);
    let check =
        |text: &str, expected: Expect| expected.assert_eq(&merged.allconfig(&version(text)));
    check(
        "4.9.337",
        expect![[r#"
        CONFIG_A=0x10
        CONFIG_C=y
    "#]],
    );
    check(
        "4.14",
        expect![[r#"
        CONFIG_A=0x10
        CONFIG_C=y
        CONFIG_D=y
    "#]],
    );
    check(
        "5.2-rc1",
        expect![[r#"
        CONFIG_A=0x10
        CONFIG_B=y
        CONFIG_C=y
        CONFIG_E=y
    "#]],
    );
    check(
        "6.5",
        expect![[r#"
        CONFIG_A=0x10
        CONFIG_B=y
        CONFIG_F=y
    "#]],
    );
    check(
        "6.12.1",
        expect![[r#"
        CONFIG_A=0x10
        CONFIG_B=y
    "#]],
    );
}

#[test]
fn an_override_keeps_the_range_unless_it_has_its_own() {
    let first = (
        "base",
        "# Why.\n#: since 5.0\nCONFIG_A=y\n#: since 5.0\nCONFIG_B=y\n",
    );
    let second = ("drgn", "# Why.\nCONFIG_A=m\n#: since 6.0\nCONFIG_B=m\n");
    let merged = fragments(&[first, second]);
    assert_eq!(merged.allconfig(&version("4.9")), "");
    assert_eq!(merged.allconfig(&version("5.0")), "CONFIG_A=m\n");
    assert_eq!(
        merged.allconfig(&version("6.0")),
        "CONFIG_A=m\nCONFIG_B=m\n"
    );
}

#[test]
fn a_fragment_that_breaks_the_rules_is_refused() {
    let check = |text: &str, expected: Expect| {
        expected.assert_eq(&parse_fragment("f", text).unwrap_err().to_string());
    };
    check(
        "CONFIG_A=y\n",
        expect![
            "f:1: CONFIG_A has no comment above it that says why it is there; see kernel-configs/README.md for the syntax"
        ],
    );
    check(
        "# Why.\n\nCONFIG_A=y\n",
        expect![
            "f:3: CONFIG_A has no comment above it that says why it is there; see kernel-configs/README.md for the syntax"
        ],
    );
    check(
        "#\nCONFIG_A=y\n",
        expect![
            "f:2: CONFIG_A has no comment above it that says why it is there; see kernel-configs/README.md for the syntax"
        ],
    );
    check(
        "# Why.\nCONFIG_A=y\nCONFIG_A=n\n",
        expect![
            "f:3: CONFIG_A stands in line 2 already; see kernel-configs/README.md for the syntax"
        ],
    );
    check(
        "# Why.\nA=y\n",
        expect![[
            r#"f:2: "A" is not the name of an option; see kernel-configs/README.md for the syntax"#
        ]],
    );
    check(
        "# Why.\nCONFIG_A y\n",
        expect![[
            r#"f:2: "CONFIG_A y" is neither an option nor a comment; see kernel-configs/README.md for the syntax"#
        ]],
    );
    check(
        "# Why.\nCONFIG_A=yes\n",
        expect![[
            r#"f:2: "yes" is not a value (y, m, n, a number or a quoted string); see kernel-configs/README.md for the syntax"#
        ]],
    );
    check(
        "# Why.\nCONFIG_A=y \n",
        expect![[
            r#"f:2: "y " is not a value (y, m, n, a number or a quoted string); see kernel-configs/README.md for the syntax"#
        ]],
    );
    check(
        "# Why.\nCONFIG_A=\"x\n",
        expect![[
            r#"f:2: "\"x" is not a value (y, m, n, a number or a quoted string); see kernel-configs/README.md for the syntax"#
        ]],
    );
    check(
        "# Why.\n# CONFIG_A is not set\n",
        expect![
            "f:2: write CONFIG_…=n, so that it does not look like a comment; see kernel-configs/README.md for the syntax"
        ],
    );
    check(
        "#Why.\nCONFIG_A=y\n",
        expect![[
            r##"f:1: a comment begins with "# ", a line about an option with "#:"; see kernel-configs/README.md for the syntax"##
        ]],
    );
    check(
        "# Why.\n#: since 5.x\nCONFIG_A=y\n",
        expect![[
            r#"f:2: "5.x" is not a series like 6.1; see kernel-configs/README.md for the syntax"#
        ]],
    );
    check(
        "# Why.\n#: since 5.10.3\nCONFIG_A=y\n",
        expect![[
            r#"f:2: "5.10.3" is not a series like 6.1; see kernel-configs/README.md for the syntax"#
        ]],
    );
    check(
        "# Why.\n#:since 5.1\nCONFIG_A=y\n",
        expect![[
            r##"f:2: a space is missing behind "#:"; see kernel-configs/README.md for the syntax"##
        ]],
    );
    check(
        "# Why.\n#: from 5.1\nCONFIG_A=y\n",
        expect![[
            r#"f:2: cannot understand "from 5.1"; see kernel-configs/README.md for the syntax"#
        ]],
    );
    check(
        "# Why.\n#: since 5.1 abc\nCONFIG_A=y\n",
        expect![[
            r#"f:2: cannot understand "since 5.1 abc"; see kernel-configs/README.md for the syntax"#
        ]],
    );
    check(
        "# Why.\n#: since 5.1 (abc\nCONFIG_A=y\n",
        expect![
            "f:2: the note in parentheses is empty or does not end with the line; see kernel-configs/README.md for the syntax"
        ],
    );
    check(
        "# Why.\n#: renamed-to B since 5.1\nCONFIG_A=y\n",
        expect![[
            r#"f:2: cannot understand "renamed-to B since 5.1"; see kernel-configs/README.md for the syntax"#
        ]],
    );
    check(
        "# Why.\n#: since 5.1\n#: since 5.2\nCONFIG_A=y\n",
        expect![[r#"f:3: a second "since"; see kernel-configs/README.md for the syntax"#]],
    );
    check(
        "# Why.\n#: since 5.2\n#: until 5.2\nCONFIG_A=y\n",
        expect![[
            r#"f:3: "until" is not after "since"; see kernel-configs/README.md for the syntax"#
        ]],
    );
    check(
        "# Why.\n#: until 5.2\n#: renamed-to CONFIG_B since 5.3\nCONFIG_A=y\n",
        expect![
            "f:3: a new name is outside the range of the option; see kernel-configs/README.md for the syntax"
        ],
    );
    check(
        "# Why.\n#: since 5.2\n\nCONFIG_A=y\n",
        expect![[
            r##"f:3: a line that begins with "#:" must stand right above its option; see kernel-configs/README.md for the syntax"##
        ]],
    );
    check(
        "# Why.\n#: since 5.2\n",
        expect![[
            r##"f:3: a line that begins with "#:" must stand right above its option; see kernel-configs/README.md for the syntax"##
        ]],
    );
    check(
        "# Why.\n#: since 5.2\n# More.\nCONFIG_A=y\n",
        expect![[
            r##"f:3: a line that begins with "#:" must stand right above its option; see kernel-configs/README.md for the syntax"##
        ]],
    );
}

#[test]
fn a_new_name_beside_the_old_one_is_refused() {
    let parse = |path, text| parse_fragment(path, text).unwrap();
    let error = merge_fragments(vec![
        parse(
            "base",
            "# Why.\n#: renamed-to CONFIG_B since 5.1\nCONFIG_A=y\n",
        ),
        parse("drgn", "# Why.\nCONFIG_B=n\n"),
    ]);
    expect!["drgn:2: CONFIG_B is the new name of CONFIG_A (base:3): write CONFIG_A here"]
        .assert_eq(&error.unwrap_err().to_string());
}

#[test]
fn values() {
    for (text, expected) in [
        ("y", Some(Value::Yes)),
        ("0x1F", Some(Value::Number("0x1F".to_owned()))),
        ("-3", Some(Value::Number("-3".to_owned()))),
        (
            r#""a \"b\" \\""#,
            Some(Value::Text(r#"a "b" \"#.to_owned())),
        ),
        (r#""""#, Some(Value::Text(String::new()))),
        ("", None),
        ("Y", None),
        ("0x", None),
        ("0x-1", None),
        ("+1", None),
        ("1 2", None),
        ("\"", None),
        (r#""a"b""#, None),
        (r#""a\""#, None),
    ] {
        assert_eq!(Value::parse(text), expected, "{text}");
        if let Some(value) = expected {
            assert_eq!(value.to_string(), text);
        }
    }
}

#[test]
fn the_audit_tells_set_absent_and_lost_apart() {
    let merged = fragments(&[(
        "f",
        "# Why.\nCONFIG_YES=y\nCONFIG_MODULE=m\nCONFIG_NO=n\nCONFIG_NO_ABSENT=n\nCONFIG_TEXT=\"a b\"\n\
         CONFIG_EMPTY=\"\"\nCONFIG_HEX=0x10\nCONFIG_NUMBER=7\n#: since 6.2\nCONFIG_LATER=y\n#: until 6.1\nCONFIG_GONE=y\n\
         #: renamed-to CONFIG_NEW since 5.0\nCONFIG_OLD=y\n",
    )]);
    let good = "#\n# Linux/x86 6.1.192 Kernel Configuration\n#\nCONFIG_YES=y\nCONFIG_MODULE=m\n# CONFIG_NO is not set\n\
                CONFIG_TEXT=\"a b\"\nCONFIG_HEX=0x10\nCONFIG_NUMBER=7\nCONFIG_NEW=y\nCONFIG_EXTRA=y\n";
    let check = |config: &str, expected: Expect| {
        let audit = audit(&merged, &version("6.1.192"), config, None);
        let lost = audit
            .lost()
            .map(|lost| format!("{lost}\n"))
            .collect::<String>();
        expected.assert_eq(&format!("{:?}\n{lost}", audit.counts()));
    };
    check(
        good,
        expect![[r#"
        (9, 2, 0)
    "#]],
    );
    check(
        &good.replace("0x10", "16"),
        expect![[r#"
        (9, 2, 0)
    "#]],
    );
    let bad = good
        .replace("YES=y", "YES=m")
        .replace("MODULE=m", "MODULE=y")
        .replace("# CONFIG_NO is not set", "CONFIG_NO=m")
        .replace("a b", "a c")
        .replace("0x10", "0x11")
        .replace("NUMBER=7", "NUMBER=8")
        .replace("CONFIG_NEW=y", "CONFIG_OLD=y");
    check(
        &bad,
        expect![[r#"
        (2, 2, 7)
        CONFIG_YES=y (f:2) is lost: it is m
        CONFIG_MODULE=m (f:3) is lost: it is y
        CONFIG_NO=n (f:4) is lost: it is m
        CONFIG_TEXT="a b" (f:6) is lost: it is "a c"
        CONFIG_HEX=0x10 (f:8) is lost: it is 0x11
        CONFIG_NUMBER=7 (f:9) is lost: it is 8
        CONFIG_NEW=y (f:15) is lost: it is not set
    "#]],
    );
    check(
        "",
        expect![[r#"
        (3, 2, 6)
        CONFIG_YES=y (f:2) is lost: it is not set
        CONFIG_MODULE=m (f:3) is lost: it is not set
        CONFIG_TEXT="a b" (f:6) is lost: it is not set
        CONFIG_HEX=0x10 (f:8) is lost: it is not set
        CONFIG_NUMBER=7 (f:9) is lost: it is not set
        CONFIG_NEW=y (f:15) is lost: it is not set
    "#]],
    );
}

#[test]
fn the_version_is_in_the_header_of_a_config() {
    let version = |text: &str| {
        FinalConfig::parse(text)
            .version
            .map(|version| version.to_string())
    };
    assert_eq!(
        version("# Linux/x86 6.1.192 Kernel Configuration\n").as_deref(),
        Some("6.1.192")
    );
    assert_eq!(
        version("# Linux/x86_64 5.10.0-rc3 Kernel Configuration\n").as_deref(),
        Some("5.10.0-rc3")
    );
    assert_eq!(version("# Linux Kernel\nCONFIG_A=y\n"), None);
    assert!(FinalConfig::parse("hello\n").is_empty());
}

#[test]
fn our_own_fragments_merge_for_every_series() {
    let files = Files::Embedded(CONFIGS);
    let kernels = Kernels::load(&files).unwrap();
    for flavor in &kernels.flavors {
        for (arch, _) in &kernels.architectures {
            let merged = merge(&files, arch, &flavor.name, &[]).unwrap();
            for series in kernels.series_of(arch) {
                let version = series.to_string().parse().unwrap();
                let text = merged.allconfig(&version);
                let mut names = text
                    .lines()
                    .map(|line| line.split_once('=').unwrap().0)
                    .collect::<Vec<_>>();
                assert!(names.len() > 100, "{series}");
                names.sort_unstable();
                assert!(
                    names.is_sorted_by(|a, b| a < b),
                    "{series}: an option twice"
                );
                // What is printed for people configures the same.
                let annotated = merged.annotated(Some(&version));
                let options = annotated.lines().filter(|line| line.starts_with("CONFIG_"));
                assert_eq!(
                    options.map(|line| format!("{line}\n")).collect::<String>(),
                    text
                );
            }
        }
    }
}

#[test]
fn names_follow_the_version() {
    let merged = merge(
        &Files::Embedded(CONFIGS),
        arch::find("x86_64").unwrap(),
        "default",
        &[],
    )
    .unwrap();
    let has = |text: &str, option: &str| {
        merged
            .allconfig(&version(text))
            .lines()
            .any(|line| line == option)
    };
    assert!(has("4.9", "CONFIG_UPROBE_EVENT=y") && !has("4.9", "CONFIG_UPROBE_EVENTS=y"));
    assert!(!has("4.14", "CONFIG_UPROBE_EVENT=y") && has("4.14", "CONFIG_UPROBE_EVENTS=y"));
    assert!(!has("4.9", "CONFIG_ORC_UNWINDER=y"));
    assert!(has("4.14", "CONFIG_ORC_UNWINDER=y") && has("4.19", "CONFIG_UNWINDER_ORC=y"));
}

#[test]
fn an_unknown_flavor_is_refused() {
    let error = merge(
        &Files::Embedded(CONFIGS),
        arch::find("x86_64").unwrap(),
        "tinny",
        &[],
    );
    assert_eq!(crate::base::error::exit_status(&error.unwrap_err()), 2);
}

#[test]
fn what_a_stable_branch_took_is_wanted_under_the_name_that_the_source_has() {
    let merged = fragments(&[(
        "f",
        "# Why.\n#: since 4.14\n#: renamed-to CONFIG_NEW since 4.15\n#: backported-to 4.14\n\
         CONFIG_OLD=y\n#: since 4.15\n#: backported-to 4.9 4.14\nCONFIG_LATE=y\n",
    )]);
    expect![[r#"
        CONFIG_OLD=y
        CONFIG_NEW=y
        CONFIG_LATE=y
    "#]]
    .assert_eq(&merged.allconfig(&version("4.14.177")));
    expect![[r#"
        CONFIG_NEW=y
        CONFIG_LATE=y
    "#]]
    .assert_eq(&merged.allconfig(&version("4.15")));
    let states = |text: &str, config: &str| {
        let audit = audit(&merged, &version(text), config, None);
        let states = audit.options.iter().map(|option| option.state);
        states.collect::<Vec<_>>()
    };
    use State::{ExpectedAbsent, Lost, Set};
    assert_eq!(states("4.14", "CONFIG_OLD=y\n"), [Set, ExpectedAbsent]);
    assert_eq!(
        states("4.14.177", "CONFIG_NEW=y\nCONFIG_LATE=y\n"),
        [Set, Set]
    );
    let refused = "# CONFIG_NEW is not set\n# CONFIG_LATE is not set\n";
    assert_eq!(states("4.14.177", refused), [Lost, Lost]);
    assert_eq!(states("4.14.177", ""), [Lost, ExpectedAbsent]);
    assert_eq!(states("4.9", ""), [ExpectedAbsent, ExpectedAbsent]);
    assert_eq!(states("4.15", ""), [Lost, Lost]);
}
