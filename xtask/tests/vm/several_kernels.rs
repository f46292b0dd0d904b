//! `vm` on several kernels: a command of each, and one that is not there.

use std::fs;

use crate::{Call, folder, kernel, listed};

#[test]
fn each_kernel_runs_the_command_and_a_missing_one_is_a_row() {
    let directory = folder("vmtest-several-");
    let out = directory.path().join("out");
    let (release, _) = listed(Some(&kernel()), "package")
        .into_iter()
        .next()
        .unwrap();
    // The same kernel by two requests, another kernel of this machine if there is one, and none.
    let mut kernels = vec![kernel(), release.clone()];
    let origins = ["package", "distribution"].into_iter();
    let others = origins.flat_map(|origin| listed(None, origin));
    let others = others
        .map(|(other, _)| other)
        .filter(|other| *other != release);
    let others = others.take(1).collect::<Vec<_>>();
    kernels.extend(others.iter().cloned());
    kernels.push("*-nothing".to_owned());
    let call = |more: &str| {
        let call = Call::new("vm --from local -j 2 -k");
        call.with(|call| {
            call.arg(kernels.join(",")).args(more.split_whitespace());
        })
    };
    let script = "uname -r; cat; echo words >&2; exit 3";
    let ended = call("").script(script).output().expect(1);
    let ran = || std::iter::once(&release).chain(&others);
    for name in ran() {
        let line = format!("{name}: {name}\n");
        assert!(ended.stdout().contains(&line), "{}", ended.stdout());
        let line = format!("{name}: words\n");
        assert!(ended.guest_stderr().contains(&line), "{}", ended.stderr());
    }
    assert_eq!(ended.stdout().lines().count(), 1 + others.len());
    let table = ended.stderr();
    let rows = table.lines().filter(|line| line.contains("  exited  "));
    assert_eq!(rows.count(), 1 + others.len(), "{table}");
    assert!(table.contains("xtask: *-nothing  "), "{table}");

    let ended = call("--output").with(|call| {
        call.arg(&out);
    });
    ended.script("uname -r").output().expect(3);
    for name in ran() {
        let file = out.join(format!("{name}.{}-stdout", std::env::consts::ARCH));
        assert_eq!(fs::read_to_string(file).unwrap(), format!("{name}\n"));
    }
}
