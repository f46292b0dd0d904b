//! The record against our fragments and the README, and its format.

use super::*;
use crate::base::embedded::CONFIGS;
use crate::kernel::config::{Value, WantedOption, merge, parse_fragment};

const FILES: Files = Files::Embedded(CONFIGS);

fn loaded() -> (ConfigRecord, Kernels) {
    let kernels = Kernels::load(&FILES).unwrap();
    (ConfigRecord::load(&FILES).unwrap(), kernels)
}

/// What is wrong with an option on a release, if the record knows better.
fn contradiction(
    record: &ConfigRecord,
    wanted: &WantedOption,
    (arch, flavor, release): (&Arch, &str, Version),
) -> Option<String> {
    let pair = (arch.name.to_owned(), flavor.to_owned());
    let has = |name: &str| {
        let pairs = record.options.get(name.strip_prefix("CONFIG_")?)?;
        pairs.get(&pair)?.get(&release).copied()
    };
    let found = wanted.all_names().map(has).collect::<Option<Vec<_>>>();
    let names = wanted.names_in(release.series);
    let what = match found {
        None => "is not recorded: cargo xtask kconfig --record DIR, with any source tree",
        _ if wanted.value == Value::No => return None,
        Some(found) if names.is_empty() => match found.contains(&true) && !wanted.lifetime.narrow {
            true => "is outside of its range, but there",
            false => return None,
        },
        Some(_) if wanted.range_name(release.series).is_none() => return None,
        Some(_) => match names.iter().any(|name| has(name) == Some(true)) {
            true => return None,
            false => "is not there",
        },
    };
    let (option, origin) = (&wanted.option, &wanted.origin);
    Some(format!("{option} ({origin}) {what}"))
}

/// What is wrong with our fragments, and those of `change`, on all releases: each once, with the
/// releases.
fn contradictions(change: &str) -> String {
    let (record, kernels) = loaded();
    let mut wrong = BTreeMap::<_, Vec<_>>::new();
    for (arch, _) in &kernels.architectures {
        for flavor in kernels.flavors.iter().map(|flavor| &*flavor.name) {
            let mut options = merge(&FILES, arch, flavor, &[]).unwrap().options;
            for changed in parse_fragment("changed", change).unwrap() {
                options.retain(|wanted| wanted.option != changed.option);
                options.push(changed);
            }
            for release in record.releases(arch) {
                let place = (&**arch, flavor, release);
                let found = options
                    .iter()
                    .filter_map(|wanted| contradiction(&record, wanted, place));
                for what in found {
                    let what = format!("{what} on {} {flavor}", arch.name);
                    wrong.entry(what).or_default().push(release.to_string());
                }
            }
        }
    }
    let lines = wrong
        .iter()
        .map(|(what, releases)| format!("{what}: {}\n", releases.join(" ")));
    lines.collect()
}

