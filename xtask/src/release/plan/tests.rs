//! Tests of [`super`].

use expect_test::{Expect, expect};

use super::*;
use crate::model::{arch, version::Release};

const NOW: u64 = 1_800_000_000;

fn name(release: &str) -> PackageName {
    PackageName::parse(&format!("kernel-{release}.x86_64.tar.zst")).unwrap()
}

/// A kernel as it would be built now.
fn wanted(release: &str, input_key: &str) -> WantedKernel {
    let release = release.parse::<Release>().unwrap();
    let arch = arch::find("x86_64").unwrap();
    WantedKernel {
        series: release.version.series,
        flavor: release.flavor().unwrap(),
        arch,
        newest: Ok(Newest {
            name: PackageName { arch, release },
            input_key: input_key.to_owned(),
        }),
    }
}

fn unavailable(series: &str, reason: &str) -> WantedKernel {
    WantedKernel {
        series: series.parse().unwrap(),
        flavor: "default".to_owned(),
        arch: arch::find("x86_64").unwrap(),
        newest: Err(reason.to_owned()),
    }
}

fn published(release: &str, megabytes: u64, input_key: Option<&str>) -> Published {
    Published {
        name: name(release),
        id: megabytes,
        size: megabytes * 1_000_000,
        finished: true,
        input_key: input_key.map(str::to_owned),
        created: crate::base::time::rfc3339(NOW - 30 * 86_400),
    }
}

fn unfinished(release: &str, age: u64) -> Published {
    Published {
        finished: false,
        size: 0,
        created: crate::base::time::rfc3339(NOW - age),
        ..published(release, 7, None)
    }
}

fn contents(packages: impl Into<Vec<Published>>) -> Contents {
    Contents {
        packages: packages.into(),
        others: 0,
        other_bytes: 0,
    }
}

fn options(keep: usize) -> Options {
    Options {
        keep: NonZeroUsize::new(keep),
        now: NOW,
    }
}

fn ready(release: &str, input_key: &str, size: u64) -> Ready {
    Ready {
        name: name(release),
        input_key: input_key.to_owned(),
        size,
    }
}

fn actions(plan: &ReleasePlan) -> Vec<Action> {
    plan.items.iter().map(|item| item.action).collect()
}

/// One of everything.
fn everything() -> ReleasePlan {
    let wanted = [
        wanted("6.1.10-vmtest1.1default", "new"),
        wanted("6.2.16-vmtest1.1default", "a"),
        wanted("6.3.13-vmtest1.1default", "0123456789abcdef"),
        wanted("6.4.16-vmtest1.1default", "a"),
        wanted("6.5.13-vmtest1.1default", "a"),
        wanted("6.6.7-vmtest1.1default", "a"),
        unavailable("6.7", "no suite of Debian has linux-source-6.7"),
    ];
    let contents = Contents {
        packages: vec![
            published("6.1.9-vmtest1.1default", 70, Some("old")),
            published("6.1.8-vmtest1.1default", 71, Some("older")),
            published("6.2.16-vmtest1.1default", 72, Some("a")),
            published("6.3.13-vmtest1.1default", 73, Some("fedcba9876543210")),
            published("6.4.16-vmtest1.1default", 74, None),
            unfinished("6.5.13-vmtest1.1default", 100),
            unfinished("6.6.6-vmtest1.1default", 2 * 86_400),
            published("5.10.1-vmtest1.1default", 60, Some("other series")),
            published("5.10.0-vmtest1.1default", 60, Some("other series")),
        ],
        others: 2,
        other_bytes: 5_000_000,
    };
    let ready = [
        ready("6.6.7-vmtest1.1default", "a", 81_500_000),
        ready("6.1.10-vmtest1.1default", "of other options", 1),
    ];
    plan(&wanted, &contents, &ready, &options(1))
}

