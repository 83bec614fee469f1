//! Witnesses. A witness (<https://c2sp.org/tlog-witness>) remembers the last checkpoint of each ledger that it knows and cosigns
//! only what goes on from it: a ledger that is taken back, or shows two histories, gets no cosignature for one of them. Bytes
//! in, values out; whoever serves HTTP is elsewhere.

mod asked;

pub use asked::{Answered, Asked, WitnessedBy};
pub(crate) use asked::{best_note, notes};

use crate::{Checkpoint, Cosigner, Digest, LedgerError, NoteVerifier, cosign, key, merkle, note::Note};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::SigningKey;
use std::{
    fs::{self, File},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// The longest request: 63 hashes and a checkpoint.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
const HASHES_MAX: usize = 63;
const HEADER: &str = "flyball-witness-key-v1 ed25519 ";

/// A witness on this machine: a folder with its key, the ledgers that it knows, and what it saw of each.
pub struct Witness {
    dir: PathBuf,
    signing: SigningKey,
    cosigner: Cosigner,
}

/// What a witness says to a checkpoint. [`Self::status`] is the HTTP status of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The lines of its cosignature.
    Cosigned(String),
    /// It saw another size last, or another root of that size.
    Conflict(u64),
    /// The request can't be read.
    Bad(String),
    /// It does not know this ledger.
    Unknown,
    /// None of the ledger's keys that it knows signed this.
    Forbidden,
    /// What it saw before is not a beginning of this.
    Inconsistent,
    /// It could not remember it, so it did not cosign.
    Failed(String),
}

impl Said {
    /// Status, content type and body of the answer.
    #[must_use]
    pub fn status(&self) -> (u16, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        match self {
            Self::Cosigned(lines) => (200, TEXT, lines.clone()),
            Self::Conflict(size) => (409, "text/x.tlog.size", format!("{size}\n")),
            Self::Bad(cause) => (400, TEXT, format!("{cause}\n")),
            Self::Unknown => (404, TEXT, "this ledger is not known here\n".into()),
            Self::Forbidden => (403, TEXT, "not signed by a key of that ledger\n".into()),
            Self::Inconsistent => (422, TEXT, "what was seen before is not a beginning of this\n".into()),
            Self::Failed(cause) => (500, TEXT, format!("{cause}\n")),
        }
    }
}

