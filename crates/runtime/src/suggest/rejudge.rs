//! A session's record as inputs of the kernel, and what a charter says to them.
//!
//! The record is one history; under another charter it would have gone on differently. What is refused on record and
//! passes here counts as done at once, so that budgets and facts see it; everything else happens as it is on record.

use flyball_kernel::{Action, Charter, Event, Input, Kernel, Ruling, Session, Verdict};
use flyball_ledger::{Entry, Kind};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::read::History;

/// Between the numbers of two entries there is room for what is supposed to follow the first.
const STRIDE: u64 = 4;

/// What a kernel is told of a session.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub session: Session,
    /// The charter's files, as the session's opening has them.
    pub charter: BTreeMap<String, String>,
    pub inputs: Vec<Input>,
    /// Attempts that were carried out.
    dispatched: BTreeSet<u64>,
    /// Actions by attempt.
    pub actions: BTreeMap<u64, Action>,
}

/// The first ruling on each attempt, by attempt.
pub(crate) type Rulings = BTreeMap<u64, Ruling>;

impl Record {
    /// Reads it off the entries; nothing when the opening lacks what a session needs.
    pub fn of(history: &History) -> Option<Self> {
        let open = history.entries().iter().find(|e| e.kind == Kind::Open)?;
        let text = |key: &str| open.body.get(key).and_then(Json::as_str).map(str::to_owned);
        let session = Session { workspace: text("workspace")?, home: text("home")?, agent: text("agent")? };
        let files = open.body.get("charter").and_then(|c| c.get("files")).cloned().unwrap_or_default();
        let charter = serde_json::from_value(files).ok()?;
        let mut record =
            Self { session, charter, inputs: Vec::new(), dispatched: BTreeSet::new(), actions: BTreeMap::new() };
        for entry in history.entries() {
            let Some(event) = event(entry) else { continue };
            match &event {
                Event::Attempt(action) => {
                    record.actions.insert(entry.seq, action.clone());
                }
                Event::Dispatch { of } => {
                    record.dispatched.insert(*of);
                }
                _ => {}
            }
            record.inputs.push(Input { seq: entry.seq, at_ns: entry.at_ns, event });
        }
        Some(record)
    }

    /// What a charter says to each attempt.
    pub fn judge(&self, charter: &Arc<Charter>) -> Rulings {
        let mut kernel = Kernel::new(Arc::clone(charter), self.session.clone());
        let mut out = Rulings::new();
        for input in &self.inputs {
            let seq = input.seq.saturating_mul(STRIDE);
            // Another charter's shared budgets were not asked of the ledger then: they are counted here alone.
            let rulings = kernel.step_alone(&Input { seq, at_ns: input.at_ns, event: scaled(&input.event) });
            if !matches!(input.event, Event::Attempt(_)) {
                continue;
            }
            // Questions that time settled come before it.
            let Some(ruling) = rulings.into_iter().next_back() else { continue };
            let passes = matches!(ruling.verdict, Verdict::Allow);
            out.insert(input.seq, ruling);
            if passes && !self.dispatched.contains(&input.seq) {
                let then = |n: u64, event: Event| Input { seq: seq + n, at_ns: input.at_ns, event };
                kernel.step(&then(1, Event::Dispatch { of: seq }));
                kernel.step(&then(2, Event::Outcome { of: seq, ok: true, attrs: BTreeMap::new() }));
            }
        }
        out
    }
}

/// The same event with numbers as far apart as those of inputs.
fn scaled(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::Dispatch { of } | Event::Outcome { of, .. } | Event::Withdraw { of } | Event::Answer { of, .. } => {
            *of = of.saturating_mul(STRIDE);
        }
        _ => {}
    }
    event
}

/// What an entry told the kernel, if it told it anything.
pub(crate) fn event(entry: &Entry) -> Option<Event> {
    let body = &entry.body;
    let of = || body.get("of").and_then(Json::as_u64);
    let text = |key: &str| body.get(key).and_then(Json::as_str).map(str::to_owned);
    Some(match entry.kind {
        Kind::Attempt => Event::Attempt(serde_json::from_value(body.clone()).ok()?),
        Kind::Dispatch => Event::Dispatch { of: of()? },
        Kind::Outcome if body.get("withdrawn").is_some() => Event::Withdraw { of: of()? },
        Kind::Outcome => {
            let ok = body.get("ok").and_then(Json::as_bool)?;
            let mut attrs = body.as_object()?.clone();
            attrs.retain(|name, _| name != "of" && name != "ok");
            let attrs = attrs.into_iter().filter_map(|(k, v)| Some((k, serde_json::from_value(v).ok()?))).collect();
            Event::Outcome { of: of()?, ok, attrs }
        }
        Kind::Answer => Event::Answer {
            of: of()?,
            action: text("action")?,
            verdict: serde_json::from_value(body.get("verdict")?.clone()).ok()?,
            with: body.get("with").and_then(|w| serde_json::from_value(w.clone()).ok()).flatten(),
            by: text("by")?,
            reason: text("reason").unwrap_or_default(),
        },
        Kind::Observe if body.get("labelled").is_some() => {
            Event::Labelled { files: serde_json::from_value(body.get("labelled")?.clone()).ok()? }
        }
        Kind::Intervention => Event::Control {
            act: text("act")?,
            level: text("level").or_else(|| text("label")),
            by: text("by").unwrap_or_default(),
            reason: text("reason").unwrap_or_default(),
        },
        Kind::Observe => Event::Elsewhere(serde_json::from_value(body.get("elsewhere")?.clone()).ok()?),
        Kind::Tick => Event::Tick,
        _ => return None,
    })
}
