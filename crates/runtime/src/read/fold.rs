//! The workspace as of a step: the fold of every change that was recorded up to it, over the real tree.

use super::{History, ReadError};
use flyball_ledger::{Entry, Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What stood at a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `file`, `directory`, `symlink`, `absent`, or another kind that holds no content.
    pub kind: String,
    /// A file's content, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// A file's size, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// What a link says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl Node {
    /// Whether nothing stood there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.kind == "absent"
    }

    /// Whether it is the same, as far as content and mode go.
    pub(super) fn same(&self, other: &Node) -> bool {
        (self.is_absent() && other.is_absent()) || self == other
    }
}

/// A path that a session touched.
#[derive(Clone, Debug)]
pub(super) struct Touched {
    /// What stood there before the session.
    pub base: Node,
    /// What stands there at the step.
    pub node: Node,
    /// The entry of the last change at or before the step; `None` while it was not touched yet.
    pub since: Option<u64>,
}

/// Every path that the session ever touched, as of a step.
pub(super) fn fold(history: &History, seq: u64) -> Result<BTreeMap<String, Touched>, ReadError> {
    #[derive(Deserialize)]
    struct Change {
        path: String,
        node: Node,
        #[serde(default)]
        base: Option<Node>,
    }
    let mut tree = BTreeMap::<String, Touched>::new();
    for entry in history.entries().iter().filter(|e| e.kind == Kind::Observe) {
        let Some(changes) = entry.body.pointer("/workspace/changes") else { continue };
        let changes: Vec<Change> = serde_json::from_value(changes.clone()).map_err(|e| ReadError::Malformed {
            session: history.session.clone(),
            seq: entry.seq,
            what: e.to_string(),
        })?;
        let is_rebased = crate::state::is_rebased(&entry.body);
        for Change { path, node, base } in changes {
            // INVARIANT: the first change of a path carries what stood there before the session.
            let base = base.unwrap_or_else(|| Node { kind: "absent".to_owned(), ..Node::default() });
            let first = || Touched { node: base.clone(), base: base.clone(), since: None };
            let touched = tree.entry(path).or_insert_with(first);
            if entry.seq <= seq {
                if is_rebased {
                    touched.base = base;
                }
                touched.node = node;
                touched.since = Some(entry.seq);
            }
        }
    }
    Ok(tree)
}

/// Those that stand changed.
pub(super) fn changed(tree: &BTreeMap<String, Touched>) -> impl Iterator<Item = (&String, &Touched)> {
    tree.iter().filter(|(_, t)| !t.node.same(&t.base))
}

/// The last barrier at or before a step, and the state's digest there.
pub(super) fn barrier(history: &History, seq: u64) -> Option<(u64, Option<String>)> {
    let entry = history.entries().iter().rev().find(|e| e.seq <= seq && is_look(e))?;
    Some((entry.seq, entry.body.pointer("/workspace/state").and_then(|s| s.as_str()).map(str::to_owned)))
}

/// Whether an entry tells what a look at the workspace saw.
pub(super) fn is_look(entry: &Entry) -> bool {
    entry.kind == Kind::Observe && entry.body.get("workspace").is_some()
}
