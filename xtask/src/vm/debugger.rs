//! `--gdb`: QEMU's own stub for debuggers, which looks at the guest's processors and
//! memory from outside and needs nothing in the kernel.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::base::process::shell_quote;
use crate::vm::qemu::with_path;

/// Where QEMU waits for a debugger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket in the run's own directory: any number of VMs, and only who may read
    /// that directory. gdb speaks to sockets since 8.3.
    Socket,
    /// A TCP port of the loopback interface, which every user of this host can reach.
    Port(u16),
}

/// The kernel parameter without which the symbols of vmlinux are not where the kernel
/// is (Documentation/dev-tools/gdb-kernel-debugging.rst).
pub const KERNEL_PARAMETER: &str = "nokaslr";

impl Endpoint {
    /// The socket, below the run's directory.
    pub fn socket(directory: &Path) -> PathBuf {
        directory.join("gdb")
    }

    /// QEMU's options: the stub, which takes a debugger at any time, and the guest
    /// stopped before its first instruction until one says `continue`.
    pub fn qemu(self, directory: &Path) -> Vec<OsString> {
        let device = match self {
            Self::Socket => {
                let socket = Self::socket(directory);
                with_path("socket,id=gdb,path=", &socket, ",server=on,wait=off")
            }
            Self::Port(port) => {
                format!("socket,id=gdb,host=127.0.0.1,port={port},server=on,wait=off,nodelay=on")
                    .into()
            }
        };
        let mut words = vec!["-chardev".into(), device];
        words.extend(["-gdb", "chardev:gdb", "-S"].map(OsString::from));
        words
    }

    /// The command that attaches gdb, with symbols if there are any.
    pub fn command(self, directory: &Path, vmlinux: Option<&Path>) -> String {
        let target = match self {
            // gdb takes the rest of the line as the name.
            Self::Socket => Self::socket(directory).display().to_string(),
            Self::Port(port) => format!("127.0.0.1:{port}"),
        };
        let attach = shell_quote(&format!("target remote {target}"));
        let name = vmlinux.map(|path| format!(" {}", shell_quote(&path.to_string_lossy())));
        format!("gdb -ex {attach}{}", name.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_listens_where_gdb_is_sent() {
        let directory = Path::new("/tmp/it's, here");
        let words = |endpoint: Endpoint| {
            let words = endpoint.qemu(directory);
            let words = words.iter().map(|word| word.to_string_lossy());
            let command = endpoint.command(directory, Some(Path::new("/w/a b/vmlinux")));
            words.collect::<Vec<_>>().join(" ") + "\n" + &command + "\n"
        };
        expect_test::expect![[r"
            -chardev socket,id=gdb,path=/tmp/it's,, here/gdb,server=on,wait=off -gdb chardev:gdb -S
            gdb -ex 'target remote /tmp/it'\''s, here/gdb' '/w/a b/vmlinux'
            -chardev socket,id=gdb,host=127.0.0.1,port=1234,server=on,wait=off,nodelay=on -gdb chardev:gdb -S
            gdb -ex 'target remote 127.0.0.1:1234' '/w/a b/vmlinux'
        "]]
        .assert_eq(&(words(Endpoint::Socket) + &words(Endpoint::Port(1234))));
        let bare = Endpoint::Port(1).command(directory, None);
        assert_eq!(bare, "gdb -ex 'target remote 127.0.0.1:1'");
    }
}
