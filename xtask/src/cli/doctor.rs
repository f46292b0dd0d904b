//! `cargo xtask doctor`: checks this host by doing the real thing. It compiles and runs a program,
//! has pahole make type information, and boots a VM.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::{ffi::OsString, fs, path::Path, time::Duration};

use crate::base::process::{shell, shell_quote};
use crate::base::{disk, env::Env, input, programs, stdout, table, temporary::Temporary};
use crate::cli::kernels::architectures;
use crate::host::setup::{self, HostMachine, Tool};
use crate::kernel::store;
use crate::model::project::{PROFILES, Project};
use crate::model::{arch::Arch, kernel::LocalKernel};
use crate::supply::host_arch;
use crate::vm::accel::{self, Kvm};
use crate::vm::console::log::{self, ConsoleLog};
use crate::vm::{self, Accel, Limits, VmOutcome, VmSink, guest, guest::initramfs};
use anyhow::{Context, Result};
use clap::Args;
use xshell::{Cmd, Shell, cmd};

/// Check this host by doing the real thing
///
/// Looks for host tools, compiles and links a small program, tries KVM, and boots a VM if there is
/// a kernel. Each finding says how to mend it. The exit status is 1 if there are any.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask doctor           What works and what does not
  cargo xtask doctor --setup   Install missing host tools first
  cargo xtask doctor -a all    What works for the kernels of every architecture")]
pub struct DoctorFlags {
    /// Check what the kernels of this architecture need too, or of foreign (all but this host's),
    /// or of all; comma-separated, repeatable
    #[arg(short, long, value_name = "ARCH", value_delimiter = ',')]
    pub arch: Vec<String>,
}

pub fn run(env: &Env, flags: &DoctorFlags, setup: bool) -> Result<u8> {
    let arch = host_arch()?;
    let mut foreign = architectures(&flags.arch)?;
    foreign.retain(|other| *other != arch);
    if setup {
        let mut tools = setup::for_python();
        for arch in foreign.iter().copied().chain([arch]) {
            tools.extend([setup::for_vm(arch), setup::for_build(arch)].concat());
        }
        setup::require(env, &tools, true)?;
    }
    let mut checks = examine(env, arch)?;
    for arch in foreign {
        checks.extend(examine_foreign(arch)?);
    }
    stdout::print(&table(&checks))?;
    Ok(super::findings(any_finding(&checks)))
}

/// What was tried, and what came of it.
type Check = (Cow<'static, str>, Judgement);

/// What was seen: it works, or not.
type Judgement = Result<String, Flaw>;

#[derive(Debug)]
struct Flaw {
    seen: String,
    /// Whether it is needed. If so, `advice` says how to mend it, else what it is good for.
    needed: bool,
    advice: String,
}

fn note(seen: impl Into<String>, advice: impl Into<String>) -> Judgement {
    Err(Flaw {
        seen: seen.into(),
        needed: false,
        advice: advice.into(),
    })
}

fn finding(seen: impl Into<String>, advice: impl Into<String>) -> Judgement {
    let needed = true;
    note(seen, advice).map_err(|flaw| Flaw { needed, ..flaw })
}

fn any_finding(checks: &[Check]) -> bool {
    let is_finding = |(_, judgement): &Check| judgement.as_ref().is_err_and(|flaw| flaw.needed);
    checks.iter().any(is_finding)
}

/// The checks for people, a line each and one more below those that are not good.
fn table(checks: &[Check]) -> String {
    let mut rows = Vec::new();
    for (name, judgement) in checks {
        let (word, seen, advice) = match judgement {
            Ok(seen) => ("ok  ", seen, None),
            Err(flaw) if flaw.needed => ("BAD ", &flaw.seen, Some(&flaw.advice)),
            Err(flaw) => ("note", &flaw.seen, Some(&flaw.advice)),
        };
        rows.push([word, name, seen].map(str::to_owned));
        rows.extend(advice.map(|advice| [String::new(), String::new(), format!("-> {advice}")]));
    }
    table::columns(&rows, &[])
}

/// Bytes that one kernel build needs below the work directory: source archive (0.15 GB), unpacked
/// source (1.6 GB), build tree with debugging information (3 GB), package and unpacked package
/// (0.7 GB), rounded up.
const SPACE: u64 = 8 << 30;

/// Bytes of memory: a VM's 2 GiB, and the linker's 1.5 GiB for a kernel with debugging information
/// rarely at the same time.
const MEMORY: u64 = 3 << 30;

fn gibibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 30;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

fn judge_space(available: u64, work: &Path) -> Judgement {
    let seen = format!("{} free in {}", gibibytes(available), work.display());
    if available >= SPACE {
        return Ok(seen);
    }
    let most = gibibytes(SPACE);
    let advice = "free some, or give another work directory with -d";
    finding(seen, format!("a kernel build takes up to {most}: {advice}"))
}

fn judge_memory(meminfo: &str) -> Judgement {
    let total = meminfo.lines().find_map(|line| {
        let kibibytes = line.strip_prefix("MemTotal:")?.split_whitespace().next()?;
        Some(kibibytes.parse::<u64>().ok()? << 10)
    });
    match total {
        None => note("/proc/meminfo has no MemTotal", "not judged"),
        Some(total) if total >= MEMORY => Ok(gibibytes(total)),
        Some(total) => {
            let advice = "a VM takes 2 GiB, a kernel build as much; have 3 GiB, or give VMs less \
                          with --memory";
            finding(gibibytes(total), advice)
        }
    }
}

/// The kernel's Makefile refuses such a path: "source directory cannot contain spaces or colons".
fn is_unbuildable(work: &Path) -> bool {
    work.to_string_lossy().contains([' ', ':', '\t'])
}

/// The oldest pahole that kernels accept (`Documentation/process/changes.rst`),
/// as its `--version` prints it.
const OLDEST_PAHOLE: (u32, u32) = (1, 16);

fn pahole_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().strip_prefix('v')?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn needed_applets() -> BTreeSet<&'static str> {
    let applets = guest::APPLETS.split(' ');
    let applets = applets.chain(initramfs::APPLETS.split(' '));
    applets.collect()
}

