//! `build-kernel DIR --in-place`: configures and builds a source tree in itself, as its
//! developer would, so that the next build makes only what has changed.
//!
//! make gets no variable that a plain `make` in the tree would not have, unless a tool and
//! the version do not go together: whoever calls make by hand in between must not have
//! everything made again. So nothing of what makes our packages reproducible is here, and
//! nothing is packaged; [`crate::kernel::built_tree`] boots what comes of it.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::pipeline::{BuildTree, FRAGMENT, log_file, tools};
use super::toolchain::{Remedy, Toolchain};
use super::{BuildRequest, make::Make};
use crate::base::{
    disk, env::Env, input, lock, process::shell_quote, programs::processors, ui::Ui,
};
use crate::kernel::{built_tree, config, source::WantedSource, source::directory};
use crate::model::arch;
use crate::model::{catalog::Kernels, kernel::LocalKernel};

/// In the tree: the options that it was configured with, once that has succeeded.
/// [`FRAGMENT`], which is there before, says whose configuration it is.
const CONFIGURED: &str = ".vmtest-configured";

/// The name under which a configuration is kept that we did not make.
const KEPT: &str = ".config.before-vmtest";

/// Configures, unless that was done before with the same options, and builds. What is wanted is a
/// directory.
pub fn build(env: &Env, request: &BuildRequest) -> Result<LocalKernel> {
    let WantedSource::Directory(directory) = &request.wanted else {
        bail!("only a source tree can be built in place");
    };
    let tree = &directory::canonical(directory)?;
    let (version, _) = directory::version(tree)?;
    Kernels::load(&env.paths.configs)?.flavor(&request.flavor)?;
    let merged = config::merge(
        &env.paths.configs,
        request.arch,
        &request.flavor,
        &request.own,
    )?;
    let toolchain = tools(env, request, &version)?;
    let folder = built_tree::folder(tree, &env.paths);
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let _lock = lock::take(env, &format!("in-place-{name}"))?;
    let log = log_file(&env.paths, &format!("build-{name}"))?;
    env.ui.info(format!(
        "building Linux {version} in {} with {}; log: {}",
        tree.display(),
        toolchain.compiler.text,
        log.display()
    ));
    if !toolchain.remedies(Remedy::PaholeFlag).is_empty() {
        toolchain.write_wrappers(tree)?;
    }
    let build = BuildTree {
        env,
        arch: request.arch,
        name: format!("Linux {version}"),
        make: make(request, tree, toolchain),
        log,
    };
    let fragments = merged.allconfig(&version);
    if to_be_configured(tree, &fragments) {
        keep_configuration(tree, &env.ui)?;
        let configured = tree.join(CONFIGURED);
        let _ = std::fs::remove_file(&configured);
        build.configure(&version, &merged)?;
        disk::write(&configured, fragments)?;
    } else {
        env.ui
            .verbose("it was configured with these options before");
    }
    build.compile(None)?;
    let kernel = built_tree::open(env, tree)?;
    env.ui.info(format!(
        "built {}; to boot it: cargo xtask vm -k {} -- uname -r",
        kernel.release,
        shell_quote(&tree.display().to_string())
    ));
    Ok(kernel)
}

/// Whether `.config` has to be made. One that was made from the same options is left
/// alone: its owner may have changed it since.
fn to_be_configured(tree: &Path, fragments: &str) -> bool {
    let same = input::text(&tree.join(CONFIGURED), input::TEXT).is_ok_and(|old| old == fragments);
    !same || !tree.join(".config").is_file()
}

/// Keeps a configuration that is not ours.
fn keep_configuration(tree: &Path, ui: &Ui) -> Result<()> {
    let (config, kept) = (tree.join(".config"), tree.join(KEPT));
    if !config.is_file() || tree.join(FRAGMENT).exists() {
        return Ok(());
    }
    std::fs::copy(&config, &kept)
        .with_context(|| format!("cannot keep {} as {KEPT}", config.display()))?;
    let kept = kept.display();
    ui.info(format!("the configuration that was there is {kept}"));
    Ok(())
}

