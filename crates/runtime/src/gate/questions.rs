//! Questions to people: opened, answered, handed on, settled.
//!
//! INVARIANT: an answer goes to the kernel with the digest of each action that the question shows, and for no other.

use super::changing::Part;
use super::{Gate, GateError, QUESTIONS_MAX, Settled};
use crate::asking;
use crate::clock::rfc3339;
use crate::signed::{self, Signed, Statement};
use flyball_kernel::{Action, Effect, Event, Governance, Input, Reason, Ruling, Verdict};
use flyball_ledger::Kind;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// An attempt's actions that are ruled on together and carried out together or not at all.
pub(super) struct Group {
    /// Each action, as it passes once nobody is waited for.
    pub parts: Vec<Part>,
    pub waiting: BTreeSet<u64>,
    pub because: Vec<(Action, Reason)>,
    /// The implied actions that people allowed, and their attempts.
    pub approved: Vec<(u64, Action)>,
    /// Whether the workspace is captured before it is carried out.
    pub wants_capture: bool,
    /// Whether whoever made the attempt can change it.
    pub can_change: bool,
}

impl Group {
    pub fn attempts(&self) -> Vec<u64> {
        self.parts.iter().map(|part| part.of).collect()
    }
}

/// A question to people: on exactly these actions. INVARIANT: once it was put to them it may lose actions, and never gains one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Question {
    /// Its name: the session's id and the first attempt's entry.
    pub id: String,
    /// The attempt's entry.
    pub of: u64,
    /// Digest of the action asked about.
    pub action: String,
    /// The tier asked.
    pub tier: String,
    /// Who may answer.
    pub who: Vec<String>,
    /// How many must agree.
    pub quorum: u32,
    /// When it is answered for them.
    pub deadline_ns: u64,
    /// The tier that is asked then; nobody is where it is refused then.
    #[serde(default)]
    pub then: Option<String>,
    /// The owners whose contacts are asked.
    #[serde(default)]
    pub owners: Vec<String>,
    /// How grave the gravest of it is, and what it takes to undo.
    #[serde(default)]
    pub governance: Option<Governance>,
    /// The whole attempt.
    pub attempt: Action,
    /// Why it is asked.
    pub reasons: Vec<Reason>,
    /// What else the answer is for: actions that were asked for at once and that the same people are asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Also>,
    /// Tiers that have to agree as well: rules of several owners stopped it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_asked: Vec<AlsoAsked>,
    /// The entry by which it was put to them; 0 before.
    #[serde(default)]
    pub asked: u64,
    /// By which the kernel knows what belongs to it.
    #[serde(skip)]
    pub(crate) first: u64,
}

/// One more tier that has to agree.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AlsoAsked {
    /// The tier.
    pub tier: String,
    /// Who of it may answer.
    pub who: Vec<String>,
    /// How many must agree.
    pub quorum: u32,
    /// When it is answered for them; RFC 3339.
    pub deadline: String,
    /// The tier that is asked then; nobody is where it is refused then.
    #[serde(default)]
    pub then: Option<String>,
}

/// One more action that a question is about.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Also {
    /// The attempt's entry.
    pub of: u64,
    /// Digest of the action.
    pub action: String,
    /// The whole attempt.
    pub attempt: Action,
    /// Why it is asked, where that is for other reasons than the first action.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

/// What somebody says to a question.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `allow`, `deny` or `modify`.
    pub verdict: Verdict,
    /// The changed action, for `modify`.
    pub with: Option<Action>,
    /// The contact of the account that brought it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What a person's key signed: then the answer is theirs, whoever brought it.
    pub signed: Option<Signed>,
    /// The session and entry where it was said, of one that a replay or a fork gives again.
    pub said_in: Option<(String, u64)>,
    /// The attempts that it is for, where not for all that the question names.
    pub only: Vec<u64>,
    /// [`Question::set`] as the person saw it: to another set of actions it is no answer.
    pub set: Option<String>,
}