fn missing_applets(list: &str) -> Vec<&'static str> {
    let mut missing = needed_applets();
    missing.retain(|name| !list.lines().any(|line| line.trim() == *name));
    missing.into_iter().collect()
}

fn examine(env: &Env, arch: &'static Arch) -> Result<Vec<Check>> {
    let machine = HostMachine::probe();
    let for_ci = Some("only needed by cargo xtask ci".to_owned());
    let mut needed = vec![
        ("tools to run VMs", setup::for_vm(arch), None),
        ("tools to build kernels", setup::for_build(arch), None),
        ("tools for Python", setup::for_python(), None),
        ("tools for ci", setup::for_ci(), for_ci),
    ];
    for name in PROFILES {
        let tools = setup::for_prepare(&Project::profile(&env.paths.assets, name)?);
        let purpose = format!("only needed to test a checkout of {name} (-C DIR)");
        needed.push(("tools for checkouts", tools, Some(purpose)));
    }
    let mut checks = Vec::<Check>::new();
    for (name, needed, purpose) in needed {
        checks.push((name.into(), tools(&machine, &needed, purpose)));
    }
    let work = env.paths.work();
    let scratch = Temporary::directory(&work.join("doctor"))?;
    let scratch = scratch.path();
    if is_unbuildable(work) {
        let seen = format!("{} contains a blank or a colon", work.display());
        let advice = "no kernel can be built below it; give another work directory with -d";
        checks.push(("work directory".into(), finding(seen, advice)));
    }
    let free = disk::free(work);
    let free = free.with_context(|| format!("cannot find the free space of {}", work.display()))?;
    checks.push(("disk space".into(), judge_space(free, work)));
    let meminfo = input::text(Path::new("/proc/meminfo"), input::SMALL).unwrap_or_default();
    checks.push(("memory".into(), judge_memory(&meminfo)));

    let shell = &shell()?;
    checks.push((
        "programs in the work directory".into(),
        execution(shell, scratch)?,
    ));
    if let Some(gcc) = machine.find("gcc") {
        checks.push(("compiler".into(), compiler(shell, &gcc, scratch)?));
        if let Some(pahole) = machine.find("pahole") {
            checks.push((
                "pahole".into(),
                type_information(shell, &gcc, &pahole, scratch)?,
            ));
        }
    }
    if let Some(python) = machine.find("python3") {
        // `python3` may be a shim that starts another one.
        let found = attempt(cmd!(shell, "{python} -c {PYTHON}"));
        let advice = "the guest's runner needs Python 3.6 or newer: put one first in PATH";
        checks.push((
            "python3".into(),
            found.or_else(|error| finding(error, advice)),
        ));
    }
    let busybox = programs::static_busybox();
    if let Some(busybox) = &busybox {
        checks.push(("BusyBox".into(), applets(shell, busybox)));
    }
    if let Some(qemu) = machine.find(arch.qemu) {
        checks.push(("QEMU".into(), emulator(shell, &qemu, arch)));
        if busybox.is_some() {
            let qemu = vm::Tools::find(arch)?.qemu_text;
            let booted = match store::kernels(&env.paths, arch)?.into_iter().next() {
                Some(kernel) => boot(env, kernel, scratch)?,
                None => note("no kernel yet", "cargo xtask build-kernel 6.1 --setup"),
            };
            checks.push(("VM".into(), booted));
            checks.push((
                "KVM".into(),
                judge_kvm(accel::known(&env.paths, arch, &qemu)),
            ));
        }
    }
    Ok(checks)
}

