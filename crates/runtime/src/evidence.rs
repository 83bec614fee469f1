//! Evidence for strangers: a session as a bundle, and what a bundle shows by itself, without any ledger.

use crate::attest::{self, Keys, Record};
use crate::read::{self, History, ReadError, SignedAnswers};
use flyball_kernel::{Charter, Sources};
use flyball_ledger::bundle::{Export, Exported, Opened};
use flyball_ledger::witness::WitnessedBy;
use flyball_ledger::{Cosigner, Digest, Erased, Erasing, Kind, Ledger, LedgerError, NoteVerifier, Problem};
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// Writes a session as a bundle, with its charters' files beside it.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read, or `out` written.
pub fn export(ledger: &Ledger, session: &str, payloads: bool, out: impl Write) -> Result<Exported, ReadError> {
    let history = History::of_kinds(ledger, session, &[Kind::Open, Kind::Charter, Kind::Observe])?;
    let mut beside = charter_files(&charters(&history));
    for (name, blob) in attestations(&history).into_iter().rev().take(ATTESTATIONS_MAX) {
        // One that was erased is said to have been; a longer one goes with the blobs only.
        match ledger.blob(&blob) {
            Ok(bytes) if bytes.len() <= ATTESTATION_BYTES_MAX => _ = beside.insert(name, bytes),
            Ok(_) | Err(LedgerError::NoBlob(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ledger.export(&Export { session: session.to_owned(), payloads, beside }, out)?)
}

/// Erases the content beside an entry of an ended session, in the name of the account that asks.
///
/// # Errors
/// Those of [`Ledger::erase`].
pub fn forget(home: &crate::Home, session: &str, seq: u64, reason: &str) -> Result<Erasing, LedgerError> {
    let ledger = Ledger::open(home.dir())?;
    let stream = ledger.stream(session)?;
    ledger.erase(&stream, seq, &crate::control::this_user(), reason, crate::wall_ns())
}

/// What was erased of a session, by the number of the entry whose content it was.
#[must_use]
pub fn erased(history: &History) -> BTreeMap<u64, Erased> {
    history.entries().iter().filter_map(Erased::of).map(|erased| (erased.seq, erased)).collect()
}

/// Who erased what stood there, when and why.
#[must_use]
pub fn say_erased(e: &Erased) -> String {
    let why = if e.reason.is_empty() { String::new() } else { format!(": {}", e.reason) };
    format!("erased by {} at {} (entry {}){why}", e.by, e.at, e.entry)
}

/// A charter that was in force.
struct Recorded {
    /// The entry that says so.
    seq: u64,
    digest: String,
    files: Json,
}

fn charters(history: &History) -> Vec<Recorded> {
    let of = |entry: &flyball_ledger::Entry| {
        let (digest, files) = match entry.kind {
            Kind::Open => (entry.body.pointer("/charter/digest")?, entry.body.pointer("/charter/files")?),
            Kind::Charter => (entry.body.get("charter")?, entry.body.get("files")?),
            _ => return None,
        };
        Some(Recorded { seq: entry.seq, digest: digest.as_str()?.to_owned(), files: files.clone() })
    };
    history.entries().iter().filter_map(of).collect()
}

/// The files of charters as a bundle has them beside its entries: those whose names are plain. All of them stand in entries.
fn charter_files(charters: &[Recorded]) -> BTreeMap<String, Vec<u8>> {
    let is_plain = |name: &str| {
        (1..=60).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let mut out = BTreeMap::new();
    for charter in charters {
        for (name, text) in charter.files.as_object().into_iter().flatten() {
            if let Some(text) = text.as_str().filter(|_| is_plain(name)) {
                out.insert(format!("charter/{:08}/{name}", charter.seq), text.as_bytes().to_vec());
            }
        }
    }
    out
}

/// Of attestations, the latest; and no longer one.
const ATTESTATIONS_MAX: usize = 10;
const ATTESTATION_BYTES_MAX: usize = 4 << 20;

/// The attestations that entries speak of: how a bundle names each, and its bytes' digest.
fn attestations(history: &History) -> BTreeMap<String, Digest> {
    let of = |entry: &flyball_ledger::Entry| {
        let blob = entry.body.pointer("/attestation/blob")?.as_str()?.parse().ok()?;
        Some((format!("attestations/{:08}.dsse.json", entry.seq), blob))
    };
    history.entries().iter().filter(|e| e.kind == Kind::Observe).filter_map(of).collect()
}

/// The entry that a file beside the entries is of, by its name.
fn kept_by(name: &str) -> Option<u64> {
    name.split_once('/')?.1.split(['.', '/']).next()?.parse().ok()
}

/// What an opened bundle's file has to be read for once more ([`Opened::bring`]), so that what its attestations say can be held
/// against its entries. Nothing where it has none, or does not hold as it is.
#[must_use]
pub fn wanted(opened: &Opened) -> BTreeSet<Digest> {
    let has_any = opened.beside.keys().any(|name| name.starts_with("attestations/"));
    match has_any && opened.report.ok && opened.manifest.payloads {
        true => attest::wanted(&opened.ledger, &opened.manifest.session).unwrap_or_default(),
        false => BTreeSet::new(),
    }
}

/// What a bundle shows, and what it can't.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// The session.
    pub session: String,
    /// The ledger's name.
    pub ledger: String,
    /// The size of the tree whose checkpoint the entries were held against.
    pub tree_size: u64,
    /// `pinned`: the key is the one that was asked for; `self-consistent`: only the bundle says whose it is.
    pub key: &'static str,
    /// `all` or `commitments`.
    pub payloads: &'static str,
    /// Blobs that were read and held against their digests.
    pub blobs: u64,
    /// What was recomputed and holds.
    pub shown: Vec<String>,
    /// What this file cannot show.
    pub not_shown: Vec<String>,
    /// Answers whose signature by a person's key holds.
    #[serde(skip)]
    pub signed: SignedAnswers,
}

/// Holds the lines under the checkpoint against witnesses that the reader knows; the names under others are returned.
fn witnessed(opened: &mut Opened, witnesses: &[Cosigner]) -> Vec<String> {
    let (Some(note), Some(checkpoint)) = (&opened.note, &opened.checkpoint) else { return Vec::new() };
    for witness in witnesses {
        if opened.report.ok
            && let Some(at) = witness.cosigned_at(note)
        {
            opened.report.witnessed_by.push(witness.to_vkey());
            opened.report.witnessed.push(WitnessedBy::new(witness, checkpoint.size, at));
        }
    }
    let origin = opened.keys.origin();
    let names = note.signatures.iter().map(|(name, ..)| name.clone());
    names.filter(|name| name != origin && !witnesses.iter().any(|w| w.name() == name)).collect()
}

/// Recomputes what an opened bundle's entries say, adds to its report what does not hold, and says what is shown. `pinned` are keys
/// that its reader knows to be the ledger's, `witnesses` those that the reader believes.
///
/// # Errors
/// [`ReadError`] for entries that can't be read, if the bundle's report knows of nothing wrong with them.
pub fn examine(opened: &mut Opened, pinned: &[NoteVerifier], witnesses: &[Cosigner]) -> Result<Shown, ReadError> {
    let session = opened.manifest.session.clone();
    let was_ok = opened.report.ok;
    let problem = |code: &'static str, seq: Option<u64>, message: String| Problem {
        code,
        stream: Some(session.clone()),
        seq,
        leaf: None,
        message,
    };
    let unknown = witnessed(opened, witnesses);
    let mut problems = Vec::new();
    let is_pinned = pinned.iter().any(|key| opened.keys.has(key));
    if !is_pinned && let Some(key) = pinned.first() {
        let keys = opened.keys.current().to_vkey();
        problems.push(problem("FB0348", None, format!("it is signed by `{keys}`, and not by `{}`", key.to_vkey())));
    }
    let history = readable(was_ok, History::read(&opened.ledger, &session))?;
    let signed = readable(was_ok, read::signed_answers(&opened.ledger, Some(&session)))?.unwrap_or_default();
    let asked = readable(was_ok, read::misnamed_questions(&opened.ledger, Some(&session)))?.unwrap_or_default();
    problems.extend(signed.problems.iter().map(|(_, seq, why)| problem("FB0536", Some(*seq), why.clone())));
    problems.extend(asked.into_iter().map(|(_, seq, why)| problem("FB0549", Some(seq), why)));

    let (mut shown, mut not_shown) = (Vec::new(), Vec::new());
    let tree_size = opened.checkpoint.as_ref().map(|c| c.size).unwrap_or_default();
    if was_ok {
        let last = history.as_ref().map(History::last).unwrap_or_default();
        shown.push(format!(
            "entries 1 to {last}, each byte as it was, each in its place in a tree of {tree_size} that the key signed; none is missing between"
        ));
    }
    if let Some(history) = &history {
        let charters = charters(history);
        let known: BTreeSet<&str> = charters.iter().map(|c| c.digest.as_str()).collect();
        let expected = charter_files(&charters);
        for (name, bytes) in opened.beside.iter().filter(|(name, _)| name.starts_with("charter/")) {
            if expected.get(name) != Some(bytes) {
                problems.push(problem(
                    "FB0349",
                    kept_by(name),
                    format!("`{name}` is not what the entries hold of the charter"),
                ));
            }
        }
        for name in expected.keys().filter(|name| !opened.beside.contains_key(*name)) {
            problems.push(problem("FB0349", kept_by(name), format!("`{name}` is not here, and the entries hold it")));
        }
        let attested = attestations(history);
        let keys = std::iter::once(opened.keys.first()).chain(opened.keys.rotations().iter().map(|r| &r.to));
        let keys = Keys { keys: keys.cloned().collect(), from: "the ledger's" };
        for (name, bytes) in opened.beside.iter().filter(|(name, _)| name.starts_with("attestations/")) {
            if attested.get(name) != Some(&Digest::of(bytes)) {
                problems.push(problem(
                    "FB0349",
                    kept_by(name),
                    format!("`{name}` is not one that the entries speak of"),
                ));
                continue;
            }
            let record = Record::Bundle { entries: &opened.ledger, head: opened.checkpoint.as_ref() };
            match attest::check(bytes, &keys, was_ok.then_some(record)) {
                Ok(checked) if checked.session != session => {
                    problems.push(problem("FB0349", kept_by(name), format!("`{name}` is of another session")));
                }
                Ok(checked) => {
                    let seq = kept_by(name);
                    if checked.problems.is_empty() {
                        shown.push(format!("`{name}` is signed by the ledger's key, as is the checkpoint in it"));
                        if let Some(last) = checked.recomputed {
                            shown.push(format!("what `{name}` says is what entries 1 to {last} make of it"));
                        }
                    }
                    let of = |why: &String| problem("FB0349", seq, format!("`{name}`: {why}"));
                    problems.extend(checked.problems.iter().map(of));
                    if was_ok {
                        not_shown.extend(checked.unseen.iter().map(|what| format!("of `{name}`: {what}")));
                    }
                }
                Err(error) => problems.push(problem("FB0349", kept_by(name), format!("`{name}`: {error}"))),
            }
        }
        for entry in history.entries().iter().filter(|e| e.kind == Kind::Ruling) {
            let said = entry.body.get("charter").and_then(Json::as_str);
            if let Some(said) = said.filter(|said| !known.contains(said)) {
                let message = format!("its ruling is of the charter {said}, which no entry brought into force");
                problems.push(problem("FB0349", Some(entry.seq), message));
            }
        }
        for charter in &charters {
            let sources = serde_json::from_value::<Sources>(charter.files.clone()).ok();
            match sources.and_then(|sources| Charter::compile(&sources).ok()) {
                Some((compiled, _)) if compiled.digest() == charter.digest => {
                    shown.push(format!("the charter of entry {}: its files have the digest on its rulings", charter.seq));
                }
                _ => not_shown.push(format!(
                    "that the charter's files of entry {} have the digest on its rulings: this version of flyball reads them otherwise",
                    charter.seq
                )),
            }
        }
        if signed.hold + signed.acts > 0 {
            shown.push(format!(
                "{} answers and {} acts signed by a person's key, for just that, in time",
                signed.hold, signed.acts
            ));
        }
        match history.entries().iter().rev().find(|e| e.kind == Kind::Close) {
            Some(close) => not_shown.push(format!(
                "whether anything was recorded of the session after entry {} (it was closed at {})",
                history.last(),
                close.seq
            )),
            None => not_shown.push(format!("how the session went on after entry {}: it was open", history.last())),
        }
    }
    let payloads = if opened.manifest.payloads { "all" } else { "commitments" };
    if opened.manifest.payloads {
        shown.push(format!("{} blobs, each by its digest and the commitments in entries", opened.blobs));
    } else {
        not_shown.push("payloads and contents: only their commitments and digests are in this file".to_owned());
    }
    not_shown.extend(opened.report.erased.iter().map(|e| format!("the content of entry {}: {}", e.seq, say_erased(e))));
    not_shown.extend(
        unknown
            .into_iter()
            .map(|name| format!("whether `{name}` cosigned: give the key that it is known by with `--witness`")),
    );
    if !is_pinned {
        not_shown.push(
            "whose key it is: only this file says; ask the ledger's owner for it and give it with `--key`".to_owned(),
        );
    }
    not_shown.push(format!("what the ledger holds besides, and after its first {tree_size} entries"));
    not_shown.push("the registers that it shared with other sessions, and anything that was never recorded".to_owned());
    opened.report.ok &= problems.is_empty();
    opened.report.problems.extend(problems);
    Ok(Shown {
        session: session.clone(),
        ledger: opened.keys.origin().to_owned(),
        tree_size,
        key: if is_pinned { "pinned" } else { "self-consistent" },
        payloads,
        blobs: opened.blobs,
        shown,
        not_shown,
        signed,
    })
}

/// What is too damaged to be read has been told of already.
fn readable<T>(was_ok: bool, read: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if was_ok => Err(error),
        Err(_) => Ok(None),
    }
}
