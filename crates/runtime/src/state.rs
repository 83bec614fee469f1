//! The workspace as the record has it: which paths differ from the real tree, and how, at any step.

use crate::translate;
use flyball_ledger::{Filter, Kind, Ledger, LedgerError};
use flyball_sandbox::workspace::{self, Node};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One path's change, as `observe` entries carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Relative to the workspace, as [`crate::translate::lossless`] writes bytes.
    pub path: String,
    /// What is there now.
    pub node: Node,
    /// What the real tree had there when the session first touched it; only on a path's first change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Node>,
    /// The blob that holds a file's content, which the entry then stands for: `verify` misses it if it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// What the real tree had there, where its content is kept as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// Content in the ledger, beside the one that a change is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its digest.
    pub blob: String,
}

/// Every path that the session touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    nodes: BTreeMap<String, Node>,
    bases: BTreeMap<String, Node>,
}

impl State {
    /// Takes one more change in.
    pub fn take(&mut self, change: &Change) {
        if let Some(base) = &change.base {
            self.bases.entry(change.path.clone()).or_insert_with(|| base.clone());
        }
        self.nodes.insert(change.path.clone(), change.node.clone());
    }

    /// What is at a path the session touched.
    #[must_use]
    pub fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// What the real tree had there when the session first touched it.
    #[must_use]
    pub fn base(&self, path: &str) -> Option<&Node> {
        self.bases.get(path)
    }

    /// What the real tree had, for every touched path: what `apply` expects to find.
    #[must_use]
    pub fn bases(&self) -> &BTreeMap<String, Node> {
        &self.bases
    }

    /// The paths that differ from what the real tree had.
    pub fn changed(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().filter(|(path, node)| self.bases.get(*path) != Some(*node)).map(|(p, n)| (p.as_str(), n))
    }

    /// The paths that differ from what the real tree had, and how: `added`, `modified` or `deleted`.
    pub fn changes(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.changed().map(|(path, node)| {
            let was = self.bases.get(path).unwrap_or(&Node::Absent);
            let how = match (was, node) {
                (_, Node::Absent) => "deleted",
                (Node::Absent, _) => "added",
                _ => "modified",
            };
            (path, how)
        })
    }

    /// Every path ever touched, with what is there now.
    pub fn touched(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(p, n)| (p.as_str(), n))
    }

    /// Digest of the workspace's difference from the real tree, in the form of [`workspace::digest`]: equal to it when
    /// the workspace is what the record says.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut lines: Vec<(PathBuf, &Node)> = self.changed().map(|(p, n)| (translate::path(p), n)).collect();
        lines.sort_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
        let mut hash = Sha256::new();
        hash.update(b"flyball-workspace-1\n");
        for (path, node) in lines {
            hash.update(format!("{} {node}\n", workspace::escape(&path)));
        }
        let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        format!("sha256:{hex}")
    }

    /// The state as of an entry of a session's stream, folded from the record.
    ///
    /// # Errors
    /// [`LedgerError`] when the stream can't be read.
    pub fn at(ledger: &Ledger, stream: &str, seq: u64) -> Result<Self, LedgerError> {
        let mut state = Self::default();
        let only_observed = Filter { kinds: vec![Kind::Observe], ..Filter::default() };
        for entry in ledger.entries(stream, 1..=seq, only_observed)? {
            let entry = entry?;
            let changes = ledger.body(&entry)?.pointer("/workspace/changes").cloned().unwrap_or_default();
            let changes: Vec<Change> = serde_json::from_value(changes).unwrap_or_default();
            changes.iter().for_each(|c| state.take(c));
        }
        Ok(state)
    }
}
