//! Lists the files of `kernel-configs` and `vmtest-assets` for `src/base/embedded.rs`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // Not env!(): a target directory may have this script from a checkout elsewhere.
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let top = Path::new(&package).join("..").canonicalize()?;
    let mut code = String::new();
    for (constant, folder) in [("CONFIGS", "kernel-configs"), ("ASSETS", "vmtest-assets")] {
        let folder = top.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        let mut files = Vec::new();
        files_below(&folder, &mut files)?;
        files.sort();
        let _ = writeln!(code, "pub const {constant}: &[(&str, &str)] = &[");
        for file in files {
            let name = file.strip_prefix(&folder).unwrap_or(&file);
            let _ = writeln!(code, "    ({name:?}, include_str!({file:?})),");
        }
        code += "];\n";
    }
    fs::write(
        Path::new(&env::var("OUT_DIR").unwrap_or_default()).join("embedded.rs"),
        code,
    )
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if !path.is_dir() {
            files.push(path);
        } else if !path.ends_with("__pycache__") {
            files_below(&path, files)?;
        }
    }
    Ok(())
}
