//! Copies of `kernel-configs` and `vmtest-assets` in the binary, for when it
//! runs away from the workspace. `tests/it/tidy.rs` checks that none is missing.

/// A file of `kernel-configs/`.
macro_rules! config {
    ($path:literal) => {
        (
            $path,
            include_str!(concat!("../../../kernel-configs/", $path)),
        )
    };
}

/// `kernel-configs/`: relative path and text.
pub const CONFIGS: &[(&str, &str)] = &[
    config!("README.md"),
    config!("arch/x86_64"),
    config!("arch/x86_64-alternative"),
    config!("arch/x86_64-default"),
    config!("arch/x86_64-tiny"),
    config!("base"),
    config!("drgn"),
    config!("flavors/alternative"),
    config!("flavors/default"),
    config!("flavors/tiny"),
    config!("kernels.toml"),
    config!("patches/README.md"),
    ("toolchain.toml", BAD_PAIRS),
    config!("tools"),
];

/// Tools that do not go with some kernels: see [`crate::kernel::build::toolchain`].
pub const BAD_PAIRS: &str = include_str!("../../../kernel-configs/toolchain.toml");

/// The style of `report.html`: see [`crate::report::html`].
pub const REPORT_STYLE: &str = include_str!("../../../vmtest-assets/report/report.css");

/// The script of `report.html`.
pub const REPORT_SCRIPT: &str = include_str!("../../../vmtest-assets/report/report.js");

/// The packages that have the host's tools: see [`crate::host::setup`].
pub const HOST_PACKAGES: &str = include_str!("../../../vmtest-assets/host/packages.txt");

/// apt's configuration for Debian's archive: see [`crate::net::apt::formats`].
pub const APT_CONFIGURATION: &str = include_str!("../../../vmtest-assets/host/apt.conf");

/// `vmtest-assets/`: relative path and text.
pub const ASSETS: &[(&str, &str)] = &[
    (
        "guest/bridge.sh",
        include_str!("../../../vmtest-assets/guest/bridge.sh"),
    ),
    (
        "guest/init.sh",
        include_str!("../../../vmtest-assets/guest/init.sh"),
    ),
    (
        "guest/load_capture_kernel.py",
        include_str!("../../../vmtest-assets/guest/load_capture_kernel.py"),
    ),
    (
        "guest/run_unittests.py",
        include_str!("../../../vmtest-assets/guest/run_unittests.py"),
    ),
    ("host/apt.conf", APT_CONFIGURATION),
    ("host/packages.txt", HOST_PACKAGES),
    (
        "profiles/drgn/vmtest.toml",
        include_str!("../../../vmtest-assets/profiles/drgn/vmtest.toml"),
    ),
    ("report/report.css", REPORT_STYLE),
    ("report/report.js", REPORT_SCRIPT),
    (
        "selftest/tests/__init__.py",
        include_str!("../../../vmtest-assets/selftest/tests/__init__.py"),
    ),
    (
        "selftest/tests/test_file_system.py",
        include_str!("../../../vmtest-assets/selftest/tests/test_file_system.py"),
    ),
    (
        "selftest/tests/test_guest.py",
        include_str!("../../../vmtest-assets/selftest/tests/test_guest.py"),
    ),
    (
        "selftest/vmtest.toml",
        include_str!("../../../vmtest-assets/selftest/vmtest.toml"),
    ),
];

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
