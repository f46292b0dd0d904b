//! Text of a guest as HTML. A test chooses its names and what it prints, so none of it
//! may become markup, change what is beside it, or hide.

use crate::base::shown;
use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write as _};

/// Text in one line, in an element or in an attribute that is put in double quotes:
/// ends of lines are shown as well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'t>(pub &'t str);

/// Text whose lines stay lines, in an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines<'t>(pub &'t str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        escape(f, self.0, false)
    }
}

impl Display for Lines<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        escape(f, self.0, true)
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

/// A dotted name of a test: the module is dimmed, so that what differs is seen first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'t>(pub &'t str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (module, class, method) = parts(self.0);
        let mut start = self.0.len() - class.len() - method.len();
        if module.is_empty() || class.is_empty() {
            start = 0;
        } else {
            // The dot between the class and the method.
            start -= 1;
        }
        let (module, rest) = self.0.split_at(start);
        // Where there is no room for it, it is broken behind its dots.
        let pieces = |f: &mut Formatter<'_>, text: &str| {
            for (number, piece) in text.split_inclusive('.').enumerate() {
                let before = if number > 0 { "<wbr>" } else { "" };
                write!(f, "{before}{}", Text(piece))?;
            }
            Ok(())
        };
        f.write_str("<code>")?;
        if !module.is_empty() {
            f.write_str("<span class=muted>")?;
            pieces(f, module)?;
            f.write_str("</span><wbr>")?;
        }
        pieces(f, rest)?;
        f.write_str("</code>")
    }
}

/// Splits a test's name into its module, its class and the rest; what it has none of is
/// empty. A subtest's parameters, which are after a blank, may have dots themselves.
pub(super) fn parts(test: &str) -> (&str, &str, &str) {
    let end = test.find([' ', '(', '[']).unwrap_or(test.len());
    let Some(method) = test[..end].rfind('.') else {
        return ("", "", test);
    };
    match test[..method].rfind('.') {
        Some(class) => (
            &test[..class],
            &test[class + 1..method],
            &test[method + 1..],
        ),
        None => (&test[..method], "", &test[method + 1..]),
    }
}

/// The middle of a text that is longer than `longest` bytes left out: a traceback has
/// its cause at its end, and where it came from at its start.
pub(super) fn shortened(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let start = text.floor_char_boundary(longest / 4);
    let end = text.ceil_char_boundary(text.len() - longest * 3 / 4);
    let (before, left_out, after) = (&text[..start], end - start, &text[end..]);
    Cow::Owned(if text.contains('\n') {
        format!("{before}\n[{left_out} bytes left out]\n{after}")
    } else {
        format!("{before} [{left_out} bytes left out] {after}")
    })
}

/// Text as HTML of about `room` bytes at most, which is a few hundred at least.
pub(super) fn lines_within(text: &str, room: usize) -> String {
    let all = Lines(text).to_string();
    let room = room.max(400);
    if all.len() <= room {
        return all;
    }
    // Escaped text is longer, by the same factor all over it as a rule.
    let longest = text.len() as f64 * room as f64 / all.len() as f64;
    Lines(&shortened(text, longest as usize)).to_string()
}

/// The address of a file beside the page; `None` if it is elsewhere.
pub(super) fn address(path: &std::path::Path) -> Option<String> {
    use std::path::Component;
    // Without a folder before it, a name with a colon would be another scheme.
    let mut address = ".".to_owned();
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name.to_str()?,
            Component::CurDir => continue,
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        };
        address.push('/');
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte) {
                address.push(char::from(byte));
            } else {
                let _ = write!(address, "%{byte:02X}");
            }
        }
    }
    Some(address)
}

/// Bytes in base 64 (RFC 4648, section 4), as a content security policy has digests.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut bits = 0_u32;
        for index in 0..3 {
            bits = bits << 8 | u32::from(group.get(index).copied().unwrap_or(0));
        }
        for digit in 0..4 {
            text.push(if digit <= group.len() {
                char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(Text(text).to_string(), escaped);
            assert_eq!(Lines(text).to_string(), escaped);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        let text = "a\0b\x1b[31m\x7f\u{85}\u{202e}txt\u{2066}\u{200b}";
        let shown = "a␀b␛[31m␡⟨U+0085⟩⟨U+202E⟩txt⟨U+2066⟩⟨U+200B⟩";
        assert_eq!(Text(text).to_string(), shown);
        assert_eq!(Lines(text).to_string(), shown);
        assert_eq!(Text("a\tb\r\nc").to_string(), "a␉b␍␊c");
        assert_eq!(Lines("a\tb\r\nc\rd\r").to_string(), "a\tb\nc␍d");
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
            let html = Name(test).to_string();
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
            let html = lines_within(&text, 1000);
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

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }
}
