//! The gate: the one place where an attempt is put to the kernel, recorded, and given back as a verdict.
//!
//! INVARIANT: what the gate can't decide it denies ([`Asked::denied_by`]); nothing is allowed before its attempt, ruling
//! and dispatch are in the stream; of an action whose governance says so they are durable first.

pub(crate) mod adopting;
pub(crate) mod asked;
mod caused;
mod changing;
mod fleet;
mod foreseen;
mod labels;
mod point;
mod questions;
mod sharing;
mod signing;

pub use labels::labelled_files;

use crate::clock::Clock;
use crate::rerun::Order;
use crate::status::{ENVELOPES_TOLD_MAX, Status};
use asked::Put;
use changing::{Changing, Part};
use flyball_kernel::{Action, Effect, Event, Input, Kernel, Reason, Ruling, Value, Verdict};
use flyball_ledger::{Digest, Draft, Kind, LedgerError, Stream};
use foreseen::Foreseen;
use questions::Group;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::{Value as Json, json};
use signing::LastAct;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use questions::set_of;
pub use questions::{Also, AlsoAsked, Answer, Answered, Question};

/// Questions that may be open in one session at once; one more attempt that needs one is denied.
pub const QUESTIONS_MAX: usize = 64;

/// Actions that one attempt may imply; more are denied unread. The difference between two lock files is the longest.
const ACTIONS_MAX: usize = 8192;

/// The kernel and the session's stream behind one door.
pub struct Gate {
    kernel: Kernel,
    /// `None` once the session is over: nothing more is decided or recorded through this gate.
    stream: Option<Stream>,
    clock: Clock,
    session: String,
    /// The other sessions of the ledger, where a fact asks for them.
    fleet: Option<fleet::Fleet>,
    /// Groups that wait for people, by the first attempt of the group.
    groups: BTreeMap<u64, Group>,
    /// Open questions by id.
    questions: BTreeMap<String, Question>,
    /// Questions that are not put yet: more may come to them.
    pending: Vec<Question>,
    /// The first attempt of those that they are about.
    batch: Option<u64>,
    /// Rulings on questions that time settled while something else was decided; [`Self::tick`] carries them out.
    late: Vec<Ruling>,
    foreseen: Foreseen,
    counts: Counts,
    /// What the kernel wants done and no ruling on an attempt carried.
    effects: Vec<Effect>,
    /// Digest of the workspace that was captured for the next dispatch.
    captured: Option<String>,
    last_act: LastAct,
    changing: Changing,
    /// The last attempt, for who must not wait for a decision.
    latest: Arc<AtomicU64>,
    /// In a replay: what came before what then.
    pub(crate) order: Option<Arc<Order>>,
}

/// How an attempt is made.
#[derive(Clone, Copy, Default)]
struct How {
    /// People are asked about several together, when [`Gate::put_questions`] says so.
    is_later: bool,
    /// Whoever makes it can give it another form.
    can_change: bool,
}

/// What became of the session's attempts so far. A group of implied actions counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Attempts.
    pub actions: u64,
    /// Allowed at once.
    pub allowed: u64,
    /// Denied at once or by an answer.
    pub denied: u64,
    /// Put to people; one that they refused is among those denied too.
    pub held: u64,
    /// Carried out in another form than was attempted.
    pub modified: u64,
}

/// What the gate says of an attempt.
#[derive(Debug)]
pub struct Asked {
    /// Names the attempt from now on: its first action's entry. Zero when nothing could be recorded.
    pub group: u64,
    /// Every action's entry.
    pub attempts: Vec<u64>,
    /// The strictest verdict of all; `modify` only of who can change what is attempted ([`Gate::ask_changeable`]).
    pub verdict: Verdict,
    /// The reasons of that verdict, with the action each is about.
    pub because: Vec<(Action, Reason)>,
    /// Questions that were opened.
    pub questions: Vec<Question>,
    /// Other things that the kernel wants done.
    pub effects: Vec<Effect>,
}

