//! A record as a judge reads it: a stored entry is decoded no further than the judge asks.

use crate::replay::{Obstacle, Stored, Told, Untold, session};
use flyball_kernel::{Input, Reason, Ruling, Session, Verdict};
use flyball_ledger::{Entries, Filter, Kind, Ledger, LedgerError, Line};
use serde::Deserialize;

/// An entry to a judge.
pub(super) enum Item {
    Opened(Session),
    Input(Input),
    Said(Said),
    Nothing,
    /// Nothing from here on can be judged.
    Unread(Obstacle),
}

/// A recorded ruling: what of it every judge asks, and the rest as it is stored.
pub(super) struct Said {
    pub seq: u64,
    pub at_ns: u64,
    pub of: u64,
    pub verdict: Verdict,
    body: Vec<u8>,
}

impl Said {
    /// Why.
    pub fn reasons(&self) -> Vec<Reason> {
        serde_json::from_slice::<Ruling>(&self.body).map(|r| r.reasons).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Head {
    of: u64,
    verdict: Verdict,
}

/// The entries of a session, one after another.
pub(super) struct Reader {
    ledger: Ledger,
    entries: Entries,
}

impl Reader {
    pub fn new(ledger: &Ledger, session: &str) -> Result<Self, LedgerError> {
        Ok(Self { ledger: ledger.clone(), entries: ledger.entries(session, .., Filter::default())? })
    }

    /// The next one; nothing at the record's end.
    pub fn next(&mut self) -> Result<Option<Item>, LedgerError> {
        let Some((index, leaf, raw)) = self.entries.next_stored()? else { return Ok(None) };
        let stored = Stored { index, leaf, raw };
        let Some(line) = Line::of(&stored.raw) else {
            return Ok(Some(Item::Unread(Obstacle {
                seq: 0,
                why: "an entry is none as flyball writes them".to_owned(),
            })));
        };
        let unread = |why: String| Item::Unread(Obstacle { seq: line.seq, why });
        // Charters, alerts and closes of the time are nothing to another charter.
        if matches!(line.kind, Kind::Charter | Kind::Alert | Kind::Close) {
            return Ok(Some(Item::Nothing));
        }
        Ok(Some(match stored.told(&self.ledger, &line) {
            Ok(Told::Nothing) => Item::Nothing,
            Ok(Told::Input(input)) => Item::Input(input),
            Ok(Told::Ruling(body)) => match head(&body) {
                Some(Head { of, verdict }) => Item::Said(Said { seq: line.seq, at_ns: line.at_ns, of, verdict, body }),
                None => unread("it is no ruling that this flyball can read".to_owned()),
            },
            Ok(Told::Entry(entry)) => match session(&entry) {
                Some(session) => Item::Opened(session),
                None => unread("it lacks the session's workspace, home or agent".to_owned()),
            },
            Err(Untold::Entry(why)) => unread(why),
            Err(Untold::Ledger(error)) => return Err(error),
        }))
    }
}

fn head(body: &[u8]) -> Option<Head> {
    serde_json::from_slice(body).ok()
}
