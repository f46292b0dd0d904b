//! Copies of `kernel-configs` and `vmtest-assets` in the binary, for when it
//! runs away from the workspace. `tests/it/tidy.rs` checks that none is missing.

/// `kernel-configs/`: relative path and text.
pub const CONFIGS: &[(&str, &str)] = &[];

/// `vmtest-assets/`: relative path and text.
pub const ASSETS: &[(&str, &str)] = &[
    (
        "guest/init.sh",
        include_str!("../../vmtest-assets/guest/init.sh"),
    ),
    (
        "guest/run_unittests.py",
        include_str!("../../vmtest-assets/guest/run_unittests.py"),
    ),
    (
        "profiles/drgn/vmtest.toml",
        include_str!("../../vmtest-assets/profiles/drgn/vmtest.toml"),
    ),
];
