//! Attestations: what a finished session was and did, as an in-toto Statement v1 in a DSSE envelope that the ledger's key signs
//! and the ledger keeps.

mod check;
mod commits;
mod objects;
mod statement;
mod tree;

pub use check::{About, Checked, ITSELF, Keys, Record, about, check, is_envelope, wanted};
pub use flyball_ledger::ENVELOPE_BYTES_MAX as FILE_BYTES_MAX;
use statement::{Folded, Subjects};
pub use statement::{PREDICATE_TYPE, STATEMENT_TYPE};

use crate::clock::{Clock, wall_ns};
use crate::contracts::later;
use crate::control;
use crate::home::Home;
use crate::read::{self, Content, ReadError};
use flyball_ledger::{Digest, Draft, Envelope, Filter, Kind, Ledger, LedgerError};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

/// What an envelope's payload is, by the standard.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// An attestation could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The record can't be read or written.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The session was not closed yet.
    #[error("session `{0}` has not ended: what it did is not all done")]
    Open(String),
    /// It is none that this version reads.
    #[error("it is no attestation of a session: {0}")]
    Foreign(String),
    /// An artifact is no file.
    #[error("`{}` is no file at the session's end: {why}", path.display())]
    Artifact {
        /// As it was named.
        path: PathBuf,
        /// What it is.
        why: String,
    },
}

impl From<LedgerError> for AttestError {
    fn from(error: LedgerError) -> Self {
        Self::Read(error.into())
    }
}

/// An attestation that was made.
#[derive(Clone, Debug)]
pub struct Attested {
    /// The entry that keeps it.
    pub seq: u64,
    /// The envelope's bytes.
    pub envelope: Vec<u8>,
    /// Their digest: the blob's.
    pub blob: Digest,
    /// The statement, as signed.
    pub statement: Json,
}

/// A file that the attestation names, as it stood at the session's end.
#[derive(Clone, Debug)]
struct Artifact {
    path: String,
    digest: String,
    /// Whether its bytes are the record's; otherwise the session never touched it, and they are the real workspace's.
    is_recorded: bool,
}

/// What is to be attested of a session, besides what it was and did.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Files to be named, as they stood at its end.
    pub artifacts: Vec<PathBuf>,
    /// All contracts are held against it once more, and their commands run, though the record tells what came of them.
    pub again: bool,
}

/// Attests what a finished session was and did, and puts that on record. Contracts that nobody held against it are, before that:
/// `tell` hears of each command that is run for one. What did not hold is said to not have held: that is no error.
///
/// # Errors
/// [`AttestError`]; no attestation is on record then.
pub fn attest(
    home: &Home,
    session: &str,
    wanted: &Wanted,
    tell: &dyn Fn(&str, &[String]),
) -> Result<Attested, AttestError> {
    let ledger = Ledger::open(home.dir())?;
    let stream = match ledger.stream(session) {
        Err(LedgerError::StreamOwned(_)) => return Err(AttestError::Open(session.to_owned())),
        other => other?,
    };
    let closes = Filter { kinds: vec![Kind::Close], ..Filter::default() };
    if ledger.entries(session, .., closes)?.next().is_none() {
        return Err(AttestError::Open(session.to_owned()));
    }
    later::settle(home, &ledger, &stream, wanted.again, tell)?;
    stream.flush()?;
    let last = stream.last_seq();
    let artifacts = wanted.artifacts.iter().map(|path| artifact(&ledger, session, last, path));
    let artifacts: Vec<Artifact> = artifacts.collect::<Result<_, _>>()?;
    let note = ledger.checkpoint()?.unwrap_or_default();
    let folded = Folded::of(&ledger, session, last)?;
    if let Some(seq) = folded.missing.first() {
        return Err(AttestError::Foreign(format!("the body of entry {seq} is not there any more")));
    }
    let commits = folded.commits(&ledger)?;
    let tree = folded.tree(home, &ledger, session);
    let subjects = Subjects { artifacts: &artifacts, commits: &commits, tree: &tree };
    let statement = statement::of(&ledger, session, last, &note, folded, &subjects)?;
    let payload = serde_json::to_vec(&statement).map_err(|e| AttestError::Foreign(e.to_string()))?;
    let digest = Digest::of(&payload);
    let envelope = ledger.seal(PAYLOAD_TYPE, payload)?.to_bytes()?;
    let blob = ledger.put_blob(&envelope)?;
    let body = json!({ "attestation": {
        "blob": blob.to_string(), "statement": digest.to_string(), "predicateType": PREDICATE_TYPE, "of": last,
        "holds": statement.pointer("/predicate/contracts/hold"),
    } });
    let at_ns = Clock::after(stream.last_at_ns().max(wall_ns())).now_ns();
    let seq =
        stream.append(Draft { at_ns, kind: Kind::Observe, actor: control::this_user(), cause: vec![last], body })?;
    stream.flush()?;
    Ok(Attested { seq, envelope, blob, statement })
}

fn artifact(ledger: &Ledger, session: &str, last: u64, path: &Path) -> Result<Artifact, AttestError> {
    let no_file = |why: String| AttestError::Artifact { path: path.to_owned(), why };
    match read::at_path(ledger, session, last, path) {
        Ok(Content::File { bytes, is_from_workspace }) => Ok(Artifact {
            path: path.to_string_lossy().into_owned(),
            digest: Digest::of(&bytes).to_string(),
            is_recorded: !is_from_workspace,
        }),
        Ok(Content::Link(to)) => Err(no_file(format!("it is a link to `{to}`"))),
        Ok(Content::Folder(_)) => Err(no_file("it is a folder".to_owned())),
        Err(error @ (ReadError::Absent { .. } | ReadError::NotRecorded { .. } | ReadError::Outside { .. })) => {
            Err(no_file(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// What is read of a repository's pack, by name, so that a fuzzer reaches it: how many commits are in it, if that is one.
#[must_use]
pub fn commits_in_pack(pack: &[u8], index: &[u8]) -> Option<usize> {
    let commits = objects::commits(pack, index, &mut objects::WORK_MAX.clone())?;
    Some(commits.iter().filter(|id| objects::lists(index, id)).count())
}

/// A longer file is no commit that stands alone.
pub(crate) use objects::COMMIT_BYTES_MAX;

/// Whether git has an object that stands alone at such a path.
pub(crate) fn is_object_path(path: &str) -> bool {
    commits::object_id(path).is_some()
}

/// Whether a file at such a path says of itself that it is an object, and no commit.
pub(crate) fn is_other_object(object: &[u8]) -> bool {
    objects::says_other(object)
}

/// The statement that an envelope holds, by its standard.
fn statement_of(envelope: &Envelope) -> Result<Json, AttestError> {
    let foreign = |why: String| AttestError::Foreign(why);
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(foreign(format!("its payload is `{}`", clip(&envelope.payload_type))));
    }
    let statement: Json = serde_json::from_slice(&envelope.payload).map_err(|e| foreign(e.to_string()))?;
    for (key, wanted) in [("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)] {
        let is = statement.get(key).and_then(Json::as_str).unwrap_or_default();
        if is != wanted {
            return Err(foreign(format!("its `{key}` is `{}`, not `{wanted}`", clip(is))));
        }
    }
    Ok(statement)
}

/// Text of others, as much as a message takes.
fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}