/// What kernels of another architecture need beyond all that.
fn examine_foreign(arch: &'static Arch) -> Result<Vec<Check>> {
    let (machine, shell, name) = (HostMachine::probe(), shell()?, arch.name);
    let vms = tools(&machine, &setup::for_vm(arch), None);
    let builds = tools(&machine, &setup::for_build(arch), None);
    let mut checks: Vec<Check> = vec![
        (format!("tools to run VMs of {name}").into(), vms),
        (format!("tools to build for {name}").into(), builds),
    ];
    if let Some(qemu) = machine.find(arch.qemu) {
        let emulates = emulator(&shell, &qemu, arch);
        checks.push((format!("QEMU of {name}").into(), emulates));
    }
    Ok(checks)
}

/// `purpose` says what the tools are good for, if not everybody needs them.
fn tools(machine: &HostMachine, tools: &[Tool], purpose: Option<String>) -> Judgement {
    let missing = machine.missing(tools);
    if missing.is_empty() {
        return Ok("all there".to_owned());
    }
    let seen = format!("missing: {}", setup::list(&missing));
    let install = machine.how_to_install(&missing);
    match purpose {
        Some(purpose) => note(seen, format!("{purpose}; {install}")),
        None => finding(seen, format!("{install}, or add --setup")),
    }
}

/// What a short command did: its standard output, or its last words.
fn attempt(command: Cmd<'_>) -> Result<String, String> {
    let output = command.quiet().ignore_status().output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
    Err(last.map_or_else(|| output.status.to_string(), str::to_owned))
}

