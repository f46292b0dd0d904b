//! The network of a guest, `--net`: QEMU's own user-mode network, in which the guest
//! speaks to the world through sockets that QEMU opens as the user who started it.
//! Nobody can call the guest.

use std::ffi::OsString;

use super::qemu::virtio;
use crate::model::arch::Arch;

/// The guest's address. These are what QEMU's network has without further options
/// (qemu(1), `-netdev user`: `net`, `host`, `dhcpstart` and `dns`), so that nothing has to
/// ask for them, which would take a kernel with packet sockets.
pub const ADDRESS: &str = "10.0.2.15/24";

/// The way out. As an address of its own it is this host: what listens on its loopback
/// can be reached there.
pub const GATEWAY: &str = "10.0.2.2";

/// Passes questions on to the host's name server.
pub const NAMESERVER: &str = "10.0.2.3";

/// QEMU's options. Without IPv6: where the host has none, a guest that has it would try it
/// first every time. Without a boot ROM.
pub fn qemu(arch: &Arch) -> Vec<OsString> {
    let device = format!("{},netdev=net{}", virtio("net", arch), arch.bus.no_rom);
    ["-netdev", "user,id=net,ipv6=off", "-device", &device]
        .map(OsString::from)
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_are_of_one_network() {
        let network = ADDRESS.strip_suffix(".15/24").unwrap();
        for other in [GATEWAY, NAMESERVER] {
            assert!(other.starts_with(network), "{other}");
        }
    }
}
