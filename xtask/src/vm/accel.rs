//! KVM or emulation. That `/dev/kvm` is there, opens and lets a VM be created does
//! not mean that a kernel runs on it: on a host that is itself virtual without
//! hardware virtualisation (`kvm_pvm`; no `vmx` or `svm` among the CPU's flags)
//! QEMU aborts (`failed to set MSR`), or a stock kernel hangs right after its
//! decompression. So the first VM of each boot of the host is the proof, and the
//! answer is remembered until the host or QEMU changes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::base::{error::Failure, input, paths::Paths, temporary::Temporary};
use crate::model::arch::{self, Arch};
use crate::vm::{Accel, AccelChoice};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kvm {
    /// A kernel has run on it since the host was booted.
    Works,
    /// It does not work; why, in words.
    Fails(String),
    /// There is a device, but nothing has run on it yet.
    Unproved,
    /// It runs the host's architecture only, and the guest is of this one.
    Foreign(&'static str),
}

/// Decides, from what was asked for and what is known; with a warning if it is not what was
/// asked for.
pub fn decide(choice: AccelChoice, kvm: &Kvm) -> Result<(Accel, Option<String>), Failure> {
    match (choice, kvm) {
        (AccelChoice::Tcg, _) | (AccelChoice::Auto, Kvm::Foreign(_)) => Ok((Accel::Tcg, None)),
        (AccelChoice::Kvm, Kvm::Foreign(guest)) => Err(foreign(guest)),
        (_, Kvm::Works | Kvm::Unproved) => Ok((Accel::Kvm, None)),
        (AccelChoice::Auto, Kvm::Fails(reason)) => {
            let warning = format!("KVM does not work here: {reason}; emulating");
            Ok((Accel::Tcg, Some(warning)))
        }
        (AccelChoice::Kvm, Kvm::Fails(reason)) => {
            Err(Failure::setup(format!("KVM does not work here: {reason}"))
                .hint("--accel tcg emulates instead"))
        }
    }
}

fn foreign(guest: &str) -> Failure {
    let host = std::env::consts::ARCH;
    let message = format!("KVM on this {host} host cannot run a guest for {guest}");
    Failure::usage(message).hint("without --accel kvm it is emulated")
}

/// Refuses what [`decide`] would refuse, before a userspace is made for the guest.
pub fn require_possible(choice: AccelChoice, arch: &Arch) -> Result<(), Failure> {
    match choice {
        AccelChoice::Kvm if arch::host() != Some(arch) => Err(foreign(arch.name)),
        _ => Ok(()),
    }
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Proof {
    boot: String,
    qemu: String,
    works: bool,
    reason: String,
}

fn proof_file(paths: &Paths) -> PathBuf {
    paths.cache().join("kvm.json")
}

fn boot_id() -> String {
    let id = input::text(Path::new("/proc/sys/kernel/random/boot_id"), input::SMALL);
    id.unwrap_or_default().trim().to_owned()
}

/// Looks at the device and at what is remembered. `qemu` is QEMU's path and version.
pub fn known(paths: &Paths, arch: &Arch, qemu: &str) -> Kvm {
    if arch::host() != Some(arch) {
        return Kvm::Foreign(arch.name);
    }
    if let Err(error) = fs::File::options().read(true).write(true).open("/dev/kvm") {
        return Kvm::Fails(match error.kind() {
            std::io::ErrorKind::NotFound => "there is no /dev/kvm".to_owned(),
            std::io::ErrorKind::PermissionDenied => {
                "/dev/kvm may not be opened by this user (the group kvm may)".to_owned()
            }
            _ => format!("/dev/kvm cannot be opened: {error}"),
        });
    }
    remembered(&proof_file(paths), &boot_id(), qemu)
}

fn remembered(file: &Path, boot: &str, qemu: &str) -> Kvm {
    // A file that cannot be read is as good as none: the next VM is the proof.
    let text = input::bytes(file, input::SMALL).unwrap_or_default();
    match serde_json::from_slice::<Proof>(&text) {
        Ok(proof) if proof.boot == boot && proof.qemu == qemu && !boot.is_empty() => {
            match proof.works {
                true => Kvm::Works,
                false => Kvm::Fails(proof.reason),
            }
        }
        _ => Kvm::Unproved,
    }
}

/// Remembers what a VM on KVM has shown.
pub fn remember(paths: &Paths, qemu: &str, failure: Option<&str>) -> Result<()> {
    let proof = Proof {
        boot: boot_id(),
        qemu: qemu.to_owned(),
        works: failure.is_none(),
        reason: failure.unwrap_or_default().to_owned(),
    };
    let file = proof_file(paths);
    let temporary = Temporary::file(&file)?;
    serde_json::to_writer(temporary.as_file(), &proof)
        .with_context(|| format!("cannot write {}", file.display()))?;
    temporary.persist()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::paths::Files;

    #[test]
    fn what_is_asked_for_and_what_is_known_decide() {
        let fails = Kvm::Fails("no".into());
        let accel = |choice, kvm: &Kvm| decide(choice, kvm).map(|decision| decision.0);
        for (choice, kvm, expected) in [
            (AccelChoice::Auto, &Kvm::Works, Accel::Kvm),
            (AccelChoice::Auto, &Kvm::Unproved, Accel::Kvm),
            (AccelChoice::Auto, &fails, Accel::Tcg),
            (AccelChoice::Kvm, &Kvm::Works, Accel::Kvm),
            (AccelChoice::Kvm, &Kvm::Unproved, Accel::Kvm),
            (AccelChoice::Tcg, &Kvm::Works, Accel::Tcg),
            (AccelChoice::Tcg, &fails, Accel::Tcg),
            (AccelChoice::Auto, &Kvm::Foreign("s390x"), Accel::Tcg),
            (AccelChoice::Tcg, &Kvm::Foreign("s390x"), Accel::Tcg),
        ] {
            assert_eq!(accel(choice, kvm).unwrap(), expected, "{choice:?} {kvm:?}");
        }
        assert!(decide(AccelChoice::Kvm, &fails).is_err());
        assert!(decide(AccelChoice::Auto, &fails).unwrap().1.is_some());
        assert_eq!(decide(AccelChoice::Tcg, &fails).unwrap().1, None);
        let foreign = Kvm::Foreign("s390x");
        assert_eq!(decide(AccelChoice::Auto, &foreign).unwrap().1, None);
        let error = decide(AccelChoice::Kvm, &foreign).unwrap_err().to_string();
        assert!(error.contains("cannot run a guest for s390x"), "{error}");
    }

    #[test]
    fn a_proof_holds_until_the_host_or_qemu_changes() {
        let directory = tempfile::tempdir().unwrap();
        let empty = Files::Embedded(&[]);
        let paths = Paths::new(directory.path(), empty.clone(), empty);
        let file = proof_file(&paths);
        assert_eq!(remembered(&file, "b", "q"), Kvm::Unproved);
        remember(&paths, "q", Some("aborted")).unwrap();
        let boot = boot_id();
        assert_eq!(remembered(&file, &boot, "q"), Kvm::Fails("aborted".into()));
        assert_eq!(remembered(&file, "another boot", "q"), Kvm::Unproved);
        assert_eq!(remembered(&file, &boot, "another qemu"), Kvm::Unproved);
        remember(&paths, "q", None).unwrap();
        assert_eq!(remembered(&file, &boot, "q"), Kvm::Works);
        fs::write(&file, "{").unwrap();
        assert_eq!(remembered(&file, &boot, "q"), Kvm::Unproved);
    }
}
