//! Lists and texts that may be long, made short in the same way by all reports.

use std::collections::HashMap;
use std::hash::Hash;

/// Values by their keys, in the order in which the keys come first.
pub(super) fn grouped<K: Clone + Eq + Hash, V>(
    items: impl IntoIterator<Item = (K, V)>,
) -> Vec<(K, Vec<V>)> {
    let mut groups = Vec::<(K, Vec<V>)>::new();
    let mut places = HashMap::new();
    for (key, value) in items {
        let place = *places.entry(key.clone()).or_insert(groups.len());
        if place == groups.len() {
            groups.push((key, Vec::new()));
        }
        groups[place].1.push(value);
    }
    groups
}

/// `1 test`, `2 tests`.
pub(super) fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// `a, b and 2 more`: so many names at most.
pub(super) fn some_of(names: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let more = names.len().saturating_sub(most);
    let named = names.take(most).collect::<Vec<_>>().join(", ");
    match more {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

pub(super) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The beginning of a text, of so many characters.
pub(super) fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text of about `longest` bytes at most, whose middle is left out: a traceback has its
/// cause at its end, and where it came from at its start.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let first = &text[..text.floor_char_boundary(longest / 3)];
    let last = &text[text.ceil_char_boundary(text.len() - (longest - longest / 3))..];
    // At whole lines, if there are any.
    let first = first.rsplit_once('\n').map_or(first, |(lines, _)| lines);
    let last = last.split_once('\n').map_or(last, |(_, lines)| lines);
    let left_out = text.len() - first.len() - last.len();
    let end = if text.contains('\n') { '\n' } else { ' ' };
    format!("{first}{end}[… {left_out} bytes left out …]{end}{last}")
}
