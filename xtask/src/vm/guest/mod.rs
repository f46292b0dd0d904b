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
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::route::{self, Route};
use crate::model::version::Series;
use crate::vm::stage::{self, Stage};
use crate::vm::{Accel, CrashRequest, Stdin};
use crate::vm::{device::Device, enclosure, network, plan::Boot, qemu};

/// The init script's path among the assets.
pub const INIT: &str = "guest/init.sh";

/// The asset that loads a capture kernel in the guest.
pub const LOADER: &str = "guest/load_capture_kernel.py";

/// The BusyBox applets that init uses; `doctor` checks that they are there.
pub const APPLETS: &str = "cat chmod cp cpio env hostname insmod ip ln mkdir mount pivot_root \
                           rmdir setsid sh sleep stty umount";

/// Where the runner's events go in the guest: a FIFO, so that it can be opened
/// more than once and nothing is lost when the guest ends.
pub const EVENTS: &str = "/run/vmtest/events";

/// Directories on which init mounts a fresh file system that would hide what
/// the host has there. `/proc`, `/sys` and `/dev` hold nothing that a guest may see.
pub const FRESH: &[&str] = &["/tmp", "/run", "/dev/shm"];

/// Links below a fresh mount that the host's programs need: on NixOS everything
/// is found through them.
pub const LINKS: &[&str] = &["/run/current-system", "/run/booted-system"];

/// Facts about the host's files for init.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Ends each stream.
    pub mark: String,
    pub hidden: Hidden,
    // Init shows these by their real names: before the guest's root is its root, an absolute
    // link leads elsewhere.
    /// The kernel's folder of modules.
    pub modules: PathBuf,
    /// [`Boot::files`].
    pub files: PathBuf,
    /// The folder with debugging information that `/usr/lib/debug` becomes.
    pub debuginfo: Option<PathBuf>,
}

impl Seen {
    pub fn look(boot: &Boot<'_>, mark: &str) -> Self {
        let kernel = &boot.vm.kernel;
        let stage = boot.plan.stage.as_ref();
        let real = |path: PathBuf| {
            let real = path.canonicalize().unwrap_or(path);
            let place = stage.and_then(|_| route::route_in(&boot.vm.root, &real));
            place.unwrap_or(real)
        };
        Self {
            mark: mark.to_owned(),
            hidden: stage.map_or_else(|| Self::hidden(boot), Stage::shown),
            modules: real(kernel.modules.clone()),
            files: stage.map_or_else(|| real(boot.files()), |_| boot.files()),
            debuginfo: kernel.debuginfo.clone().map(real),
        }
    }

    fn hidden(boot: &Boot<'_>) -> Hidden {
        let (vm, plan, kernel) = (boot.vm, boot.plan, &boot.vm.kernel);
        let mut words = vm.command.clone();
        if let Some(crash) = &vm.crash {
            words.extend(load_command(boot, crash));
            words.extend(crash.command.iter().cloned());
        }
        // A word with a slash may be a file's name.
        let words = words.iter().filter(|word| word.as_bytes().contains(&b'/'));
        let homes = vm.environment.iter().filter(|(name, _)| name == "HOME");
        let lists = [&vm.keep, &vm.modules, &plan.network, &plan.file_system];
        let paths = (lists.into_iter().flatten())
            .chain([&vm.directory, &kernel.path, &kernel.modules])
            .chain([&plan.busybox])
            .chain(&kernel.debuginfo);
        let needed = (paths.cloned())
            .chain(words.map(|word| vm.directory.join(word)))
            .chain(homes.map(|(_, value)| PathBuf::from(value)))
            .filter(|path| path.is_absolute() && path.exists());
        let links = LINKS.iter().map(PathBuf::from);
        let links = links.filter(|link| link.is_symlink()).map(|link| Route {
            end: "/".into(),
            links: vec![link],
        });
        hidden(needed.filter_map(|path| route::route(&path)).chain(links))
    }
}

/// As pam_systemd sets it for a session of root's; the command's own value wins.
const RUNTIME_DIRECTORY: (&str, &str) = ("XDG_RUNTIME_DIR", "/run/user/0");

