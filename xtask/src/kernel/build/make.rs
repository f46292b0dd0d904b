//! How make is called for a kernel: every variable that the build's bytes depend
//! on is set here, and every one that the caller's environment could bring is
//! taken out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::toolchain::{Remedy, Toolchain};
use crate::base::{error::Failure, process::LongCommand, process::shell, time};
use crate::kernel::source::SourceTree;
use crate::model::arch::Arch;

/// What the kernel's own makefiles read from the environment (Documentation/kbuild
/// /kbuild.rst and the top Makefile). A user may have any of these set for work on
/// a kernel of their own; here they would change the result without being part of
/// any key. `MAKEFLAGS` and `MAKELEVEL` come from a make that started us.
const KBUILD_ENVIRONMENT: &str = "\
    AFLAGS_KERNEL AFLAGS_MODULE AR ARCH AWK C CC CFLAGS_KERNEL CFLAGS_MODULE CHECK \
    CLIPPY_CONF_DIR CPP CROSS_COMPILE DEPMOD EXTRAVERSION EXTRA_CFLAGS GREP_OPTIONS HOSTAR HOSTCC \
    HOSTCFLAGS HOSTCXX HOSTCXXFLAGS HOSTLD HOSTLDFLAGS HOSTLDLIBS HOSTRUSTC INSTALL_MOD_DIR \
    INSTALL_MOD_PATH INSTALL_MOD_STRIP INSTALL_PATH KAFLAGS KBUILD_ABS_SRCTREE KBUILD_BUILD_HOST \
    KBUILD_BUILD_TIMESTAMP KBUILD_BUILD_USER KBUILD_BUILD_VERSION KBUILD_CFLAGS KBUILD_DEBARCH \
    KBUILD_EXTMOD KBUILD_EXTMOD_OUTPUT KBUILD_EXTRA_SYMBOLS KBUILD_KCONFIG KBUILD_MODPOST_WARN \
    KBUILD_OUTPUT KBUILD_SYMTYPES KBUILD_VERBOSE KCFLAGS KCONFIG_ALLCONFIG KCONFIG_CONFIG \
    KCONFIG_DEFCONFIG_LIST KCONFIG_OVERWRITECONFIG KCONFIG_SEED KCPPFLAGS KERNELRELEASE \
    KERNELVERSION KRUSTFLAGS LD LDFLAGS LDFLAGS_MODULE LDFLAGS_vmlinux LLVM LLVM_IAS LOCALVERSION \
    LSMOD M MAKEFILES MAKEFLAGS MAKELEVEL MFLAGS MO NM O OBJCOPY OBJDUMP PAHOLE PKG_CONFIG \
    READELF SOURCE_DATE_EPOCH STRIP SUBARCH UIMAGE_TYPE V W WERROR";

/// What changes what gcc writes or where it looks. From `PWD` it takes the directory's name
/// when that is right but not canonical, and then no prefix map fits.
const GCC_ENVIRONMENT: &str = "\
    PWD CPATH C_INCLUDE_PATH COMPILER_PATH DEPENDENCIES_OUTPUT GCC_COLORS GCC_EXEC_PREFIX \
    LIBRARY_PATH";

/// Location views number the statements at one address. Neither drgn nor gdb uses them, and a
/// package is a twentieth smaller without. With them off, GCC would also name other entries of
/// inlined functions, where gdb sets breakpoints, if not for `-ginline-points`, and warns of that
/// in files without debugging information if not for `-gstatement-frontiers`.
const WITHOUT_VIEWS: &str = "-gno-variable-location-views -gstatement-frontiers -ginline-points";

fn scrubbed() -> impl Iterator<Item = &'static str> {
    let kbuild = KBUILD_ENVIRONMENT.split_whitespace();
    kbuild.chain(GCC_ENVIRONMENT.split_whitespace())
}

/// make without these variables, with English messages.
pub fn command() -> LongCommand {
    let command = LongCommand::new("make").env("LC_ALL", "C").env("TZ", "UTC");
    scrubbed().fold(command, LongCommand::env_remove)
}

