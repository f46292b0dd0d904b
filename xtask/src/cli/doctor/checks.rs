//! Checks this host by doing the real thing: compiles and runs a program, has
//! pahole make type information, boots a VM. Each finding says how it is mended.
//!
//! Judging is pure; [`examine`] does the things and puts the judgements together.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use xshell::cmd;

use crate::base::{
    disk, env::Env, input, process::shell_quote, programs, table, temporary::Temporary,
};
use crate::host::setup::{self, Machine, Tool};

use crate::model::project::{PROFILES, Project};
use crate::model::{arch::Arch, kernel::LocalKernel};
use crate::vm::accel::{self, Kvm};
use crate::vm::console::log::{self, ConsoleLog};
use crate::vm::{self, Accel, Limits, VmOutcome, VmSink};
use crate::vm::{guest, guest::initramfs};

/// What a check says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Good,
    /// It does not work, but nothing that is asked for here needs it; what it is
    /// good for.
    Note(String),
    /// It does not work; how to mend it.
    Finding(String),
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was tried.
    pub name: &'static str,
    /// What was seen.
    pub seen: String,
    /// What that means.
    pub verdict: Verdict,
}

impl Check {
    fn good(name: &'static str, seen: impl Into<String>) -> Self {
        Self {
            name,
            seen: seen.into(),
            verdict: Verdict::Good,
        }
    }

    fn note(name: &'static str, seen: impl Into<String>, what_for: impl Into<String>) -> Self {
        Self {
            name,
            seen: seen.into(),
            verdict: Verdict::Note(what_for.into()),
        }
    }

    fn finding(name: &'static str, seen: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            name,
            seen: seen.into(),
            verdict: Verdict::Finding(mend.into()),
        }
    }
}

/// Whether there is a finding.
pub fn any_finding(checks: &[Check]) -> bool {
    checks
        .iter()
        .any(|check| matches!(check.verdict, Verdict::Finding(_)))
}

/// The checks for people, a line each and one more below those that are not good.
pub fn table(checks: &[Check]) -> String {
    let mut rows = Vec::new();
    for check in checks {
        let (word, more) = match &check.verdict {
            Verdict::Good => ("ok  ", None),
            Verdict::Note(what_for) => ("note", Some(what_for)),
            Verdict::Finding(mend) => ("BAD ", Some(mend)),
        };
        rows.push([word.to_owned(), check.name.to_owned(), check.seen.clone()]);
        rows.extend(more.map(|more| [String::new(), String::new(), format!("-> {more}")]));
    }
    table::columns(&rows, &[])
}

/// Bytes that one kernel build needs below the work directory: source archive
/// (0.15 GB), unpacked source (1.6 GB), build tree with debugging information
/// (3 GB), package and unpacked package (0.7 GB), rounded up.
const SPACE: u64 = 8 << 30;

/// Bytes of memory: a VM's 2 GiB, and the linker's 1.5 GiB for a kernel with
/// debugging information rarely at the same time.
const MEMORY: u64 = 3 << 30;

fn gibibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 30;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

fn judge_space(available: u64, work: &Path) -> Check {
    let seen = format!("{} free in {}", gibibytes(available), work.display());
    if available >= SPACE {
        Check::good("disk space", seen)
    } else {
        let mend = format!(
            "a kernel build takes up to {}: free some, or give another work directory with -d",
            gibibytes(SPACE)
        );
        Check::finding("disk space", seen, mend)
    }
}

fn judge_memory(meminfo: &str) -> Check {
    let kilobytes = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let Some(kilobytes) = kilobytes else {
        return Check::note("memory", "/proc/meminfo has no MemTotal", "not judged");
    };
    let total = kilobytes << 10;
    if total >= MEMORY {
        Check::good("memory", gibibytes(total))
    } else {
        let mend = format!(
            "a VM takes 2 GiB, a kernel build as much; have {}, or give VMs less with --memory",
            gibibytes(MEMORY)
        );
        Check::finding("memory", gibibytes(total), mend)
    }
}

/// The kernel's Makefile refuses such a path: "source directory cannot contain
/// spaces or colons".
fn judge_path(work: &Path) -> Option<Check> {
    let path = work.to_string_lossy();
    path.contains([' ', ':', '\t']).then(|| {
        Check::finding(
            "work directory",
            format!("{path} contains a blank or a colon"),
            "no kernel can be built below it; give another work directory with -d",
        )
    })
}

/// The oldest pahole that kernels accept (`Documentation/process/changes.rst`),
/// as its `--version` prints it.
const OLDEST_PAHOLE: (u32, u32) = (1, 16);

fn pahole_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().strip_prefix('v')?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn needed_applets() -> impl Iterator<Item = &'static str> {
    // Some are in both.
    let more = initramfs::APPLETS.iter();
    let more = more.filter(|name| !guest::APPLETS.contains(name));
    guest::APPLETS.iter().chain(more).copied()
}

