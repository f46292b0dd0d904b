//! Python for a project: the interpreter, a virtual environment with what the
//! project needs, and a pinned release from PyPI.
//!
//! Everything comes through pip, so that the user's index, proxy and
//! certificates count, and with recorded hashes, so that it does not matter
//! where it came from. Nothing of a distribution's Python packages is used: a
//! virtual environment is made without them, so that tests see the same packages
//! on every host.
//!
//! Byte code is compiled when a tree is made. A guest cannot write it, and an
//! emulated guest needs seconds to compile what a test suite imports.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use xshell::cmd;

use crate::base::error::{Failure, FailureKind, kind, lines};
use crate::base::process::{self, LongCommand};
use crate::base::{disk, env::Env, input, lock, programs, sha256::Sha256, temporary::Temporary};
use crate::model::project::{PinnedRelease, Project};

/// Part of the names of what this module makes. Raised when it makes it otherwise.
const RECIPE: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Interpreter {
    /// What it calls itself: absolute, links unresolved.
    pub path: PathBuf,
    /// `major.minor.micro`.
    pub version: String,
    /// Which compiled modules it takes, e.g. `cpython-311-x86_64-linux-gnu`.
    pub abi: String,
}

impl Interpreter {
    /// Asks an interpreter who it is. What is in `PATH` may be a shim (a shell
    /// script that looks for a version in files of the current directory), which
    /// would cost a guest seconds and may find another one there.
    pub fn find(name: &str, directory: &Path) -> Result<Self> {
        let program = if name.contains('/') {
            let path = directory.join(name);
            let message = format!("there is no Python interpreter {}", path.display());
            let hint = "python in vmtest.toml names a program, or a file in the project";
            let failure = || Failure::usage(message).hint(hint);
            path.is_file().then_some(path).ok_or_else(failure)?
        } else {
            let message = format!("there is no Python interpreter {name}");
            let failure = || Failure::setup(message).hint("install python3, or run with --setup");
            programs::find_program(name).ok_or_else(failure)?
        };
        let shell = process::shell().context("cannot find the current directory")?;
        let script = "import json, platform, sys, sysconfig; print(json.dumps(\
            {'path': sys.executable, 'version': platform.python_version(), \
            'abi': sysconfig.get_config_var('SOABI') or ''}))";
        let answer = cmd!(shell, "{program} -c {script}").quiet().read();
        let answer = answer
            .map_err(Into::into)
            .and_then(|answer| parse_answer(&answer));
        answer.with_context(|| format!("{} is no usable Python interpreter", program.display()))
    }
}

fn parse_answer(answer: &str) -> Result<Interpreter> {
    let answer = answer.lines().last().unwrap_or_default();
    let interpreter = serde_json::from_str::<Interpreter>(answer)?;
    let Interpreter { path, version, .. } = &interpreter;
    let numbers = version
        .split('.')
        .map(str::parse)
        .take(2)
        .collect::<Result<Vec<u32>, _>>();
    if !matches!(numbers.as_deref(), Ok([3, minor]) if *minor >= 6) {
        bail!("it is Python {version}; 3.6 or newer is needed");
    }
    if !path.is_absolute() {
        bail!("it does not know its own path");
    }
    Ok(interpreter)
}

/// A project that is ready for guests of one userspace, or for this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    pub tree: PathBuf,
    /// The interpreter for it, absolute, where the tests run; that of a virtual environment if
    /// the project needs packages. `None`: nobody asked for one, and this host has none.
    pub python: Option<PathBuf>,
    /// The host's, which looks for the tests before a guest does.
    pub host_python: Option<PathBuf>,
    /// The directory that the guest's userspace is in.
    pub root: PathBuf,
    /// Packages for an interpreter that has no environment of its own: a part of PYTHONPATH.
    pub packages: Option<PathBuf>,
}

