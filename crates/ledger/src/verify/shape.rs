//! What each entry must be by itself and within its stream.

use super::{Found, Place, content::Relied};
use crate::{Kind, References, time};
use rusqlite::Connection;
use serde::Deserialize;
use std::{borrow::Cow, collections::HashMap};

/// An entry as far as its stream's order goes; the body is only parsed over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    seq: u64,
    #[serde(borrow)]
    at: Cow<'a, str>,
    kind: Kind,
    #[serde(borrow, rename = "actor")]
    _actor: Cow<'a, str>,
    cause: Vec<u64>,
    #[serde(rename = "body")]
    _body: serde::de::IgnoredAny,
    #[serde(default)]
    refs: References,
}

/// All streams, as recorded beside the entries and as the entries show them.
pub(crate) struct Streams {
    known: HashMap<i64, Seen>,
}

#[derive(Default)]
struct Seen {
    name: String,
    recorded: (u64, Option<u64>, Option<u64>),
    last_seq: u64,
    last_at_ns: u64,
    opened: Option<u64>,
    closed: Option<u64>,
}

impl Streams {
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut statement = db.prepare("SELECT id, name, last_seq, opened_seq, closed_seq FROM streams")?;
        let number = |n: i64| n.unsigned_abs();
        let rows = statement.query_map([], |row| {
            let (opened, closed): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
            let recorded = (number(row.get(2)?), opened.map(number), closed.map(number));
            Ok((row.get(0)?, Seen { name: row.get(1)?, recorded, ..Seen::default() }))
        })?;
        Ok(Self { known: rows.collect::<Result<_, _>>()? })
    }

    /// One stream of which only its entries tell.
    pub(crate) fn of_one(name: &str) -> Self {
        let seen = Seen { name: name.to_owned(), ..Seen::default() };
        Self { known: HashMap::from([(0, seen)]) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.known.values().any(|seen| seen.name == name)
    }

    pub(super) fn place(&self, number: i64, seq: u64, leaf: u64) -> Place<'_> {
        match self.known.get(&number) {
            Some(seen) => Place::Entry(&seen.name, seq, Some(leaf)),
            None => Place::Leaf(leaf),
        }
    }

    /// Checks one entry; returns whether it is of the streams that were asked for.
    pub(crate) fn check(
        &mut self,
        number: i64,
        seq: u64,
        leaf: u64,
        data: &[u8],
        found: &mut Found,
        relied: &mut Relied,
    ) -> bool {
        let Some(seen) = self.known.get_mut(&number) else {
            found.add("FB0342", Place::Leaf(leaf), format!("its stream, number {number}, is not known"));
            return found.only.is_none();
        };
        let is_asked_for = found.only.as_ref().is_none_or(|only| *only == seen.name);
        if is_asked_for {
            seen.check(seq, leaf, data, found, relied);
        }
        is_asked_for
    }

    /// Holds what is recorded beside each stream against its entries.
    pub(super) fn finish(self, found: &mut Found) {
        let mut all: Vec<_> = self.known.into_values().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        for seen in &all {
            let (last, opened, closed) = seen.recorded;
            if last > seen.last_seq {
                for seq in (seen.last_seq + 1..=last).take(100) {
                    let message = format!("entry {seq}, of {last}, is missing from the end of the stream");
                    found.add("FB0331", Place::Entry(&seen.name, seq, None), message);
                }
            } else if last < seen.last_seq {
                let message = format!("the stream is recorded to end at {last}, and goes on to {}", seen.last_seq);
                found.add("FB0342", Place::Entry(&seen.name, seen.last_seq, None), message);
            } else if (opened, closed) != (seen.opened, seen.closed) {
                let message = "where it opened and closed is recorded otherwise than its entries show".to_owned();
                found.add("FB0342", Place::Entry(&seen.name, seen.last_seq, None), message);
            }
        }
    }
}

impl Seen {
    fn check(&mut self, seq: u64, leaf: u64, data: &[u8], found: &mut Found, relied: &mut Relied) {
        let name = std::mem::take(&mut self.name);
        self.check_named(&name, seq, leaf, data, found, relied);
        self.name = name;
    }

    fn check_named(&mut self, name: &str, seq: u64, leaf: u64, data: &[u8], found: &mut Found, relied: &mut Relied) {
        let place = Place::Entry(name, seq, Some(leaf));
        if seq <= self.last_seq {
            let message = format!("number {seq} comes after {}: the stream was forked or reordered", self.last_seq);
            found.add("FB0332", place, message);
        }
        for missing in (self.last_seq + 1..seq).take(100) {
            let message = format!("entry {missing} is missing: {seq} follows {}", self.last_seq);
            found.add("FB0332", Place::Entry(name, missing, None), message);
        }
        self.last_seq = self.last_seq.max(seq);

        let shape: Shape<'_> = match serde_json::from_slice(data) {
            Ok(shape) => shape,
            Err(error) => return found.add("FB0333", place, format!("it is not an entry: {error}")),
        };
        if shape.stream != name || shape.seq != seq {
            let message = format!("it says that it is entry {} of `{}`", shape.seq, shape.stream);
            found.add("FB0333", place, message);
        }
        match time::parse_ns(&shape.at) {
            None => found.add("FB0333", place, format!("its time `{}` is malformed", shape.at)),
            Some(at_ns) if at_ns < self.last_at_ns => {
                let message = format!("it is of {}, before {}", shape.at, time::format_ns(self.last_at_ns));
                found.add("FB0335", place, message);
            }
            Some(at_ns) => self.last_at_ns = at_ns,
        }
        for cause in shape.cause.iter().filter(|cause| **cause == 0 || **cause >= seq) {
            found.add("FB0334", place, format!("it names {cause} as its cause"));
        }
        relied.note(name, seq, &shape.refs);
        match shape.kind {
            Kind::Open => (self.opened, self.closed) = (self.opened.or(Some(seq)), None),
            Kind::Close => self.closed = Some(seq),
            Kind::Intervention => relied.erased.note(data),
            _ => {}
        }
    }
}
