//! The entries that explain one entry, and no others: a session of a hundred thousand actions is explained as quickly as
//! one of ten.

use super::history::{attempt_of, whole_body};
use super::{History, ReadError};
use flyball_ledger::{Entry, Filter, Kind, Ledger, LedgerError};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Entries that one call's attempts and rulings take at most: twice what the gate lets one attempt imply.
const CALL_ENTRIES_MAX: usize = 2 * 1024 + 2;
/// Causes followed back at most.
const CHAIN_MAX: usize = 64;

/// A session's history as far as [`super::why`] looks at it for this entry.
pub(super) fn around(ledger: &Ledger, session: &str, seq: u64) -> Result<History, ReadError> {
    let mut near = Near { ledger, session, found: BTreeMap::new() };
    let asked = near.keep(entry(ledger, session, seq)?)?;
    let opening = near.fetch(1)?;
    if let Some(of) = attempt_of(&asked) {
        near.call(of)?;
    } else {
        near.chain(asked)?;
    }
    near.witnesses()?;
    near.charters(&opening, seq)?;
    Ok(History::new(session, near.found.into_values().collect()))
}

/// An entry of a session.
///
/// # Errors
/// [`ReadError::NoEntry`] when there is none of this number, and the ledger's.
pub fn entry(ledger: &Ledger, session: &str, seq: u64) -> Result<Entry, ReadError> {
    match ledger.entry(session, seq) {
        Err(LedgerError::NoEntry { .. }) => {
            let last = ledger.heads()?.into_iter().find(|h| h.id == session).map(|h| h.last_seq).unwrap_or_default();
            Err(ReadError::NoEntry { session: session.to_owned(), seq, last })
        }
        other => Ok(other?),
    }
}

struct Near<'a> {
    ledger: &'a Ledger,
    session: &'a str,
    found: BTreeMap<u64, Entry>,
}

impl Near<'_> {
    fn fetch(&mut self, seq: u64) -> Result<Entry, ReadError> {
        if let Some(entry) = self.found.get(&seq) {
            return Ok(entry.clone());
        }
        let entry = self.ledger.entry(self.session, seq)?;
        self.keep(entry)
    }

    fn keep(&mut self, mut entry: Entry) -> Result<Entry, ReadError> {
        entry.body = whole_body(self.ledger, &entry)?;
        self.found.insert(entry.seq, entry.clone());
        Ok(entry)
    }

    /// An attempt, what the same call meant besides, and all that became of these.
    fn call(&mut self, of: u64) -> Result<(), ReadError> {
        let attempt = self.fetch(of)?;
        let before = attempt.cause.last().copied().filter(|c| of.saturating_sub(*c) <= CALL_ENTRIES_MAX as u64);
        let implied_by = before.map(|first| self.attempts_from(first)).transpose()?.filter(|call| call.contains(&of));
        let members = implied_by.map_or_else(|| self.attempts_from(of), Ok)?;
        self.lives(members)?;
        self.chain(attempt)
    }

    /// A call's attempts: what stands between the first and its being begun, asked about, or followed by another call.
    fn attempts_from(&mut self, first: u64) -> Result<BTreeSet<u64>, ReadError> {
        let mut kept = Vec::new();
        let mut attempts = BTreeSet::new();
        for entry in self.ledger.entries(self.session, first.., Filter::default())?.take(CALL_ENTRIES_MAX) {
            let entry = entry?;
            let is_of_call = entry.seq == first || entry.cause.last() == Some(&first);
            match entry.kind {
                Kind::Attempt if is_of_call => drop(attempts.insert(entry.seq)),
                Kind::Ruling => {}
                // That it was begun tells that what follows is of another call.
                Kind::Dispatch | Kind::Outcome | Kind::Question => {
                    kept.push(entry);
                    break;
                }
                _ => break,
            }
            kept.push(entry);
        }
        kept.into_iter().try_for_each(|entry| self.keep(entry).map(drop))?;
        Ok(attempts)
    }

    /// Rulings, questions, answers and ends of attempts, up to the last that can come.
    fn lives(&mut self, mut members: BTreeSet<u64>) -> Result<(), ReadError> {
        let Some(first) = members.first().copied() else { return Ok(()) };
        let kinds = vec![Kind::Ruling, Kind::Dispatch, Kind::Outcome, Kind::Question, Kind::Answer];
        let caused_by = (members.len() == 1).then_some(first);
        let filter = Filter { kinds, caused_by, ..Filter::default() };
        let mut kept = Vec::new();
        for entry in self.ledger.entries(self.session, first.., filter)? {
            let entry = entry?;
            let Some(of) = attempt_of(&entry).filter(|of| members.contains(of)) else { continue };
            let is_refusal = entry.body.get("verdict").and_then(Json::as_str) == Some("deny");
            if entry.kind == Kind::Outcome || (entry.kind == Kind::Ruling && is_refusal) {
                members.remove(&of);
            }
            kept.push(entry);
            if members.is_empty() {
                break;
            }
        }
        kept.into_iter().try_for_each(|entry| self.keep(entry).map(drop))
    }

    fn chain(&mut self, from: Entry) -> Result<(), ReadError> {
        let mut at = from;
        for _ in 0..CHAIN_MAX {
            // INVARIANT: causes have lower numbers, so this ends even on a record that was tampered with.
            let Some(cause) = at.cause.first().copied().filter(|c| *c < at.seq && *c > 0) else { break };
            at = self.spoken_of(cause)?;
        }
        Ok(())
    }

    /// An entry and the attempt that it speaks of: what it takes to say it in words.
    fn spoken_of(&mut self, seq: u64) -> Result<Entry, ReadError> {
        let entry = self.fetch(seq)?;
        if let Some(of) = attempt_of(&entry).filter(|of| *of < seq) {
            self.fetch(of)?;
        }
        Ok(entry)
    }

    fn witnesses(&mut self) -> Result<(), ReadError> {
        let named = |e: &Entry| {
            let reasons = e.body.get("reasons").and_then(Json::as_array).into_iter().flatten();
            let witnesses = reasons.filter_map(|r| r.get("witnesses")?.as_array()).flatten();
            witnesses.filter_map(Json::as_u64).collect::<Vec<_>>()
        };
        let all: BTreeSet<u64> = self.found.values().filter(|e| e.kind == Kind::Ruling).flat_map(named).collect();
        for seq in all {
            match self.spoken_of(seq) {
                // A witness that is not there is not shown; `verify` tells of it.
                Ok(_) | Err(ReadError::Ledger(LedgerError::NoEntry { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Changes of the charter, where a ruling is of another than the session was opened under.
    fn charters(&mut self, opening: &Entry, seq: u64) -> Result<(), ReadError> {
        let digest = opening.body.pointer("/charter/digest").and_then(Json::as_str).unwrap_or_default();
        let is_of_opening = |e: &Entry| e.body.get("charter").and_then(Json::as_str).is_none_or(|c| c == digest);
        if self.found.values().filter(|e| e.kind == Kind::Ruling).all(is_of_opening) {
            return Ok(());
        }
        let filter = Filter { kinds: vec![Kind::Charter], ..Filter::default() };
        let found: Vec<Entry> = self.ledger.entries(self.session, ..=seq, filter)?.collect::<Result<_, _>>()?;
        found.into_iter().try_for_each(|entry| self.keep(entry).map(drop))
    }
}