impl Prepared {
    fn on_host(tree: PathBuf, python: Option<PathBuf>) -> Self {
        Self {
            tree,
            host_python: python.clone(),
            python,
            root: "/".into(),
            packages: None,
        }
    }

    /// What a guest sees of this host's files.
    pub fn keep(&self) -> impl Iterator<Item = &Path> {
        // The environment that the interpreter is in: `<it>/bin/python3`.
        let host = self.root == Path::new("/");
        let python = self.python.as_ref().filter(|_| host);
        let environment = python.and_then(|python| python.ancestors().nth(2));
        let packages = self.packages.as_deref();
        [Some(&*self.tree), environment, packages]
            .into_iter()
            .flatten()
    }
}

/// Makes a checkout ready: its packages, then its own `prepare` steps in it. The
/// steps find the interpreter as `$PYTHON`; that is all we do in a user's tree.
pub fn prepare_tree(
    env: &Env,
    project: &Project,
    tree: &Path,
    log: &Path,
    needs_python: bool,
) -> Result<Prepared> {
    let python = match Interpreter::find(&project.python, tree) {
        Err(_) if !needs_python => None,
        found => Some(environment(env, &found?, &project.needs.python, log)?),
    };
    for step in &project.prepare {
        let _task = env.ui.task(format!("preparing {}: {step}", project.name));
        run_step(project, step, tree, python.as_deref(), &[], log)?;
    }
    Ok(Prepared::on_host(tree.to_owned(), python))
}

/// Runs a step of a project's `prepare`.
pub fn run_step(
    project: &Project,
    step: &str,
    tree: &Path,
    python: Option<&Path>,
    environment: &[(&str, OsString)],
    log: &Path,
) -> Result<()> {
    let mut command = LongCommand::new("/bin/sh")
        .args(["-c", step])
        .credentials()
        .current_dir(tree);
    if let Some(python) = python {
        command = command.env("PYTHON", python).env("PATH", path_with(python));
    }
    for (name, value) in environment {
        command = command.env(name, value);
    }
    process::run_logged(command, log, || Ok(())).map_err(|error| prepare_failed(project, error))
}

fn prepare_failed(project: &Project, error: anyhow::Error) -> anyhow::Error {
    if kind(&error) != Some(FailureKind::Program) {
        return error;
    }
    Failure::setup(format!("cannot prepare {}: {error:#}", project.name))
        .lines(lines(&error))
        .into()
}

/// `PATH` with the interpreter's directory first: steps that say `python3` mean it.
fn path_with(python: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = python
        .parent()
        .map(Path::to_owned)
        .into_iter()
        .chain(std::env::split_paths(&path));
    // A directory with a `:` in its name cannot be in PATH.
    std::env::join_paths(directories).unwrap_or(path)
}

/// The pinned release of a project: its source archive, unpacked, with the
/// compiled module of its wheel. Made once per interpreter.
pub fn prepare_release(
    env: &Env,
    project: &Project,
    release: &PinnedRelease,
    log: &Path,
) -> Result<Prepared> {
    let interpreter = Interpreter::find(&project.python, Path::new("/"))?;
    let python = environment(env, &interpreter, &project.needs.python, log)?;
    let name = format!("{}-{}", release.name, release.version);
    let key = key(&interpreter, &release_key(release));
    let goal = env.paths.projects().join(format!("{name}-{key}"));
    let prepared = Prepared::on_host(goal.clone(), Some(python.clone()));
    if goal.is_dir() {
        return Ok(prepared);
    }
    let _task = env
        .ui
        .task(format!("fetching {name} from the Python package index"));
    let _lock = lock::take(env, &format!("project-{name}-{key}"))?;
    if goal.is_dir() {
        return Ok(prepared);
    }
    disk::create_directory(&env.paths.projects())?;
    let work = Temporary::directory(&goal)?;
    let download = work.path().join("download");
    let unpacked = fetch_source(&python, release, &download, log)?;
    let wheel = requirement(release, &release.wheels);
    let wheel = write_requirements(&download, "wheel.txt", &[wheel])?;
    let target = download.join("wheel");
    let words = "install --no-deps --only-binary=:all: --requirement";
    let to = [wheel.as_os_str(), "--target".as_ref(), target.as_os_str()];
    pip(&python, words, &to, log).map_err(|error| {
        let Interpreter { version, abi, .. } = &interpreter;
        let wheel = format!("a wheel of {name} for Python {version} ({abi})");
        let failure = Failure::setup(format!("cannot fetch {wheel}: {error:#}"));
        failure.lines(lines(&error)).hint(
            "pip needs an index that has it; for another interpreter or machine, test a checkout \
             with -C",
        )
    })?;
    for pattern in &release.extension {
        take(&target, pattern, &unpacked)
            .with_context(|| format!("the wheel of {name} is not as expected"))?;
    }
    compile(&python, &unpacked, log)?;
    work.persist_from(&unpacked)?;
    Ok(prepared)
}

