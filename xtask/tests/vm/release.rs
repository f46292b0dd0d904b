//! A kernel that goes to a release and comes back from it boots. GitHub is played on
//! loopback; the package is the one that was made of the tests' kernel.

use std::fs;
use std::path::PathBuf;

use crate::{Call, Ended, listed};
use support::fake_kernel;
use support::github_server::{GitHub, Host};
use support::host::repository;

/// Runs `xtask` with a token, this GitHub and this work directory.
fn run(github: &GitHub, work: &tempfile::TempDir, arguments: &str) -> Ended {
    let call = Call::new(arguments).with(|call| {
        call.env("GITHUB_API_URL", &github.api)
            .env("GITHUB_TOKEN", "ghp_secret")
            .env("VMTEST_DIR", work.path())
            .current_dir(repository());
    });
    call.output()
}

/// The package file of the newest kernel that `build-kernel` has made for the tests.
fn package() -> PathBuf {
    let (release, kernel) = &listed(Some("6.1"), "package")[0];
    let work = kernel.ancestors().nth(2).unwrap();
    let package = work.join("packages").join(fake_kernel::file_name(release));
    assert!(package.is_file(), "{} is missing", package.display());
    package
}

#[test]
fn a_published_kernel_comes_back_and_boots() {
    let github = GitHub::start();
    let here = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut files = vec![package()];
    for release in ["5.4.1-vmtest1.1default", "6.12.1-vmtest1.1default"] {
        let file = here.path().join(fake_kernel::file_name(release));
        fs::write(&file, fake_kernel::package(release)).unwrap();
        files.push(file);
    }
    let names = files.iter().map(|file| file.display().to_string());
    let upload = format!("upload {}", names.collect::<Vec<_>>().join(" "));
    run(&github, &here, &upload).expect(0);

    let there = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let list = run(&github, &there, "list --remote").expect(0).stdout();
    assert_eq!(list.matches(" remote ").count(), 3, "{list}");
    // As somebody who just asks for a kernel, and gets the release's.
    let test = "test -C vmtest-assets/selftest -k 6.1.*";
    let ended = run(&github, &there, test).expect(0);
    assert!(ended.stdout().contains("passed"), "{}", ended.stdout());
    let fetched = github
        .requests()
        .into_iter()
        .filter(|request| request.host == Host::Files && request.line.contains("/blob/"));
    assert_eq!(fetched.count(), 1);
    // The second time it is here already.
    run(&github, &there, &format!("{test} -- -k test_guest")).expect(0);
    let lines = github.lines();
    assert!(
        lines.iter().all(|line| !line.contains("/blob/")),
        "{lines:?}"
    );
}

const SERVER: &str = include_str!("files/serve_release.py");

#[test]
fn a_full_disk_is_said_and_leaves_nothing_half_made() {
    let here = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = here.path().join("package");
    let server = here.path().join("server.py");
    // 8 MB that do not compress, on a disk of 4: full in the middle of the download.
    let package = fake_kernel::pack("6.1.9-vmtest1.1default", "00ff00ff", 8_000_000);
    fs::write(&file, package).unwrap();
    fs::write(&server, SERVER).unwrap();
    let script = format!(
        "mkdir /run/small && mount -t tmpfs -o size=4m tmpfs /run/small && cd /run/small
        export VMTEST_DIR=/run/small HOME=/run
        run() {{ python3 {server} {file} {xtask} -q download 6.1.9*; echo status $?; }}
        run; find . -type f -o -name '*6.1.9*' | grep -v ^./locks/ | grep -v ^./cache/
        mount -o remount,size=64m /run/small
        run; ls -A x86_64; ls x86_64/*/build",
        server = server.display(),
        file = file.display(),
        xtask = env!("CARGO_BIN_EXE_xtask"),
    );
    let ended = Call::vm("").script(&script).output().expect(0);
    assert_eq!(
        ended.stdout(),
        "status 3\n/run/small/x86_64/kernel-6.1.9-vmtest1.1default\nstatus 0\n\
         kernel-6.1.9-vmtest1.1default\ninclude\nvmlinux\n"
    );
    let said = ended.stderr();
    let said = said
        .lines()
        .filter(|line| line.starts_with("xtask: error:"));
    let said = said.collect::<Vec<_>>();
    assert!(
        matches!(&said[..], [line] if line.contains("the disk is full: /run/small/x86_64")),
        "{said:?}"
    );
}
