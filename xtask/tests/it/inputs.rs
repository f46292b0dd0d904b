//! What the user names may be anything: a device, a named pipe, a directory, too much.

use std::io::Write;
use std::path::Path;

use crate::xtask;
use support::binary::Run;
use support::fake_kernel;
use support::package_files::deb;

/// One line on standard error.
#[track_caller]
fn refused(run: Run, status: i32, message: &str) {
    let run = run.expect_status(status);
    assert!(run.stderr.contains(message), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

fn pipe(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// A file of so many bytes that takes no room.
fn huge(path: &Path) {
    let file = std::fs::File::create(path).unwrap();
    file.set_len(200 << 30).unwrap();
}

#[test]
fn what_is_no_file_is_refused_in_one_line() {
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name);
    pipe(&path("pipe"));
    huge(&path("huge"));
    std::fs::create_dir(path("directory")).unwrap();
    for (name, why) in [
        ("/dev/zero", "it is a device, not a file"),
        ("pipe", "it is a named pipe, not a file"),
        ("huge", "it has more than"),
        ("directory", ""),
        ("nosuch", ""),
    ] {
        for command in [
            "report show",
            "report diff /dev/zero",
            "kconfig 6.1 --check",
            "upload",
        ] {
            let run = xtask(work.path()).args(command).arg(name).run();
            let message = match command {
                "upload" | "report diff /dev/zero" => "",
                _ => why,
            };
            refused(run, 2, message);
        }
    }
    let run = xtask(work.path()).args("upload nosuch.txt").run();
    refused(run, 2, "nosuch.txt does not exist");
}

#[test]
fn a_project_file_and_settings_are_bounded() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("vmtest.toml");
    let test = || xtask(work.path()).args("-q test -l -C .").run();
    pipe(&file);
    refused(test(), 2, "it is a named pipe, not a file");
    std::fs::remove_file(&file).unwrap();
    huge(&file);
    refused(test(), 2, "it has more than");
    let settings = work.path().join("config.toml");
    pipe(&settings);
    let run = xtask(work.path()).args("list --remote").run();
    refused(run, 2, "config.toml: it is a named pipe, not a file");
}

#[test]
fn a_kernel_s_own_files_are_bounded() {
    let work = tempfile::tempdir().unwrap();
    let kernel = work.path().join("kernel");
    fake_kernel::write(&kernel, "6.1.9-vmtest1.1default", "00", 0);
    let release = kernel.join("build/include/config/kernel.release");
    let boot = || {
        let vm = xtask(work.path()).args("-q vm -k ./kernel --dry-run -- true");
        vm.run()
    };
    std::fs::write(&release, "x".repeat(100_000)).unwrap();
    let run = boot();
    assert!(run.stderr.len() < 1000, "{}", run.stderr);
    refused(run, 2, "is not a kernel release");
    huge(&release);
    refused(boot(), 3, "it has more than");
}

#[test]
fn the_pipe_of_a_shell_can_be_audited() {
    let work = tempfile::tempdir().unwrap();
    let script = "printf 'CONFIG_X86_64=y\\n' | \"$1\" kconfig 6.1 --check /dev/stdin";
    let shell = xshell::Shell::new().unwrap();
    let binary = env!("CARGO_BIN_EXE_xtask");
    let work = work.path();
    let output = xshell::cmd!(shell, "sh -c {script} sh {binary} -d {work}")
        .quiet()
        .ignore_status()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn packages_of_distributions_are_bounded() {
    let work = tempfile::tempdir().unwrap();
    let boot = |name: &str| {
        let vm = xtask(work.path()).args("-q vm --dry-run -k").arg(name);
        vm.args("-- true").run()
    };
    let path = work.path().join("huge.deb");
    huge(&path);
    let mut file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all(b"!<arch>\n").unwrap();
    refused(boot("./huge.deb"), 2, "more than any package");
    let control = "Package: linux-image-6.1.0-1-amd64\nVersion: 6.1-1\nArchitecture: amd64";
    let bomb = [("./boot/vmlinuz-6.1.0-1-amd64", &vec![0; 100 << 20][..])];
    std::fs::write(work.path().join("bomb.deb"), deb(control, &bomb)).unwrap();
    refused(boot("./bomb.deb"), 3, "bytes after decompression");
    let kernels = work.path().join("x86_64");
    assert_eq!(std::fs::read_dir(kernels).unwrap().count(), 0);
}
