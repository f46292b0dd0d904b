//! The guest's init: the file from `vmtest-assets/guest` behind a generated,
//! quoted prelude. Pure; what must be known about the host's files comes in as
//! values.

pub mod cores;
pub mod device_nodes;
pub mod files;
pub mod initramfs;
pub mod requirements;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::base::route::Route;
use crate::model::version::{Series, Version};
use crate::vm::network::{self, Network};
use crate::vm::qemu;
use crate::vm::share::{self, Share};

/// The init script's path among the assets.
pub const INIT: &str = "guest/init.sh";

/// What loads a capture kernel in the guest, among the assets.
pub const LOADER: &str = "guest/load_capture_kernel.py";

/// The BusyBox applets that init uses; `doctor` checks that they are there.
pub const APPLETS: &[&str] = &[
    "cat",
    "chmod",
    "cp",
    "cpio",
    "env",
    "hostname",
    "insmod",
    "ip",
    "ln",
    "mkdir",
    "mount",
    "pivot_root",
    "rmdir",
    "setsid",
    "sh",
    "sleep",
    "stty",
    "umount",
];

/// Where the runner's events go in the guest: a FIFO, so that it can be opened
/// more than once and nothing is lost when the guest ends.
pub const EVENTS: &str = "/run/vmtest/events";

/// Directories on which init mounts a fresh file system that would hide what
/// the host has there. `/proc`, `/sys` and `/dev` hold nothing that a guest may see.
pub const FRESH: &[&str] = &["/tmp", "/run", "/dev/shm"];

/// Links below a fresh mount that the host's programs need: on NixOS everything
/// is found through them.
pub const LINKS: &[&str] = &["/run/current-system", "/run/booted-system"];

/// What init must know.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The static BusyBox.
    pub busybox: PathBuf,
    /// The serial console's name below `/dev`.
    pub console: &'static str,
    /// Ends each stream.
    pub mark: String,
    /// The unpacked kernel package.
    pub kernel: PathBuf,
    /// The command's working directory.
    pub directory: PathBuf,
    /// Modules to insert, in order.
    pub modules: Vec<PathBuf>,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// The command's whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Columns and rows of a terminal; `None`: pipes.
    pub terminal: Option<(u16, u16)>,
    /// Whether standard input comes through its port.
    pub stdin: bool,
    /// What is done after the command and its verdict.
    pub crash: Option<Crash>,
    /// What must stay visible below the fresh mounts.
    pub hidden: Hidden,
    /// Directories besides the root, in the order in which they are mounted.
    pub shares: Vec<Share>,
    /// Disks with an empty file system: the device, and where it is mounted.
    pub disks: Vec<(String, PathBuf)>,
    /// Modules for that, to insert before.
    pub disk_modules: Vec<PathBuf>,
    /// The network, if there is one.
    pub network: Option<Network>,
    /// The archive of its own files: see [`crate::vm::guest::files`].
    pub files: PathBuf,
    /// The kernel's version: what it can do differs.
    pub version: Version,
    /// What sets the clock, the host's `date`: see [`crate::base::programs::fine_date`].
    pub date: Option<PathBuf>,
    /// Whether core dumps go to [`cores::PLACE`](crate::vm::guest::cores::PLACE).
    pub cores: bool,
    /// The folder with debugging information that `/usr/lib/debug` becomes.
    pub debuginfo: Option<PathBuf>,
}

/// A planned crash of the kernel, and a command in the kernel that comes then. The words
/// are programs and their arguments, run in the working directory with the environment
/// of [`Guest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Ends with status 5 if there is nothing to do after a crash.
    pub select: Option<Vec<OsString>>,
    /// Loads the kernel that the crash starts.
    pub load: Vec<OsString>,
    /// Crashes the kernel, for the shell.
    pub trigger: String,
    /// The command after the crash.
    pub command: Vec<OsString>,
}

