//! The guest's device nodes that devtmpfs has not, or has with other permissions than
//! udev gives them. The kernel's devtmpfs makes the nodes of all drivers that are there.
//! What loads a driver on first use (`modules.devname`, of depmod's) is not among them,
//! and only root may use most of what is. No udev runs in a guest, because emulated it
//! would take longer than the kernel's boot; init unpacks these nodes from an archive.

use std::path::{Component, Path};

use anyhow::Result;

use crate::archive::cpio;
use crate::base::input;
use crate::vm::guest::requirements::KernelFeatures;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Below `/dev`.
    pub name: String,
    /// Type and permissions, as in stat(2).
    pub mode: u32,
    /// The name of its group.
    pub group: &'static str,
    pub number: (u32, u32),
}

/// Permissions and group by udev's rules (systemd, `rules.d/50-udev-default.rules` and
/// `tmpfiles.d/static-nodes-permissions.conf`); every other node has those of [`OTHERS`].
const ACCESS: &[(&str, u32, &str)] = &[
    ("btrfs-control", 0o660, "disk"),
    ("fuse", 0o666, "root"),
    ("kvm", 0o660, "kvm"),
    ("loop-control", 0o660, "disk"),
    ("mem", 0o640, "kmem"),
    ("net/tun", 0o666, "root"),
    ("port", 0o640, "kmem"),
    ("rfkill", 0o664, "root"),
    ("snd/seq", 0o660, "audio"),
    ("snd/timer", 0o660, "audio"),
    // And all the other ones.
    ("tty0", 0o620, "tty"),
    ("vfio/vfio", 0o666, "root"),
    ("vhost-net", 0o660, "kvm"),
    ("vhost-vsock", 0o660, "kvm"),
];

const OTHERS: (&str, u32, &str) = ("", 0o600, "root");

/// Memory's nodes (Documentation/admin-guide/devices.txt), and what the kernel must have
/// for them.
const MEMORY: &[(&str, u32, &str)] = &[("mem", 1, "CONFIG_DEVMEM"), ("port", 4, "CONFIG_DEVPORT")];

/// Virtual consoles, of a kernel with `CONFIG_VT`: `tty0` to `tty63`.
const CONSOLES: u32 = 64;

/// The nodes of the kernel with this folder of modules.
pub fn nodes(modules: &Path, features: &KernelFeatures) -> Result<Vec<Node>> {
    let read = |name: &str| input::text_if_any(&modules.join(name), input::TEXT);
    let mut nodes = built_in(&read("modules.builtin.modinfo")?.unwrap_or_default());
    nodes.extend(known(features));
    nodes.extend(loading(&read("modules.devname")?.unwrap_or_default()));
    Ok(nodes)
}

fn node(name: &str, kind: u32, number: (u32, u32)) -> Node {
    let found = ACCESS.iter().find(|(known, ..)| *known == name);
    let &(_, mode, group) = found.unwrap_or(&OTHERS);
    Node {
        name: name.to_owned(),
        mode: kind | mode,
        group,
        number,
    }
}

/// Lines are `MODULE NAME TYPE MAJOR:MINOR`, the last two as one word, e.g.
/// `loop loop-control c10:237` (kmod's depmod writes them, systemd's kmod-static-nodes reads
/// them). What is anything else is passed over.
fn loading(text: &str) -> Vec<Node> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (_module, name, number) = (words.next()?, words.next()?, words.next()?);
        let mut parts = Path::new(name).components();
        let inside = parts.all(|part| matches!(part, Component::Normal(_)));
        if line.starts_with('#') || !inside {
            return None;
        }
        let kind = match number.chars().next()? {
            'c' => cpio::CHARACTER,
            'b' => cpio::BLOCK,
            _ => return None,
        };
        let (major, minor) = number[1..].split_once(':')?;
        Some(node(name, kind, (major.parse().ok()?, minor.parse().ok()?)))
    };
    text.lines().filter_map(parse).collect()
}

