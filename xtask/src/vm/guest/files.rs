//! The files, links, directories and device nodes that a distribution's init makes at
//! every boot, as one archive that the guest's init unpacks over its root: emulated, a
//! program for each of them takes longer than the rest of init.
//! `docs/guest.md` lists what there is and what is left out.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::cpio;
use crate::base::{disk, input, route};
use crate::vm::guest::device_nodes::{self, Node};
use crate::vm::{guest::cores, plan::Boot};

/// Writes the archive. `machine_id`: 32 hexadecimal digits, of this run alone, because two guests of
/// one host are two machines (machine-id(5)).
pub fn write(boot: &Boot<'_>, machine_id: &str, goal: &Path) -> Result<()> {
    let nodes = device_nodes::nodes(&boot.vm.kernel.modules, &boot.plan.features)?;
    // The numbers of groups; without the list every file is root's.
    let groups = read(&boot.vm.root, Path::new("/etc/group"));
    let groups = groups_of(&String::from_utf8_lossy(&groups));
    let out = BufWriter::new(disk::create_file(goal)?);
    archive(boot, machine_id, &nodes, &groups, out)
        .and_then(|mut file| Ok(file.flush()?))
        .with_context(|| format!("cannot write {}", goal.display()))
}

/// A file of the root's if it is there; an absolute link in it leads to another of its files.
fn read(root: &Path, path: &Path) -> Vec<u8> {
    let file = route::route_in(root, path).map(|end| route::below(root, &end));
    let bytes = file.and_then(|file| input::bytes(&file, input::TEXT).ok());
    bytes.unwrap_or_default()
}

fn archive<W: Write>(
    boot: &Boot<'_>,
    machine_id: &str,
    nodes: &[Node],
    groups: &HashMap<String, u32>,
    out: W,
) -> Result<W> {
    let release = boot.vm.kernel.release.to_string();
    let group = |name: &str| groups.get(name).copied().unwrap_or(0);
    let mut archive = cpio::CpioWriter::new(out);

    archive.file("etc/hostname", 0o644, b"vmtest\n")?;
    let hosts = [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost",
        "127.0.1.1 vmtest\n",
    ];
    archive.file("etc/hosts", 0o644, hosts.join("\n").as_bytes())?;
    // The host's may be a link that leads below /run, and its server cannot be reached.
    archive.file("etc/resolv.conf", 0o644, b"")?;
    let machine_id = format!("{machine_id}\n");
    archive.file("etc/machine-id", 0o444, machine_id.as_bytes())?;
    archive.symlink("etc/mtab", "../proc/self/mounts")?;
    // QEMU's clock runs in UTC, whatever the host's does (hwclock(8)).
    archive.file("etc/adjtime", 0o644, b"0.0 0 0.0\n0\nUTC\n")?;
    let path = boot.vm.environment.iter().find(|(name, _)| name == "PATH");
    let path = path.map_or(OsStr::new(""), |(_, value)| value);
    for (name, text) in git_configurations(&boot.vm.root, path) {
        archive.file(&name, 0o644, &text)?;
    }
    // The home of this host's user, whom another root does not know.
    let home = boot.vm.environment.iter().find(|(name, _)| name == "HOME");
    let home = home.and_then(|(_, home)| Path::new(home).strip_prefix("/").ok());
    if let Some(home) =
        home.filter(|home| boot.plan.stage.is_some() && !boot.vm.root.join(home).is_dir())
    {
        archive.directory(home, 0o755)?;
    }
    // Where the kernel's folder of modules is mounted.
    archive.directory(format!("lib/modules/{release}"), 0o755)?;

    for name in ["pts", "mqueue", "shm"] {
        archive.directory(format!("dev/{name}"), 0o755)?;
    }
    if boot.plan.features.has("CONFIG_HUGETLBFS") != Some(false) {
        archive.directory("dev/hugepages", 0o755)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        archive.symlink(format!("dev/{name}"), target)?;
    }
    let has = |option| boot.plan.features.has(option) == Some(true);
    if has("CONFIG_PROC_KCORE") {
        archive.symlink("dev/core", "/proc/kcore")?;
    }
    if has("CONFIG_RTC_INTF_DEV") && boot.vm.kernel.arch.clock.is_some_and(has) {
        archive.symlink("dev/rtc", "rtc0")?;
    }
    for node in nodes {
        let (major, minor) = node.number;
        archive.group(group(node.group));
        archive.device(format!("dev/{}", node.name), node.mode, major, minor)?;
    }

    archive.group(group("utmp")).file("run/utmp", 0o664, b"")?;
    archive.group(0);
    for (name, mode) in [
        ("lock", 0o1777),
        ("user", 0o755),
        ("user/0", 0o700),
        ("vmtest", 0o755),
        ("vmtest/old", 0o755),
    ] {
        archive.directory(format!("run/{name}"), mode)?;
    }
    for stream in ["stdin", "stdout", "stderr", "events"] {
        let mode = cpio::FIFO | 0o666;
        archive.device(format!("run/vmtest/{stream}"), mode, 0, 0)?;
    }
    let handler = cores::handler(&boot.plan.busybox, &release);
    archive.file("run/vmtest/core", 0o755, &handler)?;
    archive.finish()
}

/// Git refuses a tree of another user (`safe.directory` in git-config(1)). The guest's root is not
/// the owner of what an ordinary user has, and nobody else is there to be protected from. In the
/// system's configuration, because a command may run without our environment and without `HOME`.
const GIT_SAFE: &[u8] = b"\n[safe]\n\tdirectory = *\n";

