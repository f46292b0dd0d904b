//! Makes a project ready for guests whose userspace is not this host's: that of another
//! architecture, or of another distribution.
//!
//! Programs of that userspace cannot run here, so that the project's `[cross] prepare` compiles
//! against it. Packages of Python are those that are the same on all machines; the interpreter is
//! the userspace's own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::base::error::{Failure, lines};
use crate::base::{disk, env::Env, lock, temporary::Temporary};
use crate::host::setup::{self, Tool};
use crate::model::arch::Arch;
use crate::model::project::{Chosen, PinnedRelease, Project};
use crate::root::GuestRoot;
use crate::run::python::{self, Interpreter, Prepared};

/// The interpreter of the guest's userspace.
const PYTHON: &str = "usr/bin/python3";

/// Part of the names of what this module makes. Raised when it makes it otherwise.
const RECIPE: &str = "1";

/// Where programs are in a userspace.
const PROGRAMS: [&str; 6] = [
    "usr/local/sbin",
    "usr/local/bin",
    "usr/sbin",
    "usr/bin",
    "sbin",
    "bin",
];

/// Debian packages of the userspace that the project needs.
pub fn packages(project: &Project) -> Vec<String> {
    let needs = &project.needs;
    let mut tools = needs.programs.iter().map(Tool::program).collect::<Vec<_>>();
    let mut more = Vec::new();
    if let Some(cross) = &project.cross {
        tools.extend(needs.headers.iter().map(Tool::header));
        more.clone_from(&cross.packages);
    }
    more.extend(setup::debian_packages(&tools));
    more.sort();
    more.dedup();
    more
}

/// What this host must have to make the project ready for an architecture.
pub fn tools(project: &Project, arch: &Arch) -> Vec<Tool> {
    let steps = project.cross.as_ref().map(|cross| &cross.prepare);
    if steps.is_none_or(Vec::is_empty) {
        return Vec::new();
    }
    let mut tools = vec![Tool::program(arch.program("gcc"))];
    tools.extend(project.needs.prepare.iter().map(Tool::program));
    tools
}

/// Makes a project ready; `requirements` are the Python packages of its tests.
pub fn prepare(
    env: &Env,
    chosen: &Chosen,
    userspace: &GuestRoot,
    log: &Path,
    needs_python: bool,
) -> Result<Prepared> {
    let Chosen { project, tree } = chosen;
    if project.cross.is_none() && !(project.prepare.is_empty() && tree.is_some()) {
        let (name, arch) = (&project.name, userspace.arch.name);
        let message = format!("nothing says how {name} is prepared for {arch}");
        let hint = "a table [cross] in vmtest.toml does; an empty one if nothing is to be done";
        return Err(Failure::setup(message).hint(hint).into());
    }
    require_programs(project, userspace)?;
    let place = tree.as_deref().unwrap_or(Path::new("/"));
    let (host_python, version) = match Interpreter::find(&project.python, place) {
        Err(_) if !needs_python && tree.is_some() => (None, None),
        found => {
            let python = python::environment(env, &found?, &project.needs.python, log)?;
            (Some(python), Some(python_version(userspace)?))
        }
    };
    let packages = match (&host_python, &version) {
        (Some(python), Some(version)) if !project.needs.python.is_empty() => {
            Some(pure_packages(env, python, version, project, log)?)
        }
        _ => None,
    };
    let steps = Steps {
        project,
        userspace,
        python: host_python.as_deref(),
        log,
    };
    let tree = match (tree, &host_python) {
        (Some(tree), _) => {
            let name = format!("preparing {} for {}", project.name, userspace.arch.name);
            let _task = env.ui.task(name);
            steps.run(tree)?;
            tree.clone()
        }
        (None, Some(python)) => {
            let release = (project.release.as_ref())
                .with_context(|| format!("the profile {} has no release", project.name))?;
            prepare_release(env, &steps, release, python)?
        }
        (None, None) => return Err(anyhow!("no interpreter fetches the release")),
    };
    Ok(Prepared {
        tree,
        python: version.map(|_| Path::new("/").join(PYTHON)),
        host_python,
        root: userspace.path.clone(),
        packages,
    })
}

/// What the project's tests run must be there: a directory of the user's is taken as it is.
fn require_programs(project: &Project, userspace: &GuestRoot) -> Result<(), Failure> {
    let root = &userspace.path;
    let has = |name: &&String| {
        // A link may lead to a path in the guest.
        let there = |folder| root.join(folder).join(name).symlink_metadata().is_ok();
        PROGRAMS.iter().any(there)
    };
    let lacks = project.needs.programs.iter().filter(|name| !has(name));
    let lacks = lacks.map(String::as_str).collect::<Vec<_>>().join(", ");
    if lacks.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the guest's userspace {} lacks what {} needs: {lacks}",
        root.display(),
        project.name
    );
    Err(Failure::setup(message).hint("packages in [cross] of vmtest.toml names Debian's with it"))
}

