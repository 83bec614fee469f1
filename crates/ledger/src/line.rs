//! A stored entry read without decoding its body: who reads a million of them wants one member of most.
//!
//! INVARIANT: reads only the one encoding that [`crate::entry`] writes; anything else is `None`, for the full reader to judge.

use crate::{Kind, time};

/// An entry's members, its causes and body as they are stored.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its number.
    pub seq: u64,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// What it records.
    pub kind: Kind,
    /// Who, as JSON without its quotes.
    pub actor: &'a [u8],
    causes: &'a [u8],
    /// The body as JSON. Of an entry that relies on stored content, what it relies on follows, and this is no JSON by itself.
    pub body: &'a [u8],
}

impl<'a> Line<'a> {
    /// The members of an entry's stored bytes.
    #[must_use]
    pub fn of(raw: &'a [u8]) -> Option<Self> {
        let rest = raw.strip_prefix(b"{\"stream\":\"")?;
        let (_, rest) = text(rest)?;
        let rest = rest.strip_prefix(b",\"seq\":")?;
        let end = rest.iter().position(|b| *b == b',')?;
        let seq = number(rest.get(..end)?)?;
        let rest = rest.get(end..)?.strip_prefix(b",\"at\":\"")?;
        let (at, rest) = text(rest)?;
        let (kind, rest) = text(rest.strip_prefix(b",\"kind\":\"")?)?;
        let (actor, rest) = text(rest.strip_prefix(b",\"actor\":\"")?)?;
        let rest = rest.strip_prefix(b",\"cause\":[")?;
        let end = rest.iter().position(|b| *b == b']')?;
        let causes = rest.get(..end)?;
        let body = rest.get(end..)?.strip_prefix(b"],\"body\":")?.strip_suffix(b"}")?;
        let at_ns = time::parse_ns(std::str::from_utf8(at).ok()?)?;
        let kind = Kind::parse(std::str::from_utf8(kind).ok()?)?;
        Some(Self { seq, at_ns, kind, actor, causes, body })
    }

    /// The entries that led to it; nothing where one of them is no number.
    pub fn causes(&self) -> impl Iterator<Item = Option<u64>> + 'a {
        let causes = self.causes;
        causes.split(|b| *b == b',').filter(move |_| !causes.is_empty()).map(number)
    }
}

/// A JSON string up to its closing quote, and what follows.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some((bytes.get(..at)?, bytes.get(at + 1..)?)),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| {
        b.is_ascii_digit().then_some(())?;
        n.checked_mul(10)?.checked_add(u64::from(b - b'0'))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::entry::encode;
    use crate::{Draft, Entry, References};
    use serde_json::json;

    #[test]
    fn reads_what_the_full_reader_reads_of_any_entry() {
        for (actor, cause) in [("a", vec![]), ("x\"],\"body\":{}}\\", vec![1]), ("\u{1}é", vec![1, 2, 30])] {
            let body = json!({"of": 3, "text": "\"],\"body\":"});
            let draft =
                Draft { at_ns: 1_795_230_000_000_000_001, kind: Kind::Outcome, actor: actor.into(), cause, body };
            let raw = encode(&draft.head("s-1", 42), &draft.body, &References::default()).unwrap();
            let (line, entry) =
                (Line::of(&raw).unwrap(), Entry::decode(raw.clone(), 0, crate::Digest([0; 32])).unwrap());
            assert_eq!((line.seq, line.at_ns, line.kind), (entry.seq, entry.at_ns, entry.kind));
            assert_eq!(line.causes().map(Option::unwrap).collect::<Vec<_>>(), entry.cause);
            assert_eq!(serde_json::from_slice::<serde_json::Value>(line.body).unwrap(), entry.body);
            for cut in 0..raw.len() {
                let _ = Line::of(raw.get(..cut).unwrap());
            }
        }
        assert!(Line::of(b"").is_none() && Line::of(b"{\"seq\":1}").is_none());
    }
}
