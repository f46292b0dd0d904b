//! Which kernels the flags name.

use crate::base::paths::Paths;
use crate::model::catalog::Kernels;
use crate::model::kernel_request::KernelRequest;
use crate::supply::host_arch;
use anyhow::Result;

use crate::cli::flags::kernels::KernelFlags;

/// The requests of the flags, in their order; may be none.
pub fn requests(flags: &KernelFlags, paths: &Paths) -> Result<Vec<KernelRequest>> {
    let mut requests = Vec::new();
    for text in &flags.kernels {
        requests.extend(KernelRequest::parse_list(text)?);
    }
    if flags.all_kernels {
        let kernels = Kernels::load(&paths.configs)?;
        let all = || kernels.flavors.iter().map(|flavor| flavor.name.clone());
        let flavors = match flags.all_flavors {
            true => all().collect(),
            false => flags.flavors.clone(),
        };
        requests.extend(kernels.every_series(host_arch()?, &flavors)?);
    }
    Ok(requests)
}
