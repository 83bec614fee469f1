//! The ledger's side: which witnesses it asks, what it asks, and what they answered. In the ledger's folder, `witnesses/list` has a
//! line `URL KEY` for each, and `witnesses/ID` the last checkpoint that it cosigned.

use crate::{Checkpoint, Cosigner, Keychain, Ledger, LedgerError, head, key, merkle, note::Note, schema, tiles};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rusqlite::Connection;
use serde::Serialize;
use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// More than this many nobody asks.
const WITNESSES_MAX: usize = 64;
const LIST_BYTES_MAX: u64 = 64 << 10;

/// A witness that the ledger asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where it answers: the prefix before `/add-checkpoint`.
    pub url: String,
    /// Its key.
    pub cosigner: Cosigner,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It cosigned, and that was kept: the size, and when, in seconds since the Unix epoch.
    Cosigned(u64, u64),
    /// It saw this size last: ask again from there.
    Again(u64),
}

/// A witness's word that a checkpoint of this ledger is what it saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WitnessedBy {
    /// Its key.
    pub witness: String,
    /// The size of that tree.
    pub size: u64,
    /// When.
    pub at: String,
}

impl WitnessedBy {
    /// A cosignature of a tree of `size` entries at `at`, seconds since the Unix epoch.
    #[must_use]
    pub fn new(cosigner: &Cosigner, size: u64, at: u64) -> Self {
        Self { witness: cosigner.to_vkey(), size, at: crate::format_ns(at.saturating_mul(1_000_000_000)) }
    }
}

impl Ledger {
    /// The witnesses that this ledger asks.
    ///
    /// # Errors
    /// Those of the list's file.
    pub fn witnesses(&self) -> Result<Vec<Asked>, LedgerError> {
        list(self.dir())
    }

    /// From now on asks this witness too.
    ///
    /// # Errors
    /// Those of the list's file.
    pub fn add_witness(&self, url: &str, cosigner: &Cosigner) -> Result<(), LedgerError> {
        let bad = |cause: &str| LedgerError::Malformed { what: "a witness", cause: cause.to_owned() };
        if url.is_empty() || url.chars().any(char::is_whitespace) {
            return Err(bad("its address has spaces or is empty"));
        }
        let mut all = self.witnesses()?;
        all.retain(|asked| asked.cosigner != *cosigner);
        all.push(Asked { url: url.trim_end_matches('/').to_owned(), cosigner: cosigner.clone() });
        if all.len() > WITNESSES_MAX {
            return Err(bad("there are over 64 of them"));
        }
        let folder = folder(self.dir());
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|e| LedgerError::io("make the folder", &folder, e))?;
        let text: String = all.iter().map(|asked| format!("{} {}\n", asked.url, asked.cosigner.to_vkey())).collect();
        key::replace(&folder.join("list"), 0o600, &text)
    }

    /// What to ask a witness: the body of `add-checkpoint`, and the checkpoint in it. `old` is the size that it said it saw last;
    /// without it, the one that it cosigned last. Nothing while the ledger is empty, or where it cosigned the head already.
    ///
    /// # Errors
    /// [`LedgerError::OtherHistory`] if it saw more than there is; those of the store.
    pub fn ask(&self, asked: &Asked, old: Option<u64>) -> Result<Option<(Vec<u8>, String)>, LedgerError> {
        let db = schema::open_read(self.dir())?;
        db.execute_batch("BEGIN").map_err(|e| self.fail(e))?;
        let keys = key::open_public(self.dir())?;
        let note = head::read(&db, self.dir(), &keys, "")?.note;
        if note.is_empty() {
            return Ok(None);
        }
        let (checkpoint, _) = keys.open(&note)?;
        let seen = match old {
            Some(old) => old,
            None => kept(self.dir(), asked, &keys).map_or(0, |(seen, ..)| seen.size),
        };
        if seen > checkpoint.size {
            return Err(taken_back(asked, seen, checkpoint.size));
        }
        if old.is_none() && seen == checkpoint.size {
            return Ok(None);
        }
        let mut nodes = tiles::Nodes::new(&db, self.dir(), checkpoint.size);
        let proof = merkle::consistency_proof(seen, checkpoint.size, &mut |level, at| nodes.node(level, at))?;
        let mut body = format!("old {seen}\n");
        proof.iter().for_each(|hash| body.push_str(&format!("{}\n", BASE64.encode(hash.0))));
        body.push('\n');
        body.push_str(&note);
        Ok(Some((body.into_bytes(), note)))
    }

    /// Takes a witness's answer to the request with this checkpoint, for which `old` was said.
    ///
    /// # Errors
    /// [`LedgerError::OtherHistory`] if it saw another history; [`LedgerError::Witness`] for any other refusal.
    pub fn answered(
        &self,
        asked: &Asked,
        note: &str,
        old: u64,
        status: u16,
        body: &str,
    ) -> Result<Answered, LedgerError> {
        let refused = |cause: String| LedgerError::Witness { name: asked.cosigner.name().to_owned(), cause };
        let checkpoint = Checkpoint::parse(&Note::parse(note.as_bytes())?.text)?;
        match status {
            200 => {
                let theirs = Note::parse(format!("{note}{body}").as_bytes()).ok();
                let at = theirs.as_ref().and_then(|theirs| asked.cosigner.cosigned_at(theirs));
                let (Some(at), Some(theirs)) = (at, theirs) else {
                    return Err(refused("its answer has no cosignature of the key that you named".into()));
                };
                // Lines of other keys are left out.
                let id = asked.cosigner.id();
                let line = theirs.signatures.iter().rev().find(|(name, i, _)| name == asked.cosigner.name() && *i == id);
                let line = line.map(super::signature_line).unwrap_or_default();
                key::replace(&place(self.dir(), &asked.cosigner), 0o600, &format!("{note}{line}"))?;
                Ok(Answered::Cosigned(checkpoint.size, at))
            }
            409 => match body.trim_end().parse::<u64>() {
                Ok(seen) if seen > checkpoint.size => Err(taken_back(asked, seen, checkpoint.size)),
                Ok(seen) if seen == old => {
                    let cause = format!("it saw another tree of {seen} entries under this ledger's name");
                    Err(LedgerError::OtherHistory { name: asked.cosigner.name().to_owned(), cause })
                }
                Ok(seen) => Ok(Answered::Again(seen)),
                Err(_) => Err(refused("it answered 409, and no size".into())),
            },
            422 => {
                let cause = format!("the {old} entries that it saw are not the beginning of this ledger");
                Err(LedgerError::OtherHistory { name: asked.cosigner.name().to_owned(), cause })
            }
            404 => Err(refused("it does not know this ledger; its operator adds it with `flyball witness serve --trust KEY`".into())),
            403 => Err(refused("it does not know the key that signs this ledger now; its operator adds it with `flyball witness serve --trust KEY`".into())),
            other => Err(refused(format!("it answered {other}: {}", body.chars().take(200).collect::<String>().trim()))),
        }
    }
}

