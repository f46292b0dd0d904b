//! A kernel that goes to a release and comes back from it boots. GitHub is played on
//! loopback; the package is the one that was made of the tests' kernel.

use std::fs;
use std::path::PathBuf;

use crate::fake_kernel;
use crate::github_server::{GitHub, Host};
use crate::{Call, Ended, repository};

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
    let ended = Call::new("-q list --format json 6.1").output().expect(0);
    let kernels: serde_json::Value = serde_json::from_slice(&ended.output.stdout).unwrap();
    let kernel = PathBuf::from(kernels[0]["path"].as_str().unwrap());
    let work = kernel.ancestors().nth(2).unwrap();
    let release = kernels[0]["release"].as_str().unwrap();
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
