//! Which kernels the flags name.

use crate::base::error::Failure;
use crate::base::paths::Paths;
use crate::host::setup::{self, Tool};
use crate::kernel::build::toolchain::NamedCompiler;
use crate::kernel::source::{SourceChoice, kernel_org::DEFAULT_URL};
use crate::model::arch::{self, Arch};
use crate::model::{catalog::Kernels, kernel_request::KernelRequest};
use crate::root::compiler;
use crate::supply::host_arch;
use anyhow::Result;
use clap::{ArgGroup, Args};

#[derive(Args, Debug, Default)]
#[command(group(ArgGroup::new("requests").multiple(true)))]
pub struct KernelFlags {
    /// Take this kernel: a release, a pattern, a series, the path of an unpacked kernel, of a
    /// package or of a tree in which a kernel was built, host, debian, or debian:WHAT (a series, a
    /// version, a release or a suite); comma-separated, repeatable
    #[arg(short, long = "kernel", value_name = "REQUEST", group = "requests")]
    pub kernels: Vec<String>,
    /// Take one kernel of every supported series
    #[arg(short = 'K', long, group = "requests")]
    pub all_kernels: bool,
    /// With -K, take this flavor; repeatable [default: default]
    #[arg(short, long, requires = "all_kernels")]
    pub flavor: Vec<String>,
    /// With -K, take every flavor
    #[arg(short = 'F', long, requires = "all_kernels", conflicts_with = "flavor")]
    pub all_flavors: bool,
    /// Take the kernels of this architecture, of foreign (all but this host's) or of all, where a
    /// request names none; comma-separated, repeatable [default: this host's]
    #[arg(
        short,
        long,
        value_name = "ARCH",
        value_delimiter = ',',
        requires = "requests"
    )]
    pub arch: Vec<String>,
}

/// Which kernels are built, and from which source.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").required(true)))]
pub struct BuildFlags {
    /// Take every supported series
    #[arg(short = 'K', long, alias = "all-series", group = "which")]
    pub all_kernels: bool,
    /// Take this flavor; repeatable [default: the first one of kernels.toml]
    #[arg(short, long, conflicts_with = "all_flavors")]
    pub flavor: Vec<String>,
    /// Take every flavor
    #[arg(short = 'F', long)]
    pub all_flavors: bool,
    /// Build for this architecture, for foreign (all but this host's) or for all; comma-separated,
    /// repeatable [default: this host's]
    #[arg(short, long, value_name = "ARCH", value_delimiter = ',')]
    pub arch: Vec<String>,
    /// Take source from auto (kernel.org, then Debian), kernel.org, debian, or git:URL
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub source: SourceChoice,
    /// Fetch kernel.org's archives from this address, which may be a mirror
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    pub kernel_org_url: String,
}

/// How kernels are compiled.
#[derive(Args, Debug)]
pub struct CompilerFlags {
    /// Compile with this C compiler, or with debian:gcc-N of any suite of Debian [default: gcc,
    /// through ccache if there is one]
    #[arg(long, value_name = "PROGRAM", value_parser = compiler)]
    pub cc: Option<NamedCompiler>,
    /// Run this many jobs at a time [default: one per processor]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
}

impl KernelFlags {
    /// The requests, in their order; may be none.
    pub fn requests(&self, paths: &Paths) -> Result<Vec<KernelRequest>> {
        let mut requests = parse(&self.kernels)?;
        if !self.all_kernels && self.arch.is_empty() {
            return Ok(requests);
        }
        let kernels = Kernels::load(&paths.configs)?;
        let arches = architectures(&self.arch)?;
        if !arches.is_empty() {
            let named = |name: &String| arch::find(name.trim()).is_some();
            let known = (!self.arch.iter().all(named)).then_some(&kernels);
            let each = requests.iter();
            requests = each.flat_map(|one| on_each(one, &arches, known)).collect();
        }
        if self.all_kernels {
            let flavors = match self.all_flavors {
                true => Vec::from_iter(kernels.flavors.iter().map(|flavor| flavor.name.clone())),
                false => self.flavor.clone(),
            };
            if arches.is_empty() {
                requests.extend(kernels.every_series(host_arch()?, &flavors)?);
            }
            // With the name, so that partitions are the same on every host.
            for arch in arches {
                let every = kernels.every_series(arch, &flavors)?.into_iter();
                requests.extend(every.map(|request| request.on(arch)));
            }
        }
        Ok(requests)
    }
}