/// Fetches a release's source archive into a new directory and unpacks it there.
pub fn fetch_source(
    python: &Path,
    release: &PinnedRelease,
    download: &Path,
    log: &Path,
) -> Result<PathBuf> {
    disk::create_directory(download)?;
    let name = format!("{}-{}", release.name, release.version);
    let source = requirement(release, std::slice::from_ref(&release.source));
    let source = write_requirements(download, "source.txt", &[source])?;
    let words = "download --no-deps --no-build-isolation --no-binary=:all: --requirement";
    let to = [source.as_os_str(), "--dest".as_ref(), download.as_os_str()];
    let fetched = pip(python, words, &to, log);
    fetched.with_context(|| format!("cannot fetch the source of {name}"))?;
    let archive = format!("{name}.tar.gz");
    let unpack = LongCommand::new(python)
        .args(["-m", "tarfile", "-e"])
        .arg(download.join(&archive))
        .arg(download);
    process::run_logged(unpack, log, || Ok(()))
        .with_context(|| format!("cannot unpack {archive}"))?;
    Ok(download.join(&name))
}

fn requirement(release: &PinnedRelease, hashes: &[String]) -> String {
    let mut line = format!("{}=={}", release.name, release.version);
    for hash in hashes {
        line.push_str(" --hash=");
        line.push_str(hash);
    }
    line
}

pub fn release_key(release: &PinnedRelease) -> Vec<String> {
    let mut parts = vec![requirement(release, std::slice::from_ref(&release.source))];
    parts.push(requirement(release, &release.wheels));
    parts.extend(release.extension.iter().cloned());
    parts
}

/// Moves what matches `pattern` in `from` into `to`.
fn take(from: &Path, pattern: &str, to: &Path) -> Result<()> {
    let pattern = glob::Pattern::new(pattern).context("a bad pattern in the project file")?;
    let mut found = false;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if pattern.matches(&name.to_string_lossy()) {
            found = true;
            fs::rename(entry.path(), to.join(&name))
                .with_context(|| format!("cannot move {}", entry.path().display()))?;
        }
    }
    if !found {
        bail!("nothing in it matches {pattern}");
    }
    Ok(())
}

