//! Questions to people: opened, answered, handed on, settled.
//!
//! INVARIANT: an answer goes to the kernel with the digest of each action that the question shows, and for no other.

use super::{Gate, GateError, QUESTIONS_MAX, Settled};
use crate::clock::rfc3339;
use crate::signed::{self, Signed};
use flyball_kernel::{Action, Effect, Event, Governance, Input, Reason, Ruling, Verdict};
use flyball_ledger::Kind;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

/// Actions beside the first that one question is about: people must be able to read them all.
const ALSO_MAX: usize = 255;

/// An attempt's actions that are ruled on together and carried out together or not at all.
pub(super) struct Group {
    pub attempts: Vec<u64>,
    pub waiting: BTreeSet<u64>,
    pub because: Vec<(Action, Reason)>,
    /// The implied actions that people allowed, and their attempts.
    pub approved: Vec<(u64, Action)>,
    /// Whether the workspace is captured before it is carried out.
    pub wants_capture: bool,
}

/// A question to people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Question {
    /// Its name: the session's id and the attempt's entry.
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
    /// What else the answer is for: actions of the same attempt that the same rules stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Also>,
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
}

impl Question {
    /// Every attempt that it is about, with the digest that an answer binds to.
    fn parts(&self) -> impl Iterator<Item = (u64, &str, &Action)> {
        let first = std::iter::once((self.of, self.action.as_str(), &self.attempt));
        first.chain(self.also.iter().map(|a| (a.of, a.action.as_str(), &a.attempt)))
    }

    fn is_about(&self, of: u64) -> bool {
        self.parts().any(|(part, ..)| part == of)
    }

    fn body(&self) -> Json {
        let mut body = json!({
            "id": self.id, "of": self.of, "action": self.action, "tier": self.tier, "who": self.who,
            "quorum": self.quorum, "deadline": rfc3339(self.deadline_ns), "then": self.then, "owners": self.owners,
            "governance": self.governance, "reasons": self.reasons, "attempt": self.attempt,
        });
        if let (Some(body), false) = (body.as_object_mut(), self.also.is_empty()) {
            body.insert("also".to_owned(), serde_json::to_value(&self.also).unwrap_or_default());
        }
        body
    }
}

impl Gate {
    /// Opens the questions of one attempt: one for all its actions that the same rules stopped and the same people are asked
    /// about.
    pub(super) fn open_questions(
        &mut self,
        group: u64,
        attempts: &[u64],
        rulings: &[(Action, Ruling)],
    ) -> Result<Vec<Question>, GateError> {
        let mut questions: Vec<Question> = Vec::new();
        for (action, ruling) in rulings.iter().filter(|(_, r)| r.verdict == Verdict::Hold) {
            let Some(question) = self.question(action, ruling) else { return Ok(Vec::new()) };
            let rules = |reasons: &[Reason]| reasons.iter().map(|r| r.rule.clone()).collect::<Vec<_>>();
            let same = questions.iter_mut().find(|q| {
                q.tier == question.tier && rules(&q.reasons) == rules(&question.reasons) && q.also.len() < ALSO_MAX
            });
            match same {
                Some(there) => {
                    there.governance = gravest(there.governance, question.governance);
                    there.also.push(Also { of: question.of, action: question.action, attempt: question.attempt });
                }
                None => questions.push(question),
            }
        }
        if self.questions.len() + questions.len() > QUESTIONS_MAX {
            return Ok(Vec::new());
        }
        for question in &questions {
            let mut body = question.body();
            if let Some(body) = body.as_object_mut() {
                body.insert("group".to_owned(), group.into());
                body.insert("attempts".to_owned(), attempts.into());
            }
            self.put(question, body)?;
        }
        Ok(questions)
    }

    fn put(&mut self, question: &Question, body: Json) -> Result<(), GateError> {
        let about: Vec<u64> = question.parts().map(|(of, ..)| of).collect();
        let seq = self.append(Kind::Question, "kernel", &about, body)?;
        // People act on a question from outside; it must not vanish under them.
        self.stream()?.durable(seq)?;
        self.questions.insert(question.id.clone(), question.clone());
        Ok(())
    }

    fn question(&self, action: &Action, ruling: &Ruling) -> Option<Question> {
        ruling.effects.iter().find_map(|effect| match effect {
            Effect::Ask { tier, who, quorum, deadline_ns } => {
                let asked = self.kernel.charter().escalations().get(tier);
                Some(Question {
                    id: format!("{}-{}", self.session, ruling.of),
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
                })
            }
            _ => None,
        })
    }

    /// The held attempt's asker is gone: its questions close.
    ///
    /// # Errors
    /// [`GateError`] when it can't be recorded.
    pub fn abandon(&mut self, group: u64, why: &str) -> Result<(), GateError> {
        let Some(group) = self.groups.remove(&group) else { return Ok(()) };
        self.questions.retain(|_, q| !group.attempts.contains(&q.of));
        for of in group.attempts {
            self.withdraw(of, why)?;
        }
        Ok(())
    }

