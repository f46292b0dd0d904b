//! Kernel configuration: fragments are parsed and merged, and a finished
//! `.config` is compared with what they want.
//!
//! A kernel is configured with `make allnoconfig KCONFIG_ALLCONFIG=<file>`
//! (Documentation/kbuild/kconfig.rst of the kernel), so what no fragment names is
//! off. `kernel-configs/README.md` describes the syntax of the fragments. Kconfig
//! drops what it is told without a word when a dependency is missing; therefore
//! [`audit`] looks at the result, and [`definitions`] finds what an option depends on.

pub mod definitions;
mod own;
pub mod record;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, anyhow, bail, ensure};

pub use self::own::OwnFragment;
use crate::base::paths::Files;
use crate::model::version::{Series, Version};
use crate::model::{arch::Arch, catalog::Kernels};

/// What an option is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Yes,
    Module,
    No,
    /// A number, as it was written.
    Number(String),
    /// A string, without its quotes, escapes resolved.
    Text(String),
}

impl Value {
    /// Parses what stands behind the `=`; `None` if it is none of the five.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "y" => Self::Yes,
            "m" => Self::Module,
            "n" => Self::No,
            text if text.starts_with('"') => Self::Text(unquoted(text)?),
            text => Self::Number(number(text).map(|_| text.to_owned())?),
        })
    }

    /// Whether an option that has this value is as wanted.
    pub fn fulfils(&self, wanted: &Self) -> bool {
        // Kconfig does not write an empty string that has no prompt, nor the
        // values of options whose dependencies are missing.
        let is_empty = matches!(wanted, Self::Text(text) if text.is_empty());
        self.same(wanted) || (is_empty && *self == Self::No)
    }

    /// Whether the two mean the same: `0x10` is `16`.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => number(a) == number(b),
            (a, b) => a == b,
        }
    }
}

fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut value = String::new();
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        value.push(match c {
            '\\' => characters.next()?,
            '"' => return None,
            c => c,
        });
    }
    Some(value)
}

/// The value of a decimal or hexadecimal number. Options go up to 64 bits
/// (`ILLEGAL_POINTER_VALUE`) and may be negative.
fn number(text: &str) -> Option<i128> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hexadecimal {
        Some(digits) => (digits, 16),
        None => (text.strip_prefix('-').unwrap_or(text), 10),
    };
    // `from_str_radix` would take a sign.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    Some(if text.starts_with('-') {
        -number
    } else {
        number
    })
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "y",
            Self::Module => "m",
            Self::No => "n",
            Self::Number(text) => text,
            Self::Text(text) => {
                let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
                return write!(f, "\"{escaped}\"");
            }
        })
    }
}

/// Where an option stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentLine {
    /// The fragment, relative to `kernel-configs/`.
    pub file: String,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for FragmentLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// In which series an option exists, and under which name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// The first series that has it.
    pub since: Option<Series>,
    /// The first series that no longer has it.
    pub until: Option<Series>,
    /// What it is called from a series on, oldest first.
    pub renames: Vec<(Series, String)>,
    /// Series whose later point releases took the option or its new names.
    pub backports: Vec<Series>,
    /// Whether there are others that have it, and shall not.
    pub narrow: bool,
}

/// An option that a fragment wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedOption {
    /// The (oldest) name with `CONFIG_`.
    pub option: String,
    pub value: Value,
    pub lifetime: Lifetime,
    /// The comment above it, one line each, without `#`.
    pub reason: Vec<String>,
    pub origin: FragmentLine,
    /// Where it stands with another value or reason that this one overrides.
    pub overrides: Vec<FragmentLine>,
}

impl WantedOption {
    /// What the option is called in a series, the likeliest name first; nothing if it is not
    /// there. Several where only the point release decides: Kconfig passes over the names that
    /// a source does not have.
    pub fn names_in(&self, series: Series) -> Vec<&str> {
        let mut names = Vec::from_iter(self.range_name(series));
        if self.lifetime.backports.contains(&series) {
            let others = self.all_names().filter(|name| !names.contains(name));
            let others = others.collect::<Vec<_>>();
            names.extend(others);
        }
        names
    }

