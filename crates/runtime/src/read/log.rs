//! A session's entries that pass a filter, read one by one: there may be more than fit in memory.

use super::ReadError;
use super::history::{attempt_of, say, whole_body};
use super::session::workspace;
use flyball_ledger::{Entry, Kind, Ledger, LedgerError};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Attempts that are kept at hand for what is said of them: most is said right after them.
const RECENT_MAX: usize = 256;

/// Which entries to show.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these kinds; none means all.
    pub kinds: Vec<String>,
    /// Only what belongs to attempts of these verbs or groups; none means all.
    pub verbs: Vec<String>,
    /// Only what belongs to attempts that had one of these verdicts; none means all.
    pub verdicts: Vec<String>,
    /// Only entries after this one.
    pub since: Option<u64>,
}

/// A session's log, as far as it was read.
pub struct Log<'a> {
    ledger: &'a Ledger,
    session: &'a str,
    workspace: String,
    filter: Filter,
    /// The last entry that was read.
    last: u64,
    /// Attempts that had a verdict that is asked for.
    ruled: BTreeSet<u64>,
    recent: BTreeMap<u64, Entry>,
    is_closed: bool,
}

impl<'a> Log<'a> {
    /// A log of which nothing was read yet.
    ///
    /// # Errors
    /// [`ReadError`] when the ledger can't be read or the session is not there.
    pub fn new(ledger: &'a Ledger, session: &'a str, filter: Filter) -> Result<Self, ReadError> {
        Ok(Self {
            ledger,
            session,
            workspace: workspace(ledger, session)?,
            filter,
            last: 0,
            ruled: BTreeSet::new(),
            recent: BTreeMap::new(),
            is_closed: false,
        })
    }

    /// Whether the session's close was read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Reads what was appended since the last time, and gives each entry that passes and was not given before, in order, with
    /// what it says in words. A verdict comes after its attempt: an attempt that did not pass before may pass now.
    ///
    /// # Errors
    /// [`ReadError`] when the ledger can't be read.
    pub fn read_on(&mut self, mut give: impl FnMut(&Entry, &str)) -> Result<(), ReadError> {
        let heads = self.ledger.heads()?;
        let upto = heads.into_iter().find(|h| h.id == self.session).map_or(self.last, |h| h.last_seq);
        let newly = self.newly_ruled(upto)?;
        let from = newly.first().copied().unwrap_or(u64::MAX).min(self.last + 1);
        for entry in self.ledger.entries(self.session, from..=upto, self.of_kinds())? {
            let entry = entry?;
            self.is_closed |= entry.kind == Kind::Close;
            let of = attempt_of(&entry);
            let was_read = entry.seq <= self.last && !of.is_some_and(|of| newly.contains(&of));
            if was_read || !self.may_pass(&entry, of) {
                continue;
            }
            let entry = Entry { body: whole_body(self.ledger, &entry)?, ..entry };
            if let Some(of) = of {
                self.fetch(of, &entry)?;
            }
            let attempt = of.and_then(|of| self.recent.get(&of));
            if self.has_verb(attempt) {
                give(&entry, &say(&self.workspace, &entry, attempt));
            }
        }
        self.last = upto;
        Ok(())
    }

    /// Attempts that have a verdict that is asked for since then, and had none before.
    fn newly_ruled(&mut self, upto: u64) -> Result<BTreeSet<u64>, ReadError> {
        let mut newly = BTreeSet::new();
        if self.filter.verdicts.is_empty() {
            return Ok(newly);
        }
        let rulings = flyball_ledger::Filter { kinds: vec![Kind::Ruling], ..flyball_ledger::Filter::default() };
        for ruling in self.ledger.entries(self.session, self.last + 1..=upto, rulings)? {
            let ruling = ruling?;
            let body = whole_body(self.ledger, &ruling)?;
            let verdict = body.get("verdict").and_then(Json::as_str);
            let is_wanted = verdict.is_some_and(|verdict| self.filter.verdicts.iter().any(|wanted| wanted == verdict));
            if let Some(of) = attempt_of(&ruling).filter(|of| is_wanted && self.ruled.insert(*of)) {
                newly.insert(of);
            }
        }
        Ok(newly)
    }

    /// The kinds that are asked for, and the close.
    fn of_kinds(&self) -> flyball_ledger::Filter {
        let mut kinds: Vec<Kind> = self.filter.kinds.iter().filter_map(|kind| Kind::parse(kind)).collect();
        kinds.extend((!kinds.is_empty()).then_some(Kind::Close));
        flyball_ledger::Filter { kinds, ..flyball_ledger::Filter::default() }
    }

    /// Whether an entry passes, but for its attempt's verb.
    fn may_pass(&self, entry: &Entry, of: Option<u64>) -> bool {
        let Filter { kinds, verbs, verdicts, since } = &self.filter;
        since.is_none_or(|since| entry.seq > since)
            && (kinds.is_empty() || kinds.iter().any(|kind| kind == entry.kind.as_str()))
            && (of.is_some() || (verbs.is_empty() && verdicts.is_empty()))
            && (verdicts.is_empty() || of.is_some_and(|of| self.ruled.contains(&of)))
    }

    fn has_verb(&self, attempt: Option<&Entry>) -> bool {
        let verb = attempt.and_then(|attempt| attempt.body.get("verb")?.as_str()).unwrap_or_default();
        let group = verb.split('.').next().unwrap_or_default();
        self.filter.verbs.is_empty() || self.filter.verbs.iter().any(|wanted| wanted == verb || wanted == group)
    }

    /// Keeps an attempt at hand: the entry that speaks of it, if that is the attempt itself, or as the ledger has it.
    fn fetch(&mut self, of: u64, entry: &Entry) -> Result<(), ReadError> {
        if self.recent.contains_key(&of) {
            return Ok(());
        }
        let attempt = if entry.seq == of {
            entry.clone()
        } else {
            match self.ledger.entry(self.session, of) {
                // Named, and not there: `verify` tells of it.
                Err(LedgerError::NoEntry { .. }) => return Ok(()),
                found => {
                    let found = found?;
                    Entry { body: whole_body(self.ledger, &found)?, ..found }
                }
            }
        };
        while self.recent.len() >= RECENT_MAX {
            self.recent.pop_first();
        }
        self.recent.insert(of, attempt);
        Ok(())
    }
}
