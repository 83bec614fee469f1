//! What an attestation says: a fold of a session's entries, the same for whoever has them.

use super::commits::{Commits, Told};
use super::tree::Tree;
use super::{Artifact, AttestError};
use crate::clock::rfc3339;
use crate::coverage;
use crate::home::Home;
use crate::read::Tally;
use crate::state::{self, State};
use flyball_kernel::analysis::session_coverage;
use flyball_kernel::{Charter, RuleEffect, Sources};
use flyball_ledger::{Digest, Entry, Filter, Kind, Ledger, LedgerError};
use flyball_sandbox::workspace::Node;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// The statement's type, by the in-toto standard.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// What its predicate is: `docs/attestation.md` says what each field means.
pub const PREDICATE_TYPE: &str = "https://flyball.local/attestation/session/v1";

/// Questions and acts that are told one by one; the rest is counted.
const TOLD_MAX: usize = 1000;

/// What a session's entries say, in a ledger or as a bundle brought them.
#[derive(Debug)]
pub(super) struct Folded {
    fold: Fold,
    workspace: State,
    /// Entries whose bodies are not at hand.
    pub missing: Vec<u64>,
}

impl Folded {
    /// Folds a session's entries up to `last`.
    pub fn of(entries: &Ledger, session: &str, last: u64) -> Result<Self, AttestError> {
        let (mut fold, mut missing) = (Fold::default(), Vec::new());
        for entry in entries.entries(session, 1..=last, Filter::default())? {
            let mut entry = entry?;
            match entries.body(&entry) {
                Ok(body) => entry.body = body,
                Err(LedgerError::NoBlob(_)) => {
                    missing.push(entry.seq);
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            fold.take(entries, &entry)?;
        }
        let workspace = match missing.is_empty() {
            true => State::at(entries, session, last).map_err(|e| AttestError::Foreign(e.to_string()))?,
            false => State::default(),
        };
        Ok(Self { fold, workspace, missing })
    }

    /// Counts actions by rulings alone, where that is how a statement does it: so they were made when what was to be asked about
    /// and was refused for another part still counted as held.
    pub fn count_as(&mut self, said: &Json) {
        let tally = &mut self.fold.tally;
        if said.pointer("/predicate/actions") == Some(&json!(tally.counts_by_rulings)) {
            tally.counts = tally.counts_by_rulings;
        }
    }

    /// The digest of the file that stood at a path that the session touched.
    pub fn digest_at(&self, path: &str) -> Option<String> {
        match self.workspace.node(path)? {
            Node::File { digest, .. } => Some(digest),
            _ => None,
        }
    }

    /// The path, as the record names it, of one that an artifact was named by.
    pub fn path(&self, named: &str) -> Option<String> {
        let workspace = text(self.fold.open.get("workspace"));
        crate::read::relative_to(&workspace, named.as_ref()).ok()
    }

    /// The whole workspace, where the record has all of it.
    pub fn recorded_tree(&self, entries: &Ledger, session: &str) -> Option<Tree> {
        Tree::of_record(entries, session, &self.fold.open, &self.workspace)
    }

    /// The whole workspace; what is not on record is read where it stands.
    pub fn tree(&self, home: &Home, entries: &Ledger, session: &str) -> Tree {
        let recorded = self.recorded_tree(entries, session);
        recorded
            .unwrap_or_else(|| Tree::of_workspace(home, session, &self.fold.open, &self.fold.sources, &self.workspace))
    }

    /// What has to be read to tell its commits.
    pub fn wanted(&self) -> BTreeSet<Digest> {
        self.fold.commits.wanted()
    }

    /// Its commits, as far as their bytes are at hand.
    pub fn commits(&self, entries: &Ledger) -> Result<Told, LedgerError> {
        self.fold.commits.read(entries)
    }
}

/// What a statement is of, beside what the session left different.
pub(super) struct Subjects<'a> {
    pub artifacts: &'a [Artifact],
    pub commits: &'a Told,
    pub tree: &'a Tree,
}

/// The statement on a session's entries, under a signed head of the tree.
pub(super) fn of(
    ledger: &Ledger,
    session: &str,
    last: u64,
    note: &str,
    folded: Folded,
    subjects: &Subjects<'_>,
) -> Result<Json, AttestError> {
    let Folded { mut fold, workspace, .. } = folded;
    let head = ledger.entry(session, last)?;
    let mut predicate = fold.predicate(session);
    let mut add = |key: &str, value: Json| predicate.insert(key.to_owned(), value);
    let mut about =
        json!({ "form": "flyball-workspace-1", "digest": workspace.digest(), "changed": workspace.changed().count() });
    if let Some(about) = about.as_object_mut() {
        about.extend(subjects.tree.told.clone().map(|told| ("tree".to_owned(), told)));
        if subjects.commits.more > 0 {
            about.insert("moreCommits".to_owned(), subjects.commits.more.into());
        }
        if !subjects.commits.unread.is_empty() {
            about.insert("unreadPacks".to_owned(), json!(subjects.commits.unread));
        }
    }
    add("workspace", about);
    add("head", json!({ "stream": session, "seq": last, "leaf": head.leaf.to_string(), "index": head.index }));
    add("ledger", json!({ "name": ledger.verifier().name(), "key": ledger.verifier().to_vkey(), "checkpoint": note }));
    Ok(json!({
        "_type": STATEMENT_TYPE,
        "subject": subjects.named(&workspace),
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }))
}

impl Subjects<'_> {
    fn named(&self, workspace: &State) -> Vec<Json> {
        let hex = |digest: &str| digest.strip_prefix("sha256:").unwrap_or(digest).to_owned();
        let commit = |id: &String| json!({ "name": format!("commit:{id}"), "digest": { "gitCommit": id } });
        let mut out = vec![json!({ "name": "workspace", "digest": { "sha256": hex(&workspace.digest()) } })];
        let tree = self.tree.digest.iter();
        out.extend(tree.map(|digest| json!({ "name": "tree", "digest": { "sha256": hex(digest) } })));
        out.extend(self.commits.ids.iter().map(commit));
        out.extend(self.artifacts.iter().map(|artifact| {
            let from = if artifact.is_recorded { "record" } else { "workspace" };
            json!({
                "name": artifact.path, "digest": { "sha256": hex(&artifact.digest) }, "annotations": { "from": from },
            })
        }));
        out
    }
}