/// The command's whole environment.
fn environment(boot: &Boot<'_>) -> Vec<(OsString, OsString)> {
    let mut all = boot.vm.environment.clone();
    if boot.plan.stage.is_some() {
        for (_, path) in all.iter_mut().filter(|(name, _)| name == "PATH") {
            path.push(":");
            path.push(stage::SEARCH_PATH);
        }
    }
    if !all.iter().any(|(other, _)| other == RUNTIME_DIRECTORY.0) {
        all.push((RUNTIME_DIRECTORY.0.into(), RUNTIME_DIRECTORY.1.into()));
    }
    all.push(("VMTEST_EVENTS".into(), EVENTS.into()));
    let release = boot.vm.kernel.release.to_string();
    all.push(("VMTEST_KERNEL".into(), release.into()));
    if boot.accel == Accel::Tcg {
        all.push(("VMTEST_EMULATED".into(), "1".into()));
    }
    let devices = boot.devices().into_iter();
    let variables = devices.filter_map(|parts| parts.environment);
    all.extend(variables.map(|(name, value)| (name.into(), value.into())));
    all
}

/// The command that loads the capture kernel: the one that runs, once more.
fn load_command(boot: &Boot<'_>, crash: &CrashRequest) -> Vec<OsString> {
    let kernel = &boot.vm.kernel;
    let mut words = vec![crash.python.clone().into()];
    // Nothing of the project's or the environment's is to be imported.
    words.extend(["-B", "-I", "-S"].map(OsString::from));
    words.push(crash.loader.clone().into());
    words.extend(
        kernel
            .arch
            .kexec_file_load
            .map(|number| number.to_string().into()),
    );
    let elf = kernel.vmlinux.as_ref().filter(|_| kernel.arch.kexec_elf);
    words.push(elf.cloned().unwrap_or_else(|| boot.image()).into());
    // Empty for none.
    words.push(boot.initramfs().unwrap_or_default().into());
    words.extend(qemu::capture_parameters(boot.accel).iter().map(Into::into));
    words
}

/// How much of the guest's memory the overlay's tmpfs may take: of what a capture kernel
/// has, which is less, it is less.
const OVERLAY: &str = "50%";

/// Options that make the overlay one file system for programs, each with the first series that
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

/// Options of the kernel's cgroup2 with which systemd mounts it, likewise: "cgroup: implement
/// \"nsdelegate\" mount option", and "mm: memcontrol: recursive memory.low protection".
const CGROUP2_OPTIONS: &[((u32, u32), &str)] =
    &[((4, 13), "nsdelegate"), ((5, 7), "memory_recursiveprot")];

/// Those of the options that a kernel of this series knows: `,NAME` for each.
fn known(options: &[((u32, u32), &str)], series: Series) -> String {
    let since = |&&((major, minor), _): &&((u32, u32), &str)| series >= Series { major, minor };
    let known = options.iter().filter(since);
    known.map(|(_, option)| format!(",{option}")).collect()
}

/// Paths that init shows again below its fresh mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    pub keep: Vec<PathBuf>,
    pub links: Vec<PathBuf>,
}

/// Of the ends of `routes` those that lie below a fresh mount, without those below another
/// one of them, and so their links. A path that *is* a fresh mount's directory cannot be bound
/// into it as a whole and is left out: the guest has an empty directory there.
pub fn hidden(routes: impl IntoIterator<Item = Route>) -> Hidden {
    let below = |path: &PathBuf, mount: &str| path.starts_with(mount) && path != Path::new(mount);
    let below_fresh = |path: &PathBuf| FRESH.iter().any(|mount| below(path, mount));
    let (mut ends, mut links) = (Vec::new(), BTreeSet::new());
    for route in routes {
        ends.extend(Some(route.end).filter(below_fresh));
        links.extend(route.links.into_iter().filter(below_fresh));
    }
    let keep = enclosure::topmost(ends);
    links.retain(|link| !keep.iter().any(|ancestor| link.starts_with(ancestor)));
    let links = links.into_iter().collect();
    Hidden { keep, links }
}

