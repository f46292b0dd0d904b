//! The known name nearest to a misspelt one, for "did you mean".

/// The candidate that takes the fewest edits (insert, delete, replace a character)
/// from `text`, the first of several; `None` if even that one is too far off to be
/// what was meant.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(text, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| {
            *distance
                <= text
                    .chars()
                    .count()
                    .max(candidate.chars().count())
                    .div_ceil(3)
        })
        .map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, deleted or replaced (Levenshtein).
pub fn distance(a: &str, b: &str) -> usize {
    let b = b.chars().collect::<Vec<_>>();
    let mut row = (0..=b.len()).collect::<Vec<_>>();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let known = ["default", "alternative", "tiny"];
        for (text, expected) in [
            ("defualt", Some("default")),
            ("tinny", Some("tiny")),
            ("alternativ", Some("alternative")),
            ("xyzzy", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, known), expected, "{text:?}");
        }
        assert_eq!(nearest("a", []), None);
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "", 0), ("6.1", "6.11", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a, b), expected);
            assert_eq!(distance(b, a), expected);
        }
    }
}
