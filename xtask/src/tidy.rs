//! The laws of this tree that the compiler can't hold: which crate may know which, who may print, where time and
//! I/O may come in, which licences we may carry, and what must never be committed.
//!
//! A line that must break a law says so on itself or on the line above: `// tidy: allow RULE: why`. Where a file's whole
//! matter breaks it: `// tidy: allow RULE in this file: why`.

mod arrows;
mod laws;
mod lexer;
mod licences;
mod tracked;

use std::fmt;
use std::process::Command;

use crate::{Failure, exec};

/// One broken law, at a place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    /// Path in the repository, with the line where there is one.
    place: String,
    rule: &'static str,
    /// What is wrong and what to do.
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: [{}] {}", self.place, self.rule, self.what)
    }
}

/// Checks the whole tree; tells every breach at once.
pub(crate) fn tidy() -> Result<(), Failure> {
    let metadata = metadata()?;
    let files = tracked::files()?;
    let mut breaches = Vec::new();
    breaches.extend(arrows::check(&metadata));
    breaches.extend(licences::check(&metadata));
    breaches.extend(tracked::check(&files));
    breaches.extend(laws::check(&files));
    breaches.sort();
    for breach in &breaches {
        eprintln!("{breach}");
    }
    if breaches.is_empty() {
        println!("tidy: {} files, every law holds", files.len());
        Ok(())
    } else {
        Err(format!("{} broken laws, told above", breaches.len()).into())
    }
}

/// What cargo knows of the workspace and its dependencies on the platform that we ship for.
fn metadata() -> Result<serde_json::Value, Failure> {
    let target = read_host_target()?;
    let mut command = exec::cargo();
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &target]);
    Ok(serde_json::from_str(&exec::read(&mut command)?)?)
}

fn read_host_target() -> Result<String, Failure> {
    let told = exec::read(Command::new("rustc").arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "`rustc -vV` names no host".into())
}