/// Kernel builds run programs that they have just compiled below the work directory.
fn execution(shell: &Shell, scratch: &Path) -> Result<Judgement> {
    let script = scratch.join("script");
    disk::write(&script, "#!/bin/sh\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let advice = "its file system may be mounted noexec; give another directory with -d";
    Ok(match attempt(cmd!(shell, "{script}")) {
        Ok(_) => Ok("can be run".to_owned()),
        Err(error) => finding(format!("cannot be run: {error}"), advice),
    })
}

/// Has a type that pahole looks for.
const PROBE: &str = "struct doctor_probe { int number; char *text; } probe = { 42, \"answer\" };\n";

/// Fails if the compiler or the library is not what the headers are of.
const MAIN: &str = "#include <libelf.h>
int main(void) { return elf_version(EV_CURRENT) != EV_CURRENT || probe.number != 42; }\n";

fn compiler(shell: &Shell, gcc: &Path, scratch: &Path) -> Result<Judgement> {
    let (source, program) = (scratch.join("probe.c"), scratch.join("probe"));
    disk::write(&source, format!("{PROBE}{MAIN}"))?;
    let version = attempt(cmd!(shell, "{gcc} --version")).unwrap_or_default();
    let version = version.lines().next().unwrap_or_default();
    let built = attempt(cmd!(shell, "{gcc} -g -o {program} {source} -lelf"));
    Ok(
        match built.and_then(|_| attempt(cmd!(shell, "{program}"))) {
            Ok(_) => Ok(format!("{version}; compiles, links and runs")),
            Err(error) => finding(
                format!("{version}; a program with libelf cannot be made and run: {error}"),
                "install the C library's and libelf's headers (--setup does)",
            ),
        },
    )
}

/// `CONFIG_DEBUG_INFO_BTF`: pahole reads what the compiler wrote and adds BTF.
fn type_information(shell: &Shell, gcc: &Path, pahole: &Path, scratch: &Path) -> Result<Judgement> {
    let (source, object) = (scratch.join("type.c"), scratch.join("type.o"));
    disk::write(&source, PROBE)?;
    let show = ["--format_path=btf", "-C", "doctor_probe"];
    let read = || {
        let version = attempt(cmd!(shell, "{pahole} --version"))?;
        if pahole_version(&version).is_none_or(|version| version < OLDEST_PAHOLE) {
            let (major, minor) = OLDEST_PAHOLE;
            return Err(format!(
                "{version:?}; kernels accept v{major}.{minor} and newer"
            ));
        }
        let found = attempt(cmd!(shell, "{gcc} -g -c -o {object} {source}"))
            .and_then(|_| attempt(cmd!(shell, "{pahole} -J {object}")))
            .and_then(|_| attempt(cmd!(shell, "{pahole} {show...} {object}")))
            .map_err(|error| format!("{version}; cannot write BTF: {error}"))?;
        match found.contains("number") && found.contains("text") {
            true => Ok(format!("{version}; writes and reads BTF")),
            false => Err(format!("{version}; the BTF that it wrote is empty")),
        }
    };
    let advice = "install a pahole that is newer, and not older than the compiler";
    Ok(read().or_else(|error| finding(error, advice)))
}

/// Prints which Python this is, or fails with that if it is too old.
const PYTHON: &str = "import sys
found = '%d.%d.%d %s' % (sys.version_info[:3] + (sys.executable,))
print(found) if sys.version_info >= (3, 6) else sys.exit(found)";

fn applets(shell: &Shell, busybox: &Path) -> Judgement {
    let name = busybox.display();
    let list = attempt(cmd!(shell, "{busybox} --list")).or_else(|error| {
        let seen = format!("{name} does not start: {error}");
        finding(seen, "install a BusyBox for this machine")
    })?;
    match missing_applets(&list).as_slice() {
        [] => Ok(format!(
            "{name}: all {} applets of init",
            needed_applets().len()
        )),
        missing => finding(
            format!("{name} lacks {}", missing.join(", ")),
            "install the distribution's complete static BusyBox",
        ),
    }
}

fn emulator(shell: &Shell, qemu: &Path, arch: &Arch) -> Judgement {
    let version = attempt(cmd!(shell, "{qemu} --version"))
        .or_else(|error| finding(format!("does not start: {error}"), "install it again"))?;
    let version = version.lines().next().unwrap_or_default();
    // Some distributions for servers build QEMU without both.
    let devices = attempt(cmd!(shell, "{qemu} -device help")).unwrap_or_default();
    let accelerators = attempt(cmd!(shell, "{qemu} -accel help")).unwrap_or_default();
    let mut lacks = Vec::new();
    let file_system = format!("virtio-9p-{}", arch.bus.name);
    if !devices.contains(&format!("\"{file_system}\"")) {
        lacks.push(format!("VirtFS ({file_system})"));
    }
    if !accelerators.lines().any(|line| line.trim() == "tcg") {
        lacks.push("emulation (tcg)".to_owned());
    }
    match lacks.is_empty() {
        true => Ok(format!("{version}; has VirtFS and emulation")),
        false => finding(
            format!("{version}; lacks {}", lacks.join(", ")),
            "install a QEMU that was built with it",
        ),
    }
}

/// Keeps what the guest prints.
#[derive(Default)]
struct Printed(Vec<u8>);

impl VmSink for Printed {
    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        self.stdout(bytes)
    }
}

/// Opens the file, removes it, and reads what is still open. QEMU's 9p server has
/// to keep the file for that (its early versions did not); that the name is gone is
/// the overlay's work, and the host's file stays.
const UNLINK: &str = "exec 3<\"$1\" && rm \"$1\" && [ ! -e \"$1\" ] && cat <&3";

