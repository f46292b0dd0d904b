//! A row of the matrix in words: "passes up to 6.9, fails from 6.10".
//!
//! What is said is true of the kernels that ran the test, and of those only: the
//! change happened somewhere between the two that are named.

use std::collections::BTreeSet;

use super::matrix::{RunPlace, TestVerdict};
use crate::model::results::RunName;
use crate::model::version::{Release, Version};

/// How the columns of the matrix are called.
pub(super) struct Columns(Vec<RunColumn>);

struct RunColumn {
    kind: ColumnKind,
    /// The series, or the version where the series has several, or a candidate.
    short: String,
    /// The release, with the architecture if there are several.
    long: String,
    flavor: Option<String>,
    phase: Option<String>,
    arch: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ColumnKind {
    Local,
    Kernel,
    Other,
}

/// A kernel (or several of one version) and what all of them say.
type Point<'c> = (&'c str, TestVerdict);

impl Columns {
    /// Of the runs in their order.
    pub fn new<'n>(runs: impl Iterator<Item = &'n RunName>) -> Self {
        let runs = runs
            .map(|name| (name, RunPlace::of(name)))
            .collect::<Vec<_>>();
        let release = |place: &RunPlace| match place {
            RunPlace::Kernel(release) => Some(release.clone()),
            RunPlace::Local | RunPlace::Other => None,
        };
        let version = |place: &RunPlace| release(place).map(|release: Release| release.version);
        let is_alone = |version: &Version| {
            runs.iter()
                .filter_map(|(_, place)| release(place))
                .filter(|other| other.version.series == version.series)
                .all(|other| other.version == *version)
        };
        let mut arches = runs
            .iter()
            .filter(|(_, place)| release(place).is_some())
            .map(|(name, _)| &name.arch);
        let arch = arches.next();
        let one_arch = arches.all(|other| Some(other) == arch);
        let column = |(name, place): &(&RunName, RunPlace)| RunColumn {
            kind: match place {
                RunPlace::Local => ColumnKind::Local,
                RunPlace::Kernel(_) => ColumnKind::Kernel,
                RunPlace::Other => ColumnKind::Other,
            },
            short: match version(place) {
                // A candidate is not yet what its series will be.
                Some(version) if version.candidate.is_none() && is_alone(&version) => {
                    version.series.to_string()
                }
                Some(version) => version.to_string(),
                None => name.kernel.clone(),
            },
            long: if one_arch {
                name.title()
            } else {
                name.to_string()
            },
            flavor: name.flavor.clone(),
            phase: name.phase.clone(),
            arch: name.arch.clone(),
        };
        Self(runs.iter().map(column).collect())
    }

    /// Short names of the runs, no two alike unless the runs are: `6.1`, and what tells
    /// it from others: `6.1.192 tiny`.
    pub fn labels(&self) -> Vec<String> {
        let with_phase = |name: String, column: &RunColumn| match &column.phase {
            Some(phase) => format!("{name} {phase}"),
            None => name,
        };
        let flavored = |column: &RunColumn| match &column.flavor {
            Some(flavor) if flavor != "default" => format!("{} {flavor}", column.short),
            _ => column.short.clone(),
        };
        let plain = |column: &RunColumn| with_phase(column.short.clone(), column);
        let flavor = |column: &RunColumn| with_phase(flavored(column), column);
        let arch = |column: &RunColumn| {
            with_phase(format!("{} {}", flavored(column), column.arch), column)
        };
        let long = |column: &RunColumn| column.long.clone();
        // Of equally telling ones the shortest.
        let names: [&dyn Fn(&RunColumn) -> String; 4] = [&long, &arch, &flavor, &plain];
        let labels = names.map(|name| self.0.iter().map(name).collect::<Vec<_>>());
        let distinct = |labels: &Vec<String>| labels.iter().collect::<BTreeSet<_>>().len();
        // The last of equals.
        labels.into_iter().max_by_key(distinct).unwrap_or_default()
    }

    /// What the runs say in words; `None` if all say the same.
    pub fn describe(&self, verdicts: &[TestVerdict]) -> Option<String> {
        let said = self
            .0
            .iter()
            .zip(verdicts.iter().copied())
            .filter(|(_, verdict)| *verdict != TestVerdict::Unknown)
            .collect::<Vec<_>>();
        let (_, first) = said.first()?;
        if said.iter().all(|(_, verdict)| verdict == first) {
            return None;
        }
        let (kernels, others) = said
            .into_iter()
            .partition::<Vec<_>, _>(|(column, _)| column.kind == ColumnKind::Kernel);
        let mut parts = Vec::new();
        parts.extend(of_kernels(&kernels));
        for (column, verdict) in others {
            parts.push(match column.kind {
                ColumnKind::Local => format!("{} locally", verdict.verb()),
                ColumnKind::Kernel | ColumnKind::Other => {
                    format!("{} on {}", verdict.verb(), column.long)
                }
            });
        }
        Some(parts.join(", "))
    }
}

