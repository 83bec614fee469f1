//! The workspace as the record has it: which paths differ from the real tree, and how, at any step.

mod packed;

use crate::translate;
use flyball_ledger::{Entry, Filter, Kind, Ledger, LedgerError};
use flyball_sandbox::workspace::{self, Node};
use packed::{Base, Packed};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Bound;
use std::path::{Path, PathBuf};

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

/// What a session's record says of its workspace can't be relied on.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The stream can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An entry is there, and not what it should be. Left out, it would be a change that never was.
    #[error(
        "entry {seq} of session {session} does not say what changed in the workspace: {cause} (`flyball verify {session}` says \
         whether the record was altered; a newer flyball may have written it)"
    )]
    Unreadable {
        /// The session.
        session: String,
        /// The entry.
        seq: u64,
        /// What is wrong with it.
        cause: String,
    },
    /// The changes do not add up to what was seen then.
    #[error(
        "the changes on record up to entry {seq} give the workspace the digest {found}, and the entry says {recorded}"
    )]
    Differs {
        /// The entry.
        seq: u64,
        /// What they give.
        found: String,
        /// What it says.
        recorded: String,
    },
}

/// What an entry says changed in the workspace; nothing where it speaks of something else.
pub(crate) fn changes(ledger: &Ledger, entry: &Entry) -> Result<Vec<Change>, StateError> {
    Ok(found(ledger, entry)?.changes)
}

/// What an entry says of the workspace.
#[derive(Default)]
struct Found {
    changes: Vec<Change>,
    /// Another entry goes on with what that look found.
    is_part: bool,
    /// The real tree is another one from here on, and has what the changes say it had.
    is_rebased: bool,
    /// The digest of the whole.
    digest: Option<String>,
}

fn found(ledger: &Ledger, entry: &Entry) -> Result<Found, StateError> {
    let body = ledger.body(entry)?;
    let Some(changes) = body.pointer("/workspace/changes") else { return Ok(Found::default()) };
    let is_part = body.pointer("/workspace/part").and_then(|part| part.as_bool()) == Some(true);
    let digest = body.pointer("/workspace/state").and_then(|state| state.as_str()).map(str::to_owned);
    let is_rebased = is_rebased(&body);
    let changes = Vec::deserialize(changes).map_err(|e| StateError::Unreadable {
        session: entry.stream.clone(),
        seq: entry.seq,
        cause: e.to_string(),
    })?;
    Ok(Found { changes, is_part, is_rebased, digest })
}

/// Whether this entry says that the real tree is another one from here on: a session that goes on from another's step, and the real
/// tree has that one's changes already.
pub(crate) fn is_rebased(body: &serde_json::Value) -> bool {
    body.pointer("/workspace/rebased").and_then(serde_json::Value::as_bool) == Some(true)
}

/// A digest of the workspace that is on record.
struct Told {
    seq: u64,
    digest: String,
    /// Nothing changed since.
    is_of_all: bool,
}

/// Every path that the session touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    paths: BTreeMap<Box<str>, Stands>,
}

/// What stands at a path, and what the real tree had there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stands {
    now: Packed,
    base: Base,
}

impl State {
    /// Takes one more change in.
    pub fn take(&mut self, change: &Change) {
        let now = Packed::of(&change.node);
        match self.paths.get_mut(change.path.as_str()) {
            Some(stands) => {
                stands.now = now;
                if stands.base == Base::Unknown {
                    stands.base = Base::of(change.base.as_ref());
                }
            }
            None => {
                let stands = Stands { now, base: Base::of(change.base.as_ref()) };
                self.paths.insert(change.path.as_str().into(), stands);
            }
        }
    }

    /// Takes one in that also says what the real tree has there by now.
    pub(crate) fn rebase(&mut self, change: &Change) {
        self.take(change);
        if let Some(stands) = self.paths.get_mut(change.path.as_str()) {
            stands.base = Base::of(change.base.as_ref());
        }
    }

    /// How many paths the session touched.
    #[must_use]
    pub fn touched_paths(&self) -> usize {
        self.paths.len()
    }

    /// Whether it touched that path.
    pub(crate) fn knows(&self, path: &str) -> bool {
        self.paths.contains_key(path)
    }

    /// What is at a path the session touched.
    #[must_use]
    pub fn node(&self, path: &str) -> Option<Node> {
        self.paths.get(path).map(|stands| stands.now.node())
    }

    /// Whether that is at a path the session touched.
    #[must_use]
    pub fn has(&self, path: &str, node: &Node) -> bool {
        self.paths.get(path).is_some_and(|stands| stands.now.is(node))
    }