/// How much of the guest's memory the overlay's tmpfs may take: of what a capture kernel
/// has, which is less, it is less.
const OVERLAY: &str = "50%";

/// What makes the overlay one file system for programs, each with the first series that
/// knows it: an older one refuses the whole mount.
const OVERLAY_OPTIONS: &[((u32, u32), &str)] = &[
    // Without it, the rename of a directory of the host is EXDEV, which `git mv` and Python's
    // `os.rename` do not handle (Documentation/filesystems/overlayfs.rst, "renaming directories").
    ((4, 10), "redirect_dir=on"),
    // Without it, directories, files of the host and files of the guest have a device number
    // each, and `du -x` and `find -xdev` leave files out ("Inode properties" there).
    ((4, 17), "xino=on"),
    // Without it, a new mode, owner or time of a file copies the file into the guest's memory:
    // `chown -R` of a large tree fills it ("Metadata only copy up" there).
    ((4, 19), "metacopy=on"),
];

/// What a kernel of this series is asked for when it mounts the overlay: `,NAME=VALUE` for each.
fn overlay_options(series: Series) -> String {
    OVERLAY_OPTIONS
        .iter()
        .filter(|((major, minor), _)| (series.major, series.minor) >= (*major, *minor))
        .map(|(_, option)| format!(",{option}"))
        .collect()
}

/// What init binds and links again below its fresh mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Directories and files.
    pub keep: Vec<PathBuf>,
    /// Symbolic links.
    pub links: Vec<PathBuf>,
}

/// Of the ends of `routes` those that lie below a fresh mount, without those below another
/// one of them, and so their links. A path that *is* a fresh mount's directory cannot be bound
/// into it as a whole and is left out: the guest has an empty directory there.
pub fn hidden(routes: impl IntoIterator<Item = Route>) -> Hidden {
    let below_fresh = |path: &PathBuf| {
        FRESH
            .iter()
            .any(|mount| path.starts_with(mount) && path != Path::new(mount))
    };
    let (mut ends, mut links) = (BTreeSet::new(), BTreeSet::new());
    for route in routes {
        ends.extend(Some(route.end).filter(below_fresh));
        links.extend(route.links.into_iter().filter(below_fresh));
    }
    // Sorted by components, an ancestor comes before what is below it.
    let mut keep: Vec<PathBuf> = Vec::new();
    for path in ends {
        if !keep.iter().any(|ancestor| path.starts_with(ancestor)) {
            keep.push(path);
        }
    }
    links.retain(|link| !keep.iter().any(|ancestor| link.starts_with(ancestor)));
    let links = links.into_iter().collect();
    Hidden { keep, links }
}

