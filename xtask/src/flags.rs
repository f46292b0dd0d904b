//! The grammar of the command line. Flags become plain request and option values
//! at once; the library never sees a flag.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::{Args, Parser, Subcommand};
use xtask::ui::Verbosity;
use xtask::vm::{AccelChoice, Limits, VmRequest};

/// Tests on many Linux kernels, on this host's own userspace.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
pub struct Xtask {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
pub struct Global {
    /// Work directory: kernels, packages, sources, logs [default: $VMTEST_DIR, else build/vmtest
    /// of the workspace]
    #[arg(
        short,
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub directory: Option<PathBuf>,
    /// Say more: every command that is run
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,
    /// Say nothing but errors
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub quiet: bool,
    /// Install missing host tools first (prints the command), and build what cannot be fetched
    #[arg(long, global = true, help_heading = "Global options")]
    pub setup: bool,
}

impl Global {
    /// How much is said.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Vm(Vm),
    #[command(hide = true)]
    RestoreTerminal,
    #[command(hide = true)]
    Supervise(Supervise),
}

/// Run a command that dies with the process that started this one
#[derive(Args, Debug)]
pub struct Supervise {
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Boot a kernel and run a command in it, with its exit status
///
/// The command runs as root in this directory, on this host's own files, which it cannot change:
/// what it writes is gone when it ends. Standard input, output and error are its own; on a terminal
/// it gets one (Ctrl-A X ends the VM). Without a command, a shell.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask vm -k '6.1.*' -- uname -r
  cargo xtask vm -- python3 -c 'import os; print(os.uname())'
  dmesg-of() { cargo xtask -q vm -k \"$1\" -- dmesg; }
  cargo xtask vm -k 6.1                  a shell

Exit status: the command's, 128+N for signal N; --lost-status if the VM was lost, panicked or got
stuck; 2 or 3 if it could not be started.")]
pub struct Vm {
    /// Kernel: a release, a pattern, a series, or the path of an unpacked kernel [default: the
    /// newest local kernel]
    #[arg(short, long = "kernel", value_name = "REQUEST")]
    pub kernels: Vec<String>,
    #[command(flatten)]
    pub machine: Machine,
    /// Pass a variable on: NAME=VALUE, or NAME for its value here
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub environment: Vec<OsString>,
    /// Give the command a terminal
    #[arg(long, conflicts_with = "no_tty")]
    pub tty: bool,
    /// Give the command pipes
    #[arg(long)]
    pub no_tty: bool,
    /// Print QEMU's command line instead of running it
    #[arg(long)]
    pub dry_run: bool,
    /// Exit status if the VM was lost, panicked or got stuck
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub lost_status: u8,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// KVM or emulation
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Accel {
    /// KVM where a kernel was proved to run on it, else emulation
    Auto,
    /// KVM or an error
    Kvm,
    /// Emulation
    Tcg,
}

/// What a VM is made of.
#[derive(Args, Debug)]
pub struct Machine {
    /// Memory, in MiB or with a unit: 2G
    #[arg(long, value_name = "SIZE", default_value = "2G", value_parser = mebibytes, help_heading = "VM options")]
    pub memory: u32,
    /// Processors [default: 2, or 1 if the host has no more]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "VM options")]
    pub cpus: Option<u32>,
    /// How the processors run
    #[arg(long, value_enum, default_value = "auto", help_heading = "VM options")]
    pub accel: Accel,
    /// One more kernel parameter
    #[arg(
        long,
        value_name = "PARAMETER",
        allow_hyphen_values = true,
        help_heading = "VM options"
    )]
    pub kernel_cmdline: Vec<String>,
    /// One more argument for QEMU; `-Xqemu ARGUMENT` is the same
    #[arg(
        long,
        value_name = "ARGUMENT",
        allow_hyphen_values = true,
        help_heading = "VM options"
    )]
    pub qemu_argument: Vec<OsString>,
    /// Let the guest see what changes on the host meanwhile; slower
    #[arg(long, help_heading = "VM options")]
    pub no_cache: bool,
    /// End the VM after this time, e.g. 20s, 5m [default: none; `test`: 1h]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "VM options")]
    pub timeout: Option<Limit>,
    /// End it when the command has not started after this time [default: 60s, emulated 300s]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "VM options")]
    pub boot_timeout: Option<Limit>,
    /// End it when nothing was printed for this time, `none` for no limit [default: none; `test`:
    /// 10m]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "VM options")]
    pub idle_timeout: Option<Limit>,
}

