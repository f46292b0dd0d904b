//! Which kernels are old: the choice behind `prune`, for kernels on this machine and
//! for those of a release alike.
//!
//! Per series, flavor with its further options, and architecture the newest ones stay, of our own kernels and of
//! those that were unpacked from a distribution's packages. What is named like neither,
//! or has a name that does not say its flavor, is left alone. At least one finished
//! kernel of each flavor stays, so no series loses its last one.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Serialize;

use crate::base::time;
use crate::model::version::{Release, Series};
use crate::model::{arch::Arch, package_name::PackageName};

/// An upload that was not finished within this time will not be: it may have been
/// going on for hours on a slow line, but no request lasts for days.
pub const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// What prune must know about a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedKernel {
    pub name: PackageName,
    /// Whether it is whole. One that is not neither stays for its age nor counts.
    pub finished: bool,
    /// Whether a distribution has made it: its name says its flavor in another way.
    pub distribution: bool,
    /// When it was made, as [`time::rfc3339`] and GitHub write it; empty if that is not known.
    pub created: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    Superseded,
    /// Its upload was begun and never finished.
    Abandoned,
}

impl Reason {
    pub fn words(self) -> &'static str {
        match self {
            Self::Superseded => "there are enough newer ones",
            Self::Abandoned => "its upload was begun over a day ago and never finished",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Where it is in the list that was looked at.
    pub index: usize,
    pub reason: Reason,
}

/// What kernels are compared within.
pub type Group = (&'static str, Series, String);

/// The architecture, series and flavor of a kernel; `None` if its name does not say
/// them.
pub fn group(name: &PackageName) -> Option<Group> {
    let suffix = name.release.vmtest()?;
    let flavor = &suffix.flavor;
    // `-vmtest1.0` has a number where the flavor should be.
    let known = !flavor.is_empty() && flavor.chars().all(|c| c.is_ascii_lowercase());
    let series = name.release.version.series;
    known.then(|| (name.arch.name, series, suffix.variant()))
}

/// The group of a distribution's kernel: what is in a release besides numbers tells
/// distributions and flavors apart, as in `6.1.0-56-rt-amd64`.
fn group_of_distribution(name: &PackageName) -> Group {
    let suffix = &name.release.suffix;
    let flavor = suffix.replace(|c: char| c.is_ascii_digit(), "");
    // No flavor of ours is called like that.
    let flavor = format!("distribution {flavor}");
    (name.arch.name, name.release.version.series, flavor)
}

pub fn group_of(arch: &Arch, series: Series, flavor: &str) -> Group {
    (arch.name, series, flavor.to_owned())
}

/// The kernels that may go when the `keep` newest releases of each group stay, by
/// architecture, series and flavor, the newest first. A release may be in the list
/// several times (unpacked and as a file): it counts once and goes as a whole.
///
/// `now` is in seconds since 1970.
pub fn select(kernels: &[RetainedKernel], keep: NonZeroUsize, now: u64) -> Vec<Deletion> {
    let limit = time::rfc3339(now.saturating_sub(ABANDONED.as_secs()));
    let mut groups = BTreeMap::<Option<Group>, Vec<usize>>::new();
    for (index, kernel) in kernels.iter().enumerate() {
        let group = match kernel.distribution {
            true => Some(group_of_distribution(&kernel.name)),
            false => group(&kernel.name),
        };
        groups.entry(group).or_default().push(index);
    }
    groups.remove(&None);
    let mut deletions = Vec::new();
    for members in groups.values_mut() {
        let release = |index: &usize| &kernels[*index].name.release;
        members.sort_by(|a, b| release(b).cmp(release(a)).then(a.cmp(b)));
        let mut kept = Vec::<&Release>::new();
        for index in members {
            let kernel = &kernels[*index];
            let release = &kernel.name.release;
            let reason = match kernel.finished {
                false if is_before(&kernel.created, &limit) => Reason::Abandoned,
                true if !kept.contains(&release) && kept.len() == keep.get() => Reason::Superseded,
                finished => {
                    kept.extend((finished && !kept.contains(&release)).then_some(release));
                    continue;
                }
            };
            let index = *index;
            deletions.push(Deletion { index, reason });
        }
    }
    deletions
}

/// Whether a time is known and before another. In this form the order of times is
/// that of their texts.
fn is_before(time: &str, limit: &str) -> bool {
    let digit = |c: char| if c.is_ascii_digit() { '0' } else { c };
    let form = time.chars().map(digit).collect::<String>();
    form == "0000-00-00T00:00:00Z" && time < limit
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn kernel(release: &str, finished: bool, age: u64) -> RetainedKernel {
        RetainedKernel {
            name: PackageName::parse(&format!("kernel-{release}.x86_64.tar.zst")).unwrap(),
            finished,
            distribution: false,
            created: time::rfc3339(NOW - age),
        }
    }

    fn keep(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }

    fn gone(kernels: &[RetainedKernel], number: usize) -> Vec<String> {
        select(kernels, keep(number), NOW)
            .iter()
            .map(|deletion| {
                let release = &kernels[deletion.index].name.release;
                format!("{release} {:?}", deletion.reason)
            })
            .collect()
    }

    #[test]
    fn the_newest_of_each_series_and_flavor_stay() {
        let kernels = [
            "6.1.9-vmtest1.1default",
            "6.1.10-vmtest1.1default",
            "6.1.10-vmtest2.1default",
            "6.1.8-vmtest1.0tiny",
            "6.1-rc8-vmtest1.1default",
            "6.12.1-vmtest1.1default",
            "5.10.3-vmtest42.1default",
            "5.10.2-vmtest42.1default",
        ]
        .map(|release| kernel(release, true, 0));
        assert_eq!(
            gone(&kernels, 1),
            [
                "5.10.2-vmtest42.1default Superseded",
                "6.1.10-vmtest1.1default Superseded",
                "6.1.9-vmtest1.1default Superseded",
                "6.1-rc8-vmtest1.1default Superseded",
            ]
        );
        assert_eq!(gone(&kernels, 3), ["6.1-rc8-vmtest1.1default Superseded"]);
        assert!(gone(&kernels, 4).is_empty());
    }

    #[test]
    fn what_is_not_of_ours_is_left_alone() {
        let kernels = [
            "6.1.0-10-amd64",
            "6.1.1",
            "6.1.2-vmtest",
            "6.1.3-vmtest1.0",
            "6.1.4-vmtest1.0-x",
        ]
        .map(|release| kernel(release, false, 1_000_000));
        assert!(gone(&kernels, 1).is_empty());
    }

    #[test]
    fn an_unfinished_upload_goes_after_a_day_and_never_counts() {
        let day = ABANDONED.as_secs();
        let kernels = [
            kernel("6.1.12-vmtest1.1default", false, day),
            kernel("6.1.11-vmtest1.1default", false, day + 1),
            kernel("6.1.10-vmtest1.1default", true, 0),
            kernel("6.1.9-vmtest1.1default", true, 9 * day),
        ];
        assert_eq!(
            gone(&kernels, 1),
            [
                "6.1.11-vmtest1.1default Abandoned",
                "6.1.9-vmtest1.1default Superseded",
            ]
        );
        for created in ["", "yesterday", "2020-01-01", "2020-01-01T00:00:00+02:00"] {
            let kernel = RetainedKernel {
                created: created.to_owned(),
                ..kernels[1].clone()
            };
            assert!(gone(&[kernel], 1).is_empty(), "{created:?}");
        }
    }

    #[test]
    fn a_release_that_is_there_twice_counts_once_and_goes_as_a_whole() {
        let kernels = [
            kernel("6.1.10-vmtest1.1default", true, 0),
            kernel("6.1.9-vmtest1.1default", true, 0),
            kernel("6.1.10-vmtest1.1default", true, 0),
            kernel("6.1.8-vmtest1.1default", true, 0),
            kernel("6.1.8-vmtest1.1default", true, 0),
        ];
        let indices = |number| {
            select(&kernels, keep(number), NOW)
                .iter()
                .map(|deletion| deletion.index)
                .collect::<Vec<_>>()
        };
        assert_eq!(indices(2), [3, 4]);
        assert_eq!(indices(1), [1, 3, 4]);
    }

    #[test]
    fn kernels_of_distributions_are_compared_with_their_like() {
        let kernels = [
            "6.1.0-9-amd64",
            "6.1.0-10-amd64",
            "6.1.0-10-rt-amd64",
            "6.1.0-9-cloud-amd64",
            "6.1.172-vmtest1.1default",
            "6.12.9+deb13-amd64",
            "6.12.10+deb13-amd64",
        ]
        .map(|release| RetainedKernel {
            distribution: !release.contains("vmtest"),
            ..kernel(release, true, 0)
        });
        let mut gone = gone(&kernels, 1);
        gone.sort();
        assert_eq!(
            gone,
            ["6.1.0-9-amd64 Superseded", "6.12.9+deb13-amd64 Superseded"]
        );
    }

    /// Every list of up to four kernels out of eight: two series, two flavors,
    /// finished, abandoned and just begun.
    #[test]
    fn whatever_there_is_the_last_good_one_stays() {
        let day = ABANDONED.as_secs();
        let pool = [
            kernel("6.1.1-vmtest1.1default", true, 9 * day),
            kernel("6.1.2-vmtest1.1default", true, 0),
            kernel("6.1.3-vmtest1.1default", false, 2 * day),
            kernel("6.1.4-vmtest1.1default", false, 0),
            kernel("6.1.1-vmtest1.0tiny", true, 9 * day),
            kernel("6.1.2-vmtest1.0tiny", false, 2 * day),
            kernel("5.10.1-vmtest1.1default", true, 9 * day),
            kernel("5.10.0-10-amd64", true, 9 * day),
        ];
        let mut lists = vec![Vec::new()];
        for length in 0..4 {
            let longer = lists
                .iter()
                .filter(|list: &&Vec<usize>| list.len() == length)
                .flat_map(|list| (0..pool.len()).map(|i| [list.clone(), vec![i]].concat()))
                .collect::<Vec<_>>();
            lists.extend(longer);
        }
        assert_eq!(lists.len(), 1 + 8 + 64 + 512 + 4096);
        for (list, number) in lists.iter().flat_map(|list| [(list, 1), (list, 2)]) {
            let kernels = list.iter().map(|i| pool[*i].clone()).collect::<Vec<_>>();
            let deletions = select(&kernels, keep(number), NOW);
            let stays = |index: usize| deletions.iter().all(|deletion| deletion.index != index);
            let finished = |index: &usize| kernels[*index].finished;
            let left = (0..kernels.len()).filter(|i| stays(*i)).collect::<Vec<_>>();
            for (index, kernel) in kernels.iter().enumerate() {
                let Some(of) = group(&kernel.name) else {
                    assert!(stays(index), "{list:?}");
                    continue;
                };
                let newer = |other: &&usize| {
                    let name = &kernels[**other].name;
                    finished(other)
                        && group(name).as_ref() == Some(&of)
                        && name.release > kernel.name.release
                };
                let mut newer = left.iter().filter(newer).collect::<Vec<_>>();
                newer.sort_by_key(|index| &kernels[**index].name.release);
                newer.dedup_by_key(|index| &kernels[**index].name.release);
                if kernel.finished {
                    // It goes exactly if enough newer ones stay.
                    assert_eq!(stays(index), newer.len() < number, "{list:?}");
                    let series = |index: &usize| kernels[*index].name.release.version.series;
                    let remain = left
                        .iter()
                        .filter(|i| finished(i) && series(i) == kernel.name.release.version.series);
                    assert!(remain.count() >= 1, "{list:?}");
                } else {
                    assert_eq!(
                        stays(index),
                        kernel.created == time::rfc3339(NOW),
                        "{list:?}"
                    );
                }
            }
            // Once is enough, and the order of the list means nothing.
            let rest = left.iter().map(|i| kernels[*i].clone()).collect::<Vec<_>>();
            assert!(select(&rest, keep(number), NOW).is_empty(), "{list:?}");
            let reversed = kernels.iter().rev().cloned().collect::<Vec<_>>();
            assert_eq!(gone(&kernels, number), gone(&reversed, number), "{list:?}");
        }
    }

    #[test]
    fn times_are_written_as_github_writes_them() {
        assert_eq!(time::rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(time::rfc3339(1_445_412_480), "2015-10-21T07:28:00Z");
    }
}
