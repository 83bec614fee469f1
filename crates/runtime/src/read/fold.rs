//! The workspace as of a step: the fold of every change that was recorded up to it, over the real tree.

use super::ReadError;
use super::history::whole_body;
use flyball_ledger::{Digest, Entry, Filter, Kind, Ledger};
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

/// A [`Node`] in little room: a session may touch a million of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Packed {
    Absent,
    File { digest: Digest, size: u64, mode: u32 },
    Other(Box<Node>),
}

impl Packed {
    fn of(node: Node) -> Self {
        let digest = node.digest.as_deref().and_then(|text| text.parse().ok());
        let packed = match (node.kind.as_str(), digest, node.size, node.mode) {
            ("absent", ..) => Self::Absent,
            ("file", Some(digest), Some(size), Some(mode)) => Self::File { digest, size, mode },
            _ => return Self::Other(Box::new(node)),
        };
        // What is written otherwise is kept as it is written.
        if packed.node() == node { packed } else { Self::Other(Box::new(node)) }
    }

    fn node(&self) -> Node {
        match self {
            Self::Absent => Node { kind: "absent".to_owned(), ..Node::default() },
            Self::File { digest, size, mode } => Node {
                kind: "file".to_owned(),
                digest: Some(digest.to_string()),
                size: Some(*size),
                mode: Some(*mode),
                target: None,
            },
            Self::Other(node) => Node::clone(node),
        }
    }

    fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::File { .. } => false,
            Self::Other(node) => node.is_absent(),
        }
    }
}

/// A path that a session touched.
#[derive(Clone, Debug)]
pub(super) struct Touched {
    base: Packed,
    node: Packed,
    /// The entry of the last change at or before the step; `None` while it was not touched yet.
    pub since: Option<u64>,
}

impl Touched {
    /// What stood there before the session.
    pub fn base(&self) -> Node {
        self.base.node()
    }

    /// What stands there at the step.
    pub fn node(&self) -> Node {
        self.node.node()
    }

    /// Whether it stands changed.
    fn is_changed(&self) -> bool {
        self.node != self.base && !(self.node.is_absent() && self.base.is_absent())
    }

    /// Whether the same stands there at the step of another fold.
    pub fn stands_as(&self, other: &Self) -> bool {
        self.node == other.node || (self.node.is_absent() && other.node.is_absent())
    }
}

/// Every path that a session ever touched, as of a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(BTreeMap<Box<str>, Touched>);

impl Tree {
    /// Takes the session's next entry in; what it says of the workspace counts up to the step.
    pub fn take(&mut self, entry: &Entry, step: u64) -> Result<(), ReadError> {
        #[derive(Deserialize)]
        struct Change {
            path: String,
            node: Node,
            #[serde(default)]
            base: Option<Node>,
        }
        if entry.kind != Kind::Observe {
            return Ok(());
        }
        let Some(changes) = entry.body.pointer("/workspace/changes") else { return Ok(()) };
        let changes = Vec::<Change>::deserialize(changes).map_err(|e| ReadError::Malformed {
            session: entry.stream.clone(),
            seq: entry.seq,
            what: e.to_string(),
        })?;
        let is_rebased = crate::state::is_rebased(&entry.body);
        for Change { path, node, base } in changes {
            // INVARIANT: the first change of a path carries what stood there before the session.
            let base = base.map_or(Packed::Absent, Packed::of);
            let first = || Touched { node: base.clone(), base: base.clone(), since: None };
            let touched = self.0.entry(path.into()).or_insert_with(first);
            if entry.seq <= step {
                if is_rebased {
                    touched.base = base;
                }
                touched.node = Packed::of(node);
                touched.since = Some(entry.seq);
            }
        }
        Ok(())
    }

    /// What is known of a path, if the session ever touched it.
    pub fn get(&self, path: &str) -> Option<&Touched> {
        self.0.get(path)
    }

    /// Every path, and what is known of it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Touched)> {
        self.0.iter().map(|(path, touched)| (&**path, touched))
    }

    /// Those that stand changed.
    pub fn changed(&self) -> impl Iterator<Item = (&str, &Touched)> {
        self.iter().filter(|(_, touched)| touched.is_changed())
    }
}

/// The workspace as the record has it at a step, and when it looked.
#[derive(Debug, Default)]
pub(super) struct Stood {
    pub tree: Tree,
    /// The last look at or before the step, and the state's digest, where it tells it.
    pub as_of: Option<(u64, Option<String>)>,
    /// The first look after the step.
    pub next: Option<u64>,
    /// Whether something was carried out between that last look and the step.
    pub is_behind: bool,
}

/// Folds a session's entries one by one, which may be more than fit in memory.
pub(super) fn stood(ledger: &Ledger, session: &str, step: u64) -> Result<Stood, ReadError> {
    let mut stood = Stood::default();
    let kinds = vec![Kind::Observe, Kind::Dispatch];
    for entry in ledger.entries(session, .., Filter { kinds, ..Filter::default() })? {
        let mut entry = entry?;
        if entry.kind == Kind::Dispatch {
            stood.is_behind |= entry.seq <= step;
            continue;
        }
        entry.body = whole_body(ledger, &entry)?;
        stood.tree.take(&entry, step)?;
        if entry.body.get("workspace").is_none() {
            continue;
        }
        if entry.seq <= step {
            let state = entry.body.pointer("/workspace/state").and_then(|state| state.as_str());
            (stood.as_of, stood.is_behind) = (Some((entry.seq, state.map(str::to_owned))), false);
        } else if stood.next.is_none() {
            stood.next = Some(entry.seq);
        }
    }
    Ok(stood)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_takes_little_room() {
        let digest = Digest::of(b"x").to_string();
        let file = |digest: &str| Node {
            kind: "file".to_owned(),
            digest: Some(digest.to_owned()),
            size: Some(7),
            mode: Some(0o644),
            target: None,
        };
        let all = [
            Node { kind: "absent".to_owned(), ..Node::default() },
            Node { kind: "absent".to_owned(), mode: Some(1), ..Node::default() },
            file(&digest),
            file(&digest.to_uppercase()),
            file("sha256:7"),
            Node { size: None, ..file(&digest) },
            Node { target: Some("t".to_owned()), ..file(&digest) },
            Node { kind: "hologram".to_owned(), ..file(&digest) },
            Node { kind: "directory".to_owned(), mode: Some(0o755), ..Node::default() },
        ];
        for one in &all {
            assert_eq!(Packed::of(one.clone()).node(), *one);
            for other in &all {
                assert_eq!(Packed::of(one.clone()) == Packed::of(other.clone()), one == other, "{one:?} {other:?}");
            }
        }
        assert!(size_of::<Touched>() <= 112);
    }
}
