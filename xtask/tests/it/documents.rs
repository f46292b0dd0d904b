//! The documents: their links, and that they say what the program has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use support::host::repository;

use crate::tidy::{relative, written_files};

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap()
}

/// Every Markdown file of the repository: its name and its text.
fn documents() -> BTreeMap<String, String> {
    let files = written_files().into_iter();
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let files = files.map(|path| relative(&path));
    files.map(|name| (name.clone(), read(&name))).collect()
}

/// The lines outside of fenced and indented code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence && !line.starts_with("    ")
    })
}

/// The targets of `[text](target)`, also where the text goes over the end of a line.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).collect::<Vec<_>>().join("\n");
    let targets = text.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The anchors that GitHub gives to the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for heading in prose(text).filter(|line| line.starts_with('#')) {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let anchor = heading.chars().filter(kept).collect::<String>();
        let anchor = anchor.replace(' ', "-");
        // GitHub numbers the later ones; a link to such an anchor breaks too easily.
        assert!(anchors.insert(anchor.clone()), "two headings are #{anchor}");
    }
    anchors
}

/// The file, relative to the repository's top, and the anchor that a link of `page` leads to.
fn target(page: &str, link: &str) -> (String, Option<String>) {
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (link, None),
    };
    if path.is_empty() {
        return (page.to_owned(), anchor);
    }
    let folder = Path::new(page).parent().unwrap();
    let mut parts = Vec::new();
    for part in folder.join(path).iter().map(|part| part.to_str().unwrap()) {
        match part {
            ".." => assert!(
                parts.pop().is_some(),
                "{page}: {link} leaves the repository"
            ),
            part => parts.push(part.to_owned()),
        }
    }
    (parts.join("/"), anchor)
}

fn is_relative(link: &str) -> bool {
    !link.starts_with("https://") && !link.starts_with("http://")
}

#[test]
fn headings_become_anchors_and_links_files() {
    let text = "# A `b`: C's d\n\n```sh\n# no [heading](x)\n```\n[one\ntwo](../e.md#f) [g](#h)\n";
    assert_eq!(anchors(text), BTreeSet::from(["a-b-cs-d".to_owned()]));
    assert_eq!(links(text), ["../e.md#f", "#h"]);
    let with = |page, link| target(page, link);
    assert_eq!(
        with("a/b.md", "../e.md#f"),
        ("e.md".into(), Some("f".into()))
    );
    assert_eq!(with("a/b.md", "#h"), ("a/b.md".into(), Some("h".into())));
    assert_eq!(with("b.md", "c/d"), ("c/d".into(), None));
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let documents = documents();
    let mut broken = Vec::new();
    for (page, text) in &documents {
        for link in links(text).iter().filter(|link| is_relative(link)) {
            let (path, anchor) = target(page, link);
            let found = repository().join(&path).exists()
                && anchor.is_none_or(|anchor| {
                    documents
                        .get(&path)
                        .is_some_and(|text| anchors(text).contains(&anchor))
                });
            if !found {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn the_readme_links_every_page_and_every_page_the_readme() {
    let documents = documents();
    let targets = |page: &str| {
        let links = links(&documents[page]).into_iter();
        let links = links.filter(|link| is_relative(link));
        links
            .map(|link| target(page, &link).0)
            .collect::<BTreeSet<_>>()
    };
    let pages = documents
        .keys()
        .filter(|name| name.starts_with("xtask/docs/") || *name == "xtask/ARCHITECTURE.md");
    let pages = pages.cloned().collect::<BTreeSet<_>>();
    assert!(pages.len() > 10, "{pages:?}");
    let linked = targets("README.md");
    let missing = pages.difference(&linked).collect::<Vec<_>>();
    assert!(
        missing.is_empty(),
        "not linked from the README: {missing:?}"
    );
    for page in &pages {
        assert!(
            targets(page).contains("README.md"),
            "{page} does not link the README"
        );
    }
}

/// What stands behind each `cargo xtask`, up to a comment and what a guest runs.
fn calls(text: &str) -> Vec<Vec<&str>> {
    let calls = text.split("cargo xtask ").skip(1);
    let calls = calls.map(|rest| rest.split(['`', '\n', '|', ';', ')']).next().unwrap());
    let calls = calls.map(|call| call.split_whitespace().collect::<Vec<_>>());
    let end = |word: &&str| *word != "--" && !word.starts_with('#');
    calls
        .map(|call| call.into_iter().take_while(end).collect::<Vec<_>>())
        .filter(|call| {
            call.first()
                .is_some_and(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        })
        .collect()
}

#[test]
fn the_reference_has_every_command_and_no_document_another() {
    let commands = crate::cli::commands().into_iter().collect::<BTreeSet<_>>();
    let named = |text: &str| {
        let calls = calls(text).into_iter();
        calls
            .map(|call| call[0].to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(named(&read("xtask/docs/reference.md")), commands);
    for (page, text) in documents() {
        let unknown = named(&text)
            .difference(&commands)
            .cloned()
            .collect::<Vec<_>>();
        assert!(unknown.is_empty(), "{page}: {unknown:?}");
    }
}

#[test]
fn documents_use_options_that_their_commands_have() {
    let work = tempfile::tempdir().unwrap();
    let mut helps = BTreeMap::new();
    for (page, text) in documents() {
        for call in calls(&text) {
            let depth = if ["report", "release"].contains(&call[0]) {
                2
            } else {
                1
            };
            let command = call
                .iter()
                .take(depth)
                .copied()
                .collect::<Vec<_>>()
                .join(" ");
            let help = helps.entry(command.clone()).or_insert_with(|| {
                let help = crate::xtask(work.path()).args(&format!("{command} --help"));
                let help = help.run().expect_status(0).stdout;
                help.replace([',', '[', '='], " ")
            });
            for option in call.iter().filter(|word| word.starts_with('-')) {
                let option = option.split('=').next().unwrap();
                let known = help.split_whitespace().any(|word| word == option);
                assert!(known, "{page}: {command} has no {option}");
            }
        }
    }
    assert!(helps.len() > 15, "{:?}", helps.keys());
}

/// The keys of the first TOML text behind `start`, with their tables.
fn toml_keys(text: &str, start: &str) -> Vec<String> {
    let text = &text[text.find(start).unwrap()..];
    let text = text.split("```toml\n").nth(1).unwrap();
    let text = text.split("```\n").next().unwrap();
    let (mut keys, mut table) = (Vec::new(), "");
    for line in text.lines() {
        if let Some((name, _)) = line.strip_prefix('[').and_then(|l| l.split_once(']')) {
            table = name;
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.push(format!("{table}.{key}"));
        }
    }
    keys
}

#[test]
fn every_key_of_a_project_file_is_documented() {
    let module = read("xtask/src/model/project.rs");
    let module = module.lines().filter_map(|line| line.strip_prefix("//!"));
    let module = module.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let module = module.map(|line| format!("{line}\n")).collect::<String>();
    let keys = toml_keys(&read("xtask/docs/projects.md"), "All keys of `vmtest.toml`");
    assert_eq!(keys, toml_keys(&module, "`vmtest.toml`"));
}