fn missing_applets(list: &str) -> Vec<&'static str> {
    let applets = list.lines().map(str::trim).collect::<Vec<_>>();
    let has = |name: &&str| applets.contains(name);
    needed_applets().filter(|name| !has(name)).collect()
}

/// Tries everything. `kernel` is one that can be booted, if there is any.
pub fn examine(env: &Env, arch: &'static Arch, kernel: Option<LocalKernel>) -> Result<Vec<Check>> {
    let machine = Machine::probe();
    let mut checks = vec![
        tools(&machine, "tools to run VMs", &setup::for_vm(arch), None),
        tools(
            &machine,
            "tools to build kernels",
            &setup::for_build(),
            None,
        ),
        tools(&machine, "tools for Python", &setup::for_python(), None),
        tools(
            &machine,
            "tools for ci",
            &setup::for_ci(),
            Some("only needed by cargo xtask ci"),
        ),
    ];
    for name in PROFILES {
        let project = Project::profile(&env.paths.assets, name)?;
        checks.push(tools(
            &machine,
            "tools for checkouts",
            &setup::for_prepare(&project),
            Some(&format!(
                "only needed to test a checkout of {name} (-C DIR)"
            )),
        ));
    }
    let scratch = Temporary::directory(&env.paths.work().join("doctor"))?;
    checks.extend(judge_path(env.paths.work()));
    checks.push(space(env.paths.work())?);
    checks.push(judge_memory(
        &input::text(Path::new("/proc/meminfo"), input::SMALL).unwrap_or_default(),
    ));
    checks.push(execution(scratch.path())?);
    if let Some(gcc) = machine.find("gcc") {
        checks.push(compiler(&gcc, scratch.path())?);
        if let Some(pahole) = machine.find("pahole") {
            checks.push(type_information(&gcc, &pahole, scratch.path())?);
        }
    }
    if let Some(python) = machine.find("python3") {
        checks.push(python_version(&python)?);
    }
    if let Some(busybox) = programs::static_busybox() {
        checks.push(applets(&busybox)?);
    }
    if let Some(qemu) = machine.find(arch.qemu) {
        checks.push(emulator(&qemu, arch)?);
        if programs::static_busybox().is_some() {
            checks.extend(boot(env, arch, kernel, scratch.path())?);
        }
    }
    Ok(checks)
}

fn tools(machine: &Machine, name: &'static str, tools: &[Tool], note: Option<&str>) -> Check {
    let missing = machine.missing(tools);
    if missing.is_empty() {
        return Check::good(name, "all there");
    }
    let seen = format!("missing: {}", setup::list(&missing));
    let mend = machine.how_to_install(&missing);
    match note {
        Some(note) => Check::note(name, seen, format!("{note}; {mend}")),
        None => Check::finding(name, seen, format!("{mend}, or add --setup")),
    }
}

fn space(work: &Path) -> Result<Check> {
    let status = rustix::fs::statvfs(work)
        .with_context(|| format!("cannot ask for the free space of {}", work.display()))?;
    Ok(judge_space(
        status.f_bavail.saturating_mul(status.f_frsize),
        work,
    ))
}

