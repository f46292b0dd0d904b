//! A row of the matrix in words: "passes up to 6.9, fails from 6.10".
//!
//! What is said is true of the kernels that ran the test, and of those only: the
//! change happened somewhere between the two that are named.

use std::collections::{BTreeMap, BTreeSet};

use super::compact::grouped;
use super::matrix::RunPlace;
use crate::model::results::RunName;
use crate::model::version::Version;

/// How the columns of the matrix are called.
pub(super) struct Columns<'n>(Vec<RunColumn<'n>>);

struct RunColumn<'n> {
    name: &'n RunName,
    place: RunPlace,
    /// The series, or the version where the series has several, or a candidate.
    short: String,
    /// The release, with the architecture if there are several.
    long: String,
}

/// What a test, or a complaint, does on a kernel, the worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Behavior {
    pub rank: u8,
    pub verb: &'static str,
}

/// A kernel and what is so there.
type Said<'c> = (&'c RunColumn<'c>, Behavior);

/// A kernel (or several of one version) and what all of them say.
type Point<'c> = (&'c str, Behavior);

impl<'n> Columns<'n> {
    /// Of the runs in their order.
    pub fn new(names: impl Iterator<Item = &'n RunName>) -> Self {
        let names = names.collect::<Vec<_>>();
        let version = |name: &RunName| match RunPlace::of(name) {
            RunPlace::Kernel(release) => Some(release.version),
            RunPlace::Local | RunPlace::Other => None,
        };
        let versions = names.iter().filter_map(|name| version(name));
        let versions = versions.collect::<Vec<_>>();
        let is_alone = |version: &Version| {
            let is_other = |other: &Version| other.series == version.series && other != version;
            !versions.iter().any(is_other)
        };
        let kernels = names.iter().filter(|name| version(name).is_some());
        let arches = kernels.map(|name| &name.arch).collect::<BTreeSet<_>>();
        let column = |name: &&'n RunName| RunColumn {
            name,
            place: RunPlace::of(name),
            short: match version(name) {
                // A candidate is not yet what its series will be.
                Some(version) if version.candidate.is_none() && is_alone(&version) => {
                    version.series.to_string()
                }
                Some(version) => version.to_string(),
                None => name.kernel.clone(),
            },
            long: name.among(arches.len() > 1),
        };
        Self(names.iter().map(column).collect())
    }

    /// Short names of the runs, no two alike unless the runs are: `6.1`, `6.1.192 tiny`.
    pub fn labels(&self) -> Vec<String> {
        let labels = |(with_flavor, with_arch): (bool, bool)| {
            let label = |RunColumn { name, short, .. }: &RunColumn<'_>| {
                let flavor = name.flavor.as_deref();
                let flavor = flavor.filter(|flavor| with_flavor && *flavor != "default");
                let arch = Some(name.arch.as_str()).filter(|arch| with_arch && !arch.is_empty());
                let parts = [Some(short.as_str()), flavor, arch, name.phase.as_deref()];
                parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
            };
            self.0.iter().map(label).collect::<Vec<_>>()
        };
        let long = self.0.iter().map(|column| column.long.clone()).collect();
        let several = self.0.iter().filter(|column| !column.name.arch.is_empty());
        let several = several
            .map(|column| &column.name.arch)
            .collect::<BTreeSet<_>>()
            .len()
            > 1;
        let [short, flavor, arch] = [(false, several), (true, several), (true, true)].map(labels);
        // Of equally telling ones the last and shortest.
        let all = [long, arch, flavor, short].into_iter();
        let distinct = |labels: &Vec<String>| labels.iter().collect::<BTreeSet<_>>().len();
        all.max_by_key(distinct).unwrap_or_default()
    }

    /// What the runs say in words, each of which may say nothing; `None` if all say the same.
    pub fn describe(&self, said: impl Iterator<Item = Option<Behavior>>) -> Option<String> {
        let said = self.0.iter().zip(said);
        let said = said.filter_map(|(column, said)| Some((column, said?)));
        let said = said.collect::<Vec<_>>();
        all_say(&said).is_none().then_some(())?;
        let is_kernel = |(column, _): &Said<'_>| matches!(column.place, RunPlace::Kernel(_));
        let (kernels, others) = said.into_iter().partition::<Vec<_>, _>(is_kernel);
        let others = others.iter().map(|(column, verdict)| match column.place {
            RunPlace::Local => format!("{} locally", verdict.verb),
            _ => format!("{} on {}", verdict.verb, column.long),
        });
        let parts = of_kernels(&kernels).into_iter().chain(others);
        Some(parts.collect::<Vec<_>>().join(", "))
    }
}

