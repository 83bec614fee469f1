//! A machine that lacks something: a program that takes a feature away and runs another under the lack.
//!
//! The features are really gone: seccomp filters answer as an older kernel or a closed container does, mounts put the files
//! where the feature does not work. The program is C because it needs calls that no safe crate wraps.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::user::User;

/// The wrapper, compiled, with what it takes away.
#[derive(Debug, Clone)]
pub struct Lack {
    wrapper: PathBuf,
    words: Vec<String>,
}

impl Lack {
    /// A machine without these. `ledger` is where Flyball will keep its own; `scratch` is a folder beside it that stays until
    /// the end. Names: `overlay` (the ledger lies on an overlay), `cgroups`, `namespaces`, `user-namespaces`, `landlock`,
    /// `listener`, `killable`, `addfd`, `sync-wake-up`, `exit-info`, `memory` (reading that of others).
    ///
    /// # Errors
    /// Why it can't be had here: no C compiler, or not root for the mounts.
    pub fn new(names: &[&str], ledger: &Path, scratch: &Path, user: User) -> io::Result<Self> {
        let wrapper = scratch.join("lack");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lack.c");
        let compiled = Command::new("cc").args(["-O1", "-w", "-o"]).arg(&wrapper).arg(source).output()?;
        if !compiled.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&compiled.stderr).into_owned()));
        }
        let mut words = Vec::new();
        if user != User::current() {
            words.extend([format!("uid={}", user.uid()), format!("gid={}", user.gid())]);
        }
        for name in names {
            words.push(if *name == "overlay" { overlay(ledger, scratch, user)? } else { (*name).to_owned() });
        }
        Ok(Self { wrapper, words })
    }

    /// Why such a machine can't be had here, if so: mounts need root.
    #[must_use]
    pub fn why_not(names: &[&str]) -> Option<String> {
        let needs_root = names.iter().any(|name| matches!(*name, "overlay" | "cgroups"));
        (needs_root && !User::current().is_root()).then(|| "only root can mount what takes it away".to_owned())
    }

    /// A command on that machine, as the user that it is for, in the environment that [`User::command`] gives.
    pub fn command(&self, program: impl AsRef<OsStr>, home: &Path) -> Command {
        // The wrapper drops to the user itself, after its mounts.
        let mut command = User::current().command(&self.wrapper, home);
        command.args(&self.words).arg("--").arg(program);
        command
    }
}

/// Folders of an overlay to be mounted on the ledger's folder.
fn overlay(ledger: &Path, scratch: &Path, user: User) -> io::Result<String> {
    let mut parts = vec![ledger.to_path_buf()];
    for name in ["lower", "upper", "work"] {
        let folder = scratch.join(format!("overlay-{name}"));
        std::fs::create_dir_all(&folder)?;
        user.own(&folder)?;
        parts.push(folder);
    }
    Ok(format!("overlay={}", parts.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(",")))
}
