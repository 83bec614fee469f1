//! A session's record as inputs of the kernel, and what a charter says to them.
//!
//! The record is one history; under another charter it would have gone on differently. What is refused on record and
//! passes here counts as done at once, so that budgets and facts see it; everything else happens as it is on record.

use flyball_kernel::{Action, Charter, Effect, Event, Input, Kernel, Past, Ruling, Session, Sources, Verdict};
use flyball_ledger::{Entry, Kind};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::gate::asked;
use crate::read::History;

/// Between the numbers of two entries there is room for what is supposed to follow the first.
pub(crate) const STRIDE: u64 = 4;

/// What a kernel is told of a session.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub session: Session,
    /// The charters that were in force, one after another: first the opening's.
    charters: Vec<InForce>,
    pub inputs: Vec<Input>,
    /// Attempts that were carried out.
    dispatched: BTreeSet<u64>,
    /// Actions by attempt.
    pub actions: BTreeMap<u64, Action>,
}

/// A charter that was in force.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    /// The entry that put it in force during the session.
    pub seq: Option<u64>,
    at_ns: u64,
    pub files: Sources,
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
        let charters = vec![InForce { seq: None, at_ns: open.at_ns, files: serde_json::from_value(files).ok()? }];
        let mut record =
            Self { session, charters, inputs: Vec::new(), dispatched: BTreeSet::new(), actions: BTreeMap::new() };
        let batches = batches(history);
        for entry in history.entries() {
            if entry.kind == Kind::Charter {
                let files = entry.body.get("files").cloned().unwrap_or_default();
                let files = serde_json::from_value(files).ok()?;
                record.charters.push(InForce { seq: Some(entry.seq), at_ns: entry.at_ns, files });
            }
            let Some(mut event) = event(entry) else { continue };
            match &event {
                Event::Attempt(action) | Event::Expected { action, .. } | Event::Together { action, .. } => {
                    record.actions.insert(entry.seq, action.clone());
                    // Records of before the batch stood in the attempt.
                    if let (Event::Attempt(action), Some(&batch)) = (&event, batches.get(&entry.seq)) {
                        event = Event::Together { batch, of: None, action: action.clone() };
                    }
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

    /// The charter that was in force at the end.
    pub fn charter(&self) -> Option<&InForce> {
        self.charters.last()
    }

    /// What a charter says to each attempt.
    pub fn judge(&self, charter: &Arc<Charter>) -> Rulings {
        self.judge_by(charter, &[])
    }

    /// What the charter in force said to each attempt at its time; nothing where one of them does not compile any more.
    pub fn judge_as_it_was(&self) -> Option<Rulings> {
        let compile = |files: &Sources| Some(Arc::new(Charter::compile(files).ok()?.0));
        let (first, following) = self.charters.split_first()?;
        let following: Option<Vec<_>> = following.iter().map(|c| Some((c, compile(&c.files)?))).collect();
        Some(self.judge_by(&compile(&first.files)?, &following?))
    }

    /// Under the first charter, and from their entries on under those that follow.
    fn judge_by(&self, first: &Arc<Charter>, following: &[(&InForce, Arc<Charter>)]) -> Rulings {
        let mut out = Rulings::new();
        let mut kernel = Kernel::new(Arc::clone(first), self.session.clone());
        // A charter that follows knows the session's past.
        let mut past: Vec<Past> = Vec::new();
        let mut to_come = following.iter().peekable();
        for input in &self.inputs {
            while let Some((at, charter)) = to_come.next_if(|(at, _)| at.seq.is_some_and(|seq| seq < input.seq)) {
                let seq = at.seq.unwrap_or_default().saturating_mul(STRIDE);
                kernel = kernel.adopted(Arc::clone(charter), past.clone(), seq, at.at_ns);
            }
            let is_to_follow = to_come.peek().is_some();
            let mut told = |kernel: &mut Kernel, input: Input| {
                // Another charter's shared budgets were not asked of the ledger then: they are counted here alone.
                let rulings = kernel.step_alone(&input);
                if is_to_follow {
                    past.push(Past { input, rulings: rulings.clone() });
                }
                rulings
            };
            let seq = input.seq.saturating_mul(STRIDE);
            let rulings = told(&mut kernel, Input { seq, at_ns: input.at_ns, event: scaled(&input.event) });
            if !matches!(input.event, Event::Attempt(_) | Event::Expected { .. } | Event::Together { .. }) {
                continue;
            }
            // Questions that time settled come before it.
            let Some(ruling) = rulings.into_iter().next_back() else { continue };
            let passes = matches!(ruling.verdict, Verdict::Allow);
            out.insert(input.seq, ruling);
            if passes && !self.dispatched.contains(&input.seq) {
                let then = |n: u64, event: Event| Input { seq: seq + n, at_ns: input.at_ns, event };
                told(&mut kernel, then(1, Event::Dispatch { of: seq }));
                told(&mut kernel, then(2, Event::Outcome { of: seq, ok: true, attrs: BTreeMap::new() }));
            }
        }
        out
    }
}

/// The same event with numbers as far apart as those of inputs.
pub(crate) fn scaled(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::Dispatch { of }
        | Event::Outcome { of, .. }
        | Event::Withdraw { of }
        | Event::Answer { of, .. }
        | Event::Expected { of, .. } => *of = of.saturating_mul(STRIDE),
        Event::Together { batch, of, .. } => {
            *batch = batch.saturating_mul(STRIDE);
            *of = of.map(|of| of.saturating_mul(STRIDE));
        }
        _ => {}
    }
    event
}

/// The attempts that were put to people as one question with others, each with the first of those.
fn batches(history: &History) -> BTreeMap<u64, u64> {
    let mut batches = BTreeMap::new();
    for entry in history.entries().iter().filter(|e| e.kind == Kind::Ruling) {
        let Ok(ruling) = serde_json::from_value::<Ruling>(entry.body.clone()) else { continue };
        for effect in ruling.effects {
            if let Effect::Ask { with: Some(first), .. } = effect {
                batches.extend([(ruling.of, first), (first, first)]);
            }
        }
    }
    batches
}

/// What an entry told the kernel, if it told it anything.
pub(crate) fn event(entry: &Entry) -> Option<Event> {
    event_of(entry.kind, entry.seq, &entry.body)
}

/// The same of its parts.
pub(crate) fn event_of(kind: Kind, seq: u64, body: &Json) -> Option<Event> {
    let of = || body.get("of").and_then(Json::as_u64);
    let text = |key: &str| body.get(key).and_then(Json::as_str).map(str::to_owned);
    Some(match kind {
        Kind::Attempt => asked::event(seq, body, serde_json::from_value(body.clone()).ok()?),
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
