//! Where Flyball's folder is, and the ledger in it.

use crate::failure::{Failure, chain};
use flyball_ledger::{Ledger, LedgerError};
use flyball_runtime::read::ReadError;
use flyball_runtime::{Home, HomeError};
use std::path::{Path, PathBuf};

/// The folder that was asked for, if one was.
#[derive(Clone, Debug)]
pub struct Place {
    named: Option<PathBuf>,
}

impl Place {
    /// What `--ledger` says.
    pub fn new(named: Option<PathBuf>) -> Self {
        Self { named }
    }

    /// `--ledger`, else `$FLYBALL_HOME`, else `$XDG_DATA_HOME/flyball`, else `~/.local/share/flyball`.
    pub fn dir(&self) -> Result<PathBuf, Failure> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        self.named
            .clone()
            .or_else(|| set("FLYBALL_HOME"))
            .or_else(|| set("XDG_DATA_HOME").filter(|d| d.is_absolute()).map(|d| d.join("flyball")))
            .or_else(|| set("HOME").map(|h| h.join(".local/share/flyball")))
            .ok_or_else(|| {
                Failure::user(
                    "FB0514",
                    "can't tell where the ledger is: neither `--ledger`, `$FLYBALL_HOME` nor `$HOME` says",
                )
                .hint("name a folder with `--ledger DIR`")
            })
    }

    /// How Flyball is called from another terminal so that it finds this ledger.
    pub fn command(&self) -> String {
        let Ok(dir) = self.dir() else { return "flyball".to_owned() };
        // Who is woken up has another shell, in which the variables of this one aren't set.
        let usual = std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/share/flyball"));
        if usual.as_ref() == Some(&dir) {
            return "flyball".to_owned();
        }
        let dir = std::path::absolute(&dir).unwrap_or(dir).display().to_string();
        let is_plain = dir.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b));
        if is_plain {
            format!("flyball --ledger {dir}")
        } else {
            format!("flyball --ledger '{}'", dir.replace('\'', "'\\''"))
        }
    }

    /// The folder, made if it is not there.
    pub fn home(&self) -> Result<Home, Failure> {
        Ok(Home::open(&self.dir()?)?)
    }

    /// The ledger, for reading.
    pub fn ledger(&self) -> Result<Ledger, Failure> {
        Ok(Ledger::open_read(&self.dir()?)?)
    }

    /// The ledger for reading, and the id of the session that is meant.
    pub fn session(&self, wanted: &str) -> Result<(Ledger, String), Failure> {
        let ledger = self.ledger()?;
        let id = flyball_runtime::read::resolve(&ledger, wanted)?;
        Ok((ledger, id))
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Failure::user(error.code(), chain(&error)).hint(error.hint())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let failure = Failure::user(error.code(), error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        Failure::user("FB0512", error.to_string()).hint("name another folder with `--ledger DIR`")
    }
}

/// A path as short as it can be said from here.
pub fn short(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let rel = here.as_deref().and_then(|h| path.strip_prefix(h).ok()).filter(|p| !p.as_os_str().is_empty());
    rel.unwrap_or(path).display().to_string()
}