    /// Every name that it has in some version.
    pub fn all_names(&self) -> impl Iterator<Item = &str> {
        let renames = self.lifetime.renames.iter().map(|(_, name)| name);
        std::iter::once(&self.option)
            .chain(renames)
            .map(String::as_str)
    }

    /// The name that the ranges alone give.
    fn range_name(&self, series: Series) -> Option<&str> {
        let lifetime = &self.lifetime;
        if lifetime.since.is_some_and(|since| series < since)
            || lifetime.until.is_some_and(|until| series >= until)
        {
            return None;
        }
        let mut renames = lifetime.renames.iter();
        let renamed = renames.rfind(|(since, _)| series >= *since);
        Some(renamed.map_or(&self.option, |(_, name)| name))
    }
}

/// All fragments of a kernel, merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The options in the order of the fragments.
    pub options: Vec<WantedOption>,
}

/// Merges the fragments of an architecture and a flavor, then those beyond ours; of an
/// option in several fragments the last one wins.
pub fn merge(files: &Files, arch: &Arch, flavor: &str, own: &[OwnFragment]) -> Result<Merged> {
    let kernels = Kernels::load(files)?;
    kernels.flavor(flavor)?;
    let mut paths = kernels.fragments;
    let both = format!("arch/{}-{flavor}", arch.name);
    paths.push(format!("flavors/{flavor}"));
    paths.push(format!("arch/{}", arch.name));
    paths.extend(Some(both).filter(|both| files.contains(both)));
    let parse = |path: &String| parse_fragment(path, &files.read(path)?);
    let mut fragments = paths.iter().map(parse).collect::<Result<Vec<_>>>()?;
    fragments.extend(own.iter().map(|own| own.options.clone()));
    merge_fragments(fragments)
}

/// Merges parsed fragments, later ones over earlier ones. An option without a
/// range of its own keeps the range of the one that it overrides.
fn merge_fragments(fragments: Vec<Vec<WantedOption>>) -> Result<Merged> {
    let mut options: Vec<WantedOption> = Vec::new();
    for mut wanted in fragments.into_iter().flatten() {
        if let Some(index) = options.iter().position(|old| old.option == wanted.option) {
            let old = options.remove(index);
            if wanted.lifetime == Lifetime::default() {
                wanted.lifetime = old.lifetime;
            }
            wanted.overrides = old.overrides;
            wanted.overrides.push(old.origin);
        }
        options.push(wanted);
    }
    // Two entries for one option would make the later line of the file that make
    // reads win, whatever the fragments say.
    for wanted in &options {
        let renames = wanted.lifetime.renames.iter();
        for name in renames.map(|(_, name)| name) {
            if let Some(other) = options.iter().find(|other| other.option == *name) {
                let (option, origin) = (&wanted.option, &wanted.origin);
                bail!(
                    "{}: {name} is the new name of {option} ({origin}): write {option} here",
                    other.origin
                );
            }
        }
    }
    Ok(Merged { options })
}

/// Parses one fragment. `path` is for messages and origins.
pub fn parse_fragment(path: &str, text: &str) -> Result<Vec<WantedOption>> {
    let mut parser = FragmentParser::default();
    for (line, number) in text.lines().chain([""]).zip(1..) {
        let origin = FragmentLine {
            file: path.to_owned(),
            line: number,
        };
        parser.line(line, &origin).map_err(|what| {
            anyhow!("{origin}: {what}; see kernel-configs/README.md for the syntax")
        })?;
    }
    Ok(parser.options)
}

#[derive(Default)]
struct FragmentParser {
    options: Vec<WantedOption>,
    /// The comment that the next option belongs to, and whether options followed it.
    reason: Vec<String>,
    reason_used: bool,
    /// What the lines with `#:` above the next option say.
    lifetime: Option<Lifetime>,
}