    /// What the real tree had there when the session first touched it.
    #[must_use]
    pub fn base(&self, path: &str) -> Option<Node> {
        self.paths.get(path).and_then(|stands| stands.base.node())
    }

    /// What the real tree had, for every touched path: what `apply` expects to find.
    pub fn bases(&self) -> impl Iterator<Item = (&str, Node)> {
        self.paths.iter().filter_map(|(path, stands)| Some((&**path, stands.base.node()?)))
    }

    fn differing(&self) -> impl Iterator<Item = (&str, &Stands)> {
        self.paths.iter().filter(|(_, stands)| !stands.base.is(&stands.now)).map(|(p, stands)| (&**p, stands))
    }

    /// The paths that differ from what the real tree had.
    pub fn changed(&self) -> impl Iterator<Item = (&str, Node)> {
        self.differing().map(|(path, stands)| (path, stands.now.node()))
    }

    /// The paths that differ from what the real tree had, and how: `added`, `modified` or `deleted`.
    pub fn changes(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.differing().map(|(path, stands)| {
            let how = match (&stands.base, &stands.now) {
                (_, Packed::Absent) => "deleted",
                (Base::Absent | Base::Unknown, _) => "added",
                _ => "modified",
            };
            (path, how)
        })
    }

    /// Every path ever touched, with what is there now.
    pub fn touched(&self) -> impl Iterator<Item = (&str, Node)> {
        self.paths.iter().map(|(path, stands)| (&**path, stands.now.node()))
    }