fn taken_back(asked: &Asked, seen: u64, there: u64) -> LedgerError {
    let cause = format!("it cosigned a tree of {seen} entries, and here are {there}: the ledger was taken back");
    LedgerError::OtherHistory { name: asked.cosigner.name().to_owned(), cause }
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("witnesses")
}

fn place(dir: &Path, cosigner: &Cosigner) -> PathBuf {
    folder(dir).join(crate::digest::to_hex(&cosigner.id()))
}

fn list(dir: &Path) -> Result<Vec<Asked>, LedgerError> {
    let path = folder(dir).join("list");
    let bad = |cause: String| LedgerError::Malformed { what: "the list of witnesses", cause };
    match fs::metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(meta) if meta.len() > LIST_BYTES_MAX => return Err(bad("it is too long".into())),
        _ => {}
    }
    let text = fs::read_to_string(&path).map_err(|e| LedgerError::io("read", &path, e))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let all: Result<Vec<Asked>, _> = lines
        .map(|line| {
            let (url, key) = line.split_once(' ').ok_or_else(|| bad(format!("`{line}` is not `URL KEY`")))?;
            Ok(Asked { url: url.trim_end_matches('/').to_owned(), cosigner: Cosigner::parse(key.trim())? })
        })
        .collect();
    all
}

/// What a witness cosigned last, as far as it was kept and holds: the checkpoint, when, and the note.
fn kept(dir: &Path, asked: &Asked, keys: &Keychain) -> Option<(Checkpoint, u64, String)> {
    let text = fs::read_to_string(place(dir, &asked.cosigner)).ok()?;
    let at = asked.cosigner.cosigned_at(&Note::parse(text.as_bytes()).ok()?)?;
    let (checkpoint, _) = keys.open(&text).ok()?;
    Some((checkpoint, at, text))
}

/// What all witnesses of this ledger cosigned last.
pub(crate) fn notes(dir: &Path, keys: &Keychain) -> Vec<(Asked, Checkpoint, u64, String)> {
    let all = list(dir).unwrap_or_default();
    let one = |asked: Asked| kept(dir, &asked, keys).map(|(checkpoint, at, note)| (asked, checkpoint, at, note));
    all.into_iter().filter_map(one).collect()
}

/// The note to prove leaf `index` with: the latest that witnesses cosigned and that has it, with all their lines; else the head's.
pub(crate) fn best_note(db: &Connection, dir: &Path, keys: &Keychain, index: u64) -> Result<String, LedgerError> {
    let head = head::read(db, dir, keys, "")?;
    let mut best: Option<(u64, String)> = None;
    for (_, checkpoint, _, note) in notes(dir, keys) {
        let size = checkpoint.size;
        let is_better = size > index && size <= head.frontier.size() && best.as_ref().is_none_or(|(s, _)| *s <= size);
        let mut nodes = tiles::Nodes::new(db, dir, head.frontier.size());
        if !is_better || merkle::root(size, &mut |level, at| nodes.node(level, at))? != checkpoint.root {
            continue;
        }
        let more = note.lines().last().unwrap_or_default();
        best = match best {
            Some((s, text)) if s == size => Some((s, format!("{text}{more}\n"))),
            _ => Some((size, note)),
        };
    }
    Ok(best.map_or(head.note, |(_, note)| note))
}