/// Nodes of built-in drivers, from what `modules.builtin.modinfo` says (kbuild(5) of the
/// kernel: strings `MODULE.KEY=VALUE`, each with a NUL). The aliases of a driver name its
/// node and, apart from that, its number. Only those in [`ACCESS`]: the others are as
/// devtmpfs makes them. `kvm` is made by devtmpfs where the processor can do it.
fn built_in(text: &str) -> Vec<Node> {
    let aliases = |prefix: &'static str| {
        text.split('\0').filter_map(move |word| {
            let (module, value) = word.split_once(".alias=")?;
            Some((module, value.strip_prefix(prefix)?))
        })
    };
    let number = |module: &str| {
        let (_, number) = aliases("char-major-").find(|(of, _)| *of == module)?;
        let (major, minor) = number.split_once('-')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    aliases("devname:")
        .filter(|(_, name)| *name != "kvm" && ACCESS.iter().any(|(known, ..)| known == name))
        .filter_map(|(module, name)| Some(node(name, cpio::CHARACTER, number(module)?)))
        .collect()
}

/// Nodes with numbers that never change, of a kernel that is known to have them.
fn known(features: &KernelFeatures) -> Vec<Node> {
    let has = |option| features.has(option) == Some(true);
    let memory = MEMORY.iter().filter(|(.., option)| has(option));
    let memory = memory.map(|(name, minor, _)| node(name, cpio::CHARACTER, (1, *minor)));
    let consoles = (0..CONSOLES).filter(|_| has("CONFIG_VT"));
    let consoles = consoles.map(|minor| Node {
        name: format!("tty{minor}"),
        ..node("tty0", cpio::CHARACTER, (4, minor))
    });
    memory.chain(consoles).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(nodes: &[Node]) -> Vec<String> {
        let line = |node: &Node| {
            let (major, minor) = node.number;
            let (name, mode, group) = (&node.name, node.mode, node.group);
            format!("{name} {mode:o} {group} {major} {minor}")
        };
        nodes.iter().map(line).collect()
    }

    #[test]
    fn nodes_are_read_and_nonsense_is_not() {
        let list = "# Device nodes to trigger on-demand module loading.\n\
                    loop loop-control c10:237\n\
                    snd-timer snd/timer c116:33\n\
                    fuse fuse c10:229\n\
                    nbd nbd0 b43:0\n\
                    bad ../passwd c1:1\n\
                    bad /etc/x c1:1\n\
                    bad x p1:1\n\
                    bad x c1\n\
                    bad x\n\n\
                    bad x \u{e4}1:1\n";
        assert_eq!(
            text(&loading(list)),
            [
                "loop-control 20660 disk 10 237",
                "snd/timer 20660 audio 116 33",
                "fuse 20666 root 10 229",
                "nbd0 60600 root 43 0"
            ]
        );
    }

    #[test]
    fn built_in_drivers_have_the_permissions_of_udevs_rules() {
        let list = "fuse.alias=devname:fuse\0fuse.alias=char-major-10-229\0\
                    kvm.alias=devname:kvm\0kvm.alias=char-major-10-232\0\
                    tun.alias=char-major-10-200\0tun.alias=devname:net/tun\0\
                    8250.alias=char-major-4-*\0cuse.alias=devname:cuse\0\
                    loop.alias=devname:loop-control\0loop.alias=block-major-7-*\0";
        assert_eq!(
            text(&built_in(list)),
            ["fuse 20666 root 10 229", "net/tun 20666 root 10 200"]
        );
    }

    #[test]
    fn nodes_of_options_are_made_where_the_option_is_known_to_be_set() {
        let config = "CONFIG_DEVMEM=y\nCONFIG_VT=y\n";
        let nodes = text(&known(&KernelFeatures::new(Some(config), None, "")));
        assert_eq!(nodes.len(), 65);
        assert_eq!(nodes[..2], ["mem 20640 kmem 1 1", "tty0 20620 tty 4 0"]);
        assert!(known(&KernelFeatures::default()).is_empty());
    }

    #[test]
    fn a_kernel_without_lists_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let nodes = nodes(directory.path(), &KernelFeatures::default()).unwrap();
        assert!(nodes.is_empty());
    }
}
