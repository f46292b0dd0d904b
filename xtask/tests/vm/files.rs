//! The host's files: all of them are there, and none can be changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::{Call, unpacked_kernel};

/// Path, kind, size, mode, time and contents of everything below a directory.
fn snapshot(directory: &Path) -> Vec<(PathBuf, String)> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let mut text = format!(
            "{:o} {} {}",
            metadata.mode(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        if metadata.is_dir() {
            waiting.extend(support::host::entries(&path));
        } else if metadata.is_file() {
            text += &format!(" {:?}", fs::read(&path).unwrap());
        }
        found.push((path, text));
    }
    found.sort();
    found
}

const ORDINARY: &str = include_str!("files/change.sh");

const ATTACK: &str = include_str!("files/attack-share.sh");

/// A directory with files below the home directory, not /tmp: the guest has its own
/// /tmp.
fn victim() -> tempfile::TempDir {
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
    let directory = tempfile::Builder::new()
        .prefix("vmtest-victim-")
        .tempdir_in(home)
        .unwrap();
    for name in ["file", "removed", "moved"] {
        fs::write(directory.path().join(name), "original").unwrap();
    }
    directory
}

#[test]
fn what_is_written_is_gone_afterwards() {
    let directory = victim();
    let before = snapshot(directory.path());
    let path = directory.path().to_str().unwrap();
    let ended = Call::vm("")
        .run_in_guest(&["sh", "-c", ORDINARY, "sh", path])
        .output()
        .expect(0);
    assert_eq!(ended.stdout(), "changed\n", "{}", ended.stderr());
    assert_eq!(snapshot(directory.path()), before);
    assert!(!Path::new("/vmtest-was-here").exists());
    assert!(!directory.path().with_file_name("vmtest-was-here").exists());
}

#[test]
fn nothing_reaches_the_hosts_files() {
    let directory = victim();
    let before = snapshot(directory.path());
    let path = directory.path().to_str().unwrap();
    // The options of the root's share.
    let share = format!("local,id=second,path={path},security_model=none,readonly=on");
    let call = Call::vm("").with(|call| {
        call.args(["-Xqemu", "-fsdev", "-Xqemu", &share]);
        call.args(["-Xqemu", "-device", "-Xqemu"]);
        call.arg("virtio-9p-pci,fsdev=second,mount_tag=second");
    });
    let ended = call.script(ATTACK).output().expect(0);
    assert_eq!(ended.stdout(), "", "{}", ended.stderr());
    assert_eq!(snapshot(directory.path()), before);
}

#[test]
fn the_current_directory_and_the_kernel_may_be_below_tmp() {
    // A work directory below /tmp with a copy of what booting needs of the kernel.
    let work = tempfile::Builder::new()
        .prefix("vmtest-work-")
        .tempdir_in("/tmp")
        .unwrap();
    let kernel = unpacked_kernel();
    let copy = work.path().join("x86_64").join(kernel.file_name().unwrap());
    copy_for_boot(&kernel, &copy);
    let here = work.path().join("project");
    fs::create_dir(&here).unwrap();
    fs::write(here.join("file"), "found").unwrap();
    fs::write(work.path().join("other"), "hidden").unwrap();
    let script =
        "cat file && test -e /lib/modules/$(uname -r)/modules.dep && echo x > file && pwd && ls ..";
    let call = Call::new("vm").with(|call| {
        call.env("VMTEST_DIR", work.path()).current_dir(&here);
    });
    let ended = call.script(script).output().expect(0);
    let pwd = fs::canonicalize(&here).unwrap();
    assert_eq!(
        ended.stdout(),
        format!("found{}\nproject\nx86_64\n", pwd.display()),
        "only what is needed is kept: {}",
        ended.stderr()
    );
    assert_eq!(fs::read_to_string(here.join("file")).unwrap(), "found");
}

/// A directory `top` below /tmp and one `outside` of it, with links between the two:
///
/// | | |
/// |---|---|
/// | `outside/in` | absolute, to `top/real` |
/// | `outside/two` | relative, to `in` |
/// | `top/relative` | relative, to `real/project` |
/// | `top/out` | absolute, to `outside` |
struct Links {
    top: tempfile::TempDir,
    outside: tempfile::TempDir,
}

impl Links {
    fn new() -> Self {
        let top = tempfile::Builder::new()
            .prefix("vmtest-links-")
            .tempdir_in("/tmp")
            .unwrap();
        let links = Self {
            top,
            outside: victim(),
        };
        let (top, outside) = (links.top.path(), links.outside.path());
        for directory in ["real/project/tests", "real/home", "real/tmp"] {
            fs::create_dir_all(top.join(directory)).unwrap();
        }
        fs::write(top.join("real/project/file"), "project\n").unwrap();
        fs::write(top.join("real/home/file"), "home\n").unwrap();
        let link = |target: &Path, name: PathBuf| symlink(target, name).unwrap();
        link(&top.join("real"), outside.join("in"));
        link(Path::new("in"), outside.join("two"));
        link(Path::new("real/project"), top.join("relative"));
        link(outside, top.join("out"));
        links
    }
}