/// What was said by and of one rule.
#[derive(Debug, Default)]
struct Said {
    owner: String,
    allowed: u64,
    modified: u64,
    held: u64,
    denied: u64,
}

#[derive(Debug, Default)]
struct Fold {
    tally: Tally,
    open: Json,
    close: Json,
    /// Charters that came after the first: entry and digest.
    adopted: Vec<Json>,
    charter: String,
    sources: Sources,
    said: BTreeMap<String, Said>,
    /// Questions by id, in the order in which they were asked.
    asked: Vec<String>,
    questions: BTreeMap<String, Json>,
    interventions: Vec<Json>,
    more_interventions: u64,
    contracts: Vec<Json>,
    commits: Commits,
}

impl Fold {
    fn take(&mut self, ledger: &Ledger, entry: &Entry) -> Result<(), AttestError> {
        self.tally.take(entry);
        let body = &entry.body;
        match entry.kind {
            Kind::Open => {
                self.open = body.clone();
                self.charter = text(body.pointer("/charter/digest"));
                self.sources = sources(body.pointer("/charter/files"));
            }
            Kind::Charter => {
                self.charter = text(body.get("charter"));
                self.sources = sources(body.get("files"));
                self.adopted.push(json!({ "seq": entry.seq, "digest": self.charter, "by": body.get("by") }));
            }
            Kind::Close => self.close = json!({ "at": rfc3339(entry.at_ns), "body": body }),
            Kind::Ruling => self.ruling(body),
            Kind::Question => self.question(entry),
            Kind::Answer => self.answer(entry),
            Kind::Intervention if self.interventions.len() < TOLD_MAX => {
                let member = |key: &str| body.get(key).cloned().unwrap_or_default();
                self.interventions.push(json!({
                    "seq": entry.seq, "act": member("act"), "by": member("by"), "signed": is_signed(body),
                }));
            }
            Kind::Intervention => self.more_interventions += 1,
            Kind::Observe => {
                if body.get("contract").is_some() {
                    self.contract(entry);
                }
                let changes = state::changes(ledger, entry).map_err(|e| AttestError::Foreign(e.to_string()))?;
                // What another session brought to the real tree did not stand there before this one's history began.
                for change in changes.iter().filter(|_| !state::is_rebased(body)) {
                    self.commits.take(change);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn ruling(&mut self, body: &Json) {
        let verdict = text(body.get("verdict"));
        for reason in body.get("reasons").and_then(Json::as_array).into_iter().flatten() {
            let said = self.said.entry(text(reason.get("rule"))).or_default();
            if said.owner.is_empty() {
                said.owner = text(reason.get("owner"));
            }
            match verdict.as_str() {
                "allow" => said.allowed += 1,
                "modify" => said.modified += 1,
                "hold" => said.held += 1,
                _ => said.denied += 1,
            }
        }
    }

    /// The last that was said of a contract counts; what was said before it is named.
    fn contract(&mut self, entry: &Entry) {
        let Some(mut result) = entry.body.get("contract").and_then(Json::as_object).cloned() else { return };
        result.insert("seq".to_owned(), entry.seq.into());
        if let Some(later) = entry.body.get("later") {
            result.insert("later".to_owned(), later.clone());
        }
        match self.contracts.iter_mut().find(|earlier| earlier.get("contract") == result.get("contract")) {
            Some(earlier) => {
                let mut before = earlier.get("before").and_then(Json::as_array).cloned().unwrap_or_default();
                before.push(json!({ "seq": earlier.get("seq"), "holds": earlier.get("holds") }));
                result.insert("before".to_owned(), Json::Array(before));
                *earlier = Json::Object(result);
            }
            None => self.contracts.push(Json::Object(result)),
        }
    }

    fn question(&mut self, entry: &Entry) {
        let id = text(entry.body.get("id"));
        let told = self.questions.entry(id.clone()).or_insert_with(|| {
            self.asked.push(id);
            json!({ "seq": entry.seq, "of": entry.body.get("of"), "answers": [] })
        });
        // The next tier is asked under the same id.
        if let Some(told) = told.as_object_mut() {
            told.insert("asked".to_owned(), entry.body.get("who").cloned().unwrap_or_default());
        }
    }

    fn answer(&mut self, entry: &Entry) {
        let body = &entry.body;
        let Some(told) = self.questions.get_mut(&text(body.get("question"))) else { return };
        if let Some(answers) = told.get_mut("answers").and_then(Json::as_array_mut) {
            answers.push(json!({
                "seq": entry.seq, "of": body.get("of"), "verdict": body.get("verdict"), "by": body.get("by"),
                "signed": is_signed(body),
            }));
        }
    }

    fn predicate(&mut self, session: &str) -> Map<String, Json> {
        let compiled = Charter::compile(&self.sources).ok().map(|(charter, _)| charter);
        let open = &self.open;
        let close = self.close.get("body").cloned().unwrap_or_default();
        let line = self.tally.line(session, false);
        let counts = self.tally.counts;
        let mut out = Map::new();
        let mut add = |key: &str, value: Json| out.insert(key.to_owned(), value);
        add(
            "session",
            json!({
                "id": session,
                "name": open.get("name"),
                "agent": open.get("agent"),
                "argv": open.get("argv"),
                "opened": line.map(|line| line.since),
                "closed": self.close.get("at"),
                "endedBy": close.get("ended_by"),
                "exit": close.get("exit"),
                "flyball": open.get("version"),
                "learning": open.get("learning").and_then(Json::as_bool).unwrap_or_default(),
            }),
        );
        add(
            "charter",
            json!({
                "digest": self.charter,
                "name": compiled.as_ref().map(Charter::name),
                "adopted": self.adopted,
            }),
        );
        add("actions", json!(counts));
        add("rules", Json::Array(rules(compiled.as_ref(), &self.said)));
        add(
            "coverage",
            json!({
                "session": compiled.as_ref().map(|charter| session_coverage(charter, &coverage::doors(open))),
                "uncovered": close.get("uncovered").or_else(|| open.get("uncovered")),
                "weaker": open.get("weaker"),
            }),
        );
        add("replay", json!({ "level": close.get("replay_level") }));
        add("questions", self.told_questions());
        add("interventions", json!({ "list": self.interventions, "more": self.more_interventions }));
        add("contracts", contracts(compiled.as_ref(), &self.contracts));
        out
    }

    fn told_questions(&self) -> Json {
        let list: Vec<Json> = self
            .asked
            .iter()
            .take(TOLD_MAX)
            .filter_map(|id| {
                let mut told = self.questions.get(id)?.clone();
                told.as_object_mut()?.insert("id".to_owned(), id.as_str().into());
                Some(told)
            })
            .collect();
        let is_answered = |told: &&Json| told.get("answers").and_then(Json::as_array).is_some_and(|a| !a.is_empty());
        let answered = self.questions.values().filter(is_answered).count();
        json!({ "asked": self.asked.len(), "answered": answered, "list": list, "more": self.asked.len() - list.len() })
    }
}

/// Every rule of the charter in force at the end, then what else spoke: budgets, envelopes, obligations, the kernel itself, and
/// rules of charters that were in force before.
fn rules(charter: Option<&Charter>, said: &BTreeMap<String, Said>) -> Vec<Json> {
    let row = |id: &str, kind: &str, owner: &str, said: &Said| {
        json!({
            "id": id, "kind": kind, "owner": owner,
            "ruled": said.allowed + said.modified + said.held + said.denied,
            "allowed": said.allowed, "modified": said.modified, "held": said.held, "denied": said.denied,
        })
    };
    let of_charter = charter.into_iter().flat_map(Charter::rules);
    let mut out: Vec<Json> = of_charter
        .map(|rule| {
            let kind = if rule.effect == RuleEffect::Permit { "permit" } else { "forbid" };
            row(&rule.id, kind, &rule.owner, said.get(&rule.id).unwrap_or(&Said::default()))
        })
        .collect();
    let is_rule = |id: &str| charter.is_some_and(|c| c.rules().iter().any(|rule| rule.id == id));
    let others = said.iter().filter(|(id, _)| !is_rule(id));
    out.extend(others.map(|(id, said)| row(id, "other", &said.owner, said)));
    out
}

/// What became of the contracts. One that the charter has and the record tells nothing of does not hold.
fn contracts(charter: Option<&Charter>, told: &[Json]) -> Json {
    let is_told = |name: &str| told.iter().any(|r| r.get("contract").and_then(Json::as_str) == Some(name));
    let wanted = charter.into_iter().flat_map(Charter::contracts).filter(|contract| !is_told(&contract.name));
    let untold = wanted.map(|contract| json!(crate::ContractResult::untold(&contract.name)));
    let told: Vec<Json> = told.iter().cloned().chain(untold).collect();
    let hold = told.iter().all(|result| result.get("holds").and_then(Json::as_bool) == Some(true));
    json!({ "hold": hold, "results": told })
}

fn text(value: Option<&Json>) -> String {
    value.and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn sources(value: Option<&Json>) -> Sources {
    value.and_then(|files| serde_json::from_value(files.clone()).ok()).unwrap_or_default()
}

fn is_signed(body: &Json) -> bool {
    body.get("signed").is_some_and(|signed| !signed.is_null())
}

#[cfg(test)]
mod tests;