impl FragmentParser {
    fn line(&mut self, line: &str, origin: &FragmentLine) -> Result<()> {
        if let Some(directive) = line.strip_prefix("#:") {
            return add_directive(self.lifetime.get_or_insert_default(), directive);
        }
        let comment = line.strip_prefix('#');
        ensure!(
            self.lifetime.is_none() || (comment.is_none() && !line.is_empty()),
            "a line that begins with \"#:\" must stand right above its option"
        );
        if line.is_empty() {
            self.reason.clear();
        } else if let Some(comment) = comment {
            ensure!(
                comment.is_empty() || comment.starts_with(' '),
                "a comment begins with \"# \", a line about an option with \"#:\""
            );
            ensure!(
                unset_option(line).is_none(),
                "write CONFIG_…=n, so that it does not look like a comment"
            );
            if self.reason_used {
                self.reason.clear();
            }
            self.reason.push(comment.trim().to_owned());
        } else {
            self.option(line, origin)?;
        }
        self.reason_used = comment.is_none();
        Ok(())
    }

    fn option(&mut self, line: &str, origin: &FragmentLine) -> Result<()> {
        let (option, value) = line
            .split_once('=')
            .with_context(|| format!("{line:?} is neither an option nor a comment"))?;
        ensure!(is_option(option), "{option:?} is not the name of an option");
        let value = Value::parse(value).with_context(|| {
            format!("{value:?} is not a value (y, m, n, a number or a quoted string)")
        })?;
        ensure!(
            self.reason.iter().any(|line| !line.is_empty()),
            "{option} has no comment above it that says why it is there"
        );
        if let Some(first) = self.options.iter().find(|other| other.option == option) {
            bail!("{option} stands in line {} already", first.origin.line);
        }
        self.options.push(WantedOption {
            option: option.to_owned(),
            value,
            lifetime: self.lifetime.take().unwrap_or_default(),
            reason: self.reason.clone(),
            origin: origin.clone(),
            overrides: Vec::new(),
        });
        Ok(())
    }
}

/// The option of `# CONFIG_FOO is not set`, which is what Kconfig writes.
fn unset_option(line: &str) -> Option<&str> {
    let option = line.strip_prefix("# ")?.strip_suffix(" is not set")?;
    is_option(option).then_some(option)
}

