//! Requests inside connections that were let go on: ruled on as the connection was.

use super::content::joined;
use super::{Core, Notice, OnHold};
use crate::gate::Settled;
use crate::refusal;
use crate::rerun::Refusals;
use flyball_kernel::{Action, Value, Verdict};
use flyball_ledger::Kind;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Places whose connections' entries are remembered; of more, the memory starts anew and causes are the session's opening.
const PLACES_MAX: usize = 4096;

/// What is remembered of connections and of requests that wait.
#[derive(Default)]
pub(crate) struct Requests {
    /// The last allowed attempt to connect there.
    connections: BTreeMap<(String, u16), u64>,
    /// Requests that people are asked about, with what they said.
    waiting: BTreeMap<u64, Option<Settled>>,
    /// Why what people allowed is refused all the same.
    refused: BTreeMap<u64, String>,
    /// Attempts that were allowed and have no outcome yet.
    open: BTreeSet<u64>,
}

impl Requests {
    pub(super) fn take_open(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.open)
    }
}

/// What becomes of a request.
pub(crate) enum Outgoing {
    Allowed(Vec<u64>),
    Denied(u64, String),
    /// People are asked about the attempt of this name.
    Held(u64),
    /// It passes in another form.
    Changed(u64),
}

impl Core {
    /// An attempt to connect there was allowed.
    pub(super) fn connects(&mut self, name: Option<&str>, address: SocketAddr, attempt: u64) {
        let connections = &mut self.requests.connections;
        if connections.len() >= PLACES_MAX {
            connections.clear();
        }
        connections.insert((place(name, address), address.port()), attempt);
    }

    /// Who acts in a connection, and what led to it.
    pub(crate) fn connected(&self, name: Option<&str>, address: SocketAddr) -> (String, Vec<u64>) {
        let attempt = self.requests.connections.get(&(place(name, address), address.port()));
        (self.agent.clone(), vec![attempt.copied().unwrap_or(self.opened)])
    }

    /// Whether a ruling on these waits for nothing: no file is to be looked at first, and no disk.
    pub(crate) fn is_quick(&self, actions: &[Action]) -> bool {
        self.capture.is_quiet() && !self.gate.waits(actions)
    }

    /// Rules on a request.
    pub(crate) fn outgoing(&mut self, actions: Vec<Action>, cause: &[u64], can_change: bool) -> Outgoing {
        if self.breached {
            return Outgoing::Denied(0, "flyball: denied, the boundary of this session was attacked".to_owned());
        }
        // The barrier, as before a connection: what was written since it was opened must not leave by it.
        let before = self.refusals();
        if let Err(error) = self.barrier(cause) {
            return Outgoing::Denied(0, format!("flyball: denied, the workspace could not be recorded first: {error}"));
        }
        if let Some(text) = self.unaccepted(before) {
            return Outgoing::Denied(0, text);
        }
        if self.gate.wants_capture(&actions) {
            self.gate.captured(self.capture.state.digest());
        }
        let asked = match can_change {
            true => self.gate.ask_changeable(&actions, cause),
            false => self.gate.ask(&actions, cause),
        };
        self.take_effects(&asked.effects);
        match asked.verdict {
            Verdict::Modify => Outgoing::Changed(asked.group),
            Verdict::Allow => match self.follow_taint() {
                Ok(()) => {
                    self.requests.open.extend(&asked.attempts);
                    Outgoing::Allowed(asked.attempts)
                }
                Err(error) => {
                    self.record_outcomes(&asked.attempts, false, &BTreeMap::new());
                    self.told_outgoing(asked.group, super::labels::refusal(&error))
                }
            },
            Verdict::Hold if self.on_hold == OnHold::Wait => {
                self.requests.waiting.insert(asked.group, None);
                for question in asked.questions {
                    self.hear(Notice::Asked(Box::new(question)));
                }
                Outgoing::Held(asked.group)
            }
            Verdict::Hold => {
                let abandoned = self.gate.abandon(asked.group, "this run does not wait for answers (--on-hold deny)");
                if let Err(error) = abandoned {
                    self.outbox.push(Notice::Alert(error.to_string()));
                }
                let text = refusal::text(&self.session, asked.group, &asked.because);
                self.told_outgoing(asked.group, text)
            }
            Verdict::Deny => {
                let text = refusal::text(&self.session, asked.group, &asked.because);
                self.told_outgoing(asked.group, text)
            }
        }
    }

    /// Why a request may not leave now: content that was refused and stands, or that people are asked about.
    fn unaccepted(&self, refusals_before: u64) -> Option<String> {
        let mut texts: Vec<String> = self.contents.unaccepted.values().filter_map(|u| u.refused.clone()).collect();
        if self.contents.refusals > refusals_before {
            texts.extend(self.contents.untold.iter().cloned());
        }
        if !texts.is_empty() {
            let count = texts.len() as u64;
            return Some(joined(&texts, count));
        }
        let asked = "flyball: denied, people are asked about what was written; once they have answered, it passes\n";
        (!self.contents.asked.is_empty()).then(|| asked.to_owned())
    }

