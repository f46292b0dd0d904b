//! Tests of [`super`], with a store in memory and kernels of a few bytes.

use std::cell::RefCell;
use std::fs::File;

use super::*;
use crate::base::{paths::Files, paths::Paths};
use crate::kernel::manifest::SourceOrigin;
use crate::model::arch;

const NOW: u64 = 1_800_000_000;

/// Published packages, and what was done to them.
#[derive(Default)]
struct Memory {
    packages: RefCell<Vec<Published>>,
    log: RefCell<Vec<String>>,
    /// Uploads of this release are refused.
    refused: Option<&'static str>,
}

impl ReleaseStore for Memory {
    fn contents(&self) -> Result<Contents> {
        self.log.borrow_mut().push("list".to_owned());
        Ok(Contents {
            packages: self.packages.borrow().clone(),
            ..Contents::default()
        })
    }

    fn upload(&self, file: &Path) -> Result<()> {
        let name = file.file_name().unwrap().to_string_lossy();
        let name = PackageName::parse(&name).unwrap();
        if self
            .refused
            .is_some_and(|refused| name.release.to_string() == refused)
        {
            anyhow::bail!("HTTP status 403");
        }
        let mut packages = self.packages.borrow_mut();
        packages.retain(|other| other.name != name || other.finished);
        assert!(
            packages.iter().all(|other| other.name != name),
            "never changed"
        );
        self.log
            .borrow_mut()
            .push(format!("upload {}", name.release));
        let id = packages.len() as u64;
        packages.push(Published {
            id,
            size: file.metadata()?.len(),
            finished: true,
            input_key: Manifest::of_package(file)?.map(|manifest| manifest.input_key),
            created: crate::base::time::rfc3339(NOW),
            name,
        });
        Ok(())
    }

    fn delete(&self, package: &Published) -> Result<()> {
        let mut packages = self.packages.borrow_mut();
        packages.retain(|other| other.name != package.name);
        self.log
            .borrow_mut()
            .push(format!("delete {}", package.name.release));
        Ok(())
    }
}

fn name(release: &str) -> PackageName {
    PackageName::parse(&format!("kernel-{release}.x86_64.tar.zst")).unwrap()
}

fn published(release: &str, input_key: Option<&str>, finished: bool) -> Published {
    Published {
        name: name(release),
        id: 0,
        size: 1_000_000,
        finished,
        input_key: input_key.map(str::to_owned),
        created: crate::base::time::rfc3339(NOW - 10),
    }
}

/// A kernel that takes part in a test: release and input key.
fn wish(release: &str, input_key: &str) -> WantedKernel {
    let release = release.parse::<crate::model::version::Release>().unwrap();
    let arch = arch::find("x86_64").unwrap();
    WantedKernel {
        series: release.version.series,
        flavor: release.flavor().unwrap(),
        arch,
        newest: Ok(Newest {
            name: PackageName { arch, release },
            input_key: input_key.to_owned(),
        }),
    }
}

/// The least that is a kernel of ours, unpacked where it belongs.
fn unpack(paths: &Paths, release: &str, input_key: &str) -> LocalKernel {
    let name = name(release);
    let path = store::kernel_path(paths, name.arch, &name.release);
    std::fs::create_dir_all(path.join("build/include/config")).unwrap();
    std::fs::write(path.join("vmlinuz"), "image").unwrap();
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(18, 0);
    elf.extend_from_slice(&62_u16.to_le_bytes());
    std::fs::write(path.join("build/vmlinux"), elf).unwrap();
    let file = path.join("build/include/config/kernel.release");
    std::fs::write(file, format!("{release}\n")).unwrap();
    let manifest = Manifest {
        release: release.to_owned(),
        arch: "x86_64".to_owned(),
        flavor: name.release.flavor().unwrap(),
        revision: 1,
        source: SourceOrigin {
            origin: "test".to_owned(),
            checksum: "test".to_owned(),
        },
        options: Vec::new(),
        patches: Vec::new(),
        input_key: input_key.to_owned(),
        build_key: String::new(),
        compiler: String::new(),
        pahole: None,
    };
    let text = manifest.to_json().unwrap();
    std::fs::write(path.join("manifest.json"), text).unwrap();
    store::open(&path).unwrap()
}

/// Its package file.
fn pack(paths: &Paths, kernel: &LocalKernel) -> PathBuf {
    let path = store::package_path(paths, kernel.arch, &kernel.release);
    std::fs::create_dir_all(paths.packages()).unwrap();
    archive::create(&kernel.path, File::create(&path).unwrap(), 1).unwrap();
    path
}