/// The whole init script: an interpreter line, the prelude and `text`.
pub fn init_script(guest: &Guest, text: &str) -> Vec<u8> {
    let mut script = Script::default();
    script.raw(b"#!");
    script.raw(guest.busybox.as_os_str().as_bytes());
    script.raw(b" sh\n");
    // The kernel starts its first process in no session, and a shell cannot call setsid(2).
    script.raw(b"[ \"${1-}\" = leader ] || exec ");
    script.word(guest.busybox.as_os_str());
    script.raw(b" setsid ");
    script.word(guest.busybox.as_os_str());
    script.raw(b" sh \"$0\" leader\n");
    script.set("vmtest_console", OsStr::new(guest.console));
    script.set("vmtest_busybox", guest.busybox.as_os_str());
    script.set("vmtest_mark", OsStr::new(&guest.mark));
    script.set("vmtest_kernel", guest.kernel.as_os_str());
    script.set("vmtest_directory", guest.directory.as_os_str());
    script.set("vmtest_overlay", OsStr::new(OVERLAY));
    script.set(
        "vmtest_overlay_options",
        OsStr::new(&overlay_options(guest.version.series)),
    );
    script.set(
        "vmtest_stdin",
        OsStr::new(if guest.stdin { "1" } else { "0" }),
    );
    let (columns, rows) = guest.terminal.unwrap_or((80, 24));
    script.set(
        "vmtest_tty",
        OsStr::new(if guest.terminal.is_some() { "1" } else { "0" }),
    );
    script.set("vmtest_columns", OsStr::new(&columns.to_string()));
    script.set("vmtest_rows", OsStr::new(&rows.to_string()));

    script.set("vmtest_files", guest.files.as_os_str());
    script.set(
        "vmtest_cgroup2",
        OsStr::new(cgroup2_options(&guest.version)),
    );
    let date = guest.date.as_deref().unwrap_or(Path::new(""));
    script.set("vmtest_date", date.as_os_str());
    script.set(
        "vmtest_cores",
        OsStr::new(if guest.cores { "1" } else { "0" }),
    );
    let debuginfo = guest.debuginfo.as_deref().unwrap_or(Path::new(""));
    script.set("vmtest_debuginfo", debuginfo.as_os_str());

    script.function("vmtest_hidden", |script| {
        let Hidden { keep, links } = &guest.hidden;
        for (word, paths) in [("keep", keep), ("keep_link", links)] {
            for path in paths {
                script.raw(format!("\t{word} ").as_bytes());
                script.word(path.as_os_str());
                script.raw(b"\n");
            }
        }
    });
    script.function("vmtest_network", |script| {
        let Some(network) = &guest.network else {
            return;
        };
        for module in &network.modules {
            script.raw(b"\tload ");
            script.word(module.as_os_str());
            script.raw(b"\n");
        }
        let (address, gateway) = (network::ADDRESS, network::GATEWAY);
        let nameserver = network::NAMESERVER;
        script.raw(format!("\tconfigure {address} {gateway} {nameserver}\n").as_bytes());
    });
    script.function("vmtest_shares", |script| mounts(script, guest));
    script.function("vmtest_modules", |script| {
        for module in &guest.modules {
            script.raw(b"\tload ");
            script.word(module.as_os_str());
            script.raw(b" || return 1\n");
        }
    });
    script.command("vmtest_command", guest, &guest.command);
    if let Some(crash) = &guest.crash {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let all = words(&["true"]);
        script.command(
            "vmtest_crash_select",
            guest,
            crash.select.as_ref().unwrap_or(&all),
        );
        script.command("vmtest_capture_kernel", guest, &crash.load);
        let trigger = words(&["sh", "-c", &crash.trigger]);
        script.command("vmtest_crash", guest, &trigger);
        script.command("vmtest_crash_command", guest, &crash.command);
    }
    script.raw(text.as_bytes());
    script.into_bytes()
}

/// The options with which systemd mounts cgroup2, as far as the kernel knows them, each
/// with a comma before it: "cgroup: implement \"nsdelegate\" mount option", in 4.13, and
/// "mm: memcontrol: recursive memory.low protection", in 5.7.
fn cgroup2_options(version: &Version) -> &'static str {
    let since = |major, minor| version.series >= Series { major, minor };
    if since(5, 7) {
        ",nsdelegate,memory_recursiveprot"
    } else if since(4, 13) {
        ",nsdelegate"
    } else {
        ""
    }
}

/// What mounts shares and disks: what contains another one comes first and hides nothing.
fn mounts(script: &mut Script, guest: &Guest) {
    for module in &guest.disk_modules {
        script.raw(b"\tload ");
        script.word(module.as_os_str());
        script.raw(b"\n");
    }
    let shares = guest.shares.iter().enumerate().map(|(index, share)| {
        let options = qemu::share_options(share.writable, guest.version.series);
        (
            &share.guest,
            format!("share {} {options}", share::tag(index)),
        )
    });
    let disks = guest
        .disks
        .iter()
        .map(|(device, place)| (place, format!("disk {device}")));
    let mut all = shares.chain(disks).collect::<Vec<_>>();
    // By components, so that an ancestor comes before what is below it.
    all.sort_by(|a, b| a.0.cmp(b.0));
    for (place, words) in all {
        script.raw(format!("\t{words} ").as_bytes());
        script.word(place.as_os_str());
        script.raw(b"\n");
    }
}