/// `major.minor` of the userspace's interpreter, which cannot run here. The link says it on all
/// distributions.
fn python_version(userspace: &GuestRoot) -> Result<String> {
    let path = userspace.path.join(PYTHON);
    let target = path.read_link().ok();
    let name = target
        .as_ref()
        .and_then(|target| target.file_name()?.to_str());
    let version = name.and_then(|name| name.strip_prefix("python"));
    let version = version.filter(|version| version.starts_with("3."));
    Ok(version.map(str::to_owned).ok_or_else(|| {
        let message = format!("{} is no link to a python3.N", path.display());
        Failure::setup(message).hint("the guest's userspace needs Python 3")
    })?)
}

/// A directory with the project's Python packages. Only those without compiled code are the same
/// for every machine.
fn pure_packages(
    env: &Env,
    python: &Path,
    version: &str,
    project: &Project,
    log: &Path,
) -> Result<PathBuf> {
    let requirements = &project.needs.python;
    let key =
        python::key_of(&[&[RECIPE.to_owned(), version.to_owned()], &requirements[..]].concat());
    let goal = env.paths.projects().join(format!("packages-{key}"));
    let _lock = lock::take(env, &format!("packages-{key}"))?;
    if goal.is_dir() {
        return Ok(goal);
    }
    let _task = env.ui.task("fetching Python packages");
    disk::create_directory(&env.paths.projects())?;
    let work = Temporary::directory(&goal)?;
    let target = work.path().join("packages");
    let file = python::write_requirements(work.path(), "requirements.txt", requirements)?;
    let words = format!(
        "install --only-binary=:all: --platform any --implementation py --abi none \
         --python-version {version} --no-compile --requirement"
    );
    let to = [file.as_os_str(), "--target".as_ref(), target.as_os_str()];
    python::pip(python, &words, &to, log).map_err(|error| {
        let message = format!("cannot fetch Python packages for another machine: {error:#}");
        Failure::setup(message)
            .lines(lines(&error))
            .hint("only packages without compiled code can be had for a guest of its own userspace")
    })?;
    work.persist_from(&target)?;
    Ok(goal)
}

/// The steps of `[cross] prepare`, and with what they run.
struct Steps<'s> {
    project: &'s Project,
    userspace: &'s GuestRoot,
    python: Option<&'s Path>,
    log: &'s Path,
}

impl Steps<'_> {
    fn texts(&self) -> &[String] {
        let cross = self.project.cross.as_ref();
        cross.map_or(&[], |cross| &cross.prepare)
    }

    fn run(&self, tree: &Path) -> Result<()> {
        let environment = environment(self.userspace);
        self.texts().iter().try_for_each(|step| {
            let (project, log) = (self.project, self.log);
            python::run_step(project, step, tree, self.python, &environment, log)
        })
    }
}

/// What the steps find. pkg-config(1): a libdir replaces the directories that it would search,
/// and what it prints begins with the sysroot.
fn environment(userspace: &GuestRoot) -> Vec<(&'static str, OsString)> {
    let GuestRoot { path, arch } = userspace;
    let shown = path.display();
    let triplet = arch.triplet;
    let tool = |name: &str| format!("{} --sysroot={shown}", arch.program(name));
    let pkg_config = ["lib", "share"].map(|folder| format!("{shown}/usr/{folder}/pkgconfig"));
    let pkg_config = format!(
        "{shown}/usr/lib/{triplet}/pkgconfig:{}",
        pkg_config.join(":")
    );
    let text = [
        ("VMTEST_ARCH", arch.name.to_owned()),
        ("VMTEST_TRIPLET", triplet.to_owned()),
        ("CC", tool("gcc")),
        ("CXX", tool("g++")),
        ("CROSS_COMPILE", arch.cross_compile().unwrap_or_default()),
        ("PKG_CONFIG_LIBDIR", pkg_config),
    ];
    let paths = ["VMTEST_ROOT", "PKG_CONFIG_SYSROOT_DIR"].map(|name| (name, path.into()));
    let text = text.map(|(name, value)| (name, value.into()));
    text.into_iter().chain(paths).collect()
}

