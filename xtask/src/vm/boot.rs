//! One start of QEMU: prepare its directory, spawn it, watch it, conclude.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::base::temporary::{self, Scratch};
use crate::base::{disk, env::Env, process::LongCommand, ui::Ui};
use crate::vm::enclosure::{self, Enclosure};
use crate::vm::guest::files::{self, GuestFiles};
use crate::vm::guest::initramfs::{self, Bridge};
use crate::vm::guest::{self, Seen, cores};
use crate::vm::machine::{Machine, Served};
use crate::vm::plan::{Boot, Plan};
use crate::vm::{Accel, AccelChoice, Vm, VmRun, VmSink, qemu, scratch_disk};
use crate::vm::{console::Console, protocol::Port, watch::Rules};

/// The second value: whether there was a sign of life.
pub(super) fn boot(
    env: &Env,
    vm: &Vm,
    plan: &Plan,
    accel: Accel,
    sink: &mut dyn VmSink,
) -> Result<(VmRun, bool)> {
    // Not in the work directory because sockets have short names. It is removed as soon as the
    // guest's init runs, for the last time if the kernel is to be crashed.
    let scratch = Scratch::new()?;
    let directory = scratch.path().to_owned();
    let boot = Boot {
        vm,
        plan,
        accel,
        directory: &directory,
    };
    let prepared = prepare(env, &boot)?;
    let (machine, enclosure) = spawn(&boot, &prepared, scratch, &env.ui)?;
    let connected = || {
        if let Some(why) = enclosure.as_ref().and_then(Enclosure::failure) {
            env.ui.warn_once(format!(
                "guests can read the host's /proc, /sys and /dev, which cannot be hidden: {why}"
            ));
        }
        if let Some(debugger) = vm.debugger() {
            let vmlinux = vm.kernel.vmlinux.as_deref();
            let command = debugger.command(&directory, vmlinux.filter(|path| path.is_file()));
            env.ui
                .request(format!("the guest waits for a debugger: {command}"));
        }
    };
    let before = core_dumps(vm);
    let mut machine = machine;
    let served = machine.serve(
        vm,
        prepared.listeners,
        &prepared.seen.mark,
        &connected,
        sink,
    )?;
    let (mut run, alive) = conclude(&boot, machine, served, &env.ui, sink)?;
    run.cores = core_dumps(vm).difference(&before).cloned().collect();
    for core in &run.cores {
        env.ui.info(format!("core dump: {}", core.display()));
    }
    Ok((run, alive))
}

struct Prepared {
    listeners: Vec<(Port, UnixListener)>,
    seen: Seen,
}

/// Fills the run's directory, and listens in it.
fn prepare(env: &Env, boot: &Boot<'_>) -> Result<Prepared> {
    let (vm, plan) = (boot.vm, boot.plan);
    let digits = || temporary::random_digits(32).context("there are no random bytes");
    let path = vm.environment.iter().find(|(name, _)| name == "PATH");
    let files = GuestFiles {
        path: path.map_or(OsStr::new(""), |(_, value)| value),
        root: &vm.root,
        release: &vm.kernel.release.to_string(),
        modules: &vm.kernel.modules,
        offer: &plan.offer,
        busybox: &plan.tools.busybox,
        machine_id: &digits()?,
    };
    files::write(&files, &boot.files())?;
    if let Some(goal) = boot.initramfs() {
        let bridge = Bridge {
            root_options: &qemu::root_options(boot),
            init: &boot.init(),
            modules: &plan.bridge,
            busybox: &plan.tools.busybox,
            text: &env.paths.assets.read(initramfs::BRIDGE)?,
        };
        initramfs::write(&bridge, &goal)?;
    }
    // Behind the initramfs: what init shows of the host must be there.
    let seen = Seen::look(boot, &digits()?);
    let init = boot.init();
    let text = env.paths.assets.read(guest::INIT)?;
    disk::write(&init, guest::init_script(boot, &seen, &text))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    scratch_disk::make(vm.disks(), boot.directory)?;
    let mut listeners = Vec::new();
    let ports = [Port::Status, Port::Monitor].into_iter();
    for port in ports.chain(boot.ports()) {
        let path = boot.socket(port);
        let listener = UnixListener::bind(&path).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listener.with_context(|| format!("cannot listen on {}", path.display()))?;
        listeners.push((port, listener));
    }
    if let Some(parent) = vm.console_log.parent() {
        disk::create_directory(parent)?;
    }
    disk::create_file(&vm.console_log)?;
    Ok(Prepared { listeners, seen })
}

