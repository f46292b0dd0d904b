//! A guest's needs, and where its kernel has them: built in, as a module that
//! brings the guest to its root, or not at all. Pure but for [`KernelFeatures::read`].
//!
//! Our own kernels have everything built in. A distribution's has most of it as modules,
//! which lie in the root that they are needed to mount: an initramfs bridges that
//! ([`crate::vm::guest::initramfs`]). What a kernel cannot do is said before it is booted.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::archive;
use crate::base::{error::Failure, input};
use crate::kernel::config::{FinalConfig, Value};
use crate::model::arch::VirtioBus;
use crate::model::kernel::{LocalKernel, Origin};
use crate::vm::{Vm, device::Device, scratch_disk::Disk};

/// A kernel's own description. All of it may be missing; then the kernel is trusted.
#[derive(Clone, Debug, Default)]
pub struct KernelFeatures {
    config: Option<FinalConfig>,
    /// The names of what could have been a module and is built in: `modules.builtin`.
    builtin: Option<HashSet<String>>,
    dependencies: String,
}

/// Which modules are loaded when, in their order; files relative to the kernel's folder
/// of modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    /// Before there is a root, by an initramfs; none if the kernel comes there by itself.
    pub bridge: Vec<String>,
    /// The network's, by init.
    pub network: Vec<String>,
    /// Those of a disk's file system, by init.
    pub file_system: Vec<String>,
}

/// Something that may be built in or a module.
#[derive(Clone, Copy)]
struct Feature {
    /// For people.
    what: &'static str,
    option: &'static str,
    /// The module, with `_` for every `-`.
    module: &'static str,
}

const fn feature(what: &'static str, option: &'static str, module: &'static str) -> Feature {
    Feature {
        what,
        option,
        module,
    }
}

/// Without these there is no guest.
const REQUIRED: &[Feature] = &[
    feature("9p over virtio", "CONFIG_NET_9P_VIRTIO", "9pnet_virtio"),
    feature("9p file system", "CONFIG_9P_FS", "9p"),
    feature("overlay file system", "CONFIG_OVERLAY_FS", "overlay"),
    feature("virtio ports", "CONFIG_VIRTIO_CONSOLE", "virtio_console"),
];

fn required_features(bus: &VirtioBus) -> impl Iterator<Item = Feature> + use<> {
    let bus = feature("virtio devices", bus.option, bus.module);
    std::iter::once(bus).chain(REQUIRED.iter().copied())
}

/// Loaded as well where these are modules and there is an initramfs. Without the first, a
/// kernel waits for random numbers; the second would be loaded by the host's modprobe when
/// init mounts it, which takes longer; the others are loaded by systemd for the file systems
/// that it mounts, whose mount points the modules make.
const WELCOME: &[Feature] = &[
    feature("random numbers", "CONFIG_HW_RANDOM_VIRTIO", "virtio_rng"),
    feature("binfmt_misc", "CONFIG_BINFMT_MISC", "binfmt_misc"),
    feature("configfs", "CONFIG_CONFIGFS_FS", "configfs"),
    feature("fuse", "CONFIG_FUSE_FS", "fuse"),
];

const DISK: Feature = feature("virtio disks", "CONFIG_VIRTIO_BLK", "virtio_blk");
const FILE_SYSTEM: Feature = feature("ext4 file system", "CONFIG_EXT4_FS", "ext4");
/// Which ext4 asks for when it is mounted, through a modprobe that need not be there; since 6.14
/// it does without.
const CHECKSUM: Feature = feature("checksums", "CONFIG_CRYPTO_CRC32C", "crc32c_generic");
const NETWORK: Feature = feature("virtio network", "CONFIG_VIRTIO_NET", "virtio_net");

/// Init's needs that are never modules.
const BUILT_IN: &[(&str, &str)] = &[
    ("proc", "CONFIG_PROC_FS"),
    ("sysfs", "CONFIG_SYSFS"),
    ("tmpfs", "CONFIG_TMPFS"),
    ("devtmpfs", "CONFIG_DEVTMPFS"),
    ("scripts as programs", "CONFIG_BINFMT_SCRIPT"),
];

