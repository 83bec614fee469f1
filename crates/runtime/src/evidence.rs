//! Evidence for strangers: a session as a bundle, and what a bundle shows by itself, without any ledger.

use crate::attest::{self, Keys, Record};
use crate::read::{self, ReadError, SignedAnswers};
use flyball_kernel::{Charter, Sources};
use flyball_ledger::bundle::{Export, Exported, Opened};
use flyball_ledger::witness::WitnessedBy;
use flyball_ledger::{
    Cosigner, Digest, Entry, Erased, Erasing, Filter, Kind, Ledger, LedgerError, NoteVerifier, Problem,
};
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;

/// Writes a session as a bundle, with its charters' files beside it.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read, or `out` written.
pub fn export(ledger: &Ledger, session: &str, payloads: bool, out: impl Write) -> Result<Exported, ReadError> {
    let (mut charters, mut attestations) = (Vec::new(), VecDeque::new());
    let kinds = vec![Kind::Open, Kind::Charter, Kind::Observe];
    for entry in ledger.entries(session, .., Filter { kinds, ..Filter::default() })? {
        let mut entry = entry?;
        entry.body = read::whole_body(ledger, &entry)?;
        charters.extend(charter(&entry));
        attestations.extend(attestation(&entry).filter(|_| entry.kind == Kind::Observe));
        if attestations.len() > ATTESTATIONS_MAX {
            attestations.pop_front();
        }
    }
    let mut beside = charter_files(&charters);
    for (name, blob) in attestations {
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
///
/// # Errors
/// [`ReadError`] when the ledger can't be read or the session is not there.
pub fn erased(ledger: &Ledger, session: &str) -> Result<BTreeMap<u64, Erased>, ReadError> {
    let mut out = BTreeMap::new();
    let kinds = vec![Kind::Intervention];
    for entry in ledger.entries(session, .., Filter { kinds, ..Filter::default() })? {
        let mut entry = entry?;
        entry.body = read::whole_body(ledger, &entry)?;
        out.extend(Erased::of(&entry).map(|erased| (erased.seq, erased)));
    }
    Ok(out)
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

fn charter(entry: &Entry) -> Option<Recorded> {
    let (digest, files) = match entry.kind {
        Kind::Open => (entry.body.pointer("/charter/digest")?, entry.body.pointer("/charter/files")?),
        Kind::Charter => (entry.body.get("charter")?, entry.body.get("files")?),
        _ => return None,
    };
    Some(Recorded { seq: entry.seq, digest: digest.as_str()?.to_owned(), files: files.clone() })
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

/// The attestation that an entry speaks of: how a bundle names it, and its bytes' digest.
fn attestation(entry: &Entry) -> Option<(String, Digest)> {
    let blob = entry.body.pointer("/attestation/blob")?.as_str()?.parse().ok()?;
    Some((format!("attestations/{:08}.dsse.json", entry.seq), blob))
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
    let seen = readable(was_ok, seen(opened))?;
    let signed = readable(was_ok, read::signed_answers_brought(&opened.ledger, &session))?.unwrap_or_default();
    let asked = readable(was_ok, read::misnamed_questions(&opened.ledger, Some(&session)))?.unwrap_or_default();
    problems.extend(signed.problems.iter().map(|(_, seq, why)| problem("FB0536", Some(*seq), why.clone())));
    problems.extend(asked.into_iter().map(|(_, seq, why)| problem("FB0549", Some(seq), why)));

    let (mut shown, mut not_shown) = (Vec::new(), Vec::new());
    let tree_size = opened.checkpoint.as_ref().map(|c| c.size).unwrap_or_default();
    if let Some(seen) = seen {
        if was_ok {
            shown.push(format!(
                "entries 1 to {}, each byte as it was, each in its place in a tree of {tree_size} that the key signed; none is missing between",
                seen.last
            ));
        }
        problems.extend(seen.problems.into_iter().map(|(seq, why)| problem("FB0349", seq, why)));
        let keys = std::iter::once(opened.keys.first()).chain(opened.keys.rotations().iter().map(|r| &r.to));
        let keys = Keys { keys: keys.cloned().collect(), from: "the ledger's" };
        for (name, bytes) in opened.beside.iter().filter(|(name, _)| name.starts_with("attestations/")) {
            if seen.attested.get(name) != Some(&Digest::of(bytes)) {
                let why = format!("`{name}` is not one that the entries speak of");
                problems.push(problem("FB0349", kept_by(name), why));
                continue;
            }
            let record = Record::Bundle { entries: &opened.ledger, head: opened.checkpoint.as_ref() };
            match attest::check(bytes, &keys, was_ok.then_some(record)) {
                Ok(checked) if checked.session != session => {
                    problems.push(problem("FB0349", kept_by(name), format!("`{name}` is of another session")));
                }
                Ok(checked) => {
                    if checked.problems.is_empty() {
                        shown.push(format!("`{name}` is signed by the ledger's key, as is the checkpoint in it"));
                        if let Some(last) = checked.recomputed {
                            shown.push(format!("what `{name}` says is what entries 1 to {last} make of it"));
                        }
                    }
                    let of = |why: &String| problem("FB0349", kept_by(name), format!("`{name}`: {why}"));
                    problems.extend(checked.problems.iter().map(of));
                    if was_ok {
                        not_shown.extend(checked.unseen.iter().map(|what| format!("of `{name}`: {what}")));
                    }
                }
                Err(error) => problems.push(problem("FB0349", kept_by(name), format!("`{name}`: {error}"))),
            }
        }
        shown.extend(seen.shown);
        not_shown.extend(seen.not_shown);
        if signed.hold + signed.acts > 0 {
            shown.push(format!(
                "{} answers and {} acts signed by a person's key, for just that, in time",
                signed.hold, signed.acts
            ));
        }
        not_shown.push(match seen.closed {
            Some(closed) => format!(
                "whether anything was recorded of the session after entry {} (it was closed at {closed})",
                seen.last
            ),
            None => format!("how the session went on after entry {}: it was open", seen.last),
        });
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
    for (seq, of) in signed.elsewhere.iter().take(20) {
        not_shown.push(format!("whether a key signed what entry {seq} says: that stands in session {of}"));
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

/// Charters of one session that are compiled anew.
const CHARTERS_MAX: usize = 100;

/// What the entries of a bundle say of what stands beside them. They are read one by one: a bundle may be longer than memory.
#[derive(Default)]
struct Seen {
    last: u64,
    closed: Option<u64>,
    /// Of the attestations that are beside the entries, what the entries say that each is.
    attested: BTreeMap<String, Digest>,
    shown: Vec<String>,
    not_shown: Vec<String>,
    problems: Vec<(Option<u64>, String)>,
}

fn seen(opened: &Opened) -> Result<Seen, ReadError> {
    let mut seen = Seen::default();
    // Digests that some entry brought into force; others on rulings, with the first of them and how many there are.
    let (mut known, mut ruled) = (BTreeSet::new(), BTreeMap::<String, (u64, u64)>::new());
    let (mut expected, mut charters, mut more) = (BTreeSet::new(), 0_usize, None);
    for entry in opened.ledger.entries(&opened.manifest.session, .., Filter::default())? {
        let mut entry = entry?;
        seen.last = entry.seq;
        match entry.kind {
            Kind::Open | Kind::Charter => {
                entry.body = read::whole_body(&opened.ledger, &entry)?;
                if let Some(charter) = charter(&entry) {
                    charters += 1;
                    known.insert(charter.digest.clone());
                    seen.charter(&charter, opened, &mut expected, charters <= CHARTERS_MAX);
                }
            }
            Kind::Observe => {
                let attested = attestation(&entry).filter(|(name, _)| opened.beside.contains_key(name));
                seen.attested.extend(attested);
            }
            Kind::Ruling => {
                let said = entry.body.get("charter").and_then(Json::as_str).filter(|said| !known.contains(*said));
                if let Some(said) = said.filter(|said| ruled.len() < CHARTERS_MAX || ruled.contains_key(*said)) {
                    ruled.entry(said.to_owned()).or_insert((entry.seq, 0)).1 += 1;
                } else if said.is_some() {
                    more = more.or(Some(entry.seq));
                }
            }
            Kind::Close => seen.closed = Some(entry.seq),
            _ => {}
        }
    }
    for name in opened.beside.keys().filter(|name| name.starts_with("charter/") && !expected.contains(*name)) {
        seen.problems.push((kept_by(name), format!("`{name}` is not what the entries hold of the charter")));
    }
    for (digest, (seq, count)) in ruled.iter().filter(|(digest, _)| !known.contains(*digest)) {
        let more = if *count > 1 { format!(", and those of {} more entries", count - 1) } else { String::new() };
        let message = format!("its ruling is of the charter {digest}, which no entry brought into force{more}");
        seen.problems.push((Some(*seq), message));
    }
    if let Some(seq) = more {
        let message =
            format!("its ruling, as {CHARTERS_MAX} before it, is of a charter that no entry before brought into force");
        seen.problems.push((Some(seq), message));
    }
    if charters > CHARTERS_MAX {
        seen.not_shown.push(format!("that {} more charters have the digest on their rulings", charters - CHARTERS_MAX));
    }
    Ok(seen)
}

impl Seen {
    /// Holds a charter's files beside the entries against those in its entry, and those against its digest.
    fn charter(&mut self, charter: &Recorded, opened: &Opened, expected: &mut BTreeSet<String>, is_told: bool) {
        for (name, bytes) in charter_files(std::slice::from_ref(charter)) {
            let why = match opened.beside.get(&name) {
                Some(there) if *there == bytes => None,
                Some(_) => Some(format!("`{name}` is not what the entries hold of the charter")),
                None => Some(format!("`{name}` is not here, and the entries hold it")),
            };
            self.problems.extend(why.filter(|_| is_told).map(|why| (Some(charter.seq), why)));
            expected.insert(name);
        }
        if !is_told {
            return;
        }
        let sources = serde_json::from_value::<Sources>(charter.files.clone()).ok();
        match sources.and_then(|sources| Charter::compile(&sources).ok()) {
            Some((compiled, _)) if compiled.digest() == charter.digest => {
                self.shown.push(format!("the charter of entry {}: its files have the digest on its rulings", charter.seq));
            }
            _ => self.not_shown.push(format!(
                "that the charter's files of entry {} have the digest on its rulings: this version of flyball reads them otherwise",
                charter.seq
            )),
        }
    }
}

/// What is too damaged to be read has been told of already.
fn readable<T>(was_ok: bool, read: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if was_ok => Err(error),
        Err(_) => Ok(None),
    }
}