    /// What a program is told, kept or as it was told then.
    pub(super) fn as_then(&mut self, seq: u64, text: String) -> String {
        if let Refusals::Kept = &self.refusals {
            let body = serde_json::json!({ "refused": { "of": seq, "text": text } });
            let _ = self.gate.note(Kind::Observe, "supervisor", &[], body);
        }
        self.refusals.again(text)
    }

    fn told_outgoing(&mut self, seq: u64, text: String) -> Outgoing {
        let text = self.as_then(seq, text);
        self.hear(Notice::Refused { seq, text: text.clone() });
        Outgoing::Denied(seq, text)
    }

    /// A settled attempt that is a request's; `false` when it is none.
    ///
    /// INVARIANT: as with a call, what it taints is labelled before it goes on.
    pub(super) fn settle_outgoing(&mut self, settled: &Settled) -> bool {
        if !self.requests.waiting.contains_key(&settled.group) {
            return false;
        }
        let (mut verdict, mut attempts) = (settled.verdict, settled.attempts.clone());
        if verdict == Verdict::Allow
            && let Err(error) = self.follow_taint()
        {
            verdict = Verdict::Deny;
            self.record_outcomes(&std::mem::take(&mut attempts), false, &BTreeMap::new());
            self.requests.refused.insert(settled.group, super::labels::refusal(&error));
        }
        let settled = Settled { group: settled.group, attempts, verdict, because: settled.because.clone() };
        self.requests.waiting.insert(settled.group, Some(settled));
        true
    }

    /// Carries on with what passes in another form, as [`flyball_gateway::Gate::give`].
    ///
    /// INVARIANT: the point to go back to is the workspace as it is now, and that of this form.
    pub(crate) fn give_outgoing(&mut self, group: u64, given: Option<&[Action]>) -> Outgoing {
        let captured = match given.is_some_and(|given| self.gate.wants_capture(given)) {
            true => self.capture_before(&[group], false),
            false => Ok(()),
        };
        let settled = self.gate.give(group, given.filter(|_| captured.is_ok()));
        self.gate.forget_point();
        if let Err(error) = captured {
            let text = format!("flyball: denied, the workspace could not be captured first: {error}\n");
            return self.told_outgoing(group, text);
        }
        match settled {
            Ok(settled) if settled.verdict == Verdict::Allow => match self.follow_taint() {
                Ok(()) => {
                    self.requests.open.extend(&settled.attempts);
                    Outgoing::Allowed(settled.attempts)
                }
                Err(error) => {
                    self.record_outcomes(&settled.attempts, false, &BTreeMap::new());
                    self.told_outgoing(group, super::labels::refusal(&error))
                }
            },
            Ok(settled) => {
                let text = refusal::text(&self.session, group, &settled.because);
                self.told_outgoing(group, text)
            }
            Err(error) => self.told_outgoing(group, format!("flyball: denied: {error}\n")),
        }
    }

    /// What was said of a request, once; the inner `None` while nobody has said anything.
    pub(crate) fn take_outgoing(&mut self, group: u64) -> Option<Settled> {
        self.requests.waiting.get(&group)?.as_ref()?;
        let settled = self.requests.waiting.remove(&group)?;
        if let Some(settled) = settled.as_ref().filter(|settled| settled.verdict == Verdict::Allow) {
            self.requests.open.extend(&settled.attempts);
        }
        settled
    }

    pub(crate) fn outgoing_text(&mut self, settled: &Settled) -> String {
        let own = self.requests.refused.remove(&settled.group);
        let text = own.unwrap_or_else(|| refusal::text(&self.session, settled.group, &settled.because));
        let text = self.as_then(settled.group, text);
        self.hear(Notice::Refused { seq: settled.group, text: text.clone() });
        text
    }

    /// Whoever made the request waits no longer.
    pub(crate) fn give_up_outgoing(&mut self, group: u64) {
        self.requests.refused.remove(&group);
        if let Some(said) = self.requests.waiting.remove(&group) {
            let told = match said {
                None => self.gate.abandon(group, "the request that asked is gone").map_err(|e| e.to_string()),
                Some(settled) => {
                    self.gate.forget_forms(group);
                    self.record_outcomes(&settled.attempts, false, &BTreeMap::new());
                    Ok(())
                }
            };
            if let Err(error) = told {
                self.outbox.push(Notice::Alert(error));
            }
        }
    }

    /// What became of an allowed request.
    pub(crate) fn outgoing_ended(&mut self, attempts: &[u64], ok: Option<bool>, attrs: &BTreeMap<String, Value>) {
        attempts.iter().for_each(|of| _ = self.requests.open.remove(of));
        match ok {
            Some(ok) => self.record_outcomes(attempts, ok, attrs),
            None => {
                for &of in attempts {
                    let mut body = json!({ "of": of, "ok": null, "unknown": true });
                    if let Some(body) = body.as_object_mut() {
                        let told = attrs.iter().map(|(name, value)| (name.clone(), json!(value)));
                        body.extend(told);
                    }
                    let _ = self.gate.note(Kind::Outcome, "gate", &[of], body);
                }
            }
        }
    }
}

fn place(name: Option<&str>, address: SocketAddr) -> String {
    name.map_or_else(|| address.ip().to_string(), str::to_owned)
}
