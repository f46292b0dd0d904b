//! Programs of unpacked packages on a host whose libc does not do for them: the packages' own
//! dynamic linker starts them.

use std::path::Path;

use anyhow::{Context, Result};

use crate::base::process;
use crate::model::arch::Arch;

/// The folder of the libraries in Debian's packages, with `/lib` as `/usr/lib`.
pub fn libraries(host: &Arch) -> String {
    format!("usr/lib/{}", host.triplet)
}

/// A script that runs a program of a tree. `depth` is how many folders the script is in. The paths
/// are relative to the tree, and `arguments` are those before the script's own, as the shell reads
/// them.
pub fn script(host: &Arch, depth: usize, program: &str, arguments: &str) -> String {
    let (libraries, loader) = (libraries(host), Path::new(host.loader));
    let loader = loader.file_name().unwrap_or_default().display();
    format!(
        "#!/bin/sh\nroot=${{0%/*}}{}\nexec \"$root/{libraries}/{loader}\" --inhibit-cache \
        --library-path \"$root/{libraries}\" \"$root/{program}\"{arguments} \"$@\"\n",
        "/..".repeat(depth)
    )
}

/// Whether the host lacks a library of a program, or has it too old. The program is not run.
pub fn lacks_libraries(host: &Arch, program: &Path) -> Result<bool> {
    let output = process::shell()?
        .cmd(Path::new("/").join(host.loader))
        .arg("--list")
        .arg(program)
        .env("LC_ALL", "C")
        .quiet()
        .ignore_status()
        .output()
        .with_context(|| format!("cannot look at {}", program.display()))?;
    let texts = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&texts);
    let signs = ["not found", "cannot open shared object file"];
    Ok(signs.iter().any(|sign| text.contains(sign)))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::base::input;
    use crate::model::arch;

    #[test]
    fn a_script_finds_its_tree() {
        let script = script(arch::find("x86_64").unwrap(), 2, "usr/bin/as", " -v");
        assert_eq!(
            script,
            "#!/bin/sh\nroot=${0%/*}/../..\n\
            exec \"$root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\" --inhibit-cache \
            --library-path \"$root/usr/lib/x86_64-linux-gnu\" \"$root/usr/bin/as\" -v \"$@\"\n"
        );
    }

    #[test]
    fn the_programs_of_this_host_have_their_libraries() {
        let host = arch::host().unwrap();
        assert!(!lacks_libraries(host, Path::new("/bin/sh")).unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!lacks_libraries(host, file.path()).unwrap(), "no program");
        std::fs::write(file.path(), without_libc()).unwrap();
        assert!(lacks_libraries(host, file.path()).unwrap());
    }

    /// A shell that needs a library that nobody has.
    pub fn without_libc() -> Vec<u8> {
        let mut bytes = input::bytes(Path::new("/bin/sh"), input::LARGE).unwrap();
        let name = b"libc.so.6\0";
        let mut places = bytes.windows(name.len());
        let place = places.position(|window| window == name).unwrap();
        bytes[place + 3] = b'0';
        bytes
    }
}
