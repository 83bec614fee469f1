//! Addresses that every reader of addresses finds the same host in.
//!
//! Where nothing beneath decides again, the host that a rule sees must be the one that is called. Readers differ in what they make
//! of a backslash, a user before the host, blanks within, letters beyond ASCII, and numbers that are no dotted quad.

use core::net::{Ipv4Addr, Ipv6Addr};

/// What an error says that an address has to be.
pub(crate) const WANTED: &str = "a plain `http://HOST/…` or `https://HOST/…` address";

/// Whether the text is an `http` or `https` address without anything that is read in different ways.
pub(crate) fn is_plain(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let is_web = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    if !is_web || !rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(six) => match six.split_once(']') {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => (host, port),
            _ => return false,
        },
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            if !is_name(host) {
                return false;
            }
            (host, port)
        }
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    is_port && !host.is_empty()
}

/// A name, or an IPv4 address written in the one way that all read alike.
fn is_name(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_hex = last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    let is_number = is_hex || !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !last.is_empty() && host.bytes().all(is_known) && (!is_number || host.parse::<Ipv4Addr>().is_ok())
}

/// Whether a word would be taken for an address by some reader: one that starts with `http:` needs no `//` for many.
pub(crate) fn is_meant(word: &str) -> bool {
    let starts = |scheme: &str| {
        word.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)) && word.len() > scheme.len()
    };
    word.contains("://") || starts("http:") || starts("https:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_all_read_alike_is_plain() {
        for plain in
            ["http://a.example", "HTTPS://A.example:8080/x?y#z", "http://127.0.0.1/", "http://[::1]:80/", "http://h_x/"]
        {
            assert!(is_plain(plain), "{plain}");
        }
        for odd in [
            "",
            "a.example",
            "http:a.example/x",
            "http:/a.example",
            "http:///a.example",
            "http://",
            "http://:80/",
            "ftp://a.example/",
            "http://ok.example\\@evil.example/",
            "http://ok.example@evil.example/",
            "http://ev\u{ed}l.example/",
            "http://a b/",
            "http://a\tb/",
            " http://a/",
            "http://a/\n",
            "http://%65vil.example/",
            "http://2130706433/",
            "http://127.1/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://a:99999/",
            "http://[::1/",
            "http://[x]/",
            "http://a{b,c}/",
            "http://./",
        ] {
            assert!(!is_plain(odd), "{odd}");
        }
    }
}