#[test]
fn a_plan_for_people() {
    expect![[r#"
        ACTION       KERNEL                   ARCH      SIZE  NOTE
        build        6.1.10-vmtest1.1default  x86_64  ~70 MB
        up to date   6.2.16-vmtest1.1default  x86_64   72 MB
        stale        6.3.13-vmtest1.1default  x86_64   73 MB  published with input fedcba987654, now 0123456789ab; raise revision in kernels.toml
        up to date   6.4.16-vmtest1.1default  x86_64   74 MB
        finish       6.5.13-vmtest1.1default  x86_64  ~69 MB  an upload of 2027-01-15T07:58:20Z was not finished; built again
        upload       6.6.7-vmtest1.1default   x86_64   82 MB
        unavailable  6.7 default              x86_64          no suite of Debian has linux-source-6.7
        delete       6.1.9-vmtest1.1default   x86_64   70 MB  there are enough newer ones
        delete       6.1.8-vmtest1.1default   x86_64   71 MB  there are enough newer ones
        delete       6.6.6-vmtest1.1default   x86_64    0 MB  its upload was begun over a day ago and never finished
        to upload: 3, ~221 MB; to delete: 3, 141 MB
        the release: 11 files now, 10 afterwards with ~565 MB; API calls: 12
        sizes with ~ are estimates, taken from packages of the same flavor
    "#]]
    .assert_eq(&table(&everything()));
}

#[test]
fn a_plan_for_programs() {
    let json = json(&everything()).unwrap();
    let value = serde_json::from_str::<serde_json::Value>(&json).unwrap();
    let check = |pointer: &str, expected: Expect| {
        let part = serde_json::to_string_pretty(value.pointer(pointer).unwrap()).unwrap();
        expected.assert_eq(&part);
    };
    check(
        "/items/0",
        expect![[r#"
            {
              "action": "build",
              "arch": "x86_64",
              "bytes": 70000000,
              "estimated": true,
              "flavor": "default",
              "input_key": "new",
              "note": null,
              "package": "kernel-6.1.10-vmtest1.1default.x86_64.tar.zst",
              "ready": false,
              "series": "6.1"
            }"#]],
    );
    check(
        "/items/6",
        expect![[r#"
            {
              "action": "unavailable",
              "arch": "x86_64",
              "bytes": null,
              "estimated": false,
              "flavor": "default",
              "input_key": null,
              "note": "no suite of Debian has linux-source-6.7",
              "package": null,
              "ready": false,
              "series": "6.7"
            }"#]],
    );
    check(
        "/deletions/2",
        expect![[r#"
            {
              "bytes": 0,
              "id": 7,
              "package": "kernel-6.6.6-vmtest1.1default.x86_64.tar.zst",
              "reason": "abandoned"
            }"#]],
    );
    check(
        "/totals",
        expect![[r#"
            {
              "api_calls": 12,
              "assets_after": 10,
              "assets_before": 11,
              "assets_peak": 13,
              "bytes_after": 564071428,
              "deleted_bytes": 141000000,
              "deletions": 3,
              "estimated": true,
              "upload_bytes": 220071428,
              "uploads": 3
            }"#]],
    );
    check("/problems", expect!["[]"]);
}

#[test]
fn nothing_wanted_is_nothing_to_do() {
    let plan = plan(&[], &contents([]), &[], &options(1));
    expect![[r"
        ACTION  KERNEL  ARCH  SIZE  NOTE
        to upload: 0, 0 MB; to delete: 0, 0 MB
        the release: 0 files now, 0 afterwards with 0 MB; API calls: 2
    "]]
    .assert_eq(&table(&plan));
}

#[test]
fn a_new_revision_is_another_name_and_so_is_built() {
    let there = [published("6.1.10-vmtest1.1default", 70, Some("old"))];
    let plan = |release, key| {
        let plan = plan(
            &[wanted(release, key)],
            &contents(there.clone()),
            &[],
            &options(0),
        );
        (actions(&plan), plan.deletions.len())
    };
    assert_eq!(
        plan("6.1.10-vmtest1.1default", "new"),
        (vec![Action::Stale], 0)
    );
    assert_eq!(
        plan("6.1.10-vmtest2.1default", "new"),
        (vec![Action::Build], 0)
    );
    assert_eq!(
        plan("6.1.10-vmtest1.1default", "old"),
        (vec![Action::UpToDate], 0)
    );
}

#[test]
fn estimates_are_taken_from_what_is_most_alike() {
    let estimate = |packages: &[Published]| {
        let wanted = wanted("6.1.10-vmtest1.0tiny", "a");
        let plan = plan(&[wanted], &contents(packages), &[], &options(0));
        assert!(plan.items[0].estimated && plan.totals.estimated);
        plan.items[0].bytes.unwrap() / 1_000_000
    };
    let default = published("6.1.9-vmtest1.1default", 300, None);
    let others = [
        published("5.10.1-vmtest1.0tiny", 20, None),
        published("6.2.1-vmtest1.0tiny", 30, None),
    ];
    assert_eq!(estimate(&[]), 75);
    assert_eq!(estimate(std::slice::from_ref(&default)), 75);
    assert_eq!(estimate(&others), 25);
    let [one, two] = others;
    let same = [
        published("6.1.10-vmtest0.0tiny", 41, None),
        published("6.1.9-vmtest1.0tiny", 40, None),
        Published {
            finished: false,
            ..published("6.1.11-vmtest1.0tiny", 1, None)
        },
    ];
    let all = [vec![default, one, two], same.to_vec()].concat();
    assert_eq!(estimate(&all), 41);
}

#[test]
fn a_package_on_this_machine_is_only_uploaded_if_it_is_the_same() {
    let check = |key: &str, packages: &[Published]| {
        let wanted = wanted("6.1.10-vmtest1.1default", "a");
        let ready = [ready("6.1.10-vmtest1.1default", key, 5)];
        let plan = plan(&[wanted], &contents(packages), &ready, &options(0));
        (plan.items[0].action, plan.items[0].ready)
    };
    assert_eq!(check("a", &[]), (Action::Upload, true));
    assert_eq!(check("b", &[]), (Action::Build, false));
    let begun = [unfinished("6.1.10-vmtest1.1default", 1)];
    assert_eq!(check("a", &begun), (Action::Finish, true));
    assert_eq!(check("b", &begun), (Action::Finish, false));
    let there = [published("6.1.10-vmtest1.1default", 70, Some("a"))];
    assert_eq!(check("a", &there), (Action::UpToDate, false));
}

#[test]
fn what_would_be_deleted_again_is_not_uploaded() {
    let newer = [published("6.1.11-vmtest1.1default", 70, Some("b"))];
    let wish = [wanted("6.1.10-vmtest1.1default", "a")];
    let build = |keep| {
        let plan = plan(&wish, &contents(newer.clone()), &[], &options(keep));
        (actions(&plan), plan.deletions.len(), plan.totals.uploads)
    };
    assert_eq!(build(0), (vec![Action::Build], 0, 1));
    assert_eq!(build(1), (vec![Action::UpToDate], 0, 0));
    assert_eq!(build(2), (vec![Action::Build], 0, 1));
}

#[test]
fn only_what_is_wanted_is_pruned() {
    let there = contents([
        published("6.1.9-vmtest1.1default", 70, None),
        published("6.1.8-vmtest1.1default", 70, None),
        published("6.1.9-vmtest1.0tiny", 70, None),
        published("6.1.8-vmtest1.0tiny", 70, None),
        published("6.2.2-vmtest1.1default", 70, None),
        published("6.2.1-vmtest1.1default", 70, None),
        published("6.1.0-10-amd64", 70, None),
    ]);
    let deleted = |wanted: &[WantedKernel]| {
        plan(wanted, &there, &[], &options(1))
            .deletions
            .iter()
            .map(|deletion| deletion.package.release.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        deleted(&[wanted("6.1.9-vmtest1.1default", "a")]),
        ["6.1.8-vmtest1.1default"]
    );
    // One whose source is not to be had is pruned no less.
    assert_eq!(
        deleted(&[unavailable("6.2", "gone")]),
        ["6.2.1-vmtest1.1default"]
    );
    assert_eq!(deleted(&[]), [""; 0]);
}

#[test]
fn a_planned_kernel_counts_as_the_newest() {
    let there = contents([
        published("6.1.9-vmtest1.1default", 70, None),
        published("6.1.8-vmtest1.1default", 70, None),
        unfinished("6.1.10-vmtest1.1default", 9 * 86_400),
    ]);
    let wish = [wanted("6.1.10-vmtest1.1default", "a")];
    let deleted = |keep| {
        let plan = plan(&wish, &there, &[], &options(keep));
        let totals = &plan.totals;
        // What is half there is replaced: no file more.
        assert_eq!((totals.assets_before, totals.assets_peak), (3, 3));
        assert_eq!(totals.assets_after, 3 - plan.deletions.len());
        plan.deletions.len()
    };
    assert_eq!([deleted(1), deleted(2), deleted(3)], [2, 1, 0]);
}

#[test]
fn what_github_does_not_take_is_a_problem() {
    let with_others = |others| {
        let contents = Contents {
            others,
            ..contents([])
        };
        let wish = [wanted("6.1.10-vmtest1.1default", "a")];
        plan(&wish, &contents, &[], &options(0)).problems
    };
    assert!(with_others(999).is_empty());
    expect![[r#"
        [
            "the release would have 1,001 files, and GitHub allows 1,000: delete some first (cargo xtask prune --remote --keep N), or use another --tag",
        ]
    "#]]
    .assert_debug_eq(&with_others(1000));

    let of_size = |size| {
        let wish = [wanted("6.1.10-vmtest1.1default", "a")];
        let ready = [ready("6.1.10-vmtest1.1default", "a", size)];
        plan(&wish, &contents([]), &ready, &options(0)).problems
    };
    assert!(of_size((2 << 30) - 1).is_empty());
    expect![[r#"
        [
            "the package of 6.1.10-vmtest1.1default has 2,147,483,648 bytes, and GitHub takes less than 2,147,483,648",
        ]
    "#]]
    .assert_debug_eq(&of_size(2 << 30));
}

#[test]
fn requests_are_counted() {
    let calls = |others, keep| {
        let contents = Contents {
            others,
            ..contents([
                published("6.1.9-vmtest1.1default", 70, None),
                published("6.1.8-vmtest1.1default", 70, None),
                unfinished("6.1.10-vmtest1.1default", 5),
            ])
        };
        let wish = [
            wanted("6.1.10-vmtest1.1default", "a"),
            wanted("6.2.1-vmtest1.1default", "a"),
        ];
        plan(&wish, &contents, &[], &options(keep)).totals.api_calls
    };
    // The release, which lists few assets itself; again before each of two uploads;
    // the half-finished one deleted.
    assert_eq!(calls(0, 0), 3 + 2 + 1);
    assert_eq!(calls(26, 0), 6);
    // From 30 assets on there are pages of 100, the last of which is not full.
    assert_eq!(calls(27, 0), 9);
    assert_eq!(calls(96, 0), 9);
    assert_eq!(calls(97, 0), 12);
    assert_eq!(calls(997, 0), 3 * 11 + 3);
    // All listed once more, with one more asset, and two deleted.
    assert_eq!(calls(96, 1), 9 + 3 + 2);
}