/// The interpreter of an environment with these packages; the given one itself if
/// there are none. Environments are shared by all projects that ask for the same.
pub fn environment(
    env: &Env,
    interpreter: &Interpreter,
    requirements: &[String],
    log: &Path,
) -> Result<PathBuf> {
    if requirements.is_empty() {
        return Ok(interpreter.path.clone());
    }
    let key = key(interpreter, requirements);
    let goal = env.paths.projects().join(format!("python-{key}"));
    let python = goal.join("bin/python3");
    if python.exists() {
        return Ok(python);
    }
    let _task = env.ui.task("making a Python environment");
    let _lock = lock::take(env, &format!("python-{key}"))?;
    if python.exists() {
        return Ok(python);
    }
    disk::create_directory(&env.paths.projects())?;
    let work = Temporary::directory(&goal)?;
    let venv = work.path().join("python");
    let create = LongCommand::new(&interpreter.path)
        .args(["-m", "venv"])
        .arg(&venv);
    process::run_logged(create, log, || Ok(())).map_err(|error| {
        Failure::setup(format!("cannot make a Python environment: {error:#}"))
            .lines(lines(&error))
            .hint("Debian and Ubuntu have what it needs in the package python3-venv")
    })?;
    let new = venv.join("bin/python3");
    let file = write_requirements(work.path(), "requirements.txt", requirements)?;
    let words = "install --only-binary=:all: --requirement";
    pip(&new, words, &[file.as_os_str()], log).map_err(|error| {
        Failure::setup(format!("cannot install Python packages: {error:#}")).lines(lines(&error))
    })?;
    compile(&new, &venv, log)?;
    relocate(&venv, &goal)?;
    // Another one may be there: its interpreter was a link to one that has been removed since.
    work.persist_from(&venv)?;
    Ok(python)
}

/// The scripts of an environment name its interpreter by path.
fn relocate(venv: &Path, goal: &Path) -> Result<()> {
    let bin = venv.join("bin");
    for entry in fs::read_dir(&bin).with_context(|| format!("cannot read {}", bin.display()))? {
        let path = entry?.path();
        if path.is_symlink() || !path.is_file() {
            continue;
        }
        // Not text: a program of a package, which names nothing.
        let Ok(text) = input::text(&path, input::TEXT) else {
            continue;
        };
        let moved = text.replace(
            &*venv.as_os_str().to_string_lossy(),
            &goal.as_os_str().to_string_lossy(),
        );
        if moved != text {
            disk::write(&path, moved)?;
        }
    }
    Ok(())
}

fn key(interpreter: &Interpreter, parts: &[String]) -> String {
    let interpreter = [
        interpreter.path.to_string_lossy().into_owned(),
        interpreter.version.clone(),
        interpreter.abi.clone(),
        RECIPE.to_string(),
    ];
    key_of(&[&interpreter, parts].concat())
}

