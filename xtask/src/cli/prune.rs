//! `cargo xtask prune`: see [`crate::model::retention`].

use std::time::SystemTime;

use crate::base::{env::Env, error::Failure, stdout, table, time, ui::Ui};
use crate::model::retention;
use crate::release::{self, ReleaseStore};
use crate::release::{github::Github, plan::megabytes};
use crate::supply::prune;
use anyhow::Result;

use crate::cli::release::ReleaseFlags;
use clap::Args;
use std::num::NonZeroUsize;

/// Delete old kernels from this machine, or from the release
///
/// Keeps the N newest kernels of each series, flavor and architecture. On this machine it deletes
/// unpacked kernels (it counts those of distributions apart from vmtest's) and package files; in
/// the release, finished packages, and uploads that were begun over a day ago and never finished.
/// Leaves files with other names alone. Shows what it would delete and asks; without a terminal it
/// deletes only with --yes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask prune --keep 1                      on this machine
  cargo xtask prune --keep 1 --dry-run            only shows what would go
  cargo xtask prune --remote --keep 2 --repo me/drgn
  cargo xtask prune --keep 1 --yes                without a question, for scripts")]
pub struct PruneFlags {
    /// Keep this many of each series, flavor and architecture, at least 1
    #[arg(long, value_name = "N")]
    pub keep: NonZeroUsize,
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

/// Shows what would go, asks, and deletes it; the exit status.
pub fn run(env: &Env, flags: &PruneFlags) -> Result<u8> {
    if flags.remote {
        remote(env, flags)
    } else {
        on_this_machine(env, flags)
    }
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

fn on_this_machine(env: &Env, flags: &PruneFlags) -> Result<u8> {
    let entries = prune::entries(&env.paths)?;
    let kernels = entries
        .iter()
        .map(|entry| entry.kernel.clone())
        .collect::<Vec<_>>();
    let old = retention::select(&kernels, flags.keep, now())
        .into_iter()
        .map(|deletion| &entries[deletion.index])
        .collect::<Vec<_>>();
    let rows = old.iter().map(|entry| Row {
        name: entry.kernel.name.release.to_string(),
        arch: entry.kernel.name.arch.name,
        bytes: entry.bytes,
        note: entry.path.display().to_string(),
    });
    if !agreed(rows.collect(), flags, &env.ui)? {
        return Ok(0);
    }
    for entry in old {
        prune::delete(env, &entry.kernel.name, &entry.path)?;
    }
    Ok(0)
}

fn remote(env: &Env, flags: &PruneFlags) -> Result<u8> {
    let store = Github::new(flags.release.client(env)?, &env.ui);
    if !flags.dry_run {
        store.require_token("delete kernels")?;
    }
    let packages = store.contents()?.packages;
    let old = release::old_packages(&packages, flags.keep, now());
    let rows = old.iter().map(|(package, reason)| Row {
        name: package.name.release.to_string(),
        arch: package.name.arch.name,
        bytes: package.size,
        note: reason.words().to_owned(),
    });
    if agreed(rows.collect(), flags, &env.ui)? {
        release::delete(&old, &store, &env.ui)?;
    }
    Ok(0)
}

fn now() -> u64 {
    time::unix(SystemTime::now())
}

/// What is to be deleted, for people.
struct Row {
    name: String,
    arch: &'static str,
    bytes: u64,
    note: String,
}

/// Shows what is to be deleted; whether there is anything and it may be.
fn agreed(rows: Vec<Row>, flags: &PruneFlags, ui: &Ui) -> Result<bool> {
    if rows.is_empty() {
        ui.info("nothing to delete");
        return Ok(false);
    }
    let mut lines = vec![["ACTION", "KERNEL", "ARCH", "SIZE", "NOTE"].map(str::to_owned)];
    let bytes = rows.iter().map(|row| row.bytes).sum::<u64>();
    let number = rows.len();
    lines.extend(rows.into_iter().map(|row| {
        [
            "delete".to_owned(),
            row.name,
            row.arch.to_owned(),
            megabytes(row.bytes, false),
            row.note,
        ]
    }));
    stdout::print(&table::columns(&lines, &[3]))?;
    let size = megabytes(bytes, false);
    if !flags.dry_run && confirm(&format!("delete {number} with {size}?"), flags.yes, ui)? {
        return Ok(true);
    }
    ui.info("nothing was deleted");
    Ok(false)
}
