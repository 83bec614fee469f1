//! Data labels: which resources carry which, what a session has read, and what carries it on.
//!
//! A read of what is labelled taints the session. From then on every effect of the session carries those labels, and what it
//! writes is labelled for later reads, of this session and of others on the same ledger. Rules see labels as
//! `context.attrs.labels`, facts as `label: "…"`. Only a person who owns a label ends its taint; files keep theirs.

mod section;

use crate::action::{Action, Surface, Value};
use crate::decide::{Finding, own};
use crate::session::{Session, below};
use crate::vocabulary::{ResourceKind, Reversibility};
use globset::GlobMatcher;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) use section::section;

/// `[[label]]`: what carries it from the start.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) owner: String,
    /// Patterns, and whether of the workspace, the home, or absolute.
    paths: Vec<(Root, GlobMatcher)>,
    tables: Vec<GlobMatcher>,
    hosts: Vec<GlobMatcher>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Workspace,
    Home,
    System,
}

/// Files that a session knows to be labelled; one more can't be written while the session is tainted.
const FILES_MAX: usize = 65_536;

/// What a session has read, and the files that carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Labels {
    /// Each label that was read, with the entry that read it first.
    taint: BTreeMap<String, u64>,
    files: BTreeMap<String, BTreeSet<String>>,
    /// Labels of files that this input made: empty before the next.
    pub(crate) made: BTreeSet<(String, String)>,
}

/// Verbs that bring data in.
fn reads(action: &Action) -> bool {
    matches!(action.verb.name(), "fs.read" | "data.select" | "data.copy" | "http.request" | "net.connect")
}

/// A call of a server, or what it is by another name: what comes back carries the labels that it was given for its server. What it
/// carries besides, the session has read before.
fn answers(action: &Action) -> bool {
    let has_own = [ResourceKind::File, ResourceKind::Table, ResourceKind::Endpoint, ResourceKind::Request];
    matches!(action.surface, Surface::Mcp | Surface::Hook) && !has_own.contains(&action.resource.kind())
}

impl Label {
    pub fn has_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    fn is_on_path(&self, session: &Session, path: &str) -> bool {
        self.paths.iter().any(|(root, glob)| match root {
            Root::Workspace => below(path, &session.workspace).is_some_and(|rel| glob.is_match(rel)),
            Root::Home => below(path, &session.home).is_some_and(|rel| glob.is_match(rel)),
            Root::System => glob.is_match(path),
        })
    }

    fn is_on(&self, session: &Session, action: &Action) -> bool {
        let resource = &action.resource;
        match resource.kind() {
            ResourceKind::File => self.is_on_path(session, resource.str("path")),
            ResourceKind::Table => {
                let name = ["database", "schema", "name"].map(|field| resource.str(field)).join(".");
                let name = name.trim_start_matches('.');
                self.tables.iter().any(|glob| glob.is_match(name) || glob.is_match(resource.str("name")))
            }
            ResourceKind::Endpoint | ResourceKind::Request => {
                self.hosts.iter().any(|glob| glob.is_match(resource.str("host")))
            }
            _ => false,
        }
    }
}

impl Labels {
    /// The labels of a file.
    pub fn of_path(&self, charter: &BTreeMap<String, Label>, session: &Session, path: &str) -> BTreeSet<String> {
        let mut out = self.files.get(path).cloned().unwrap_or_default();
        out.extend(charter.iter().filter(|(_, l)| l.is_on_path(session, path)).map(|(name, _)| name.clone()));
        out
    }

    /// The labels of what an action is done to.
    fn own(&self, charter: &BTreeMap<String, Label>, session: &Session, action: &Action) -> BTreeSet<String> {
        let mut out: BTreeSet<String> =
            charter.iter().filter(|(_, l)| l.is_on(session, action)).map(|(name, _)| name.clone()).collect();
        if action.resource.kind() == ResourceKind::File {
            out.extend(self.files.get(action.resource.str("path")).into_iter().flatten().cloned());
        }
        if let Some(Value::Strs(given)) = action.attr("labels") {
            out.extend(given.iter().cloned());
        }
        out
    }