/// What came of an answer.
#[derive(Debug, Default)]
pub struct Answered {
    /// The attempts that it settled.
    pub settled: Vec<Settled>,
    /// Why it did not count for some of the actions.
    pub refused: Option<String>,
    /// Where people are still asked about the rest.
    pub left: Option<String>,
}

impl Answered {
    /// What there is to say to who answered the question of that id.
    pub(crate) fn said(&self, id: &str, agreed: bool) -> String {
        let mut said: Vec<String> = Vec::new();
        // Something else stopped it since: the session was ended, another rule came to hold.
        if let Some(stopped) = self.settled.iter().find(|s| agreed && s.verdict != Verdict::Allow) {
            let why = stopped.because.first().map(|(_, r)| format!("{}: {}", asking::rule(r), r.reason));
            said.push(format!("it is refused all the same: {}", why.unwrap_or_default()));
        }
        if let Some(why) = &self.refused {
            said.push(format!("not all of it was taken: {why}"));
        }
        match &self.left {
            Some(left) if self.settled.is_empty() && left == id => {
                said.push("heard; others of the tier must answer too".to_owned());
            }
            Some(left) => said.push(format!("people are still asked about the rest: {left}")),
            None => {}
        }
        said.join("; ")
    }
}

impl Question {
    /// Every attempt that it is about, with the digest that an answer binds to.
    pub fn parts(&self) -> impl Iterator<Item = (u64, &str, &Action)> {
        let first = std::iter::once((self.of, self.action.as_str(), &self.attempt));
        first.chain(self.also.iter().map(|a| (a.of, a.action.as_str(), &a.attempt)))
    }

    /// Digest over exactly these attempts and their actions.
    #[must_use]
    pub fn set(&self) -> String {
        set_of(self.parts().map(|(of, action, _)| (of, action)))
    }

    pub(super) fn is_about(&self, of: u64) -> bool {
        self.parts().any(|(part, ..)| part == of)
    }

    /// One more action, before anybody is asked.
    fn take(&mut self, other: Question) {
        self.governance = gravest(self.governance, other.governance);
        let reasons = if other.reasons == self.reasons { Vec::new() } else { other.reasons };
        self.also.push(Also { of: other.of, action: other.action, attempt: other.attempt, reasons });
    }

    /// When each tier's time is over.
    pub(super) fn deadlines_ns(&self) -> impl Iterator<Item = u64> {
        let others = self.also_asked.iter().filter_map(|a| signed::nanoseconds(&a.deadline).ok());
        std::iter::once(self.deadline_ns).chain(others)
    }

    /// When the first of them is over.
    pub(crate) fn ends_ns(&self) -> u64 {
        self.deadlines_ns().min().unwrap_or(self.deadline_ns)
    }

    /// Those who were asked before and whose time is not over still have to agree, beside whoever is asked in another's place.
    fn keep_tiers(&mut self, old: &Question, ruling: &Ruling) {
        let is_late = |tier: &str| {
            let said = format!("`{tier}` did not answer in time");
            ruling.reasons.iter().any(|r| r.rule == "question-escalated" && r.reason.starts_with(&said))
        };
        let is_handed_on = ruling.reasons.iter().any(|r| r.rule == "question-escalated");
        let before = std::iter::once(old.as_asked()).chain(old.also_asked.iter().cloned());
        let there = |q: &Self, tier: &str| q.tier == tier || q.also_asked.iter().any(|a| a.tier == tier);
        for asked in before.filter(|_| is_handed_on) {
            if !is_late(&asked.tier) && !there(self, &asked.tier) {
                self.also_asked.push(asked);
            }
        }
    }

    /// Its first tier, as the others are told.
    fn as_asked(&self) -> AlsoAsked {
        AlsoAsked {
            tier: self.tier.clone(),
            who: self.who.clone(),
            quorum: self.quorum,
            deadline: rfc3339(self.deadline_ns),
            then: self.then.clone(),
        }
    }

