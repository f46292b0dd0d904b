//! One start of QEMU: prepare its directory, spawn it, watch it, conclude.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::base::temporary::{self, Scratch};
use crate::base::{disk, env::Env};
use crate::vm::enclosure::{self, Enclosure};
use crate::vm::guest::{self, Seen, cores, files, initramfs};
use crate::vm::machine::Machine;
use crate::vm::plan::{Boot, Plan};
use crate::vm::{Accel, Vm, VmRun, VmSink, image, protocol::Port, scratch_disk};

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
    let (listeners, seen) = prepare(env, &boot)?;
    let enclosure = Enclosure::wanted(&directory, opened_by_qemu(&boot, &seen));
    let before = core_dumps(vm);
    let mut machine = Machine::start(&boot, enclosure.as_ref(), scratch, &env.ui, sink)?;
    let last = match machine.connect(listeners)? {
        None => Some(machine.lost()),
        Some(streams) => {
            if let Some(why) = enclosure.as_ref().and_then(Enclosure::failure) {
                env.ui.warn_once(format!(
                    "guests can read the host's /proc, /sys and /dev, which cannot be hidden: {why}"
                ));
            }
            if let Some(debugger) = vm.debugger() {
                let vmlinux = vm.kernel.vmlinux.as_deref();
                let command = debugger.command(&directory, vmlinux.filter(|path| path.is_file()));
                let request = format!("the guest waits for a debugger: {command}");
                env.ui.request(request);
            }
            machine.serve(streams, &seen.mark)?
        }
    };
    let (mut run, alive) = machine.conclude(last)?;
    run.cores = core_dumps(vm).difference(&before).cloned().collect();
    for core in &run.cores {
        env.ui.info(format!("core dump: {}", core.display()));
    }
    Ok((run, alive))
}

/// Fills the run's directory, and listens in it.
fn prepare(env: &Env, boot: &Boot<'_>) -> Result<(Vec<(Port, UnixListener)>, Seen)> {
    let vm = boot.vm;
    let digits = || temporary::random_digits(32).context("there are no random bytes");
    if let Some(stage) = &boot.plan.stage {
        stage.make(&boot.kernel_root())?;
    }
    files::write(boot, &digits()?, &boot.on_host(&boot.files()))?;
    if boot.plan.wrapped {
        image::unwrap(&vm.kernel.image, &boot.image_on_host())?;
    }
    if let Some(goal) = boot.initramfs() {
        let text = env.paths.assets.read(initramfs::BRIDGE)?;
        initramfs::write(boot, &text, &boot.on_host(&goal))?;
    }
    // Behind the initramfs: what init shows of the host must be there.
    let seen = Seen::look(boot, &digits()?);
    let init = boot.on_host(&boot.init());
    let text = env.paths.assets.read(guest::INIT)?;
    disk::write(&init, guest::init_script(boot, &seen, &text))?;
    // It has the command's environment, and a guest with another root has it to the end.
    fs::set_permissions(&init, fs::Permissions::from_mode(0o700))?;
    scratch_disk::make(vm.disks(), boot.directory)?;
    let mut listeners = Vec::new();
    let ports = [Port::Status, Port::Monitor].into_iter();
    for port in ports.chain(boot.ports()) {
        let path = boot.socket(port);
        let context = || format!("cannot listen on {}", path.display());
        let listener = UnixListener::bind(&path).with_context(context)?;
        listener.set_nonblocking(true).with_context(context)?;
        listeners.push((port, listener));
    }
    if let Some(parent) = vm.console_log.parent() {
        disk::create_directory(parent)?;
    }
    disk::create_file(&vm.console_log)?;
    Ok((listeners, seen))
}

/// Core dumps of this kernel's programs, of earlier guests too.
fn core_dumps(vm: &Vm) -> BTreeSet<PathBuf> {
    let release = vm.kernel.release.to_string();
    let dumps = vm.cores().map(|place| cores::listed(place, &release));
    dumps.unwrap_or_default()
}

/// Paths that QEMU opens, for itself or for the guest.
fn opened_by_qemu(boot: &Boot<'_>, seen: &Seen) -> Vec<PathBuf> {
    let mut paths = vec![
        boot.directory.to_owned(),
        boot.vm.console_log.clone(),
        boot.vm.kernel.image.clone(),
        boot.vm.root.clone(),
    ];
    paths.extend(seen.hidden.keep.iter().cloned());
    paths.extend(boot.devices().into_iter().filter_map(|parts| parts.host));
    paths.extend(enclosure::named(&boot.vm.qemu_arguments));
    paths
}
