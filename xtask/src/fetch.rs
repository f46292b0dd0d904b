//! From a kernel request to a kernel on this machine: what is there, else, where
//! that is allowed, what can be built.

use anyhow::{Context, Result};

use crate::arch::{self, Arch};
use crate::failure::Failure;
use crate::kbuild::{self, BuildRequest};
use crate::kernel::LocalKernel;
use crate::kernels::Kernels;
use crate::layout::Layout;
use crate::request::{self, KernelRequest, Selector};
use crate::setup;
use crate::store;
use crate::ui::Ui;

/// Where a kernel may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct From {
    /// Build what is not there, and install what that needs.
    pub build: bool,
}

/// The architecture of this machine.
///
/// # Errors
///
/// If it is not in the table.
pub fn host_arch() -> Result<&'static Arch> {
    arch::host().with_context(|| format!("kernels for {} are not known", std::env::consts::ARCH))
}

/// The kernel that is asked for; without a request, the newest on this machine.
///
/// # Errors
///
/// If there is none; the message names the nearest ones and the command that builds it.
pub fn resolve(
    request: Option<&KernelRequest>,
    from: From,
    layout: &Layout,
    ui: &Ui,
) -> Result<LocalKernel> {
    let host = host_arch()?;
    let Some(request) = request else {
        let newest = store::kernels(layout, host)?.into_iter().next();
        return newest.ok_or_else(|| {
            Failure::setup("there is no kernel on this machine")
                .hint("name one to be built: --setup -k '6.1.*'")
                .into()
        });
    };
    match &request.selector {
        Selector::Path(path) if path.is_file() => return store::install(layout, ui, path),
        Selector::Path(path) => return store::open(path),
        Selector::Source(source, _) => return Err(request::unsupported_source(*source).into()),
        Selector::Pattern(_) => {}
    }
    let arch = request.arch.unwrap_or(host);
    let kernels = store::kernels(layout, arch)?;
    if let Some(kernel) = request.pick(&kernels) {
        return Ok(kernel.clone());
    }
    let releases = kernels.iter().map(|kernel| &kernel.release);
    let nothing = request.nothing_matches(releases, "on this machine");
    let Some(wanted) = request.buildable() else {
        return Err(nothing.into());
    };
    // A series that does not exist is the user's mistake, not a missing kernel.
    let known = Kernels::load(&layout.configs)?;
    known.require_series(wanted.version.series, arch)?;
    known.flavor(&wanted.flavor)?;
    if !from.build {
        return Err(nothing.into());
    }
    setup::require(layout, ui, &setup::for_build(), true)?;
    let kernel = kbuild::build_kernel(
        &BuildRequest::new(wanted.version, &wanted.flavor, arch),
        layout,
        ui,
    )?;
    if !request.matches(kernel.arch, &kernel.release) {
        let message = format!(
            "built {}, which is not what {request} asks for",
            kernel.release
        );
        return Err(Failure::setup(message).into());
    }
    Ok(kernel)
}
