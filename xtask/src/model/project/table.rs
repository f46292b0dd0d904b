//! The tables of a project file, whose keys are taken one by one.

use std::fmt::Write as _;
use std::path::{Component, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::Discovery;
use crate::base::{environment::is_exportable, error::Failure, suggest::nearest};

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

#[derive(Clone, Copy)]
pub(super) struct Source<'t> {
    pub(super) file: &'t str,
    pub(super) text: &'t str,
}

/// A table whose keys are taken one by one. What was asked for is what is known.
pub(super) struct Table<'t> {
    source: Source<'t>,
    path: String,
    entries: Option<&'t DeTable<'t>>,
    known: Vec<&'static str>,
    /// Where it begins, if it is one of several.
    line: Option<usize>,
}

type Entry<'t> = (&'t Spanned<DeString<'t>>, &'t Spanned<DeValue<'t>>);

impl<'t> Table<'t> {
    pub(super) fn new(source: Source<'t>, path: &str, entries: &'t DeTable<'t>) -> Self {
        Self {
            source,
            path: path.to_owned(),
            entries: Some(entries),
            known: Vec::new(),
            line: None,
        }
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<Entry<'t>> {
        self.known.push(key);
        self.find(key)
    }

    pub(super) fn find(&self, key: &str) -> Option<Entry<'t>> {
        self.entries?
            .iter()
            .find(|(name, _)| name.get_ref().as_ref() == key)
    }

    pub(super) fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// An error at a key.
    pub(super) fn error(&self, key: &str, message: &str) -> Failure {
        let Source { file, text } = self.source;
        let line = self
            .find(key)
            .map_or(1, |(name, _)| line_of(text, name.span().start));
        Failure::usage(format!("{file}:{line}: {}: {message}", self.full(key)))
    }

    pub(super) fn missing(&self, key: &str) -> Failure {
        let file = self.source.file;
        let line = self.line.map_or(String::new(), |line| format!(":{line}"));
        Failure::usage(format!("{file}{line}: {} is missing", self.full(key)))
    }

    pub(super) fn string(&mut self, key: &'static str) -> Result<Option<String>, Failure> {
        match self.take(key).map(|(_, value)| value.get_ref()) {
            None => Ok(None),
            Some(DeValue::String(text)) if text.contains('\0') => {
                Err(self.error(key, "must not contain a NUL"))
            }
            Some(DeValue::String(text)) if text.trim().is_empty() => {
                Err(self.error(key, "must not be empty"))
            }
            Some(DeValue::String(text)) => Ok(Some(text.to_string())),
            Some(_) => Err(self.error(key, "must be a string")),
        }
    }

    pub(super) fn required_string(&mut self, key: &'static str) -> Result<String, Failure> {
        self.string(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, Failure> {
        match self.take(key).map(|(_, value)| value.get_ref()) {
            None => Ok(None),
            Some(DeValue::Boolean(value)) => Ok(Some(*value)),
            Some(_) => Err(self.error(key, "must be true or false")),
        }
    }

    pub(super) fn strings(&mut self, key: &'static str) -> Result<Vec<String>, Failure> {
        match self.take(key).map(|(_, value)| value.get_ref()) {
            None => Ok(Vec::new()),
            Some(DeValue::Array(array)) => array
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) if !text.is_empty() && !text.contains('\0') => {
                        Ok(text.to_string())
                    }
                    _ => Err(self.error(key, "must be a list of strings that are not empty")),
                })
                .collect(),
            Some(_) => Err(self.error(key, "must be a list of strings")),
        }
    }

    /// A path that stays in the tree.
    pub(super) fn inside(&self, key: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = PathBuf::from(text);
        let stays = path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if stays {
            Ok(path)
        } else {
            Err(self.error(key, &format!("{text:?} must be a path inside the project")))
        }
    }

    pub(super) fn path(&mut self, key: &'static str) -> Result<Option<PathBuf>, Failure> {
        match self.string(key)? {
            None => Ok(None),
            Some(text) => self.inside(key, &text).map(Some),
        }
    }

    pub(super) fn required_path(&mut self, key: &'static str) -> Result<PathBuf, Failure> {
        self.path(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn paths(&mut self, key: &'static str) -> Result<Vec<PathBuf>, Failure> {
        self.strings(key)?
            .iter()
            .map(|text| self.inside(key, text))
            .collect()
    }

    /// The name of an environment variable.
    pub(super) fn variable(&mut self, key: &'static str) -> Result<Option<String>, Failure> {
        match self.string(key)? {
            Some(name) if !is_exportable(name.as_ref()) => {
                Err(self.error(key, &format!("{name:?} is no name for a variable")))
            }
            other => Ok(other),
        }
    }

    pub(super) fn environment(
        &mut self,
        key: &'static str,
    ) -> Result<Vec<(String, String)>, Failure> {
        let Some(mut table) = self.optional_table(key)? else {
            return Ok(Vec::new());
        };
        let mut variables = Vec::new();
        for (name, value) in table.entries.take().into_iter().flatten() {
            let name = name.get_ref().as_ref();
            if !is_exportable(name.as_ref()) {
                return Err(self.error(key, &format!("{name:?} is no name for a variable")));
            }
            match value.get_ref() {
                DeValue::String(text) if !text.contains('\0') => {
                    variables.push((name.to_owned(), text.to_string()));
                }
                _ => return Err(self.error(key, &format!("{name} must be a string"))),
            }
        }
        Ok(variables)
    }

    pub(super) fn discovery(&mut self) -> Result<Discovery, Failure> {
        Ok(Discovery {
            start: self.path("start")?.unwrap_or_else(|| ".".into()),
            top: self.path("top")?.unwrap_or_else(|| ".".into()),
            pattern: self
                .string("pattern")?
                .unwrap_or_else(|| "test*.py".to_owned()),
        })
    }

    pub(super) fn optional_table(&mut self, key: &'static str) -> Result<Option<Self>, Failure> {
        match self.take(key).map(|(_, value)| value.get_ref()) {
            None => Ok(None),
            Some(DeValue::Table(entries)) => {
                Ok(Some(Table::new(self.source, &self.full(key), entries)))
            }
            Some(_) => Err(self.error(key, "must be a table")),
        }
    }

    /// What `read` makes of the table `[key]`, which must have no other keys.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: fn(&mut Self) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        let Some(mut table) = self.optional_table(key)? else {
            return Ok(None);
        };
        let value = read(&mut table)?;
        table.finish()?;
        Ok(Some(value))
    }

    /// The tables `[[key]]`, in order.
    pub(super) fn tables(&mut self, key: &'static str) -> Result<Vec<Self>, Failure> {
        let wrong = |table: &Self| table.error(key, &format!("must be written [[{key}]]"));
        let items = match self.take(key).map(|(_, value)| value.get_ref()) {
            None => return Ok(Vec::new()),
            Some(DeValue::Array(items)) => items,
            Some(_) => return Err(wrong(self)),
        };
        let table = |item: &'t Spanned<DeValue<'t>>| match item.get_ref() {
            DeValue::Table(entries) => Ok(Table {
                line: Some(line_of(self.source.text, item.span().start)),
                ..Table::new(self.source, &self.full(key), entries)
            }),
            _ => Err(wrong(self)),
        };
        items.iter().map(table).collect()
    }

    /// A table that may be left out because nothing in it is required.
    pub(super) fn table(&mut self, key: &'static str) -> Result<Self, Failure> {
        let found = self.optional_table(key)?;
        Ok(found.unwrap_or_else(|| Table {
            source: self.source,
            path: self.full(key),
            entries: None,
            known: Vec::new(),
            line: None,
        }))
    }

    /// Nothing else may be in it.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let unknown = self
            .entries
            .into_iter()
            .flatten()
            .map(|(name, _)| name.get_ref().as_ref())
            .find(|name| !self.known.contains(name));
        let Some(key) = unknown else {
            return Ok(());
        };
        let mut hint = String::new();
        if let Some(near) = nearest(key, self.known.iter().copied()) {
            let _ = write!(hint, "did you mean {near:?}?");
        } else {
            let _ = write!(hint, "known here: {}", self.known.join(", "));
        }
        Err(self.error(key, "unknown key").hint(hint))
    }
}
