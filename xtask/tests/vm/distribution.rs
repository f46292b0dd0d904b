//! Kernels of distributions in real VMs: one of Debian's archive, which is fetched once into
//! the work directory, and the same one in package files of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::{Call, listed};
use support::host::repository;
use support::package_files::{deb, rpm};

/// Debian's kernel that is tested on: an old one, so that tests go on as the newest changes.
const SERIES: &str = "6.1";

fn kernel() -> &'static (String, PathBuf) {
    static KERNEL: LazyLock<(String, PathBuf)> = LazyLock::new(|| kernel_of_debian(SERIES));
    &KERNEL
}

/// Release and folder of Debian's kernel of a series, which is fetched if there is none.
pub fn kernel_of_debian(series: &str) -> (String, PathBuf) {
    // Not `list SERIES`, which fails where there is none.
    let here = || {
        let mut kernels = listed(None, "distribution").into_iter();
        kernels.find(|(release, _)| release.starts_with(&format!("{series}.")))
    };
    here().unwrap_or_else(|| {
        let call = Call::new(&format!("vm --accel tcg -k debian:{series}"));
        call.run_in_guest(&["true"]).output().expect(0);
        here().unwrap_or_else(|| panic!("no {series} of Debian is listed"))
    })
}

#[test]
fn the_self_test_passes_on_a_kernel_of_debian() {
    kernel();
    let call = Call::new(&format!("test --accel tcg -k debian:{SERIES} -C")).with(|call| {
        call.arg(repository().join("vmtest-assets/selftest"));
    });
    call.output().expect(0);
}

/// What a guest needs, from a folder of modules: these and what they need, in files below
/// `lib/modules/<release>`.
fn needed(modules: &Path) -> Vec<String> {
    let dependencies = fs::read_to_string(modules.join("modules.dep")).unwrap();
    let wanted = [
        "virtio_pci",
        "9pnet_virtio",
        "9p",
        "overlay",
        "virtio_console",
    ];
    let mut files = vec!["modules.builtin".to_owned(), "modules.order".to_owned()];
    for line in dependencies.lines() {
        let (file, needs) = line.split_once(':').unwrap();
        let name = file.rsplit('/').next().unwrap();
        let name = name.split('.').next().unwrap().replace('-', "_");
        if wanted.contains(&name.as_str()) {
            files.push(file.to_owned());
            files.extend(needs.split_whitespace().map(str::to_owned));
        }
    }
    files.sort();
    files.dedup();
    files
}

/// The same kernel as package files, for a work directory of its own.
#[test]
fn packages_are_booted_by_their_path() {
    let (release, folder) = kernel();
    let directory = tempfile::Builder::new()
        .prefix("vmtest-packages-")
        .tempdir_in("/tmp")
        .unwrap();
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let modules = needed(&folder.join("modules"));
    let mut files = vec![
        (format!("./boot/vmlinuz-{release}"), read("vmlinuz")),
        (format!("./boot/config-{release}"), read("config")),
    ];
    files.extend(modules.iter().map(|name| {
        let path = format!("./lib/modules/{release}/{name}");
        (path, read(&format!("modules/{name}")))
    }));
    let files = files
        .iter()
        .map(|(path, contents)| (path.as_str(), contents.as_slice()))
        .collect::<Vec<_>>();
    let control = "Package: linux-image-mine\nVersion: 1\nArchitecture: amd64";
    // The paths in an rpm have no dot in front.
    let plain = files.iter().map(|(path, contents)| (&path[2..], *contents));
    let rpm = rpm("kernel-mine", "x86_64", &plain.collect::<Vec<_>>());
    for (name, bytes) in [("mine.deb", deb(control, &files)), ("mine.rpm", rpm)] {
        let file = directory.path().join(name);
        fs::write(&file, bytes).unwrap();
        let call = Call::new("vm --accel tcg -k").with(|call| {
            call.arg(&file);
            call.arg("--directory").arg(directory.path().join("work"));
        });
        let ended = call.run_in_guest(&["uname", "-r"]).output().expect(0);
        assert_eq!(ended.stdout(), format!("{release}\n"), "{name}");
    }
}

/// What a guest gets when asked is there as well: a disk, a network, shares.
#[test]
fn modules_that_are_asked_for_are_loaded() {
    kernel();
    let script = "ls /sys/class/net/*/device >/dev/null && cat /etc/resolv.conf && \
                  grep -c binfmt_misc /proc/mounts";
    let call = Call::new(&format!("vm --accel tcg --net -k debian:{SERIES}"));
    let ended = call.script(script).output().expect(0);
    assert_eq!(
        ended.stdout(),
        "nameserver 10.0.2.3\n1\n",
        "{}",
        ended.stderr()
    );
}
