//! Guests whose root is another directory than the host's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::{Call, folder};

/// A root with nothing but BusyBox.
fn tiny_root() -> tempfile::TempDir {
    let root = folder("vmtest-root-");
    fs::create_dir_all(root.path().join("bin")).unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::copy(busybox(), root.path().join("bin/busybox")).unwrap();
    for applet in ["cat", "ls", "sh", "tty"] {
        symlink("busybox", root.path().join("bin").join(applet)).unwrap();
    }
    fs::write(root.path().join("etc/os-release"), "ID=tiny\n").unwrap();
    root
}

/// The host's, a static one as for every guest.
fn busybox() -> PathBuf {
    let directories = ["/bin", "/usr/bin", "/usr/local/bin"].map(Path::new);
    let mut files = directories.iter().flat_map(|directory| {
        ["busybox", "busybox.static", "busybox-static"].map(|name| directory.join(name))
    });
    files
        .find(|file| file.is_file())
        .expect("there is a BusyBox")
}

fn vm(root: &Path, arguments: &str) -> Call {
    Call::vm(arguments).with(|call| {
        call.arg("--root").arg(root);
    })
}

#[test]
fn a_guest_with_another_root_sees_of_the_host_only_what_it_is_given() {
    let (root, work) = (tiny_root(), folder("vmtest-work-"));
    let secret = work.path().join("secret");
    fs::write(&secret, "the host's\n").unwrap();
    for name in ["here", "read", "write"] {
        fs::create_dir(work.path().join(name)).unwrap();
        fs::write(work.path().join(name).join("file"), format!("{name}\n")).unwrap();
    }
    // By way of a link, as a user may name it.
    symlink(work.path().join("here"), work.path().join("link")).unwrap();
    let call = vm(root.path(), "").with(|call| {
        call.current_dir(work.path().join("here"));
        call.env("HOME", "/home/nobody else");
        call.arg("--share").arg(work.path().join("read"));
        call.arg("--share-rw").arg(format!(
            "{}:/mnt/write",
            work.path().join("write").display()
        ));
        call.stdin(Stdio::piped());
    });
    let script = "cat /etc/os-release file; echo mine >file; cat file; echo \"$HOME\"; cd; pwd
                  echo new >/etc/new; ls /etc/passwd \"$1/secret\" /tmp
                  cd \"$1\"; ls; cat read/file; echo no >read/file; cat /mnt/write/file
                  echo changed >/mnt/write/file; cat; exit 7";
    let words = ["sh", "-c", script, "sh", work.path().to_str().unwrap()];
    let mut running = call.run_in_guest(&words).spawn();
    let mut input = running.child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"from the host\n").unwrap();
    drop(input);
    let ended = running.wait().expect(7);
    assert_eq!(
        ended.stdout(),
        "ID=tiny\nhere\nmine\n/home/nobody else\n/home/nobody else\n/tmp:\nhere\nread\nread\nwrite\n\
         from the host\n"
    );
    let words = ended.guest_stderr();
    for absent in ["/etc/passwd", secret.to_str().unwrap()] {
        assert!(
            words.contains(&format!("{absent}: No such file")),
            "{words}"
        );
    }
    assert!(words.contains("Read-only file system"), "{words}");
    let read = |name: &str| fs::read_to_string(work.path().join(name).join("file")).unwrap();
    assert_eq!(read("here"), "here\n");
    assert_eq!(read("read"), "read\n");
    assert_eq!(read("write"), "changed\n");
    assert!(!root.path().join("etc/new").exists());
}

#[test]
fn a_root_must_have_a_busybox_and_the_working_directory_must_not_hide_it() {
    let root = folder("vmtest-root-");
    let ended = vm(root.path(), "").script("true").output().expect(3);
    let words = ended.stderr();
    assert!(words.contains("has no static /bin/busybox"), "{words}");
    assert!(words.contains("busybox-static"), "{words}");
    let root = tiny_root();
    let call = vm(root.path(), "").with(|call| {
        call.current_dir("/usr");
    });
    let words = call.script("true").output().expect(2).stderr();
    assert!(words.contains("cannot work in /usr"), "{words}");
    let call = vm(root.path(), "").with(|call| {
        call.current_dir("/");
    });
    let ended = call.script("pwd; ls").output().expect(0);
    assert!(!ended.stdout().contains("home"), "{}", ended.stdout());
}