fn is_option(text: &str) -> bool {
    text.strip_prefix("CONFIG_").is_some_and(|name| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// Takes in what stands behind `#:`.
fn add_directive(lifetime: &mut Lifetime, text: &str) -> Result<()> {
    let series = |text: &str| {
        let series = text.parse::<Series>();
        series.map_err(|_| anyhow!("{text:?} is not a series like 6.1"))
    };
    let text = text
        .strip_prefix(' ')
        .context("a space is missing behind \"#:\"")?;
    let (text, note) = text.split_once(" (").unwrap_or((text, "no note)"));
    ensure!(
        note.ends_with(')') && note.len() > 1,
        "the note in parentheses is empty or does not end with the line"
    );
    match text.split(' ').collect::<Vec<_>>()[..] {
        ["since", since] => {
            let first = lifetime.since.replace(series(since)?);
            ensure!(first.is_none(), "a second \"since\"");
        }
        ["until", until] => {
            let first = lifetime.until.replace(series(until)?);
            ensure!(first.is_none(), "a second \"until\"");
        }
        ["renamed-to", option, "since", since] if is_option(option) => {
            lifetime.renames.push((series(since)?, option.to_owned()));
        }
        ["narrow"] => lifetime.narrow = true,
        ["backported-to", ..] => {
            let all = text.split(' ').skip(1).map(series);
            lifetime.backports = all.collect::<Result<_>>()?;
        }
        _ => bail!("cannot understand {text:?}"),
    }
    let (since, until, renames) = (lifetime.since, lifetime.until, &lifetime.renames);
    ensure!(
        renames.is_sorted_by(|(a, _), (b, _)| a < b),
        "the new names are not in the order of their series"
    );
    // A range without a series in it would never be looked at.
    ensure!(
        since.zip(until).is_none_or(|(since, until)| since < until),
        "\"until\" is not after \"since\""
    );
    ensure!(
        renames.iter().all(|(series, _)| {
            since.is_none_or(|since| since < *series) && until.is_none_or(|until| *series < until)
        }),
        "a new name is outside the range of the option"
    );
    Ok(())
}

impl Merged {
    /// The text of the file that `KCONFIG_ALLCONFIG` names, for a version. Nothing
    /// but options, so that two texts are the same when they configure the same:
    /// it is a part of a package's input key.
    pub fn allconfig(&self, version: &Version) -> String {
        let lines = |wanted: &WantedOption| {
            let names = wanted.names_in(version.series).into_iter();
            names
                .map(|name| format!("{name}={}\n", wanted.value))
                .collect::<String>()
        };
        self.options.iter().map(lines).collect()
    }

    /// The same with every option under all of its names, whatever its range.
    pub fn without_ranges(&self) -> String {
        let lines = self.options.iter().flat_map(|wanted| {
            let names = wanted.all_names();
            names.map(|name| format!("{name}={}\n", wanted.value))
        });
        lines.collect()
    }

    /// The option that has this name in some version.
    pub fn named(&self, name: &str) -> Option<&WantedOption> {
        let mut options = self.options.iter();
        options.find(|wanted| wanted.all_names().any(|other| other == name))
    }

    /// The options with origins and reasons, for a person; for one version or with
    /// the ranges of all. It can be used as `KCONFIG_ALLCONFIG` as well.
    pub fn annotated(&self, version: Option<&Version>) -> String {
        let mut lines = Vec::new();
        let mut last: Option<(&str, &[String])> = None;
        for wanted in &self.options {
            let names = match version {
                Some(version) => wanted.names_in(version.series),
                None => vec![wanted.option.as_str()],
            };
            if names.is_empty() {
                continue;
            }
            let file = wanted.origin.file.as_str();
            if last != Some((file, &wanted.reason)) {
                lines.extend(last.map(|_| String::new()));
                lines.push(format!("# [{file}]"));
                let reason = wanted.reason.iter();
                lines.extend(reason.map(|line| format!("# {line}").trim_end().to_owned()));
                last = Some((file, &wanted.reason));
            }
            let overrides = wanted.overrides.iter().map(ToString::to_string);
            let overrides = overrides.collect::<Vec<_>>().join(", ");
            if !overrides.is_empty() {
                let line = wanted.origin.line;
                lines.push(format!("# (line {line}; overrides {overrides})"));
            }
            if version.is_none() {
                let lifetime = &wanted.lifetime;
                lines.extend(lifetime.since.map(|since| format!("#: since {since}")));
                lines.extend(lifetime.until.map(|until| format!("#: until {until}")));
                for (since, name) in &lifetime.renames {
                    lines.push(format!("#: renamed-to {name} since {since}"));
                }
                if !lifetime.backports.is_empty() {
                    let series = lifetime.backports.iter().map(ToString::to_string);
                    let series = series.collect::<Vec<_>>().join(" ");
                    lines.push(format!("#: backported-to {series}"));
                }
                lines.extend(lifetime.narrow.then(|| "#: narrow".to_owned()));
            }
            let value = &wanted.value;
            lines.extend(names.iter().map(|name| format!("{name}={value}")));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalConfig {
    values: BTreeMap<String, Value>,
    /// The version in its header.
    pub version: Option<Version>,
}

impl FinalConfig {
    /// Parses the text of a `.config`. Lines that are not what Kconfig writes are
    /// passed over: the file is Kconfig's, not ours.
    pub fn parse(text: &str) -> Self {
        let mut config = Self::default();
        for line in text.lines() {
            if let Some((option, value)) = line.split_once('=')
                && is_option(option)
            {
                // Kconfig writes some strings with characters that it does not escape.
                let value = Value::parse(value).unwrap_or_else(|| Value::Text(value.to_owned()));
                config.values.insert(option.to_owned(), value);
            } else if let Some(option) = unset_option(line) {
                config.values.insert(option.to_owned(), Value::No);
            } else if config.version.is_none()
                && let Some(rest) = line.strip_prefix("# Linux/")
                && let Some(text) = rest.strip_suffix(" Kernel Configuration")
                && let Some((_, text)) = text.split_once(' ')
                && let Some((version, _)) = Version::split(text)
            {
                config.version = Some(version);
            }
        }
        config
    }

    /// Whether it is hardly a `.config`.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of an option (with `CONFIG_`); [`Value::No`] if it is not there.
    pub fn get(&self, option: &str) -> &Value {
        self.values.get(option).unwrap_or(&Value::No)
    }
}

/// What became of a wanted option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Set,
    /// It is built in where a module was wanted, or the other way round.
    There,
    /// The version does not have it, as the fragment says.
    ExpectedAbsent,
    Lost,
}

#[derive(Debug)]
pub struct Audited<'a> {
    wanted: &'a WantedOption,
    /// Its name in this version; the oldest one if it is absent.
    name: &'a str,
    found: Value,
    pub state: State,
}

/// The comparison of a finished `.config` with what was wanted.
#[derive(Debug)]
pub struct Audit<'a> {
    pub options: Vec<Audited<'a>>,
}

impl<'a> Audit<'a> {
    /// The options that are not as wanted: they stop a build.
    pub fn lost(&self) -> impl Iterator<Item = &Audited<'a>> {
        let options = self.options.iter();
        options.filter(|option| option.state == State::Lost)
    }

    /// How many are set, expected to be absent, and lost.
    pub fn counts(&self) -> (usize, usize, usize) {
        let absent = |option: &&Audited<'_>| option.state == State::ExpectedAbsent;
        let absent = self.options.iter().filter(absent).count();
        let lost = self.lost().count();
        (self.options.len() - absent - lost, absent, lost)
    }
}

impl fmt::Display for Audited<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value, origin) = (self.name, &self.wanted.value, &self.wanted.origin);
        write!(f, "{name}={value} ({origin}) ")?;
        match (self.state, &self.found) {
            (State::Set, _) => f.write_str("is set"),
            (State::There, found) => write!(f, "is there: it is {found}"),
            (State::ExpectedAbsent, _) => f.write_str("is absent, as expected"),
            (State::Lost, Value::No) => f.write_str("is lost: it is not set"),
            (State::Lost, found) => write!(f, "is lost: it is {found}"),
        }
    }
}

