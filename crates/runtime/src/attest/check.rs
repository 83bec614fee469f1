//! Holds an attestation against keys, and against the ledger that it speaks of.

use super::commits::Told;
use super::statement::{self, Folded, Subjects};
use super::tree::Tree;
use super::{Artifact, AttestError, clip, statement_of};
use flyball_ledger::{Checkpoint, Digest, Envelope, Ledger, NoteVerifier};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// Differences that are told.
const TOLD_MAX: usize = 50;

/// Whom a signature may be of.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The keys.
    pub keys: Vec<NoteVerifier>,
    /// How they came to be trusted, in words.
    pub from: &'static str,
}

/// [`Keys::from`] of a key that only the attestation names.
pub const ITSELF: &str = "the attestation itself";

/// Which ledger an attestation says that it is of, before anything in it was believed.
#[derive(Clone, Debug)]
pub struct About {
    /// The ledger's name.
    pub ledger: String,
    /// The key in its text form.
    pub key: String,
}

/// Whether these bytes are an envelope: else they are something else's to read.
#[must_use]
pub fn is_envelope(bytes: &[u8]) -> bool {
    Envelope::parse(bytes).is_ok()
}

/// Which ledger an attestation says that it is of.
///
/// # Errors
/// [`AttestError::Foreign`] when it is none.
pub fn about(bytes: &[u8]) -> Result<About, AttestError> {
    let envelope = Envelope::parse(bytes).map_err(|e| AttestError::Foreign(e.to_string()))?;
    let statement = statement_of(&envelope)?;
    let text = |path: &str| statement.pointer(path).and_then(Json::as_str).unwrap_or_default().to_owned();
    Ok(About { ledger: text("/predicate/ledger/name"), key: text("/predicate/ledger/key") })
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The session that it is about.
    pub session: String,
    /// Whether its contracts held, as it says; nothing where it names none.
    pub contracts_hold: Option<bool>,
    /// Who signed it, by the text form of the key; nothing where no key at hand did.
    pub signed_by: Option<String>,
    /// How many of its entries a ledger at hand has, when that was held against it.
    pub recomputed: Option<u64>,
    /// What does not hold. None is: it holds as far as it was looked at.
    pub problems: Vec<String>,
    /// What could not be looked at.
    pub unseen: Vec<String>,
    /// The statement.
    pub statement: Json,
}

/// What an attestation is held against.
#[derive(Clone, Copy)]
pub enum Record<'r> {
    /// A ledger that has its session.
    Ledger(&'r Ledger),
    /// The session as a bundle brought it, whose entries stand in a tree of this head.
    Bundle {
        /// Its entries, and what else of it was read.
        entries: &'r Ledger,
        /// The head that they were held against.
        head: Option<&'r Checkpoint>,
    },
}

impl<'r> Record<'r> {
    fn entries(self) -> &'r Ledger {
        match self {
            Self::Ledger(entries) | Self::Bundle { entries, .. } => entries,
        }
    }

    /// What messages call it.
    fn name(self) -> &'static str {
        match self {
            Self::Ledger(_) => "ledger",
            Self::Bundle { .. } => "bundle",
        }
    }
}

/// The contents that have to be read to recompute what attestations of a session say of its commits.
///
/// # Errors
/// [`AttestError`] when its entries can't be read.
pub fn wanted(entries: &Ledger, session: &str) -> Result<BTreeSet<Digest>, AttestError> {
    Ok(Folded::of(entries, session, u64::MAX >> 1)?.wanted())
}