/// Boots a VM: the proof of KVM, and of the file system.
fn boot(env: &Env, kernel: LocalKernel, scratch: &Path) -> Result<Judgement> {
    let file = scratch.join("open-file");
    disk::write(&file, "still here\n")?;
    let name = kernel.release.to_string();
    let console_log = log::path(&env.paths)?;
    let log = ConsoleLog::create(&console_log)?;
    let words = ["/bin/sh", "-c", UNLINK, "sh"].map(OsString::from);
    let machine = vm::Vm {
        command: words.into_iter().chain([file.clone().into()]).collect(),
        directory: scratch.to_owned(),
        memory: 512,
        cpus: Some(1),
        limits: Limits {
            total: Some(Duration::from_secs(400)),
            ..Limits::default()
        },
        ..vm::Vm::new(kernel, &console_log)
    };
    let task = env.ui.task(format!("booting {name}"));
    let mut printed = Printed::default();
    let run = vm::run(env, &machine, &mut printed)?;
    drop(task);
    let kept = input::bytes(&file, input::SMALL).is_ok_and(|text| text == b"still here\n");
    let how = match run.accel {
        Accel::Kvm => "on KVM",
        Accel::Tcg => "emulated",
    };
    let words = String::from_utf8_lossy(&printed.0).trim().to_owned();
    Ok(match &run.main.outcome {
        VmOutcome::Exited(0) if words == "still here" && kept => {
            log.remove();
            let time = vm::seconds(run.main.total);
            let proof = "a removed open file can be read, and the host's stays";
            Ok(format!("{name}, {how}, in {time}; {proof}"))
        }
        VmOutcome::Exited(_) if !kept => finding(
            format!("{name}: the guest changed a file of the host"),
            "do not run tests here; report this with QEMU's version",
        ),
        VmOutcome::Exited(status) => finding(
            format!("{name}: a removed open file cannot be read (status {status}): {words:?}"),
            "install a newer QEMU",
        ),
        other => {
            let (log, kernel) = (console_log.display(), shell_quote(&name));
            let command = format!("cargo xtask vm -k {kernel} --accel tcg -- true");
            let seen = format!("{name}, {how}: {other}");
            finding(seen, format!("see {log}, and try: {command}"))
        }
    })
}

/// Emulation does the same, only slower, so a missing KVM is no finding.
fn judge_kvm(kvm: Kvm) -> Judgement {
    match kvm {
        Kvm::Works => Ok("a kernel has run on it since this host was booted".to_owned()),
        Kvm::Unproved => note(
            "/dev/kvm can be opened, but no kernel has run on it yet",
            "the first VM is the proof",
        ),
        Kvm::Fails(why) => note(why, "VMs are emulated, which is several times slower"),
        Kvm::Foreign(arch) => note(format!("not for {arch}"), "its VMs are emulated"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_table_says_how_to_mend() {
        let checks = [
            ("compiler", Ok("gcc 12; runs".to_owned())),
            ("KVM", note("there is no /dev/kvm", "VMs are emulated")),
            ("disk space", finding("1.0 GiB free", "free some")),
        ];
        let checks = checks.map(|(name, judgement)| (name.into(), judgement));
        assert!(any_finding(&checks));
        assert!(!any_finding(&checks[..2]));
        expect![[r#"
            ok    compiler    gcc 12; runs
            note  KVM         there is no /dev/kvm
                              -> VMs are emulated
            BAD   disk space  1.0 GiB free
                              -> free some
        "#]]
        .assert_eq(&table(&checks));
    }

    #[test]
    fn space_and_memory_are_judged_by_what_a_build_needs() {
        let space = |bytes| judge_space(bytes, Path::new("/w")).is_ok();
        assert!(space(SPACE) && !space(SPACE - 1));
        assert!(judge_memory("MemTotal:       24000000 kB\nMemFree: 1 kB\n").is_ok());
        for (meminfo, needed) in [
            ("MemFree: 24000000 kB\nMemTotal:        1000000 kB\n", true),
            ("MemTotal: lots\n", false),
        ] {
            assert_eq!(judge_memory(meminfo).unwrap_err().needed, needed);
        }
        assert_eq!(gibibytes(1 << 29), "0.5 GiB");
    }

    #[test]
    fn paths_that_the_kernels_makefile_refuses_are_found() {
        for (path, bad) in [("/a/b", false), ("/a b", true), ("/a:b", true)] {
            assert_eq!(is_unbuildable(Path::new(path)), bad, "{path}");
        }
    }

    #[test]
    fn pahole_versions_are_compared_as_numbers() {
        assert_eq!(pahole_version("v1.24\n"), Some((1, 24)));
        assert_eq!(pahole_version("v1.9"), Some((1, 9)));
        assert!(pahole_version("v1.9") < Some(OLDEST_PAHOLE));
        assert_eq!(pahole_version("1.24"), None);
        assert_eq!(pahole_version(""), None);
    }

    #[test]
    fn applets_are_whole_words() {
        let all = Vec::from_iter(needed_applets()).join("\n");
        assert_eq!(missing_applets(&all), Vec::<&str>::new());
        let without = all.replace("pivot_root\n", "pivot\n");
        assert_eq!(missing_applets(&without), ["pivot_root"]);
    }
}
