//! The network of a guest, `--net`: QEMU's own user-mode network, in which the guest
//! speaks to the world through sockets that QEMU opens as the user who started it.
//! Nobody can call the guest.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::failure::Failure;
use crate::kconfig::{FinalConfig, Value};
use crate::kernel::LocalKernel;

/// The guest's address. These are what QEMU's network has without further options
/// (qemu(1), `-netdev user`: `net`, `host`, `dhcpstart` and `dns`), so that nothing has to
/// ask for them, which would take a kernel with packet sockets.
pub const ADDRESS: &str = "10.0.2.15/24";

/// The way out. As an address of its own it is this host: what listens on its loopback
/// can be reached there.
pub const GATEWAY: &str = "10.0.2.2";

/// Passes questions on to the host's name server.
pub const NAMESERVER: &str = "10.0.2.3";

/// QEMU's options, in pairs. Without IPv6: where the host has none, a guest that has it
/// would try it first every time. Without a boot ROM, which is a file that may be missing
/// and takes time to run.
pub const QEMU: [(&str, &str); 2] = [
    ("-netdev", "user,id=net,ipv6=off"),
    ("-device", "virtio-net-pci,netdev=net,romfile="),
];

/// What init does for the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The driver's modules in the order in which they are loaded; none if it is built in.
    pub modules: Vec<PathBuf>,
}

/// How a kernel comes to its driver, by its configuration and its `modules.dep`. A kernel
/// without a configuration beside it is trusted to have what it needs.
///
/// # Errors
///
/// A set-up failure: it has no driver.
pub fn plan(kernel: &LocalKernel) -> Result<Network> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let dependencies = || read(&kernel.modules.join("modules.dep")).unwrap_or_default();
    let config = kernel.config.as_deref().and_then(read);
    let modules = driver(config.as_deref(), dependencies).map_err(|why| {
        Failure::setup(format!(
            "the kernel {} has no network: {why}",
            kernel.release
        ))
        .hint("leave out --net, or take a kernel with CONFIG_VIRTIO_NET")
    })?;
    Ok(Network {
        modules: modules
            .into_iter()
            .map(|module| kernel.modules.join(module))
            .collect(),
    })
}

fn driver(
    config: Option<&str>,
    dependencies: impl FnOnce() -> String,
) -> Result<Vec<String>, String> {
    let Some(config) = config else {
        return Ok(Vec::new());
    };
    let config = FinalConfig::parse(config);
    match config.get("CONFIG_VIRTIO_NET") {
        Value::Yes => Ok(Vec::new()),
        Value::Module => load_order(&dependencies(), "virtio_net")
            .ok_or_else(|| "modules.dep has no virtio_net".to_owned()),
        _ => Err("its CONFIG_VIRTIO_NET is not set".to_owned()),
    }
}

/// The files of a module and of what it needs, in the order in which they are loaded.
/// A line of modules.dep is `FILE: FILE...`, and what a module needs is needed by those
/// to its left (depmod(8), modules.dep(5)).
fn load_order(dependencies: &str, module: &str) -> Option<Vec<String>> {
    let is_module = |file: &str| {
        let name = file.rsplit('/').next().unwrap_or(file);
        // The file may be compressed, and `-` and `_` are one to the kernel.
        let name = name.split('.').next().unwrap_or(name);
        name.replace('-', "_") == module
    };
    let (file, needs) = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(file, _)| is_module(file))?;
    let needs = needs.split_whitespace().rev().map(str::to_owned);
    Some(needs.chain([file.to_owned()]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/fs/virtio_net_other.ko:
kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz
kernel/net/core/failover.ko.xz:
";

    #[test]
    fn the_driver_is_built_in_or_loaded_with_what_it_needs() {
        let find = |config| driver(config, || DEPENDENCIES.to_owned());
        assert_eq!(find(None), Ok(Vec::new()));
        assert_eq!(find(Some("CONFIG_VIRTIO_NET=y\n")), Ok(Vec::new()));
        assert_eq!(
            find(Some("CONFIG_VIRTIO_NET=m\n")).unwrap(),
            [
                "kernel/net/core/failover.ko.xz",
                "kernel/drivers/net/net_failover.ko.xz",
                "kernel/drivers/net/virtio_net.ko.xz"
            ]
        );
        for config in ["", "# CONFIG_VIRTIO_NET is not set\n"] {
            assert_eq!(
                find(Some(config)),
                Err("its CONFIG_VIRTIO_NET is not set".to_owned())
            );
        }
        let lacking = driver(Some("CONFIG_VIRTIO_NET=m\n"), String::new);
        assert_eq!(lacking, Err("modules.dep has no virtio_net".to_owned()));
    }

    #[test]
    fn the_addresses_are_of_one_network() {
        let network = ADDRESS.strip_suffix(".15/24").unwrap();
        for other in [GATEWAY, NAMESERVER] {
            assert!(other.starts_with(network), "{other}");
        }
    }
}