/// What a short command did: its standard output, or its last words.
fn attempt(command: xshell::Cmd<'_>) -> Result<String, String> {
    let output = command.quiet().ignore_status().output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let last = stderr.lines().rfind(|line| !line.trim().is_empty());
            Err(last.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Kernel builds run programs that they have just compiled below the work directory.
fn execution(scratch: &Path) -> Result<Check> {
    const NAME: &str = "programs in the work directory";
    let script = scratch.join("script");
    disk::write(&script, "#!/bin/sh\necho runs\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let shell = crate::base::process::shell()?;
    Ok(match attempt(cmd!(shell, "{script}")) {
        Ok(text) if text == "runs" => Check::good(NAME, "can be run"),
        Ok(text) => Check::finding(NAME, format!("a script printed {text:?}"), ELSEWHERE),
        Err(error) => Check::finding(NAME, format!("cannot be run: {error}"), ELSEWHERE),
    })
}

const ELSEWHERE: &str = "its file system may be mounted noexec; give another directory with -d";

/// A program that the checks compile: it has a type that is looked for later.
const PROGRAM: &str = "#include <libelf.h>
#include <stdio.h>
struct doctor_probe { int number; char *text; } probe = { 42, \"answer\" };
int main(void) { printf(\"%d %d\\n\", probe.number, elf_version(EV_CURRENT) == EV_CURRENT); return 0; }
";

fn compiler(gcc: &Path, scratch: &Path) -> Result<Check> {
    const NAME: &str = "compiler";
    let (source, program) = (scratch.join("probe.c"), scratch.join("probe"));
    disk::write(&source, PROGRAM)?;
    let shell = crate::base::process::shell()?;
    let version = attempt(cmd!(shell, "{gcc} --version")).unwrap_or_default();
    let version = version.lines().next().unwrap_or_default().to_owned();
    let built = attempt(cmd!(shell, "{gcc} -g -o {program} {source} -lelf"));
    let ran = built.and_then(|_| attempt(cmd!(shell, "{program}")));
    Ok(match ran {
        Ok(text) if text == "42 1" => {
            Check::good(NAME, format!("{version}; compiles, links and runs"))
        }
        Ok(text) => Check::finding(
            NAME,
            format!("{version}; a program that it made printed {text:?}"),
            "install the compiler again",
        ),
        Err(error) => Check::finding(
            NAME,
            format!("{version}; a program with libelf cannot be made and run: {error}"),
            "install the C library's and libelf's headers (--setup does)",
        ),
    })
}

/// `CONFIG_DEBUG_INFO_BTF`: pahole reads what the compiler wrote and adds BTF.
fn type_information(gcc: &Path, pahole: &Path, scratch: &Path) -> Result<Check> {
    const NAME: &str = "pahole";
    const MEND: &str = "install a pahole that is newer, and not older than the compiler";
    let shell = crate::base::process::shell()?;
    let text = match attempt(cmd!(shell, "{pahole} --version")) {
        Ok(text) => text,
        Err(error) => {
            return Ok(Check::finding(
                NAME,
                format!("does not start: {error}"),
                MEND,
            ));
        }
    };
    if pahole_version(&text).is_none_or(|version| version < OLDEST_PAHOLE) {
        let (major, minor) = OLDEST_PAHOLE;
        let seen = format!("{text:?}; kernels accept v{major}.{minor} and newer");
        return Ok(Check::finding(NAME, seen, MEND));
    }
    let (source, object) = (scratch.join("type.c"), scratch.join("type.o"));
    fs::write(
        &source,
        "struct doctor_probe { int number; char *text; } probe;\n",
    )
    .with_context(|| format!("cannot write {}", source.display()))?;
    let read = attempt(cmd!(shell, "{gcc} -g -c -o {object} {source}"))
        .and_then(|_| attempt(cmd!(shell, "{pahole} -J {object}")))
        .and_then(|_| {
            attempt(cmd!(
                shell,
                "{pahole} --format_path=btf -C doctor_probe {object}"
            ))
        });
    Ok(match read {
        Ok(found) if found.contains("number") && found.contains("text") => {
            Check::good(NAME, format!("{text}; writes and reads BTF"))
        }
        Ok(_) => Check::finding(
            NAME,
            format!("{text}; the BTF that it wrote is empty"),
            MEND,
        ),
        Err(error) => Check::finding(NAME, format!("{text}; cannot write BTF: {error}"), MEND),
    })
}

fn python_version(python: &Path) -> Result<Check> {
    const NAME: &str = "python3";
    // `python3` may be a shim that starts another one.
    const CODE: &str = "import sys; print('%d.%d.%d' % sys.version_info[:3], sys.executable, sys.version_info >= (3, 6))";
    let shell = crate::base::process::shell()?;
    Ok(match attempt(cmd!(shell, "{python} -c {CODE}")) {
        Ok(text) => match text.strip_suffix(" True") {
            Some(rest) => Check::good(NAME, rest),
            None => Check::finding(NAME, text, "the guest's runner needs Python 3.6 or newer"),
        },
        Err(error) => Check::finding(
            NAME,
            format!("does not start: {error}"),
            "mend python3, or put another one first in PATH",
        ),
    })
}

fn applets(busybox: &Path) -> Result<Check> {
    const NAME: &str = "BusyBox";
    let shell = crate::base::process::shell()?;
    Ok(match attempt(cmd!(shell, "{busybox} --list")) {
        Ok(list) => {
            let missing = missing_applets(&list);
            if missing.is_empty() {
                let count = needed_applets().count();
                let seen = format!("{}: all {count} applets of init", busybox.display());
                Check::good(NAME, seen)
            } else {
                Check::finding(
                    NAME,
                    format!("{} lacks {}", busybox.display(), missing.join(", ")),
                    "install the distribution's complete static BusyBox",
                )
            }
        }
        Err(error) => Check::finding(
            NAME,
            format!("{} does not start: {error}", busybox.display()),
            "install a BusyBox for this machine",
        ),
    })
}

fn emulator(qemu: &Path, arch: &Arch) -> Result<Check> {
    const NAME: &str = "QEMU";
    let shell = crate::base::process::shell()?;
    let version = match attempt(cmd!(shell, "{qemu} --version")) {
        Ok(text) => text.lines().next().unwrap_or_default().to_owned(),
        Err(error) => {
            return Ok(Check::finding(
                NAME,
                format!("does not start: {error}"),
                "install it again",
            ));
        }
    };
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
    Ok(if lacks.is_empty() {
        Check::good(NAME, format!("{version}; has VirtFS and emulation"))
    } else {
        Check::finding(
            NAME,
            format!("{version}; lacks {}", lacks.join(", ")),
            "install a QEMU that was built with it",
        )
    })
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

    fn events(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Opens the file, removes it, and reads what is still open. QEMU's 9p server has
/// to keep the file for that (its early versions did not); that the name is gone is
/// the overlay's work, and the host's file stays.
const UNLINK: &str = "exec 3<\"$1\" && rm \"$1\" && [ ! -e \"$1\" ] && cat <&3";

/// Boots a VM: the proof of KVM, and of the file system.
fn boot(
    env: &Env,
    arch: &'static Arch,
    kernel: Option<LocalKernel>,
    scratch: &Path,
) -> Result<Vec<Check>> {
    let tools = vm::Tools::find(arch)?;
    let Some(kernel) = kernel else {
        let mut checks = vec![Check::note(
            "VM",
            "not booted: there is no kernel yet",
            "cargo xtask build-kernel 6.1 --setup",
        )];
        checks.push(judge_kvm(&accel::known(&env.paths, &tools.qemu_text)));
        return Ok(checks);
    };
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
            total: Some(std::time::Duration::from_secs(400)),
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
    let check = match &run.main.outcome {
        VmOutcome::Exited(0) if words == "still here" && kept => {
            log.remove();
            Check::good(
                "VM",
                format!(
                    "{name}, {how}, in {}; a removed open file can be read, and the host's stays",
                    vm::seconds(run.main.total)
                ),
            )
        }
        VmOutcome::Exited(_) if !kept => Check::finding(
            "VM",
            format!("{name}: the guest changed a file of the host"),
            "do not run tests here; report this with QEMU's version",
        ),
        VmOutcome::Exited(status) => Check::finding(
            "VM",
            format!("{name}: a removed open file cannot be read (status {status}): {words:?}"),
            "install a newer QEMU",
        ),
        other => Check::finding(
            "VM",
            format!("{name}, {how}: {other}"),
            format!(
                "see {}, and try: cargo xtask vm -k {} --accel tcg -- true",
                console_log.display(),
                shell_quote(&name)
            ),
        ),
    };
    Ok(vec![
        check,
        judge_kvm(&accel::known(&env.paths, &tools.qemu_text)),
    ])
}

/// Emulation does the same, only slower, so a missing KVM is no finding.
fn judge_kvm(kvm: &Kvm) -> Check {
    const NAME: &str = "KVM";
    match kvm {
        Kvm::Works => Check::good(NAME, "a kernel has run on it since this host was booted"),
        Kvm::Unproved => Check::note(
            NAME,
            "/dev/kvm can be opened, but no kernel has run on it yet",
            "the first VM is the proof",
        ),
        Kvm::Fails(reason) => Check::note(
            NAME,
            reason.as_str(),
            "VMs are emulated, which is several times slower",
        ),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_table_says_how_to_mend() {
        let checks = [
            Check::good("compiler", "gcc 12; runs"),
            Check::note("KVM", "there is no /dev/kvm", "VMs are emulated"),
            Check::finding("disk space", "1.0 GiB free", "free some"),
        ];
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
        let space = |bytes| judge_space(bytes, Path::new("/w")).verdict == Verdict::Good;
        assert!(space(SPACE) && !space(SPACE - 1));
        let memory = |text: &str| judge_memory(text).verdict;
        assert_eq!(
            memory("MemTotal:       24000000 kB\nMemFree: 1 kB\n"),
            Verdict::Good
        );
        assert!(matches!(
            memory("MemFree: 24000000 kB\nMemTotal:        1000000 kB\n"),
            Verdict::Finding(_)
        ));
        assert!(matches!(memory("MemTotal: lots\n"), Verdict::Note(_)));
        assert_eq!(gibibytes(1 << 29), "0.5 GiB");
    }

    #[test]
    fn paths_that_the_kernels_makefile_refuses_are_found() {
        for (path, bad) in [("/a/b", false), ("/a b", true), ("/a:b", true)] {
            assert_eq!(judge_path(Path::new(path)).is_some(), bad, "{path}");
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
        let all = needed_applets().collect::<Vec<_>>().join("\n");
        assert_eq!(missing_applets(&all), Vec::<&str>::new());
        let without = all.replace("pivot_root\n", "pivot\n");
        assert_eq!(missing_applets(&without), ["pivot_root"]);
    }
}
