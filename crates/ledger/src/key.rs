//! The ledger's signing key: made once, kept where only its owner reads it.

use crate::{Digest, LedgerError, note::NoteVerifier};
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

/// The private key and the name that it signs under.
pub(crate) struct LedgerKey {
    pub(crate) signing: SigningKey,
    pub(crate) verifier: NoteVerifier,
}

pub(crate) fn private_path(dir: &Path) -> PathBuf {
    dir.join("keys/ledger.key")
}

fn public_path(dir: &Path) -> PathBuf {
    dir.join("keys/ledger.pub")
}

/// Reads the key; with `may_make`, makes it when there is none.
pub(crate) fn open(dir: &Path, may_make: bool) -> Result<LedgerKey, LedgerError> {
    let path = private_path(dir);
    match read(&path) {
        Err(LedgerError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            if !may_make {
                return Err(LedgerError::Key { path, cause: "it is missing, though the ledger has entries".into() });
            }
            make(dir)?;
            read(&path)
        }
        other => {
            let key = other?;
            if !public_path(dir).exists() {
                // Its making was cut off in between.
                publish(&public_path(dir), 0o644, &format!("{}\n", key.verifier.to_vkey()))?;
            }
            Ok(key)
        }
    }
}

/// The public half, for readers. Of the private file if this reader may read it, so that the two cannot differ unseen.
pub(crate) fn open_public(dir: &Path) -> Result<NoteVerifier, LedgerError> {
    match read(&private_path(dir)) {
        Ok(key) => return Ok(key.verifier),
        Err(LedgerError::Io { .. }) => {}
        Err(error) => return Err(error),
    }
    let path = public_path(dir);
    let text = fs::read_to_string(&path).map_err(|e| LedgerError::io("read the public key", &path, e))?;
    NoteVerifier::parse(&text)
}

fn read(path: &Path) -> Result<LedgerKey, LedgerError> {
    for checked in [path.parent().unwrap_or(path), path] {
        let meta = fs::metadata(checked).map_err(|e| LedgerError::io("read the signing key", checked, e))?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(LedgerError::KeyExposed { path: checked.to_owned(), mode });
        }
    }
    let text = fs::read_to_string(path).map_err(|e| LedgerError::io("read the signing key", path, e))?;
    let seed = text.strip_prefix(HEADER).and_then(|rest| BASE64.decode(rest.trim_end()).ok());
    let seed: Option<[u8; 32]> = seed.and_then(|bytes| bytes.try_into().ok());
    let cause = || LedgerError::Key { path: path.to_owned(), cause: "its file is not a key of this version".into() };
    from_seed(seed.as_ref().ok_or_else(cause)?).ok_or_else(cause)
}

fn from_seed(seed: &[u8; 32]) -> Option<LedgerKey> {
    let signing = SigningKey::from_bytes(seed);
    let [a, b, c, d, ..] = Digest::of(signing.verifying_key().as_bytes()).0;
    let name = format!("{ORIGIN_PREFIX}{}", crate::digest::to_hex(&[a, b, c, d]));
    let verifier = NoteVerifier::new(&name, signing.verifying_key())?;
    Some(LedgerKey { signing, verifier })
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
    let key = from_seed(&seed).ok_or_else(unusable)?;
    if publish(&path, 0o600, &format!("{HEADER}{}\n", BASE64.encode(seed)))? {
        publish(&public_path(dir), 0o644, &format!("{}\n", key.verifier.to_vkey()))?;
    }
    let folder = File::open(&keys).and_then(|f| f.sync_all());
    folder.map_err(|e| LedgerError::io("sync the folder", &keys, e))
}

/// Whether the whole file appeared under its name by this call; nobody sees half of it.
fn publish(path: &Path, mode: u32, text: &str) -> Result<bool, LedgerError> {
    let mut random = [0u8; 8];
    let no_random = |e: getrandom::Error| LedgerError::io("name", path, std::io::Error::other(e.to_string()));
    getrandom::fill(&mut random).map_err(no_random)?;
    // INVARIANT: a name that nobody used before. An earlier one that could not be removed is another name of a key in use.
    let temporary = path.with_extension(format!("tmp{}", crate::digest::to_hex(&random)));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&temporary, path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e),
        }
    })();
    let _ = fs::remove_file(&temporary);
    written.map_err(|e| LedgerError::io("write the signing key", path, e))
}
