//! Project files and the choice among them.

use expect_test::{Expect, expect};

use super::*;

fn check(text: &str, expect: Expect) {
    let message = match Project::parse("vmtest.toml", text) {
        Ok(_) => "fine".to_owned(),
        Err(failure) => {
            assert_eq!(failure.kind.exit_status(), 2);
            failure.to_string()
        }
    };
    expect.assert_eq(&message);
}

#[test]
fn the_smallest_project() {
    let project = Project::parse("vmtest.toml", "name = \"x\"\n").unwrap();
    assert_eq!(
        project,
        Project {
            name: "x".to_owned(),
            python: "python3".to_owned(),
            detect: vec![],
            memory: None,
            prepare: vec![],
            tests: Tests::default(),
            crash: None,
            environment: vec![],
            module: None,
            disk: None,
            kernel: KernelNeeds::default(),
            needs: Needs::default(),
            cross: None,
            allowances: vec![],
            expectations: vec![],
            local: None,
            release: None,
        }
    );
}

#[test]
fn everything_in_the_documentation_is_taken() {
    let module = include_str!("../project.rs");
    let example = module
        .lines()
        .skip_while(|line| *line != "//! ```toml")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| line.trim_start_matches("//!"))
        .collect::<Vec<_>>()
        .join("\n");
    let project = Project::parse("vmtest.toml", &example).unwrap();
    let crash = project.crash.unwrap();
    assert_eq!(crash.tests().start, Path::new("tests/vmcore"));
    assert_eq!(crash.trigger, "echo 1 >/sys/…");
    assert!(crash.module);
    assert_eq!(project.disk.unwrap().size, 1 << 30);
    assert_eq!(project.module.unwrap().variable.unwrap(), "EXAMPLE_MODULE");
    assert_eq!(project.cross.unwrap().packages, ["libgomp1"]);
    assert_eq!(project.local.unwrap().exclude, ["tests/kernel/*"]);
    assert_eq!(project.expectations[0].reason, "issue 12");
    assert_eq!(
        project.environment,
        [("EXAMPLE_DEBUG".to_owned(), "1".to_owned())]
    );
}

