//! Writes the memory of a guest that is in trouble to a file that drgn and crash open.

pub mod kdump;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use serde_json::json;

use crate::base::{disk, input, temporary::Temporary, ui::Ui};
use crate::vm::dump::kdump::{Assembler, Vmcoreinfo};
use crate::vm::qmp::Monitor;

/// How long a dump may take. QEMU compresses some 50 MiB in a second.
const LIMIT: Duration = Duration::from_secs(900);

/// How long QEMU may take for a page.
const SHORT: Duration = Duration::from_secs(30);

/// The most that a kernel's description may have: it is 4 KiB and a note's head.
const LONGEST_NOTE: u64 = 64 << 10;

/// Writes the memory, of so many bytes, to `goal`; whether the kernel's description is
/// in it, without which drgn cannot open it. The guest stands still meanwhile.
/// `note`: the address and the size of that description. `directory` is for what is needed on
/// the way.
pub fn write(
    monitor: &mut Monitor,
    note: Option<(u64, u64)>,
    memory: u64,
    directory: &Path,
    goal: &Path,
    ui: &Ui,
) -> Result<bool> {
    let temporary = Temporary::file(goal)?;
    // A dump has the headers, a bit for each page (twice) and 24 bytes for each page besides
    // what it holds, all in all less than a hundredth of the memory.
    let longest = memory + memory / 64 + (1 << 20);
    let folder = goal.parent().unwrap_or(goal);
    let hint = "a guest with less --memory needs less";
    disk::require_space(folder, "a dump of the guest's memory", longest, hint)?;
    let mut task = ui.task("writing the guest's memory");
    let pipe = directory.join("dump");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .with_context(|| format!("cannot create {}", pipe.display()))?;
    // QEMU finds a reader and does not wait; nor do we wait for it.
    let reader = rustix::fs::open(&pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
    let mut reader = File::from(reader.context("cannot open the dump's pipe")?);
    // More at once; the default will do.
    let _ = rustix::pipe::fcntl_setpipe_size(&reader, 1 << 20);
    let file = temporary.as_file().try_clone();
    let mut assembler = Assembler::new(file.context("cannot share the dump's file")?, longest);
    let mut buffer = vec![0; 1 << 20];
    let mut written = 0_u64;
    let mut drain = |assembler: &mut Assembler| -> Result<bool> {
        match reader.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(n) => {
                written += n as u64;
                task.update(format!("{} MiB", written >> 20));
                assembler.push(&buffer[..n]).map(|()| true)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => Ok(false),
                ErrorKind::Interrupted => Ok(true),
                _ => Err(error).context("cannot read the dump from QEMU"),
            },
        }
    };
    let arguments = json!({
        "paging": false,
        "protocol": format!("file:{}", utf8(&pipe)?),
        // All versions have it if they have zlib, and all readers read it.
        "format": "kdump-zlib",
    });
    monitor.execute("dump-guest-memory", &arguments, LIMIT, || {
        drain(&mut assembler)
    })?;
    while !assembler.ended() && drain(&mut assembler)? {}
    let file = assembler.finish()?;
    let description = note
        .map(|note| description(monitor, note, directory))
        .transpose()?
        .flatten();
    if let Some(description) = &description {
        kdump::add_vmcoreinfo(&file, description)?;
    }
    temporary.persist()?;
    Ok(description.is_some())
}

/// Reads the kernel's description from the guest's memory; `None` if there is none.
fn description(
    monitor: &mut Monitor,
    (address, size): (u64, u64),
    directory: &Path,
) -> Result<Option<Vmcoreinfo>> {
    if size > LONGEST_NOTE {
        return Ok(None);
    }
    let path = directory.join("vmcoreinfo");
    let arguments = json!({"val": address, "size": size, "filename": utf8(&path)?});
    monitor.execute("pmemsave", &arguments, SHORT, || Ok(false))?;
    let bytes = input::bytes(&path, LONGEST_NOTE)?;
    ensure!(
        bytes.len() as u64 == size,
        "QEMU has not written {}",
        path.display()
    );
    Ok(kdump::vmcoreinfo(&bytes))
}

/// A path as JSON has it.
fn utf8(path: &Path) -> Result<&str> {
    let text = path.to_str();
    text.with_context(|| format!("cannot tell QEMU the path {}", path.display()))
}
