//! The known name nearest to a misspelt one, for "did you mean".

/// The hint for a name that is unknown: the nearest of the `known` ones, or all of them.
pub fn hint(name: &str, known: &[impl AsRef<str>]) -> String {
    let known = known.iter().map(AsRef::as_ref);
    match nearest(name, known.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there is {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// The candidate that takes the fewest edits (insert, delete, replace a character)
/// from `text`, the first of several; `None` if even that one is too far off to be
/// what was meant.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = |text: &str| text.chars().count();
    let distances = candidates.into_iter();
    let distances = distances.map(|other| (strsim::levenshtein(text, other), other));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    let far = length(text).max(length(nearest)).div_ceil(3);
    (distance <= far).then_some(nearest)
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
}