/// A held attempt that has its verdict now.
#[derive(Debug)]
pub struct Settled {
    /// The attempt's name.
    pub group: u64,
    /// Every action's entry, of one that is let through.
    pub attempts: Vec<u64>,
    /// `allow`, `deny`, or `modify` where it can be changed.
    pub verdict: Verdict,
    /// Why.
    pub because: Vec<(Action, Reason)>,
}

/// Why an answer or act was not taken.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// No such question is open.
    #[error("no open question `{0}`")]
    NoQuestion(String),
    /// The record can't be written; nothing goes on.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The kernel did not take it.
    #[error("{0}")]
    Refused(String),
}

impl Asked {
    /// The one function that turns an error into a denial.
    fn denied_by(error: &dyn std::fmt::Display, actions: &[Action]) -> Self {
        let reason = Reason {
            rule: "gate-error".into(),
            owner: Default::default(),
            reason: format!("could not be decided and recorded: {error}").into(),
            witnesses: Vec::new(),
            needs: None,
            source: None,
        };
        Self {
            group: 0,
            attempts: Vec::new(),
            verdict: Verdict::Deny,
            because: actions.first().map(|a| (a.clone(), reason)).into_iter().collect(),
            questions: Vec::new(),
            effects: Vec::new(),
        }
    }
}

impl Gate {
    /// A gate over a fresh kernel and the session's stream.
    #[must_use]
    pub fn new(kernel: Kernel, stream: Stream, clock: Clock, session: &str) -> Self {
        Self {
            kernel,
            stream: Some(stream),
            clock,
            session: session.to_owned(),
            fleet: None,
            groups: BTreeMap::new(),
            questions: BTreeMap::new(),
            pending: Vec::new(),
            batch: None,
            late: Vec::new(),
            foreseen: Foreseen::default(),
            counts: Counts::default(),
            effects: Vec::new(),
            captured: None,
            last_act: LastAct::default(),
            changing: Changing::default(),
            latest: Arc::default(),
            order: None,
        }
    }