    /// A person's answer. Gives the attempt that it settles, if it does.
    ///
    /// # Errors
    /// [`GateError`] when there is no such question, the answerer may not, or it can't be recorded.
    pub fn answer(&mut self, id: &str, answer: Answer) -> Result<Option<Settled>, GateError> {
        let question = self.questions.get(id).cloned().ok_or_else(|| GateError::NoQuestion(id.to_owned()))?;
        let Answer { verdict, with, by, reason, signed } = answer;
        if with.is_some() && !question.also.is_empty() {
            let count = question.also.len() + 1;
            return Err(GateError::Refused(format!(
                "the question is about {count} actions: allow or deny them as they are"
            )));
        }
        // INVARIANT: the kernel hears a key's name only with a signature of that key under this very answer.
        let (by, proof) = match signed {
            None => (by, None),
            Some(signed) => {
                let now_ns = self.clock.now_ns();
                match signed::check(&signed, &question, verdict, with.as_ref(), &reason, now_ns) {
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
        let mut settled = None;
        for (of, action, attempt) in question.parts() {
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
            settled = self.answer_one(id, of, answer, proof.as_ref())?;
            if settled.is_some() {
                break;
            }
        }
        self.stream()?.flush()?;
        Ok(settled)
    }

    /// The answer to one of the question's actions.
    fn answer_one(
        &mut self,
        id: &str,
        of: u64,
        answer: Event,
        proof: Option<&Json>,
    ) -> Result<Option<Settled>, GateError> {
        let Event::Answer { action, verdict, with, by, reason, .. } = &answer else { return Ok(None) };
        let at_ns = self.clock.now_ns();
        let mut body = json!({
            "question": id, "of": of, "action": action, "verdict": verdict, "by": by, "reason": reason, "with": with,
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
        for ruling in rulings {
            let Some((&name, _)) = self.groups.iter().find(|(_, g)| g.waiting.contains(&ruling.of)) else { continue };
            match ruling.verdict {
                Verdict::Hold => self.ask_next_tier(&ruling)?,
                Verdict::Allow => settled.extend(self.one_agreed(name, &ruling)?),
                Verdict::Modify | Verdict::Deny => settled.extend(self.refused(name, &ruling)?),
            }
        }
        Ok(settled)
    }

    fn ask_next_tier(&mut self, ruling: &Ruling) -> Result<(), GateError> {
        let Some(old) = self.questions.values().find(|q| q.is_about(ruling.of)).cloned() else { return Ok(()) };
        let about = old.parts().find(|(of, ..)| *of == ruling.of).map(|(_, _, attempt)| attempt);
        let Some(mut next) = about.and_then(|attempt| self.question(attempt, ruling)) else { return Ok(()) };
        if next.of != old.of {
            // One of several: they are handed on together, with the first of them.
            if next.tier == old.tier {
                return Ok(());
            }
            if let Some(there) = self.questions.get_mut(&old.id) {
                there.also.retain(|a| a.of != ruling.of);
            }
        } else if next.tier == old.tier && next.deadline_ns == old.deadline_ns {
            return Ok(());
        } else {
            next.also = old.also;
            next.governance = gravest(next.governance, old.governance);
        }
        let body = next.body();
        self.put(&next, body)
    }

    fn one_agreed(&mut self, name: u64, ruling: &Ruling) -> Result<Option<Settled>, GateError> {
        let Some(group) = self.groups.get_mut(&name) else { return Ok(None) };
        group.waiting.remove(&ruling.of);
        let about = self.questions.values().find(|q| q.is_about(ruling.of));
        // What was changed before it was allowed is another action than the one that may still come.
        let attempt = about.and_then(|q| q.parts().find(|(of, ..)| *of == ruling.of)).map(|(_, _, a)| a.clone());
        group.approved.extend(attempt.filter(|_| ruling.of != name).map(|a| (ruling.of, a)));
        let is_whole = group.waiting.is_empty();
        // Of all attempts: an answer to one leaves the questions of the others open.
        let waiting: BTreeSet<u64> = self.groups.values().flat_map(|g| g.waiting.iter().copied()).collect();
        self.questions.retain(|_, q| q.parts().any(|(of, ..)| waiting.contains(&of)));
        if !is_whole {
            return Ok(None);
        }
        let Some(group) = self.groups.remove(&name) else { return Ok(None) };
        self.foreseen.allow(name, group.approved);
        // An approval is for what people saw: it is on record for good before it takes effect.
        self.dispatch(&group.attempts, true)?;
        Ok(Some(Settled { group: name, attempts: group.attempts, verdict: Verdict::Allow, because: group.because }))
    }

    fn refused(&mut self, name: u64, ruling: &Ruling) -> Result<Option<Settled>, GateError> {
        let Some(group) = self.groups.remove(&name) else { return Ok(None) };
        self.counts.denied += 1;
        let about = self.questions.values().flat_map(Question::parts).find(|(of, ..)| *of == ruling.of);
        let about = about.map(|(_, _, attempt)| attempt.clone());
        self.questions.retain(|_, q| !group.attempts.contains(&q.of));
        for of in group.attempts {
            if of != ruling.of {
                self.withdraw(of, "another part of the same attempt was refused")?;
            }
        }
        let because =
            about.map(|a| ruling.reasons.iter().map(|r| (a.clone(), r.clone())).collect()).unwrap_or(group.because);
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
