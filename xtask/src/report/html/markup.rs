//! Markup in which all values are text. A test chooses its names and what it prints, so none
//! of it may become markup, change what is beside it, or hide. (`maud` does the same and
//! costs 4 s of compiling: it needs another `syn` than `serde` does.)

use std::fmt::{self, Arguments, Display, Formatter, Write as _};
use std::path::{Component, Path};

use crate::base::shown;
use crate::model::test_event::class_and_name;
use crate::report::compact::shortened;

/// A piece of the page, which [`html!`] makes.
#[derive(Debug, Default)]
pub(super) struct Html(String);

/// Markup with values in it, by [`Insert`]. They are behind the markup: a name in its
/// braces does not compile, because `concat!` leaves nothing to capture it with.
macro_rules! html {
    ($markup:expr $(, $value:expr)* $(,)?) => {
        $crate::report::html::markup::Html::new(format_args!(
            concat!($markup),
            $($crate::report::html::markup::Inserted(&$value)),*
        ))
    };
}
pub(super) use html;

impl Html {
    /// For [`html!`] alone.
    pub fn new(markup: Arguments<'_>) -> Self {
        Self(markup.to_string())
    }

    /// Markup that is written in our own files.
    pub fn ours(markup: &'static str) -> Self {
        Self(markup.to_owned())
    }

    pub fn push(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl FromIterator<Html> for Html {
    fn from_iter<I: IntoIterator<Item = Self>>(pieces: I) -> Self {
        Self(pieces.into_iter().map(|piece| piece.0).collect())
    }
}

/// How a value stands in markup.
pub(super) trait Insert {
    fn insert(&self, f: &mut Formatter<'_>) -> fmt::Result;
}

pub(super) struct Inserted<'v, V: ?Sized>(pub &'v V);

impl<V: Insert + ?Sized> Display for Inserted<'_, V> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.insert(f)
    }
}

impl Insert for Html {
    fn insert(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text in one line, in an element or in an attribute that is put in double quotes:
/// ends of lines are shown as well.
impl Insert for str {
    fn insert(&self, f: &mut Formatter<'_>) -> fmt::Result {
        escape(f, self, false)
    }
}

impl Insert for String {
    fn insert(&self, f: &mut Formatter<'_>) -> fmt::Result {
        escape(f, self, false)
    }
}

/// Text whose lines stay lines, in an element.
pub(super) struct Lines<'t>(pub &'t str);

impl Insert for Lines<'_> {
    fn insert(&self, f: &mut Formatter<'_>) -> fmt::Result {
        escape(f, self.0, true)
    }
}

impl Insert for usize {
    fn insert(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.fmt(f)
    }
}

impl<V: Insert + ?Sized> Insert for &V {
    fn insert(&self, f: &mut Formatter<'_>) -> fmt::Result {
        (*self).insert(f)
    }
}

impl<V: Insert> Insert for Option<V> {
    fn insert(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.as_ref().map_or(Ok(()), |value| value.insert(f))
    }
}

fn escape(f: &mut Formatter<'_>, text: &str, lines: bool) -> fmt::Result {
    // Most text has nothing to be escaped, and is copied in pieces.
    let mut rest = text;
    loop {
        let plain = |byte: u8| {
            (matches!(byte, b' '..=b'~') && !matches!(byte, b'&' | b'<' | b'>' | b'"'))
                || (lines && matches!(byte, b'\n' | b'\t'))
        };
        let end = rest.bytes().position(|byte| !plain(byte));
        let (before, after) = rest.split_at(end.unwrap_or(rest.len()));
        f.write_str(before)?;
        let mut chars = after.chars();
        let Some(c) = chars.next() else {
            return Ok(());
        };
        rest = chars.as_str();
        match c {
            '&' => f.write_str("&amp;")?,
            '<' => f.write_str("&lt;")?,
            '>' => f.write_str("&gt;")?,
            '"' => f.write_str("&quot;")?,
            // A program for another system, or a serial console.
            '\r' if lines && (rest.is_empty() || rest.starts_with('\n')) => {}
            // The pictures of control characters stand in their order.
            '\0'..='\x1f' => f.write_char(char::from_u32(0x2400 + c as u32).unwrap_or(c))?,
            '\x7f' => f.write_char('\u{2421}')?,
            c if shown::is_unseen(c) => write!(f, "⟨U+{:04X}⟩", c as u32)?,
            c => f.write_char(c)?,
        }
    }
}

/// A test's name, with its module dimmed; without room it is broken behind its dots.
pub(super) fn name(test: &str) -> Html {
    let (module, class, method) = parts(test);
    // In front of the class, and the dot behind it.
    let start = match module.is_empty() || class.is_empty() {
        true => 0,
        false => test.len() - class.len() - method.len() - 1,
    };
    let (module, rest) = test.split_at(start);
    let pieces = |text: &str| {
        let pieces = text.split_inclusive('.').enumerate();
        let pieces = pieces.map(|(number, piece)| match number {
            0 => html!("{}", piece),
            _ => html!("<wbr>{}", piece),
        });
        pieces.collect::<Html>()
    };
    let dimmed = (start > 0).then(|| html!("<span class=muted>{}</span><wbr>", pieces(module)));
    html!("<code>{}{}</code>", dimmed, pieces(rest))
}