    /// The number of the last attempt, as it stands.
    pub(crate) fn latest(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.latest)
    }

    /// Rules on what one attempt implies, all together. On `allow` the dispatch is recorded: carry it out, then say
    /// [`Self::outcome`]. On `hold` it is settled later by [`Self::answer`] or [`Self::tick`].
    pub fn ask(&mut self, actions: &[Action], cause: &[u64]) -> Asked {
        self.ask_in(actions, cause, How::default())
    }

    /// The same by who can change what is attempted: on `modify`, [`Self::forms`] says to what, and [`Self::give`] carries on.
    pub(crate) fn ask_changeable(&mut self, actions: &[Action], cause: &[u64]) -> Asked {
        self.ask_in(actions, cause, How { can_change: true, is_later: false })
    }

    /// The same of one of several attempts that people are asked about together, when [`Self::put_questions`] says so.
    pub(crate) fn ask_later(&mut self, actions: &[Action], cause: &[u64]) -> Asked {
        self.ask_in(actions, cause, How { is_later: true, can_change: false })
    }

    /// What would be said of these now; nothing is recorded, and nothing follows from it.
    pub(crate) fn would_say(&mut self, actions: &[Action]) -> Vec<Verdict> {
        self.kernel.would_say(self.clock.now_ns(), actions)
    }

    fn ask_in(&mut self, actions: &[Action], cause: &[u64], how: How) -> Asked {
        self.counts.actions += 1;
        let asked = match self.try_ask(actions, cause, how) {
            Ok(asked) => asked,
            Err(error) => Asked::denied_by(&error, actions),
        };
        match asked.verdict {
            // Counted when it is carried out, or not.
            Verdict::Modify => {}
            Verdict::Allow => self.counts.allowed += 1,
            Verdict::Hold => self.counts.held += 1,
            Verdict::Deny => self.counts.denied += 1,
        }
        asked
    }

    fn try_ask(&mut self, actions: &[Action], cause: &[u64], how: How) -> Result<Asked, GateError> {
        if actions.is_empty() || actions.len() > ACTIONS_MAX {
            return Err(GateError::Refused(format!(
                "{} actions in one attempt, 1 to {ACTIONS_MAX} can be",
                actions.len()
            )));
        }
        let turn = self.turn(actions)?;
        let asked = self.rule_on_all(actions, cause, how);
        // What was attempted is on record whatever came of it.
        self.stream()?.queue_staged()?;
        let asked = asked?;
        if turn.is_some() {
            // Whoever's turn is next sees it.
            self.flush()?;
        }
        Ok(asked)
    }

    fn rule_on_all(&mut self, actions: &[Action], cause: &[u64], how: How) -> Result<Asked, GateError> {
        let is_later = how.is_later;
        let mut rulings = Vec::with_capacity(actions.len());
        let mut cause = cause.to_vec();
        let mut batch = if is_later { self.batch } else { None };
        let is_batch = is_later || actions.len() > 1;
        for action in actions {
            let (of, ruling) = self.rule_on(action, &cause, is_batch.then_some(batch))?;
            batch.get_or_insert(of);
            if is_later {
                self.batch = batch;
            }
            if rulings.is_empty() && action.verb.name() == "process.exec" {
                self.foreseen.began(of, cause.first().copied().unwrap_or_default());
            }
            // What an attempt implies is caused by the attempt itself.
            if rulings.is_empty() {
                cause.push(of);
            }
            rulings.push((action.clone(), ruling));
        }
        self.conclude(rulings, how)
    }

    /// One action; of a batch with the batch's first attempt, if that was before it.
    fn rule_on(
        &mut self,
        action: &Action,
        cause: &[u64],
        batch: Option<Option<u64>>,
    ) -> Result<(u64, Ruling), GateError> {
        self.learn_elsewhere()?;
        self.take_shared(action)?;
        let at_ns = self.clock.now_ns();
        let named = self.foreseen.find(cause.first().copied(), action);
        let cause: Vec<u64> = cause.iter().copied().chain(named).collect();
        let seq = self.stream()?.stage(at_ns, Kind::Attempt, &action.agent, &cause, &Put::new(action, batch, named))?;
        self.latest.store(seq, Ordering::SeqCst);
        self.order.iter().for_each(|order| order.came(action));
        let action = action.clone();
        let event = match (batch, named) {
            (Some(first), of) => Event::Together { batch: first.unwrap_or(seq), of, action },
            (None, Some(of)) => Event::Expected { of, action },
            (None, None) => Event::Attempt(action),
        };
        let mut rulings = self.step(&Input { seq, at_ns, event })?;
        let ruling = rulings
            .pop()
            .filter(|r| r.of == seq && rulings.is_empty())
            .ok_or_else(|| GateError::Refused("the kernel gave no single ruling".into()))?;
        self.stage_ruling(&ruling)?;
        if let Some(named) = named.filter(|_| is_answered_before(&ruling)) {
            self.foreseen.ended(named);
        }
        Ok((seq, ruling))
    }

    fn record_ruling(&mut self, ruling: &Ruling) -> Result<u64, GateError> {
        let seq = self.stage_ruling(ruling)?;
        self.stream()?.queue_staged()?;
        Ok(seq)
    }

    fn stage_ruling(&mut self, ruling: &Ruling) -> Result<u64, GateError> {
        let mut cause = vec![ruling.of];
        cause.extend(ruling.reasons.iter().flat_map(|r| r.witnesses.iter().copied()));
        cause.sort_unstable();
        cause.dedup();
        let at_ns = self.clock.now_ns();
        Ok(self.stream()?.stage(at_ns, Kind::Ruling, "kernel", &cause, ruling)?)
    }

    fn conclude(&mut self, rulings: Vec<(Action, Ruling)>, how: How) -> Result<Asked, GateError> {
        let attempts: Vec<u64> = rulings.iter().map(|(_, r)| r.of).collect();
        let group = attempts.first().copied().unwrap_or_default();
        let mut verdict = rulings.iter().map(|(_, r)| r.verdict).max().unwrap_or(Verdict::Deny);
        // INVARIANT: nothing that had to be changed goes on unchanged once people have allowed another part of it.
        let is_changed = rulings.iter().any(|(_, r)| r.verdict == Verdict::Modify);
        if is_changed && !how.can_change && verdict == Verdict::Hold {
            verdict = Verdict::Modify;
        }
        // Why it is let through is on record; nobody is told.
        let mut because: Vec<(Action, Reason)> = rulings
            .iter()
            .filter(|(_, r)| r.verdict == verdict && verdict != Verdict::Allow)
            .flat_map(|(a, r)| r.reasons.iter().map(|reason| (a.clone(), reason.clone())))
            .collect();
        let effects = rulings.iter().flat_map(|(_, r)| r.effects.iter().cloned()).collect();
        let wants_capture = rulings.iter().any(|(_, r)| r.governance.snapshot);
        let mut questions = Vec::new();
        match verdict {
            Verdict::Deny => self.withdraw_all(&rulings, "another part of the same attempt was refused")?,
            Verdict::Modify => {
                tell_forms(&rulings, &mut because);
                if how.can_change {
                    self.is_changed_at_once(group, &rulings, &because)?;
                } else {
                    // A program's own call can't be rewritten under it: the changed form is told, not substituted.
                    verdict = Verdict::Deny;
                    self.withdraw_all(&rulings, "it would have to be changed, which this surface can't do")?;
                }
            }
            Verdict::Hold => {
                if let Some(opened) = self.open_questions(&rulings, how.is_later)? {
                    questions = opened;
                    let waiting =
                        rulings.iter().filter(|(_, r)| r.verdict == Verdict::Hold).map(|(_, r)| r.of).collect();
                    let approved = approved_before(&rulings);
                    let (parts, because) = (Part::all(&rulings), because.clone());
                    let can_change = how.can_change;
                    self.groups.insert(group, Group { parts, waiting, because, approved, wants_capture, can_change });
                } else {
                    verdict = Verdict::Deny;
                    self.withdraw_all(&rulings, "nobody could be asked")?;
                    let needs = format!("fewer than {QUESTIONS_MAX} open questions, and a session that is not paused");
                    for (_, reason) in &mut because {
                        reason.needs.get_or_insert_with(|| needs.clone());
                    }
                }
            }
            Verdict::Allow => {
                let durable = rulings.iter().any(|(_, r)| r.governance.durable);
                self.foreseen.allow(group, approved_before(&rulings));
                self.dispatch(&attempts, durable)?;
            }
        }
        // Of what is not carried out now there is nothing to go back from.
        self.captured = None;
        Ok(Asked { group, attempts, verdict, because, questions, effects })
    }

    fn dispatch(&mut self, attempts: &[u64], durable: bool) -> Result<(), GateError> {
        self.name_point(attempts.first().copied().unwrap_or_default())?;
        let mut last = 0;
        for &of in attempts {
            let at_ns = self.clock.now_ns();
            last = self.stream()?.stage(at_ns, Kind::Dispatch, "gate", &[of], &Of { of })?;
            self.step(&Input { seq: last, at_ns, event: Event::Dispatch { of } })?;
        }
        // INVARIANT: attempt, ruling and dispatch outlive this process before anything comes of them.
        self.stream()?.queue_staged()?;
        if durable {
            self.stream()?.on_disk(last)?;
        }
        Ok(())
    }

    fn withdraw_all(&mut self, rulings: &[(Action, Ruling)], why: &str) -> Result<(), GateError> {
        for (_, ruling) in rulings {
            if ruling.verdict != Verdict::Deny {
                self.withdraw(ruling.of, why)?;
            }
        }
        Ok(())
    }

    fn withdraw(&mut self, of: u64, why: &str) -> Result<(), GateError> {
        let at_ns = self.clock.now_ns();
        let body = json!({ "of": of, "ok": false, "withdrawn": why });
        let seq = self.append_at(at_ns, Kind::Outcome, "gate", &[of], body)?;
        self.foreseen.ended(of);
        self.step(&Input { seq, at_ns, event: Event::Withdraw { of } })?;
        Ok(())
    }

    /// A fork goes on without what its parent had under way: whose entries came before is recorded, and that nobody sees their end.
    ///
    /// # Errors
    /// [`GateError`] when it can't be recorded.
    pub(crate) fn leave_behind(&mut self, told: Json) -> Result<(), GateError> {
        let since = self.note(Kind::Observe, "supervisor", &[], told)?;
        let open: Vec<(u64, bool)> = self.kernel.standing().map(|(of, state, _)| (of, state == "dispatched")).collect();
        for (of, is_dispatched) in open {
            if is_dispatched {
                self.note(Kind::Outcome, "gate", &[of, since], json!({ "of": of, "ok": null, "unknown": true }))?;
            } else {
                self.withdraw(of, "it was left behind in the session that this one was forked from")?;
            }
        }
        Ok(())
    }

    /// Records what became of a dispatched attempt, whole (`group`) or one action (`of`).
    ///
    /// # Errors
    /// [`GateError`] when it can't be recorded.
    pub fn outcome(&mut self, of: u64, ok: bool, attrs: BTreeMap<String, Value>) -> Result<u64, GateError> {
        let seq = self.outcome_staged(of, ok, attrs);
        // It is on record whatever followed from it.
        self.stream()?.queue_staged()?;
        seq
    }

    /// The same of several attempts that ended together, which are queued together; what went wrong with any of them.
    pub(crate) fn outcomes(&mut self, of: &[u64], ok: bool, attrs: &BTreeMap<String, Value>) -> Vec<GateError> {
        let told: Vec<_> = of.iter().map(|of| self.outcome_staged(*of, ok, attrs.clone()).map(drop)).collect();
        // Should this process be killed in the next 20 ms, nobody saw how they ended: that they were begun is on record.
        let queued = self.stream().and_then(|stream| Ok(stream.queue_staged_unhurried()?));
        told.into_iter().chain([queued]).filter_map(Result::err).collect()
    }

    /// The same, queued with what is noted next, which its caller does at once.
    pub(crate) fn outcome_staged(
        &mut self,
        of: u64,
        ok: bool,
        attrs: BTreeMap<String, Value>,
    ) -> Result<u64, GateError> {
        let at_ns = self.clock.now_ns();
        let seq = self.stream()?.stage(at_ns, Kind::Outcome, "gate", &[of], &Came { of, ok, attrs: &attrs })?;
        self.foreseen.ended(of);
        self.step(&Input { seq, at_ns, event: Event::Outcome { of, ok, attrs } })?;
        Ok(seq)
    }

    /// A person's act on the session, as the kernel's session gate knows it. [`Self::flush`] makes it durable.
    ///
    /// # Errors
    /// [`GateError`] when it can't be recorded.
    pub fn control(&mut self, act: &str, by: &str, reason: &str, more: Json) -> Result<u64, GateError> {
        let at_ns = self.clock.now_ns();
        let level = more.get("level").or(more.get("label")).and_then(Json::as_str).map(str::to_owned);
        let mut body = json!({ "act": act, "by": by, "reason": reason });
        if let (Some(body), Json::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let seq = self.append_at(at_ns, Kind::Intervention, by, &[], body)?;
        if crate::signed::is_signed_act(act) {
            self.last_act.is(seq);
        }
        if matches!(act, "pause" | "resume" | "quarantine" | "kill" | "autonomy" | "declassify") {
            let event = Event::Control { act: act.into(), level, by: by.into(), reason: reason.into() };
            self.step(&Input { seq, at_ns, event })?;
        }
        Ok(seq)
    }

    /// Records something seen (`observe`), alarming (`alert`) or final (`close`).
    ///
    /// # Errors
    /// [`GateError`] when it can't be recorded.
    pub fn note(&mut self, kind: Kind, actor: &str, cause: &[u64], body: Json) -> Result<u64, GateError> {
        self.append(kind, actor, cause, body)
    }

    /// Records what was seen, in a body whose members `blob` name these contents and no others.
    ///
    /// # Errors
    /// [`GateError`] when it can't be recorded.
    pub(crate) fn note_naming(
        &mut self,
        actor: &str,
        cause: &[u64],
        body: &impl Serialize,
        blobs: BTreeSet<Digest>,
    ) -> Result<u64, GateError> {
        let at = (self.clock.now_ns(), Kind::Observe);
        Ok(self.stream()?.append_naming(at, actor, cause, body, blobs)?)
    }

    /// Waits until all that was recorded is durable.
    ///
    /// # Errors
    /// [`GateError`] when it can't be.
    pub fn flush(&self) -> Result<(), GateError> {
        Ok(self.stream()?.flush()?)
    }

    /// The questions that are open.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        self.questions.values()
    }

    /// The last entry's number.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.stream.as_ref().map_or(0, Stream::last_seq)
    }

    /// How the session stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut registers = self.kernel.registers();
        registers.envelopes.truncate(ENVELOPES_TOLD_MAX);
        let questions = self.questions.values().cloned().collect();
        Status { last_seq: self.last_seq(), counts: self.counts, registers, questions }
    }

    /// What became of the attempts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Lets go of the stream: the session is over, and what people do to its workspace is recorded by others.
    pub fn end(&mut self) {
        self.stream = None;
    }

    fn stream(&self) -> Result<&Stream, GateError> {
        self.stream.as_ref().ok_or_else(|| GateError::Refused("the session is over".into()))
    }

    fn append(&mut self, kind: Kind, actor: &str, cause: &[u64], body: Json) -> Result<u64, GateError> {
        let at_ns = self.clock.now_ns();
        self.append_at(at_ns, kind, actor, cause, body)
    }

    fn append_at(&mut self, at_ns: u64, kind: Kind, actor: &str, cause: &[u64], body: Json) -> Result<u64, GateError> {
        Ok(self.stream()?.append(Draft { at_ns, kind, actor: actor.to_owned(), cause: cause.to_vec(), body })?)
    }
}

