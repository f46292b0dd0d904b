//! Device nodes of a guest whose first use loads a module, as `modules.dep`'s neighbour
//! `modules.devname` has them. On other systems udev makes them. They are brought to the
//! guest in one archive, because a program for each takes longer than the rest of init.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Component, Path};

use anyhow::{Context, Result};

use crate::distribution::cpio;
use crate::input;

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    /// Below `/dev`.
    name: String,
    /// Type and permissions, as in stat(2): only root may use what udev has not looked at.
    mode: u32,
    major: u32,
    minor: u32,
}

/// The permissions of all of them.
const ACCESS: u32 = 0o600;

/// Writes the nodes of the kernel whose modules are in a folder, as an archive of cpio.
/// Nothing is written if there are none.
pub fn write(modules: &Path, goal: &Path) -> Result<()> {
    let list = modules.join("modules.devname");
    let Some(text) = input::text_if_any(&list, input::TEXT)? else {
        return Ok(());
    };
    let nodes = nodes(&text);
    if nodes.is_empty() {
        return Ok(());
    }
    let context = || format!("cannot write {}", goal.display());
    let file = File::create(goal).with_context(context)?;
    let mut archive = cpio::Writer::new(BufWriter::new(file));
    for node in nodes {
        archive
            .device(&node.name, node.mode, node.major, node.minor)
            .with_context(context)?;
    }
    let file = archive.finish().with_context(context)?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)
        .with_context(context)?;
    Ok(())
}

/// Lines are `MODULE NAME TYPE MAJOR:MINOR`, the last two as one word, e.g.
/// `loop loop-control c10:237` (kmod's depmod writes them, systemd's kmod-static-nodes reads
/// them). What is anything else is passed over.
fn nodes(text: &str) -> Vec<Node> {
    let node = |line: &str| {
        let mut words = line.split_whitespace();
        let (_module, name, number) = (words.next()?, words.next()?, words.next()?);
        let inside = |part| matches!(part, Component::Normal(_));
        if line.starts_with('#') || !Path::new(name).components().all(inside) {
            return None;
        }
        let kind = match number.chars().next()? {
            'c' => cpio::CHARACTER,
            'b' => cpio::BLOCK,
            _ => return None,
        };
        let (major, minor) = number[1..].split_once(':')?;
        Some(Node {
            name: name.to_owned(),
            mode: kind | ACCESS,
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    };
    text.lines().filter_map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_and_nonsense_is_not() {
        let text = "# Device nodes to trigger on-demand module loading.\n\
                    loop loop-control c10:237\n\
                    snd-timer snd/timer c116:33\n\
                    nbd nbd0 b43:0\n\
                    bad ../passwd c1:1\n\
                    bad /etc/x c1:1\n\
                    bad x p1:1\n\
                    bad x c1\n\
                    bad x\n\n\
                    bad x \u{e4}1:1\n";
        let found = nodes(text);
        let found = found.iter().map(|node| {
            format!(
                "{} {:o} {} {}",
                node.name, node.mode, node.major, node.minor
            )
        });
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                "loop-control 20600 10 237",
                "snd/timer 20600 116 33",
                "nbd0 60600 43 0"
            ]
        );
    }

    #[test]
    fn without_nodes_there_is_no_archive() {
        let directory = tempfile::tempdir().unwrap();
        let goal = directory.path().join("devices");
        write(directory.path(), &goal).unwrap();
        assert!(!goal.exists());
        let list = directory.path().join("modules.devname");
        std::fs::write(&list, "# nothing\n").unwrap();
        write(directory.path(), &goal).unwrap();
        assert!(!goal.exists());
        std::fs::write(&list, "loop loop-control c10:237\n").unwrap();
        write(directory.path(), &goal).unwrap();
        assert!(std::fs::read(&goal).unwrap().starts_with(b"070701"));
    }
}
