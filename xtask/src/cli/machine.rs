//! What a VM is made of, as every command that boots one takes it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::env::Env;
use crate::base::{environment::is_exportable, error::Failure, secrets, temporary};
use crate::model::{arch::Arch, project::MEMORY_MIN};
use crate::root::{self, RootChoice};
use crate::vm::scratch_disk::{self, DiskArgument, Purpose};
use crate::vm::share::{self, ShareArgument};
use crate::vm::{AccelChoice, Limits, Vm, debugger::Endpoint, device::Device};
use anyhow::Result;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use jiff::SignedDuration;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "VM options")]
pub struct MachineFlags {
    /// Give the guest this much memory, in MiB or with a unit [default: 2G, or the project's]
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    pub memory: Option<u32>,
    /// Give the guest this many processors [default: 2, or 1 if more are of no use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub cpus: Option<u32>,
    /// Run the processors with KVM or emulated
    #[arg(long, value_enum, default_value = "auto")]
    pub accel: AccelChoice,
    /// Add a kernel parameter; repeatable
    #[arg(long, value_name = "PARAMETER", allow_hyphen_values = true)]
    pub kernel_cmdline: Vec<String>,
    /// Add an argument for QEMU; `-Xqemu ARGUMENT` is the same; repeatable
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub qemu_argument: Vec<OsString>,
    /// Set a variable in the guest: NAME=VALUE, or NAME for its value on this host if it has one
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub environment: Vec<OsString>,
    /// Let the guest see changes on the host while it runs; slower
    #[arg(long)]
    pub no_cache: bool,
    /// End the VM after this time, such as 20s or 1h30m [default: none; `test`: 1h]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Limit>,
    /// End the VM if the command has not started after this time [default: 60s, emulated 300s,
    /// more for an architecture that is not the host's]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub boot_timeout: Option<Limit>,
    /// End the VM if nothing was printed for this time [default: none (no limit); `test`: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub idle_timeout: Option<Limit>,
    /// Show the guest the present state of a directory of this host, read-only, at the same path or
    /// at the path GUEST; repeatable
    #[arg(long, value_name = "DIR[:GUEST]", value_parser = share_parser())]
    pub share: Vec<ShareArgument>,
    /// Share a directory as --share does, and let the guest change it on the host; repeatable
    #[arg(long, value_name = "DIR[:GUEST]", value_parser = share_parser())]
    pub share_rw: Vec<ShareArgument>,
    /// Give the guest a temporary disk: with PATH an empty ext4 file system there, which unlike the
    /// guest's root can be an upper layer of overlayfs; without PATH a device that VMTEST_DISK
    /// names (VMTEST_DISK2 the next); repeatable
    #[arg(long, value_name = "SIZE[:PATH]",
          value_parser = OsStringValueParser::new().try_map(|word| DiskArgument::parse(&word)))]
    pub disk: Vec<DiskArgument>,
    /// Give the guest a network with this host (as 10.0.2.2) and every host that this one reaches
    #[arg(long)]
    pub net: bool,
    /// Wait for a debugger before the kernel's first instruction, at a socket or at this port of
    /// 127.0.0.1, and print gdb's command line; only time limits that are given hold
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true,
          default_missing_value = "socket", value_parser = endpoint)]
    pub gdb: Option<Endpoint>,
    /// Dump the memory of a guest that panics, gets stuck or ends by itself, for drgn and crash
    #[arg(long)]
    pub dump: bool,
    /// Give the guest another userspace than this host's: `debian`, `debian:SUITE` or a directory; it
    /// sees of this host the current directory (or the project) and what --share names [default:
    /// this host's; `debian` for another architecture]
    #[arg(long, value_name = "ROOT")]
    pub root: Option<RootChoice>,
    /// Keep core dumps of the guest's programs in this directory of the host, made if missing
    #[arg(long, value_name = "DIR")]
    pub keep_cores: Option<PathBuf>,
}