const COREDUMP: &[&str] = &["CONFIG_COREDUMP", "CONFIG_ELF_CORE"];

/// Loads modules before there is a root.
const INITRAMFS: &str = "CONFIG_BLK_DEV_INITRD";

/// The options of a configuration that must not be modules, because nothing could load them
/// before there is a root.
pub fn early(config: &FinalConfig, bus: &VirtioBus) -> Vec<&'static str> {
    let late = *config.get(INITRAMFS) == Value::Yes;
    let required = required_features(bus).filter(|_| !late);
    required.map(|feature| feature.option).collect()
}

enum FeaturePlace {
    BuiltIn,
    Module,
    /// Why not.
    Nowhere(String),
}

impl KernelFeatures {
    /// From the text of a configuration, of `modules.builtin` and of `modules.dep`.
    pub fn new(config: Option<&str>, builtin: Option<&str>, dependencies: &str) -> Self {
        Self {
            config: config.map(FinalConfig::parse),
            builtin: builtin.map(|text| text.lines().map(module_name).collect()),
            dependencies: dependencies.to_owned(),
        }
    }

    pub fn read(kernel: &LocalKernel) -> Result<Self> {
        let read = |path: &Path| input::text_if_any(path, input::TEXT);
        let config = kernel.config.as_deref().map(read).transpose()?.flatten();
        let builtin = read(&kernel.modules.join("modules.builtin"))?;
        let needs = read(&kernel.modules.join("modules.dep"))?.unwrap_or_default();
        Ok(Self::new(config.as_deref(), builtin.as_deref(), &needs))
    }

    /// Whether an option is set; `None` if nobody knows.
    pub fn has(&self, option: &str) -> Option<bool> {
        let config = self.config.as_ref()?;
        Some(*config.get(option) == Value::Yes)
    }

