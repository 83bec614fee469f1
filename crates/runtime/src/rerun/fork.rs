//! Another program in the state of a recorded session at a step: its workspace, and its kernel with facts, budgets and autonomy.
//!
//! The fork's record begins with the parent's entries up to that step, under the same numbers: what a ruling rests on stands in the
//! same record, and a replay makes all of it again. The entry after them says whose they are, and what was left open is closed there.
//!
//! INVARIANT: what the parent did is not done again by this: entries are copied, registers that sessions share are not.

use super::{Answers, RerunError};
use crate::gate::{Answer, Question};
use crate::replay::Player;
use crate::state::{Change, State};
use crate::{rewind, translate};
use flyball_kernel::{Charter, Kernel, Reversibility, Sources, Verdict};
use flyball_ledger::{Digest, Draft, Entry, Filter, Ledger, Stream};
use flyball_sandbox::workspace::{self, Layers, Node, Scratch};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

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
    /// As the parent left it.
    end: State,
    /// Where the real tree has what the parent left by now, since that was applied: what stood there at the step, over that.
    rebased: OnceLock<Vec<Change>>,
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
        let answers = match reopens {
            true => None,
            false => Some(Mutex::new(Answers::of(ledger, parent, until + 1)?)),
        };
        Ok(Self {
            parent: parent.to_owned(),
            until,
            leaf: leaf.ok_or_else(|| lost(until, "there is no such entry"))?,
            agent: body.get("agent").and_then(Json::as_str).unwrap_or_default().to_owned(),
            end,
            rebased: OnceLock::new(),
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
        let mut state = self.state.clone();
        self.rebased.get().into_iter().flatten().for_each(|change| state.rebase(change));
        state
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
        let mut told = json!({ "forked": { "session": self.parent, "until": self.until } });
        let rebased = self.rebased.get().filter(|changes| !changes.is_empty());
        if let (Some(changes), Some(told)) = (rebased, told.as_object_mut()) {
            let workspace = json!({ "changes": changes, "state": self.state().digest(), "rebased": true });
            told.insert("workspace".to_owned(), workspace);
        }
        told
    }

    /// Lays the state out in a layer that nothing runs in yet.
    pub(crate) fn lay_out(&self, ledger: &Ledger, layers: &Layers) -> Result<(), RerunError> {
        let failed =
            |path: &str, why: String| RerunError::Workspace { path: layers.lower.join(translate::path(path)), why };
        std::fs::create_dir_all(&layers.upper).map_err(|e| failed("", e.to_string()))?;
        let rebased = self.rebase(ledger, layers)?;
        let is_rebased = !rebased.is_empty();
        let _ = self.rebased.set(rebased);
        let state = self.state();
        rewind::lay_over(&state, ledger, layers).map_err(|(path, why)| failed(&path, why))?;
        // What others put into a folder that is to go would go with it.
        if is_rebased {
            let known: BTreeSet<_> = state.changed().map(|(path, _)| translate::path(path)).collect();
            let laid = workspace::changes(layers, &Scratch::default()).map_err(|e| failed("", e.to_string()))?;
            if let Some(more) = laid.iter().find(|change| !known.contains(&change.path)) {
                return Err(RerunError::Changed { path: translate::text(&more.path), session: self.parent.clone() });
            }
        }
        Ok(())
    }

    /// What the step had, over the real tree, wherever that is not what the parent began with.
    ///
    /// INVARIANT: it is then what the parent left, whether that touched it before or after the step. What somebody else made of it
    /// since would be lost by an `apply` of the fork.
    fn rebase(&self, ledger: &Ledger, layers: &Layers) -> Result<Vec<Change>, RerunError> {
        let mut rebased = Vec::new();
        for (path, was) in self.end.bases().filter(|(_, node)| *node != Node::Other) {
            let is = workspace::lower_node(layers, &translate::path(path)).map_err(|e| RerunError::Workspace {
                path: layers.lower.join(translate::path(path)),
                why: e.to_string(),
            })?;
            if is == was {
                continue;
            }
            let of = || (path.to_owned(), self.parent.clone());
            if self.end.node(path).as_ref() != Some(&is) {
                let (path, session) = of();
                return Err(RerunError::Changed { path, session });
            }
            let node = self.state.node(path).unwrap_or(was);
            let blob = match &node {
                Node::File { digest, .. } => match digest.parse::<Digest>() {
                    Ok(named) if ledger.has_blob(&named)? => Some(digest.clone()),
                    _ if node == is => None,
                    _ => {
                        let (path, session) = of();
                        return Err(RerunError::NotKept { path, session });
                    }
                },
                _ => None,
            };
            rebased.push(Change { path: path.to_owned(), node, base: Some(is), blob, kept: None });
        }
        Ok(rebased)
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