/// Checks an attestation's signature, and what it says against the record where one is at hand.
///
/// # Errors
/// [`AttestError`] when it is none, or the record can't be read.
pub fn check(bytes: &[u8], keys: &Keys, record: Option<Record<'_>>) -> Result<Checked, AttestError> {
    let envelope = Envelope::parse(bytes).map_err(|e| AttestError::Foreign(e.to_string()))?;
    let statement = statement_of(&envelope)?;
    let text = |path: &str| statement.pointer(path).and_then(Json::as_str).unwrap_or_default().to_owned();
    let mut out = Checked {
        session: text("/predicate/session/id"),
        contracts_hold: statement
            .pointer("/predicate/contracts/results")
            .and_then(Json::as_array)
            .filter(|results| !results.is_empty())
            .and_then(|_| statement.pointer("/predicate/contracts/hold")?.as_bool()),
        signed_by: keys.keys.iter().find(|key| envelope.is_signed_by(key)).map(NoteVerifier::to_vkey),
        recomputed: None,
        problems: Vec::new(),
        unseen: Vec::new(),
        statement: Json::Null,
    };
    if out.signed_by.is_none() {
        let by: Vec<String> = envelope.signatures.iter().take(3).map(|(id, _)| format!("`{}`", clip(id))).collect();
        out.problems.push(format!("no key of {} signed it (it is signed by {})", keys.from, by.join(", ")));
    }
    let named = text("/predicate/ledger/key");
    if let Some(key) = keys.keys.iter().find(|key| key.to_vkey() == named).or(keys.keys.first())
        && let Err(error) = Checkpoint::open(&text("/predicate/ledger/checkpoint"), key)
    {
        out.problems.push(format!("the checkpoint in it does not hold: {error}"));
    }
    if keys.from == ITSELF {
        out.unseen.push(
            "whose key that is: only the attestation itself names it (`--key` names one that you trust)".to_owned(),
        );
    }
    match record {
        Some(record) => against(&mut out, &statement, record)?,
        None => {
            out.unseen.push("no ledger is at hand that has its session: what it says was not recomputed".to_owned())
        }
    }
    out.statement = statement;
    Ok(out)
}

/// What the statement says, against what these entries make of it.
fn against(out: &mut Checked, statement: &Json, record: Record<'_>) -> Result<(), AttestError> {
    let (entries, name) = (record.entries(), record.name());
    let last = statement.pointer("/predicate/head/seq").and_then(Json::as_u64).unwrap_or_default();
    let note = statement.pointer("/predicate/ledger/checkpoint").and_then(Json::as_str).unwrap_or_default();
    let Some(head) = Some(last).filter(|last| *last > 0).and_then(|last| entries.entry(&out.session, last).ok()) else {
        out.problems.push(format!("this {name} has no entry {last} of a session `{}`", out.session));
        return Ok(());
    };
    let mut folded = Folded::of(entries, &out.session, last)?;
    if !folded.missing.is_empty() {
        let missing: Vec<String> = folded.missing.iter().take(10).map(u64::to_string).collect();
        let s = if folded.missing.len() == 1 { "y" } else { "ies" };
        out.unseen.push(format!(
            "whether what it says follows from the entries: the bod{s} of entr{s} {} {} not in this {name}",
            missing.join(", "),
            if folded.missing.len() == 1 { "is" } else { "are" },
        ));
        return Ok(());
    }
    folded.count_as(statement);
    let subjects = || statement.get("subject").and_then(Json::as_array).into_iter().flatten();
    let mut artifacts = Vec::new();
    for subject in subjects().filter(|s| s.get("annotations").is_some()) {
        let path = subject.get("name").and_then(Json::as_str).unwrap_or_default();
        let wanted = subject.pointer("/digest/sha256").and_then(Json::as_str).unwrap_or_default();
        let is_recorded = subject.pointer("/annotations/from").and_then(Json::as_str) == Some("record");
        let on_record = folded.path(path).and_then(|path| folded.digest_at(&path));
        let digest = match on_record {
            Some(digest) if is_recorded => digest,
            // Then it is no file of the record's, and the statement that is computed has none.
            None if is_recorded => continue,
            // The real workspace may have gone on since; what is not recorded only the signature stands for.
            _ => {
                out.unseen.push(format!("artifact `{path}`: its bytes are not on record"));
                format!("sha256:{wanted}")
            }
        };
        artifacts.push(Artifact { path: path.to_owned(), digest, is_recorded });
    }
    let mut commits = folded.commits(entries)?;
    take_as_said(out, &mut commits, statement);
    let said = Tree::as_said(statement);
    let tree = match folded.recorded_tree(entries, &out.session) {
        Some(tree) if said.told.is_some() => tree,
        _ => {
            if said.digest.is_some() {
                out.unseen.push("`tree`: what the session did not touch of its workspace is not on record".to_owned());
            }
            said
        }
    };
    let subjects = Subjects { artifacts: &artifacts, commits: &commits, tree: &tree };
    let recomputed = statement::of(entries, &out.session, last, note, folded, &subjects)?;
    let mut differences = Vec::new();
    differ("", statement, &recomputed, &mut differences);
    out.problems.extend(differences.into_iter().map(|at| format!("the record does not say so: {at}")));
    let said = note.split("\n\n").next().map(|text| format!("{text}\n")).unwrap_or_default();
    if let Ok(said) = Checkpoint::parse(&said) {
        let is_of_this_tree = match record {
            Record::Ledger(ledger) => ledger.root_at(said.size).ok() == Some(said.root),
            // Only the head that the bundle has is known of its tree.
            Record::Bundle { head, .. } => head.is_none_or(|head| head.size != said.size || head.root == said.root),
        };
        if !is_of_this_tree {
            out.problems
                .push("the checkpoint in it is not of this ledger's tree: one of the two was changed".to_owned());
        } else if said.size <= head.index {
            let size = said.size;
            out.problems.push(format!("the checkpoint in it is of {size} entries, and entry {last} came later"));
        }
    }
    out.recomputed = Some(last);
    Ok(())
}