/// The pinned release: its source archive, unpacked, with the steps run in it. Made once per
/// userspace.
fn prepare_release(
    env: &Env,
    steps: &Steps<'_>,
    release: &PinnedRelease,
    python: &Path,
) -> Result<PathBuf> {
    let userspace = steps.userspace;
    let mut parts = python::release_key(release);
    parts.extend([RECIPE.to_owned(), userspace.path.display().to_string()]);
    parts.extend_from_slice(steps.texts());
    let name = format!("{}-{}", release.name, release.version);
    let name = format!("{name}-{}-{}", userspace.arch.name, python::key_of(&parts));
    let goal = env.paths.projects().join(&name);
    let _lock = lock::take(env, &format!("project-{name}"))?;
    if goal.is_dir() {
        return Ok(goal);
    }
    let _task = env.ui.task(format!("building {name}"));
    disk::create_directory(&env.paths.projects())?;
    let work = Temporary::directory(&goal)?;
    let download = work.path().join("download");
    let unpacked = python::fetch_source(python, release, &download, steps.log)?;
    steps.run(&unpacked)?;
    let build = unpacked.join("build");
    if build.is_dir() {
        disk::remove_directory(build)?;
    }
    work.persist_from(&unpacked)?;
    Ok(goal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arch;

    fn userspace(path: &Path) -> GuestRoot {
        let arch = arch::find("s390x").unwrap();
        let path = path.to_owned();
        GuestRoot { arch, path }
    }

    fn project(text: &str) -> Project {
        Project::parse("vmtest.toml", &format!("name = \"p\"\n{text}")).unwrap()
    }

    #[test]
    fn packages_are_those_with_what_the_project_needs() {
        let needs = "[needs]\nprograms = [\"modprobe\", \"unheard-of\"]\nheaders = [\"zlib.h\"]\n";
        assert_eq!(packages(&project(needs)), ["kmod"]);
        let cross = format!("{needs}[cross]\npackages = [\"libgomp1\", \"kmod\"]\n");
        let expected = ["kmod", "libgomp1", "zlib1g-dev"];
        assert_eq!(packages(&project(&cross)), expected);
    }

    #[test]
    fn a_userspace_says_its_interpreter_and_programs() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        assert!(python_version(&userspace(path)).is_err());
        std::fs::create_dir_all(path.join("usr/bin")).unwrap();
        std::os::unix::fs::symlink("python3.13", path.join(PYTHON)).unwrap();
        assert_eq!(python_version(&userspace(path)).unwrap(), "3.13");
        let project = project("[needs]\nprograms = [\"python3\", \"btrfs\"]\n");
        let error = require_programs(&project, &userspace(path)).unwrap_err();
        let expected = format!("{} lacks what p needs: btrfs", path.display());
        assert!(error.message.ends_with(&expected), "{}", error.message);
        std::os::unix::fs::symlink("/sbin/elsewhere", path.join("usr/bin/btrfs")).unwrap();
        require_programs(&project, &userspace(path)).unwrap();
    }

    #[test]
    fn what_is_prepared_for_the_host_is_not_for_another_userspace() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let chosen = |text: &str| Chosen {
            project: project(text),
            tree: Some(work.path().to_owned()),
        };
        let made_ready = |text: &str| {
            let log = work.path().join("log");
            prepare(&env, &chosen(text), &userspace(work.path()), &log, false)
        };
        let error = made_ready("prepare = [\"true\"]").unwrap_err().to_string();
        let expected = "nothing says how p is prepared for s390x (";
        assert!(error.starts_with(expected), "{error}");
        // Shell scripts need no interpreter.
        let text = "python = \"absent\"\nprepare = [\"true\"]\n[cross]\n";
        let prepared = made_ready(text).unwrap();
        assert_eq!((prepared.python, prepared.packages), (None, None));
        assert_eq!(prepared.root, work.path());
    }

    #[test]
    fn steps_learn_the_userspace() {
        let environment = environment(&userspace(Path::new("/r")));
        let words = environment
            .iter()
            .map(|(name, value)| format!("{name}={}\n", value.display()));
        expect_test::expect![[r#"
            VMTEST_ARCH=s390x
            VMTEST_TRIPLET=s390x-linux-gnu
            CC=s390x-linux-gnu-gcc --sysroot=/r
            CXX=s390x-linux-gnu-g++ --sysroot=/r
            CROSS_COMPILE=s390x-linux-gnu-
            PKG_CONFIG_LIBDIR=/r/usr/lib/s390x-linux-gnu/pkgconfig:/r/usr/lib/pkgconfig:/r/usr/share/pkgconfig
            VMTEST_ROOT=/r
            PKG_CONFIG_SYSROOT_DIR=/r
        "#]]
        .assert_eq(&words.collect::<String>());
    }
}
