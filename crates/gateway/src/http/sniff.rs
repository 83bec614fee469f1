//! What a client's first bytes say it speaks.

use rustls::server::Acceptor;

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// Too little to tell.
    More,
    /// A TLS handshake, with the name it asks for and the protocols it offers.
    Tls { name: Option<String>, offers: Vec<Vec<u8>> },
    /// HTTP/1, or something that a lenient server might take for it.
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// Neither.
    Other,
}

/// A handshake's first message fits in here, with room for keys that post-quantum groups bring.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

const PREFACE: &[u8] = b"PRI * HTTP/2.0";

pub(super) fn read(head: &[u8]) -> Spoken {
    match head {
        [] => Spoken::More,
        [0x16, 3, ..] => hello(head),
        [0x16] => Spoken::More,
        _ if head.starts_with(PREFACE) => Spoken::Http2,
        _ if PREFACE.starts_with(head) => Spoken::More,
        // Servers pass over empty lines and blanks before a request: what is behind them must be read as one.
        [byte, ..] if byte.is_ascii_alphabetic() || byte.is_ascii_whitespace() => first_line(head),
        _ => Spoken::Other,
    }
}

/// A word, a blank, and a path or an address: no other protocol begins so.
fn first_line(head: &[u8]) -> Spoken {
    let blank = head.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(head.len());
    let line = head.get(blank..).unwrap_or_default();
    if line.is_empty() {
        return if blank > 64 { Spoken::Http1 } else { Spoken::More };
    }
    let word = line.iter().position(|b| !b.is_ascii_graphic()).unwrap_or(line.len());
    match line.get(word..).unwrap_or_default() {
        [] if word <= 32 => Spoken::More,
        [b' ' | b'\t', b'/' | b'*', ..] => Spoken::Http1,
        [b' ' | b'\t', rest @ ..] => {
            let end = rest.iter().position(|b| b.is_ascii_whitespace());
            let target = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            match (end, target.windows(3).any(|w| w == b"://") || line.starts_with(b"CONNECT")) {
                (_, true) => Spoken::Http1,
                (None, false) if rest.len() < 64 => Spoken::More,
                _ => Spoken::Other,
            }
        }
        _ => Spoken::Other,
    }
}

fn hello(head: &[u8]) -> Spoken {
    let mut acceptor = Acceptor::default();
    let mut rest = head;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Spoken::Other;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let name = hello.server_name().map(str::to_ascii_lowercase);
                let offers = hello.alpn().map(|all| all.map(<[u8]>::to_vec).collect()).unwrap_or_default();
                return Spoken::Tls { name, offers };
            }
            Ok(None) => {}
            Err(_) => return Spoken::Other,
        }
    }
    if head.len() >= HEAD_BYTES_MAX { Spoken::Other } else { Spoken::More }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_might_be_http_is_read_as_http() {
        for (head, is) in [
            (&b""[..], Spoken::More),
            (b"G", Spoken::More),
            (b"GET /", Spoken::Http1),
            (b"\r\n\r\nGET /", Spoken::Http1),
            (b" POST /x HTTP/1.1\r\n", Spoken::Http1),
            (b"get http://a/ HTTP/1.0", Spoken::Http1),
            (b"CONNECT a:443 HTTP/1.1\r\n", Spoken::Http1),
            (b"BREW /pot", Spoken::Http1),
            (b"OPTIONS * HTTP/1.1", Spoken::Http1),
            (b"PRI * HTT", Spoken::More),
            (b"PRI * HTTP/2.0\r\n\r\nSM", Spoken::Http2),
            (b"SSH-2.0-OpenSSH_9\r\n", Spoken::Other),
            (b"EHLO me.example\r\n", Spoken::Other),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Spoken::Other),
            (b"\x16", Spoken::More),
            (b"\x16\x03\x01\x00\x05abcde", Spoken::Other),
        ] {
            assert_eq!(read(head), is, "{}", head.escape_ascii());
        }
    }
}