/// What can't be told of the commits is taken as it was said, and that is told.
fn take_as_said(out: &mut Checked, commits: &mut Told, statement: &Json) {
    let list = |pointer: &str| statement.pointer(pointer).and_then(Json::as_array).cloned().unwrap_or_default();
    let said_unread: BTreeSet<String> =
        list("/predicate/workspace/unreadPacks").iter().filter_map(|pack| pack.as_str().map(str::to_owned)).collect();
    let has_more_unread = commits.unread.iter().any(|pack| !said_unread.contains(pack));
    let said = list("/subject");
    let ids = said.iter().filter_map(|subject| subject.pointer("/digest/gitCommit")?.as_str());
    let untold = |id: &&str| commits.untold.contains(*id) || (has_more_unread && !commits.ids.contains(*id));
    let taken: BTreeSet<String> = ids.filter(untold).map(str::to_owned).collect();
    let is_any_lacking = has_more_unread || !commits.untold.is_empty();
    if is_any_lacking {
        let n = taken.len();
        out.unseen.push(format!(
            "which commits were made: the bytes of git's objects are not all here ({n} are taken as it says)"
        ));
    }
    if has_more_unread {
        commits.unread = said_unread;
    }
    commits.ids.extend(taken);
}

/// Where two values differ, as JSON pointers with both. The ledger's key may have been changed since.
fn differ(at: &str, said: &Json, is: &Json, out: &mut Vec<String>) {
    if said == is || out.len() >= TOLD_MAX || at == "/predicate/ledger/key" {
        return;
    }
    match (said, is) {
        (Json::Object(said), Json::Object(is)) => {
            let keys: BTreeSet<&String> = said.keys().chain(is.keys()).collect();
            for key in keys {
                let (a, b) = (said.get(key).unwrap_or(&Json::Null), is.get(key).unwrap_or(&Json::Null));
                differ(&format!("{at}/{key}"), a, b, out);
            }
        }
        (Json::Array(said), Json::Array(is)) if said.len() == is.len() => {
            said.iter().zip(is).enumerate().for_each(|(n, (a, b))| differ(&format!("{at}/{n}"), a, b, out));
        }
        (Json::Array(said), Json::Array(is)) => {
            let (n, m) = (said.len(), is.len());
            let nth = said.iter().zip(is).position(|(a, b)| a != b).unwrap_or(n.min(m));
            out.push(format!("`{at}` has {n} and not {m}, which differ from the one at {nth} on"));
        }
        _ => out.push(format!("`{at}` is `{}`, and would be `{}`", clip(&said.to_string()), clip(&is.to_string()))),
    }
}