/// A request for each architecture, unless it names its own. Of a series only those that have it
/// by what is `known`, if any has.
fn on_each(
    request: &KernelRequest,
    arches: &[&'static Arch],
    known: Option<&Kernels>,
) -> Vec<KernelRequest> {
    if request.arch.is_some() {
        return vec![request.clone()];
    }
    let series = request.buildable().map(|wanted| wanted.version.series);
    let having = series.and_then(|series| known?.with_series(series, arches).ok());
    let arches = having.as_deref().unwrap_or(arches).iter();
    arches.map(|arch| request.clone().on(arch)).collect()
}

impl BuildFlags {
    pub fn architectures(&self) -> Result<Vec<&'static Arch>> {
        let arches = architectures(&self.arch)?;
        match self.arch.is_empty() {
            true => Ok(vec![host_arch()?]),
            false => Ok(arches),
        }
    }

    /// Without -f and -F the most usual flavor.
    pub fn flavors(&self, kernels: &Kernels) -> Result<Vec<String>> {
        let all = kernels.flavors.iter().map(|flavor| flavor.name.clone());
        if self.all_flavors {
            return Ok(all.collect());
        }
        if self.flavor.is_empty() {
            return Ok(all.take(1).collect());
        }
        for flavor in &self.flavor {
            kernels.flavor(flavor)?;
        }
        Ok(distinct(&self.flavor))
    }
}

impl CompilerFlags {
    /// The host tools that building takes. A compiler of the user's choice is looked for later.
    pub fn tools(&self, arches: &[&Arch]) -> Vec<Tool> {
        let tools = |arch: &&Arch| {
            let mut tools = setup::for_build(arch);
            let gcc = Tool::program(arch.program("gcc"));
            let needless =
                |cc: &NamedCompiler| cc.is_for_host(arch) || arch.cross_compile().is_some();
            let needless = self.cc.as_ref().is_some_and(needless);
            tools.retain(|tool| !needless || *tool != gcc);
            tools
        };
        arches.iter().flat_map(tools).collect()
    }
}

/// What a user wrote behind `--cc`.
pub fn compiler(text: &str) -> Result<NamedCompiler, Failure> {
    Ok(match compiler::major(text)? {
        Some(major) => NamedCompiler::Debian(major, compiler::obtain),
        None => NamedCompiler::Program(text.to_owned()),
    })
}

/// The first of each, in their order.
pub fn distinct<T: Clone + PartialEq>(all: &[T]) -> Vec<T> {
    let mut distinct = Vec::new();
    for one in all {
        if !distinct.contains(one) {
            distinct.push(one.clone());
        }
    }
    distinct
}

/// Lists of requests, each separated by commas.
pub fn parse(lists: &[String]) -> Result<Vec<KernelRequest>> {
    let lists = lists.iter().map(|list| KernelRequest::parse_list(list));
    Ok(lists.collect::<Result<Vec<_>, _>>()?.concat())
}

/// The architecture of that name, or this host's.
pub fn architecture(name: Option<&str>) -> Result<&'static Arch> {
    name.map_or_else(host_arch, |name| Ok(arch::named(name, &[])?))
}

/// Those of `-a`, each once; none if it was not given.
pub fn architectures(names: &[String]) -> Result<Vec<&'static Arch>> {
    let mut all = Vec::new();
    for name in names {
        let every = arch::ARCHITECTURES.iter();
        match name.trim() {
            "all" => all.extend(every),
            "foreign" => all.extend(every.filter(|arch| arch::host() != Some(arch))),
            name => all.push(arch::named(name, &["foreign", "all"])?),
        }
    }
    Ok(distinct(&all))
}

/// Those of `-a`, or without it every one.
pub fn all_or(names: &[String]) -> Result<Vec<&'static Arch>> {
    match names {
        [] => architectures(&["all".to_owned()]),
        names => architectures(names),
    }
}