/// A test's module, class and the rest; what its name has none of is empty.
pub(super) fn parts(test: &str) -> (&str, &str, &str) {
    let (class, method) = class_and_name(test);
    let (module, class) = class.rsplit_once('.').unwrap_or((class, ""));
    (module, class, method)
}

/// Lines as HTML of about `room` bytes at most, which is a few hundred at least.
pub(super) fn lines_within(text: &str, room: usize) -> Html {
    let all = html!("{}", Lines(text));
    let room = room.max(400);
    if all.len() <= room {
        return all;
    }
    // Escaped text is longer, by the same factor all over it as a rule.
    let longest = text.len() as f64 * room as f64 / all.len() as f64;
    html!("{}", Lines(&shortened(text, longest as usize)))
}

/// The address of a file beside the page; `None` if it is elsewhere.
pub(super) fn address(path: &Path) -> Option<String> {
    // Without a folder before it, a name with a colon would be another scheme.
    let mut address = ".".to_owned();
    for component in path.components() {
        let Component::Normal(name) = component else {
            return None;
        };
        address.push('/');
        for byte in name.to_str()?.bytes() {
            match byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte) {
                true => address.push(char::from(byte)),
                false => address += &format!("%{byte:02X}"),
            }
        }
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        html!("{}", text).into_string()
    }

    fn lines(text: &str) -> String {
        html!("{}", Lines(text)).into_string()
    }

    #[test]
    fn nothing_becomes_markup() {
        for (text, escaped) in [
            ("plain.Name.test_x", "plain.Name.test_x"),
            (
                "</pre><script>alert(\"1\")</script>",
                "&lt;/pre&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;",
            ),
            ("a&lt;b", "a&amp;lt;b"),
            ("it's", "it's"),
            ("größer, 漢字, 🐧", "größer, 漢字, 🐧"),
            ("\u{feff}x", "⟨U+FEFF⟩x"),
        ] {
            assert_eq!(self::text(text), escaped);
            assert_eq!(lines(text), escaped);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        let text = "a\0b\x1b[31m\x7f\u{85}\u{202e}txt\u{2066}\u{200b}";
        let shown = "a␀b␛[31m␡⟨U+0085⟩⟨U+202E⟩txt⟨U+2066⟩⟨U+200B⟩";
        assert_eq!(self::text(text), shown);
        assert_eq!(lines(text), shown);
        assert_eq!(self::text("a\tb\r\nc"), "a␉b␍␊c");
        assert_eq!(lines("a\tb\r\nc\rd\r"), "a\tb\nc␍d");
    }

    #[test]
    fn names_are_split_where_their_class_begins() {
        for (test, expected) in [
            ("a.b.TestC.test_d", ("a.b", "TestC", "test_d")),
            ("a.TestC.test_d", ("a", "TestC", "test_d")),
            ("TestC.test_d", ("TestC", "", "test_d")),
            ("test", ("", "", "test")),
            ("", ("", "", "")),
            ("a.b.C.test_d (i='1.5')", ("a.b", "C", "test_d (i='1.5')")),
            ("a.b.C.d [x.y]", ("a.b", "C", "d [x.y]")),
            (".", ("", "", "")),
            ("..", ("", "", "")),
            ("(a.b", ("", "", "(a.b")),
        ] {
            assert_eq!(parts(test), expected, "{test:?}");
            // Whatever the name, it is all there.
            let html = name(test).into_string();
            let text = html
                .replace("<code>", "")
                .replace("</code>", "")
                .replace("<span class=muted>", "")
                .replace("</span>", "")
                .replace("<wbr>", "");
            assert_eq!(text, test);
        }
    }

    #[test]
    fn long_texts_lose_their_middle() {
        assert_eq!(shortened("short", 5), "short");
        let text = "ä".repeat(1000);
        let short = shortened(&text, 101);
        assert!(short.starts_with("ääää") && short.ends_with("ääää"));
        assert!(short.contains("bytes left out"), "{short}");
        assert!(short.len() < 150, "{short}");
        for text in ["<>".repeat(1000), "\0".repeat(5000), "x".repeat(401)] {
            let html = lines_within(&text, 1000).into_string();
            assert!(html.len() < 1100, "{html}");
        }
    }

    #[test]
    fn addresses_stay_beside_the_page() {
        let address = |path: &str| address(path.as_ref());
        assert_eq!(
            address("6.1.192/console.log").as_deref(),
            Some("./6.1.192/console.log")
        );
        assert_eq!(
            address("javascript:alert(1)").as_deref(),
            Some("./javascript%3Aalert%281%29")
        );
        assert_eq!(address("a b/\"><x").as_deref(), Some("./a%20b/%22%3E%3Cx"));
        for elsewhere in ["/etc/passwd", "../x", "//host/x"] {
            assert_eq!(address(elsewhere), None, "{elsewhere}");
        }
    }
}