impl Witness {
    /// Opens the witness in `dir`; makes it where there is none, with a key under `name`, or under one made of the key.
    ///
    /// # Errors
    /// Those of its files; [`LedgerError::KeyExposed`], [`LedgerError::Key`].
    pub fn open(dir: &Path, name: Option<&str>) -> Result<Self, LedgerError> {
        let fail = |e| LedgerError::io("make the folder", dir, e);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join("seen")).map_err(fail)?;
        let path = dir.join("witness.key");
        if !path.exists() {
            let mut seed = [0u8; 32];
            let no_random = |e: getrandom::Error| LedgerError::Key { path: path.clone(), cause: e.to_string() };
            getrandom::fill(&mut seed).map_err(no_random)?;
            let _turn = lock(dir)?;
            if !path.exists() {
                let own = SigningKey::from_bytes(&seed).verifying_key();
                let [a, b, c, d, ..] = Digest::of(own.as_bytes()).0;
                let own = format!("flyball.local/witness/{}", crate::digest::to_hex(&[a, b, c, d]));
                let name = name.unwrap_or(&own);
                Cosigner::new(name, SigningKey::from_bytes(&seed).verifying_key()).ok_or_else(|| {
                    LedgerError::Malformed {
                        what: "a witness's name",
                        cause: format!("`{name}` is empty, or has spaces or a plus"),
                    }
                })?;
                key::replace(&path, 0o600, &format!("{HEADER}{} {name}\n", BASE64.encode(seed)))?;
            }
        }
        let meta = fs::metadata(&path).map_err(|e| LedgerError::io("read the witness's key", &path, e))?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(LedgerError::KeyExposed { path, mode });
        }
        let text = fs::read_to_string(&path).map_err(|e| LedgerError::io("read the witness's key", &path, e))?;
        let parsed =
            text.strip_prefix(HEADER).and_then(|rest| rest.trim_end().split_once(' ')).and_then(|(seed, name)| {
                let seed: [u8; 32] = BASE64.decode(seed).ok()?.try_into().ok()?;
                let signing = SigningKey::from_bytes(&seed);
                Some((Cosigner::new(name, signing.verifying_key())?, signing))
            });
        let cause =
            || LedgerError::Key { path: path.clone(), cause: "its file is not a witness's key of this version".into() };
        let (cosigner, signing) = parsed.ok_or_else(cause)?;
        Ok(Self { dir: dir.to_owned(), signing, cosigner })
    }

    /// Its public key, for those who are to believe it.
    #[must_use]
    pub fn cosigner(&self) -> &Cosigner {
        &self.cosigner
    }

    /// From now on cosigns what this key signs.
    ///
    /// # Errors
    /// Those of its files.
    pub fn trust(&self, key: &NoteVerifier) -> Result<(), LedgerError> {
        let _turn = lock(&self.dir)?;
        let mut all = self.ledgers()?;
        if !all.contains(key) {
            all.push(key.clone());
            let text: String = all.iter().map(|key| format!("{}\n", key.to_vkey())).collect();
            key::replace(&self.dir.join("ledgers"), 0o600, &text)?;
        }
        Ok(())
    }

    /// The keys whose checkpoints it cosigns.
    ///
    /// # Errors
    /// Those of its files.
    pub fn ledgers(&self) -> Result<Vec<NoteVerifier>, LedgerError> {
        let path = self.dir.join("ledgers");
        match fs::read_to_string(&path) {
            Ok(text) => text.lines().map(NoteVerifier::parse).collect(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(LedgerError::io("read", &path, e)),
        }
    }

    /// The request `add-checkpoint`: cosigns a checkpoint that goes on from the last one that it saw of that ledger, and
    /// remembers it first. `now` is in seconds since the Unix epoch.
    pub fn add_checkpoint(&self, request: &[u8], now: u64) -> Said {
        let request = match Request::parse(request) {
            Ok(request) => request,
            Err(cause) => return Said::Bad(cause),
        };
        self.judge(&request, now).unwrap_or_else(|error| Said::Failed(format!("{error} ({})", error.code())))
    }

    fn judge(&self, request: &Request, now: u64) -> Result<Said, LedgerError> {
        let Request { old, proof, checkpoint, note } = request;
        // INVARIANT: from looking at what was seen to having stored what is seen now, nobody else of any process does either.
        let _turn = lock(&self.dir)?;
        let known: Vec<NoteVerifier> =
            self.ledgers()?.into_iter().filter(|key| key.name() == checkpoint.origin).collect();
        if known.is_empty() {
            return Ok(Said::Unknown);
        }
        if !known.iter().any(|key| note.is_signed_by(key)) {
            return Ok(Said::Forbidden);
        }
        if *old > checkpoint.size {
            return Ok(Said::Bad("the old size is larger than the checkpoint's".into()));
        }
        let path = self.dir.join("seen").join(Digest::of(checkpoint.origin.as_bytes()).to_hex());
        let seen = match fs::read_to_string(&path) {
            Ok(text) => Some(Checkpoint::parse(&Note::parse(text.as_bytes())?.text)?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(LedgerError::io("read", &path, e)),
        };
        let size = seen.as_ref().map_or(0, |seen| seen.size);
        if *old != size {
            return Ok(Said::Conflict(size));
        }
        if let Some(seen) = seen.filter(|seen| seen.size > 0) {
            if seen.size == checkpoint.size && seen.root != checkpoint.root {
                return Ok(Said::Conflict(size));
            }
            if !merkle::verify_consistency(seen.size, checkpoint.size, &seen.root, &checkpoint.root, proof) {
                return Ok(Said::Inconsistent);
            }
        } else if !proof.is_empty() || (checkpoint.size == 0 && checkpoint.root != merkle::empty_root()) {
            return Ok(Said::Inconsistent);
        }
        let line = cosign::line(&note.text, &self.cosigner, &self.signing, now);
        let signatures: String = note.signatures.iter().map(signature_line).collect();
        key::replace(&path, 0o600, &format!("{}\n{signatures}{line}", note.text))?;
        Ok(Said::Cosigned(line))
    }
}

/// A signature as the line that it was read from.
pub(crate) fn signature_line((name, id, bytes): &(String, [u8; 4], Vec<u8>)) -> String {
    let data: Vec<u8> = id.iter().chain(bytes).copied().collect();
    format!("— {name} {}\n", BASE64.encode(data))
}

/// A request `add-checkpoint`.
struct Request {
    old: u64,
    proof: Vec<Digest>,
    checkpoint: Checkpoint,
    note: Note,
}

impl Request {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err("the request is too long".into());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "the request is not UTF-8")?;
        let (head, note) = text.split_once("\n\n").ok_or("the request has no checkpoint")?;
        let mut lines = head.split('\n');
        let digits = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or("the request has no old size")?;
        let old: u64 = digits.parse().map_err(|_| "the old size is not a number")?;
        if old.to_string() != digits {
            return Err("the old size is not a number".into());
        }
        let mut proof = Vec::new();
        for line in lines {
            let hash = BASE64.decode(line).ok().and_then(|hash| Digest::from_slice(&hash));
            proof.push(hash.ok_or("a hash is not 32 bytes in base64")?);
            if proof.len() > HASHES_MAX {
                return Err("the proof has over 63 hashes".into());
            }
        }
        let note = Note::parse(note.as_bytes()).map_err(|e| e.to_string())?;
        let checkpoint = Checkpoint::parse(&note.text).map_err(|e| e.to_string())?;
        Ok(Self { old, proof, checkpoint, note })
    }
}

/// For fuzzers: whether these bytes are a request.
#[must_use]
pub(crate) fn is_request(bytes: &[u8]) -> bool {
    Request::parse(bytes).is_ok()
}

fn lock(dir: &Path) -> Result<File, LedgerError> {
    let path = dir.join("turn");
    let fail = |e| LedgerError::io("lock", &path, e);
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(fail)?;
    file.lock().map_err(fail)?;
    Ok(file)
}