impl Machine {
    /// The part of a VM's request that these flags decide; the rest is the caller's.
    pub fn limits(&self, defaults: Limits) -> Limits {
        let choose = |flag: Option<Limit>, default| match flag {
            None => default,
            Some(Limit(limit)) => limit,
        };
        Limits {
            // A boot without limit is one of a year.
            boot: choose(self.boot_timeout, defaults.boot).or(self
                .boot_timeout
                .map(|_| Duration::from_secs(365 * 24 * 3600))),
            idle: choose(self.idle_timeout, defaults.idle),
            total: choose(self.timeout, defaults.total),
        }
    }

    /// Copies what these flags say into a request.
    pub fn apply(&self, request: &mut VmRequest, defaults: Limits) {
        request.memory = self.memory;
        request.cpus = self.cpus;
        request
            .kernel_arguments
            .extend(self.kernel_cmdline.iter().cloned());
        request
            .qemu_arguments
            .extend(self.qemu_argument.iter().cloned());
        request.cache = !self.no_cache;
        request.accel = match self.accel {
            Accel::Auto => AccelChoice::Auto,
            Accel::Kvm => AccelChoice::Kvm,
            Accel::Tcg => AccelChoice::Tcg,
        };
        request.limits = self.limits(defaults);
    }
}

/// A time limit; `None` inside is `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(Option<Duration>);

fn duration(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    let end = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("the units are ms, s, m and h".to_owned()),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e9 => {
            Ok(Limit(Some(Duration::from_secs_f64(number * scale))))
        }
        _ => Err("a time is written like 20s, 5m or 1h, or `none`".to_owned()),
    }
}

fn mebibytes(text: &str) -> Result<u32, String> {
    let end = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit {
        "" | "M" | "MiB" => 1,
        "G" | "GiB" => 1024,
        _ => return Err("the units are M and G".to_owned()),
    };
    match number
        .trim()
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
    {
        // Less does not boot with a gigabyte of debugging information at hand.
        Some(size) if size >= 128 => Ok(size),
        Some(_) => Err("a guest needs 128M at least".to_owned()),
        None => Err("a size is written like 2G or 512M".to_owned()),
    }
}

/// The process's arguments, with `-Xqemu ARGUMENT`, as QEMU's users know it from
/// other tools, in a form that clap can read.
pub fn arguments(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut plain = false;
    let translate = |word: OsString| {
        plain |= word == "--";
        if !plain && word == "-Xqemu" {
            "--qemu-argument".into()
        } else {
            word
        }
    };
    words.into_iter().map(translate).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Xtask::command().debug_assert();
    }

    #[test]
    fn times_and_sizes() {
        let time = |text| duration(text).map(|limit| limit.0);
        assert_eq!(time("20s"), Ok(Some(Duration::from_secs(20))));
        assert_eq!(time("1.5m"), Ok(Some(Duration::from_secs(90))));
        assert_eq!(time("7"), Ok(Some(Duration::from_secs(7))));
        assert_eq!(time("none"), Ok(None));
        for bad in ["", "s", "0", "-1s", "1d", "1e99", "nan", "inf"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(mebibytes("2G"), Ok(2048));
        assert_eq!(mebibytes("512"), Ok(512));
        for bad in ["", "G", "1", "2T", "99999999G", "-1G"] {
            assert!(mebibytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn qemu_arguments_keep_their_order_and_stop_at_two_dashes() {
        let words = ["xtask", "vm", "-Xqemu", "-s", "--", "-Xqemu"].map(OsString::from);
        assert_eq!(
            arguments(words),
            ["xtask", "vm", "--qemu-argument", "-s", "--", "-Xqemu"].map(OsString::from)
        );
    }
}
