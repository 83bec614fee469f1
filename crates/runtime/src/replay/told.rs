//! What a stored entry told the kernel: the very inputs of the run, read off the record.
//!
//! INVARIANT: what should have been an input and can't be read is an error, never left out: everything after it would be
//! judged in another state than it was.

use crate::gate::asked;
use crate::suggest::rejudge::event_of;
use flyball_kernel::{Action, Event, Input, SharedFound};
use flyball_ledger::{Digest, Entry, Kind, Ledger, LedgerError, Line};
use serde::Deserialize;
use serde_json::Value as Json;

/// A person's acts that the kernel is told of; others change only the workspace or the process.
const TOLD_ACTS: [&str; 6] = ["pause", "resume", "quarantine", "kill", "autonomy", "declassify"];

/// An entry as it is stored.
pub(crate) struct Stored {
    pub index: u64,
    pub leaf: Digest,
    pub raw: Vec<u8>,
}

/// What it means to a kernel.
pub(crate) enum Told {
    /// The kernel was told this.
    Input(Input),
    /// The kernel said this: the body's bytes.
    Ruling(Vec<u8>),
    /// Something that a replay has to look at whole: openings, charters, alerts, closes.
    Entry(Box<Entry>),
    /// Nothing to the kernel.
    Nothing,
}

/// Why an entry can't be told.
#[derive(Debug)]
pub(crate) enum Untold {
    /// The ledger itself can't be read.
    Ledger(LedgerError),
    /// What it holds is not there any more or can't be understood.
    Entry(String),
}

impl From<LedgerError> for Untold {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::NoBlob(digest) => Self::Entry(format!("its payload {digest} is not in the ledger any more")),
            LedgerError::Malformed { .. } | LedgerError::Damaged { .. } => Self::Entry(error.to_string()),
            other => Self::Ledger(other),
        }
    }
}

impl Stored {
    /// The entry with its whole body, wherever that is.
    pub fn entry(&self, ledger: &Ledger) -> Result<Entry, Untold> {
        let mut entry = Entry::decode(self.raw.clone(), self.index, self.leaf)?;
        entry.body = ledger.body(&entry)?;
        Ok(entry)
    }

    /// What it means to a kernel.
    pub fn told(&self, ledger: &Ledger, line: &Line<'_>) -> Result<Told, Untold> {
        let input = |event| Told::Input(Input { seq: line.seq, at_ns: line.at_ns, event });
        match line.kind {
            // After a crash others close what the session's kernel never heard of.
            _ if line.actor == b"recovery" => Ok(Told::Nothing),
            Kind::Attempt if !asked::is_marked(line.body) => match serde_json::from_slice::<Action>(line.body) {
                Ok(action) => Ok(input(Event::Attempt(action))),
                Err(_) => self.whole(ledger),
            },
            Kind::Dispatch => match serde_json::from_slice::<Of>(line.body) {
                Ok(Of { of }) => Ok(input(Event::Dispatch { of })),
                Err(_) => self.whole(ledger),
            },
            Kind::Ruling if line.body.starts_with(b"{\"of\":") && line.body.ends_with(b"}") && !has_refs(&self.raw) => {
                Ok(Told::Ruling(line.body.to_vec()))
            }
            Kind::Open | Kind::Charter | Kind::Alert | Kind::Close => Ok(Told::Entry(Box::new(self.entry(ledger)?))),
            Kind::Ruling => self.whole(ledger),
            Kind::Question | Kind::Checkpoint => Ok(Told::Nothing),
            // What relies on stored content is followed by what it relies on, and so is no JSON by itself.
            _ => match serde_json::from_slice::<Json>(line.body) {
                Ok(body) if body.get("payload").is_none() => told(line.kind, line.seq, line.at_ns, &body),
                _ => self.whole(ledger),
            },
        }
    }

    /// The same by reading all of it.
    fn whole(&self, ledger: &Ledger) -> Result<Told, Untold> {
        let entry = self.entry(ledger)?;
        if entry.kind == Kind::Ruling {
            return Ok(Told::Ruling(serde_json::to_vec(&entry.body).unwrap_or_default()));
        }
        told(entry.kind, entry.seq, entry.at_ns, &entry.body)
    }
}

fn told(kind: Kind, seq: u64, at_ns: u64, body: &Json) -> Result<Told, Untold> {
    Ok(match event(kind, seq, body).map_err(Untold::Entry)? {
        Some(event) => Told::Input(Input { seq, at_ns, event }),
        None => Told::Nothing,
    })
}

/// Whether the entry may name stored content after its body: then the body is not all that follows its name.
fn has_refs(raw: &[u8]) -> bool {
    raw.ends_with(b"]}}")
}

#[derive(Deserialize)]
struct Of {
    of: u64,
}

fn event(kind: Kind, seq: u64, body: &Json) -> Result<Option<Event>, String> {
    let has = |key: &str| body.get(key).is_some();
    match kind {
        Kind::Intervention => {
            let act = body.get("act").and_then(Json::as_str).unwrap_or_default();
            if !TOLD_ACTS.contains(&act) {
                return Ok(None);
            }
        }
        // What is `unknown` was no result to anybody.
        Kind::Outcome if !has("withdrawn") && body.get("ok").is_some_and(Json::is_null) => return Ok(None),
        Kind::Observe if has("shared") => return shared(body),
        Kind::Observe if !has("elsewhere") && !has("labelled") => return Ok(None),
        _ => {}
    }
    let event = event_of(kind, seq, body);
    event.map(Some).ok_or_else(|| format!("it can't be read as {kind} by this flyball"))
}

/// What registers that sessions share were found to hold.
fn shared(body: &Json) -> Result<Option<Event>, String> {
    #[derive(Deserialize)]
    struct Wanted {
        budget: String,
        wanted: i64,
    }
    #[derive(Deserialize)]
    struct Found {
        register: String,
        value: i64,
        made: bool,
    }
    let part = |key: &str| body.get(key).cloned().unwrap_or_default();
    // Labels of files are kept in registers as well, and are no budgets.
    if part("shared").as_array().is_some_and(|list| list.iter().all(Json::is_string)) {
        return Ok(None);
    }
    let unreadable = |e: serde_json::Error| format!("its registers can't be read: {e}");
    let wanted: Vec<Wanted> = serde_json::from_value(part("shared")).map_err(unreadable)?;
    let found: Vec<Found> = serde_json::from_value(part("registers")).map_err(unreadable)?;
    if wanted.len() != found.len() {
        return Err(format!("it names {} budgets and {} registers", wanted.len(), found.len()));
    }
    let found = wanted.into_iter().zip(found).map(|(w, f)| SharedFound {
        budget: w.budget,
        register: f.register,
        used: f.value,
        granted: if f.made { w.wanted } else { 0 },
    });
    Ok(Some(Event::Shared { found: found.collect() }))
}