    /// The action with its labels: those of what it is done to, and for an effect those of what was read before.
    pub fn carried(&self, charter: &BTreeMap<String, Label>, session: &Session, action: &Action) -> Option<Action> {
        if charter.is_empty() && self.taint.is_empty() && self.files.is_empty() {
            return None;
        }
        let mut labels = self.own(charter, session, action);
        if action.verb.spec().reversibility != Reversibility::Pure {
            labels.extend(self.taint.keys().cloned());
        }
        if labels.is_empty() {
            return None;
        }
        let mut out = action.clone();
        // INVARIANT: every verb has the attribute.
        out.set("labels", Value::Strs(labels.into_iter().collect())).ok()?;
        Some(out)
    }

    /// Takes in what was done.
    pub fn did(&mut self, charter: &BTreeMap<String, Label>, session: &Session, action: &Action, seq: u64) {
        // Nothing is labelled, and nothing was.
        let Self { taint, files, made: _ } = self;
        if charter.is_empty() && taint.is_empty() && files.is_empty() && action.attr("labels").is_none() {
            return;
        }
        // Read off a command before it ran: what it really opens and connects to is seen call by call.
        let is_seen_again = matches!(action.resource.kind(), ResourceKind::File | ResourceKind::Endpoint);
        if action.surface == Surface::Exec && is_seen_again {
            return;
        }
        let path = action.resource.str("path");
        if reads(action) || answers(action) {
            for label in self.own(charter, session, action) {
                self.taint.entry(label).or_insert(seq);
            }
        }
        match action.verb.name() {
            "fs.write" if !action.is_content() => {
                let taint: BTreeSet<String> = self.taint.keys().cloned().collect();
                self.mark(path, taint);
            }
            "fs.move" => {
                let to = action.attr("to").and_then(Value::as_str).unwrap_or_default().to_owned();
                let moved: Vec<(String, BTreeSet<String>)> = self
                    .files
                    .iter()
                    .filter_map(|(file, labels)| {
                        let rest = if file == path { "" } else { below(file, path)? };
                        let new = if rest.is_empty() { to.clone() } else { format!("{to}/{rest}") };
                        Some((new, labels.clone()))
                    })
                    .collect();
                for (new, labels) in moved {
                    self.mark(&new, labels);
                }
                let own = self.of_path(charter, session, path);
                self.mark(&to, own);
            }
            "fs.link" => {
                let target = action.attr("target").and_then(Value::as_str).unwrap_or_default();
                let own = self.of_path(charter, session, target);
                self.mark(path, own);
            }
            _ => {}
        }
    }

    fn mark(&mut self, path: &str, labels: BTreeSet<String>) {
        if labels.is_empty() || path.is_empty() {
            return;
        }
        let known = self.files.entry(path.to_owned()).or_default();
        for label in labels {
            if known.insert(label.clone()) {
                self.made.insert((label, path.to_owned()));
            }
        }
    }

    /// Labels of files that earlier sessions wrote.
    pub fn known(&mut self, files: &BTreeMap<String, BTreeSet<String>>) {
        for (path, labels) in files {
            self.files.entry(path.clone()).or_default().extend(labels.iter().cloned());
        }
    }

    /// How many files more can be remembered.
    pub fn left(&self) -> usize {
        FILES_MAX.saturating_sub(self.files.len())
    }

    /// What has a say of its own: only people declassify, and what can't be remembered is not done.
    pub fn findings(&self, action: &Action) -> Option<Finding> {
        if action.verb.name() == "meta.declassify" {
            let needs = "`flyball declassify`, by the label's owner".to_owned();
            let message = "a label's taint is ended by its owner, not by an agent";
            return Some(Finding::deny(own("label-owner", message, Some(needs))));
        }
        let is_new = matches!(action.verb.name(), "fs.write" | "fs.move" | "fs.link")
            && !self.files.contains_key(action.resource.str("path"));
        if is_new && !self.taint.is_empty() && self.files.len() >= FILES_MAX {
            let message = format!("{FILES_MAX} files are labelled: no more can be remembered");
            return Some(Finding::deny(own("label-overflow", message, None)));
        }
        None
    }

    /// Ends the taint of a label. Files keep it.
    pub fn declassify(&mut self, label: &str) {
        self.taint.remove(label);
    }

    /// What taints the session, and since when.
    pub fn taint(&self) -> &BTreeMap<String, u64> {
        &self.taint
    }
}
