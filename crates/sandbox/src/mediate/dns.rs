//! Names inside (SANDBOX.md, layer 6): each gets an address of its own from 198.18.0.0/15, so that name and address stay
//! bound until the broker dials. Nothing is asked outside before that: no query leaves, so none can carry data out.
//!
//! Messages as of RFC 1035, section 4; no compression is written but the one pointer to the question.

use std::collections::HashMap;
use std::net::Ipv4Addr;

/// Names that one session may use; further ones answer SERVFAIL.
const NAMES_MAX: usize = 65_536;
/// The first address that is given to a name: 198.18.1.0. The broker's own name server is below.
const FIRST: u32 = 0xc612_0100;
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
const HEADER_BYTES: usize = 12;
const TTL_S: u32 = 5;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;

/// Names and their addresses, one to one.
#[derive(Default)]
pub(super) struct Names {
    addresses: HashMap<String, Ipv4Addr>,
    names: Vec<String>,
}

impl Names {
    /// The address that stands for a name; `None` when there are too many.
    pub(super) fn address_of(&mut self, name: &str) -> Option<Ipv4Addr> {
        if let Some(address) = self.addresses.get(name) {
            return Some(*address);
        }
        if self.names.len() >= NAMES_MAX {
            return None;
        }
        let address = Ipv4Addr::from(FIRST + self.names.len() as u32);
        self.names.push(name.to_owned());
        self.addresses.insert(name.to_owned(), address);
        Some(address)
    }

    /// The name that an address stands for.
    pub(super) fn name_of(&self, address: Ipv4Addr) -> Option<&str> {
        let index = u32::from(address).checked_sub(FIRST)?;
        self.names.get(index as usize).map(String::as_str)
    }
}

/// Whether an address is one that only names have.
pub(super) fn is_synthetic(address: Ipv4Addr) -> bool {
    u32::from(address) & 0xfffe_0000 == 0xc612_0000
}

/// The answer to one query; `None` for what is no query and gets none.
pub(super) fn answer(query: &[u8], names: &mut Names) -> Option<Vec<u8>> {
    let header = query.get(..HEADER_BYTES)?;
    let [id_high, id_low, flags, _, questions_high, questions_low, ..] = *header else { return None };
    if flags & 0x80 != 0 {
        return None; // a response: answering those would make two servers talk forever
    }
    let respond = |code: u8, question: &[u8], address: Option<Ipv4Addr>| {
        let counts = [0, u8::from(!question.is_empty()), 0, u8::from(address.is_some()), 0, 0, 0, 0];
        let mut out = vec![id_high, id_low, 0x80 | (flags & 0x79), 0x80 | code];
        out.extend(counts);
        out.extend(question);
        if let Some(address) = address {
            out.extend([0xc0, HEADER_BYTES as u8]);
            out.extend(TYPE_A.to_be_bytes());
            out.extend(CLASS_IN.to_be_bytes());
            out.extend(TTL_S.to_be_bytes());
            out.extend([0, 4]);
            out.extend(address.octets());
        }
        Some(out)
    };
    if flags & 0x78 != 0 {
        return respond(NOT_IMPLEMENTED, &[], None);
    }
    if [questions_high, questions_low] != [0, 1] {
        return respond(FORMAT_ERROR, &[], None);
    }
    let Some((name, length)) = parse_name(query.get(HEADER_BYTES..)?) else { return respond(FORMAT_ERROR, &[], None) };
    let end = HEADER_BYTES + length + 4;
    let (Some(question), Some(&[a, b, c, d])) = (query.get(HEADER_BYTES..end), query.get(end - 4..end)) else {
        return respond(FORMAT_ERROR, &[], None);
    };
    let (kind, class) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if class != CLASS_IN {
        return respond(NOT_IMPLEMENTED, question, None);
    }
    let is_host = name.split('.').all(|label| {
        label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
    });
    if name.is_empty() || !is_host || name.ends_with(".arpa") {
        return respond(NO_SUCH_NAME, question, None);
    }
    if kind != TYPE_A {
        return respond(0, question, None); // the name is there, a record of that type is not
    }
    let is_local = name == "localhost" || name.ends_with(".localhost");
    let address = if is_local { Some(Ipv4Addr::LOCALHOST) } else { names.address_of(&name) };
    match address {
        Some(address) => respond(0, question, Some(address)),
        None => respond(SERVER_FAILURE, question, None),
    }
}

/// A name without compression, lower-cased, and its length in bytes.
fn parse_name(bytes: &[u8]) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        if length > LABEL_BYTES_MAX {
            return None;
        }
        let label = bytes.get(at..at + length)?;
        at += length;
        if !name.is_empty() {
            name.push('.');
        }
        for byte in label {
            // What is no host name stays distinct from every one.
            name.push(if byte.is_ascii() && *byte != b'.' {
                char::from(byte.to_ascii_lowercase())
            } else {
                '\u{fffd}'
            });
        }
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut out = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            out.push(label.len() as u8);
            out.extend(label.bytes());
        }
        out.push(0);
        out.extend(kind.to_be_bytes());
        out.extend(CLASS_IN.to_be_bytes());
        out
    }

    #[track_caller]
    fn check(names: &mut Names, name: &str, kind: u16, code: u8, address: Option<[u8; 4]>) {
        let got = answer(&query(name, kind), names).unwrap();
        assert_eq!(&got[..2], &[0xab, 0xcd]);
        assert_eq!(got[3] & 0xf, code, "{name}");
        assert_eq!(got[7], u8::from(address.is_some()), "{name}");
        if let Some(address) = address {
            assert_eq!(&got[got.len() - 4..], &address, "{name}");
        }
    }

    #[test]
    fn names_are_answered() {
        let mut names = Names::default();
        check(&mut names, "crates.io", 1, 0, Some([198, 18, 1, 0]));
        check(&mut names, "github.com", 1, 0, Some([198, 18, 1, 1]));
        check(&mut names, "CRATES.io", 1, 0, Some([198, 18, 1, 0]));
        check(&mut names, "crates.io", 28, 0, None);
        check(&mut names, "localhost", 1, 0, Some([127, 0, 0, 1]));
        check(&mut names, "0.1.18.198.in-addr.arpa", 12, NO_SUCH_NAME, None);
        check(&mut names, "a b", 1, NO_SUCH_NAME, None);
        assert_eq!(names.name_of(Ipv4Addr::new(198, 18, 1, 1)), Some("github.com"));
        assert_eq!(names.name_of(Ipv4Addr::new(198, 18, 0, 1)), None);
        assert!(is_synthetic(Ipv4Addr::new(198, 19, 255, 255)) && !is_synthetic(Ipv4Addr::new(198, 20, 0, 0)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = answer(&bytes, &mut Names::default());
        }
    }
}
