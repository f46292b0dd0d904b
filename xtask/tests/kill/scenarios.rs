//! The commands that are tried, with what they need.

use std::path::Path;

use serde_json::json;

use support::fake_kernel::{self, GUEST_CONFIG};
use support::host::{write, write_program};
use support::package_files::{boot_image, deb};

/// The kernel that most of them are about.
pub const RELEASE: &str = "6.1.9-vmtest1.1default";

/// A command.
pub struct Scenario {
    /// What it is called in the summary.
    pub name: &'static str,
    /// Its arguments, without blanks in them.
    pub arguments: String,
    /// GitHub's API.
    pub api: String,
    /// It starts other programs, which change files as well.
    pub programs: bool,
    /// Once it has succeeded it is refused.
    pub once: bool,
    /// Its exit status.
    pub status: i32,
    /// Makes what is there before it: `work` is the work directory.
    pub prepare: fn(&Path),
}

fn program(root: &Path, name: &str, text: &str) {
    let text = format!(
        "#!/bin/sh
set -e
{text}"
    );
    write_program(root.join("programs").join(name), text);
}

/// A kernel that nothing may happen to.
fn other_kernel(root: &Path) {
    let release = "6.1.8-vmtest1.1default";
    let path = root.join(format!("work/x86_64/kernel-{release}"));
    fake_kernel::write(&path, release, "k", 100);
}

/// One package of a release.
pub fn download(api: &str) -> Scenario {
    Scenario {
        name: "download",
        arguments: format!("-q download {RELEASE}"),
        api: api.to_owned(),
        programs: false,
        once: false,
        status: 0,
        prepare: other_kernel,
    }
}

/// What is here and in a release.
pub fn list(api: &str) -> Scenario {
    Scenario {
        name: "list",
        arguments: "-q list --local --remote".to_owned(),
        api: api.to_owned(),
        programs: false,
        once: false,
        status: 0,
        prepare: other_kernel,
    }
}

/// A VM whose QEMU ends at once.
pub fn vm() -> Scenario {
    Scenario {
        name: "vm",
        arguments: "-q vm --accel tcg --from local -k 6.1 -- true".to_owned(),
        api: String::new(),
        programs: true,
        once: false,
        status: 128,
        prepare: |root| {
            other_kernel(root);
            program(
                root,
                "qemu-system-x86_64",
                "[ \"$1\" = --version ] || kill -KILL $$\necho QEMU emulator version 7.2.22\n",
            );
        },
    }
}

/// A kernel of Debian, from a file.
pub fn distribution() -> Scenario {
    const STOCK: &str = "6.1.0-56-amd64";
    Scenario {
        name: "unpack of .deb",
        arguments: "-q vm --accel tcg --dry-run -k ./image.deb -- true".to_owned(),
        api: String::new(),
        programs: true,
        once: false,
        status: 0,
        prepare: |root| {
            other_kernel(root);
            program(
                root,
                "qemu-system-x86_64",
                "echo QEMU emulator version 7.2.22\n",
            );
            let list = "cd \"$2/lib/modules/$3\"\necho kernel/fs/a.ko: >modules.dep\n";
            program(root, "depmod", list);
            let control =
                format!("Package: linux-image-{STOCK}\nVersion: 6.1.160-1\nArchitecture: amd64");
            let image = boot_image(STOCK);
            let image_name = format!("./boot/vmlinuz-{STOCK}");
            let config = format!("./boot/config-{STOCK}");
            let options = format!("{GUEST_CONFIG}CONFIG_MODULES=y\n");
            let module = format!("./lib/modules/{STOCK}/kernel/fs/a.ko");
            let other = format!("./lib/modules/{STOCK}/kernel/net/b.ko");
            let files: [(&str, &[u8]); 4] = [
                (&image_name, &image),
                (&config, options.as_bytes()),
                (&module, b"module"),
                (&other, b"other"),
            ];
            write(root.join("image.deb"), deb(&control, &files));
        },
    }
}

const MAKE: &str = include_str!("files/make-package.sh");