/// The body of a dispatch.
#[derive(Serialize)]
struct Of {
    of: u64,
}

/// The body of an outcome: what it is of, how it went, and what else is known of it.
struct Came<'a> {
    of: u64,
    ok: bool,
    attrs: &'a BTreeMap<String, Value>,
}

impl Serialize for Came<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("of", &self.of)?;
        map.serialize_entry("ok", &self.ok)?;
        for (name, value) in self.attrs.iter().filter(|(name, _)| *name != "of" && *name != "ok") {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The implied actions among these that an earlier approval lets pass: it goes along with them.
fn approved_before(rulings: &[(Action, Ruling)]) -> Vec<(u64, Action)> {
    let implied = rulings.iter().skip(1).filter(|(_, r)| r.verdict == Verdict::Allow && is_answered_before(r));
    implied.map(|(action, r)| (r.of, action.clone())).collect()
}

fn is_answered_before(ruling: &Ruling) -> bool {
    ruling.reasons.iter().any(|r| r.rule == "answered-before")
}

/// Tells the form in which each would pass.
fn tell_forms(rulings: &[(Action, Ruling)], because: &mut [(Action, Reason)]) {
    for (action, ruling) in rulings {
        if let Some(changed) = &ruling.modified
            && let Some((_, reason)) = because.iter_mut().find(|(a, _)| a == action)
        {
            reason.needs = Some(format!("the same with {}", difference(action, changed)));
        }
    }
}

/// What of an action the kernel changed, in words.
fn difference(was: &Action, now: &Action) -> String {
    now.attrs()
        // The kernel's own: nobody can make the same attempt with other labels.
        .filter(|(name, value)| *name != "labels" && was.attr(name) != Some(*value))
        .map(|(name, value)| format!("{name} = {}", serde_json::to_string(value).unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(", ")
}
