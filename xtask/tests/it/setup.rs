//! Installing what is missing, with fake package managers alone on the path that
//! log their arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use xtask::internals::Env;
use xtask::internals::{Distribution, Family, HostMachine, Tool, require_on};
use xtask::internals::{FailureKind, kind};
use xtask::internals::{Files, Paths};
use xtask::internals::{Ui, Verbosity};

/// A host in a temporary directory: `bin`, `include`, `var`, and the work directory.
struct Host {
    root: tempfile::TempDir,
    machine: HostMachine,
}

impl Host {
    fn new(family: Family) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["bin", "include"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let machine = HostMachine {
            distribution: Some(Distribution {
                family,
                id: "fake".to_owned(),
                version: None,
            }),
            path: vec![root.path().join("bin")],
            include: vec![root.path().join("include")],
            root: root.path().to_owned(),
            superuser: true,
            supervisor: Some(PathBuf::from(env!("CARGO_BIN_EXE_xtask"))),
        };
        Self { root, machine }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A fake program: writes its name and arguments to `calls`, then does `body`.
    fn program(&self, name: &str, body: &str) {
        write_program(&self.path("bin").join(name), &self.path("calls"), body);
    }

    /// A fake package manager that installs what [`tools`] lists.
    fn manager(&self, name: &str) {
        let body = format!(
            "case \" $* \" in *' flex'*) : > '{0}/bin/flex'; chmod +x '{0}/bin/flex'; : > '{0}/include/libelf.h';; esac",
            self.root.path().display()
        );
        self.program(name, &body);
    }

    fn lists(&self) {
        let lists = self.path("var/lib/apt/lists");
        fs::create_dir_all(&lists).unwrap();
        fs::write(lists.join("mirror_main_binary-amd64_Packages.lz4"), "").unwrap();
    }

    fn require(&self, tools: &[Tool], setup: bool) -> anyhow::Result<()> {
        let none = Files::Embedded(&[]);
        let env = Env {
            paths: Paths::new(self.path("w"), none.clone(), none),
            ui: Ui::new(Verbosity::Quiet),
        };
        require_on(&env, &self.machine, tools, setup)
    }

    /// What was called, with this host's directory left out.
    fn calls(&self) -> String {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        self.redact(&calls)
    }

    fn redact(&self, text: &str) -> String {
        text.replace(&self.root.path().display().to_string(), "HOST")
    }

    #[track_caller]
    fn expect_failure(&self, result: anyhow::Result<()>, expected: &Expect) {
        let error = result.unwrap_err();
        assert_eq!(
            kind(&error).unwrap_or(FailureKind::Setup),
            FailureKind::Setup
        );
        expected.assert_eq(&self.redact(&format!("{error:#}")));
    }
}

fn write_program(path: &Path, calls: &Path, body: &str) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let text = format!(
        "#!/bin/sh\necho \"{name} $*\" >> '{}'\n{body}\n",
        calls.display()
    );
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What the fake managers can install.
fn tools() -> Vec<Tool> {
    vec![Tool::program("flex"), Tool::header("libelf.h")]
}

#[test]
fn every_package_manager_is_asked_for_what_is_missing() {
    let mut calls = String::new();
    for family in [
        Family::Debian,
        Family::Fedora,
        Family::Arch,
        Family::Suse,
        Family::Alpine,
    ] {
        let host = Host::new(family);
        host.manager(family.program());
        host.require(&tools(), true).unwrap();
        calls += &host.calls();
    }
    expect![[r#"
        apt-get -o DPkg::Lock::Timeout=300 update
        apt-get -y -o DPkg::Lock::Timeout=300 --no-install-recommends install flex libelf-dev
        dnf -y --setopt=install_weak_deps=False install elfutils-libelf-devel flex
        pacman -Sy --noconfirm
        pacman -S --needed --noconfirm flex libelf
        zypper --non-interactive install --no-recommends flex libelf-devel
        apk update
        apk add elfutils-dev flex
    "#]]
    .assert_eq(&calls);
}

#[test]
fn only_what_is_missing_is_installed_and_lists_are_kept() {
    let host = Host::new(Family::Debian);
    host.lists();
    host.manager("apt-get");
    fs::write(host.path("include/libelf.h"), "").unwrap();
    host.require(&tools(), true).unwrap();
    expect![[r#"
        apt-get -y -o DPkg::Lock::Timeout=300 --no-install-recommends install flex
    "#]]
    .assert_eq(&host.calls());
    // Now that all is there, nothing more is called.
    host.require(&tools(), true).unwrap();
    assert_eq!(host.calls().lines().count(), 1);
}

#[test]
fn an_interrupted_dpkg_is_mended_first() {
    let host = Host::new(Family::Debian);
    host.lists();
    host.manager("apt-get");
    host.program("dpkg", "");
    let updates = host.path("var/lib/dpkg/updates");
    fs::create_dir_all(&updates).unwrap();
    fs::write(updates.join("0001"), "").unwrap();
    host.require(&tools(), true).unwrap();
    assert!(
        host.calls().starts_with("dpkg --configure -a\napt-get -y "),
        "{}",
        host.calls()
    );
}

#[test]
fn without_setup_all_that_is_missing_is_one_error() {
    let host = Host::new(Family::Debian);
    host.manager("apt-get");
    host.expect_failure(host.require(&tools(), false), &expect!["this host lacks flex, <libelf.h> (run apt-get install --no-install-recommends flex libelf-dev, or add --setup)"]);
    assert_eq!(host.calls(), "");
}

#[test]
fn a_tool_without_a_known_package_is_named() {
    let host = Host::new(Family::Arch);
    host.manager("pacman");
    let mut tools = tools();
    tools.push(Tool::program("frobnicate"));
    host.expect_failure(host.require(&tools, true), &expect!["this host lacks flex, frobnicate, <libelf.h> (install the package with frobnicate, then run pacman -S --needed flex libelf)"]);
    assert_eq!(host.calls(), "");

    let mut host = Host::new(Family::Arch);
    host.machine.distribution = None;
    host.expect_failure(host.require(&tools, true), &expect!["this host lacks flex, frobnicate, <libelf.h> (the names of this distribution's packages are not known; install them yourself)"]);
}

#[test]
fn a_failing_manager_is_tried_again_with_fresh_lists() {
    let host = Host::new(Family::Debian);
    host.lists();
    host.program(
        "apt-get",
        &format!(
            "case \"$*\" in *update) : > '{0}/fresh';; esac\n\
             [ -e '{0}/fresh' ] || {{ echo 'E: 404 Not Found'; exit 100; }}\n\
             : > '{0}/bin/flex'; chmod +x '{0}/bin/flex'; : > '{0}/include/libelf.h'",
            host.root.path().display()
        ),
    );
    host.require(&tools(), true).unwrap();
    expect![[r#"
        apt-get -y -o DPkg::Lock::Timeout=300 --no-install-recommends install flex libelf-dev
        apt-get -o DPkg::Lock::Timeout=300 update
        apt-get -y -o DPkg::Lock::Timeout=300 --no-install-recommends install flex libelf-dev
    "#]]
    .assert_eq(&host.calls());
}

#[test]
fn a_manager_that_keeps_failing_is_quoted() {
    let host = Host::new(Family::Alpine);
    host.program("apk", "echo 'ERROR: no such mirror' >&2; exit 9");
    host.expect_failure(
        host.require(&tools(), true),
        &expect![[r#"
        HOST/bin/apk update ended with exit status 9; log: HOST/w/log/setup.log
        ERROR: no such mirror"#]],
    );
}

#[test]
fn a_manager_that_installs_nothing_is_not_believed() {
    let host = Host::new(Family::Fedora);
    host.program("dnf", "");
    host.expect_failure(host.require(&tools(), true), &expect!["installed elfutils-libelf-devel, flex, but this host still lacks flex, <libelf.h> (log: HOST/w/log/setup.log)"]);
}

#[test]
fn without_root_sudo_is_used_if_it_answers() {
    let mut host = Host::new(Family::Debian);
    host.machine.superuser = false;
    host.lists();
    host.manager("apt-get");
    host.program("sudo", "[ \"$1\" = -n ] || exit 1; shift; exec \"$@\"");
    host.require(&tools(), true).unwrap();
    expect![[r#"
        sudo -n true
        sudo -n env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C.UTF-8 HOST/bin/apt-get -y -o DPkg::Lock::Timeout=300 --no-install-recommends install flex libelf-dev
        apt-get -y -o DPkg::Lock::Timeout=300 --no-install-recommends install flex libelf-dev
    "#]].assert_eq(&host.calls());

    let mut host = Host::new(Family::Debian);
    host.machine.superuser = false;
    host.manager("apt-get");
    host.program("sudo", "echo 'sudo: a password is required' >&2; exit 1");
    host.expect_failure(host.require(&tools(), true), &expect!["this host lacks flex, <libelf.h>, and only root may install: sudo is not there or asks for a password (run sudo apt-get install --no-install-recommends flex libelf-dev)"]);
    assert_eq!(host.calls(), "sudo -n true\n");
}

#[test]
fn a_dynamic_busybox_does_not_count() {
    let host = Host::new(Family::Alpine);
    // The test binary itself is a dynamic program, unless it was built otherwise.
    let program = std::env::current_exe().unwrap();
    fs::copy(program, host.path("bin/busybox")).unwrap();
    assert_eq!(
        host.machine.missing(&[Tool::StaticBusybox]),
        [Tool::StaticBusybox]
    );
    // The smallest ELF file without an interpreter: a header, no program headers.
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let path = host.path("bin/busybox.static");
    fs::write(&path, elf).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(host.machine.missing(&[Tool::StaticBusybox]), []);
}
