//! Reading what is recorded.

use crate::{Digest, Entry, Kind, Ledger, LedgerError, writer::to_sql};
use rusqlite::{OptionalExtension as _, Row};
use serde_json::Value;
use std::{
    collections::VecDeque,
    ops::{Bound, Range, RangeBounds},
};

const PAGE_ENTRIES: usize = 256;
const PAGE_BYTES: usize = 4 << 20;

/// A stream, as far as it is committed.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamInfo {
    /// Its id.
    pub id: String,
    /// The session's name: `name` in the body of its `open` entry.
    pub name: Option<String>,
    /// The number of its first entry: 1.
    pub first_seq: u64,
    /// The number of its last entry.
    pub last_seq: u64,
    /// When its first entry was made.
    pub first_at_ns: u64,
    /// When its last entry was made.
    pub last_at_ns: u64,
    /// When its session was opened.
    pub opened_at_ns: Option<u64>,
    /// When its session was closed; `None` while it is open.
    pub closed_at_ns: Option<u64>,
    /// Whether a living process appends to it.
    pub is_owned: bool,
}

/// As much of a stream as can be told without reading an entry of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// Its id.
    pub id: String,
    /// The number of its last entry.
    pub last_seq: u64,
    /// The number of its session's opening, if it has one.
    pub opened_seq: Option<u64>,
    /// The number of its session's close; `None` while it is open.
    pub closed_seq: Option<u64>,
}

/// Which entries of a stream to give; the default gives all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these kinds; empty for all.
    pub kinds: Vec<Kind>,
    /// Only this actor's.
    pub actor: Option<String>,
    /// Only those of this time or later.
    pub since_ns: Option<u64>,
    /// Only those that name this entry among their causes.
    pub caused_by: Option<u64>,
}

/// How far into an entry's bytes its kind and causes are looked for. Only a very long actor's name pushes them further.
const PEEK_BYTES: usize = 1024;

impl Filter {
    /// Whether an entry can pass, as far as its undecoded bytes tell: decoding is what reading costs.
    ///
    /// INVARIANT: `false` only for entries that [`Self::passes`] would not let through. The one encoding writes
    /// `"kind":"…"` before, and `"cause":[…]` right after, the actor, and nothing that an agent chooses comes before them.
    fn may_pass(&self, raw: &[u8]) -> bool {
        let head = raw.get(..raw.len().min(PEEK_BYTES)).unwrap_or_default();
        let Some(kind) = after(head, b"\"kind\":\"") else { return true };
        if !self.kinds.is_empty() && !self.kinds.iter().any(|k| kind.starts_with(k.as_str().as_bytes())) {
            return false;
        }
        let (Some(cause), Some(rest)) = (self.caused_by, after(kind, b",\"cause\":[")) else { return true };
        let Some(end) = rest.iter().position(|b| *b == b']') else { return true };
        let number = cause.to_string();
        rest.get(..end).unwrap_or_default().split(|b| *b == b',').any(|n| n == number.as_bytes())
    }

    fn passes(&self, entry: &Entry) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && self.actor.as_ref().is_none_or(|actor| *actor == entry.actor)
            && self.since_ns.is_none_or(|since| entry.at_ns >= since)
            && self.caused_by.is_none_or(|cause| entry.cause.contains(&cause))
    }
}

/// What stands after the first place where `wanted` does.
fn after<'a>(bytes: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let at = bytes.windows(wanted.len()).position(|w| w == wanted)?;
    bytes.get(at + wanted.len()..)
}