fn of_kernels(kernels: &[(&RunColumn, TestVerdict)]) -> Option<String> {
    let (_, first) = kernels.first()?;
    if kernels.iter().all(|(_, verdict)| verdict == first) {
        return Some(format!("{} in VMs", first.verb()));
    }
    let versions = points(kernels, |column| &column.short);
    if let Some(points) = &versions
        && segments(points).len() == 2
    {
        return Some(sequence(points));
    }
    // Several boundaries, or kernels of one version that disagree: is it the flavor?
    let flavor = |column: &RunColumn| {
        let flavor = column.flavor.as_deref();
        flavor.unwrap_or("without flavor").to_owned()
    };
    let arch = |column: &RunColumn| column.arch.clone();
    let both = |column: &RunColumn| format!("{} {}", flavor(column), arch(column));
    let splits = [
        split(kernels, flavor),
        split(kernels, arch),
        split(kernels, both),
    ];
    let by = |text: &dyn Fn(&[Point<'_>]) -> bool| {
        splits.iter().flatten().find(|classes| {
            let mut points = classes.iter().map(|(_, points)| points.as_slice());
            points.all(text)
        })
    };
    if let Some(classes) = by(&|points| segments(points).len() == 1) {
        return Some(of_classes(classes));
    }
    if let Some(points) = versions {
        return Some(sequence(&points));
    }
    if let Some(classes) = by(&|_| true) {
        return Some(of_classes(classes));
    }
    points(kernels, |column| &column.long).map(|points| sequence(&points))
}

/// Kernels of one label as one; `None` if they disagree.
fn points<'c>(
    kernels: &[(&'c RunColumn, TestVerdict)],
    label: impl Fn(&'c RunColumn) -> &'c str,
) -> Option<Vec<Point<'c>>> {
    let mut points = Vec::<Point<'c>>::new();
    for (column, verdict) in kernels {
        let label = label(column);
        match points.last() {
            Some((last, other)) if *last == label => {
                if other != verdict {
                    return None;
                }
            }
            _ => points.push((label, *verdict)),
        }
    }
    Some(points)
}

/// The points of each class of kernels, by the name of the class; `None` if there is
/// one class only, or kernels of one class and version disagree.
fn split<'c>(
    kernels: &[(&'c RunColumn, TestVerdict)],
    class: impl Fn(&RunColumn) -> String,
) -> Option<Vec<(String, Vec<Point<'c>>)>> {
    let mut names = kernels
        .iter()
        .map(|(column, _)| class(column))
        .collect::<Vec<_>>();
    names.sort();
    names.dedup();
    if names.len() < 2 {
        return None;
    }
    let points = |name: String| {
        let of_class = |(column, _): &&(&RunColumn, TestVerdict)| class(column) == name;
        let kernels = kernels.iter().filter(of_class).copied();
        let points = points(&kernels.collect::<Vec<_>>(), |column| &column.short)?;
        Some((name, points))
    };
    names.into_iter().map(points).collect()
}

/// `alternative, default: passes; tiny: passes up to 6.9, fails from 6.10`
fn of_classes(classes: &[(String, Vec<Point<'_>>)]) -> String {
    let mut texts = Vec::<(String, String)>::new();
    for (name, points) in classes {
        let text = sequence(points);
        match texts.iter_mut().find(|(_, other)| *other == text) {
            Some((names, _)) => *names += &format!(", {name}"),
            None => texts.push((name.clone(), text)),
        }
    }
    let texts = texts.iter().map(|(names, text)| format!("{names}: {text}"));
    texts.collect::<Vec<_>>().join("; ")
}

/// Neighbours that say the same, as the first and the last of them.
fn segments<'c>(points: &[Point<'c>]) -> Vec<(TestVerdict, &'c str, &'c str)> {
    let chunks = points.chunk_by(|(_, a), (_, b)| a == b);
    chunks
        .filter_map(|chunk| {
            let ((first, verdict), (last, _)) = (chunk.first()?, chunk.last()?);
            Some((*verdict, *first, *last))
        })
        .collect()
}

fn sequence(points: &[Point<'_>]) -> String {
    let segments = segments(points);
    let range = |first: &str, last: &str| {
        if first == last {
            first.to_owned()
        } else {
            format!("{first} to {last}")
        }
    };
    let mut verdicts = segments.iter().map(|(verdict, ..)| *verdict);
    let mut seen = Vec::new();
    let once = verdicts.all(|verdict| {
        let new = !seen.contains(&verdict);
        seen.push(verdict);
        new
    });
    if once {
        let text = |(number, (verdict, first, last)): (usize, &(TestVerdict, &str, &str))| {
            let verb = verdict.verb();
            match number {
                _ if segments.len() == 1 => verb.to_owned(),
                0 => format!("{verb} up to {last}"),
                n if n + 1 == segments.len() => format!("{verb} from {first}"),
                _ if first == last => format!("{verb} on {first}"),
                _ => format!("{verb} from {first} to {last}"),
            }
        };
        let texts = segments.iter().enumerate().map(text);
        return texts.collect::<Vec<_>>().join(", ");
    }
    // It comes back: name where it is otherwise than on most.
    let count = |verdict: TestVerdict| points.iter().filter(|(_, other)| *other == verdict).count();
    // Of equals the last one, which is the best.
    let most = TestVerdict::ALL.into_iter().max_by_key(|v| count(*v));
    let mut texts = Vec::new();
    for verdict in TestVerdict::ALL {
        let ranges = segments
            .iter()
            .filter(|(other, ..)| *other == verdict)
            .map(|(_, first, last)| range(first, last))
            .collect::<Vec<_>>();
        if Some(verdict) == most {
            continue;
        }
        let ranges = match ranges.as_slice() {
            [] => continue,
            [range] => range.clone(),
            [ranges @ .., last] => format!("{} and {last}", ranges.join(", ")),
        };
        texts.push(format!("{} on {ranges}", verdict.verb()));
    }
    texts.extend(most.map(|verdict| format!("{} on the others", verdict.verb())));
    texts.join(", ")
}