/// The whole init script: an interpreter line, the prelude and `text`.
pub fn init_script(boot: &Boot<'_>, seen: &Seen, text: &str) -> Vec<u8> {
    let (vm, plan) = (boot.vm, boot.plan);
    let series = vm.kernel.release.version.series;
    let busybox = plan.busybox.as_os_str();
    let mut script = Script::default();
    script.raw(b"#!");
    script.raw(busybox.as_bytes());
    script.raw(b" sh\n");
    // The kernel starts its first process in no session, and a shell cannot call setsid(2).
    script.raw(b"[ \"${1-}\" = leader ] || exec ");
    script.word(busybox);
    script.raw(b" setsid ");
    script.word(busybox);
    script.raw(b" sh \"$0\" leader\n");
    let (columns, rows) = vm.terminal.unwrap_or((80, 24));
    let path = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
    script.set("vmtest_console", vm.kernel.arch.console);
    script.set("vmtest_busybox", busybox);
    script.set("vmtest_mark", &seen.mark);
    script.set("vmtest_kernel", &seen.modules);
    script.set("vmtest_directory", &vm.directory);
    let root = plan.stage.as_ref().map(|_| qemu::root_options(boot));
    script.set("vmtest_root", root.unwrap_or_default());
    script.set("vmtest_overlay", OVERLAY);
    script.set("vmtest_overlay_options", known(OVERLAY_OPTIONS, series));
    script.flag("vmtest_stdin", vm.stdin == Stdin::Inherit);
    script.flag("vmtest_tty", vm.terminal.is_some());
    script.set("vmtest_columns", columns.to_string());
    script.set("vmtest_rows", rows.to_string());
    script.set("vmtest_files", &seen.files);
    script.set("vmtest_cgroup2", known(CGROUP2_OPTIONS, series));
    script.set("vmtest_date", path(&plan.date));
    script.flag("vmtest_cores", vm.cores().is_some());
    script.set("vmtest_debuginfo", path(&seen.debuginfo));
    script.function("vmtest_host", |script| {
        for (tag, part) in plan.stage.iter().flat_map(Stage::tagged) {
            let options = qemu::root_options(boot);
            script.lines(&format!("host {tag} {options}"), [&part.guest], "");
        }
    });
    script.function("vmtest_hidden", |script| {
        script.lines("keep", &seen.hidden.keep, "");
        script.lines("keep_link", &seen.hidden.links, "");
    });
    script.function("vmtest_network", |script| {
        if vm.devices.contains(&Device::Network) {
            script.lines("load", &plan.network, "");
            let (address, gateway) = (network::ADDRESS, network::GATEWAY);
            let nameserver = network::NAMESERVER;
            script.raw(format!("\tconfigure {address} {gateway} {nameserver}\n").as_bytes());
        }
    });
    // One that contains another comes first and hides nothing: by components, an ancestor comes
    // before what is below it.
    script.function("vmtest_shares", |script| {
        script.lines("load", &plan.file_system, "");
        let mounts = boot.devices().into_iter().filter_map(|parts| parts.mount);
        let mut mounts = mounts.collect::<Vec<_>>();
        mounts.sort_by(|a, b| a.0.cmp(&b.0));
        for (place, words) in mounts {
            script.lines(&words, [place], "");
        }
    });
    script.function("vmtest_modules", |script| {
        script.lines("load", &vm.modules, " || return 1");
    });
    commands(&mut script, boot);
    script.raw(text.as_bytes());
    script.0
}

/// Functions that become the command and, if there is to be a crash, what is run for it.
fn commands(script: &mut Script, boot: &Boot<'_>) {
    let environment = environment(boot);
    let mut command = |name: &str, words: &[OsString]| {
        script.function(name, |script| script.command(boot, &environment, words));
    };
    command("vmtest_command", &boot.vm.command);
    if let Some(crash) = &boot.vm.crash {
        let all = ["true".into()];
        command(
            "vmtest_crash_select",
            crash.select.as_deref().unwrap_or(&all),
        );
        command("vmtest_capture_kernel", &load_command(boot, crash));
        let trigger = ["sh", "-c", &crash.trigger].map(OsString::from);
        command("vmtest_crash", &trigger);
        command("vmtest_crash_command", &crash.command);
    }
}

/// A shell script that is being put together.
#[derive(Default)]
pub(crate) struct Script(pub(crate) Vec<u8>);

