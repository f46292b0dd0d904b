//! Devices that only some VMs have: a new device is a variant, an arm of
//! [`parts`], and the flag that adds it. A device gives its arguments for QEMU, its kernel
//! parameters and its words for the guest's init together, so that their names agree.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::vm::debugger::{self, Endpoint};
use crate::vm::scratch_disk::{self, Disk, Purpose};
use crate::vm::share::{self, Share};
use crate::vm::{guest::cores, network, plan::Boot, qemu};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    Share(Share),
    Disk(Disk),
    /// QEMU's own network.
    Network,
    /// The directory of the host that gets core dumps of the guest's programs.
    Cores(PathBuf),
    /// QEMU waits there for a debugger before the guest's first instruction. No VM with
    /// one is started again, and none is ended because it does not go on.
    Debugger(Endpoint),
}

/// Where QEMU's command line has a device's arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slot {
    /// Before the ports: once these are connected, a debugger can be.
    First,
    /// Behind the guest's root.
    FileSystems,
    /// Behind the ports.
    #[default]
    Last,
}

#[derive(Debug, Default)]
pub struct Parts {
    pub slot: Slot,
    pub qemu: Vec<OsString>,
    pub kernel_parameters: Vec<String>,
    /// Where init mounts it, and the words for that before the place.
    pub mount: Option<(PathBuf, String)>,
    /// A variable for the command.
    pub environment: Option<(String, String)>,
    /// A path of the host that QEMU opens.
    pub host: Option<PathBuf>,
}

/// The parts of each device, in order.
pub fn parts(boot: &Boot<'_>) -> Vec<Parts> {
    let (mut shares, mut disks) = (0.., 0..);
    let mut share = |share: &Share| {
        let index = shares.next().unwrap_or_default();
        let id = format!("share{index}");
        let tag = share::tag(index);
        let qemu = qemu::file_system(&id, &share.host, share.writable, &tag, boot);
        let series = boot.vm.kernel.release.version.series;
        let options = qemu::share_options(share.writable, series);
        Parts {
            slot: Slot::FileSystems,
            qemu: qemu.to_vec(),
            mount: Some((share.guest.clone(), format!("share {tag} {options}"))),
            host: Some(share.host.clone()),
            ..Parts::default()
        }
    };
    let mut disk = |disk: &Disk| {
        let index = disks.next().unwrap_or_default();
        let device = scratch_disk::device(index);
        let mut parts = Parts {
            qemu: scratch_disk::qemu(boot, index),
            ..Parts::default()
        };
        match &disk.purpose {
            Purpose::Device(variable) => parts.environment = Some((variable.clone(), device)),
            Purpose::Mounted(place) => {
                parts.mount = Some((place.clone(), format!("disk {device}")))
            }
        }
        parts
    };
    let parts = boot.vm.devices.iter().map(|device| match device {
        Device::Share(directory) => share(directory),
        Device::Cores(directory) => share(&Share {
            host: directory.clone(),
            guest: cores::PLACE.into(),
            writable: true,
        }),
        Device::Disk(scratch) => disk(scratch),
        Device::Network => Parts {
            qemu: network::qemu(boot.vm.kernel.arch),
            ..Parts::default()
        },
        Device::Debugger(endpoint) => Parts {
            slot: Slot::First,
            qemu: endpoint.qemu(boot.directory),
            kernel_parameters: vec![debugger::KERNEL_PARAMETER.to_owned()],
            ..Parts::default()
        },
    });
    parts.collect()
}