#[test]
fn our_fragments_are_right_on_every_audited_release() {
    let wrong = contradictions("");
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_option_that_is_off_exists_somewhere() {
    let (record, kernels) = loaded();
    let is_there = |name: &str| {
        let pairs = record.options.get(name.trim_start_matches("CONFIG_"));
        let mut presences = pairs.into_iter().flat_map(BTreeMap::values);
        presences.any(|presence| presence.values().any(|there| *there))
    };
    let mut unknown = BTreeSet::new();
    for (arch, _) in &kernels.architectures {
        for flavor in &kernels.flavors {
            let mut options = merge(&FILES, arch, &flavor.name, &[]).unwrap().options;
            options.retain(|wanted| !wanted.all_names().any(is_there));
            unknown.extend(options.into_iter().map(|wanted| wanted.option));
        }
    }
    assert_eq!(unknown, BTreeSet::new());
}

#[test]
fn a_wrong_name_or_range_is_found() {
    for (change, expected) in [
        ("CONFIG_FUTEKS=y", "is not recorded"),
        (
            "#: since 5.19\nCONFIG_ANON_VMA_NAME=y",
            "is outside of its range, but there on x86_64 default: 5.17.0-rc5",
        ),
        (
            "#: since 5.4\nCONFIG_ANON_VMA_NAME=y",
            "is not there on x86_64 default: 5.4.286",
        ),
        (
            "#: until 6.3\nCONFIG_SLAB=y",
            "is outside of its range, but there on x86_64 alternative: 6.3.8",
        ),
        ("CONFIG_SLAB=y", "is not there on x86_64 alternative: 6.8.0"),
        (
            "CONFIG_ORC_UNWINDER=y",
            "is not there on x86_64 default: 4.9.0 4.9.337 4.14.177",
        ),
    ] {
        let wrong = contradictions(&format!("# Why.\n{change}\n"));
        assert!(wrong.contains(expected), "{change}: {wrong}");
    }
}

#[test]
fn the_text_says_the_same() {
    let (record, kernels) = loaded();
    let same = |record: &ConfigRecord, text: &str| {
        let names = record.options.keys().cloned().collect();
        let written = record.text(&names);
        let mut pairs = written.lines().zip(text.lines());
        assert_eq!(pairs.find(|(written, read)| written != read), None);
        assert_eq!(written.len(), text.len());
    };
    let text = FILES.read(RECORD_FILE).unwrap();
    same(&record, &text);
    // An option that was looked for on some releases only, and one of them lacks it.
    let new = "\nNEW = \"5.4.286, 6.0.1 not 5.15.100\"\nNO_HZ_IDLE";
    let text = text.replacen("\nNO_HZ_IDLE", new, 1);
    same(&ConfigRecord::parse(&text, &kernels).unwrap(), &text);
}

/// What README.md must have: by series the release that was configured, and what was built.
fn table(record: &ConfigRecord, kernels: &Kernels) -> String {
    let mut table = "| series | configured | built, booted, tested |\n|---|---|---|\n".to_owned();
    for series in &kernels.series {
        let arches = kernels
            .architectures
            .iter()
            .filter(|(_, oldest)| series >= oldest);
        let mut configured = BTreeMap::<_, Vec<_>>::new();
        for (arch, _) in arches.clone() {
            for release in record
                .releases(arch)
                .filter(|release| release.series == *series)
            {
                configured.entry(release).or_default().push(arch.name);
            }
        }
        let cells =
            configured.iter().map(
                |(release, names)| match names.len() == arches.clone().count() {
                    true => release.to_string(),
                    false => format!("{release} ({})", names.join(", ")),
                },
            );
        let configured = cells.collect::<Vec<_>>().join(", ");
        let built = record.built.iter().filter_map(|(release, what)| {
            let version = release.parse::<Version>().unwrap();
            (version.series == *series).then(|| format!("{release}: {what}"))
        });
        let built = built.collect::<Vec<_>>().join("; ");
        let or_dash = |text: String| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text
            }
        };
        let _ = writeln!(
            table,
            "| {series} | {} | {} |",
            or_dash(configured),
            or_dash(built)
        );
    }
    table
}

#[test]
fn the_readme_has_the_releases() {
    let (record, kernels) = loaded();
    let table = table(&record, &kernels);
    let readme = FILES.read("README.md").unwrap();
    assert!(
        readme.contains(&table),
        "kernel-configs/README.md must have:\n{table}"
    );
}

#[test]
fn a_series_without_a_release_is_untried() {
    let (_, kernels) = loaded();
    let text = "[audited]\nx86_64 = \"6.1.192\"\n[built]\n[options]\n";
    let record = ConfigRecord::parse(text, &kernels).unwrap();
    let untried = |arch, series: &str| {
        let arch = crate::model::arch::find(arch).unwrap();
        record.untried(arch, series.parse().unwrap())
    };
    assert_eq!(untried("x86_64", "6.1"), None);
    let expected = "untried: nobody has configured any 6.2 for x86_64 with these options";
    assert_eq!(untried("x86_64", "6.2").as_deref(), Some(expected));
    assert!(untried("s390x", "6.1").is_some());
}