/// What all say, if they agree.
fn all_say(said: &[Said<'_>]) -> Option<Behavior> {
    let (_, first) = said.first()?;
    let agree = said.iter().all(|(_, verdict)| verdict == first);
    agree.then_some(*first)
}

fn of_kernels(kernels: &[Said<'_>]) -> Option<String> {
    if let Some(verdict) = all_say(kernels) {
        return Some(format!("{} in VMs", verdict.verb));
    }
    let versions = points(kernels, |column| &column.short);
    let flavor = |name: &RunName| name.flavor.clone().unwrap_or("without flavor".to_owned());
    let flavors = split(kernels, flavor);
    let arches = split(kernels, |name| name.arch.clone());
    let both = split(kernels, |name| format!("{} {}", flavor(name), name.arch));
    let is_constant = |classes: &&Vec<KernelClass<'_>>| {
        let mut classes = classes.iter();
        classes.all(|(_, points)| segments(points).len() == 1)
    };
    // A version changed nothing if kernels of no architecture differ.
    let in_one = arches.as_ref().is_none_or(|arches| !is_constant(&arches));
    if let Some(points) = &versions
        && segments(points).len() == 2
        && in_one
    {
        return Some(sequence(points));
    }
    // Several boundaries, or kernels of one version that disagree: is it the flavor, or the
    // architecture?
    let constant = |split: &'_ Option<Vec<KernelClass<'_>>>| {
        split.as_ref().is_some_and(|split| is_constant(&split))
    };
    match (constant(&flavors), constant(&arches)) {
        (true, false) => return flavors.as_deref().map(of_classes),
        (false, true) => return arches.as_deref().map(exceptions),
        _ if constant(&both) => return both.as_deref().map(exceptions),
        _ => {}
    }
    let mut texts = Vec::new();
    texts.extend(versions.as_deref().map(sequence));
    texts.extend(flavors.as_deref().map(of_classes));
    if kernels
        .iter()
        .any(|(column, _)| column.name.arch != kernels[0].0.name.arch)
    {
        for classes in [arches, both].iter().flatten() {
            texts.extend([exceptions(classes), of_classes(classes)]);
        }
        texts.sort_by_key(String::len);
    }
    let by_name = || points(kernels, |column| &column.long).map(|points| sequence(&points));
    texts.into_iter().next().or_else(by_name)
}

/// Kernels of one label as one; `None` if they disagree.
fn points<'c>(
    kernels: &[Said<'c>],
    label: fn(&'c RunColumn<'c>) -> &'c String,
) -> Option<Vec<Point<'c>>> {
    let labelled = kernels.iter().map(|said| (label(said.0).as_str(), *said));
    let points = grouped(labelled).into_iter();
    let points = points.map(|(label, said)| Some((label, all_say(&said)?)));
    points.collect()
}

/// Kernels of a flavor or an architecture, by its name.
type KernelClass<'c> = (String, Vec<Point<'c>>);

/// The points of each class of kernels; `None` for one class, or if its kernels disagree.
fn split<'c>(
    kernels: &[Said<'c>],
    class: impl Fn(&RunName) -> String,
) -> Option<Vec<KernelClass<'c>>> {
    let mut classes = BTreeMap::<String, Vec<Said<'c>>>::new();
    for said in kernels {
        classes.entry(class(said.0.name)).or_default().push(*said);
    }
    (classes.len() > 1).then_some(())?;
    let class =
        |(name, said): (String, Vec<_>)| Some((name, points(&said, |column| &column.short)?));
    classes.into_iter().map(class).collect()
}