impl Script {
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Between single quotes every byte stands for itself but the single quote.
    pub(crate) fn word(&mut self, word: &OsStr) {
        let parts = word.as_bytes().split(|byte| *byte == b'\'');
        let word = parts.collect::<Vec<_>>().join(&br"'\''"[..]);
        self.raw(&[b"'", &*word, b"'"].concat());
    }

    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.raw(name.as_bytes());
        self.raw(b"=");
        self.word(value.as_ref());
        self.raw(b"\n");
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.set(name, if value { "1" } else { "0" });
    }

    /// Lines of a function: `words`, a path, and what stands behind it.
    pub(crate) fn lines(
        &mut self,
        words: &str,
        paths: impl IntoIterator<Item: AsRef<Path>>,
        behind: &str,
    ) {
        for path in paths {
            self.raw(format!("\t{words} ").as_bytes());
            self.word(path.as_ref().as_os_str());
            self.raw(format!("{behind}\n").as_bytes());
        }
    }

    /// A line that becomes a program.
    fn command(
        &mut self,
        boot: &Boot<'_>,
        environment: &[(OsString, OsString)],
        words: &[OsString],
    ) {
        let busybox = boot.plan.busybox.as_os_str();
        self.raw(b"\texec ");
        self.word(busybox);
        self.raw(b" env -i");
        for (name, value) in environment {
            let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
            self.raw(b" ");
            self.word(OsStr::from_bytes(&pair));
        }
        self.raw(b" ");
        self.word(busybox);
        self.raw(b" setsid");
        if boot.vm.terminal.is_some() {
            self.raw(b" -c");
        }
        // The absolute /bin/sh is the root's, so that PATH finds the root's
        // programs; BusyBox would run its own applets of these names.
        self.raw(b" /bin/sh -c 'exec \"$@\"' sh");
        for word in words {
            self.raw(b" ");
            self.word(word);
        }
        self.raw(b"\n");
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
    use std::os::unix::ffi::OsStringExt;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::vm::plan::tests::{boot, plan, vm};
    use crate::vm::scratch_disk::{Disk, Purpose};
    use crate::vm::{Vm, plan::Plan, share::Share};

    fn seen() -> Seen {
        Seen {
            mark: "mark".into(),
            modules: "/w/kernel".into(),
            files: "/f".into(),
            ..Seen::default()
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
        let vm = Vm {
            directory: "/a b/it's/$(id)".into(),
            command: hostile.clone(),
            environment: vec![("NAME".into(), "a'b\nc".into())],
            ..vm()
        };
        // In place of init's text: show what the prelude has set, and the words
        // behind the `sh` that starts the command.
        let text = r#"
printf '%s\0' "$vmtest_directory"
show() { while [ "$1" != sh ]; do shift; done; shift; printf '%s\0' "$@"; }
vmtest_command
"#;
        let script = init_script(&boot(&vm, &plan()), &seen(), text);
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
        let overlay = |major, minor| known(OVERLAY_OPTIONS, Series { major, minor });
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
        let vm = || Vm {
            directory: "/home/me".into(),
            modules: vec!["/w/a.ko".into()],
            command: vec!["true".into()],
            ..vm()
        };
        let text = |vm: &Vm, plan: &Plan, seen: &Seen| {
            String::from_utf8(init_script(&boot(vm, plan), seen, "TEXT\n")).unwrap()
        };
        let plain = text(&vm(), &plan(), &seen());
        let more = Vm {
            terminal: Some((100, 30)),
            devices: vec![
                Device::Share(Share {
                    host: "/h".into(),
                    guest: "/it's".into(),
                    writable: true,
                }),
                Device::Disk(Disk {
                    size: 0,
                    purpose: Purpose::Mounted("/a".into()),
                }),
                Device::Disk(Disk {
                    size: 0,
                    purpose: Purpose::Device("DISK".into()),
                }),
                Device::Network,
                Device::Cores("/cores".into()),
            ],
            ..vm()
        };
        let with = Plan {
            file_system: vec!["/w/ext4.ko".into()],
            network: vec!["/w/a b.ko".into()],
            date: Some("/bin/date".into()),
            ..plan()
        };
        let hidden = Hidden {
            keep: vec!["/tmp/x".into()],
            links: vec!["/run/current-system".into()],
        };
        let script = text(
            &more,
            &with,
            &Seen {
                hidden,
                debuginfo: Some("/d".into()),
                ..seen()
            },
        );
        expect_test::expect![[r##"
            #!/bin/busybox sh
            [ "${1-}" = leader ] || exec '/bin/busybox' setsid '/bin/busybox' sh "$0" leader
            vmtest_console='ttyS0'
            vmtest_busybox='/bin/busybox'
            vmtest_mark='mark'
            vmtest_kernel='/w/kernel'
            vmtest_directory='/home/me'
            vmtest_root=''
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
            vmtest_host() {
            	:
            }
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
            	share vmtest.share1 trans=virtio,version=9p2000.L,msize=512000,cache=mmap,rw '/run/vmtest/cores'
            }
            vmtest_modules() {
            	:
            	load '/w/a.ko' || return 1
            }
            vmtest_command() {
            	:
            	exec '/bin/busybox' env -i 'XDG_RUNTIME_DIR=/run/user/0' 'VMTEST_EVENTS=/run/vmtest/events' 'VMTEST_KERNEL=6.1' 'VMTEST_EMULATED=1' 'DISK=/dev/vdb' '/bin/busybox' setsid -c /bin/sh -c 'exec "$@"' sh 'true'
            }
            TEXT
        "##]]
        .assert_eq(&script);
        assert!(plain.contains("vmtest_tty='0'\n"));
        assert!(!plain.contains("setsid -c"));
    }

    #[test]
    fn a_planned_crash_is_of_commands_too() {
        let crash = Vm {
            command: vec!["true".into()],
            environment: vec![("NAME".into(), "value".into())],
            crash: Some(CrashRequest {
                command: vec!["after".into()],
                select: None,
                python: "/a b/python".into(),
                loader: "/loader".into(),
                trigger: "echo 'c' >/proc/sysrq-trigger".to_owned(),
            }),
            ..vm()
        };
        let crash = init_script(&boot(&crash, &plan()), &seen(), "TEXT\n");
        let crash = String::from_utf8(crash).unwrap();
        let functions = crash
            .lines()
            .skip_while(|line| *line != "vmtest_command() {");
        let functions = functions.collect::<Vec<_>>().join("\n");
        expect_test::expect![[r#"
            vmtest_command() {
            	:
            	exec '/bin/busybox' env -i 'NAME=value' 'XDG_RUNTIME_DIR=/run/user/0' 'VMTEST_EVENTS=/run/vmtest/events' 'VMTEST_KERNEL=6.1' 'VMTEST_EMULATED=1' '/bin/busybox' setsid /bin/sh -c 'exec "$@"' sh 'true'
            }
            vmtest_crash_select() {
            	:
            	exec '/bin/busybox' env -i 'NAME=value' 'XDG_RUNTIME_DIR=/run/user/0' 'VMTEST_EVENTS=/run/vmtest/events' 'VMTEST_KERNEL=6.1' 'VMTEST_EMULATED=1' '/bin/busybox' setsid /bin/sh -c 'exec "$@"' sh 'true'
            }
            vmtest_capture_kernel() {
            	:
            	exec '/bin/busybox' env -i 'NAME=value' 'XDG_RUNTIME_DIR=/run/user/0' 'VMTEST_EVENTS=/run/vmtest/events' 'VMTEST_KERNEL=6.1' 'VMTEST_EMULATED=1' '/bin/busybox' setsid /bin/sh -c 'exec "$@"' sh '/a b/python' '-B' '-I' '-S' '/loader' '320' '/w/kernel-6.1/vmlinuz' '' 'nokaslr' 'nosmp' 'vmtest_phase=crash'
            }
            vmtest_crash() {
            	:
            	exec '/bin/busybox' env -i 'NAME=value' 'XDG_RUNTIME_DIR=/run/user/0' 'VMTEST_EVENTS=/run/vmtest/events' 'VMTEST_KERNEL=6.1' 'VMTEST_EMULATED=1' '/bin/busybox' setsid /bin/sh -c 'exec "$@"' sh 'sh' '-c' 'echo '\''c'\'' >/proc/sysrq-trigger'
            }
            vmtest_crash_command() {
            	:
            	exec '/bin/busybox' env -i 'NAME=value' 'XDG_RUNTIME_DIR=/run/user/0' 'VMTEST_EVENTS=/run/vmtest/events' 'VMTEST_KERNEL=6.1' 'VMTEST_EMULATED=1' '/bin/busybox' setsid /bin/sh -c 'exec "$@"' sh 'after'
            }
            TEXT"#]]
        .assert_eq(&functions);
    }

    /// Every applet that the guest's scripts run is in the lists that `doctor` checks, and
    /// no other.
    #[test]
    fn the_applets_are_those_that_are_used() {
        let check = |text: &str, implied: &[&'static str], applets: &str| {
            let used = text
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'))
                .flat_map(|line| line.split("bb ").skip(1))
                .filter_map(|rest| rest.split_whitespace().next())
                .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            let mut used = used.chain(implied.iter().copied()).collect::<Vec<_>>();
            used.sort_unstable();
            used.dedup();
            assert_eq!(used.join(" "), applets);
        };
        let init = include_str!("../../../../vmtest-assets/guest/init.sh");
        check(init, &["env", "setsid", "sh"], APPLETS);
        let bridge = include_str!("../../../../vmtest-assets/guest/bridge.sh");
        check(bridge, &["sh", "switch_root"], initramfs::APPLETS);
    }
}
