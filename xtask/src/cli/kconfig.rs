//! `kconfig`: print the merged configuration, or audit a finished `.config`.

use std::{io::Write, path::PathBuf};

use crate::base::{disk, env::Env, error::Failure, input, lock, paths::Files};
use crate::base::{stdout::Stdout, temporary::Temporary, ui::Verbosity};
use crate::cli::kernels::architecture;
use crate::kernel::build::record;
use crate::kernel::config::record::{ConfigRecord, RECORD_FILE};
use crate::kernel::config::{FinalConfig, OwnFragment, State, audit, definitions, merge};
use crate::model::{catalog::Kernels, version::Version};
use crate::vm::guest::requirements;
use anyhow::Result;
use clap::Args;

/// Print the configuration of a kernel, or audit a finished one
///
/// Merges the fragments of kernel-configs/ for a flavor and an architecture, and prints them with
/// the reason for every option. With --check, compares a finished .config with them instead.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask kconfig 6.1                what a 6.1 is configured with
  cargo xtask kconfig                    all versions, with the ranges of the options
  cargo xtask kconfig --check build/.config
  cargo xtask kconfig 6.1 --check build/.config --source linux-6.1
  cargo xtask kconfig --record ~/linux   which of our options that tree has

Exit status: 1 if --check found an option that is not as wanted.")]
pub struct KconfigFlags {
    /// Print the configuration of this version or series [default: all; --check: the file's]
    pub version: Option<Version>,
    /// Print the configuration of this flavor
    #[arg(short, long, value_name = "FLAVOR", default_value = "default")]
    pub flavor: String,
    /// Print the configuration for this architecture [default: this machine's]
    #[arg(short, long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Merge this fragment of a project's own last; repeatable
    #[arg(long, value_name = "FRAGMENT")]
    pub config: Vec<PathBuf>,
    /// Audit this .config instead
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
    /// Show where the kernel's source tree defines each lost option, and what that depends on
    #[arg(long, value_name = "DIR", requires = "check")]
    pub source: Option<PathBuf>,
    /// Configure these source trees for every flavor and (without --arch) architecture instead, and
    /// record in kernel-configs/audited.toml which options they have
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = ["version", "flavor", "config", "check"])]
    pub record: Vec<PathBuf>,
}

pub fn run(env: &Env, flags: &KconfigFlags) -> Result<u8> {
    if !flags.record.is_empty() {
        return write_record(env, flags);
    }
    let kernels = Kernels::load(&env.paths.configs)?;
    let arch = architecture(flags.arch.as_deref())?;
    if let Some(version) = &flags.version {
        kernels.require_series(version.series, arch)?;
    }
    let flavor = kernels.flavor(&flags.flavor)?;
    let own = OwnFragment::read_all(&flags.config)?;
    let merged = merge(&env.paths.configs, arch, &flavor.name, &own)?;

    let Some(path) = &flags.check else {
        let version = flags.version.as_ref();
        let of = version.map_or_else(|| "any version".to_owned(), ToString::to_string);
        writeln!(
            Stdout,
            "# Linux {of}, {}, {} ({}).\n# For make allnoconfig KCONFIG_ALLCONFIG=<this file>.\n",
            arch.name, flavor.name, flavor.description
        )?;
        Stdout.write_all(merged.annotated(version).as_bytes())?;
        return Ok(0);
    };

    let text =
        input::text(path, input::TEXT).map_err(|error| Failure::usage(format!("{error:#}")))?;
    let config = FinalConfig::parse(&text);
    if config.is_empty() {
        let what = format!("{} is not a kernel configuration", path.display());
        return Err(Failure::usage(what).into());
    }
    let version = flags.version.or(config.version).ok_or_else(|| {
        let what = format!("{} does not say of which version it is", path.display());
        Failure::usage(what).hint("give the version before --check")
    })?;
    kernels.require_series(version.series, arch)?;
    let early = requirements::early(&config, arch.bus);
    let audit = audit(&merged, &version, &text, Some(&early));
    if env.ui.verbosity() == Verbosity::Verbose {
        for option in &audit.options {
            if option.state != State::Lost {
                writeln!(Stdout, "{option}")?;
            }
        }
    }
    let lost = match &flags.source {
        Some(source) => definitions::explain(audit.lost(), source, arch)?,
        None => audit.lost().map(ToString::to_string).collect(),
    };
    for line in lost {
        writeln!(Stdout, "{line}")?;
    }
    let (set, absent, lost) = audit.counts();
    env.ui.info(format!(
        "{} against {version} {}: {set} options set, {absent} expected absent, {lost} lost",
        path.display(),
        flavor.name
    ));
    Ok(super::findings(lost > 0))
}

fn write_record(env: &Env, flags: &KconfigFlags) -> Result<u8> {
    let Files::Directory(configs) = &env.paths.configs else {
        let message = format!("there is no {RECORD_FILE} to write outside of the repository");
        return Err(Failure::usage(message).hint("use cargo xtask there").into());
    };
    // Two at a time would each write the file without what the other one found.
    let _lock = lock::take(env, "record")?;
    let kernels = Kernels::load(&env.paths.configs)?;
    let mut record = ConfigRecord::load(&env.paths.configs)?;
    let only = flags
        .arch
        .is_some()
        .then(|| architecture(flags.arch.as_deref()));
    let only = only.transpose()?;
    let status = record::record_trees(env, &kernels, &flags.record, only, &mut record)?;
    let names = record::names(env, &kernels)?;
    let goal = Temporary::file(&configs.join(RECORD_FILE))?;
    disk::write(goal.path(), record.text(&names))?;
    goal.persist()?;
    Ok(status)
}
