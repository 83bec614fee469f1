//! The program of a recorded run: which file it was, so that a replay runs no other one unsaid.

use flyball_ledger::Digest;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A program as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    /// Links resolved.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// `sha256:` of its content.
    pub digest: String,
}

/// The file behind a program's name, as the program's own `PATH` finds it.
pub(crate) fn find(name: &OsStr, env: &[(OsString, OsString)], cwd: &Path) -> std::io::Result<Program> {
    let path = env.iter().find(|(key, _)| key == "PATH").map(|(_, value)| value.clone()).unwrap_or_default();
    let named = Path::new(name);
    let file = if named.components().count() > 1 || named.is_absolute() {
        Some(cwd.join(named))
    } else {
        std::env::split_paths(&path).map(|dir| cwd.join(dir).join(named)).find(|file| file.is_file())
    };
    let file = file.ok_or(std::io::ErrorKind::NotFound)?.canonicalize()?;
    let (digest, bytes) = digest(&file)?;
    Ok(Program { path: crate::translate::text(&file), bytes, digest })
}

fn digest(file: &PathBuf) -> std::io::Result<(String, u64)> {
    let mut from = std::fs::File::open(file)?;
    let (mut hash, mut bytes, mut buf) = (sha2::Sha256::new(), 0_u64, vec![0; 256 << 10]);
    loop {
        match from.read(&mut buf) {
            Ok(0) => break,
            Ok(n) => {
                hash.update(buf.get(..n).unwrap_or_default());
                bytes += n as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok((Digest(hash.finalize().into()).to_string(), bytes))
}
