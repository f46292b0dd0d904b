//! Addresses, as far as a client must understand them; read as the library reads them.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::Uri;

/// The host of an address, without port and user; what is no address as it is.
pub fn host(url: &str) -> String {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host);
    host.unwrap_or(url).to_owned()
}

/// Whether what listens there listens on this host only; a proxy cannot reach it.
pub fn is_loopback(url: &str) -> bool {
    let host = host(url);
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Whether nobody on the way can read what is sent there.
pub fn is_private(url: &str) -> bool {
    is_loopback(url) || origin(url).is_some_and(|(scheme, ..)| scheme == "https")
}

/// Scheme, host and port, as far as they say who answers (RFC 6454); `None` if
/// it is no HTTP address.
pub fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri = url.parse::<Uri>().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let default = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let port = uri.port_u16().unwrap_or(default);
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

/// The address that `location` means, seen from `base` (RFC 3986, section 5.2,
/// without `.` and `..`, which no server needs to send); `None` if it is not HTTP.
pub fn join(base: &str, location: &str) -> Option<String> {
    let location = location.split('#').next()?;
    let base = base.parse::<Uri>().ok()?;
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let joined = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.contains("://") {
        location.to_owned()
    } else {
        let (folder, _) = base.path().rsplit_once('/')?;
        format!("{scheme}://{authority}{folder}/{location}")
    };
    origin(&joined).map(|_| joined)
}

/// What needs no encoding in any part of an address (RFC 3986, section 2.3).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text as a part of an address.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, &UNRESERVED).to_string()
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