/// The configuration files of the system for each `git` that the command finds, below `root`, with
/// what the host has in them.
fn git_configurations(root: &Path, path: &OsStr) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let usual = ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from);
    for directory in std::env::split_paths(path).chain(usual) {
        let Ok(directory) = directory.strip_prefix("/") else {
            continue;
        };
        let program = root.join(directory).join("git");
        if !program.is_file() {
            continue;
        }
        // A package manager may link programs into one folder. Both places may count.
        let real = program.canonicalize().unwrap_or_default();
        let real = real.strip_prefix(root).unwrap_or(Path::new(""));
        for program in [&directory.join("git"), real] {
            // Git's Makefile: `etc` in the prefix, but /etc for /usr.
            let prefix = program.ancestors().nth(2);
            let prefix = prefix.filter(|prefix| *prefix != Path::new("usr"));
            for prefix in [Path::new(""), prefix.unwrap_or(Path::new(""))] {
                let name = prefix.join("etc/gitconfig");
                let text = read(root, &Path::new("/").join(&name));
                files.insert(name, [&text, GIT_SAFE].concat());
            }
        }
    }
    files
}

/// Groups by name (group(5)).
fn groups_of(text: &str) -> HashMap<String, u32> {
    let group = |line: &str| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name.to_owned(), number.parse().ok()?))
    };
    text.lines().filter_map(group).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::archive::cpio::{CpioEntry, CpioHeader};
    use crate::vm::guest::requirements::KernelFeatures;
    use crate::vm::plan::tests;

    fn listed(config: &str, group: &str) -> String {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/group"), group).unwrap();
        std::fs::write(
            root.path().join("modules.devname"),
            "loop loop-control c10:237\n",
        )
        .unwrap();
        let mut vm = tests::vm();
        vm.kernel.release = "6.1.0".parse().unwrap();
        vm.kernel.modules = root.path().to_owned();
        vm.root = root.path().to_owned();
        vm.environment = vec![("PATH".into(), "/usr/bin:relative".into())];
        let mut plan = tests::plan();
        plan.features = KernelFeatures::new(Some(config), None, "");
        plan.busybox = "/b".into();
        let goal = root.path().join("files");
        let machine_id = "0123456789abcdef0123456789abcdef";
        write(&tests::boot(&vm, &plan), machine_id, &goal).unwrap();
        let mut archive = cpio::CpioReader::new(std::fs::File::open(&goal).unwrap());
        let mut lines = String::new();
        while let Some(CpioHeader::Named(entry)) = archive.advance().unwrap() {
            let CpioEntry { path, mode, .. } = entry;
            let mut text = String::new();
            archive.read_to_string(&mut text).unwrap();
            let name = String::from_utf8(path).unwrap();
            let line = format!("{mode:06o} {name} {}", text.lines().next().unwrap_or(""));
            lines += line.trim_end();
            lines += "\n";
        }
        lines
    }

    #[test]
    fn the_archive_has_what_an_init_makes() {
        let lines = listed("CONFIG_PROC_KCORE=y\n", "");
        expect_test::expect![[r#"
            100644 etc/hostname vmtest
            100644 etc/hosts 127.0.0.1 localhost
            100644 etc/resolv.conf
            100444 etc/machine-id 0123456789abcdef0123456789abcdef
            120777 etc/mtab ../proc/self/mounts
            100644 etc/adjtime 0.0 0 0.0
            040755 lib/modules/6.1.0
            040755 dev/pts
            040755 dev/mqueue
            040755 dev/shm
            120777 dev/fd /proc/self/fd
            120777 dev/stdin fd/0
            120777 dev/stdout fd/1
            120777 dev/stderr fd/2
            120777 dev/core /proc/kcore
            020660 dev/loop-control
            100664 run/utmp
            041777 run/lock
            040755 run/user
            040700 run/user/0
            040755 run/vmtest
            040755 run/vmtest/old
            010666 run/vmtest/stdin
            010666 run/vmtest/stdout
            010666 run/vmtest/stderr
            010666 run/vmtest/events
            100755 run/vmtest/core #!/b sh
        "#]]
        .assert_eq(&lines);
        assert!(!listed("", "").contains("dev/core"));
    }

    #[test]
    fn every_git_that_is_found_is_told_to_trust_every_tree() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        assert!(git_configurations(&root, OsStr::new("/opt/bin")).is_empty());
        for directory in ["usr/bin", "etc", "opt/bin", "opt/cellar/git/bin"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::fs::write(root.join("usr/bin/git"), "").unwrap();
        std::fs::write(root.join("etc/gitconfig"), "[user]\n\tname = me").unwrap();
        let found = git_configurations(&root, OsStr::new(""));
        let text = &found[Path::new("etc/gitconfig")];
        assert_eq!(found.len(), 1);
        assert_eq!(
            String::from_utf8_lossy(text),
            "[user]\n\tname = me\n[safe]\n\tdirectory = *\n"
        );
        std::fs::write(root.join("opt/cellar/git/bin/git"), "").unwrap();
        std::os::unix::fs::symlink("../cellar/git/bin/git", root.join("opt/bin/git")).unwrap();
        let found = git_configurations(&root, OsStr::new("bin:/opt/bin"));
        let names = found.keys().map(|name| name.to_str().unwrap());
        assert_eq!(
            names.collect::<Vec<_>>(),
            [
                "etc/gitconfig",
                "opt/cellar/git/etc/gitconfig",
                "opt/etc/gitconfig"
            ]
        );
    }

    #[test]
    fn groups_are_the_hosts() {
        let groups = groups_of("root:x:0:\ndisk:x:6:me,you\nodd\nbad:x:y:\n");
        assert_eq!(groups.len(), 2);
        assert_eq!(groups["disk"], 6);
    }
}
