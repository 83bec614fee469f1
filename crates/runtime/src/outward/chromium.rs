//! Chromium's trust: it goes by its own roots, and by what the machine's administrator names in a managed policy (`CACertificates`). A
//! copy of the machine's settings with one policy more stands in their place inside.

use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const MANAGED: &str = "policies/managed";
/// Of files that name the same policy the last one by name holds.
const POLICY_FILE: &str = "zz-flyball.json";
/// What is copied at most: entries, bytes, folders in folders. Settings are few.
const ENTRIES_MAX: usize = 256;
const BYTES_MAX: u64 = 1 << 20;
const DEPTH_MAX: usize = 8;

/// Copies the machine's settings into `to`; gives the file of the policy, which is still empty. `None` where there are none, and where they
/// can't be copied: then the browser trusts whom it always does.
pub(super) fn prepare(machine: &Path, to: &Path) -> Option<PathBuf> {
    if !machine.is_dir() {
        return None;
    }
    let policy = to.join(MANAGED).join(POLICY_FILE);
    let mut left = (ENTRIES_MAX, BYTES_MAX);
    let copied = copy(machine, to, &mut left, DEPTH_MAX)
        .and_then(|()| fs::create_dir_all(to.join(MANAGED)))
        .and_then(|()| fs::write(&policy, b""));
    if copied.is_err() {
        // Half of them would be others than the machine's.
        let _ = fs::remove_dir_all(to);
        return None;
    }
    Some(policy)
}

/// INVARIANT: the copy has no links: what is written into it stays in it.
fn copy(from: &Path, to: &Path, left: &mut (usize, u64), depth: usize) -> io::Result<()> {
    let too_many = || io::Error::from(io::ErrorKind::FileTooLarge);
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        left.0 = left.0.checked_sub(1).ok_or_else(too_many)?;
        let Ok(meta) = fs::metadata(&from) else { continue };
        if meta.is_dir() {
            copy(&from, &to, left, depth.checked_sub(1).ok_or_else(too_many)?)?;
        } else if meta.is_file()
            && let Ok(file) = fs::File::open(&from)
        {
            let mut bytes = Vec::new();
            file.take(left.1.saturating_add(1)).read_to_end(&mut bytes)?;
            left.1 = left.1.checked_sub(bytes.len() as u64).ok_or_else(too_many)?;
            fs::write(&to, bytes)?;
        }
    }
    Ok(())
}

/// The policy: the authorities that the machine's own name, and this one.
pub(super) fn policy(file: &Path, pem: &str) -> Vec<u8> {
    let mut named = Vec::new();
    let beside = file.parent().and_then(|folder| fs::read_dir(folder).ok());
    let files: BTreeSet<PathBuf> = beside.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    for other in files.iter().filter(|other| *other != file) {
        let read: Option<Json> = fs::read(other).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        // The last one's list is the one that holds.
        if let Some(Json::Array(all)) = read.and_then(|mut policy| policy.get_mut("CACertificates").map(Json::take)) {
            named = all;
        }
    }
    let own: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    named.push(own.into());
    json!({ "CACertificates": named }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nQUJD\nREVG\n-----END CERTIFICATE-----\n";

    #[test]
    fn the_machine_s_settings_stand_beside_the_session_s_policy() {
        let scratch = tempfile::tempdir().unwrap();
        let (machine, to) = (scratch.path().join("etc"), scratch.path().join("copy"));
        assert!(prepare(&machine, &to).is_none() && !to.exists());
        let managed = machine.join(MANAGED);
        fs::create_dir_all(&managed).unwrap();
        fs::write(machine.join("preferences"), "p").unwrap();
        for (name, text) in [
            ("a.json", r#"{"CACertificates": ["b2xk"], "Other": 1}"#),
            ("b.json", r#"{"CACertificates": ["bWFjaGluZQ=="]}"#),
            ("c.json", "not json"),
        ] {
            fs::write(managed.join(name), text).unwrap();
        }
        let file = prepare(&machine, &to).unwrap();
        let policy = policy(&file, PEM);
        assert_eq!(policy, br#"{"CACertificates":["bWFjaGluZQ==","QUJDREVG"]}"#);
        assert_eq!(fs::read(to.join("preferences")).unwrap(), b"p");
        assert!(to.join(MANAGED).join("a.json").exists() && file.starts_with(&to));
    }

    /// What is written into the copy never lands where a link of the machine's leads.
    #[test]
    fn links_are_no_way_out_of_the_copy() {
        let scratch = tempfile::tempdir().unwrap();
        let (machine, to, other) =
            (scratch.path().join("etc"), scratch.path().join("copy"), scratch.path().join("other"));
        fs::create_dir_all(other.join("managed")).unwrap();
        fs::create_dir(&machine).unwrap();
        std::os::unix::fs::symlink(&other, machine.join("policies")).unwrap();
        std::os::unix::fs::symlink(&machine, machine.join("gone")).unwrap_or_default();
        assert!(prepare(&machine, &to).is_none(), "a folder in itself");
        assert!(!to.exists());
        fs::remove_file(machine.join("gone")).unwrap();
        let file = prepare(&machine, &to).unwrap();
        fs::write(&file, "x").unwrap();
        assert_eq!(fs::read_dir(other.join("managed")).unwrap().count(), 0);
        fs::write(machine.join("large"), vec![0; BYTES_MAX as usize + 1]).unwrap();
        fs::remove_dir_all(&to).unwrap();
        assert!(prepare(&machine, &to).is_none() && !to.exists());
    }
}
