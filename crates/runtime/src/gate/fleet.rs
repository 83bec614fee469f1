//! What happens in other sessions of the ledger, told to the kernel for facts with `per = "fleet"`.
//!
//! INVARIANT: each event that a fact may see is an entry of this session's stream before the kernel is told of it, so that
//! a replay finds what was known then. What can't be read is not left out: nothing is decided any more.

use super::{Gate, GateError};
use flyball_kernel::{Action, Charter, Elsewhere, Event, Input, Phase, Session};
use flyball_ledger::{Draft, Entry, Filter, Kind, Ledger};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most events that are learnt between two decisions; the history of a ledger at a session's start included.
const NEWS_MAX: usize = 65_536;

/// How far the other sessions of the ledger were read.
pub(super) struct Fleet {
    ledger: Arc<Ledger>,
    charter: Arc<Charter>,
    own: String,
    read: BTreeMap<String, Read>,
    /// The ledger's version when all was read.
    version: Option<i64>,
}

/// One stream, as far as it was read.
#[derive(Default)]
struct Read {
    seq: u64,
    session: Option<Session>,
    /// Attempts whose outcome is not known yet.
    open: BTreeMap<u64, Action>,
}

impl Gate {
    /// Has the kernel told of other sessions from here on, where a fact of the charter asks for that.
    #[must_use]
    pub fn with_fleet(mut self, ledger: &Arc<Ledger>, charter: &Arc<Charter>) -> Self {
        if charter.has_fleet_facts() {
            self.fleet = Some(Fleet {
                ledger: Arc::clone(ledger),
                charter: Arc::clone(charter),
                own: self.session.clone(),
                read: BTreeMap::new(),
                version: None,
            });
        }
        self
    }

    /// Tells the kernel what other sessions committed since it was told last.
    pub(super) fn learn_elsewhere(&mut self) -> Result<(), GateError> {
        let Some(fleet) = &mut self.fleet else { return Ok(()) };
        for happened in fleet.news()? {
            let at_ns = self.clock.now_ns();
            let body = json!({ "elsewhere": happened });
            let draft = Draft { at_ns, kind: Kind::Observe, actor: "ledger".to_owned(), cause: Vec::new(), body };
            let seq = self.stream()?.append(draft)?;
            self.kernel.step(&Input { seq, at_ns, event: Event::Elsewhere(Box::new(happened)) });
        }
        Ok(())
    }
}

impl Fleet {
    /// What is new, in the order of time.
    fn news(&mut self) -> Result<Vec<Elsewhere>, GateError> {
        // Asked for first: what is committed while this reads is seen the next time.
        let version = self.ledger.data_version()?;
        if self.version == Some(version) {
            return Ok(Vec::new());
        }
        let mut out = Vec::new();
        let kinds = vec![Kind::Open, Kind::Attempt, Kind::Dispatch, Kind::Outcome];
        for head in self.ledger.heads()? {
            let read = self.read.entry(head.id.clone()).or_default();
            if head.id == self.own || head.last_seq <= read.seq {
                continue;
            }
            let filter = Filter { kinds: kinds.clone(), ..Filter::default() };
            for entry in self.ledger.entries(&head.id, read.seq.saturating_add(1)..=head.last_seq, filter)? {
                let entry = entry?;
                // Large actions stand beside their entry.
                let body = self.ledger.body(&entry)?;
                let happened = match read.take(&head.id, &entry, &body) {
                    Ok(happened) => happened,
                    Err(cause) => {
                        // Not noted as read: what can't be known to a fact stays refused.
                        self.read.clear();
                        let (seq, session) = (entry.seq, &head.id);
                        return Err(GateError::Refused(format!(
                            "a fact with `per = \"fleet\"` can't read entry {seq} of session {session}: {cause}"
                        )));
                    }
                };
                out.extend(happened.filter(|h| self.charter.sees_elsewhere(h.phase, h.action.verb)));
                if out.len() > NEWS_MAX {
                    // Not noted as read: the next attempt finds the same.
                    self.read.clear();
                    return Err(GateError::Refused(format!(
                        "other sessions have more than {NEWS_MAX} events that a fact with `per = \"fleet\"` asks for"
                    )));
                }
            }
            read.seq = head.last_seq;
        }
        self.version = Some(version);
        out.sort_by(|a, b| (a.at_ns, &a.stream, a.seq).cmp(&(b.at_ns, &b.stream, b.seq)));
        Ok(out)
    }
}

impl Read {
    /// What the entry tells, if it is an event of the session's.
    fn take(&mut self, stream: &str, entry: &Entry, body: &Json) -> Result<Option<Elsewhere>, serde_json::Error> {
        if entry.kind == Kind::Attempt {
            self.open.insert(entry.seq, serde_json::from_value(body.clone())?);
        }
        Ok(self.event(stream, entry, body))
    }

    fn event(&mut self, stream: &str, entry: &Entry, body: &Json) -> Option<Elsewhere> {
        let of = || body.get("of").and_then(Json::as_u64);
        let mut ok = false;
        let mut attrs = BTreeMap::new();
        let (phase, action) = match entry.kind {
            Kind::Open => {
                let text = |key: &str| body.get(key).and_then(Json::as_str).map(str::to_owned);
                self.session =
                    Some(Session { workspace: text("workspace")?, home: text("home")?, agent: text("agent")? });
                return None;
            }
            Kind::Attempt => (Phase::Attempt, self.open.get(&entry.seq)?.clone()),
            Kind::Dispatch => (Phase::Did, self.open.get(&of()?)?.clone()),
            Kind::Outcome => {
                let action = self.open.remove(&of()?)?;
                if body.get("withdrawn").is_some() {
                    return None;
                }
                ok = body.get("ok").and_then(Json::as_bool)?;
                let carried = body.as_object()?.iter().filter(|(name, _)| *name != "of" && *name != "ok");
                attrs.extend(carried.filter_map(|(k, v)| Some((k.clone(), serde_json::from_value(v.clone()).ok()?))));
                (Phase::Result, action)
            }
            _ => return None,
        };
        let session = self.session.clone()?;
        Some(Elsewhere {
            stream: stream.to_owned(),
            seq: entry.seq,
            at_ns: entry.at_ns,
            session,
            phase,
            action,
            ok,
            attrs,
        })
    }
}