/// A finished build tree, whose kernel is here already, but another one.
pub fn package() -> Scenario {
    Scenario {
        name: "package",
        arguments: "-q package build -o out".to_owned(),
        api: String::new(),
        programs: true,
        once: false,
        status: 0,
        prepare: |root| {
            other_kernel(root);
            let old = root.join(format!("work/x86_64/kernel-{RELEASE}"));
            fake_kernel::write(&old, RELEASE, "old", 100);
            write(root.join("out/notes.txt"), "mine");
            let build = root.join("build");
            for name in [
                "Kconfig",
                "Makefile",
                "Module.symvers",
                ".config",
                "System.map",
                "modules.order",
                "include/config/auto.conf",
                "include/generated/utsrelease.h",
                "include/linux/module.h",
                "scripts/Makefile.modpost",
                "scripts/basic/fixdep",
                "scripts/mod/modpost",
                "arch/x86/boot/bzImage",
            ] {
                write(build.join(name), name);
            }
            write(
                &build.join("include/config/kernel.release"),
                format!("{RELEASE}\n"),
            );
            write(build.join("vmlinux"), fake_kernel::elf(62));
            program(root, "make", &MAKE.replace("RELEASE", RELEASE));
            program(root, "objcopy", "cp \"$2\" \"$3\"\n");
            program(root, "strip", "");
            program(root, "depmod", "");
            program(root, "gcc", "echo 'gcc (test) 1.2'\n");
        },
    }
}

/// Old kernels and package files.
pub fn prune() -> Scenario {
    Scenario {
        name: "prune",
        arguments: "-q prune --keep 1 --yes".to_owned(),
        api: String::new(),
        programs: false,
        once: false,
        status: 0,
        prepare: |root| {
            for version in ["6.1.10", "6.1.9", "6.1.8", "5.10.1"] {
                let release = format!("{version}-vmtest1.1default");
                let path = root.join(format!("work/x86_64/kernel-{release}"));
                fake_kernel::write(&path, &release, "k", 100);
                let file = fake_kernel::file_name(&release);
                write(root.join("work/packages").join(file), version);
            }
            write(root.join("work/packages/notes.txt"), "mine");
        },
    }
}

/// Two partitions, into a folder that has something else, or into one of the work directory.
pub fn merge(output: &'static str) -> Scenario {
    Scenario {
        name: match output {
            "" => "merge",
            _ => "merge --output",
        },
        arguments: match output {
            "" => "-q report merge parts".to_owned(),
            output => format!("-q report merge parts --output {output}"),
        },
        api: String::new(),
        programs: false,
        once: !output.is_empty(),
        status: 0,
        prepare: |root| {
            for (number, kernel) in [(1, "5.4.1"), (2, "6.1.9")] {
                let folder = root.join(format!("parts/{number}"));
                write(folder.join("results.jsonl"), partition(number, kernel));
                let log = format!("{kernel}.x86_64-console.log");
                write(folder.join(log), "words of the kernel\n");
            }
            write(root.join("out/notes.txt"), "mine");
        },
    }
}

/// The results of a partition with one kernel and one test that passes.
fn partition(number: u32, kernel: &str) -> String {
    let logs = json!([["console", format!("{kernel}.x86_64-console.log")]]);
    let lines = [
        json!({
            "event": "session-started", "project": "example", "started": "2026-11-25T16:21:20Z",
            "kernels": ["5.4", "6.1"], "filtered": false, "partition": [number, 2],
        }),
        json!({"event": "vm-started"}),
        json!({"event": "run-started", "tests": 1}),
        json!({"event": "test-started", "id": "t.A.a"}),
        json!({"event": "test-finished", "id": "t.A.a", "outcome": "passed", "seconds": 0.5}),
        json!({"event": "run-finished", "counts": {"passed": 1}, "seconds": 1.0}),
        json!({
            "event": "vm-finished", "outcome": "passed", "seconds": {"boot": 2.0, "total": 9.0},
            "evidence": {"logs": logs},
        }),
        json!({"event": "session-finished"}),
    ];
    let mut text = String::new();
    for mut line in lines {
        line["v"] = 1.into();
        let of_kernel = !line["event"]
            .as_str()
            .unwrap_or_default()
            .starts_with("session");
        if of_kernel {
            line["kernel"] = kernel.into();
            line["arch"] = "x86_64".into();
            line["flavor"] = serde_json::Value::Null;
        }
        text += &format!("{line}\n");
    }
    text
}