/// A shell script that is being put together.
#[derive(Default)]
pub(crate) struct Script(Vec<u8>);

impl Script {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Between single quotes every byte stands for itself but the single quote.
    pub(crate) fn word(&mut self, word: &OsStr) {
        self.raw(b"'");
        for &byte in word.as_bytes() {
            if byte == b'\'' {
                self.raw(br"'\''")
            } else {
                self.0.push(byte)
            }
        }
        self.raw(b"'");
    }

    pub(crate) fn set(&mut self, name: &str, value: &OsStr) {
        self.raw(name.as_bytes());
        self.raw(b"=");
        self.word(value);
        self.raw(b"\n");
    }

    /// A function that becomes a command.
    fn command(&mut self, function: &str, guest: &Guest, words: &[OsString]) {
        self.function(function, |script| {
            script.raw(b"\texec ");
            script.word(guest.busybox.as_os_str());
            script.raw(b" env -i");
            for (name, value) in &guest.environment {
                let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
                script.raw(b" ");
                script.word(&OsString::from_vec(pair));
            }
            script.raw(b" ");
            script.word(guest.busybox.as_os_str());
            script.raw(b" setsid");
            if guest.terminal.is_some() {
                script.raw(b" -c");
            }
            // The absolute /bin/sh is the host's, so that PATH finds the host's
            // programs; BusyBox would run its own applets of these names.
            script.raw(b" /bin/sh -c 'exec \"$@\"' sh");
            for word in words {
                script.raw(b" ");
                script.word(word);
            }
            script.raw(b"\n");
        });
    }

