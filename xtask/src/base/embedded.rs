//! Copies of `kernel-configs` and `vmtest-assets` in the binary, for when it
//! runs away from the workspace. `tests/it/tidy.rs` checks that none is missing.

/// Files of a folder of the repository: relative path and text.
macro_rules! files {
    ($folder:literal: $($path:literal)*) => {
        &[$(($path, include_str!(concat!("../../../", $folder, "/", $path)))),*]
    };
}

pub const CONFIGS: &[(&str, &str)] = files!("kernel-configs":
    "README.md"
    "arch/x86_64"
    "arch/x86_64-alternative"
    "arch/x86_64-default"
    "arch/x86_64-tiny"
    "base"
    "drgn"
    "flavors/alternative"
    "flavors/default"
    "flavors/tiny"
    "kernels.toml"
    "patches/README.md"
    "toolchain.toml"
    "tools"
);

pub const ASSETS: &[(&str, &str)] = files!("vmtest-assets":
    "guest/bridge.sh"
    "guest/init.sh"
    "guest/load_capture_kernel.py"
    "guest/run_pytest.py"
    "guest/run_unittests.py"
    "host/apt.conf"
    "host/packages.txt"
    "package/files.txt"
    "package/pahole.sh"
    "package/proof.c"
    "profiles/drgn/vmtest.toml"
    "report/report.css"
    "report/report.html"
    "report/report.js"
    "root/debian.txt"
    "selftest/tests/__init__.py"
    "selftest/tests/test_file_system.py"
    "selftest/tests/test_guest.py"
    "selftest/vmtest.toml"
);

/// Tools that do not go with some kernels: see [`crate::kernel::build::toolchain`].
pub const BAD_PAIRS: &str = include_str!("../../../kernel-configs/toolchain.toml");

/// The style of `report.html`: see [`crate::report::html`].
pub const REPORT_STYLE: &str = include_str!("../../../vmtest-assets/report/report.css");

pub const REPORT_SCRIPT: &str = include_str!("../../../vmtest-assets/report/report.js");

/// The files that external modules are built with: see [`crate::kernel::package`].
pub const MODULE_FILES: &str = include_str!("../../../vmtest-assets/package/files.txt");

/// The module that is built against every package of a kernel: see [`crate::kernel::package`].
pub const PROOF_SOURCE: &str = include_str!("../../../vmtest-assets/package/proof.c");

/// The packages that have the host's tools: see [`crate::host::setup`].
pub const HOST_PACKAGES: &str = include_str!("../../../vmtest-assets/host/packages.txt");

/// What user spaces are made of: see [`crate::root::recipe`].
pub const DEBIAN_ROOT: &str = include_str!("../../../vmtest-assets/root/debian.txt");

/// apt's configuration for Debian's archive: see [`crate::net::apt::formats`].
pub const APT_CONFIGURATION: &str = include_str!("../../../vmtest-assets/host/apt.conf");

/// The wrapper of pahole, without what it is told: see [`crate::kernel::build`].
pub const PAHOLE_WRAPPER: &str = include_str!("../../../vmtest-assets/package/pahole.sh");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    /// The files below a folder of the repository.
    fn files(folder: &str) -> BTreeMap<String, String> {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(folder);
        let mut found = BTreeMap::new();
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().unwrap() {
                let path = entry.unwrap().path();
                if !path.is_dir() {
                    let name = path.strip_prefix(&top).unwrap().to_str().unwrap();
                    let text = std::fs::read_to_string(&path).unwrap();
                    found.insert(name.to_owned(), text);
                } else if !path.ends_with("__pycache__") {
                    folders.push(path);
                }
            }
        }
        found
    }

    #[test]
    fn every_configuration_and_asset_is_in_the_binary() {
        for (folder, embedded) in [("kernel-configs", CONFIGS), ("vmtest-assets", ASSETS)] {
            assert!(embedded.is_sorted(), "{folder}");
            let embedded = embedded.iter().map(|(name, text)| (*name, *text));
            let embedded = embedded.map(|(name, text)| (name.to_owned(), text.to_owned()));
            assert_eq!(embedded.collect::<BTreeMap<_, _>>(), files(folder));
        }
    }
}
