//! The guest's init: the file from `vmtest-assets/guest` behind a generated,
//! quoted prelude. Pure; what must be known about the host's files comes in as
//! values.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The init script's path among the assets.
pub const INIT: &str = "guest/init.sh";

/// The BusyBox applets that init uses; `doctor` checks that they are there.
pub const APPLETS: &[&str] = &[
    "cat",
    "cp",
    "env",
    "hostname",
    "insmod",
    "ip",
    "ln",
    "mkdir",
    "mkfifo",
    "mknod",
    "mount",
    "pivot_root",
    "rm",
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

/// The device of the scratch disk in the guest.
pub const DISK: &str = "/dev/vda";

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
    /// What must stay visible below the fresh mounts: directories and files.
    pub keep: Vec<PathBuf>,
    /// The same for symbolic links.
    pub keep_links: Vec<PathBuf>,
}

/// How much of the guest's memory the overlay's tmpfs may take.
const OVERLAY: &str = "50%";

/// Of `paths` those that lie below a fresh mount, without those below another
/// one of them. A path that *is* a fresh mount's directory cannot be bound into
/// it as a whole and is left out: the guest has an empty directory there.
pub fn hidden(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let all = paths
        .into_iter()
        .filter(|path| {
            FRESH
                .iter()
                .any(|mount| path.starts_with(mount) && path != Path::new(mount))
        })
        .collect::<BTreeSet<_>>();
    // Sorted by components, an ancestor comes before what is below it.
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in all {
        if !kept.iter().any(|ancestor| path.starts_with(ancestor)) {
            kept.push(path);
        }
    }
    kept
}

/// The whole init script: an interpreter line, the prelude and `text`.
pub fn init_script(guest: &Guest, text: &str) -> Vec<u8> {
    let mut script = Script(Vec::new());
    script.raw(b"#!");
    script.raw(guest.busybox.as_os_str().as_bytes());
    script.raw(b" sh\n");
    script.set("vmtest_busybox", guest.busybox.as_os_str());
    script.set("vmtest_mark", OsStr::new(&guest.mark));
    script.set("vmtest_kernel", guest.kernel.as_os_str());
    script.set("vmtest_directory", guest.directory.as_os_str());
    script.set("vmtest_overlay", OsStr::new(OVERLAY));
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

    script.function("vmtest_hidden", |script| {
        for (word, paths) in [("keep", &guest.keep), ("keep_link", &guest.keep_links)] {
            for path in paths {
                script.raw(format!("\t{word} ").as_bytes());
                script.word(path.as_os_str());
                script.raw(b"\n");
            }
        }
    });
    script.function("vmtest_modules", |script| {
        for module in &guest.modules {
            script.raw(b"\tload ");
            script.word(module.as_os_str());
            script.raw(b" || return 1\n");
        }
    });
    script.function("vmtest_command", |script| {
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
        for word in &guest.command {
            script.raw(b" ");
            script.word(word);
        }
        script.raw(b"\n");
    });
    script.raw(text.as_bytes());
    script.0
}

struct Script(Vec<u8>);

impl Script {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Between single quotes every byte stands for itself but the single quote.
    fn word(&mut self, word: &OsStr) {
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

    fn set(&mut self, name: &str, value: &OsStr) {
        self.raw(name.as_bytes());
        self.raw(b"=");
        self.word(value);
        self.raw(b"\n");
    }

    fn function(&mut self, name: &str, body: impl FnOnce(&mut Self)) {
        self.raw(name.as_bytes());
        // A function's body must not be empty.
        self.raw(b"() {\n\t:\n");
        body(self);
        self.raw(b"}\n");
    }
}
