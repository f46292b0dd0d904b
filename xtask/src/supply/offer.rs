//! The places that kernels come from: an [`Offer`] says what it takes to get a kernel from its
//! place, and [`Offer::obtain`] gets it. Nobody else distinguishes the places.

use std::path::PathBuf;

use anyhow::Result;

use crate::base::{env::Env, error::Failure};
use crate::host::setup;
use crate::kernel::build::{self, BuildRequest};
use crate::kernel::{distro, distro::debian, distro::package::packages_at, store};
use crate::model::kernel_request::{Buildable, KernelRequest};
use crate::model::{arch::Arch, kernel::LocalKernel, package_name::PackageName, test_event::Stage};
use crate::release::download::{self, Package};
use crate::supply::Sources;

/// A kernel that can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What it will be, as far as that is known before it is here.
    pub name: Option<PackageName>,
    /// What takes less is obtained first: tests run meanwhile.
    pub effort: u8,
    /// What is done to get it, for an error.
    pub stage: Stage,
    /// Whether it may be deleted after its tests to spare the disk: it can be fetched again.
    pub evictable: bool,
    pub how: How,
}

/// How a kernel is had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It is on this machine.
    Here(LocalKernel),
    /// From a package file on this machine, or from the package files of a distribution that a
    /// directory holds.
    Unpack(PathBuf, &'static Arch),
    /// From the release.
    Download(Package),
    /// From Debian's archive.
    Debian(debian::Archived),
    Build(Buildable, &'static Arch),
}

impl How {
    pub fn arch(&self) -> &'static Arch {
        match self {
            Self::Here(kernel) => kernel.arch,
            Self::Download(package) => package.name.arch,
            Self::Debian(kernel) => kernel.arch,
            Self::Unpack(_, arch) | Self::Build(_, arch) => arch,
        }
    }
}

impl From<How> for Offer {
    fn from(how: How) -> Self {
        let (effort, name) = match &how {
            How::Here(kernel) => (0, Some(PackageName::new(kernel.arch, &kernel.release))),
            How::Unpack(..) => (1, None),
            How::Download(package) => (2, Some(package.name.clone())),
            How::Debian(kernel) => (2, Some(PackageName::new(kernel.arch, &kernel.release))),
            How::Build(..) => (3, None),
        };
        Self {
            name,
            effort,
            stage: match how {
                How::Build(..) => Stage::Build,
                _ => Stage::Fetch,
            },
            evictable: matches!(how, How::Download(_)),
            how,
        }
    }
}

impl Offer {
    /// Fetches it, or builds it.
    pub fn obtain(
        &self,
        env: &Env,
        request: Option<&KernelRequest>,
        sources: &Sources,
    ) -> Result<LocalKernel> {
        match &self.how {
            How::Here(kernel) => {
                let release = &kernel.release;
                env.ui.verbose(format!("{release} is on this machine"));
                Ok(kernel.clone())
            }
            How::Unpack(path, _) => match packages_at(path)? {
                packages if packages.is_empty() => store::install(env, path),
                packages => distro::install(env, &packages),
            },
            How::Download(package) => {
                Ok(download::download_one(env, &sources.client, package)?.kernel)
            }
            How::Debian(kernel) => debian::obtain(env, kernel),
            How::Build(wanted, arch) => {
                setup::require_for_build(env, &setup::for_build(arch), true)?;
                let own = match wanted.options {
                    Some(_) => sources.own.clone(),
                    None => Vec::new(),
                };
                let build = BuildRequest {
                    own,
                    ..BuildRequest::new(wanted.version, &wanted.flavor, arch)
                };
                let kernel = build::build_kernel(env, &build)?;
                match request {
                    Some(request) if !request.matches(kernel.arch, &kernel.release) => {
                        let built = &kernel.release;
                        let message =
                            format!("built {built}, which is not what {request} asks for");
                        Err(Failure::setup(message).into())
                    }
                    _ => Ok(kernel),
                }
            }
        }
    }
}