struct Fixture {
    work: tempfile::TempDir,
    env: Env,
    memory: Memory,
    built: Vec<String>,
    /// A kernel of this release cannot be built.
    broken: Option<&'static str>,
}

impl Fixture {
    fn new(packages: impl Into<Vec<Published>>) -> Self {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        Self {
            work,
            env,
            memory: Memory {
                packages: RefCell::new(packages.into()),
                ..Memory::default()
            },
            built: Vec::new(),
            broken: None,
        }
    }

    /// Plans and applies, as the command does.
    fn apply(&mut self, wanted: &[WantedKernel], keep: usize) -> Result<Applied> {
        let options = Options {
            keep: NonZeroUsize::new(keep),
            now: NOW,
        };
        let contents = self.memory.contents()?;
        let ready = ready(&self.env, wanted, &contents)?;
        let plan = plan::plan(wanted, &contents, &ready, &options);
        let (env, broken, built) = (&self.env, self.broken, &mut self.built);
        let mut build = |item: &Item| {
            let release = item.title();
            if broken == Some(release.as_str()) {
                return Err(Failure::setup("building failed; log: /w/log/make.log").into());
            }
            let kernel = unpack(&env.paths, &release, item.input_key.as_deref().unwrap());
            pack(&env.paths, &kernel);
            built.push(release);
            Ok(kernel)
        };
        apply(&self.env, &plan, wanted, &options, &self.memory, &mut build)
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.memory.log.borrow_mut())
    }
}

const A: &str = "6.1.10-vmtest1.1default";
const B: &str = "6.2.16-vmtest1.1default";

#[test]
fn what_is_missing_is_built_and_uploaded_one_by_one_and_then_there_is_nothing_to_do() {
    let mut fixture = Fixture::new([
        published("6.1.9-vmtest1.1default", Some("a"), true),
        published("6.1.8-vmtest1.1default", Some("a"), true),
        published("5.10.1-vmtest1.1default", Some("a"), true),
        published("5.10.0-vmtest1.1default", Some("a"), true),
    ]);
    let wanted = [wish(A, "aa"), wish(B, "bb")];
    let applied = fixture.apply(&wanted, 2).unwrap();
    assert_eq!(applied.uploaded, [name(A), name(B)]);
    assert!(applied.failure().is_none());
    assert_eq!(
        fixture.log(),
        [
            "list".to_owned(),
            format!("upload {A}"),
            format!("upload {B}"),
            "list".to_owned(),
            "delete 6.1.8-vmtest1.1default".to_owned(),
        ]
    );
    let keys = fixture.memory.packages.borrow();
    let key = keys.iter().find(|package| package.name == name(A)).unwrap();
    assert_eq!(key.input_key.as_deref(), Some("aa"));
    drop(keys);

    let applied = fixture.apply(&wanted, 2).unwrap();
    assert!(applied.uploaded.is_empty() && applied.deleted.is_empty());
    assert_eq!(fixture.log(), ["list", "list"]);
    assert_eq!(fixture.built, [A, B]);
}

