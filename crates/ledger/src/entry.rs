//! Entries: what is recorded, and the one encoding whose bytes are the tree's leaf.

use crate::{Digest, LedgerError, References, time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{cell::RefCell, fmt};

/// The longest entry, in bytes: entry bundles of C2SP tlog-tiles have 16-bit lengths.
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// Of the room in which entries are encoded, so much stays.
const ROOM_BYTES_MAX: usize = 64 << 10;

/// What an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An agent asks to act.
    Attempt,
    /// What the kernel ruled.
    Ruling,
    /// An allowed attempt is being carried out.
    Dispatch,
    /// What became of it.
    Outcome,
    /// People are asked.
    Question,
    /// A person answered.
    Answer,
    /// A person's or rule's act on the session.
    Intervention,
    /// The session begins. Its body's `name` is the session's name.
    Open,
    /// The session ends.
    Close,
    /// The charter in force.
    Charter,
    /// Something seen of the world.
    Observe,
    /// Time passed.
    Tick,
    /// Something that people should know.
    Alert,
    /// A signed tree head, or a mark of saved state.
    Checkpoint,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Attempt,
        Self::Ruling,
        Self::Dispatch,
        Self::Outcome,
        Self::Question,
        Self::Answer,
        Self::Intervention,
        Self::Open,
        Self::Close,
        Self::Charter,
        Self::Observe,
        Self::Tick,
        Self::Alert,
        Self::Checkpoint,
    ];

    /// Its name in an entry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Ruling => "ruling",
            Self::Dispatch => "dispatch",
            Self::Outcome => "outcome",
            Self::Question => "question",
            Self::Answer => "answer",
            Self::Intervention => "intervention",
            Self::Open => "open",
            Self::Close => "close",
            Self::Charter => "charter",
            Self::Observe => "observe",
            Self::Tick => "tick",
            Self::Alert => "alert",
            Self::Checkpoint => "checkpoint",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An entry to be appended: all but its stream and number.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// When, in nanoseconds since the Unix epoch. Not before the stream's last entry.
    pub at_ns: u64,
    /// What it records.
    pub kind: Kind,
    /// Who: an agent, a person, `flyball`.
    pub actor: String,
    /// The entries of the same stream that led to it.
    pub cause: Vec<u64>,
    /// The rest, by kind. A member `blob` with a digest names a stored blob, a member `commitment` a stored payload, at
    /// any depth; those that are stored become the entry's [`References`].
    pub body: Value,
}

/// A recorded entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its stream.
    pub stream: String,
    /// Its number in the stream, from 1.
    pub seq: u64,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// What it records.
    pub kind: Kind,
    /// Who.
    pub actor: String,
    /// The entries of the same stream that led to it.
    pub cause: Vec<u64>,
    /// The rest. One that was too large to stand here is `{"payload":{…}}`: see [`crate::Ledger::body`].
    pub body: Value,
    /// The stored content that it relies on.
    pub refs: References,
    /// Its place in the tree, from 0.
    pub index: u64,
    /// Its RFC 6962 leaf digest.
    pub leaf: Digest,
    /// The exact stored bytes.
    pub raw: Vec<u8>,
}

impl Entry {
    /// The object that `flyball log --json` prints: the stored fields (`refs` only where there are any), then `leaf`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = serde_json::json!({
            "stream": self.stream, "seq": self.seq, "at": time::format_ns(self.at_ns), "kind": self.kind.as_str(),
            "actor": self.actor, "cause": self.cause, "body": self.body,
        });
        if let Some(members) = object.as_object_mut() {
            if !self.refs.is_empty() {
                members.insert("refs".into(), serde_json::json!(self.refs));
            }
            members.insert("leaf".into(), self.leaf.to_string().into());
        }
        object
    }

    /// An entry of its stored bytes, its place in the tree and its leaf's digest, which is not compared with them.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`] where they are no entry.
    pub fn decode(raw: Vec<u8>, index: u64, leaf: Digest) -> Result<Self, LedgerError> {
        let wire: Wire = serde_json::from_slice(&raw).map_err(malformed)?;
        let at_ns = time::parse_ns(&wire.at).ok_or_else(|| malformed(format!("`{}` is not a time", wire.at)))?;
        let Wire { stream, seq, kind, actor, cause, body, refs, .. } = wire;
        Ok(Self { stream, seq, at_ns, kind, actor, cause, body, refs, index, leaf, raw })
    }
}

/// An entry as it is encoded; the order of its fields is the order of the bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    stream: String,
    seq: u64,
    at: String,
    kind: Kind,
    actor: String,
    cause: Vec<u64>,
    body: Value,
    #[serde(default)]
    refs: References,
}

#[derive(Serialize)]
struct WireRef<'a, B> {
    stream: &'a str,
    seq: u64,
    at: &'a str,
    kind: &'static str,
    actor: &'a str,
    cause: &'a [u64],
    body: &'a B,
    #[serde(skip_serializing_if = "References::is_empty")]
    refs: &'a References,
}

impl Draft {
    pub(crate) fn head<'a>(&'a self, stream: &'a str, seq: u64) -> Head<'a> {
        Head { stream, seq, at_ns: self.at_ns, kind: self.kind, actor: &self.actor, cause: &self.cause }
    }
}

/// All of an entry but its body.
pub(crate) struct Head<'a> {
    pub(crate) stream: &'a str,
    pub(crate) seq: u64,
    pub(crate) at_ns: u64,
    pub(crate) kind: Kind,
    pub(crate) actor: &'a str,
    pub(crate) cause: &'a [u64],
}

pub(crate) fn encode<B: Serialize>(head: &Head<'_>, body: &B, refs: &References) -> Result<Vec<u8>, LedgerError> {
    let Head { stream, seq, at_ns, kind, actor, cause } = *head;
    thread_local! {
        /// Grown once: what waits for its commit is kept, and takes what it is long.
        static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let digits = time::digits_ns(at_ns);
    let at = std::str::from_utf8(&digits).unwrap_or_default();
    let wire = WireRef { stream, seq, at, kind: kind.as_str(), actor, cause, body, refs };
    ROOM.with_borrow_mut(|room| {
        let written = serde_json::to_writer(&mut *room, &wire);
        let bytes = written.map(|()| room.as_slice().to_vec());
        room.clear();
        room.shrink_to(ROOM_BYTES_MAX);
        bytes.map_err(malformed)
    })
}

pub(crate) fn malformed(cause: impl ToString) -> LedgerError {
    LedgerError::Malformed { what: "an entry", cause: cause.to_string() }
}
