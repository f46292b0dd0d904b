//! `cargo xtask list`.

use std::io::Write;

use anyhow::Result;
use xtask::arch;
use xtask::layout::Layout;
use xtask::list::{self, Format};
use xtask::request::KernelRequest;
use xtask::store;
use xtask::ui::Ui;

use crate::flags::{List, ListFormat};

/// Prints the kernels on this machine.
pub fn run(flags: &List, layout: &Layout, ui: &Ui) -> Result<u8> {
    let mut kernels = Vec::new();
    for arch in arch::ARCHITECTURES {
        let survey = store::survey(layout, arch)?;
        for (path, reason) in survey.damaged {
            ui.warn(format!("{} is no kernel: {reason}", path.display()));
        }
        kernels.extend(survey.kernels);
    }
    if let Some(pattern) = &flags.pattern {
        let request = pattern.parse::<KernelRequest>()?;
        let all = kernels.clone();
        kernels.retain(|kernel| request.matches(kernel.arch, &kernel.release));
        if kernels.is_empty() {
            let releases = all.iter().map(|kernel| &kernel.release);
            return Err(request.nothing_matches(releases, "on this machine").into());
        }
    }
    let rows = list::rows(&kernels)?;
    let format = match flags.format {
        ListFormat::Text => Format::Text,
        ListFormat::Json => Format::Json,
    };
    if rows.is_empty() && format == Format::Text {
        ui.info(format!(
            "no kernels in {}; cargo xtask build-kernel 6.1 builds one",
            layout.work().display()
        ));
    }
    std::io::stdout().write_all(list::render(&rows, format)?.as_bytes())?;
    Ok(0)
}