#[test]
fn a_kernel_that_cannot_be_built_does_not_stop_the_others() {
    let mut fixture = Fixture::new([
        published("6.1.9-vmtest1.1default", Some("a"), true),
        published("6.1.8-vmtest1.1default", Some("a"), true),
    ]);
    fixture.broken = Some(A);
    let unavailable = WantedKernel {
        newest: Err("no suite of Debian has linux-source-6.3".to_owned()),
        ..wish("6.3.1-vmtest1.1default", "")
    };
    let applied = fixture
        .apply(&[wish(A, "aa"), wish(B, "bb"), unavailable], 1)
        .unwrap();
    assert_eq!(applied.uploaded, [name(B)]);
    // The last good one of the series that failed is still there.
    assert_eq!(applied.deleted, [name("6.1.8-vmtest1.1default")]);
    let failure = applied.failure().unwrap();
    expect_test::expect![[r"
        2 of 3 kernels could not be had:
        6.1.10-vmtest1.1default: building failed; log: /w/log/make.log
        6.3 default: no suite of Debian has linux-source-6.3"]]
    .assert_eq(&format!("{failure}\n{}", failure.lines));
    assert_eq!(failure.kind.exit_status(), 3);
}

#[test]
fn a_refused_upload_ends_the_run_and_the_next_one_does_not_build_again() {
    let mut fixture = Fixture::new([]);
    fixture.memory.refused = Some(A);
    let wanted = [wish(A, "aa"), wish(B, "bb")];
    let error = fixture.apply(&wanted, 0).unwrap_err();
    let text = format!("{error:#}").replace(&fixture.work.path().display().to_string(), "W");
    assert_eq!(
        text,
        format!(
            "W/packages/kernel-{A}.x86_64.tar.zst was kept, the next run only uploads it: \
             HTTP status 403"
        )
    );
    fixture.memory.refused = None;
    fixture.log();
    fixture.apply(&wanted, 0).unwrap();
    assert_eq!(fixture.built, [A, B]);
    assert_eq!(
        fixture.log(),
        [
            "list".to_owned(),
            format!("upload {A}"),
            format!("upload {B}")
        ]
    );
}

#[test]
fn only_a_package_of_the_same_input_is_uploaded_as_it_is() {
    let mut fixture = Fixture::new([published(A, None, false)]);
    let kernel = unpack(&fixture.env.paths, A, "of other options");
    let package = pack(&fixture.env.paths, &kernel);
    fixture.apply(&[wish(A, "aa")], 0).unwrap();
    assert_eq!(fixture.built, [A]);

    // A damaged one is made again as well.
    for text in ["", "damaged"] {
        let mut fixture = Fixture::new([]);
        let kernel = unpack(&fixture.env.paths, A, "aa");
        std::fs::write(pack(&fixture.env.paths, &kernel), text).unwrap();
        fixture.apply(&[wish(A, "aa")], 0).unwrap();
        assert_eq!(fixture.built, [A]);
    }
    assert!(package.is_file());
}

#[test]
fn a_package_file_that_was_removed_is_made_from_the_unpacked_kernel() {
    let fixture = Fixture::new([]);
    let kernel = unpack(&fixture.env.paths, A, "aa");
    let bytes = std::fs::read(pack(&fixture.env.paths, &kernel)).unwrap();
    let other = unpack(&fixture.env.paths, B, "bb");
    for before in [None, Some("damaged")] {
        let path = store::package_path(&fixture.env.paths, kernel.arch, &kernel.release);
        std::fs::remove_file(&path).unwrap();
        // A file of other input, as `package -o` can leave one, is replaced.
        if before.is_some() {
            let moved = pack(&fixture.env.paths, &other);
            std::fs::rename(moved, &path).unwrap();
        }
        let made = packaged(&fixture.env, &kernel, &name(A)).unwrap();
        assert_eq!(std::fs::read(made).unwrap(), bytes);
    }
    let error = packaged(&fixture.env, &kernel, &name(B)).unwrap_err();
    assert!(
        error.to_string().contains("not what was planned"),
        "{error}"
    );
}

#[test]
fn a_plan_with_problems_is_not_begun() {
    let crowd = (0..crate::net::github::api::ASSETS_MAX)
        .map(|number| published(&format!("5.4.{number}-vmtest1.1default"), None, true))
        .collect::<Vec<_>>();
    let mut fixture = Fixture::new(crowd);
    let error = fixture.apply(&[wish(A, "aa")], 0).unwrap_err();
    assert!(error.to_string().contains("GitHub allows 1,000"), "{error}");
    assert_eq!(fixture.log(), ["list"]);
    assert!(fixture.built.is_empty());
}

#[test]
fn the_wanted_kernels_are_in_a_fixed_order_with_keys_of_their_own() {
    let work = tempfile::tempdir().unwrap();
    let mut env = Env::for_tests(work.path());
    env.paths.configs = Files::Embedded(crate::base::embedded::CONFIGS);
    let selection = Selection {
        series: ["6.1", "5.10", "6.1", "3.2"]
            .map(|text| text.parse().unwrap())
            .to_vec(),
        flavors: vec!["default".to_owned()],
        architectures: vec![arch::find("x86_64").unwrap()],
        source: SourceChoice::KernelOrg,
        // Nobody is there, so each says why it is not to be had.
        kernel_org_url: "http://127.0.0.1:9/kernel".to_owned(),
    };
    let wanted = wanted(&env, &selection).unwrap();
    let series = wanted.iter().map(|wanted| wanted.series.to_string());
    assert_eq!(series.collect::<Vec<_>>(), ["5.10", "6.1"]);
    for wanted in wanted {
        let reason = wanted.newest.unwrap_err();
        let start = format!("cannot get Linux {} from kernel.org: ", wanted.series);
        assert!(
            reason.starts_with(&start) && !reason.contains('\n'),
            "{reason}"
        );
    }
}
