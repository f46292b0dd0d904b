//! From what `-k` says to kernels on this machine.

use crate::base::{env::Env, error::Failure};
use crate::model::{kernel::LocalKernel, kernel_request::KernelRequest};
use crate::supply::{self, Sources};
use anyhow::Result;

/// The one kernel of a command that runs one.
pub fn one(env: &Env, words: &[String], sources: &Sources) -> Result<LocalKernel> {
    let mut requests = Vec::new();
    for word in words {
        requests.extend(KernelRequest::parse_list(word)?);
    }
    if requests.len() > 1 {
        return Err(Failure::usage("only one kernel can be booted here")
            .hint("`test` takes several")
            .into());
    }
    supply::resolve(env, requests.first(), sources)
}
