//! Another program in the state of a recorded session at a step: its workspace, and its kernel with facts, budgets and autonomy.
//!
//! The fork's record begins with the parent's entries up to that step, under the same numbers: what a ruling rests on stands in the
//! same record, and a replay makes all of it again. The entry after them says whose they are, and what was left open is closed there.
//!
//! INVARIANT: what the parent did is not done again by this: entries are copied, registers that sessions share are not.

use super::{Answers, RerunError};
use crate::gate::{Answer, Question};
use crate::replay::Player;
use crate::state::State;
use crate::{rewind, translate};
use flyball_kernel::{Charter, Kernel, Reversibility, Sources, Verdict};
use flyball_ledger::{Digest, Draft, Entry, Filter, Ledger, Stream};
use flyball_sandbox::workspace::{self, Layers, Node};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A session's state at a step.
#[derive(Debug)]
pub struct Fork {
    parent: String,
    until: u64,
    leaf: Digest,
    opening: Entry,
    /// The kernel's, under the charter that was in force.
    kernel: Vec<u8>,
    /// Of the charter in force.
    pub(crate) sources: Sources,
    learns: Option<Vec<String>>,
    pub(crate) agent: String,
    state: State,
    /// What the real tree had at paths that the parent touched later.
    later: BTreeMap<String, Node>,
    answers: Option<Mutex<Answers>>,
}

/// Generations before the parent that a fork's opening names.
const GENERATIONS_MAX: usize = 16;

/// A member of an opening that says whose history it goes on with, cut off where that is told over too many generations.
fn lineage(of: &str, opening: &Json) -> Option<(String, Json)> {
    let mut found = opening.get(of)?.clone();
    let mut last = Some(&mut found);
    for _ in 1..GENERATIONS_MAX {
        last = last.and_then(|from| from.get_mut("forked_from"));
    }
    if let Some(last) = last.and_then(Json::as_object_mut) {
        last.remove("forked_from");
    }
    Some((of.to_owned(), found))
}

impl Fork {
    /// Reads it off the parent's record. `reopens`: what people answered after that step is asked again.
    ///
    /// # Errors
    /// [`RerunError`] when there is no such step, or its state can't be made.
    pub fn of(ledger: &Ledger, parent: &str, until: u64, reopens: bool) -> Result<Self, RerunError> {
        let lost = |seq: u64, why: &str| RerunError::Record { seq, why: why.to_owned() };
        let heads = ledger.heads()?;
        let head = heads.iter().find(|head| head.id == parent).ok_or_else(|| lost(0, "there is no such session"))?;
        let last = head.closed_seq.ok_or_else(|| lost(until, "the session has not ended; end it first"))?;
        if until == 0 || until >= last {
            return Err(RerunError::NoStep { until, last: last.saturating_sub(1) });
        }
        let played = Player::up_to(ledger, parent, until)?;
        let (player, leaf) = played.map_err(|obstacle| lost(obstacle.seq, &obstacle.why))?;
        if !player.recompiled.is_empty() {
            return Err(lost(player.charter_seq, "this flyball compiles the charter to another digest"));
        }
        let opening = ledger.entry(parent, 1)?;
        let body = ledger.body(&opening)?;
        let in_force = ledger.entry(parent, player.charter_seq)?;
        let in_force = ledger.body(&in_force)?;
        let files = in_force.pointer("/charter/files").or(in_force.get("files")).cloned().unwrap_or_default();
        let sources =
            serde_json::from_value(files).map_err(|_| lost(player.charter_seq, "its charter can't be read"))?;
        let is_learning = body.get("learning").and_then(Json::as_bool) == Some(true) && player.charter_seq == 1;
        let learns = is_learning.then(|| serde_json::from_value(body.get("kept").cloned().unwrap_or_default()));
        let learns = learns.transpose().map_err(|_| lost(1, "what its learning charter kept can't be read"))?;
        let kernel = player.kernel.as_ref().ok_or_else(|| lost(1, "the session has no opening"))?.snapshot();
        let unread = |error: crate::state::StateError| RerunError::State(error.to_string());
        let state = State::as_recorded(ledger, parent, until).map_err(unread)?;
        let end = State::at(ledger, parent, last).map_err(unread)?;
        let later = end.bases().filter(|(path, _)| state.node(path).is_none());
        let answers = match reopens {
            true => None,
            false => Some(Mutex::new(Answers::of(ledger, parent, until + 1)?)),
        };
        Ok(Self {
            parent: parent.to_owned(),
            until,
            leaf: leaf.ok_or_else(|| lost(until, "there is no such entry"))?,
            agent: body.get("agent").and_then(Json::as_str).unwrap_or_default().to_owned(),
            later: later.map(|(path, node)| (path.to_owned(), node)).collect(),
            opening: Entry { body, ..opening },
            kernel,
            sources,
            learns,
            state,
            answers,
        })
    }

