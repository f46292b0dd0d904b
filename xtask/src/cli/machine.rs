//! What a VM is made of, as every command that boots one takes it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::{error::Failure, temporary};
use crate::model::project::MEMORY_MIN;
use crate::vm::scratch_disk::{self, Disk, DiskArgument, Purpose};
use crate::vm::share::{self, Share, ShareArgument};
use crate::vm::{AccelChoice, Limits, Vm};
use crate::vm::{debugger::Endpoint, device::Device};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

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
#[derive(Args, Clone, Debug)]
pub struct Machine {
    /// Give the guest this much memory, in MiB or with a unit [default: 2G; `test`: what the
    /// project says]
    #[arg(long, value_name = "SIZE", value_parser = mebibytes, help_heading = "VM options")]
    pub memory: Option<u32>,
    /// Give the guest this many processors [default: 2, or 1 if more are of no use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "VM options")]
    pub cpus: Option<u32>,
    /// Run the processors with KVM or emulated
    #[arg(long, value_enum, default_value = "auto", help_heading = "VM options")]
    pub accel: Accel,
    /// Add a kernel parameter; repeatable
    #[arg(
        long,
        value_name = "PARAMETER",
        allow_hyphen_values = true,
        help_heading = "VM options"
    )]
    pub kernel_cmdline: Vec<String>,
    /// Add an argument for QEMU; `-Xqemu ARGUMENT` is the same; repeatable
    #[arg(
        long,
        value_name = "ARGUMENT",
        allow_hyphen_values = true,
        help_heading = "VM options"
    )]
    pub qemu_argument: Vec<OsString>,
    /// Let the guest see changes on the host while it runs; slower
    #[arg(long, help_heading = "VM options")]
    pub no_cache: bool,
    /// End the VM after this time, such as 20s or 1h30m [default: none; `test`: 1h]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "VM options")]
    pub timeout: Option<Limit>,
    /// End the VM if the command has not started after this time [default: 60s, emulated 300s]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "VM options")]
    pub boot_timeout: Option<Limit>,
    /// End the VM if nothing was printed for this time; `none` is no limit [default: none; `test`:
    /// 10m]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "VM options")]
    pub idle_timeout: Option<Limit>,
    /// Show the guest the present state of a directory of this host, read-only, at the same path or
    /// at the path GUEST; repeatable
    #[arg(long, value_name = "DIR[:GUEST]", help_heading = "VM options",
          value_parser = OsStringValueParser::new().map(|word| ShareArgument::parse(&word)))]
    pub share: Vec<ShareArgument>,
    /// Share a directory as --share does, and let the guest change its files on the host;
    /// repeatable
    #[arg(long, value_name = "DIR[:GUEST]", help_heading = "VM options",
          value_parser = OsStringValueParser::new().map(|word| ShareArgument::parse(&word)))]
    pub share_rw: Vec<ShareArgument>,
    /// Give the guest a temporary disk: with PATH an empty ext4 file system there, which unlike the
    /// guest's root can be an upper layer of overlayfs; without PATH a device that VMTEST_DISK
    /// names (VMTEST_DISK2 the next); repeatable
    #[arg(long, value_name = "SIZE[:PATH]", help_heading = "VM options",
          value_parser = OsStringValueParser::new().try_map(|word| DiskArgument::parse(&word)))]
    pub disk: Vec<DiskArgument>,
    /// Give the guest a network, in which it can reach this host (as 10.0.2.2) and every host that
    /// this one can reach
    #[arg(long, help_heading = "VM options")]
    pub net: bool,
    /// Wait for a debugger before the kernel's first instruction, at a socket or at this port of
    /// 127.0.0.1, and print gdb's command line; only time limits that are given hold
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true,
          default_missing_value = "socket", value_parser = endpoint, help_heading = "VM options")]
    pub gdb: Option<Endpoint>,
    /// Fetch debugging information for a kernel of Debian, once: about 1 GB to download, 5 to 8 GB
    /// on disk; with `-k host`, use what is installed
    #[arg(long, help_heading = "VM options")]
    pub debuginfo: bool,
    /// Write the guest's memory to a file for drgn and crash if the guest panics, gets stuck or
    /// ends by itself
    #[arg(long, help_heading = "VM options")]
    pub dump: bool,
    /// Keep core dumps of the guest's programs in this directory of the host, which is made if it
    /// does not exist
    #[arg(long, value_name = "DIR", help_heading = "VM options")]
    pub keep_cores: Option<PathBuf>,
}

/// What the flags name that was looked for before a kernel was fetched.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    pub shares: &'a [Share],
    pub disks: &'a [Disk],
    /// The directory of core dumps.
    pub cores: Option<&'a Path>,
}

impl Machine {
    /// What is shared, which must be there.
    pub fn shares(&self) -> Result<Vec<Share>, Failure> {
        let some = |arguments: &[ShareArgument], writable| {
            let shares = arguments.iter().map(|share| share.resolve(writable));
            shares.collect::<Result<Vec<_>, _>>()
        };
        let all = [some(&self.share, false)?, some(&self.share_rw, true)?];
        share::arrange(all.concat())
    }

