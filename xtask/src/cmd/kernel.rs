//! From what `-k` says to kernels on this machine.

use anyhow::{Context, Result};
use xtask::arch::{self, Arch};
use xtask::failure::Failure;
use xtask::kbuild::{self, BuildRequest};
use xtask::kernel::LocalKernel;
use xtask::kernels::Kernels;
use xtask::layout::Layout;
use xtask::request::{Buildable, KernelRequest, Selector, unsupported_source};
use xtask::setup;
use xtask::store;
use xtask::ui::Ui;

/// The architecture of this host, whose kernels can use its userspace.
pub fn host_arch() -> Result<&'static Arch> {
    arch::host().with_context(|| format!("kernels for {} are not known", std::env::consts::ARCH))
}

/// The one kernel of a command that runs one.
pub fn one(requests: &[String], layout: &Layout, ui: &Ui, setup: bool) -> Result<LocalKernel> {
    let mut wanted = Vec::new();
    for text in requests {
        wanted.extend(KernelRequest::parse_list(text)?);
    }
    match wanted.as_slice() {
        [] => newest(layout),
        [request] => resolve(request, layout, ui, setup),
        _ => Err(Failure::usage("this command runs one kernel")
            .hint("`test` runs several")
            .into()),
    }
}

/// The newest kernel on this machine.
pub fn newest(layout: &Layout) -> Result<LocalKernel> {
    let kernels = store::kernels(layout, host_arch()?)?;
    kernels.into_iter().next().ok_or_else(|| {
        Failure::setup("there is no kernel on this machine")
            .hint("have one built with --setup -k '6.1.*', or name an unpacked one with -k ./DIR")
            .into()
    })
}

/// The kernel that a request asks for: one on this machine; with `setup` one that
/// is built now if it can be.
pub fn resolve(
    request: &KernelRequest,
    layout: &Layout,
    ui: &Ui,
    setup: bool,
) -> Result<LocalKernel> {
    match &request.selector {
        Selector::Path(path) if path.is_file() => return store::install(layout, ui, path),
        Selector::Path(path) => return store::open(path),
        Selector::Source(source, _) => return Err(unsupported_source(*source).into()),
        Selector::Pattern(_) => {}
    }
    let arch = match request.arch {
        Some(arch) => arch,
        None => host_arch()?,
    };
    let kernels = store::kernels(layout, arch)?;
    if let Some(kernel) = request.pick(&kernels) {
        return Ok(kernel.clone());
    }
    let releases = kernels.iter().map(|kernel| &kernel.release);
    let failure = request.nothing_matches(releases, "on this machine");
    let Some(Buildable { version, flavor }) = request.buildable().filter(|_| setup) else {
        return Err(failure.into());
    };
    let known = Kernels::load(&layout.configs)?;
    known.require_series(version.series, arch)?;
    known.flavor(&flavor)?;
    setup::require(layout, ui, &setup::for_build(), setup)?;
    let built = kbuild::build_kernel(&BuildRequest::new(version, flavor, arch), layout, ui)?;
    if request.matches(built.arch, &built.release) {
        Ok(built)
    } else {
        let message = format!(
            "{} was built, but {request} does not match it",
            built.release
        );
        Err(Failure::setup(message)
            .hint("ask for it by that name")
            .into())
    }
}