    /// The workspace, and where the parent's program began in it.
    pub(crate) fn place(&self) -> (PathBuf, PathBuf) {
        let at = |key: &str| translate::path(self.opening.body.get(key).and_then(Json::as_str).unwrap_or_default());
        (at("workspace"), at("cwd"))
    }

    /// The charter that was in force.
    pub(crate) fn charter(&self, charter: Charter) -> Charter {
        match &self.learns {
            Some(kept) => charter.learning(kept.clone()),
            None => charter,
        }
    }

    /// The kernel as it stood.
    pub(crate) fn kernel(&self, charter: &Arc<Charter>) -> Result<Kernel, RerunError> {
        Kernel::restore(Arc::clone(charter), &self.kernel).map_err(|e| RerunError::State(e.to_string()))
    }

    /// The workspace as it stood, as changes to the real tree.
    pub(crate) fn state(&self) -> State {
        self.state.clone()
    }

    /// What the fork's first entry says: as the parent's, with its own name and place, and whose the next ones are.
    pub(crate) fn tell(&self, body: &mut Json) {
        let Some(body) = body.as_object_mut() else { return };
        for key in ["charter", "learning", "kept"] {
            if let Some(was) = self.opening.body.get(key) {
                body.insert(key.to_owned(), was.clone());
            }
        }
        let mut from = json!({ "session": self.parent, "until": self.until, "leaf": self.leaf.to_string() });
        // What the parent itself began with is told along: somebody who has this session alone can't look there.
        for of in ["forked_from", "replay_of"] {
            if let (Some(of), Some(from)) = (lineage(of, &self.opening.body), from.as_object_mut()) {
                from.extend([of]);
            }
        }
        body.insert("forked_from".to_owned(), from);
    }

    /// When the history that the fork goes on with began.
    pub(crate) fn began_ns(&self) -> u64 {
        self.opening.at_ns
    }

    /// Puts the parent's entries behind the fork's first.
    pub(crate) fn copy(&self, ledger: &Ledger, stream: &Stream) -> Result<(), RerunError> {
        for entry in ledger.entries(&self.parent, 2..=self.until, Filter::default())? {
            let Entry { seq, at_ns, kind, actor, cause, body, .. } = entry?;
            let copied = stream.append(Draft { at_ns, kind, actor, cause, body })?;
            if copied != seq {
                return Err(RerunError::Record { seq, why: format!("its copy has the number {copied}") });
            }
        }
        Ok(())
    }

    /// What the entry behind the copied ones says.
    pub(crate) fn told(&self) -> Json {
        json!({ "forked": { "session": self.parent, "until": self.until } })
    }

    /// Lays the state out in a layer that nothing runs in yet.
    pub(crate) fn lay_out(&self, ledger: &Ledger, layers: &Layers) -> Result<(), RerunError> {
        let failed =
            |path: &str, why: String| RerunError::Workspace { path: layers.lower.join(translate::path(path)), why };
        std::fs::create_dir_all(&layers.upper).map_err(|e| failed("", e.to_string()))?;
        // INVARIANT: the real tree is what the parent began with, wherever that one touched it, before or after the step.
        let later = self.later.iter().map(|(path, node)| (path.as_str(), node.clone()));
        for (path, was) in self.state.bases().chain(later).filter(|(_, node)| *node != Node::Other) {
            let is = workspace::lower_node(layers, &translate::path(path)).map_err(|e| failed(path, e.to_string()))?;
            if is != was {
                return Err(RerunError::Changed { path: path.to_owned(), session: self.parent.clone() });
            }
        }
        for (path, node) in self.state.changed() {
            let rel = translate::path(path);
            let content = rewind::content(ledger, layers, &rel, &node).map_err(|e| failed(path, e.to_string()))?;
            workspace::set_upper(layers, &rel, &node, || Ok(content)).map_err(|e| failed(path, e.to_string()))?;
        }
        Ok(())
    }

    /// What people said of this in the parent after the step, once. An irreversible act that was allowed once is asked about again.
    pub(crate) fn answer(&self, question: &Question) -> Option<Answer> {
        let answers = self.answers.as_ref()?;
        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_final = question.governance.as_ref().is_none_or(|g| g.reversibility == Reversibility::Irreversible);
        let mut parts = question.parts();
        parts.find_map(|(of, action, _)| {
            // That nobody was in time there takes nobody's time here.
            while answers.was_late(action) {}
            answers.take(of, action, &self.parent).filter(|answer| answer.verdict == Verdict::Deny || !is_final)
        })
    }
}
