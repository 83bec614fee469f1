//! What happens in other sessions of the ledger, told to the kernel for facts with `per = "fleet"`.
//!
//! INVARIANT: each event that a fact may see is an entry of this session's stream before the kernel is told of it, so that
//! a replay finds what was known then. What can't be read is not left out: nothing is decided any more.
//!
//! INVARIANT: what such a fact can see of an attempt is decided in turn with all supervisors that ask for turns, and committed
//! before the turn is over and before it takes effect: of two attempts at once, one is decided with the other on record.

use super::{Gate, GateError};
use flyball_kernel::{Action, Charter, Elsewhere, Event, Input, Phase, Session};
use flyball_ledger::{Draft, Entry, Filter, Kind, Ledger, LedgerError, Turn};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most events that are learnt between two decisions; those of a ledger at a session's start included, as far back as the
/// facts reach.
const NEWS_MAX: usize = 65_536;
/// Attempts of others whose action is at hand for their outcome; others are read again.
const KNOWN_MAX: usize = 16_384;

/// How far the other sessions of the ledger were read.
pub(super) struct Fleet {
    ledger: Arc<Ledger>,
    charter: Arc<Charter>,
    own: String,
    /// Where in the tree to go on; before the first reading, nowhere.
    next: Option<u64>,
    /// What this session was told under an earlier charter.
    told: BTreeSet<(String, u64)>,
    sessions: BTreeMap<String, Session>,
    /// Attempts whose outcome is not known yet; nothing where no fact asks for their verb.
    known: BTreeMap<(String, u64), Option<Action>>,
    /// The ledger's version when all was read.
    version: Option<i64>,
}

impl Gate {
    /// Has the kernel told of other sessions from here on, where a fact of the charter asks for that.
    #[must_use]
    pub fn with_fleet(mut self, ledger: &Arc<Ledger>, charter: &Arc<Charter>) -> Self {
        self.follow_fleet(ledger, charter, BTreeSet::new());
        self
    }

    /// The same for a charter that is in force from now on; `told` is what the kernel was told of others so far.
    pub(super) fn follow_fleet(&mut self, ledger: &Arc<Ledger>, charter: &Arc<Charter>, told: BTreeSet<(String, u64)>) {
        self.fleet = charter.has_fleet_facts().then(|| Fleet {
            ledger: Arc::clone(ledger),
            charter: Arc::clone(charter),
            own: self.session.clone(),
            next: None,
            told,
            sessions: BTreeMap::new(),
            known: BTreeMap::new(),
            version: None,
        });
    }

    /// Waits for this session's turn, where what it attempts can be seen by a fact across sessions.
    pub(super) fn turn(&self, actions: &[Action]) -> Result<Option<Turn>, GateError> {
        let Some(fleet) = &self.fleet else { return Ok(None) };
        let sees = |phase, action: &Action| fleet.charter.sees_elsewhere(phase, action.verb);
        let is_seen = actions.iter().any(|a| sees(Phase::Attempt, a) || sees(Phase::Did, a) || sees(Phase::Result, a));
        Ok(if is_seen { Some(fleet.ledger.turn()?) } else { None })
    }

    /// Tells the kernel what other sessions committed since it was told last.
    pub(super) fn learn_elsewhere(&mut self) -> Result<(), GateError> {
        let Some(fleet) = &mut self.fleet else { return Ok(()) };
        for happened in fleet.news(self.clock.now_ns())? {
            let at_ns = self.clock.now_ns();
            let body = json!({ "elsewhere": happened });
            let draft = Draft { at_ns, kind: Kind::Observe, actor: "ledger".to_owned(), cause: Vec::new(), body };
            let seq = self.stream()?.append(draft)?;
            self.step(&Input { seq, at_ns, event: Event::Elsewhere(Box::new(happened)) })?;
        }
        Ok(())
    }
}

impl Fleet {
    /// What is new, in the order of time. Nothing counts as read unless all of it could be.
    fn news(&mut self, now_ns: u64) -> Result<Vec<Elsewhere>, GateError> {
        // Asked for first: what is committed while this reads is seen the next time.
        let version = self.ledger.data_version()?;
        if self.version == Some(version) {
            return Ok(Vec::new());
        }
        let size = self.ledger.size()?;
        let kinds = vec![Kind::Attempt, Kind::Dispatch, Kind::Outcome];
        let filter = || Filter { kinds: kinds.clone(), ..Filter::default() };
        let mut out = Vec::new();
        if let Some(next) = self.next {
            let ledger = Arc::clone(&self.ledger);
            for entry in ledger.beside(&self.own, next..size, filter())? {
                self.take(&entry?, &mut out)?;
            }
        } else {
            let since = self.charter.reach_ns().map(|reach| now_ns.saturating_sub(reach));
            for head in self.ledger.heads()? {
                if head.id == self.own {
                    continue;
                }
                let first = match since {
                    Some(since) => self.ledger.first_since(&head.id, head.last_seq, since)?,
                    None => 1,
                };
                for entry in self.ledger.entries(&head.id, first..=head.last_seq, filter())? {
                    let entry = entry?;
                    if entry.index < size {
                        self.take(&entry, &mut out)?;
                    }
                }
            }
        }
        (self.next, self.version) = (Some(size), Some(version));
        out.retain(|happened| !self.told.contains(&(happened.stream.clone(), happened.seq)));
        self.told.clear();
        out.sort_by(|a, b| (a.at_ns, &a.stream, a.seq).cmp(&(b.at_ns, &b.stream, b.seq)));
        Ok(out)
    }

