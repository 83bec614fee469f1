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
    /// One of them in a form that is not read here, though a server may.
    Refused,
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
        // A handshake in the framing of SSL 2, which OpenSSL's servers still take (RFC 5246, appendix E.2).
        [0x80..=0xff, _, 1, 3, ..] => Spoken::Refused,
        [0x80..=0xff] | [0x80..=0xff, _] | [0x80..=0xff, _, 1] => Spoken::More,
        _ if head.starts_with(PREFACE) => Spoken::Http2,
        _ if PREFACE.starts_with(head) => Spoken::More,
        // Servers pass over empty lines and blanks before a request: what is behind them must be read as one.
        [byte, ..] if byte.is_ascii_graphic() || is_blank(*byte) || *byte == b'\n' => first_line(head),
        _ => Spoken::Other,
    }
}

/// What lenient servers take for the space between a line's words (RFC 9112, section 3).
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r')
}

/// A request's line is a word, a blank, and a path or an address; or names HTTP's version at its end. No other protocol begins so.
fn first_line(head: &[u8]) -> Spoken {
    let begin = head.iter().position(|b| !is_blank(*b) && *b != b'\n').unwrap_or(head.len());
    let rest = head.get(begin..).unwrap_or_default();
    let Some(first) = rest.first() else { return if begin > 64 { Spoken::Http1 } else { Spoken::More } };
    let end = rest.iter().position(|b| *b == b'\n');
    let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    let word = line.iter().position(|b| !b.is_ascii_graphic()).unwrap_or(line.len());
    let (word, after) = line.split_at(word);
    let target = after.iter().position(|b| !is_blank(*b)).map(|at| after.get(at..).unwrap_or_default());
    let is_plain_word = first.is_ascii_alphabetic();
    if is_plain_word
        && after.first().is_some_and(|b| is_blank(*b))
        && let Some(target) = target
    {
        let is_address = target.split(|b| is_blank(*b)).next().unwrap_or_default().windows(3).any(|w| w == b"://");
        // The oldest HTTP has no version.
        let is_oldest = end.is_some() && word == b"GET";
        if matches!(target, [b'/' | b'*', ..]) || is_address || word.eq_ignore_ascii_case(b"CONNECT") || is_oldest {
            return Spoken::Http1;
        }
    }
    // Other protocols are binary, or begin with a line that no server takes for a request's.
    let is_binary = |b: &u8| *b == 0 || (!is_plain_word && b.is_ascii_control() && !is_blank(*b));
    if line.windows(5).any(|w| w.eq_ignore_ascii_case(b"HTTP/")) {
        Spoken::Http1
    } else if end.is_some() || line.iter().any(is_binary) || after.first().is_some_and(|b| !is_blank(*b)) {
        Spoken::Other
    } else if head.len() >= HEAD_BYTES_MAX {
        Spoken::Refused
    } else {
        Spoken::More
    }
}

/// INVARIANT: what begins as a handshake is read as one, or refused: a server may be more lenient than this reader.
fn hello(head: &[u8]) -> Spoken {
    let mut acceptor = Acceptor::default();
    let mut rest = head;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Spoken::Refused;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let name = hello.server_name().map(str::to_ascii_lowercase);
                let offers = hello.alpn().map(|all| all.map(<[u8]>::to_vec).collect()).unwrap_or_default();
                return Spoken::Tls { name, offers };
            }
            Ok(None) => {}
            Err(_) => return Spoken::Refused,
        }
    }
    if head.len() >= HEAD_BYTES_MAX { Spoken::Refused } else { Spoken::More }
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
            (b"\x16\x03\x01\x00\x05abcde", Spoken::Refused),
            (b"0 / HTTP/1.1\r\n", Spoken::Http1),
            (b"0 /", Spoken::More),
            (b"~x / HTTP/1.1\r\n", Spoken::Http1),
            (b"GET x HTTP/1.1\r\n", Spoken::Http1),
            (b"GET x", Spoken::More),
            (b"GET x\r\n", Spoken::Http1),
            (b"GET\x0b/x", Spoken::Http1),
            (b"SSH-2.0-Open", Spoken::More),
            (b"EHLO ", Spoken::More),
            (b"get key\r\n", Spoken::Other),
            (b"*3\r\n$3\r\n", Spoken::Other),
            (b"0033git-upload-pack /project.git\0host=h\0", Spoken::Other),
            (b"0 \x02\x01\x01\x60\x1b\x02\x01\x03\x04\x0bcn=a", Spoken::Other),
            (b"AMQP\0\0\x09\x01", Spoken::Other),
            (b"\x80\x2e\x01\x03\x03\0", Spoken::Refused),
            (b"\xff\xfb\x18\xff", Spoken::Other),
        ] {
            assert_eq!(read(head), is, "{}", head.escape_ascii());
        }
    }

    /// A first word, or a handshake, that has no end within what is looked at.
    #[test]
    fn what_goes_on_beyond_what_is_read_is_refused() {
        let long = |begin: &[u8]| [begin, &vec![b'A'; HEAD_BYTES_MAX]].concat();
        assert_eq!(read(&vec![b'A'; 4096]), Spoken::More);
        assert_eq!(read(long(b"A").get(..HEAD_BYTES_MAX).unwrap_or_default()), Spoken::Refused);
        let method = [&vec![b'A'; 300], b" x HTTP/1.1\r\n".as_slice()].concat();
        assert_eq!(read(&method), Spoken::Http1);
        // A record of a handshake whose message is 20,000 bytes long.
        let hello = long(&[0x16, 3, 1, 0x40, 0, 1, 0, 0x4e, 0x20]);
        assert_eq!(read(hello.get(..HEAD_BYTES_MAX).unwrap_or_default()), Spoken::Refused);
    }

    /// A name of a host that this reader finds none in, and a server might.
    #[test]
    fn a_handshake_for_a_name_that_is_none_is_refused() {
        let mut name = Vec::new();
        for byte in [0, 0, 0, 8, 0, 6, 0, 0, 3] {
            name.push(byte);
        }
        name.extend_from_slice(b"a!b");
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
        body.extend_from_slice(&(name.len() as u16).to_be_bytes());
        body.extend_from_slice(&name);
        let mut message = vec![1, 0];
        message.extend_from_slice(&(body.len() as u16).to_be_bytes());
        message.extend_from_slice(&body);
        let mut record = vec![0x16, 3, 1];
        record.extend_from_slice(&(message.len() as u16).to_be_bytes());
        record.extend_from_slice(&message);
        assert_eq!(read(&record), Spoken::Refused);
    }
}