    /// The value of a numeric option.
    pub fn number(&self, option: &str) -> Option<f64> {
        match self.config.as_ref()?.get(option) {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Whether options are known to be set, all of them.
    pub fn has_all(&self, options: &[&str]) -> bool {
        options.iter().all(|option| self.has(option) == Some(true))
    }

    /// The files of these modules and of what they need, each once.
    fn order(&self, features: &[Feature]) -> Vec<String> {
        let files = |feature: &Feature| load_order(&self.dependencies, feature.module);
        let files = features.iter().filter_map(files).flatten();
        let mut files = files.collect::<Vec<_>>();
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        files
    }

    fn place(&self, feature: &Feature) -> FeaturePlace {
        let Feature { option, module, .. } = feature;
        let listed = load_order(&self.dependencies, module).is_some();
        let value = self.config.as_ref().map(|config| config.get(option));
        let builtin = self.builtin.as_ref();
        let builtin = builtin.is_none_or(|names| names.contains(*module));
        match value {
            Some(Value::Yes) => FeaturePlace::BuiltIn,
            Some(Value::Module) | None if listed => FeaturePlace::Module,
            None if builtin => FeaturePlace::BuiltIn,
            None => FeaturePlace::Nowhere(format!("{module} is neither built in nor a module")),
            Some(Value::Module) => {
                let why = format!("its {option} is a module, and modules.dep has no {module}");
                FeaturePlace::Nowhere(why)
            }
            Some(_) => FeaturePlace::Nowhere(format!("its {option} is not set")),
        }
    }
}

/// Plans what is loaded when. A failure names all that the kernel lacks.
pub fn plan(kernel: &KernelFeatures, vm: &Vm) -> Result<Loads, Failure> {
    let mut wanted = required(kernel, vm)?;
    let release = &vm.kernel.release;
    let wants_network = vm.devices.contains(&Device::Network);
    let wants_file_system = vm.disks().any(Disk::is_mounted);
    let failure = |what: String| Failure::setup(format!("the kernel {release} {what}"));
    let unset = |option: &&&str| vm.cores().is_some() && kernel.has(option) == Some(false);
    if let Some(option) = COREDUMP.iter().find(unset) {
        let what = format!("writes no core dumps: its {option} is not set");
        return Err(failure(what).hint("leave out --keep-cores, or take another kernel"));
    }
    if let (true, FeaturePlace::Nowhere(why)) = (wants_network, kernel.place(&NETWORK)) {
        return Err(failure(format!("has no network: {why}"))
            .hint("leave out --net, or take a kernel with CONFIG_VIRTIO_NET"));
    }
    if let (true, FeaturePlace::Nowhere(why)) = (wants_file_system, kernel.place(&FILE_SYSTEM)) {
        return Err(failure(format!("cannot mount a disk: {why}"))
            .hint("leave out the path of --disk, or take a kernel with CONFIG_EXT4_FS"));
    }
    let modules = |wished: bool, features: &[Feature]| {
        let mut modules = features.to_vec();
        modules.retain(|feature| wished && matches!(kernel.place(feature), FeaturePlace::Module));
        modules
    };
    // Modules that init loads, if it can: it gives them to the kernel as they are.
    let network = modules(wants_network, &[NETWORK]);
    let file_system = modules(wants_file_system, &[CHECKSUM, FILE_SYSTEM]);
    let later = [network.as_slice(), &file_system].concat();
    let mut files = kernel.order(&later).into_iter();
    let compressed = files.any(|file| !file.ends_with(".ko"));
    if wanted.is_empty() && !compressed {
        return Ok(Loads {
            bridge: Vec::new(),
            network: kernel.order(&network),
            file_system: kernel.order(&file_system),
        });
    }
    if kernel.has(INITRAMFS) == Some(false) {
        let later = later.iter().filter(|_| compressed);
        let names = wanted.iter().chain(later).map(|feature| feature.option);
        let names = names.collect::<Vec<_>>().join(", ");
        return Err(failure(format!(
            "cannot be a guest here: it has as modules {names}, and takes no initramfs to load \
             them from: its {INITRAMFS} is not set"
        ))
        .hint("build them in"));
    }
    wanted.extend(modules(true, WELCOME));
    wanted.extend(later);
    Ok(Loads {
        bridge: kernel.order(&wanted),
        ..Loads::default()
    })
}

/// Features that are loaded before there is a root; a failure names all that the kernel lacks.
fn required(kernel: &KernelFeatures, vm: &Vm) -> Result<Vec<Feature>, Failure> {
    let unset = BUILT_IN
        .iter()
        .filter(|(_, option)| kernel.has(option) == Some(false));
    let unset = unset.map(|(what, option)| format!("no {what}: its {option} is not set"));
    let mut lacks = unset.collect::<Vec<_>>();
    let mut wanted = Vec::new();
    for feature in required_features(vm.kernel.arch.bus).chain(vm.disks().next().map(|_| DISK)) {
        match kernel.place(&feature) {
            FeaturePlace::BuiltIn => {}
            FeaturePlace::Module => wanted.push(feature),
            FeaturePlace::Nowhere(why) => lacks.push(format!("no {}: {why}", feature.what)),
        }
    }
    if lacks.is_empty() {
        return Ok(wanted);
    }
    let lacks = lacks.join("; ");
    let release = &vm.kernel.release;
    let message = format!("the kernel {release} cannot be a guest here: {lacks}");
    Err(Failure::setup(message)
        .hint("kernels of ours have all of it: cargo xtask build-kernel 6.1"))
}

/// The files of modules that modules.dep names. None may lead out of the kernel's folder: the
/// guest would get a file of the host in its place. A tree's folder is links to elsewhere.
pub fn module_files(kernel: &LocalKernel, names: &[String]) -> Result<Vec<PathBuf>> {
    let packaged = matches!(kernel.origin, Origin::Package | Origin::Distribution);
    let file = |name: &String| {
        let outside = |why: String| {
            let list = kernel.modules.join("modules.dep");
            Failure::setup(format!("{} names {name:?}: {why}", list.display()))
        };
        let below = archive::relative_path(name.as_bytes());
        let below = below.map_err(|error| outside(error.to_string()))?;
        let file = kernel.modules.join(below);
        match (file.canonicalize(), kernel.modules.canonicalize()) {
            (Ok(real), Ok(folder)) if packaged && !real.starts_with(&folder) => {
                Err(outside(format!("it leads to {}", real.display())).into())
            }
            _ => Ok(file),
        }
    };
    names.iter().map(file).collect()
}

/// The name that the kernel gives to the module in a file: without folders and endings,
/// the file may be compressed, and with `_` for `-`, which are one to the kernel
/// (modprobe(8)).
fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.split('.').next().unwrap_or(name);
    name.replace('-', "_")
}

/// The files of a module and of what it needs, in the order in which they are loaded.
/// A line of modules.dep is `FILE: FILE...`, and what a module needs is needed by those
/// to its left (depmod(8), modules.dep(5)).
fn load_order(dependencies: &str, module: &str) -> Option<Vec<String>> {
    let (file, needs) = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(file, _)| module_name(file) == module)?;
    let needs = needs.split_whitespace().rev().map(str::to_owned);
    Some(needs.chain([file.to_owned()]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::scratch_disk::Purpose;

    const DEPENDENCIES: &str = "\
kernel/fs/9p_other.ko:
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/drivers/virtio/virtio-pci.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/fs/overlayfs/overlay.ko.xz:
kernel/drivers/char/virtio_console.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/char/hw_random/virtio-rng.ko.xz: kernel/drivers/char/hw_random/rng-core.ko.xz
kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz
kernel/drivers/block/virtio_blk.ko.xz:
kernel/fs/binfmt_misc.ko.xz:
kernel/fs/configfs/configfs.ko.xz:
kernel/fs/fuse/fuse.ko.xz:
";

    fn bus() -> &'static VirtioBus {
        crate::model::arch::find("x86_64").unwrap().bus
    }

    /// A configuration with everything, changed.
    fn config(changes: &[(&str, &str)]) -> String {
        let options = required_features(bus())
            .map(|feature| feature.option)
            .chain(BUILT_IN.iter().map(|(_, option)| *option))
            .chain(WELCOME.iter().map(|feature| feature.option))
            .chain([INITRAMFS, NETWORK.option, DISK.option])
            .chain([FILE_SYSTEM.option, CHECKSUM.option]);
        let value = |option: &str| {
            let change = changes.iter().find(|(name, _)| *name == option);
            change.map_or("y", |(_, value)| *value)
        };
        let lines = options.map(|option| match value(option) {
            "n" => format!("# {option} is not set\n"),
            value => format!("{option}={value}\n"),
        });
        lines.collect()
    }

    /// A VM with these devices.
    fn vm(devices: &[Device]) -> Vm {
        let mut vm = crate::vm::plan::tests::vm();
        vm.kernel.release = "6.1.0".parse().unwrap();
        vm.devices = devices.to_vec();
        vm
    }

    fn plan(config: Option<&str>, dependencies: &str, devices: &[Device]) -> Result<Loads, String> {
        let features = KernelFeatures::new(config, None, dependencies);
        super::plan(&features, &vm(devices)).map_err(|failure| {
            let text = failure.to_string();
            // Without the hint.
            text.split_once(" (")
                .map_or(text.clone(), |(text, _)| text.to_owned())
        })
    }

    const NET: &[Device] = &[Device::Network];

    fn disk(purpose: Purpose) -> Device {
        Device::Disk(Disk { size: 1, purpose })
    }

    fn all_modules() -> String {
        let features = required_features(bus())
            .chain(WELCOME.iter().copied())
            .chain([NETWORK, DISK]);
        let changes = features.map(|feature| (feature.option, "m"));
        config(&changes.collect::<Vec<_>>())
    }

    #[test]
    fn modules_are_those_of_the_kernel() {
        let work = tempfile::tempdir().unwrap();
        let folder = work.path().join("kernel");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("a.ko"), "").unwrap();
        std::fs::write(work.path().join("secret"), "").unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("link.ko")).unwrap();
        let arch = crate::model::arch::find("x86_64").unwrap();
        let kernel = LocalKernel::package(arch, "6.1.0".parse().unwrap(), &folder);
        let files = |kernel: &LocalKernel, name: &str| {
            module_files(kernel, &[name.to_owned()]).map_err(|error| {
                assert_eq!(crate::base::error::exit_status(&error), 3);
                error.to_string()
            })
        };
        assert_eq!(files(&kernel, "a.ko"), Ok(vec![folder.join("a.ko")]));
        for (name, why) in [
            ("../secret", "a path with .."),
            ("kernel/../../secret", "a path with .."),
            ("/etc/passwd", "an absolute path"),
            ("link.ko", "it leads to "),
        ] {
            assert!(files(&kernel, name).unwrap_err().contains(why), "{name}");
        }
        let tree = LocalKernel {
            origin: Origin::Tree,
            ..kernel
        };
        assert!(files(&tree, "link.ko").is_ok());
        assert!(files(&tree, "../secret").is_err());
    }

    #[test]
    fn what_is_built_in_needs_no_bridge() {
        assert_eq!(plan(Some(&config(&[])), "", NET), Ok(Loads::default()));
        // Nothing is known: it is trusted.
        assert_eq!(plan(None, "", NET), Ok(Loads::default()));
    }

    #[test]
    fn modules_are_bridged_each_once_behind_what_they_need() {
        let loads = plan(Some(&all_modules()), DEPENDENCIES, &[]).unwrap();
        let names = |files: &[String]| {
            let names = files.iter().map(|file| module_name(file));
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            names(&loads.bridge),
            "virtio virtio_ring virtio_pci 9pnet 9pnet_virtio netfs 9p overlay \
             virtio_console rng_core virtio_rng binfmt_misc configfs fuse"
        );
        assert!(loads.network.is_empty());
        let wishes = [Device::Network, disk(Purpose::Device("X".into()))];
        let loads = plan(Some(&all_modules()), DEPENDENCIES, &wishes).unwrap();
        assert!(
            names(&loads.bridge).ends_with(
                "virtio_console virtio_blk rng_core virtio_rng binfmt_misc configfs fuse failover \
                 net_failover virtio_net"
            ),
            "{loads:?}"
        );
    }

    #[test]
    fn core_dumps_are_asked_only_of_a_kernel_that_writes_them() {
        let wishes = [Device::Cores("/cores".into())];
        let without = config(&[]) + "# CONFIG_COREDUMP is not set\n";
        let error = plan(Some(&without), "", &wishes).unwrap_err();
        assert!(error.contains("CONFIG_COREDUMP is not set"), "{error}");
        assert!(plan(Some(&without), "", &[]).is_ok());
        let with = config(&[]) + "CONFIG_COREDUMP=y\nCONFIG_ELF_CORE=y\n";
        assert!(plan(Some(&with), "", &wishes).is_ok());
        assert!(plan(None, "", &wishes).is_ok());
    }

    #[test]
    fn without_a_configuration_the_lists_of_modules_count() {
        let features = |builtin| KernelFeatures::new(None, Some(builtin), DEPENDENCIES);
        let everything = "kernel/fs/9p/9p.ko\nkernel/drivers/virtio/virtio_pci.ko\n";
        let loads = super::plan(&features(everything), &vm(&[])).unwrap();
        assert!(!loads.bridge.is_empty());
        let features = KernelFeatures::new(None, Some("kernel/fs/9p/9p.ko\n"), "");
        let failure = super::plan(&features, &vm(&[])).unwrap_err();
        let text = failure.to_string();
        assert!(
            text.contains("no virtio ports: virtio_console is neither built in nor a module"),
            "{text}"
        );
        assert!(!text.contains("9p file system"), "{text}");
    }

    #[test]
    fn a_network_is_built_in_or_loaded_by_init_unless_it_is_compressed() {
        let module = config(&[(NETWORK.option, "m")]);
        let plain = DEPENDENCIES.replace(".ko.xz", ".ko");
        let loads = plan(Some(&module), &plain, NET).unwrap();
        assert_eq!(loads.bridge, Vec::<String>::new());
        assert_eq!(
            loads.network,
            [
                "kernel/net/core/failover.ko",
                "kernel/drivers/net/net_failover.ko",
                "kernel/drivers/net/virtio_net.ko"
            ]
        );
        let loads = plan(Some(&module), DEPENDENCIES, NET).unwrap();
        assert_eq!(loads.bridge.len(), 3);
        assert!(loads.network.is_empty());
        // Nobody asked for it.
        let loads = plan(Some(&module), DEPENDENCIES, &[]);
        assert_eq!(loads, Ok(Loads::default()));
    }

    #[test]
    fn a_disk_with_a_file_system_has_the_file_system_loaded() {
        let wishes = [disk(Purpose::Mounted("/mnt".into()))];
        let names = |files: &[String]| {
            let name = |file: &String| module_name(file);
            files.iter().map(name).collect::<Vec<_>>().join(" ")
        };
        let options = |crc: &'static str| {
            let module = [(FILE_SYSTEM.option, "m"), (CHECKSUM.option, crc)];
            config(&module)
        };
        let plain = "kernel/fs/mbcache.ko:\nkernel/fs/ext4/ext4.ko: kernel/fs/mbcache.ko\n\
                     kernel/crypto/crc32c_generic.ko:\n";
        let loads = plan(Some(&options("m")), plain, &wishes).unwrap();
        assert_eq!(
            names(&loads.file_system),
            "crc32c_generic mbcache ext4",
            "{loads:?}"
        );
        assert!(loads.bridge.is_empty());
        let loads = plan(Some(&options("y")), plain, &wishes).unwrap();
        assert_eq!(names(&loads.file_system), "mbcache ext4");
        // Before there is a root, if init cannot read them.
        let compressed = plain.replace(".ko", ".ko.xz");
        let loads = plan(Some(&options("m")), &compressed, &wishes).unwrap();
        assert!(names(&loads.bridge).contains("crc32c_generic mbcache ext4"));
        assert!(loads.file_system.is_empty());
        let error = plan(Some(&config(&[(FILE_SYSTEM.option, "n")])), "", &wishes).unwrap_err();
        assert_eq!(
            error,
            "the kernel 6.1.0 cannot mount a disk: its CONFIG_EXT4_FS is not set"
        );
    }

    #[test]
    fn what_a_kernel_lacks_is_said_at_once() {
        let error = |changes: &[(&str, &str)], wishes: &[Device]| {
            plan(Some(&config(changes)), "", wishes).unwrap_err()
        };
        assert_eq!(
            error(
                &[
                    ("CONFIG_9P_FS", "n"),
                    ("CONFIG_VIRTIO_CONSOLE", "m"),
                    ("CONFIG_DEVTMPFS", "n")
                ],
                &[]
            ),
            "the kernel 6.1.0 cannot be a guest here: no devtmpfs: its CONFIG_DEVTMPFS is not \
             set; no 9p file system: its CONFIG_9P_FS is not set; no virtio ports: its \
             CONFIG_VIRTIO_CONSOLE is a module, and modules.dep has no virtio_console"
        );
        for (value, why) in [
            ("n", "its CONFIG_VIRTIO_NET is not set"),
            (
                "m",
                "its CONFIG_VIRTIO_NET is a module, and modules.dep has no virtio_net",
            ),
        ] {
            assert_eq!(
                error(&[("CONFIG_VIRTIO_NET", value)], NET),
                format!("the kernel 6.1.0 has no network: {why}")
            );
        }
        let compressed = [("CONFIG_VIRTIO_NET", "m"), (INITRAMFS, "n")];
        let text = plan(Some(&config(&compressed)), DEPENDENCIES, NET).unwrap_err();
        assert!(
            text.contains("it has as modules CONFIG_VIRTIO_NET, and"),
            "{text}"
        );
        let modules = [("CONFIG_9P_FS", "m"), (INITRAMFS, "n")];
        let text = plan(Some(&config(&modules)), DEPENDENCIES, &[]).unwrap_err();
        assert_eq!(
            text,
            "the kernel 6.1.0 cannot be a guest here: it has as modules CONFIG_9P_FS, and takes no \
             initramfs to load them from: its CONFIG_BLK_DEV_INITRD is not set"
        );
    }
}
