//! `kconfig`: what it prints configures what its own audit accepts, and the audit
//! finds what was changed.

use std::path::Path;

use crate::xtask;

/// A `.config` as Kconfig would write it if it took everything.
fn finished(work: &Path, version: &str) -> String {
    let run = xtask(work)
        .args("kconfig -a x86_64")
        .arg(version)
        .run()
        .expect_status(0);
    let options = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("CONFIG_"));
    let options = options.map(|line| match line.strip_suffix("=n") {
        Some(option) => format!("# {option} is not set\n"),
        None => format!("{line}\n"),
    });
    format!(
        "#\n# Linux/x86 {version} Kernel Configuration\n#\n{}",
        options.collect::<String>()
    )
}

#[test]
fn the_printed_configuration_passes_its_own_audit() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("config");
    for version in ["4.9.337", "6.1.192", "7.3-rc2"] {
        std::fs::write(&file, finished(work.path(), version)).unwrap();
        let run = xtask(work.path())
            .args("kconfig -a x86_64 --check config")
            .run()
            .expect_status(0);
        assert_eq!(run.stdout, "");
        assert!(run.stderr.contains(&format!("against {version} default")));
    }
}

#[test]
fn the_audit_finds_what_was_changed() {
    let work = tempfile::tempdir().unwrap();
    let config = finished(work.path(), "6.1.192");
    let changed = config
        .replace("CONFIG_BTRFS_FS=m\n", "")
        .replace("# CONFIG_ACPI is not set\n", "CONFIG_ACPI=y\n");
    assert_ne!(config, changed);
    std::fs::write(work.path().join("config"), changed).unwrap();
    let run = xtask(work.path())
        .args("kconfig -q -a x86_64 --check config")
        .run()
        .expect_status(1);
    assert_eq!(run.stderr, "");
    let lines = run.stdout.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[0].starts_with("CONFIG_BTRFS_FS=m (drgn:") && lines[0].ends_with("it is not set")
    );
    assert!(lines[1].starts_with("CONFIG_ACPI=n (arch/x86_64:") && lines[1].ends_with("it is y"));

    // What is built in and what is a module is for others to choose, except for what must be
    // there before a module can be loaded.
    let other = config
        .replace("CONFIG_BTRFS_FS=m\n", "CONFIG_BTRFS_FS=y\n")
        .replace("CONFIG_OVERLAY_FS=y\n", "CONFIG_OVERLAY_FS=m\n");
    let check = |config: &str| {
        std::fs::write(work.path().join("other"), config).unwrap();
        let run = xtask(work.path()).args("kconfig -a x86_64 --check other");
        run.run()
    };
    let run = check(&other).expect_status(1);
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    assert!(
        run.stdout.contains("CONFIG_OVERLAY_FS=y ("),
        "{}",
        run.stdout
    );
    let initramfs = format!("{other}CONFIG_BLK_DEV_INITRD=y\n");
    let initramfs = initramfs.replace("# CONFIG_BLK_DEV_INITRD is not set\n", "");
    let run = check(&initramfs);
    assert!(!run.stdout.contains("CONFIG_OVERLAY_FS"), "{}", run.stdout);

    // With the source, what the option depends on as well.
    std::fs::write(
        work.path().join("Kconfig"),
        "config BTRFS_FS\n\ttristate \"Btrfs\"\n\tdepends on BLOCK && MISSING\n",
    )
    .unwrap();
    let run = xtask(work.path())
        .args("kconfig -q -a x86_64 --check config --source .")
        .run()
        .expect_status(1);
    let lines = run.stdout.lines().collect::<Vec<_>>();
    assert!(lines[0].ends_with("it is not set"), "{lines:#?}");
    assert_eq!(
        lines[1..3],
        [
            "  Kconfig:1: config BTRFS_FS",
            "  Kconfig:3: depends on BLOCK && MISSING"
        ]
    );
}

#[test]
fn wrong_input_is_a_usage_error() {
    let work = tempfile::tempdir().unwrap();
    std::fs::write(work.path().join("empty"), "").unwrap();
    std::fs::write(work.path().join("bare"), "CONFIG_A=y\n").unwrap();
    for (arguments, expected) in [
        ("kconfig 6.99", "did you mean 6.19?"),
        ("kconfig 6.x", "is not a kernel version"),
        ("kconfig -f defualt", "did you mean default?"),
        ("kconfig -a vax", "unknown architecture \"vax\""),
        ("kconfig --check empty", "is not a kernel configuration"),
        ("kconfig --check bare", "does not say of which version"),
    ] {
        let run = xtask(work.path()).args(arguments).run().expect_status(2);
        assert_eq!(run.stdout, "", "{arguments}");
        assert!(run.stderr.contains(expected), "{arguments}: {}", run.stderr);
    }
}