#[test]
fn mistakes_are_named_with_their_line() {
    check("", expect!["vmtest.toml:1: missing field `name`"]);
    check(
        "name = \"x\"\npyhton = \"python3\"\n",
        expect!["vmtest.toml:2: pyhton: unknown key (did you mean python?)"],
    );
    check(
        "name = \"x\"\n[kernel]\noptions = \"../kernel.config\"\n",
        expect![[
            r#"vmtest.toml:3: kernel.options: "../kernel.config" must be a path inside the project"#
        ]],
    );
    check(
        "name = \"x\"\n\n[needs]\nprograms = []\nprogramms = [\"gdb\"]\n",
        expect!["vmtest.toml:5: needs.programms: unknown key (did you mean programs?)"],
    );
    check(
        "name = \"x\"\n[disk]\nsize = \"1 GiB\"\nvariable = \"D\"\ncolour = 1\n",
        expect!["vmtest.toml:5: disk.colour: unknown key (there is size, variable)"],
    );
    check(
        "name = \"x\"\n[[phase]]\nname = \"kdump\"\n",
        expect![
            "vmtest.toml:2: phase: unknown key (there is name, python, detect, prepare, memory, tests, crash, env, module, disk, kernel, needs, cross, expect, allow, local, release)"
        ],
    );
    check(
        "name = \"x\"\n[crash]\nstrat = \"t\"\n",
        expect![[r#"vmtest.toml:3: crash.strat: unknown key (did you mean start?)"#]],
    );
    check(
        "name = \"x\"\n[crash]\nstart = \"../t\"\n",
        expect![[r#"vmtest.toml:3: crash.start: "../t" must be a path inside the project"#]],
    );
    check(
        "name = \"x\"\n[crash]\ntrigger = \"\"\n",
        expect!["vmtest.toml:3: crash.trigger: must not be empty"],
    );
    check(
        "name = \"x\"\n[disk]\nsize = \"1 giga\"\nvariable = \"D\"\n",
        expect![[
            r#"vmtest.toml:3: disk.size: "1 giga" is not the size of a disk (a size is written like "512 MiB" or "1 GiB")"#
        ]],
    );
    check(
        "name = \"x\"\n[disk]\nsize = \"1 GiB\"\n",
        expect!["vmtest.toml:2: disk: missing field `variable`"],
    );
    check(
        "name = \"x\"\n[module]\nsource = \"../kmod\"\n",
        expect![[r#"vmtest.toml:3: module.source: "../kmod" must be a path inside the project"#]],
    );
    check(
        "name = \"x\"\n[module]\nsource = \"kmod\"\nvariable = \"A B\"\n",
        expect![[r#"vmtest.toml:4: module.variable: "A B" is no name for a variable"#]],
    );
    check(
        "name = \"x\"\n[module]\nload = 1\nsource = \"kmod\"\n",
        expect!["vmtest.toml:3: module.load: invalid type: integer `1`, expected a boolean"],
    );
    check(
        "name = [\"x\"]\n",
        expect!["vmtest.toml:1: name: invalid type: sequence, expected a string"],
    );
    check(
        "name = \"x\"\nprepare = \"make\"\n",
        expect![[
            r#"vmtest.toml:2: prepare: invalid type: string "make", expected a sequence (a list is written ["a", "b"], and one of tables [[expect]])"#
        ]],
    );
    check(
        "name = \"x\"\n[env]\nA = 1\n",
        expect!["vmtest.toml:3: env.A: invalid type: integer `1`, expected a string"],
    );
    check(
        "name = \"x\"\nname = \"y\"\n",
        expect!["vmtest.toml:2: duplicate key"],
    );
    check(
        "name = \"x\n",
        expect!["vmtest.toml:1: invalid basic string, expected `\"`"],
    );
}

#[test]
fn expectations_are_checked_when_they_are_read() {
    let entry = "[[expect]]\ntest = \"t.A.*\"\nreason = \"why\"\n";
    let read = Project::parse("vmtest.toml", &format!("name = \"x\"\n{entry}{entry}")).unwrap();
    assert_eq!(read.expectations.len(), 2);
    assert_eq!(read.expectations[1].test, "t.A.*");
    let wrong = |more: &str, expect: Expect| check(&format!("name = \"x\"\n{entry}{more}"), expect);
    wrong(
        "kernel = \"6.1\"\n",
        expect!["vmtest.toml:5: expect.kernel: unknown key (did you mean kernels?)"],
    );
    wrong(
        "kernels = \"6.1.*\"\n",
        expect![[
            r#"vmtest.toml:5: expect.kernels: "6.1.*" names no version in a range of kernels (a range of kernels is written like 6.1, '>=5.11' or '>=5.11, <5.19')"#
        ]],
    );
    wrong(
        "kernels = \">6.1, <5.4\"\n",
        expect![[
            r#"vmtest.toml:5: expect.kernels: no kernel is in the range ">6.1, <5.4" (all of its terms must hold at once)"#
        ]],
    );
    wrong(
        "arch = \"x86\"\n",
        expect![[
            r#"vmtest.toml:5: expect.arch: unknown architecture "x86" (there is x86_64, aarch64, arm, ppc64, s390x, riscv64)"#
        ]],
    );
    wrong(
        "until = \"soon\"\n",
        expect![[
            r#"vmtest.toml:5: expect.until: "soon" is no date (a date is written like 2026-11-25)"#
        ]],
    );
    wrong(
        "until = 2026-11-25\n",
        expect!["vmtest.toml:5: expect.until: invalid type: map, expected a string"],
    );
    wrong(
        "[[expect]]\ntest = \"t.*\"\n",
        expect!["vmtest.toml:5: expect: missing field `reason`"],
    );
    wrong(
        "[[expect]]\nreason = \"why\"\n",
        expect!["vmtest.toml:5: expect: missing field `test`"],
    );
    wrong(
        "[[expect]]\ntest = \"t.[\"\nreason = \"why\"\n",
        expect![[
            r#"vmtest.toml:6: expect.test: "t.[" is no name with shell wildcards: invalid range pattern"#
        ]],
    );
    check(
        "name = \"x\"\n[expect]\ntest = \"t.*\"\n",
        expect![[
            r#"vmtest.toml:2: expect: invalid type: map, expected a sequence (a list is written ["a", "b"], and one of tables [[expect]])"#
        ]],
    );
    check(
        "name = \"x\"\nexpect = [1]\n",
        expect!["vmtest.toml:2: expect: invalid type: integer `1`, expected struct Expectation"],
    );
}

#[test]
fn the_memory_of_the_guest() {
    let memory = |line: &str| {
        Project::parse("vmtest.toml", &format!("name = \"x\"\n{line}\n"))
            .map(|project| project.memory)
            .map_err(|failure| failure.to_string())
    };
    assert_eq!(memory(""), Ok(None));
    assert_eq!(memory("memory = \"1 GiB\""), Ok(Some(1024)));
    assert_eq!(memory("memory = \"300MB\""), Ok(Some(287)));
    for wrong in ["64 MiB", "much", "9999999 TiB"] {
        let message = memory(&format!("memory = {wrong:?}")).unwrap_err();
        assert!(message.starts_with("vmtest.toml:2: memory: "), "{message}");
        assert!(
            message.contains("is not a size of at least 128 MiB"),
            "{message}"
        );
    }
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("1 GiB", Some(1 << 30)),
        ("512MiB", Some(512 << 20)),
        ("4096", Some(4096)),
        ("2 GB", Some(2_000_000_000)),
        ("1g", Some(1 << 30)),
        ("", None),
        ("GiB", None),
        ("1.5 GiB", None),
        ("-1", None),
        ("99999999999 TiB", None),
    ] {
        assert_eq!(parse_size(text), bytes, "{text}");
    }
}

fn assets() -> Files {
    Files::Directory(Path::new(env!("CARGO_MANIFEST_DIR")).join("../vmtest-assets"))
}

#[test]
fn every_profile_and_the_selftest_are_right() {
    for name in PROFILES {
        let project = Project::profile(&assets(), name).unwrap();
        assert!(!project.detect.is_empty(), "{name}");
        for hash in project.release.iter().flat_map(|r| &r.wheels) {
            assert!(
                hash.strip_prefix("sha256:").is_some_and(|h| h.len() == 64),
                "{hash}"
            );
        }
    }
    let text = assets().read("selftest/vmtest.toml").unwrap();
    Project::parse("selftest/vmtest.toml", &text).unwrap();
}

#[test]
fn which_project() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["own/sub", "drgn/libdrgn", "none"] {
        std::fs::create_dir_all(path(name)).unwrap();
    }
    std::fs::write(path("own/vmtest.toml"), "name = \"own\"\n").unwrap();
    std::fs::write(path("drgn/libdrgn/configure.ac"), "").unwrap();
    let choice = |c: Option<&str>, variable: Option<&str>, current, profile: Option<&str>| {
        let choice = Choice {
            anonymous: false,
            directory: c.map(PathBuf::from),
            variable: variable.map(PathBuf::from),
            current: path(current),
            profile: profile.map(ToOwned::to_owned),
        };
        match choose(&choice, &assets()) {
            Ok(Chosen {
                project,
                tree: Some(path),
            }) => {
                let path = path.strip_prefix(directory.path()).unwrap().display();
                format!("{} in {path}", project.name)
            }
            Ok(chosen) => format!("release of {}", chosen.project.name),
            Err(error) => {
                let error = format!("{error:#}");
                error.replace(&directory.path().display().to_string(), "DIR")
            }
        }
    };
    for (c, variable, current, profile, expected) in [
        (None, None, "none", None, "release of drgn"),
        (None, None, "own", None, "own in own"),
        (None, None, "own/sub", None, "release of drgn"),
        (None, None, "drgn", None, "drgn in drgn"),
        (None, None, "drgn", Some("drgn"), "release of drgn"),
        (None, Some("../drgn"), "own", None, "drgn in own/../drgn"),
        (None, Some(""), "own", None, "own in own"),
        (Some("own"), Some("drgn"), "", None, "own in own"),
        (Some("none"), None, "", Some("drgn"), "drgn in none"),
        (
            Some("none"),
            None,
            "",
            None,
            "DIR/none is no project (give it a vmtest.toml, or say what it is with --profile drgn)",
        ),
        (
            Some("absent"),
            None,
            "",
            None,
            "the project DIR/absent is no directory",
        ),
        (
            None,
            None,
            "none",
            Some("drng"),
            "there is no profile \"drng\" (did you mean drgn?)",
        ),
    ] {
        assert_eq!(choice(c, variable, current, profile), expected);
    }
}
