//! `cargo xtask prune`: see [`crate::model::retention`].

use std::{num::NonZeroUsize, time::SystemTime};

use crate::base::{env::Env, error::Failure, stdout, table, time, ui::Ui};
use crate::cli::kernels::all_or;
use crate::cli::release::ReleaseFlags;
use crate::model::{package_name::PackageName, retention};
use crate::release::{self, ReleaseStore, download::megabytes, github::Github};
use crate::root::folder;
use crate::supply::{list::disk_usage, prune};
use anyhow::Result;
use clap::Args;

/// Delete old kernels from this machine, or from the release
///
/// Keeps the N newest kernels of each series, flavor and architecture. On this machine it deletes
/// unpacked kernels (counting those of distributions apart), package files, and guests' roots that
/// newer ones have replaced or that were not used for 30 days; in the release, finished packages, and
/// uploads begun over a day ago and never finished. Leaves files with other names alone. Shows what it
/// would delete and asks; without a terminal it needs --yes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask prune --keep 1                      on this machine
  cargo xtask prune --keep 1 --dry-run            only shows what would go
  cargo xtask prune --keep 1 -a s390x             only kernels of this architecture
  cargo xtask prune --remote --keep 2 --repo me/drgn
  cargo xtask prune --keep 1 --yes                without a question, for scripts")]
pub struct PruneFlags {
    /// Keep this many of each series, flavor and architecture, at least 1
    #[arg(long, value_name = "N")]
    pub keep: NonZeroUsize,
    /// Delete only kernels of this architecture, of foreign (all but this host's), or of all;
    /// comma-separated, repeatable [default: all]
    #[arg(short, long, value_name = "ARCH", value_delimiter = ',')]
    pub arch: Vec<String>,
    /// Delete kernels on this machine [default]
    #[arg(long, conflicts_with = "remote")]
    pub local: bool,
    /// Delete kernels of the release
    #[arg(long)]
    pub remote: bool,
    /// Show what would be deleted, and delete nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Delete without a question
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub release: ReleaseFlags,
}

pub fn run(env: &Env, flags: &PruneFlags) -> Result<u8> {
    match flags.remote {
        true => remote(env, flags)?,
        false => on_this_machine(env, flags)?,
    }
    Ok(0)
}

/// Whether something may be done: `yes` was said before, or is the answer to a question such
/// as `delete 3?`.
pub fn confirm(question: &str, yes: bool, ui: &Ui) -> Result<bool> {
    if !yes && !Ui::can_ask() {
        let message = format!("{question} There is no terminal to ask on");
        return Err(Failure::usage(message).hint("--yes answers it").into());
    }
    Ok(yes || ui.ask(question)?)
}

fn on_this_machine(env: &Env, flags: &PruneFlags) -> Result<()> {
    let mut entries = prune::entries(&env.paths)?;
    let arches = all_or(&flags.arch)?;
    entries.retain(|entry| arches.contains(&entry.kernel.name.arch));
    let kernels = entries.iter().map(|entry| entry.kernel.clone());
    let old = retention::select(&kernels.collect::<Vec<_>>(), flags.keep, now());
    let old = Vec::from_iter(old.iter().map(|deletion| &entries[deletion.index]));
    let rows = old.iter().map(|entry| {
        let note = entry.path.display().to_string();
        row(&entry.kernel.name, entry.bytes, note)
    });
    let mut rows = rows.collect::<Vec<_>>();
    let mut roots = Vec::new();
    for arch in arches {
        for root in folder::old(&env.paths, arch, SystemTime::now())? {
            let (name, note) = (
                format!("root {}", root.suite),
                root.path.display().to_string(),
            );
            rows.push((name, arch.name, disk_usage(&root.path)?, note));
            roots.push(root);
        }
    }
    if agreed(rows, flags, &env.ui)? {
        for entry in old {
            prune::delete(env, &entry.kernel.name, &entry.path)?;
        }
        for root in roots {
            folder::delete(env, &root)?;
        }
    }
    Ok(())
}

fn remote(env: &Env, flags: &PruneFlags) -> Result<()> {
    let store = Github::new(flags.release.client(env)?, &env.ui);
    if !flags.dry_run {
        store.client.require_token("delete kernels")?;
    }
    let mut packages = store.contents()?.packages;
    let arches = all_or(&flags.arch)?;
    packages.retain(|package| arches.contains(&package.name.arch));
    let old = release::old_packages(&packages, flags.keep, now());
    let rows = old.iter().map(|(package, reason)| {
        let note = reason.words().to_owned();
        row(&package.name, package.size, note)
    });
    if agreed(rows.collect(), flags, &env.ui)? {
        release::delete(&old, &store, &env.ui)?;
    }
    Ok(())
}

fn now() -> u64 {
    time::unix(SystemTime::now())
}

/// Name, architecture, bytes and a note of something that is to be deleted.
type OldThing = (String, &'static str, u64, String);

fn row(name: &PackageName, bytes: u64, note: String) -> OldThing {
    (name.release.to_string(), name.arch.name, bytes, note)
}

/// Shows what is to be deleted; whether there is anything and it may be.
fn agreed(old: Vec<OldThing>, flags: &PruneFlags, ui: &Ui) -> Result<bool> {
    if old.is_empty() {
        ui.info("nothing to delete");
        return Ok(false);
    }
    let size = megabytes(old.iter().map(|(_, _, bytes, _)| bytes).sum());
    let question = format!("delete {} with {size}?", old.len());
    let mut lines = vec![["ACTION", "KERNEL", "ARCH", "SIZE", "NOTE"].map(str::to_owned)];
    lines.extend(old.into_iter().map(|(name, arch, bytes, note)| {
        let action = "delete".to_owned();
        [action, name, arch.to_owned(), megabytes(bytes), note]
    }));
    stdout::print(&table::columns(&lines, &[3]))?;
    let agreed = !flags.dry_run && confirm(&question, flags.yes, ui)?;
    if !agreed {
        ui.info("nothing was deleted");
    }
    Ok(agreed)
}