impl MachineFlags {
    pub fn environment(&self) -> Result<Vec<(OsString, OsString)>> {
        let mut pairs = Vec::new();
        for word in &self.environment {
            let bytes = word.as_bytes();
            let (name, value) = match bytes.iter().position(|&byte| byte == b'=') {
                Some(at) => (
                    &bytes[..at],
                    Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned()),
                ),
                None => (bytes, secrets::variable(word)),
            };
            let name = OsStr::from_bytes(name);
            if !is_exportable(name) {
                let message = format!("--env: {name:?} is not the name of a variable");
                let hint = "letters, digits and _, no digit first: what a shell can export";
                return Err(Failure::usage(message).hint(hint).into());
            }
            // One that is not set here is not set there.
            pairs.extend(value.map(|value| (name.to_owned(), value)));
        }
        Ok(pairs)
    }

    /// What the guest gets besides its root. The directories must be there, and room for the disks.
    pub fn devices(&self) -> Result<Vec<Device>> {
        let shares = self.share.iter().map(|share| share.resolve(false));
        let shares = shares.chain(self.share_rw.iter().map(|share| share.resolve(true)));
        let shares = share::arrange(shares.collect::<Result<_, _>>()?)?;
        let disks = scratch_disk::resolve(&self.disk, &temporary::host_folder()?)?;
        for share in &shares {
            let place = Purpose::Mounted(share.guest.clone());
            if disks.iter().any(|disk| disk.purpose == place) {
                let place = share.guest.display();
                let message = format!("both a share and a disk are to be at {place}");
                let hint = "name another place in the guest";
                return Err(Failure::usage(message).hint(hint).into());
            }
        }
        let mut devices = Vec::from_iter(shares.into_iter().map(Device::Share));
        if let Some(directory) = &self.keep_cores {
            let made = std::fs::create_dir_all(directory).and_then(|()| directory.canonicalize());
            devices.push(Device::Cores(made.map_err(|error| {
                let place = directory.display();
                Failure::usage(format!("cannot keep core dumps in {place}: {error}"))
            })?));
        }
        devices.extend(disks.into_iter().map(Device::Disk));
        devices.extend(self.net.then_some(Device::Network));
        devices.extend(self.gdb.map(Device::Debugger));
        Ok(devices)
    }

    fn limits(&self, defaults: Limits) -> Limits {
        // Whoever debugs has the time that it takes.
        let defaults = match self.gdb {
            Some(_) => Limits {
                boot: Some(ENDLESS),
                idle: None,
                total: None,
            },
            None => defaults,
        };
        let choose = |flag: Option<Limit>, default| flag.map_or(default, |Limit(limit)| limit);
        Limits {
            boot: choose(self.boot_timeout, defaults.boot).or(self.boot_timeout.map(|_| ENDLESS)),
            idle: choose(self.idle_timeout, defaults.idle),
            total: choose(self.timeout, defaults.total),
        }
    }

    /// The directory of the guest's userspace.
    pub fn root(&self, env: &Env, arch: &'static Arch) -> Result<PathBuf> {
        let choice = self.root.clone();
        let choice = choice.unwrap_or_else(|| RootChoice::default_for(arch));
        Ok(root::obtain(env, &choice, arch, &[])?.path)
    }

    /// Adds what these flags say, with the `devices` that they name.
    pub fn apply(&self, vm: &mut Vm, devices: &[Device], defaults: Limits) {
        vm.memory = self.memory.unwrap_or(vm.memory);
        vm.cpus = self.cpus;
        vm.kernel_arguments.extend_from_slice(&self.kernel_cmdline);
        vm.qemu_arguments.extend_from_slice(&self.qemu_argument);
        vm.cache = !self.no_cache;
        vm.devices.extend_from_slice(devices);
        // Who names a link says so to the command, too.
        let links = self.share.iter().chain(&self.share_rw);
        let links = links.filter(|share| share.guest.is_none());
        let links = links.filter_map(|share| std::path::absolute(&share.host).ok());
        vm.keep.extend(links);
        vm.accel = self.accel;
        vm.dump = self.dump.then(|| dump_beside(&vm.console_log));
        vm.limits = self.limits(defaults);
    }
}

/// Where the memory goes of the guest whose console has this log.
fn dump_beside(console: &Path) -> PathBuf {
    let name = console.file_stem().unwrap_or_default().to_string_lossy();
    console.with_file_name(name.replace("console", "dump") + ".kdump")
}

/// A boot without limit is one of a year.
const ENDLESS: Duration = Duration::from_secs(365 * 24 * 3600);