    /// Makes the directory of `--keep-cores`.
    pub fn cores(&self) -> Result<Option<PathBuf>, Failure> {
        let Some(directory) = &self.keep_cores else {
            return Ok(None);
        };
        let made = std::fs::create_dir_all(directory).and_then(|()| directory.canonicalize());
        made.map(Some).map_err(|error| {
            let place = directory.display();
            Failure::usage(format!("cannot keep core dumps in {place}: {error}"))
        })
    }

    /// Scratch disks, for which there must be room.
    pub fn disks(&self) -> Result<Vec<Disk>, Failure> {
        let directory = temporary::host_folder();
        let directory = directory.map_err(|error| Failure::setup(format!("{error:#}")))?;
        let disks = scratch_disk::resolve(&self.disk, &directory)?;
        let place = |disk: &Disk| match &disk.purpose {
            Purpose::Mounted(place) => Some(place.clone()),
            Purpose::Device(_) => None,
        };
        for share in self.shares()? {
            if disks
                .iter()
                .filter_map(place)
                .any(|place| place == share.guest)
            {
                let place = share.guest.display();
                return Err(Failure::usage(format!(
                    "both a share and a disk are to be at {place}"
                ))
                .hint("name another place in the guest"));
            }
        }
        Ok(disks)
    }

    /// The part of a VM's request that these flags decide; the rest is the caller's.
    pub fn limits(&self, defaults: Limits) -> Limits {
        // Whoever debugs has the time that it takes.
        let defaults = match self.gdb {
            Some(_) => Limits {
                boot: Some(ENDLESS),
                idle: None,
                total: None,
            },
            None => defaults,
        };
        let choose = |flag: Option<Limit>, default| match flag {
            None => default,
            Some(Limit(limit)) => limit,
        };
        Limits {
            boot: choose(self.boot_timeout, defaults.boot).or(self.boot_timeout.map(|_| ENDLESS)),
            idle: choose(self.idle_timeout, defaults.idle),
            total: choose(self.timeout, defaults.total),
        }
    }

    /// How the processors are to run.
    pub fn accel(&self) -> AccelChoice {
        match self.accel {
            Accel::Auto => AccelChoice::Auto,
            Accel::Kvm => AccelChoice::Kvm,
            Accel::Tcg => AccelChoice::Tcg,
        }
    }

    /// Copies what these flags say into a request.
    pub fn apply(&self, request: &mut Vm, given: Given<'_>, defaults: Limits) {
        request.memory = self.memory.unwrap_or(request.memory);
        request.cpus = self.cpus;
        request
            .kernel_arguments
            .extend(self.kernel_cmdline.iter().cloned());
        request
            .qemu_arguments
            .extend(self.qemu_argument.iter().cloned());
        request.cache = !self.no_cache;
        let devices = &mut request.devices;
        devices.extend(given.shares.iter().cloned().map(Device::Share));
        devices.extend(
            given
                .cores
                .map(|directory| Device::Cores(directory.to_owned())),
        );
        devices.extend(given.disks.iter().cloned().map(Device::Disk));
        devices.extend(self.net.then_some(Device::Network));
        devices.extend(self.gdb.map(Device::Debugger));
        // Who names a link says so to the command, too.
        let names = self.share.iter().chain(&self.share_rw);
        let names = names.filter(|share| share.guest.is_none());
        let names = names.filter_map(|share| std::path::absolute(&share.host).ok());
        request.keep.extend(names);
        request.accel = self.accel();
        request.dump = self.dump.then(|| dump_beside(&request.console_log));
        request.limits = self.limits(defaults);
    }
}

/// Where the memory goes of the guest whose console has this log.
fn dump_beside(console: &Path) -> PathBuf {
    let name = console.file_stem().unwrap_or_default().to_string_lossy();
    console.with_file_name(name.replace("console", "dump") + ".kdump")
}

/// A boot without limit is one of a year.
const ENDLESS: Duration = Duration::from_secs(365 * 24 * 3600);

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

fn duration(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    let (mut total, mut rest) = (0.0, text.trim());
    while total == 0.0 || !rest.is_empty() {
        let unit = rest.find(|c: char| c.is_ascii_alphabetic());
        let (number, behind) = rest.split_at(unit.unwrap_or(rest.len()));
        let end = behind.find(|c: char| !c.is_ascii_alphabetic());
        let (unit, behind) = behind.split_at(end.unwrap_or(behind.len()));
        let scale = match unit {
            // Seconds alone; `1h30` could be anything.
            "" if rest.len() == text.trim().len() => 1.0,
            "s" => 1.0,
            "ms" => 0.001,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err("the units are ms, s, m and h".to_owned()),
        };
        match number.trim().parse::<f64>() {
            Ok(number) if number > 0.0 && number < 1e9 => total += number * scale,
            _ => return Err("a time is written like 20s, 5m or 1h30m, or `none`".to_owned()),
        }
        rest = behind.trim_start();
    }
    Ok(Limit(Some(Duration::from_secs_f64(total))))
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
            machine: Machine,
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
        assert_eq!(time("1m 0.5s"), Ok(Some(Duration::from_millis(60_500))));
        let bad = [
            "", "s", "0", "-1s", "1d", "1e99", "nan", "inf", "1h30", "1h-3m", "30 5m", "1hm",
            "1h0m",
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