    pub(crate) fn function(&mut self, name: &str, body: impl FnOnce(&mut Self)) {
        self.raw(name.as_bytes());
        // A function's body must not be empty.
        self.raw(b"() {\n\t:\n");
        body(self);
        self.raw(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn guest() -> Guest {
        Guest {
            busybox: "/bin/busybox".into(),
            console: "ttyS0",
            mark: "mark".into(),
            kernel: "/w/kernel".into(),
            directory: "/home/me".into(),
            modules: vec!["/w/a.ko".into()],
            command: vec!["true".into()],
            environment: Vec::new(),
            terminal: None,
            stdin: false,
            crash: None,
            hidden: Hidden::default(),
            shares: Vec::new(),
            disks: Vec::new(),
            disk_modules: Vec::new(),
            network: None,
            files: "/f".into(),
            version: "6.1".parse().unwrap(),
            date: None,
            cores: false,
            debuginfo: None,
        }
    }

    #[test]
    fn only_what_a_fresh_mount_hides_is_kept_and_only_once() {
        let paths = [
            "/home/me",
            "/tmp",
            "/tmp/a/b",
            "/tmp/a",
            "/tmp/ab",
            "/tmpfs/x",
            "/run/user/1",
            "/dev/shm/x",
            "/dev/null",
        ];
        let links = ["/tmp/link", "/tmp/a/link", "/srv/link", "/tmp/link", "/run"];
        let none = Vec::new();
        let routes = paths.map(|end| Route {
            end: end.into(),
            links: none.clone(),
        });
        let way = Route {
            end: "/srv".into(),
            links: links.map(PathBuf::from).to_vec(),
        };
        let found = hidden(routes.into_iter().chain([way]));
        assert_eq!(
            found.keep,
            ["/dev/shm/x", "/run/user/1", "/tmp/a", "/tmp/ab"].map(PathBuf::from)
        );
        assert_eq!(found.links, [PathBuf::from("/tmp/link")]);
    }

    /// The host's shell reads the prelude back: every byte of a hostile word must
    /// arrive, and none may run.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "a short command of a test")]
    fn hostile_words_survive_the_shell() {
        let hostile: Vec<OsString> = vec![
            "it's".into(),
            "".into(),
            "two\nlines\n".into(),
            "$(touch /nowhere/x) `id` ${HOME} \\ \" ; & | > <".into(),
            "-n".into(),
            "\u{1b}[31m\u{7f}\t".into(),
            OsString::from_vec((1..=255).collect()),
        ];
        let guest = Guest {
            directory: "/a b/it's/$(id)".into(),
            command: hostile.clone(),
            environment: vec![("NAME".into(), "a'b\nc".into())],
            ..guest()
        };
        // In place of init's text: show what the prelude has set, and the words
        // behind the `sh` that starts the command.
        let text = r#"
printf '%s\0' "$vmtest_directory"
show() { while [ "$1" != sh ]; do shift; done; shift; printf '%s\0' "$@"; }
vmtest_command
"#;
        let script = init_script(&guest, text);
        // `exec` is a special builtin, which a function cannot stand for.
        let script = replace(&script, b"\texec ", b"\tshow ");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("script");
        std::fs::write(&file, &script).unwrap();
        let output = Command::new("/bin/sh")
            .arg(&file)
            .arg("leader")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let mut expected = b"/a b/it's/$(id)\0".to_vec();
        for word in &hostile {
            expected.extend_from_slice(word.as_bytes());
            expected.push(0);
        }
        assert_eq!(
            output.stdout,
            expected,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    #[test]
    fn file_systems_are_asked_for_what_the_kernel_knows() {
        let overlay = |major, minor| overlay_options(Series { major, minor });
        assert_eq!(overlay(4, 9), "");
        assert_eq!(overlay(4, 14), ",redirect_dir=on");
        assert_eq!(overlay(4, 17), ",redirect_dir=on,xino=on");
        for (major, minor) in [(4, 19), (5, 4), (6, 1), (7, 3)] {
            let all = ",redirect_dir=on,xino=on,metacopy=on";
            assert_eq!(overlay(major, minor), all);
        }
        let share = |writable, major, minor| {
            let options = qemu::share_options(writable, Series { major, minor });
            options.split_once("msize=512000,").unwrap().1.to_owned()
        };
        assert_eq!(share(true, 4, 9), "cache=mmap,rw");
        assert_eq!(share(true, 6, 3), "cache=mmap,rw");
        assert_eq!(share(true, 6, 4), "cache=mmap,directio,rw");
        assert_eq!(share(false, 6, 12), "cache=none,ro");
    }

    fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = text
            .windows(from.len())
            .position(|window| window == from)
            .unwrap();
        [&text[..at], to, &text[at + from.len()..]].concat()
    }

    #[test]
    fn the_prelude_says_what_was_asked_for() {
        let text = |guest: &Guest| String::from_utf8(init_script(guest, "TEXT\n")).unwrap();
        let script = text(&Guest {
            terminal: Some((100, 30)),
            hidden: Hidden {
                keep: vec!["/tmp/x".into()],
                links: vec!["/run/current-system".into()],
            },
            shares: vec![Share {
                host: "/h".into(),
                guest: "/it's".into(),
                writable: true,
            }],
            disks: vec![("/dev/vda".into(), "/a".into())],
            disk_modules: vec!["/w/ext4.ko".into()],
            network: Some(Network {
                modules: vec!["/w/a b.ko".into()],
            }),
            date: Some("/bin/date".into()),
            cores: true,
            debuginfo: Some("/d".into()),
            ..guest()
        });
        expect_test::expect![[r##"
            #!/bin/busybox sh
            [ "${1-}" = leader ] || exec '/bin/busybox' setsid '/bin/busybox' sh "$0" leader
            vmtest_console='ttyS0'
            vmtest_busybox='/bin/busybox'
            vmtest_mark='mark'
            vmtest_kernel='/w/kernel'
            vmtest_directory='/home/me'
            vmtest_overlay='50%'
            vmtest_overlay_options=',redirect_dir=on,xino=on,metacopy=on'
            vmtest_stdin='0'
            vmtest_tty='1'
            vmtest_columns='100'
            vmtest_rows='30'
            vmtest_files='/f'
            vmtest_cgroup2=',nsdelegate,memory_recursiveprot'
            vmtest_date='/bin/date'
            vmtest_cores='1'
            vmtest_debuginfo='/d'
            vmtest_hidden() {
            	:
            	keep '/tmp/x'
            	keep_link '/run/current-system'
            }
            vmtest_network() {
            	:
            	load '/w/a b.ko'
            	configure 10.0.2.15/24 10.0.2.2 10.0.2.3
            }
            vmtest_shares() {
            	:
            	load '/w/ext4.ko'
            	disk /dev/vda '/a'
            	share vmtest.share0 trans=virtio,version=9p2000.L,msize=512000,cache=mmap,rw '/it'\''s'
            }
            vmtest_modules() {
            	:
            	load '/w/a.ko' || return 1
            }
            vmtest_command() {
            	:
            	exec '/bin/busybox' env -i '/bin/busybox' setsid -c /bin/sh -c 'exec "$@"' sh 'true'
            }
            TEXT
        "##]]
        .assert_eq(&script);
        assert!(text(&guest()).contains("vmtest_tty='0'\n"));
        assert!(!text(&guest()).contains("setsid -c"));
        let crash = text(&Guest {
            environment: vec![("NAME".into(), "value".into())],
            crash: Some(Crash {
                select: None,
                load: vec!["load".into(), "a b".into()],
                trigger: "echo 'c' >/proc/sysrq-trigger".to_owned(),
                command: vec!["after".into()],
            }),
            ..guest()
        });
        let functions = crash
            .lines()
            .skip_while(|line| *line != "vmtest_command() {");
        let functions = functions.collect::<Vec<_>>().join("\n");
        expect_test::expect![[r##"
            vmtest_command() {
            	:
            	exec '/bin/busybox' env -i 'NAME=value' '/bin/busybox' setsid /bin/sh -c 'exec "$@"' sh 'true'
            }
            vmtest_crash_select() {
            	:
            	exec '/bin/busybox' env -i 'NAME=value' '/bin/busybox' setsid /bin/sh -c 'exec "$@"' sh 'true'
            }
            vmtest_capture_kernel() {
            	:
            	exec '/bin/busybox' env -i 'NAME=value' '/bin/busybox' setsid /bin/sh -c 'exec "$@"' sh 'load' 'a b'
            }
            vmtest_crash() {
            	:
            	exec '/bin/busybox' env -i 'NAME=value' '/bin/busybox' setsid /bin/sh -c 'exec "$@"' sh 'sh' '-c' 'echo '\''c'\'' >/proc/sysrq-trigger'
            }
            vmtest_crash_command() {
            	:
            	exec '/bin/busybox' env -i 'NAME=value' '/bin/busybox' setsid /bin/sh -c 'exec "$@"' sh 'after'
            }
            TEXT"##]]
        .assert_eq(&functions);
    }

    /// Every applet that the guest's scripts run is in the lists that `doctor` checks, and
    /// no other.
    #[test]
    fn the_applets_are_those_that_are_used() {
        let check = |text: &str, implied: &[&'static str], applets: &[&str]| {
            let used = text
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'))
                .flat_map(|line| line.split("bb ").skip(1))
                .filter_map(|rest| rest.split_whitespace().next())
                .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            let mut used = used.chain(implied.iter().copied()).collect::<Vec<_>>();
            used.sort_unstable();
            used.dedup();
            assert_eq!(used, applets);
        };
        let init = include_str!("../../../../vmtest-assets/guest/init.sh");
        check(init, &["env", "setsid", "sh"], APPLETS);
        let bridge = include_str!("../../../../vmtest-assets/guest/bridge.sh");
        check(bridge, &["sh", "switch_root"], initramfs::APPLETS);
    }
}