fn share_parser() -> impl TypedValueParser<Value = ShareArgument> {
    OsStringValueParser::new().map(|word| ShareArgument::parse(&word))
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    match (text, text.parse()) {
        ("socket", _) => Ok(Endpoint::Socket),
        (_, Ok(port @ 1..)) => Ok(Endpoint::Port(port)),
        _ => Err("a port is a number from 1 to 65535".to_owned()),
    }
}

/// A time limit; `None` inside is `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(Option<Duration>);

/// A number alone is seconds.
fn duration(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    let seconds = text.parse().map(SignedDuration::from_secs);
    match seconds.or_else(|_| text.parse::<SignedDuration>()) {
        // More could not be added to a time.
        Ok(time) if time.is_positive() && time.as_secs() < 1_000_000_000 => {
            Ok(Limit(Some(time.unsigned_abs())))
        }
        _ => Err("a time is written like 20s, 5m or 1h30m, or `none`".to_owned()),
    }
}

fn mebibytes(text: &str) -> Result<u32, String> {
    let short = text.strip_suffix("iB").unwrap_or(text);
    let (number, scale) = match (short.strip_suffix('G'), short.strip_suffix('M')) {
        (Some(number), _) => (number, 1024),
        (_, Some(number)) => (number, 1),
        _ => (text, 1),
    };
    let number = number.trim().parse::<u32>().ok();
    match number.and_then(|number| number.checked_mul(scale)) {
        Some(size) if size >= MEMORY_MIN => Ok(size),
        Some(_) => Err(format!("a guest needs {MEMORY_MIN}M at least")),
        None => Err("a size is written like 2G or 512M".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_beside_its_console() {
        for (console, dump) in [
            ("/w/6.1.1.x86_64-console.log", "/w/6.1.1.x86_64-dump.kdump"),
            ("/w/console-7.log", "/w/dump-7.kdump"),
        ] {
            assert_eq!(dump_beside(Path::new(console)), Path::new(dump));
        }
    }

    #[test]
    fn a_debugger_takes_the_limits_away_that_nobody_gave() {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            machine: MachineFlags,
        }
        let limits = |words: &str| {
            let alone = <Alone as clap::Parser>::try_parse_from(words.split(' '));
            let second = Some(Duration::from_secs(1));
            alone.ok().unwrap().machine.limits(Limits {
                boot: None,
                idle: second,
                total: second,
            })
        };
        let none = Limits {
            boot: Some(ENDLESS),
            idle: None,
            total: None,
        };
        assert_eq!(limits("vm").boot, None);
        assert_eq!(limits("vm --gdb"), none);
        assert_eq!(limits("vm --boot-timeout none --gdb=1234"), none);
        let total = Some(Duration::from_secs(7));
        assert_eq!(limits("vm --gdb --timeout 7s"), Limits { total, ..none });
    }

    #[test]
    fn debuggers_come_through_a_socket_or_a_port() {
        assert_eq!(endpoint("socket"), Ok(Endpoint::Socket));
        assert_eq!(endpoint("1234"), Ok(Endpoint::Port(1234)));
        for bad in ["", "0", "65536", "-1", "tcp::1"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_and_sizes() {
        let time = |text| duration(text).map(|limit| limit.0);
        assert_eq!(time("20s"), Ok(Some(Duration::from_secs(20))));
        assert_eq!(time("1.5m"), Ok(Some(Duration::from_secs(90))));
        assert_eq!(time("7"), Ok(Some(Duration::from_secs(7))));
        assert_eq!(time("none"), Ok(None));
        assert_eq!(time("1h30m"), Ok(Some(Duration::from_secs(5400))));
        assert_eq!(time("1h0m"), Ok(Some(Duration::from_secs(3600))));
        assert_eq!(time("1m 0.5s"), Ok(Some(Duration::from_millis(60_500))));
        let bad = [
            "",
            "s",
            "0",
            "-1s",
            "1d",
            "1e99",
            "nan",
            "inf",
            "1h30",
            "1h-3m",
            "30 5m",
            "1hm",
            "9999999999h",
        ];
        for bad in bad {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(mebibytes("2G"), Ok(2048));
        assert_eq!(mebibytes("512"), Ok(512));
        for bad in ["", "G", "1", "2T", "99999999G", "-1G"] {
            assert!(mebibytes(bad).is_err(), "{bad}");
        }
    }
}
