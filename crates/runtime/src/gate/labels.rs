//! Data labels across sessions: what a tainted session writes is labelled in registers of the ledger, which later sessions read.

use super::{Gate, GateError};
use flyball_kernel::{Event, Input};
use flyball_ledger::{Change, Draft, Kind};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Registers of labelled files: `label/LABEL/PATH`.
const PREFIX: &str = "label/";
/// Files that one entry labels: their paths must fit into it.
const FILES_MAX: usize = 8;

/// The labels of files, by path, out of the registers that hold them.
#[must_use]
pub fn labelled_files(registers: Vec<(String, i64)>) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, count) in registers {
        let Some((label, path)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')) else { continue };
        if count > 0 {
            out.entry(path.to_owned()).or_default().insert(label.to_owned());
        }
    }
    out
}

impl Gate {
    /// The beginning of the registers' names that [`labelled_files`] reads.
    pub const LABELS: &'static str = PREFIX;

    /// Tells the kernel which files earlier sessions labelled.
    ///
    /// # Errors
    /// [`GateError`] when it can't be recorded.
    pub fn know_labels(&mut self, files: BTreeMap<String, BTreeSet<String>>) -> Result<(), GateError> {
        if files.is_empty() {
            return Ok(());
        }
        let at_ns = self.clock.now_ns();
        let seq = self.append_at(at_ns, Kind::Observe, "ledger", &[], json!({ "labelled": files }))?;
        self.step(&Input { seq, at_ns, event: Event::Labelled { files } })?;
        Ok(())
    }

    /// What taints the session.
    pub(crate) fn taint(&self) -> BTreeSet<String> {
        self.kernel.taint().keys().cloned().collect()
    }

    /// Labels files with all that taints the session, as if it wrote to them now, for this session and for others.
    ///
    /// # Errors
    /// [`GateError`] when it can't be recorded, or no more can be remembered: what needs it must not go on then.
    pub(crate) fn label_files(&mut self, paths: impl IntoIterator<Item = String>) -> Result<(), GateError> {
        let lacking = paths.into_iter().map(|path| (self.kernel.unlabelled(&path), path));
        let files: Vec<_> =
            lacking.filter(|(labels, _)| !labels.is_empty()).map(|(labels, path)| (path, labels)).collect();
        if files.len() > self.kernel.labels_left() {
            let count = files.len();
            return Err(GateError::Refused(format!("{count} files more would be labelled than can be remembered")));
        }
        for files in files.chunks(FILES_MAX) {
            let made: Vec<(String, String)> = files
                .iter()
                .flat_map(|(path, labels)| labels.iter().map(|label| (label.clone(), path.clone())))
                .collect();
            // Known to later sessions first: a crash in between labels too much, not too little.
            self.keep_labels(&made)?;
            self.know_labels(files.iter().cloned().collect())?;
        }
        Ok(())
    }

    /// Keeps for later sessions which files the last input labelled.
    pub(super) fn keep_labels(&mut self, made: &[(String, String)]) -> Result<(), GateError> {
        for files in made.chunks(FILES_MAX) {
            let change = |(label, path): &(String, String)| Change {
                register: format!("{PREFIX}{label}/{path}"),
                add: 1,
                limit: Some(1),
            };
            let body = json!({ "shared": ["labels"] });
            let draft =
                Draft { at_ns: self.clock.now_ns(), kind: Kind::Observe, actor: "ledger".into(), cause: vec![], body };
            self.stream()?.share(draft, files.iter().map(change).collect())?;
        }
        Ok(())
    }

    /// Whether the reading of a file is to be decided: all are, or this one is labelled.
    #[must_use]
    pub fn decides_reading(&self, path: &str) -> bool {
        self.kernel.charter().sandbox().mediate_reads || self.kernel.is_labelled(path)
    }

    /// Who may end the taint of a label, where the session is tainted by it.
    ///
    /// # Errors
    /// What there is instead.
    pub fn declassifiers(&self, label: &str) -> Result<&[String], String> {
        let taint: Vec<&str> = self.kernel.taint().keys().map(String::as_str).collect();
        match taint.as_slice() {
            [] => Err("the session has read nothing that is labelled".to_owned()),
            some if !some.contains(&label) => {
                Err(format!("the session is not tainted by `{label}`: {}", some.join(", ")))
            }
            _ => Ok(self.kernel.declassifiers(label)),
        }
    }
}
