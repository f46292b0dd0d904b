//! Addresses, as far as a client must understand them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The host of an address, without port and user.
pub fn host(url: &str) -> &str {
    let host = authority(url).rsplit('@').next().unwrap_or("");
    match host.rfind(':') {
        // A colon within brackets belongs to the address.
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// User, host and port.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    // A client must not see another host than the library: `\` is no separator to it.
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    &rest[..end]
}

/// Whether what listens there listens on this host only; a proxy cannot reach it.
pub fn is_loopback(url: &str) -> bool {
    let host = host(url);
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|a| a.is_loopback()),
        None => {
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<Ipv4Addr>().is_ok_and(|a| a.is_loopback())
        }
    }
}

/// Whether nobody on the way can read what is sent there.
pub fn is_private(url: &str) -> bool {
    is_loopback(url) || scheme(url).is_some_and(|scheme| scheme == "https")
}

fn scheme(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once("://")?;
    Some(scheme.to_ascii_lowercase())
}

/// Scheme, host and port, as far as they say who answers (RFC 6454); `None` if
/// it is no HTTP address.
pub fn origin(url: &str) -> Option<(String, String, String)> {
    let scheme = scheme(url)?;
    let default = match scheme.as_str() {
        "http" => "80",
        "https" => "443",
        _ => return None,
    };
    let name = host(url);
    let authority = authority(url);
    let after_user = authority.rsplit('@').next().unwrap_or("");
    let port = match after_user[name.len()..].strip_prefix(':') {
        None | Some("") => default,
        Some(port) => port,
    };
    Some((scheme, name.to_ascii_lowercase(), port.to_owned()))
}

/// The address that `location` means, seen from `base` (RFC 3986, section 5.2,
/// without `.` and `..`, which no server needs to send); `None` if it is not HTTP.
pub fn join(base: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, rest) = base.split_once("://")?;
    let path = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let joined = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{}{location}", &rest[..path])
    } else {
        let plain = rest[path..].split(['?', '#']).next().unwrap_or_default();
        let folder = plain.rfind('/').map_or("/", |slash| &plain[..=slash]);
        format!("{scheme}://{}{folder}{location}", &rest[..path])
    };
    origin(&joined).map(|_| joined)
}

/// A text as a part of an address: all but letters, digits and `-._~` as the
/// percent-encoded bytes of UTF-8 (RFC 3986, section 2.1).
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            use std::fmt::Write;
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_addresses() {
        for (url, expected) in [
            ("https://cdn.kernel.org/pub/linux", "cdn.kernel.org"),
            ("http://127.0.0.1:8080/x", "127.0.0.1"),
            ("http://user:word@example.org:80?x", "example.org"),
            ("http://[::1]:80/", "[::1]"),
            ("http://[::1]/", "[::1]"),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }

    #[test]
    fn loopback_is_an_address_and_not_a_name_like_one() {
        assert!(is_loopback("http://localhost/"));
        assert!(is_loopback("http://127.0.0.2:80/"));
        assert!(is_loopback("http://[::1]:1/"));
        assert!(!is_loopback("http://127.example.org@example.org/"));
        assert!(!is_loopback("http://127.example.org/"));
        assert!(!is_loopback("http://localhost.example.org/"));
        assert!(is_private("https://example.org/"));
        assert!(is_private("http://127.0.0.1:1/"));
        assert!(!is_private("http://example.org/"));
    }

    #[test]
    fn origins_are_compared_with_their_ports() {
        let same = |a, b| origin(a) == origin(b);
        assert!(same("https://a.org/x", "HTTPS://A.org:443/y?z"));
        assert!(same("http://u@a.org/x", "http://a.org:80"));
        assert!(!same("https://a.org/", "http://a.org/"));
        assert!(!same("http://127.0.0.1:1/", "http://127.0.0.1:2/"));
        assert!(!same("https://a.org/", "https://a.org.evil.org/"));
        assert!(!same("https://a.org/", "https://a.org@evil.org/"));
        assert_eq!(origin("ftp://a.org/"), None);
        assert_eq!(origin("/path"), None);
    }

    #[test]
    fn locations_are_seen_from_where_they_were_sent() {
        for (base, location, expected) in [
            ("https://a/b/c?d", "https://e/f#g", Some("https://e/f")),
            ("https://a/b/c?d", "//e/f", Some("https://e/f")),
            ("https://a/b/c?d", "/f?g", Some("https://a/f?g")),
            ("https://a/b/c?d=/e", "f", Some("https://a/b/f")),
            ("https://a", "f", Some("https://a/f")),
            ("https://a/b", "file:///etc/passwd", None),
        ] {
            assert_eq!(join(base, location).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn what_means_something_in_an_address_is_encoded() {
        assert_eq!(encode("kernel-6.1_~a"), "kernel-6.1_~a");
        assert_eq!(encode("a b+c&d=e/ü%"), "a%20b%2Bc%26d%3De%2F%C3%BC%25");
    }
}