/// A part of a name that is another one where any of these is.
pub fn key_of(parts: &[String]) -> String {
    let mut hash = Sha256::default();
    for part in parts {
        // The length keeps neighbours apart.
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finish()[..16].to_owned()
}

pub fn write_requirements(directory: &Path, name: &str, lines: &[String]) -> Result<PathBuf> {
    let path = directory.join(name);
    disk::write(&path, lines.join("\n") + "\n")?;
    Ok(path)
}

/// Runs pip. Hashes in a requirements file switch its `--require-hashes` on: then the packages
/// that others depend on must be listed too.
pub fn pip(python: &Path, words: &str, more: &[&OsStr], log: &Path) -> Result<()> {
    let command = LongCommand::new(python)
        .args(["-m", "pip", "--disable-pip-version-check", "--no-input"])
        .credentials()
        .args(words.split(' '))
        .args(more.iter().copied());
    process::run_logged(command, log, || Ok(()))
}

/// Compiles byte code. A file with a syntax error (a test's input) is not ours.
fn compile(python: &Path, tree: &Path, log: &Path) -> Result<()> {
    let command = LongCommand::new("/bin/sh")
        .args(["-c", r#""$0" -m compileall -q "$1" || :"#])
        .arg(python)
        .arg(tree);
    process::run_logged(command, log, || Ok(()))
        .with_context(|| format!("cannot compile {}", tree.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter() -> Interpreter {
        Interpreter {
            path: "/usr/bin/python3".into(),
            version: "3.11.2".to_owned(),
            abi: "cpython-311-x86_64-linux-gnu".to_owned(),
        }
    }

    #[test]
    fn answers_of_interpreters() {
        let answer = |version: &str, path: &str| {
            let text = format!(
                "a shim's greeting\n{{\"path\": \"{path}\", \"version\": \"{version}\", \"abi\": \"x\"}}"
            );
            parse_answer(&text).map_err(|error| error.to_string())
        };
        let path = |version| answer(version, "/usr/bin/python3").map(|found| found.path);
        assert_eq!(path("3.6.0"), Ok("/usr/bin/python3".into()));
        assert_eq!(path("3.15.0rc1"), Ok("/usr/bin/python3".into()));
        assert_eq!(
            path("3.5.9"),
            Err("it is Python 3.5.9; 3.6 or newer is needed".to_owned())
        );
        assert_eq!(
            path("2.7.18"),
            Err("it is Python 2.7.18; 3.6 or newer is needed".to_owned())
        );
        assert_eq!(
            answer("3.11.2", ""),
            Err("it does not know its own path".to_owned())
        );
        assert!(parse_answer("").is_err());
    }

    #[test]
    fn the_hosts_interpreter_is_found() {
        let found = Interpreter::find("python3", Path::new("/")).unwrap();
        assert!(found.path.is_absolute());
        let again = Interpreter::find(&found.path.to_string_lossy(), Path::new("/")).unwrap();
        assert_eq!(again, found);
        let error = Interpreter::find("no-such-python", Path::new("/")).unwrap_err();
        assert_eq!(crate::base::error::exit_status(&error), 3);
        assert!(Interpreter::find("/bin/sh", Path::new("/")).is_err());
    }

    #[test]
    fn keys_tell_interpreters_and_packages_apart() {
        let words = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let base = key(&interpreter(), &words(&["a", "bc"]));
        assert_eq!(base.len(), 16);
        assert_eq!(base, key(&interpreter(), &words(&["a", "bc"])));
        assert_ne!(base, key(&interpreter(), &words(&["ab", "c"])));
        let newer = Interpreter {
            version: "3.11.3".to_owned(),
            ..interpreter()
        };
        assert_ne!(base, key(&newer, &words(&["a", "bc"])));
    }

    #[test]
    fn a_requirement_lists_its_hashes() {
        let release = PinnedRelease {
            name: "drgn".to_owned(),
            version: "0.3.0".to_owned(),
            source: "sha256:aa".to_owned(),
            wheels: vec!["sha256:bb".to_owned(), "sha256:cc".to_owned()],
            extension: vec![],
        };
        assert_eq!(
            requirement(&release, &release.wheels),
            "drgn==0.3.0 --hash=sha256:bb --hash=sha256:cc"
        );
    }

    #[test]
    fn what_a_wheel_lacks_is_an_error() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        fs::write(from.path().join("_drgn.abi3.so"), "x").unwrap();
        fs::write(from.path().join("drgn.py"), "x").unwrap();
        take(from.path(), "_drgn.*.so", to.path()).unwrap();
        assert!(to.path().join("_drgn.abi3.so").is_file());
        assert!(!to.path().join("drgn.py").exists());
        let error = take(from.path(), "drgn.libs", to.path()).unwrap_err();
        assert_eq!(error.to_string(), "nothing in it matches drgn.libs");
    }

    #[test]
    fn scripts_of_an_environment_move_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let venv = directory.path().join("tmp");
        fs::create_dir_all(venv.join("bin")).unwrap();
        fs::write(
            venv.join("bin/pip"),
            format!("#!{}/bin/python3\nimport pip\n", venv.display()),
        )
        .unwrap();
        fs::write(venv.join("bin/binary"), b"\x7fELF\xff").unwrap();
        std::os::unix::fs::symlink("/usr/bin/python3", venv.join("bin/python3")).unwrap();
        relocate(&venv, Path::new("/goal")).unwrap();
        assert_eq!(
            fs::read_to_string(venv.join("bin/pip")).unwrap(),
            "#!/goal/bin/python3\nimport pip\n"
        );
        assert_eq!(fs::read(venv.join("bin/binary")).unwrap(), b"\x7fELF\xff");
    }
}
