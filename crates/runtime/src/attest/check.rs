//! Holds an attestation against keys, and against the ledger that it speaks of.

use super::{Artifact, AttestError, statement, statement_of};
use crate::read::{self, ReadError};
use flyball_ledger::{Checkpoint, Digest, Envelope, Ledger, LedgerError, NoteVerifier};
use serde_json::Value as Json;

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

/// Checks an attestation's signature, and what it says against the record where a ledger is at hand that has it.
///
/// # Errors
/// [`AttestError`] when it is none, or the ledger can't be read.
pub fn check(bytes: &[u8], keys: &Keys, ledger: Option<&Ledger>) -> Result<Checked, AttestError> {
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
        out.problems.push(format!("no key of {} signed it", keys.from));
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
    match ledger {
        Some(ledger) => against(&mut out, &statement, ledger)?,
        None => {
            out.unseen.push("no ledger is at hand that has its session: what it says was not recomputed".to_owned())
        }
    }
    out.statement = statement;
    Ok(out)
}

/// What the statement says, against what this ledger's entries make of it.
fn against(out: &mut Checked, statement: &Json, ledger: &Ledger) -> Result<(), AttestError> {
    let last = statement.pointer("/predicate/head/seq").and_then(Json::as_u64).unwrap_or_default();
    let note = statement.pointer("/predicate/ledger/checkpoint").and_then(Json::as_str).unwrap_or_default();
    if last == 0 || ledger.entry(&out.session, last).is_err() {
        out.problems.push(format!("this ledger has no entry {last} of a session `{}`", out.session));
        return Ok(());
    }
    let mut artifacts = Vec::new();
    let subjects = statement.get("subject").and_then(Json::as_array).into_iter().flatten();
    for subject in subjects.filter(|s| s.get("annotations").is_some()) {
        let path = subject.get("name").and_then(Json::as_str).unwrap_or_default();
        let wanted = subject.pointer("/digest/sha256").and_then(Json::as_str).unwrap_or_default();
        let is_recorded = subject.pointer("/annotations/from").and_then(Json::as_str) == Some("record");
        let digest = match read::at_path(ledger, &out.session, last, path.as_ref()) {
            Ok(read::Content::File { bytes, .. }) if is_recorded => Digest::of(&bytes).to_string(),
            Err(ReadError::Ledger(error @ LedgerError::Damaged { .. })) => return Err(error.into()),
            // The real workspace may have gone on since; what is not recorded only the signature stands for.
            _ => {
                out.unseen.push(format!("artifact `{path}`: its bytes are not on record"));
                format!("sha256:{wanted}")
            }
        };
        artifacts.push(Artifact { path: path.to_owned(), digest, is_recorded });
    }
    let recomputed = statement::of(ledger, &out.session, last, note, &artifacts)?;
    let mut differences = Vec::new();
    differ("", statement, &recomputed, &mut differences);
    out.problems.extend(differences.into_iter().map(|at| format!("the record does not say so: `{at}`")));
    if let Ok(checkpoint) =
        Checkpoint::parse(note.split("\n\n").next().map(|t| format!("{t}\n")).unwrap_or_default().as_str())
    {
        let root = ledger.root_at(checkpoint.size);
        if root.as_ref().ok() != Some(&checkpoint.root) {
            out.problems
                .push("the checkpoint in it is not of this ledger's tree: one of the two was changed".to_owned());
        }
    }
    out.recomputed = Some(last);
    Ok(())
}

/// Where two values differ, as JSON pointers. The ledger's key may have been changed since.
fn differ(at: &str, said: &Json, is: &Json, out: &mut Vec<String>) {
    if said == is || out.len() >= TOLD_MAX || at == "/predicate/ledger/key" {
        return;
    }
    match (said, is) {
        (Json::Object(said), Json::Object(is)) => {
            let keys: std::collections::BTreeSet<&String> = said.keys().chain(is.keys()).collect();
            for key in keys {
                let (a, b) = (said.get(key).unwrap_or(&Json::Null), is.get(key).unwrap_or(&Json::Null));
                differ(&format!("{at}/{key}"), a, b, out);
            }
        }
        (Json::Array(said), Json::Array(is)) if said.len() == is.len() => {
            said.iter().zip(is).enumerate().for_each(|(n, (a, b))| differ(&format!("{at}/{n}"), a, b, out));
        }
        _ => out.push(at.to_owned()),
    }
}