    /// Only those of its actions; nothing where none is left.
    fn keep(mut self, session: &str, is_kept: impl Fn(u64) -> bool) -> Option<Self> {
        self.also.retain(|a| is_kept(a.of));
        if is_kept(self.of) {
            return Some(self);
        }
        if self.also.is_empty() {
            return None;
        }
        let next = self.also.remove(0);
        if !next.reasons.is_empty() {
            for other in self.also.iter_mut().filter(|a| a.reasons.is_empty()) {
                other.reasons.clone_from(&self.reasons);
            }
            self.also.iter_mut().filter(|a| a.reasons == next.reasons).for_each(|a| a.reasons.clear());
            self.reasons = next.reasons;
        }
        (self.of, self.action, self.attempt) = (next.of, next.action, next.attempt);
        self.id = id(session, self.of);
        Some(self)
    }

    /// The actions that an answer is for.
    fn chosen(&self, only: &[u64]) -> Result<Vec<(u64, &str, &Action)>, GateError> {
        if let Some(of) = only.iter().find(|of| !self.is_about(**of)) {
            return Err(GateError::Refused(format!("the question is not about entry {of}")));
        }
        Ok(self.parts().filter(|(of, ..)| only.is_empty() || only.contains(of)).collect())
    }

    fn body(&self) -> Json {
        let mut body = json!({
            "id": self.id, "of": self.of, "action": self.action, "tier": self.tier, "who": self.who,
            "quorum": self.quorum, "deadline": rfc3339(self.deadline_ns), "then": self.then, "owners": self.owners,
            "governance": self.governance, "reasons": self.reasons, "attempt": self.attempt, "set": self.set(),
        });
        let Some(map) = body.as_object_mut() else { return body };
        if !self.also.is_empty() {
            map.insert("also".to_owned(), serde_json::to_value(&self.also).unwrap_or_default());
        }
        if !self.also_asked.is_empty() {
            map.insert("also_asked".to_owned(), serde_json::to_value(&self.also_asked).unwrap_or_default());
        }
        body
    }
}

