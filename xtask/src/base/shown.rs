//! Text that is safe to look at: values come from packages, guests, servers and file names, and
//! may hold anything. On a terminal a control character is a command to it, and a newline
//! makes a line that looks like one of ours.

/// Text of one line. What would command a terminal, end the line or turn the order of what is
/// read becomes U+FFFD.
pub fn line(text: &str) -> String {
    with(text, |c| c == '\t')
}

/// The same for text of several lines.
pub fn lines(text: &str) -> String {
    with(text, |c| c == '\t' || c == '\n')
}

fn with(text: &str, stays: impl Fn(char) -> bool) -> String {
    let shown = |c: char| match (c.is_control() || is_unseen(c)) && !stays(c) {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    };
    text.chars().map(shown).collect()
}

/// Characters that cannot be seen, or that change how others are: the controls of
/// ISO 8859, and those of Unicode's format characters (category `Cf`) and separators
/// that order or join text, bidirectional ones first of all (Unicode annex 9).
pub fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{fffe}'..='\u{ffff}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_commands_a_terminal_or_makes_a_line() {
        for (text, shown) in [
            ("a\u{1b}[31mb", "a\u{fffd}[31mb"),
            ("a\nxtask: b\r\0c", "a\u{fffd}xtask: b\u{fffd}\u{fffd}c"),
            ("\u{7f}\u{9b}31m\u{85}", "\u{fffd}\u{fffd}31m\u{fffd}"),
            ("a\u{202e}cod.exe\u{2066}", "a\u{fffd}cod.exe\u{fffd}"),
            ("a\u{2028}b\u{2029}", "a\u{fffd}b\u{fffd}"),
            ("tab\tand é, שלום, 日本", "tab\tand é, שלום, 日本"),
        ] {
            assert_eq!(line(text), shown);
        }
        assert_eq!(lines("a\n\u{1b}b\n"), "a\n\u{fffd}b\n");
    }
}