/// How make is called in one build tree.
#[derive(Debug)]
pub struct Make {
    pub source: PathBuf,
    /// The build tree (`O=`).
    pub build: PathBuf,
    pub jobs: u32,
    /// `NAME=value` on make's command line, in order. Those prevail over what the
    /// makefiles set and reach every make below.
    pub variables: Vec<String>,
    /// Where ccache keeps its results, unless `CCACHE_DIR` names another folder.
    pub cache: Option<PathBuf>,
}

impl Make {
    /// How to call make for this kernel. Refuses paths that makefiles cannot stand.
    pub fn new(
        source: &SourceTree,
        build: &Path,
        arch: &Arch,
        local_version: &str,
        toolchain: &Toolchain,
        jobs: u32,
    ) -> Result<Self> {
        let (source_path, build_path) = (checked(&source.path)?, checked(build)?);
        // The last map that fits wins. `./` and not nothing for the source, so that
        // names stay relative to the compilation directory, which is `.`.
        let mut maps =
            format!("-fdebug-prefix-map={build_path}=. -fdebug-prefix-map={source_path}/=./");
        if toolchain.compiler.maps_macros() {
            // __FILE__ in warnings. The kernel does this itself since a73619a845d5
            // ("kbuild: use -fmacro-prefix-map to make __FILE__ a relative path", 4.17),
            // but not for the tools that are built for the host and packaged.
            maps +=
                &format!(" -fmacro-prefix-map={source_path}/= -fmacro-prefix-map={build_path}/=");
        }
        let flags = |kind| {
            let mut flags = vec![maps.as_str()];
            if kind == Remedy::CompilerFlag && toolchain.compiler.has_location_views() {
                flags.push(WITHOUT_VIEWS);
            }
            flags.extend(toolchain.remedies(kind));
            flags.join(" ")
        };
        let mut variables = vec![
            format!("ARCH={}", arch.kernel),
            format!("O={build_path}"),
            // Otherwise the source's name in debugging information would be relative
            // or absolute depending on where the build tree is (95fd3f87bfbe, 5.3).
            "KBUILD_ABS_SRCTREE=1".to_owned(),
            "KBUILD_BUILD_USER=vmtest".to_owned(),
            "KBUILD_BUILD_HOST=vmtest".to_owned(),
            // Otherwise it counts the builds of this tree.
            "KBUILD_BUILD_VERSION=1".to_owned(),
            format!("KBUILD_BUILD_TIMESTAMP={}", time::c_locale(source.date)),
            // Set, even if a tree has local changes: then no `+` or `-dirty` is added.
            format!("LOCALVERSION={local_version}"),
            // Set, even if it is empty: a tree may have a default of its own.
            format!(
                "CROSS_COMPILE={}",
                toolchain.cross.as_deref().unwrap_or_default()
            ),
            format!("CC={}", toolchain.cc()),
            format!("HOSTCC={}", toolchain.host_cc()),
            format!("KCFLAGS={}", flags(Remedy::CompilerFlag)),
            format!("KAFLAGS={maps}"),
            format!("HOSTCFLAGS={}", flags(Remedy::HostFlag)),
        ];
        variables.extend(toolchain.pahole_variable(build));
        let needed = toolchain.remedies(Remedy::Variable).into_iter();
        variables.extend(needed.map(str::to_owned));
        Ok(Self {
            source: source.path.clone(),
            build: build.to_owned(),
            jobs,
            variables,
            cache: None,
        })
    }

    /// make's arguments for these targets.
    pub fn arguments(&self, targets: &[&str]) -> Vec<String> {
        let mut arguments = vec![
            "-C".to_owned(),
            self.source.display().to_string(),
            format!("-j{}", self.jobs),
        ];
        arguments.extend_from_slice(&self.variables);
        arguments.extend(targets.iter().map(|&target| target.to_owned()));
        arguments
    }

    /// make with these targets, to be run to its end or killed.
    pub fn command(&self, targets: &[&str]) -> LongCommand {
        // Credentials: for a compiler that keeps its results on a server, as sccache does.
        let command = command().args(self.arguments(targets)).credentials();
        match &self.cache {
            Some(cache) if std::env::var_os("CCACHE_DIR").is_none() => {
                command.env("CCACHE_DIR", cache)
            }
            _ => command,
        }
    }