/// Digest over attempts and their actions, in order.
pub(crate) fn set_of<'a>(parts: impl Iterator<Item = (u64, &'a str)>) -> String {
    let mut hash = Sha256::new();
    parts.for_each(|(of, action)| hash.update(format!("{of} {action}\n")));
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

fn id(session: &str, of: u64) -> String {
    format!("{session}-{of}")
}

impl Gate {
    /// Makes the questions of one attempt: what the kernel counts as one, people are asked as one. With `is_later` they wait for
    /// [`Self::put_questions`], and those of other attempts of the batch may come to them. Nothing where nobody can be asked.
    pub(super) fn open_questions(
        &mut self,
        rulings: &[(Action, Ruling)],
        is_later: bool,
    ) -> Result<Option<Vec<Question>>, GateError> {
        let mut found = Vec::new();
        for (action, ruling) in rulings.iter().filter(|(_, r)| r.verdict == Verdict::Hold) {
            let Some(question) = self.question(action, ruling) else { return Ok(None) };
            found.push(question);
        }
        let mut questions = if is_later { std::mem::take(&mut self.pending) } else { Vec::new() };
        let firsts: BTreeSet<u64> = found.iter().chain(&questions).map(|q| q.first).collect();
        if self.questions.len() + firsts.len() > QUESTIONS_MAX {
            self.pending = questions;
            return Ok(None);
        }
        for question in found {
            match questions.iter_mut().find(|q| q.first == question.first) {
                Some(there) => there.take(question),
                None => questions.push(question),
            }
        }
        if is_later {
            self.pending = questions;
            return Ok(Some(Vec::new()));
        }
        for question in &questions {
            self.put(question)?;
        }
        Ok(Some(questions))
    }

    /// Whether there are questions that wait to be put.
    #[must_use]
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Puts the questions that waited for more. What is asked for from here on is another batch.
    ///
    /// # Errors
    /// [`GateError`] when they can't be recorded.
    pub(crate) fn put_questions(&mut self) -> Result<Vec<Question>, GateError> {
        self.batch = None;
        let questions = std::mem::take(&mut self.pending);
        for question in &questions {
            self.put(question)?;
        }
        Ok(questions)
    }

    /// Takes what waits for nobody any more out of the questions. What is left of one is put anew.
    fn tidy_questions(&mut self) -> Result<(), GateError> {
        let waiting: BTreeSet<u64> = self.groups.values().flat_map(|g| g.waiting.iter().copied()).collect();
        let keep = |q: Question, session: &str| q.keep(session, |of| waiting.contains(&of));
        self.pending = std::mem::take(&mut self.pending).into_iter().filter_map(|q| keep(q, &self.session)).collect();
        let is_whole = |q: &Question| q.parts().all(|(of, ..)| waiting.contains(&of));
        let (whole, less): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.questions).into_iter().partition(|(_, q)| is_whole(q));
        self.questions = whole;
        for question in less.into_values().filter_map(|q| keep(q, &self.session)).collect::<Vec<_>>() {
            self.put(&question)?;
        }
        Ok(())
    }

    fn put(&mut self, question: &Question) -> Result<(), GateError> {
        let body = question.body();
        let about: Vec<u64> = question.parts().map(|(of, ..)| of).collect();
        let seq = self.append(Kind::Question, "kernel", &about, body)?;
        // People act on a question from outside; it must not vanish under them.
        self.stream()?.durable(seq)?;
        self.questions.insert(question.id.clone(), Question { asked: seq, ..question.clone() });
        Ok(())
    }

    fn question(&self, action: &Action, ruling: &Ruling) -> Option<Question> {
        let tier_of = |name: &str| self.kernel.charter().escalations().get(name);
        let mut asks = ruling.effects.iter().filter(|effect| matches!(effect, Effect::Ask { .. }));
        let first = asks.next()?;
        let also_asked = asks.filter_map(|effect| match effect {
            Effect::Ask { tier, who, quorum, deadline_ns, .. } => Some(AlsoAsked {
                tier: tier.clone(),
                who: who.clone(),
                quorum: *quorum,
                deadline: rfc3339(*deadline_ns),
                then: tier_of(tier).and_then(|t| t.then.clone()),
            }),
            _ => None,
        });
        match first {
            Effect::Ask { tier, who, quorum, deadline_ns, with } => {
                let asked = tier_of(tier);
                Some(Question {
                    also_asked: also_asked.collect(),
                    id: id(&self.session, ruling.of),
                    of: ruling.of,
                    action: ruling.action.to_string(),
                    tier: tier.clone(),
                    who: who.clone(),
                    quorum: *quorum,
                    deadline_ns: *deadline_ns,
                    then: asked.and_then(|t| t.then.clone()),
                    owners: asked.map(|t| t.ask.clone()).unwrap_or_default(),
                    governance: Some(ruling.governance),
                    attempt: action.clone(),
                    reasons: ruling.reasons.clone(),
                    also: Vec::new(),
                    asked: 0,
                    first: with.unwrap_or(ruling.of),
                })
            }
            _ => None,
        }
    }

    /// The held attempt's asker is gone: its questions close.
    ///
    /// # Errors
    /// [`GateError`] when it can't be recorded.
    pub fn abandon(&mut self, group: u64, why: &str) -> Result<(), GateError> {
        let Some(group) = self.groups.remove(&group) else { return Ok(()) };
        for of in group.attempts() {
            self.withdraw(of, why)?;
        }
        self.tidy_questions()
    }

    /// A question that is closed without an answer: what it holds is refused.
    pub(crate) fn unanswered(&mut self, question: &Question, why: &str) -> Result<Vec<Settled>, GateError> {
        let is_held = |group: &Group| question.parts().any(|(of, ..)| group.waiting.contains(&of));
        let held: Vec<u64> = self.groups.iter().filter(|(_, group)| is_held(group)).map(|(name, _)| *name).collect();
        let mut settled = Vec::new();
        for group in held {
            let because = self.groups.get(&group).map(|held| held.because.clone()).unwrap_or_default();
            self.abandon(group, why)?;
            settled.push(Settled { group, attempts: Vec::new(), verdict: Verdict::Deny, because });
        }
        self.tidy_questions()?;
        Ok(settled)
    }

    /// A person's answer, to all that the question names or to some of it.
    ///
    /// # Errors
    /// [`GateError`] when there is no such question, the answerer may not, or it can't be recorded.
    pub fn answer(&mut self, id: &str, answer: Answer) -> Result<Answered, GateError> {
        let question = self.questions.get(id).cloned().ok_or_else(|| GateError::NoQuestion(id.to_owned()))?;
        if answer.set.as_ref().is_some_and(|set| *set != question.set()) {
            let count = question.also.len() + 1;
            return Err(GateError::Refused(format!("the question names other actions now, {count}: look at it again")));
        }
        let about = question.chosen(&answer.only)?;
        let Answer { verdict, with, by, reason, signed, said_in, .. } = answer;
        if with.is_some() && about.len() > 1 {
            let count = about.len();
            return Err(GateError::Refused(format!(
                "the question is about {count} actions: allow or deny them as they are"
            )));
        }
        // INVARIANT: the kernel hears a key's name only with a signature of that key under this very answer.
        let (by, proof) = match signed {
            // Or where it stands with one: that a replay gives again, and `verify` follows.
            None => (by, said_in.map(|(session, seq)| json!({ "said_in": { "session": session, "seq": seq } }))),
            Some(signed) => {
                let now_ns = self.clock.now_ns();
                let chosen = about.iter().map(|(_, action, _)| *action);
                let said =
                    Statement::of(&signed::asked(id, question.asked), chosen, verdict, with.as_ref(), &reason, "");
                match signed::check(&signed, &said, question.deadline_ns, now_ns) {
                    Ok(key) => (key, Some(json!({ "signed": signed, "brought_by": by }))),
                    Err(error) => {
                        let detail = format!("an answer to {id}, brought by {by}: {error}");
                        let body = json!({ "alert": "signature", "detail": detail });
                        self.append(Kind::Alert, "supervisor", &[question.of], body)?;
                        return Err(GateError::Refused(error.to_string()));
                    }
                }
            }
        };
        let (mut done, mut heard) = (Answered::default(), false);
        for (of, action, attempt) in about {
            // A refusal of one action settled the others of its attempt.
            if !self.groups.values().any(|g| g.waiting.contains(&of)) {
                continue;
            }
            if verdict != Verdict::Deny {
                self.take_shared(with.as_ref().unwrap_or(attempt))?;
            }
            let answer = Event::Answer {
                of,
                action: action.to_owned(),
                verdict,
                with: with.clone().map(Box::new),
                by: by.clone(),
                reason: reason.clone(),
            };
            match self.answer_one(&question, of, answer, proof.as_ref()) {
                Ok(settled) => {
                    heard = true;
                    done.settled.extend(settled);
                }
                Err(GateError::Refused(why)) => {
                    done.refused.get_or_insert(why);
                    // Who may not answer the first may not answer any.
                    if !heard {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.tidy_questions()?;
        self.stream()?.flush()?;
        done.left = question
            .parts()
            .find_map(|(of, ..)| self.questions.values().find(|q| q.is_about(of)))
            .map(|q| q.id.clone());
        match done.refused {
            Some(why) if !heard => Err(GateError::Refused(why)),
            _ => Ok(done),
        }
    }

    /// The answer to one of the question's actions.
    fn answer_one(
        &mut self,
        question: &Question,
        of: u64,
        answer: Event,
        proof: Option<&Json>,
    ) -> Result<Option<Settled>, GateError> {
        let Event::Answer { action, verdict, with, by, reason, .. } = &answer else { return Ok(None) };
        let at_ns = self.clock.now_ns();
        let mut body = json!({
            "question": question.id, "asked": question.asked, "set": question.set(), "of": of, "action": action, "verdict": verdict, "by": by, "reason": reason, "with": with,
        });
        if let (Some(body), Some(Json::Object(proof))) = (body.as_object_mut(), proof) {
            body.extend(proof.clone());
        }
        let seq = self.append_at(at_ns, Kind::Answer, by, &[of], body)?;
        let rulings = self.step(&Input { seq, at_ns, event: answer })?;
        let caused =
            rulings.iter().flat_map(|r| r.effects.iter().filter(|e| matches!(e, Effect::Cause { .. })).cloned());
        self.effects.extend(caused);
        let is_late = self.late.iter().any(|r| r.of == of);
        let refused = rulings
            .iter()
            .find(|r| r.verdict == Verdict::Hold && !is_heard(r) || is_late)
            .map(|r| r.reasons.iter().map(|x| format!("{}: {}", x.rule, x.reason)).collect::<Vec<_>>().join("; "));
        let settled = self.settle(rulings)?.into_iter().next();
        match (settled, refused) {
            (Some(settled), _) => Ok(Some(settled)),
            (None, Some(why)) => {
                self.stream()?.flush()?;
                Err(GateError::Refused(if is_late { "its deadline has passed".to_owned() } else { why }))
            }
            (None, None) => Ok(None),
        }
    }

    /// Lets deadlines act. Gives the attempts that they settle, and tiers that are asked next show in [`Self::questions`].
    ///
    /// # Errors
    /// [`GateError`] when it can't be recorded.
    pub fn tick(&mut self) -> Result<(Vec<Settled>, Vec<Effect>), GateError> {
        let at_ns = self.clock.now_ns();
        let seq = self.append_at(at_ns, Kind::Tick, "clock", &[], json!({}))?;
        let rulings = self.step(&Input { seq, at_ns, event: Event::Tick })?;
        let late = std::mem::take(&mut self.late);
        let effects = late.iter().chain(&rulings).flat_map(|r| r.effects.iter().cloned()).collect();
        let mut settled = self.carry_out(late)?;
        settled.extend(self.settle(rulings)?);
        self.tidy_questions()?;
        Ok((settled, effects))
    }

    fn settle(&mut self, rulings: Vec<Ruling>) -> Result<Vec<Settled>, GateError> {
        for ruling in &rulings {
            self.record_ruling(ruling)?;
        }
        self.carry_out(rulings)
    }

    /// Does what rulings on held attempts say; they are on record.
    fn carry_out(&mut self, rulings: Vec<Ruling>) -> Result<Vec<Settled>, GateError> {
        let mut settled = Vec::new();
        let mut again = Vec::new();
        for ruling in rulings {
            let Some((&name, group)) = self.groups.iter().find(|(_, g)| g.waiting.contains(&ruling.of)) else {
                continue;
            };
            match ruling.verdict {
                Verdict::Hold => again.push(ruling),
                Verdict::Allow => settled.extend(self.one_agreed(name, &ruling)?),
                Verdict::Modify if group.can_change => settled.extend(self.one_agreed(name, &ruling)?),
                Verdict::Modify | Verdict::Deny => settled.extend(self.refused(name, &ruling)?),
            }
        }
        self.ask_again(&again)?;
        Ok(settled)
    }

    /// Others are asked, or the same for another reason: what was one question and asks the same people until the same time
    /// stays one.
    fn ask_again(&mut self, rulings: &[Ruling]) -> Result<(), GateError> {
        // With the name of the question that each was part of.
        let mut next: Vec<(String, Question)> = Vec::new();
        for ruling in rulings {
            let Some(old) = self.questions.values().find(|q| q.is_about(ruling.of)) else { continue };
            let Some((_, _, attempt)) = old.parts().find(|(of, ..)| *of == ruling.of) else { continue };
            let Some(mut question) = self.question(attempt, ruling) else { continue };
            question.keep_tiers(old, ruling);
            let is_one = |there: &Question| (&there.tier, there.deadline_ns) == (&question.tier, question.deadline_ns);
            let old = old.id.clone();
            match next.iter_mut().find(|(was, there)| *was == old && is_one(there)) {
                Some((_, there)) => there.take(question),
                None => next.push((old, question)),
            }
        }
        for (_, question) in &next {
            let was = self.questions.values().find(|q| q.is_about(question.of)).map(|q| q.id.clone());
            let old = was.and_then(|id| self.questions.remove(&id));
            // What is left of the old one is put under its own name.
            if let Some(rest) = old.and_then(|old| old.keep(&self.session, |of| !question.is_about(of))) {
                self.put(&rest)?;
            }
            self.put(question)?;
        }
        Ok(())
    }

    fn one_agreed(&mut self, name: u64, ruling: &Ruling) -> Result<Option<Settled>, GateError> {
        let Some(group) = self.groups.get_mut(&name) else { return Ok(None) };
        group.waiting.remove(&ruling.of);
        let about = self.questions.values().find(|q| q.is_about(ruling.of));
        // What was changed before it was allowed is another action than the one that may still come.
        let attempt = about.and_then(|q| q.parts().find(|(of, ..)| *of == ruling.of)).map(|(_, _, a)| a.clone());
        let attempt = attempt.map(|attempt| ruling.modified.as_deref().cloned().unwrap_or(attempt));
        group.approved.extend(attempt.filter(|_| ruling.of != name).map(|a| (ruling.of, a)));
        let part = group.parts.iter_mut().find(|part| part.of == ruling.of);
        part.into_iter().for_each(|part| part.given = ruling.modified.as_deref().cloned());
        if !group.waiting.is_empty() {
            return Ok(None);
        }
        let Some(group) = self.groups.remove(&name) else { return Ok(None) };
        let attempts = group.attempts();
        if group.parts.iter().any(|part| part.given.is_some()) {
            let because = group.because.clone();
            self.is_changed(name, group.parts, group.because, group.approved)?;
            return Ok(Some(Settled { group: name, attempts, verdict: Verdict::Modify, because }));
        }
        self.foreseen.allow(name, group.approved);
        // An approval is for what people saw: it is on record for good before it takes effect.
        self.dispatch(&attempts, true)?;
        Ok(Some(Settled { group: name, attempts, verdict: Verdict::Allow, because: group.because }))
    }

    fn refused(&mut self, name: u64, ruling: &Ruling) -> Result<Option<Settled>, GateError> {
        let Some(group) = self.groups.remove(&name) else { return Ok(None) };
        self.counts.denied += 1;
        let about =
            self.questions.values().chain(&self.pending).flat_map(Question::parts).find(|(of, ..)| *of == ruling.of);
        let about = about.map(|(_, _, attempt)| attempt.clone());
        for of in group.attempts() {
            if of != ruling.of {
                self.withdraw(of, "another part of the same attempt was refused")?;
            }
        }
        // Why it is refused, and with it what had stopped it.
        let mut because: Vec<_> =
            about.into_iter().flat_map(|a| ruling.reasons.iter().map(move |r| (a.clone(), r.clone()))).collect();
        because.extend(group.because);
        Ok(Some(Settled { group: name, attempts: Vec::new(), verdict: Verdict::Deny, because }))
    }
}

/// What is said of several actions together is said of the worst of them.
fn gravest(one: Option<Governance>, other: Option<Governance>) -> Option<Governance> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    Some(Governance {
        consequence: one.consequence.max(other.consequence),
        reversibility: one.reversibility.max(other.reversibility),
        ..one
    })
}

/// Whether an answer counted, though the attempt is still held.
fn is_heard(ruling: &Ruling) -> bool {
    ruling.reasons.iter().any(|r| r.rule == "answer-counted")
        || ruling.effects.iter().any(|e| matches!(e, Effect::Ask { .. }))
}