/// Starts QEMU.
fn spawn(
    boot: &Boot<'_>,
    prepared: &Prepared,
    scratch: Scratch,
    ui: &Ui,
) -> Result<(Machine, Option<Enclosure>)> {
    let mut line = qemu::command_line(boot)?.into_iter();
    let program = line.next().unwrap_or_default();
    let words = boot.directory.join("qemu.log");
    let log = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&words)
        .with_context(|| format!("cannot write {}", words.display()))?;
    let qemu = LongCommand::new(program).args(line);
    ui.verbose(qemu.display());
    let enclosure = Enclosure::wanted(boot.directory, opened_by_qemu(boot, &prepared.seen));
    let command = match &enclosure {
        Some(enclosure) => qemu.behind(enclosure.words()),
        None => qemu,
    };
    let command = command.log(&log)?;
    let start = Instant::now();
    let child = command.spawn()?;
    let mut console = Console::open(&boot.vm.console_log)?;
    if boot.vm.kernel_log {
        console.keep();
    }
    let machine = Machine::new(
        (child, start),
        console,
        log,
        scratch,
        Rules::of(boot.vm, boot.accel),
    );
    Ok((machine, enclosure))
}

/// Writes the dump, ends QEMU and says what has happened.
fn conclude(
    boot: &Boot<'_>,
    mut machine: Machine,
    served: Served,
    ui: &Ui,
    sink: &mut dyn VmSink,
) -> Result<(VmRun, bool)> {
    let vm = boot.vm;
    if let Some((count, line)) = &machine.odd {
        ui.warn(format!(
            "a process of the guest wrote to its status port, {count} line(s) that are none of \
             init's; the first: {line}"
        ));
    }
    // With KVM it may be that which is refused: there is another attempt without it.
    if !(boot.accel == Accel::Kvm && vm.accel == AccelChoice::Auto)
        && let Some(refusal) = machine.refusal()
    {
        // There was no guest whose words could be in it.
        let _ = fs::remove_file(&vm.console_log);
        return Err(refusal.into());
    }
    let dump = match &served {
        Served::Once(outcome) | Served::Crashed(_, outcome) => machine.dump(vm, outcome, ui)?,
        Served::NothingElse(_) => None,
    };
    machine.child.kill()?;
    machine.console.follow();
    sink.console(&machine.console.take())?;
    let (main, crash) = match served {
        Served::Once(outcome) => (machine.phase_run(vm, outcome), None),
        Served::Crashed(main, outcome) => (main, Some(machine.phase_run(vm, outcome))),
        Served::NothingElse(main) => (main, None),
    };
    let run = VmRun {
        main,
        crash,
        accel: boot.accel,
        console_log: vm.console_log.clone(),
        dump,
        cores: Vec::new(),
    };
    Ok((run, machine.is_alive()))
}

/// Core dumps of this kernel's programs, of earlier guests too.
fn core_dumps(vm: &Vm) -> BTreeSet<PathBuf> {
    let release = vm.kernel.release.to_string();
    let directory = vm
        .cores()
        .map(|directory| cores::listed(directory, &release));
    directory.unwrap_or_default()
}

/// Paths that QEMU opens, for itself or for the guest.
fn opened_by_qemu(boot: &Boot<'_>, seen: &Seen) -> Vec<PathBuf> {
    let mut paths = vec![
        boot.directory.to_owned(),
        boot.vm.console_log.clone(),
        boot.vm.kernel.image.clone(),
    ];
    paths.extend(seen.hidden.keep.iter().cloned());
    paths.extend(boot.devices().into_iter().filter_map(|parts| parts.host));
    paths.extend(enclosure::named(&boot.vm.qemu_arguments));
    paths
}
