//! The ledger's signing key: made at its first use, kept where only its owner reads it, changed by [`rotate`].

use crate::{Digest, Keychain, LedgerError, Rotation, note::NoteVerifier};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::SigningKey;
use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

const HEADER: &str = "flyball-ledger-key-v1 ed25519 ";
/// A ledger is named by this and the first four bytes of its key's digest.
pub(crate) const ORIGIN_PREFIX: &str = "flyball.local/ledger/";

/// Longest file of rotations, bytes.
const ROTATIONS_BYTES_MAX: u64 = 4 << 20;

/// The private key, and all keys that led to it.
pub(crate) struct LedgerKey {
    pub(crate) signing: SigningKey,
    pub(crate) chain: Keychain,
}

impl LedgerKey {
    /// Whether the key was changed since this was read. Costs a look at a file's length.
    pub(crate) fn is_outdated(&self, dir: &Path) -> bool {
        let there = fs::metadata(rotations_path(dir)).map_or(0, |meta| meta.len());
        there != self.chain.rotations().iter().map(line).map(|line| line.len() as u64).sum::<u64>()
    }
}

pub(crate) fn private_path(dir: &Path) -> PathBuf {
    dir.join("keys/ledger.key")
}

fn public_path(dir: &Path) -> PathBuf {
    dir.join("keys/ledger.pub")
}

/// By which notes keys followed each other: a JSON string a line.
fn rotations_path(dir: &Path) -> PathBuf {
    dir.join("keys/rotations.jsonl")
}

/// A key that is announced and not yet in its place.
fn next_path(dir: &Path) -> PathBuf {
    dir.join("keys/ledger.key.next")
}

/// The name of a ledger whose first key this is.
pub(crate) fn name_of(key: &[u8; 32]) -> String {
    let [a, b, c, d, ..] = Digest::of(key).0;
    format!("{ORIGIN_PREFIX}{}", crate::digest::to_hex(&[a, b, c, d]))
}

/// Reads the key; with `may_make`, makes it when there is none.
pub(crate) fn open(dir: &Path, may_make: bool) -> Result<LedgerKey, LedgerError> {
    let path = private_path(dir);
    let (signing, verifier) = match read(&path) {
        Err(LedgerError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            if !may_make {
                return Err(LedgerError::Key { path, cause: "it is missing, though the ledger has entries".into() });
            }
            make(dir)?;
            read(&path)?
        }
        other => other?,
    };
    let chain = chain(dir, &verifier)?;
    if *chain.current() == verifier {
        if !public_path(dir).exists() {
            // Its making was cut off in between.
            publish(&public_path(dir), 0o644, &format!("{}\n", verifier.to_vkey()))?;
        }
        return Ok(LedgerKey { signing, chain });
    }
    // A rotation was cut off after the new key was announced: what is announced holds.
    match read(&next_path(dir)) {
        Ok((signing, next)) if next == *chain.current() => {
            put_in_place(dir, &next)?;
            Ok(LedgerKey { signing, chain })
        }
        _ => {
            let cause = "it is not the one that `keys/rotations.jsonl` ends with".to_owned();
            Err(LedgerError::Key { path, cause })
        }
    }
}

/// The public half, for readers. Of the private file if this reader may read it, so that the two cannot differ unseen.
pub(crate) fn open_public(dir: &Path) -> Result<Keychain, LedgerError> {
    let key = match read(&private_path(dir)) {
        Ok((_, verifier)) => verifier,
        Err(LedgerError::Io { .. }) => {
            let path = public_path(dir);
            let text = fs::read_to_string(&path).map_err(|e| LedgerError::io("read the public key", &path, e))?;
            NoteVerifier::parse(&text)?
        }
        Err(error) => return Err(error),
    };
    chain(dir, &key)
}

/// All keys that led to this one. A chain that goes on behind it is of a rotation that is just being made.
fn chain(dir: &Path, key: &NoteVerifier) -> Result<Keychain, LedgerError> {
    let path = rotations_path(dir);
    let fail = |e| LedgerError::io("read the key's rotations", &path, e);
    let unusable = |cause: String| LedgerError::Key { path: path.clone(), cause };
    let text = match fs::metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Keychain::new(key.clone())),
        Err(e) => return Err(fail(e)),
        Ok(meta) if meta.len() > ROTATIONS_BYTES_MAX => return Err(unusable("it is too long".into())),
        Ok(_) => fs::read_to_string(&path).map_err(fail)?,
    };
    let chain = read_chain(&text).map_err(|e| unusable(e.to_string()))?;
    match chain {
        Some(chain) if chain.has(key) => Ok(chain),
        Some(_) => Err(unusable("it does not lead to the key in `keys/`".into())),
        None => Ok(Keychain::new(key.clone())),
    }
}

/// The chain that lines of notes give; `None` where there are none.
pub(crate) fn read_chain(text: &str) -> Result<Option<Keychain>, LedgerError> {
    let bad = |cause: &str| LedgerError::Malformed { what: "the key's rotations", cause: cause.to_owned() };
    let notes: Result<Vec<String>, _> = text.lines().map(serde_json::from_str).collect();
    let notes = notes.map_err(|_| bad("a line is not a JSON string"))?;
    let Some(first) = notes.first() else { return Ok(None) };
    // The sixth line names the key that came before.
    let first = first.lines().nth(5).ok_or_else(|| bad("the first is not one"))?;
    Keychain::read(NoteVerifier::parse(first)?, notes.iter().map(String::as_str)).map(Some)
}

/// The lines of notes that [`read_chain`] reads.
pub(crate) fn write_chain(chain: &Keychain) -> String {
    chain.rotations().iter().map(line).collect()
}

