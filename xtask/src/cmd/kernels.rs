//! Which kernels the flags name.

use anyhow::Result;
use xtask::fetch::host_arch;
use xtask::kernels::Kernels;
use xtask::layout::Layout;
use xtask::request::KernelRequest;

use crate::flags::kernels::KernelFlags;

/// The requests of the flags, in their order; may be none.
pub fn requests(flags: &KernelFlags, layout: &Layout) -> Result<Vec<KernelRequest>> {
    let mut requests = Vec::new();
    for text in &flags.kernels {
        requests.extend(KernelRequest::parse_list(text)?);
    }
    if flags.all_kernels {
        let kernels = Kernels::load(&layout.configs)?;
        let all = || kernels.flavors.iter().map(|flavor| flavor.name.clone());
        let flavors = match flags.all_flavors {
            true => all().collect(),
            false => flags.flavors.clone(),
        };
        requests.extend(kernels.every_series(host_arch()?, &flavors)?);
    }
    Ok(requests)
}