    fn take(&mut self, entry: &Entry, out: &mut Vec<Elsewhere>) -> Result<(), GateError> {
        let happened = self.happened(entry).map_err(|cause| {
            let (seq, session) = (entry.seq, &entry.stream);
            GateError::Refused(format!(
                "a fact with `per = \"fleet\"` can't read entry {seq} of session {session}: {cause}"
            ))
        })?;
        out.extend(happened);
        if out.len() > NEWS_MAX {
            return Err(GateError::Refused(format!(
                "other sessions have more than {NEWS_MAX} events that a fact with `per = \"fleet\"` asks for"
            )));
        }
        Ok(())
    }

    /// The event that an entry tells of, if a fact asks for it.
    fn happened(&mut self, entry: &Entry) -> Result<Option<Elsewhere>, Unread> {
        let (phase, of) = match entry.kind {
            Kind::Attempt => (Phase::Attempt, entry.seq),
            Kind::Dispatch => (Phase::Did, of(&entry.body)?),
            _ => (Phase::Result, of(&entry.body)?),
        };
        let Some(action) = self.action(&entry.stream, of, phase == Phase::Result)? else { return Ok(None) };
        if !self.charter.sees_elsewhere(phase, action.verb) {
            return Ok(None);
        }
        let (mut ok, mut attrs) = (false, BTreeMap::new());
        if phase == Phase::Result {
            let body = self.ledger.body(entry)?;
            if body.get("withdrawn").is_some() {
                return Ok(None);
            }
            // What is `unknown` has no result.
            let Some(is_ok) = body.get("ok").and_then(Json::as_bool) else { return Ok(None) };
            ok = is_ok;
            let carried = body.as_object().into_iter().flatten().filter(|(name, _)| *name != "of" && *name != "ok");
            attrs.extend(carried.filter_map(|(k, v)| Some((k.clone(), serde_json::from_value(v.clone()).ok()?))));
        }
        let session = self.session(&entry.stream)?;
        let (stream, seq, at_ns) = (entry.stream.clone(), entry.seq, entry.at_ns);
        Ok(Some(Elsewhere { stream, seq, at_ns, session, phase, action, ok, attrs }))
    }

    /// What was attempted by that entry, if any fact asks for its verb.
    fn action(&mut self, stream: &str, of: u64, is_over: bool) -> Result<Option<Action>, Unread> {
        let key = (stream.to_owned(), of);
        let known = if is_over { self.known.remove(&key) } else { self.known.get(&key).cloned() };
        if let Some(known) = known {
            return Ok(known);
        }
        // Large actions stand beside their entry.
        let body = self.ledger.body(&self.ledger.entry(stream, of)?)?;
        let action: Action = serde_json::from_value(body).map_err(|e| Unread(e.to_string()))?;
        let is_asked_for =
            [Phase::Attempt, Phase::Did, Phase::Result].iter().any(|p| self.charter.sees_elsewhere(*p, action.verb));
        let action = is_asked_for.then_some(action);
        if !is_over {
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert(key, action.clone());
        }
        Ok(action)
    }

    fn session(&mut self, stream: &str) -> Result<Session, Unread> {
        if let Some(known) = self.sessions.get(stream) {
            return Ok(known.clone());
        }
        let body = self.ledger.body(&self.ledger.entry(stream, 1)?)?;
        let text = |key: &str| body.get(key).and_then(Json::as_str).map(str::to_owned);
        let session =
            (|| Some(Session { workspace: text("workspace")?, home: text("home")?, agent: text("agent")? }))();
        let session = session.ok_or_else(|| Unread("its session has no opening".to_owned()))?;
        self.sessions.insert(stream.to_owned(), session.clone());
        Ok(session)
    }
}

/// Why an entry can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unread(String);

impl From<LedgerError> for Unread {
    fn from(error: LedgerError) -> Self {
        Self(error.to_string())
    }
}

fn of(body: &Json) -> Result<u64, Unread> {
    body.get("of").and_then(Json::as_u64).ok_or_else(|| Unread("it names no attempt".to_owned()))
}