/// Compares the text of a finished `.config` with what is wanted for a version. Of a kernel
/// that we do not build it does not matter what is built in and what is a module, apart from
/// `early` options, whose modules nothing could load, and a list may have more in it; of one that
/// we build `early` is `None`.
pub fn audit<'a>(
    merged: &'a Merged,
    version: &Version,
    final_config: &str,
    early: Option<&[&str]>,
) -> Audit<'a> {
    let config = FinalConfig::parse(final_config);
    let options = merged.options.iter().map(|wanted| {
        let names = wanted.names_in(version.series);
        let written = names.iter().find(|name| config.values.contains_key(**name));
        // Of what only some point releases have, what the file does not name is not there.
        let name = written.copied().or(wanted.range_name(version.series));
        let is_late = |early: &[&str]| name.is_some_and(|name| !early.contains(&name));
        let found = name.map_or(&Value::No, |name| config.get(name));
        let state = match (&wanted.value, found) {
            _ if name.is_none() => State::ExpectedAbsent,
            (wanted, found) if found.fulfils(wanted) => State::Set,
            (Value::Yes, Value::Module) if early.is_some_and(is_late) => State::There,
            (Value::Module, Value::Yes) if early.is_some() => State::There,
            (Value::Text(wanted), Value::Text(found))
                if early.is_some() && lists(found, wanted) =>
            {
                State::There
            }
            _ => State::Lost,
        };
        Audited {
            wanted,
            name: name.unwrap_or(&wanted.option),
            found: found.clone(),
            state,
        }
    });
    Audit {
        options: options.collect(),
    }
}

/// Whether a list with commas (`CONFIG_LSM`) has all that another one has.
fn lists(found: &str, wanted: &str) -> bool {
    let found = found.split(',').collect::<Vec<_>>();
    wanted.split(',').all(|item| found.contains(&item))
}

#[cfg(test)]
mod tests;