    /// What `uname -r` will print.
    pub fn release(&self) -> Result<String> {
        let shell = shell()?;
        let mut command = shell
            .cmd("make")
            .args(self.arguments(&["-s", "kernelrelease"]));
        for name in scrubbed() {
            command = command.env_remove(name);
        }
        let command = command.env("LC_ALL", "C").quiet().ignore_stderr();
        let output = command.read().with_context(|| {
            let build = self.build.display();
            format!("make kernelrelease failed in {build}")
        })?;
        Ok(output.trim().to_owned())
    }
}

/// A path as text, if makefiles can stand it: they split words at spaces, and
/// `$`, `#`, `%`, `:` and quotes mean something to make or to the shell.
fn checked(path: &Path) -> Result<&str> {
    let allowed = |c: char| c.is_alphanumeric() || "/._-+@,~".contains(c);
    let text = path.to_str().filter(|text| text.chars().all(allowed));
    Ok(text.filter(|_| path.is_absolute()).ok_or_else(|| {
        Failure::setup(format!("the kernel's makefiles cannot work in {path:?}")).hint(
            "a source tree, and the work directory (--directory), need paths without spaces \
                 and special characters",
        )
    })?)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::toolchain;
    use super::*;

    fn tree() -> SourceTree {
        SourceTree {
            path: "/w/src/linux-6.1.192".into(),
            date: 1_762_452_932,
        }
    }

    fn toolchain() -> Toolchain {
        toolchain::example(12, "6.1.192")
    }

    fn make(source: &SourceTree, build: &str, toolchain: &Toolchain) -> Result<Make> {
        let arch = crate::model::arch::find("x86_64").unwrap();
        let build = Path::new(build);
        Make::new(source, build, arch, "-vmtest1.1default", toolchain, 2)
    }

    #[test]
    fn the_command_line() {
        let make = make(&tree(), "/w/build/x", &toolchain()).unwrap();
        let text = make.arguments(&["bzImage", "modules"]).join("\n");
        expect![[r#"
            -C
            /w/src/linux-6.1.192
            -j2
            ARCH=x86_64
            O=/w/build/x
            KBUILD_ABS_SRCTREE=1
            KBUILD_BUILD_USER=vmtest
            KBUILD_BUILD_HOST=vmtest
            KBUILD_BUILD_VERSION=1
            KBUILD_BUILD_TIMESTAMP=Thu Nov  6 18:15:32 UTC 2025
            LOCALVERSION=-vmtest1.1default
            CROSS_COMPILE=
            CC=ccache gcc
            HOSTCC=ccache gcc
            KCFLAGS=-fdebug-prefix-map=/w/build/x=. -fdebug-prefix-map=/w/src/linux-6.1.192/=./ -fmacro-prefix-map=/w/src/linux-6.1.192/= -fmacro-prefix-map=/w/build/x/= -gno-variable-location-views -gstatement-frontiers -ginline-points
            KAFLAGS=-fdebug-prefix-map=/w/build/x=. -fdebug-prefix-map=/w/src/linux-6.1.192/=./ -fmacro-prefix-map=/w/src/linux-6.1.192/= -fmacro-prefix-map=/w/build/x/=
            HOSTCFLAGS=-fdebug-prefix-map=/w/build/x=. -fdebug-prefix-map=/w/src/linux-6.1.192/=./ -fmacro-prefix-map=/w/src/linux-6.1.192/= -fmacro-prefix-map=/w/build/x/=
            PAHOLE=/w/build/x/.vmtest-tools/pahole
            bzImage
            modules"#]].assert_eq(&text);
    }

    #[test]
    fn paths_that_break_makefiles_are_refused() {
        for path in [
            "/w/a b", "/w/a:b", "/w/$a", "w", "/w/a#b", "/w/a'b", "/w/a\tb",
        ] {
            let error = make(&tree(), path, &toolchain()).unwrap_err();
            assert!(error.to_string().contains("makefiles"), "{path}: {error}");
        }
    }
}
