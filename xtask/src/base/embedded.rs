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
    config!("tools"),
];

/// The style of `report.html`: see [`crate::report::html`].
pub const REPORT_STYLE: &str = include_str!("../../../vmtest-assets/report/report.css");

/// The script of `report.html`.
pub const REPORT_SCRIPT: &str = include_str!("../../../vmtest-assets/report/report.js");

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
