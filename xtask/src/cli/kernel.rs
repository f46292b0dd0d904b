//! From what `-k` says to kernels on this machine.

use crate::base::error::Failure;
use crate::base::paths::Layout;
use crate::base::ui::Ui;
use crate::model::kernel::LocalKernel;
use crate::model::kernel_request::KernelRequest;
use crate::supply::{self, Sources};
use anyhow::Result;

/// The one kernel of a command that runs one.
pub fn one(words: &[String], sources: &Sources, layout: &Layout, ui: &Ui) -> Result<LocalKernel> {
    let mut requests = Vec::new();
    for word in words {
        requests.extend(KernelRequest::parse_list(word)?);
    }
    if requests.len() > 1 {
        return Err(Failure::usage("only one kernel can be booted here")
            .hint("`test` takes several")
            .into());
    }
    supply::resolve(requests.first(), sources, layout, ui)
}