    /// Digest of the workspace's difference from the real tree, in the form of [`workspace::digest`]: equal to it when
    /// the workspace is what the record says.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"flyball-workspace-1\n");
        let mut line = String::new();
        let mut add = |path: &str, stands: &Stands| {
            line.clear();
            line.push_str(path);
            line.push(' ');
            stands.now.write(&mut line);
            line.push('\n');
            hash.update(line.as_bytes());
        };
        // A text without a backslash has the very bytes of its path, and so their order.
        if self.differing().any(|(path, _)| path.contains('\\')) {
            let mut lines: Vec<(PathBuf, &Stands)> = self.differing().map(|(p, s)| (translate::path(p), s)).collect();
            lines.sort_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
            lines.iter().for_each(|(path, stands)| add(&workspace::escape(path), stands));
        } else {
            for (path, stands) in self.differing() {
                if path.bytes().all(|b| b.is_ascii_graphic() && b != b'%') {
                    add(path, stands);
                } else {
                    add(&workspace::escape(Path::new(path)), stands);
                }
            }
        }
        let mut digest = String::from("sha256:");
        hash.finalize().iter().for_each(|b| _ = write!(digest, "{b:02x}"));
        digest
    }

    /// The paths below a directory at which something stands.
    pub fn standing_below(&self, path: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{path}/");
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let below = self.paths.range::<str, _>(from).take_while(move |(p, _)| p.starts_with(&prefix));
        below.filter(|(_, stands)| stands.now != Packed::Absent).map(|(p, _)| &**p)
    }

    /// The state as of an entry of a session's stream, folded from the record.
    ///
    /// # Errors
    /// [`StateError`] when the stream or a change in it can't be read.
    pub fn at(ledger: &Ledger, stream: &str, seq: u64) -> Result<Self, StateError> {
        Ok(Self::fold(ledger, stream, seq)?.0)
    }

    /// The same, held against the last digest that was recorded by then: to go back to a step is to go back to what was seen
    /// then.
    ///
    /// # Errors
    /// As for [`Self::at`], and [`StateError::Differs`].
    pub fn as_recorded(ledger: &Ledger, stream: &str, seq: u64) -> Result<Self, StateError> {
        let (state, told) = Self::fold(ledger, stream, seq)?;
        if let Some(Told { seq, digest: recorded, is_of_all }) = told {
            let found = if is_of_all { state.digest() } else { Self::at(ledger, stream, seq)?.digest() };
            if found != recorded {
                return Err(StateError::Differs { seq, found, recorded });
            }
        }
        Ok(state)
    }

    /// The state, and the last digest of it.
    fn fold(ledger: &Ledger, stream: &str, seq: u64) -> Result<(Self, Option<Told>), StateError> {
        let (mut state, mut told) = (Self::default(), None::<Told>);
        // What one look found may take several entries, one behind the other: it counts by the last of them. Without that the
        // supervisor died, and what was there then is told by others.
        let (mut parts, mut goes_on) = (Vec::new(), None);
        let only_observed = Filter { kinds: vec![Kind::Observe], ..Filter::default() };
        for entry in ledger.entries(stream, 1..=seq, only_observed)? {
            let entry = entry?;
            let Found { changes, is_part, is_rebased, digest } = found(ledger, &entry)?;
            if goes_on.take().is_some_and(|(next, actor)| next != entry.seq || actor != entry.actor) {
                parts.clear();
            }
            parts.extend(changes);
            if is_part {
                goes_on = Some((entry.seq + 1, entry.actor));
                continue;
            }
            if let Some(told) = told.as_mut().filter(|_| !parts.is_empty()) {
                told.is_of_all = false;
            }
            let take = if is_rebased { Self::rebase } else { Self::take };
            parts.drain(..).for_each(|c| take(&mut state, &c));
            if let Some(digest) = digest {
                told = Some(Told { seq: entry.seq, digest, is_of_all: true });
            }
        }
        Ok((state, told))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    /// As the layers' own digest is defined.
    fn naive(state: &State) -> String {
        let changed = state.touched().filter(|(path, node)| state.base(path).as_ref() != Some(node));
        let mut lines: Vec<(PathBuf, Node)> = changed.map(|(p, n)| (translate::path(p), n)).collect();
        lines.sort_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
        let mut hash = Sha256::new();
        hash.update(b"flyball-workspace-1\n");
        lines.iter().for_each(|(path, node)| hash.update(format!("{} {node}\n", workspace::escape(path))));
        format!("sha256:{}", hash.finalize().iter().map(|b| format!("{b:02x}")).collect::<String>())
    }

    fn file(text: &str) -> Node {
        Node::File {
            digest: flyball_ledger::Digest::of(text.as_bytes()).to_string(),
            size: text.len() as u64,
            mode: 0o644,
        }
    }

    fn change(path: &str, node: Node, base: Option<Node>) -> Change {
        Change { path: path.into(), node, base, blob: None, kept: None }
    }

    /// Appends what a look found, as so many entries as there are groups of changes; gives their numbers.
    fn observe(
        stream: &flyball_ledger::Stream,
        state: &mut State,
        actor: &str,
        parts: &[&[Change]],
        is_cut_off: bool,
    ) -> Vec<u64> {
        let mut seqs = Vec::new();
        for (nth, changes) in parts.iter().enumerate() {
            changes.iter().for_each(|change| state.take(change));
            let workspace = match is_cut_off || nth + 1 < parts.len() {
                true => serde_json::json!({ "changes": changes, "part": true }),
                false => serde_json::json!({ "changes": changes, "state": state.digest() }),
            };
            seqs.push(append(stream, Kind::Observe, actor, serde_json::json!({ "workspace": workspace })));
        }
        seqs
    }

    fn append(stream: &flyball_ledger::Stream, kind: Kind, actor: &str, body: serde_json::Value) -> u64 {
        stream.append(flyball_ledger::Draft { at_ns: 1, kind, actor: actor.into(), cause: Vec::new(), body }).unwrap()
    }

    #[test]
    fn what_one_look_found_counts_by_its_last_entry() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let stream = ledger.stream("s").unwrap();
        let mut state = State::default();
        append(&stream, Kind::Open, "user:a", serde_json::json!({}));
        let first = observe(&stream, &mut state, "barrier", &[&[change("a", file("1"), Some(Node::Absent))]], false);
        let before = state.clone();
        let parts: [&[Change]; 3] = [
            &[change("b", file("2"), Some(file("0")))],
            &[change("a", Node::Absent, None)],
            &[change("c", file("3"), Some(Node::Absent))],
        ];
        let look = observe(&stream, &mut state, "barrier", &parts, false);
        let after = state.clone();
        // Then one of which the supervisor did not live to see the end, and what the next start found.
        let mut cut = state.clone();
        let lost = observe(
            &stream,
            &mut cut,
            "barrier",
            &[&[change("b", file("4"), None)], &[change("d", file("5"), Some(Node::Absent))]],
            true,
        );
        let found = observe(&stream, &mut state, "recovery", &[&[change("c", file("6"), None)]], false);
        let recovered = state.clone();
        let mut cut = state.clone();
        observe(&stream, &mut cut, "barrier", &[&[change("a", file("7"), None)]], true);
        append(&stream, Kind::Alert, "sandbox", serde_json::json!({ "alert": "x" }));
        let last = observe(&stream, &mut state, "barrier", &[&[change("e", file("8"), Some(Node::Absent))]], false);
        ledger.flush().unwrap();
        let at = |seq| State::as_recorded(&ledger, "s", seq).unwrap();
        assert_eq!((at(1), at(first[0])), (State::default(), before.clone()));
        assert_eq!([at(look[0]), at(look[1])], [before.clone(), before], "in the middle it is what it was");
        assert_eq!(at(look[2]), after);
        assert_eq!([at(lost[0]), at(lost[1])], [after.clone(), after]);
        assert_eq!((at(found[0]), at(last[0])), (recovered, state));
    }

    #[test]
    fn from_where_the_real_tree_is_another_one_changes_are_changes_to_that() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let stream = ledger.stream("s").unwrap();
        append(&stream, Kind::Open, "user:a", serde_json::json!({}));
        let mut state = State::default();
        let changes = [change("a", file("1"), Some(Node::Absent)), change("b", file("2"), Some(file("0")))];
        let first = observe(&stream, &mut state, "barrier", &[&changes], false)[0];
        let before = state.clone();
        // The real tree has `a` as it is, another `b`, and a `c` that was not there then.
        let by_now = [
            change("a", file("1"), Some(file("1"))),
            change("b", file("2"), Some(file("3"))),
            change("c", Node::Absent, Some(file("4"))),
        ];
        by_now.iter().for_each(|change| state.rebase(change));
        let body = serde_json::json!({ "workspace": { "changes": by_now, "state": state.digest(), "rebased": true } });
        let second = append(&stream, Kind::Observe, "supervisor", body);
        ledger.flush().unwrap();
        assert_eq!(State::as_recorded(&ledger, "s", first).unwrap(), before);
        assert_eq!(State::as_recorded(&ledger, "s", second).unwrap(), state);
        assert_eq!(state.digest(), naive(&state));
        let changes: Vec<_> = state.changes().collect();
        assert_eq!(changes, [("b", "modified"), ("c", "deleted")], "what is in the real tree is no change any more");
    }

    #[test]
    fn what_no_digest_was_told_of_stands_on_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let stream = ledger.stream("s").unwrap();
        append(&stream, Kind::Open, "user:a", serde_json::json!({}));
        let mut state = State::default();
        let told = observe(&stream, &mut state, "barrier", &[&[change("a", file("1"), Some(Node::Absent))]], false);
        let look = |state: &mut State, change: Change| {
            state.take(&change);
            let body = serde_json::json!({ "workspace": { "changes": [change] } });
            append(&stream, Kind::Observe, "barrier", body)
        };
        let untold = look(&mut state, change("b", file("2"), Some(Node::Absent)));
        ledger.flush().unwrap();
        assert_eq!(State::as_recorded(&ledger, "s", untold).unwrap(), state);
        // The digest alone, of all that stands by then.
        let digest = |digest: &str| serde_json::json!({ "workspace": { "changes": [], "state": digest } });
        let end = append(&stream, Kind::Observe, "barrier", digest(&state.digest()));
        ledger.flush().unwrap();
        assert_eq!(State::as_recorded(&ledger, "s", end).unwrap(), state);
        let wrong = append(&stream, Kind::Observe, "barrier", digest("sha256:0"));
        let after = look(&mut state, change("c", file("3"), Some(Node::Absent)));
        ledger.flush().unwrap();
        for seq in [wrong, after] {
            let error = State::as_recorded(&ledger, "s", seq).unwrap_err();
            assert!(matches!(error, StateError::Differs { seq, .. } if seq == wrong), "{error}");
        }
        assert!(State::as_recorded(&ledger, "s", told[0]).is_ok());
    }

    #[test]
    fn the_digest_is_that_of_the_changed_paths_in_the_order_of_their_bytes() {
        let mut state = State::default();
        let file = |size| Node::File { digest: format!("sha256:{size}"), size, mode: 0o644 };
        let names =
            ["b", "a/x", "a.x", "a b", "a%b", "ü", "a\u{a0}b", "a\nb", "same", "b/c", "z\\x5c", "z\\xffq", "zz", "z~"];
        let mut seen = Vec::new();
        for (size, name) in (0..).zip(names) {
            let base = if name == "same" { file(size) } else { Node::Absent };
            state.take(&Change { path: name.into(), node: file(size), base: Some(base), blob: None, kept: None });
            assert_eq!(state.digest(), naive(&state), "with {name}");
            seen.push(state.digest());
        }
        seen.dedup();
        assert_eq!(seen.len(), names.len() - 1, "one of them did not change anything");
        state.take(&Change { path: "b".into(), node: Node::Absent, base: None, blob: None, kept: None });
        assert_eq!(state.digest(), naive(&state));
        assert!(!state.changed().any(|(path, _)| path == "b" || path == "same"));
        assert_eq!(state.standing_below("a").collect::<Vec<_>>(), ["a/x"]);
        assert_eq!(state.standing_below("b").collect::<Vec<_>>(), ["b/c"]);
    }
}
