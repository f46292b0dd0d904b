//! `kconfig`: print the merged configuration, or audit a finished `.config`.

use std::io::Write;

use crate::base::env::Env;
use crate::base::error::{Failure, FailureKind};
use crate::base::input;
use crate::base::stdout::Stdout;
use crate::base::ui::Verbosity;
use crate::kernel::config::{FinalConfig, State, audit, definitions, merge};
use crate::model::arch;
use crate::model::catalog::Kernels;
use crate::vm::guest::requirements;
use anyhow::Result;

use crate::cli::flags::Kconfig;

/// Runs the command; the exit status of the process.
pub fn run(env: &Env, flags: &Kconfig) -> Result<u8> {
    let kernels = Kernels::load(&env.paths.configs)?;
    let arch = match &flags.arch {
        Some(name) => arch::find(name).ok_or_else(|| {
            let known = kernels.architectures.iter().map(|(arch, _)| arch.name);
            Failure::usage(format!("unknown architecture {name}"))
                .hint(format!("there is {}", known.collect::<Vec<_>>().join(", ")))
        })?,
        None => arch::host().ok_or_else(|| {
            Failure::usage("this machine's architecture is not one of ours")
                .hint("give one with -a")
        })?,
    };
    if let Some(version) = &flags.version {
        kernels.require_series(version.series, arch)?;
    }
    let flavor = kernels.flavor(&flags.flavor)?;
    let merged = merge(&env.paths.configs, arch, &flavor.name)?;
    let mut output = Stdout;

    let Some(path) = &flags.check else {
        let version = flags.version.as_ref();
        let of = version.map_or_else(|| "any version".to_owned(), ToString::to_string);
        writeln!(
            output,
            "# Linux {of}, {}, {} ({}).\n# For make allnoconfig KCONFIG_ALLCONFIG=<this file>.\n",
            arch.name, flavor.name, flavor.description
        )?;
        output.write_all(merged.annotated(version).as_bytes())?;
        return Ok(0);
    };

    let text = input::text(path, input::TEXT)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
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
    let early = requirements::early(&config);
    let audit = audit(&merged, &version, &text).with_modules(&early);
    if env.ui.verbosity() == Verbosity::Verbose {
        for option in &audit.options {
            if !matches!(option.state, State::Lost { .. }) {
                writeln!(output, "{option}")?;
            }
        }
    }
    let lost = match &flags.source {
        Some(source) => definitions::explain(audit.lost(), source, arch)?,
        None => audit.lost().map(ToString::to_string).collect(),
    };
    for line in lost {
        writeln!(output, "{line}")?;
    }
    let (set, absent, lost) = audit.counts();
    env.ui.info(format!(
        "{} against {version} {}: {set} options set, {absent} expected absent, {lost} lost",
        path.display(),
        flavor.name
    ));
    Ok(match lost {
        0 => 0,
        _ => FailureKind::Findings.exit_status(),
    })
}
