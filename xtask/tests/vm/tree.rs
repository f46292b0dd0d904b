//! A kernel's tree, booted as it was built.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::{Call, unpacked_kernel};

/// Puts the files of a package where a build has them.
fn lay_out(package: &Path, tree: &Path) {
    let put = |from: &str, to: &str| {
        let to = tree.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        symlink(package.join(from), to).unwrap();
    };
    let arch = xtask::internals::host().unwrap();
    put("vmlinuz", arch.image);
    for name in [
        ".config",
        "Makefile",
        "Module.symvers",
        "include/config/kernel.release",
        "vmlinux",
    ] {
        put(&format!("build/{name}"), name);
    }
    let order = fs::read_to_string(package.join("modules.order")).unwrap();
    let mut built = String::new();
    for installed in order.lines() {
        let name = installed.strip_prefix("kernel/").unwrap();
        put(installed, name);
        built += &format!("{name}\n");
    }
    assert!(!built.is_empty());
    fs::write(tree.join("modules.order"), built).unwrap();
    put("modules.builtin", "modules.builtin");
}

#[test]
fn a_tree_is_booted_with_its_modules() {
    let package = unpacked_kernel();
    let release = fs::read_to_string(package.join("build/include/config/kernel.release")).unwrap();
    // Below /tmp, where a guest sees only what it needs.
    let directory = tempfile::Builder::new()
        .prefix("vmtest-tree-")
        .tempdir_in("/tmp")
        .unwrap();
    let tree = directory.path().join("a tree");
    lay_out(&package, &tree);
    let work = directory.path().join("work");
    // Several modules, which the host's own modprobe finds and loads; and the tree itself.
    let script = "uname -r; modprobe btrfs && grep -c '\tbtrfs$' /proc/filesystems
        test -f /lib/modules/$(uname -r)/build/vmlinux && modprobe -n dummy && echo found";
    let call = Call::new("vm --accel tcg -k").with(|call| {
        call.arg(&tree).arg("--directory").arg(&work);
    });
    let ended = call.script(script).output().expect(0);
    assert_eq!(
        ended.stdout(),
        format!("{release}1\nfound\n"),
        "{}",
        ended.stderr()
    );
}