#[test]
fn the_guest_has_the_links_that_lead_to_what_it_is_given() {
    let links = Links::new();
    let (top, outside) = (links.top.path(), links.outside.path());
    // The work directory's, for a copy of the kernel, which is then below /tmp.
    let kernel = unpacked_kernel();
    let copy = Path::new("x86_64").join(kernel.file_name().unwrap());
    copy_for_boot(&kernel, &top.join("real/work").join(copy));
    let shared = top.join("shared");
    symlink(outside, &shared).unwrap();
    let call = Call::new("vm").with(|call| {
        call.env("VMTEST_DIR", outside.join("two/work"))
            .env("HOME", outside.join("two/home"))
            .current_dir(outside.join("two/project"))
            .arg("--share-rw")
            .arg(&shared);
    });
    // Its own TMPDIR is looked at after the run, and is a link as well.
    let temporary = top.join("temporary");
    symlink(call.temporary(), &temporary).unwrap();
    let call = call.with(|call| {
        call.env("TMPDIR", &temporary);
    });
    let script = "cat file ~/file \"$1\" \"$2\" \"$3\"; echo new > \"$4/new\"; modprobe -n btrfs; \
                  stat -c %t,%T /dev/loop-control";
    let words = [
        outside.join("two/project/file"),
        top.join("relative/file"),
        top.join("out/file"),
    ];
    let mut words = words.map(|path| path.to_str().unwrap().to_owned()).to_vec();
    words.push(shared.to_str().unwrap().to_owned());
    let mut command = vec!["sh", "-c", script, "sh"];
    command.extend(words.iter().map(String::as_str));
    let ended = call.run_in_guest(&command).output().expect(0);
    assert_eq!(
        ended.stdout(),
        "project\nhome\nproject\nproject\noriginala,ed\n",
        "{}",
        ended.stderr()
    );
    assert_eq!(fs::read_to_string(outside.join("new")).unwrap(), "new\n");
}

#[test]
fn a_project_may_be_named_by_a_link_that_leads_below_tmp() {
    let links = Links::new();
    let project = links.top.path().join("real/project");
    let python = "import os, unittest\n\n\nclass A(unittest.TestCase):\n    def test_a(self):\n        \
                  self.assertTrue(os.path.isfile('file'))\n";
    fs::write(project.join("tests/__init__.py"), "").unwrap();
    fs::write(project.join("tests/test_a.py"), python).unwrap();
    fs::write(
        project.join("vmtest.toml"),
        "name = \"links\"\n[tests]\nstart = \"tests\"\ntop = \".\"\n",
    )
    .unwrap();
    let outside = links.outside.path();
    for name in [
        outside.join("two/project"),
        links.top.path().join("out/in/project"),
    ] {
        let call = Call::new("test --from local -k").with(|call| {
            call.arg(crate::kernel()).arg("-C").arg(&name);
        });
        let ended = call.output().expect(0);
        assert!(ended.stdout().contains("passed"), "{}", ended.stdout());
    }
}

/// What an ordinary user's files are to the guest's root: another user's.
#[test]
fn git_works_in_a_tree_of_another_user() {
    let directory = victim();
    let run = |words: &[&str]| {
        let shell = xshell::Shell::new().unwrap();
        shell.change_dir(directory.path());
        shell.cmd(words[0]).args(&words[1..]).quiet().run().unwrap();
    };
    run(&["git", "init", "-q"]);
    run(&["git", "add", "file"]);
    if rustix::process::geteuid().is_root() {
        run(&["chown", "-R", "65534:65534", "."]);
    }
    let script = "git status --short && env -i PATH=$PATH git rev-parse --is-inside-work-tree \
                  && git config user.name me && git config --get user.name";
    let call = Call::vm("").with(|call| {
        call.current_dir(directory.path());
    });
    let ended = call.script(script).output().expect(0);
    assert_eq!(
        ended.stdout(),
        "A  file\n?? moved\n?? removed\ntrue\nme\n",
        "{}",
        ended.stderr()
    );
}

/// Container engines mount an overlay whose upper layer is in /var/lib.
#[test]
fn a_disk_can_be_an_upper_layer_and_another_a_device() {
    let script = "cd /var/lib && ls && mkdir l u w m && echo l >l/file && \
        mount -t overlay -o lowerdir=l,upperdir=u,workdir=w x m && echo new >m/file && cat u/file
        stat -c %a /tmp; stat -f -c %T /tmp; mkdir /tmp/share/x || exit 1
        blockdev --getsize64 $VMTEST_DISK $VMTEST_DISK2";
    let share = victim();
    let call = Call::vm("--disk 64M:/var/lib --disk 8M --disk 1M:/tmp --disk 4M").with(|call| {
        let share = share.path().to_str().unwrap();
        // Within a disk, which is there first.
        call.arg("--share-rw").arg(format!("{share}:/tmp/share"));
    });
    let ended = call.script(script).output().expect(0);
    assert_eq!(
        ended.stdout(),
        "new\n1777\next2/ext3\n8388608\n4194304\n",
        "{}",
        ended.stderr()
    );
    assert!(share.path().join("x").is_dir());
}

fn copy_for_boot(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("build/include/config")).unwrap();
    for name in ["build/include/config/kernel.release", "build/vmlinux"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    for path in support::host::entries(from) {
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn the_module_tree_is_this_kernels() {
    let script = "test -e /lib/modules/$(uname -r)/modules.dep && modprobe btrfs && grep -q btrfs /proc/filesystems";
    Call::vm("").script(script).output().expect(0);
}