impl Ledger {
    /// Changes whenever another process has committed something: SQLite's `data_version`. Costs next to nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub fn data_version(&self) -> Result<i64, LedgerError> {
        let db = self.db();
        let version = db.prepare_cached("PRAGMA data_version").and_then(|mut s| s.query_row([], |row| row.get(0)));
        version.map_err(|e| self.fail(e))
    }

    /// All streams, oldest first, without reading their entries.
    ///
    /// # Errors
    /// Those of the store.
    pub fn heads(&self) -> Result<Vec<StreamHead>, LedgerError> {
        let db = self.db();
        let sql = "SELECT name, last_seq, opened_seq, closed_seq FROM streams ORDER BY id";
        let mut statement = db.prepare_cached(sql).map_err(|e| self.fail(e))?;
        let number = |n: i64| u64::try_from(n).unwrap_or(0);
        let rows = statement.query_map([], |row| {
            let (last, opened, closed): (i64, Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let (opened_seq, closed_seq) = (opened.map(number), closed.map(number));
            Ok(StreamHead { id: row.get(0)?, last_seq: number(last), opened_seq, closed_seq })
        });
        rows.and_then(Iterator::collect).map_err(|e| self.fail(e))
    }

    /// All streams, oldest first.
    ///
    /// # Errors
    /// Those of the store; [`LedgerError::Malformed`] for an entry that cannot be read.
    pub fn streams(&self) -> Result<Vec<StreamInfo>, LedgerError> {
        let heads = self.heads()?;
        heads.into_iter().map(|h| self.stream_info(h.id, h.last_seq, h.opened_seq, h.closed_seq)).collect()
    }

    /// The one stream that `prefix` names: by its whole id or name, or as the beginning of just one id.
    ///
    /// # Errors
    /// [`LedgerError::NoStream`], [`LedgerError::Ambiguous`].
    pub fn resolve(&self, prefix: &str) -> Result<String, LedgerError> {
        let streams = self.streams()?;
        if let Some(exact) = streams.iter().find(|s| s.id == prefix) {
            return Ok(exact.id.clone());
        }
        // The latest session of a name is the one that is meant: names are people's, and used again.
        if let Some(named) = streams.iter().rev().find(|s| s.name.as_deref() == Some(prefix)) {
            return Ok(named.id.clone());
        }
        let mut found = streams.into_iter().map(|s| s.id).filter(|id| !prefix.is_empty() && id.starts_with(prefix));
        match (found.next(), found.next()) {
            (None, _) => Err(LedgerError::NoStream(prefix.to_owned())),
            (Some(only), None) => Ok(only),
            (Some(a), Some(b)) => {
                let candidates = [a, b].into_iter().chain(found).take(10).collect();
                Err(LedgerError::Ambiguous { prefix: prefix.to_owned(), candidates })
            }
        }
    }

    /// Entry `seq` of a stream.
    ///
    /// # Errors
    /// [`LedgerError::NoStream`], [`LedgerError::NoEntry`], [`LedgerError::Malformed`].
    pub fn entry(&self, stream: &str, seq: u64) -> Result<Entry, LedgerError> {
        let id = self.stream_number(stream)?.ok_or_else(|| LedgerError::NoStream(stream.to_owned()))?;
        let found = {
            let db = self.db();
            let sql = "SELECT leaf, digest, data FROM entries WHERE stream = ?1 AND seq = ?2";
            let mut statement = db.prepare_cached(sql).map_err(|e| self.fail(e))?;
            statement.query_row((id, to_sql(seq)), row).optional().map_err(|e| self.fail(e))?
        };
        let (index, digest, data) = found.ok_or_else(|| LedgerError::NoEntry { stream: stream.to_owned(), seq })?;
        Entry::decode(data, index, digest)
    }

    /// The committed entries of a stream whose numbers are in `range`, in order, as far as they pass `filter`. What is
    /// appended while this goes on is given too.
    ///
    /// # Errors
    /// [`LedgerError::NoStream`].
    pub fn entries(&self, stream: &str, range: impl RangeBounds<u64>, filter: Filter) -> Result<Entries, LedgerError> {
        let id = self.stream_number(stream)?.ok_or_else(|| LedgerError::NoStream(stream.to_owned()))?;
        let next = match range.start_bound() {
            Bound::Included(n) => *n,
            Bound::Excluded(n) => n.saturating_add(1),
            Bound::Unbounded => 1,
        };
        let end = match range.end_bound() {
            Bound::Included(n) => n.saturating_add(1),
            Bound::Excluded(n) => *n,
            Bound::Unbounded => u64::MAX,
        };
        Ok(Entries {
            ledger: self.clone(),
            of: Of::Stream(id),
            next,
            end,
            filter,
            page: VecDeque::new(),
            has_ended: false,
        })
    }

    /// The entries of all streams but one at these places of the tree, in its order.
    ///
    /// # Errors
    /// [`LedgerError::NoStream`].
    pub fn beside(&self, stream: &str, places: Range<u64>, filter: Filter) -> Result<Entries, LedgerError> {
        // One that has committed nothing yet has no number.
        let of = Of::AllBut(self.stream_number(stream)?.unwrap_or(0));
        let (next, end) = (places.start, places.end);
        Ok(Entries { ledger: self.clone(), of, next, end, filter, page: VecDeque::new(), has_ended: false })
    }

    /// How many entries are committed, in all streams together.
    ///
    /// # Errors
    /// Those of the store.
    pub fn size(&self) -> Result<u64, LedgerError> {
        let db = self.db();
        let last: Option<i64> =
            db.query_row("SELECT max(leaf) FROM entries", [], |row| row.get(0)).map_err(|e| self.fail(e))?;
        Ok(last.map_or(0, |leaf| leaf.unsigned_abs().saturating_add(1)))
    }

    /// The number of the first entry of a stream, up to `last`, that is of this time or later; `last + 1` where all are earlier.
    ///
    /// # Errors
    /// Those of [`Self::entry`].
    pub fn first_since(&self, stream: &str, last: u64, at_ns: u64) -> Result<u64, LedgerError> {
        // INVARIANT: times of a stream don't run backwards.
        let (mut low, mut high) = (1, last.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(stream, middle)?.at_ns < at_ns { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// The number and time of a stream's last committed entry; zeros if it has none.
    pub(crate) fn tip(&self, stream: &str) -> Result<(u64, u64), LedgerError> {
        let Some(id) = self.stream_number(stream)? else { return Ok((0, 0)) };
        let last: Option<i64> = {
            let db = self.db();
            let sql = "SELECT max(seq) FROM entries WHERE stream = ?1";
            db.query_row(sql, [id], |row| row.get(0)).map_err(|e| self.fail(e))?
        };
        match last.and_then(|n| u64::try_from(n).ok()) {
            Some(seq) if seq > 0 => Ok((seq, self.entry(stream, seq)?.at_ns)),
            _ => Ok((0, 0)),
        }
    }

    fn stream_number(&self, stream: &str) -> Result<Option<i64>, LedgerError> {
        let db = self.db();
        let found = db.prepare_cached("SELECT id FROM streams WHERE name = ?1");
        found.and_then(|mut s| s.query_row([stream], |row| row.get(0)).optional()).map_err(|e| self.fail(e))
    }

    fn stream_info(
        &self,
        id: String,
        last_seq: u64,
        opened: Option<u64>,
        closed: Option<u64>,
    ) -> Result<StreamInfo, LedgerError> {
        let (first, last) = (self.entry(&id, 1)?, self.entry(&id, last_seq)?);
        let opened = opened.map(|seq| self.entry(&id, seq)).transpose()?;
        let closed = closed.map(|seq| self.entry(&id, seq)).transpose()?;
        let name = opened.as_ref().and_then(|e| e.body.get("name")).and_then(Value::as_str).map(str::to_owned);
        Ok(StreamInfo {
            name,
            first_seq: 1,
            last_seq,
            first_at_ns: first.at_ns,
            last_at_ns: last.at_ns,
            opened_at_ns: opened.map(|e| e.at_ns),
            closed_at_ns: closed.map(|e| e.at_ns),
            is_owned: self.is_owned(&id),
            id,
        })
    }

    pub(crate) fn fail(&self, error: rusqlite::Error) -> LedgerError {
        LedgerError::store(self.dir(), error)
    }
}

/// Entries of a stream, read a page at a time.
pub struct Entries {
    ledger: Ledger,
    of: Of,
    next: u64,
    end: u64,
    filter: Filter,
    page: VecDeque<(u64, Digest, Vec<u8>)>,
    has_ended: bool,
}

/// Whose entries, by the number of a stream. All but one's are counted by their places in the tree, a stream's by its own.
#[derive(Clone, Copy)]
enum Of {
    Stream(i64),
    AllBut(i64),
}

impl Entries {
    /// The next entry as it is stored: its place in the tree, its leaf's digest and its bytes; see [`crate::Line`]. The filter
    /// is not asked.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next_stored(&mut self) -> Result<Option<(u64, Digest, Vec<u8>)>, LedgerError> {
        if self.page.is_empty() && !self.has_ended {
            let filled = self.fill();
            if filled.is_err() {
                self.has_ended = true;
            }
            filled?;
        }
        Ok(self.page.pop_front())
    }

    fn fill(&mut self) -> Result<(), LedgerError> {
        let db = self.ledger.db();
        let fail = |e| LedgerError::store(self.ledger.dir(), e);
        let end = i64::try_from(self.end).unwrap_or(i64::MAX);
        let next = i64::try_from(self.next).unwrap_or(i64::MAX);
        let (id, sql) = match self.of {
            Of::Stream(id) => (
                id,
                "SELECT leaf, digest, data, seq FROM entries WHERE stream = ?1 AND seq >= ?2 AND seq < ?3 ORDER BY seq",
            ),
            Of::AllBut(id) => (
                id,
                "SELECT leaf, digest, data, leaf FROM entries WHERE stream <> ?1 AND leaf >= ?2 AND leaf < ?3 ORDER BY leaf",
            ),
        };
        let mut statement = db.prepare_cached(sql).map_err(fail)?;
        let mut rows = statement.query((id, next, end)).map_err(fail)?;
        let mut bytes = 0;
        while let Some(found) = rows.next().map_err(fail)? {
            self.next = found.get::<_, i64>(3).map_err(fail)?.unsigned_abs() + 1;
            let (index, digest, data) = row(found).map_err(fail)?;
            bytes += data.len();
            self.page.push_back((index, digest, data));
            if self.page.len() >= PAGE_ENTRIES || bytes >= PAGE_BYTES {
                return Ok(());
            }
        }
        self.has_ended = true;
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.page.is_empty()
                && !self.has_ended
                && let Err(error) = self.fill()
            {
                self.has_ended = true;
                return Some(Err(error));
            }
            let (index, digest, data) = self.page.pop_front()?;
            if !self.filter.may_pass(&data) {
                continue;
            }
            match Entry::decode(data, index, digest) {
                Ok(entry) if !self.filter.passes(&entry) => {}
                other => return Some(other),
            }
        }
    }
}

fn row(row: &Row<'_>) -> rusqlite::Result<(u64, Digest, Vec<u8>)> {
    let (index, digest): (i64, [u8; 32]) = (row.get(0)?, row.get(1)?);
    Ok((index.unsigned_abs(), Digest(digest), row.get(2)?))
}