fn make(request: &BuildRequest, tree: &Path, toolchain: Toolchain) -> Make {
    // ccache would be another compiler to make than that of a plain `make`.
    let toolchain = Toolchain {
        ccache: false,
        ..toolchain
    };
    let mut variables = Vec::new();
    let mut unless = |usual: &str, name: &str, value: &str| {
        if value != usual {
            variables.push(format!("{name}={value}"));
        }
    };
    let host = arch::host().map_or("", |arch| arch.kernel);
    let flags = |kind| toolchain.remedies(kind).join(" ");
    unless(host, "ARCH", request.arch.kernel);
    unless(
        "",
        "CROSS_COMPILE",
        toolchain.cross.as_deref().unwrap_or_default(),
    );
    unless("gcc", "CC", &toolchain.cc());
    unless("gcc", "HOSTCC", &toolchain.host_cc());
    unless("", "KCFLAGS", &flags(Remedy::CompilerFlag));
    unless("", "HOSTCFLAGS", &flags(Remedy::HostFlag));
    if !flags(Remedy::PaholeFlag).is_empty() {
        variables.extend(toolchain.pahole_variable(tree));
    }
    let needed = toolchain.remedies(Remedy::Variable).into_iter();
    variables.extend(needed.map(str::to_owned));
    Make {
        source: tree.to_owned(),
        build: tree.to_owned(),
        jobs: request.jobs.unwrap_or_else(processors).max(1),
        variables,
        cache: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::toolchain::example;
    use super::*;

    fn arguments(toolchain: Toolchain) -> Vec<String> {
        let version = "6.12.1".parse().unwrap();
        let request = BuildRequest {
            jobs: Some(3),
            ..BuildRequest::new(version, "default", arch::host().unwrap())
        };
        make(&request, Path::new("/l"), toolchain).arguments(&["bzImage"])
    }

    #[test]
    fn make_is_called_as_anybody_would() {
        let plain = ["-C", "/l", "-j3", "bzImage"];
        assert_eq!(arguments(example(12, "6.12.1")), plain);
        let clang = Toolchain {
            program: "clang".into(),
            host_program: "clang".into(),
            ..example(12, "6.12.1")
        };
        let named = ["-C", "/l", "-j3", "CC=clang", "HOSTCC=clang", "bzImage"];
        assert_eq!(arguments(clang), named);
        // What does not go together needs help all the same.
        let old = arguments(example(15, "5.10.1")).join(" ");
        for word in [
            "CC=gcc -std=gnu11",
            "WERROR=0",
            "PAHOLE=/l/.vmtest-tools/pahole",
        ] {
            assert!(old.contains(word), "{word}: {old}");
        }
    }

    #[test]
    fn a_configuration_is_made_once_and_a_foreign_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path();
        let write = |name: &str, text: &str| std::fs::write(tree.join(name), text).unwrap();
        let ui = Ui::new(crate::base::ui::Verbosity::Quiet);
        assert!(to_be_configured(tree, "A=y\n"));
        keep_configuration(tree, &ui).unwrap();
        assert!(!tree.join(KEPT).exists());

        write(".config", "THEIRS=y\n");
        assert!(to_be_configured(tree, "A=y\n"));
        keep_configuration(tree, &ui).unwrap();
        let kept = || std::fs::read_to_string(tree.join(KEPT)).unwrap();
        assert_eq!(kept(), "THEIRS=y\n");

        write(FRAGMENT, "A=y\n");
        write(".config", "A=y\nMORE=y\n");
        assert!(to_be_configured(tree, "A=y\n"), "that did not succeed");
        write(CONFIGURED, "A=y\n");
        assert!(!to_be_configured(tree, "A=y\n"));
        assert!(to_be_configured(tree, "A=y\nB=y\n"));
        keep_configuration(tree, &ui).unwrap();
        assert_eq!(
            kept(),
            "THEIRS=y\n",
            "ours is made again and need not be kept"
        );
        std::fs::remove_file(tree.join(".config")).unwrap();
        assert!(to_be_configured(tree, "A=y\n"));
    }
}