/// `alternative, default: passes; tiny: passes up to 6.9, fails from 6.10`
fn of_classes(classes: &[KernelClass<'_>]) -> String {
    let texts = classes.iter();
    let texts = texts.map(|(name, points)| (sequence(points), name.as_str()));
    let texts = grouped(texts).into_iter();
    let texts = texts.map(|(text, names)| format!("{}: {text}", names.join(", ")));
    texts.collect::<Vec<_>>().join("; ")
}

/// `fails on s390x only, passes on the others`
///
/// `fails on every kernel of arm and on s390x from 6.10, passes on the others`
fn exceptions(classes: &[KernelClass<'_>]) -> String {
    let mut pieces = BTreeMap::<Behavior, Vec<(bool, String)>>::new();
    for (number, (name, points)) in classes.iter().enumerate() {
        let others = || {
            classes
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != number)
        };
        let mut others = others().flat_map(|(_, (_, points))| points);
        // Versions that nothing else has may be the reason as well.
        let is_shared = others.any(|(label, _)| points.iter().any(|(own, _)| own == label));
        let segments = segments(points);
        let end = segments.len() - 1;
        for (at, (behavior, first, last)) in segments.into_iter().enumerate() {
            let text = match (at == 0, at == end) {
                (true, true) if is_shared => name.clone(),
                (true, false) => format!("{name} up to {last}"),
                (false, true) => format!("{name} from {first}"),
                _ if first == last => format!("{name} {first}"),
                _ => format!("{name} {first} to {last}"),
            };
            let whole = end == 0;
            pieces.entry(behavior).or_default().push((whole, text));
        }
    }
    let several = pieces.len() > 2;
    // Of equals the last one, which is the best.
    let most = pieces.iter().max_by_key(|(_, pieces)| pieces.len());
    let most = most.map(|(behavior, _)| *behavior);
    let mut texts = Vec::new();
    for (behavior, pieces) in pieces
        .iter()
        .filter(|(behavior, _)| Some(**behavior) != most)
    {
        let whole = pieces.iter().all(|(whole, _)| *whole);
        let pieces = pieces
            .iter()
            .map(|(is_whole, text)| match *is_whole && !whole {
                true => format!("every kernel of {text}"),
                false => text.clone(),
            });
        let only = if whole && !several { " only" } else { "" };
        texts.push(format!(
            "{} on {}{only}",
            behavior.verb,
            list(&pieces.collect::<Vec<_>>())
        ));
    }
    texts.extend(most.map(|most| format!("{} on the others", most.verb)));
    texts.join(", ")
}

/// `a, b and c`
fn list(names: &[String]) -> String {
    match names {
        [names @ .., last] if !names.is_empty() => format!("{} and {last}", names.join(", ")),
        names => names.concat(),
    }
}

/// Neighbours that say the same, as the first and the last of them.
fn segments<'c>(points: &[Point<'c>]) -> Vec<(Behavior, &'c str, &'c str)> {
    let chunks = points.chunk_by(|(_, a), (_, b)| a == b);
    let segment = |chunk: &[Point<'c>]| {
        let ((first, verdict), (last, _)) = (chunk.first()?, chunk.last()?);
        Some((*verdict, *first, *last))
    };
    chunks.filter_map(segment).collect()
}

fn sequence(points: &[Point<'_>]) -> String {
    let segments = segments(points);
    let verdicts = segments.iter().map(|(verdict, ..)| *verdict);
    let verdicts = verdicts.collect::<BTreeSet<_>>();
    let mut texts = Vec::new();
    if verdicts.len() == segments.len() {
        for (number, (verdict, first, last)) in segments.iter().enumerate() {
            let verb = verdict.verb;
            texts.push(match number {
                _ if segments.len() == 1 => verb.to_owned(),
                0 => format!("{verb} up to {last}"),
                n if n + 1 == segments.len() => format!("{verb} from {first}"),
                _ if first == last => format!("{verb} on {first}"),
                _ => format!("{verb} from {first} to {last}"),
            });
        }
        return texts.join(", ");
    }
    // It comes back: name where it is otherwise than on most.
    let count = |verdict: &Behavior| points.iter().filter(|(_, other)| other == verdict).count();
    // Of equals the last one, which is the best.
    let most = verdicts.iter().copied().max_by_key(count);
    for verdict in verdicts.iter().filter(|verdict| Some(**verdict) != most) {
        let ranges = segments.iter().filter(|(other, ..)| other == verdict);
        let ranges = ranges.map(|(_, first, last)| match first == last {
            true => (*first).to_owned(),
            false => format!("{first} to {last}"),
        });
        let ranges = list(&ranges.collect::<Vec<_>>());
        texts.push(format!("{} on {ranges}", verdict.verb));
    }
    texts.extend(most.map(|verdict| format!("{} on the others", verdict.verb)));
    texts.join(", ")
}
