//! The digest of the whole workspace that a session left, what it never touched included.

use crate::contracts::later;
use crate::home::Home;
use crate::rerun::first;
use crate::scratch::Scratch;
use crate::state::State;
use crate::{coverage, translate};
use flyball_kernel::analysis::SessionKind;
use flyball_kernel::{Charter, Sources};
use flyball_ledger::Ledger;
use flyball_sandbox::workspace::{self, Layers, Node};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The first line of what is hashed.
const FORM: &str = "flyball-tree-1";
/// A real workspace with more paths, or more bytes in its files, is not read.
const PATHS_MAX: usize = 200_000;
const BYTES_MAX: u64 = 4 << 30;

/// What is said of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// In the predicate. Nothing in an attestation of a version that did not say.
    pub told: Option<Json>,
    /// The subject's.
    pub digest: Option<String>,
}

/// Every path below the workspace, in the order of their bytes.
type Paths = BTreeMap<Vec<u8>, Node>;

impl Tree {
    /// As an attestation says it.
    pub fn as_said(statement: &Json) -> Self {
        let told = statement.pointer("/predicate/workspace/tree").cloned();
        let digest = told.as_ref().and_then(|told| told.get("digest")?.as_str()).map(str::to_owned);
        Self { told, digest }
    }

    /// Of a session that was recorded with all that its workspace began with; nothing of another.
    pub fn of_record(ledger: &Ledger, session: &str, opening: &Json, state: &State) -> Option<Self> {
        let left_out = opening.pointer("/recorded/workspace/left_out")?.as_array()?;
        if !left_out.is_empty() {
            return None;
        }
        let items = first::recorded(ledger, session).ok()?;
        let all = items.iter().filter(|item| !item.path.is_empty());
        let paths = all.map(|item| (translate::path(&item.path).into_os_string().into_vec(), item.node.clone()));
        Some(Self::made("record", paths.collect(), opening, state))
    }

    /// Of any other: what it did not touch is read off the real workspace.
    pub fn of_workspace(home: &Home, session: &str, opening: &Json, sources: &Sources, state: &State) -> Self {
        match read(home, session, opening, sources, state) {
            Ok(paths) => Self::made("workspace", paths, opening, state),
            Err(why) => Self { told: Some(json!({ "form": FORM, "leftOut": why })), digest: None },
        }
    }

    fn made(from: &str, mut paths: Paths, opening: &Json, state: &State) -> Self {
        for (path, node) in state.touched() {
            paths.insert(translate::path(path).into_os_string().into_vec(), node);
        }
        let (scratch, patterns) = scratch(opening);
        let root = translate::path(opening.get("workspace").and_then(Json::as_str).unwrap_or_default());
        let (mut hash, mut folders, mut count) = (Sha256::new(), BTreeSet::new(), 0_u64);
        hash.update(format!("{FORM}\n"));
        for (path, node) in &paths {
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            // What stands in no folder any more went with it.
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            if *node == Node::Absent
                || above.is_some_and(|above| !folders.contains(above))
                || scratch.covers(&root.join(path))
            {
                continue;
            }
            if matches!(node, Node::Directory { .. }) {
                folders.insert(path);
            }
            hash.update(format!("{} {node}\n", workspace::escape(path)));
            count += 1;
        }
        let mut digest = String::from("sha256:");
        hash.finalize().iter().for_each(|byte| _ = write!(digest, "{byte:02x}"));
        let told = json!({ "form": FORM, "digest": digest, "paths": count, "from": from, "without": patterns });
        Self { told: Some(told), digest: Some(digest) }
    }
}

/// The places that are not recorded path by path, and how they are named.
fn scratch(opening: &Json) -> (Scratch, Vec<String>) {
    let patterns: Vec<String> =
        serde_json::from_value(opening.get("scratch").cloned().unwrap_or_default()).unwrap_or_default();
    let at = |key: &str| translate::path(opening.get(key).and_then(Json::as_str).unwrap_or_default());
    let (workspace, home) = (at("workspace"), at("home"));
    let found = Scratch::new(&patterns, &workspace, &home, &[workspace.join(".flyball")]).unwrap_or_default();
    (found, patterns)
}

/// The real workspace, less what the session was not shown and what it touched.
fn read(home: &Home, session: &str, opening: &Json, sources: &Sources, state: &State) -> Result<Paths, String> {
    if coverage::doors(opening).kind != SessionKind::Run {
        return Err("the session had no sandbox: what its workspace was at the end is not on record".to_owned());
    }
    let charter = Charter::compile(sources).map(|(charter, _)| charter);
    let charter = charter.map_err(|_| "its charter is none to this flyball any more".to_owned())?;
    let spec = later::plan_of(home, session, opening, &charter)?.spec;
    let layers = Layers::new(spec.workspace.clone(), PathBuf::new());
    let (scratch, _) = scratch(opening);
    let (mut paths, mut bytes, mut open) = (Paths::new(), 0_u64, vec![PathBuf::new()]);
    while let Some(folder) = open.pop() {
        let full = spec.workspace.join(&folder);
        let failed = |error: std::io::Error| format!("`{}`: {error}", full.display());
        for entry in std::fs::read_dir(&full).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let rel = folder.join(entry.file_name());
            let meta = entry.metadata().map_err(failed)?;
            if spec.hide.contains(&entry.path()) || scratch.covers(&entry.path()) {
                continue;
            }
            let is_touched = state.node(&translate::text(&rel)).is_some();
            // A folder that the session touched may still have in it what it did not.
            if meta.is_dir() {
                open.push(rel.clone());
            }
            bytes += if meta.is_file() && !is_touched { meta.len() } else { 0 };
            if paths.len() >= PATHS_MAX || bytes > BYTES_MAX {
                return Err(format!("the real workspace has more than {PATHS_MAX} paths or {BYTES_MAX} bytes"));
            }
            if !is_touched {
                let node = workspace::lower_node(&layers, &rel).map_err(|error| error.to_string())?;
                paths.insert(rel.into_os_string().into_vec(), node);
            }
        }
    }
    Ok(paths)
}