fn line(rotation: &Rotation) -> String {
    format!("{}\n", serde_json::Value::from(rotation.note.as_str()))
}

/// Announces a new key, signed by the one in force for trees from `size` on, and puts it in that one's place.
pub(crate) fn rotate(dir: &Path, key: &LedgerKey, size: u64, at_ns: u64) -> Result<LedgerKey, LedgerError> {
    let next = next_path(dir);
    let mut seed = [0u8; 32];
    let fail = |e: getrandom::Error| LedgerError::Key { path: next.clone(), cause: format!("no random bytes: {e}") };
    getrandom::fill(&mut seed).map_err(fail)?;
    let signing = SigningKey::from_bytes(&seed);
    let chain = key.chain.rotated(&key.signing, &signing, size, at_ns)?;
    // INVARIANT: each step is durable before the next: no key is announced that could be lost, and none replaced unannounced.
    let text = format!("{HEADER}{} {}\n", BASE64.encode(seed), chain.origin());
    replace(&next, 0o600, &text)?;
    replace(&rotations_path(dir), 0o644, &write_chain(&chain))?;
    put_in_place(dir, chain.current())?;
    Ok(LedgerKey { signing, chain })
}

fn put_in_place(dir: &Path, key: &NoteVerifier) -> Result<(), LedgerError> {
    replace(&public_path(dir), 0o644, &format!("{}\n", key.to_vkey()))?;
    let path = private_path(dir);
    let moved = fs::rename(next_path(dir), &path).and_then(|()| File::open(dir.join("keys"))?.sync_all());
    moved.map_err(|e| LedgerError::io("put the new signing key at", &path, e))
}

/// Writes a whole file in the place of another.
pub(crate) fn replace(path: &Path, mode: u32, text: &str) -> Result<(), LedgerError> {
    beside(path, mode, text, |temporary| {
        fs::rename(temporary, path)?;
        File::open(path.parent().unwrap_or(path))?.sync_all()
    })
}

/// Writes a whole file beside a path, under a name of its own, for `then` to give it its place; nobody sees half of it.
fn beside<T>(
    path: &Path,
    mode: u32,
    text: &str,
    then: impl FnOnce(&Path) -> std::io::Result<T>,
) -> Result<T, LedgerError> {
    let mut random = [0u8; 8];
    let no_random = |e: getrandom::Error| LedgerError::io("name", path, std::io::Error::other(e.to_string()));
    getrandom::fill(&mut random).map_err(no_random)?;
    // INVARIANT: a name that nobody used before. An earlier one that could not be removed is another name of a key in use.
    let temporary = path.with_extension(format!("tmp{}", crate::digest::to_hex(&random)));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        then(&temporary)
    })();
    let _ = fs::remove_file(&temporary);
    written.map_err(|e| LedgerError::io("write", path, e))
}

fn read(path: &Path) -> Result<(SigningKey, NoteVerifier), LedgerError> {
    for checked in [path.parent().unwrap_or(path), path] {
        let meta = fs::metadata(checked).map_err(|e| LedgerError::io("read the signing key", checked, e))?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(LedgerError::KeyExposed { path: checked.to_owned(), mode });
        }
    }
    let text = fs::read_to_string(path).map_err(|e| LedgerError::io("read the signing key", path, e))?;
    let cause = || LedgerError::Key { path: path.to_owned(), cause: "its file is not a key of this version".into() };
    // A key that followed another carries the ledger's name, which is its first key's.
    let mut parts = text.strip_prefix(HEADER).ok_or_else(cause)?.split_whitespace();
    let seed = parts.next().and_then(|seed| BASE64.decode(seed).ok());
    let seed: Option<[u8; 32]> = seed.and_then(|bytes| bytes.try_into().ok());
    from_seed(seed.as_ref().ok_or_else(cause)?, parts.next()).ok_or_else(cause)
}

fn from_seed(seed: &[u8; 32], name: Option<&str>) -> Option<(SigningKey, NoteVerifier)> {
    let signing = SigningKey::from_bytes(seed);
    let name = name.map_or_else(|| name_of(signing.verifying_key().as_bytes()), str::to_owned);
    let verifier = NoteVerifier::new(&name, signing.verifying_key())?;
    Some((signing, verifier))
}

/// Several processes may do this at once: the first to link its file wins, and all read that one.
fn make(dir: &Path) -> Result<(), LedgerError> {
    let keys = dir.join("keys");
    match fs::DirBuilder::new().mode(0o700).create(&keys) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(LedgerError::io("make the folder", &keys, e)),
        _ => {}
    }
    let path = private_path(dir);
    let mut seed = [0u8; 32];
    let fail = |e: getrandom::Error| LedgerError::Key { path: path.clone(), cause: format!("no random bytes: {e}") };
    getrandom::fill(&mut seed).map_err(fail)?;
    let unusable = || LedgerError::Key { path: path.clone(), cause: "it could not be made".into() };
    let (_, verifier) = from_seed(&seed, None).ok_or_else(unusable)?;
    if publish(&path, 0o600, &format!("{HEADER}{}\n", BASE64.encode(seed)))? {
        publish(&public_path(dir), 0o644, &format!("{}\n", verifier.to_vkey()))?;
    }
    let folder = File::open(&keys).and_then(|f| f.sync_all());
    folder.map_err(|e| LedgerError::io("sync the folder", &keys, e))
}

/// Whether the whole file appeared under its name by this call.
fn publish(path: &Path, mode: u32, text: &str) -> Result<bool, LedgerError> {
    beside(path, mode, text, |temporary| match fs::hard_link(temporary, path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    })
}
