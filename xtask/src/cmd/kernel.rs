//! From what `-k` says to kernels on this machine.

use anyhow::Result;
use xtask::failure::Failure;
use xtask::fetch::{self, Sources};
use xtask::kernel::LocalKernel;
use xtask::layout::Layout;
use xtask::request::KernelRequest;
use xtask::ui::Ui;

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
    fetch::resolve(requests.first(), sources, layout, ui)
}
