//! What was written, judged once it is there: when a file is closed, and at a barrier before anything can leave or run.
//!
//! INVARIANT: no outward call is let go on while the workspace holds content that was refused, or that people were asked
//! about and have not allowed. Refused content is put back as it was accepted last; what was refused stays in the ledger.
//!
//! What this can't do: a program that was let run or connect can write afterwards, and hand on what it holds in its own
//! memory. Content rules say what the workspace holds when something starts, not what a running program knows.

mod asked;

use super::observed::Observed;
use super::{BarrierError, Core, Notice, OnHold};
use crate::capture::{Seen, Wanted};
use crate::gate::GateError;
use crate::git_context;
use crate::inbox::Inbox;
use crate::refusal;
use crate::rewind;
use crate::translate;
use flyball_intent::{CONTENT_BYTES_MAX, Content, ContentWanted, content_actions, reads_content};
use flyball_kernel::{Action, ContentReading, Reason, Resource, Surface, Verdict};
use flyball_ledger::Kind;
use flyball_sandbox::workspace::{self, Node};
use flyball_sandbox::{Attempt, Call, Lull, Ticket};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of files that are in memory at once while they are judged.
const AT_ONCE_BYTES_MAX: usize = 32 << 20;
/// The same when nobody waits for it: the next call must not wait long either.
const LULL_BYTES_MAX: usize = 1 << 20;
/// Bytes of accepted contents that are remembered, to compare the next change with.
const REMEMBERED_BYTES_MAX: usize = 8 << 20;
/// Changes that one entry tells of: each can name two contents that the entry then stands for, and there is an end to what one names.
const OBSERVED_MAX: usize = 256;
/// Up to so many paths every look tells the digest of all of them; beyond, once a sixteenth of them changed.
const DIGESTED_ALWAYS: usize = 256;
const DIGESTED_PARTS: usize = 16;
/// Files that are looked at before what was found is recorded and judged: so much is in memory at once.
const FOUND_MAX: usize = 8192;
/// Folders that a `PATH` has, at most, as far as a refusal goes on along it.
const PLACES_MAX: u32 = 32;
/// People are asked about files that nothing waits for once no more of them came for so long: a command writes one after the
/// other, and they are one question.
const MORE_MAY_COME: Duration = Duration::from_secs(2);
/// Refusals that are told at once; the rest are counted, and their texts not kept.
const TOLD_MAX: usize = 3;

/// What stands between written content and the outside.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    reading: ContentReading,
    /// The root as the program sees it with the workspace's place below it, and the workspace; held open past the program's end.
    root: Option<(OwnedFd, PathBuf)>,
    view: Option<OwnedFd>,
    /// Paths whose present content is not accepted: asked about, or not to be put back.
    pub(super) unaccepted: BTreeMap<String, Unaccepted>,
    /// Questions on content, by the attempt's name.
    pub(super) asked: BTreeMap<u64, String>,
    /// Outward calls that wait for them.
    parked: BTreeSet<Ticket>,
    /// Refusals that no call has carried to the agent yet, the first of them.
    pub(super) untold: Vec<String>,
    /// How many refusals there were, ever.
    pub(super) refusals: u64,
    /// As many of them had been told at the last telling.
    told: u64,
    /// Contents that were not accepted, by path.
    refused: BTreeSet<(String, String)>,
    /// What links that count lead to, by the links' paths, as it was accepted.
    targets: BTreeMap<String, Option<String>>,
    /// Who wrote last, by path: to be told when it is put back.
    writers: BTreeMap<PathBuf, i32>,
    /// Texts for processes that are not waiting in a call.
    tell: Vec<(i32, String)>,
    remembered: VecDeque<(String, Arc<Vec<u8>>)>,
    search: Option<Search>,
    /// When something was last found that people are to be asked about and are not asked yet.
    found_at: Option<Instant>,
}

/// An exec that was refused. Along `PATH` the same process tries the same program at its next place, often by another name of
/// the same folder: that is no second attempt.
#[derive(Debug)]
struct Search {
    pid: i32,
    argv: Vec<OsString>,
    /// Places that may yet be tried.
    left: u32,
    text: String,
}

/// Content that is there and not accepted.
#[derive(Clone, Debug)]
pub(super) struct Unaccepted {
    /// What was accepted last.
    accepted: Node,
    /// What is there.
    judged: Node,
    /// The question about it.
    group: Option<u64>,
    /// Why it is refused, where it could not be put back.
    pub(super) refused: Option<String>,
}

/// Why an outward call does not go on.
pub(super) enum Met {
    /// Nothing stands in its way.
    Nothing,
    /// Content was refused: the call is, too.
    Refused(String),
    /// People are asked about content.
    Asked,
}

impl Contents {
    pub(crate) fn new(reading: ContentReading) -> Self {
        Self { reading, ..Self::default() }
    }

    /// Whether anything is to be judged at that path. Told by name alone.
    fn wants(&self, path: &Path) -> bool {
        let attrs = &self.reading.attrs;
        // Any file can hold a secret, and `content` alone is about every file.
        attrs.contains("secrets") || attrs.contains("content") || self.wants_at_close(path)
    }

    /// Whether it is to be judged as soon as it is closed.
    fn wants_at_close(&self, path: &Path) -> bool {
        let attrs = &self.reading.attrs;
        (self.reading.dependencies || attrs.contains("imports") || attrs.contains("ci"))
            && reads_content(&translate::text(path), self.wanted())
    }

    /// What the charter asks of a file's content.
    fn wanted(&self) -> ContentWanted {
        let attrs = &self.reading.attrs;
        // A rule on `content` alone is about whatever can be read.
        let asks = |attr| attrs.contains(attr) || attrs.contains("content");
        ContentWanted { imports: asks("imports"), secrets: asks("secrets") }
    }

    /// Those of a file's actions that the charter could have something to say to, with the file itself first.
    fn relevant(&self, path: &str, found: Vec<Action>, agent: &str) -> Vec<Action> {
        let attrs = &self.reading.attrs;
        let (writes, packages): (Vec<_>, Vec<_>) = found.into_iter().partition(Action::is_content);
        let packages = if self.reading.dependencies { packages } else { Vec::new() };
        let plain = || Action::new("fs.write", Resource::file(path), Surface::Fs)?.with("content", true);
        let write = writes.into_iter().next().or_else(|| plain().ok());
        let says = |w: &Action| {
            attrs.contains("content") || w.attrs().any(|(name, _)| name != "content" && attrs.contains(name))
        };
        let is_opaque = |w: &Action| w.attr("opaque").is_some() && !attrs.is_empty();
        let head = write.filter(|w| !packages.is_empty() || says(w) || is_opaque(w));
        let mut actions: Vec<Action> = head.into_iter().chain(packages).collect();
        for action in &mut actions {
            action.agent = agent.into();
        }
        actions
    }

    /// Whether the charter could have something to say to what a file holds now, beside what it held. What can't be read could say
    /// anything.
    pub(crate) fn says(&self, path: &Path, old: &Path, new: &Path) -> bool {
        if !self.wants(path) {
            return false;
        }
        let read = |file: &Path| {
            let mut bytes = Vec::new();
            // One more than is read: longer is opaque.
            let most = u64::try_from(CONTENT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
            std::fs::File::open(file)?.take(most).read_to_end(&mut bytes).map(|_| bytes)
        };
        let Ok(new) = read(new) else { return true };
        let (full, old) = (translate::text(path), read(old).ok());
        let content = Content { path: &full, old: old.as_deref(), new: Some(&new), wanted: self.wanted() };
        !self.relevant(&full, content_actions(&content), "recovery").is_empty()
    }

    /// What git reads beside the repository's own settings, as far as the program could.
    pub(super) fn git_settings(&self, home: &Path) -> Vec<git_context::Settings> {
        let Some((root, _)) = &self.root else { return Vec::new() };
        let places = git_context::user_settings(home);
        places.iter().filter_map(|path| open_inside(root.as_fd(), path)).map(git_context::settings).collect()
    }

    fn remember(&mut self, digest: &str, content: Vec<u8>) {
        if content.len() <= REMEMBERED_BYTES_MAX / 8 && !self.remembered.iter().any(|(d, _)| d == digest) {
            self.remembered.push_back((digest.to_owned(), Arc::new(content)));
            let mut bytes: usize = self.remembered.iter().map(|(_, c)| c.len()).sum();
            while bytes > REMEMBERED_BYTES_MAX
                && let Some((_, gone)) = self.remembered.pop_front()
            {
                bytes -= gone.len();
            }
        }
    }
}

impl Core {
    /// Another charter wants other things of content; what was accepted stays so.
    pub(crate) fn read_for(&mut self, reading: ContentReading) {
        self.contents.reading = reading;
    }

    /// The program is about to start under this root, with the workspace at that place below it.
    pub(crate) fn started(&mut self, root: BorrowedFd<'_>, workspace: &Path) {
        self.contents.root = root.try_clone_to_owned().ok().map(|root| (root, workspace.to_owned()));
        self.contents.view = rewind::merged_view(root, workspace).ok();
    }

    /// Tells the agent beside its calls from now on.
    pub(crate) fn open_inbox(&mut self, inbox: Inbox) {
        self.inbox = inbox;
    }

    /// Lets go of the workspace, for who applies or rewinds it next.
    pub(crate) fn let_go(&mut self) {
        (self.contents.root, self.contents.view) = (None, None);
    }

    /// Whether people are still asked about content.
    pub(crate) fn waits_for_content(&self) -> bool {
        !self.contents.asked.is_empty()
    }

    /// Content that counts was written by that process.
    pub(super) fn wrote(&mut self, path: &Path, pid: i32) {
        if self.contents.reading.is_any() && self.contents.wants_at_close(path) {
            self.contents.writers.insert(path.to_path_buf(), pid);
        }
    }

    /// Looks at everything that may have changed, records it, and judges what was written; gives the entry, if there was
    /// anything.
    pub(crate) fn barrier(&mut self, cause: &[u64]) -> Result<Option<u64>, BarrierError> {
        let seen = self.look(cause, AT_ONCE_BYTES_MAX, false, usize::MAX)?;
        self.ask_about_content()?;
        Ok(seen)
    }

    /// Puts what was found to people: one question, where the same are asked.
    fn ask_about_content(&mut self) -> Result<(), GateError> {
        self.contents.found_at = None;
        for question in self.gate.put_questions()? {
            self.hear(Notice::Asked(Box::new(question)));
        }
        Ok(())
    }

    /// Nobody asks anything: what was closed is judged.
    pub(crate) fn lull(&mut self) -> Lull {
        if self.contents.reading.is_any()
            && !self.capture.is_quiet()
            && let Err(error) = self.look(&[self.opened], LULL_BYTES_MAX, true, 1)
        {
            // The next barrier finds the same, and lets nothing past.
            self.outbox.push(Notice::Alert(error.to_string()));
        }
        if self.contents.found_at.is_some_and(|at| at.elapsed() >= MORE_MAY_COME)
            && let Err(error) = self.ask_about_content()
        {
            self.outbox.push(Notice::Alert(error.to_string()));
        }
        let contents = &self.contents;
        let again =
            self.gate.has_pending() || contents.reading.is_any() && self.capture.watches(&|path| contents.wants(path));
        Lull { tell: std::mem::take(&mut self.contents.tell), again }
    }

    fn look(
        &mut self,
        cause: &[u64],
        bytes_max: usize,
        only_closed: bool,
        rounds: usize,
    ) -> Result<Option<u64>, BarrierError> {
        let ledger = Arc::clone(&self.ledger);
        let mut done = BTreeSet::new();
        let mut last = None;
        for _ in 0..rounds {
            let contents = &self.contents;
            let is_read = contents.reading.is_any();
            let path = |path: &Path| is_read && contents.wants(path);
            let keep_base = |path: &Path| contents.wants_at_close(path);
            let wanted = Wanted {
                path: &path,
                keep_base: &keep_base,
                file_bytes_max: CONTENT_BYTES_MAX,
                bytes_max,
                found_max: FOUND_MAX,
                only_closed,
            };
            let (seen, more) = self.capture.look(&ledger, &wanted, &mut done)?;
            let observed = self.observe(&seen, cause)?;
            last = observed.or(last);
            let cause: Vec<u64> = observed.into_iter().chain(cause.iter().copied()).collect();
            let mut rest = seen.into_iter();
            while let Some(seen) = rest.next() {
                let again = self.as_not_judged(&seen);
                if let Err(error) = self.judge(seen, &cause) {
                    let rest: Vec<_> = rest.map(|seen| self.as_not_judged(&seen)).collect();
                    self.judge_later(std::iter::once(again).chain(rest));
                    return Err(error);
                }
            }
            if !more {
                break;
            }
        }
        Ok(last)
    }

    /// A path as it stands before its new content is judged.
    fn as_not_judged(&self, seen: &Seen) -> (PathBuf, Unaccepted) {
        let before = self.contents.unaccepted.get(&translate::text(&seen.rel));
        let accepted = before.map_or(&seen.was, |before| &before.accepted).clone();
        (seen.rel.clone(), Unaccepted { accepted, judged: seen.node.clone(), group: None, refused: None })
    }

    /// They are on record and could not be judged: the next barrier does.
    fn judge_later(&mut self, paths: impl Iterator<Item = (PathBuf, Unaccepted)>) {
        for (rel, entry) in paths {
            // One that is asked about stays so: its next judgement abandons the question.
            self.contents.unaccepted.entry(translate::text(&rel)).or_insert(entry);
            self.capture.force(rel);
        }
    }

    fn observe(&mut self, seen: &[Seen], cause: &[u64]) -> Result<Option<u64>, BarrierError> {
        let changes: Vec<_> = seen.iter().filter_map(|s| s.change.as_ref()).collect();
        if changes.is_empty() {
            return Ok(None);
        }
        let unread: Vec<&str> = changes.iter().filter(|c| c.node == Node::Other).map(|c| c.path.as_str()).collect();
        if !unread.is_empty() {
            self.has_gaps = true;
            let body = json!({ "alert": "unread", "detail": unread });
            self.gate.note(Kind::Alert, "barrier", cause, body)?;
        }
        let state = self.digest_if_due(changes.len());
        let mut rest = changes.chunks(OBSERVED_MAX);
        let mut last = None;
        while let Some(changes) = rest.next() {
            // What the workspace is, is said once it is all there; until then it is what it was.
            let is_part = rest.len() > 0;
            let state = state.as_deref().filter(|_| !is_part);
            last = Some(Observed { changes, is_part, state }.note(&mut self.gate, cause)?);
        }
        self.label_changes(changes)?;
        Ok(last)
    }

    /// The workspace's digest takes as long as there are paths in it, at each of which an exec would wait: so it is made again
    /// once a part of them changed, and each change has the same share of it in a workspace of any size.
    fn digest_if_due(&mut self, changes: usize) -> Option<String> {
        self.undigested += changes;
        let paths = self.capture.state.touched_paths();
        let is_due = paths <= DIGESTED_ALWAYS || self.undigested >= paths / DIGESTED_PARTS;
        is_due.then(|| {
            self.undigested = 0;
            self.capture.state.digest()
        })
    }

    /// Records the digest of the workspace as it stands at the end.
    pub(crate) fn tell_digest(&mut self) -> Result<(), GateError> {
        if self.undigested > 0 {
            self.undigested = 0;
            let body = json!({ "workspace": { "changes": [], "state": self.capture.state.digest() } });
            self.gate.note(Kind::Observe, "barrier", &[], body)?;
        }
        Ok(())
    }

    /// Judges what one file says now.
    fn judge(&mut self, seen: Seen, cause: &[u64]) -> Result<(), BarrierError> {
        let path = translate::text(&seen.rel);
        let full = self.workspace.join(&seen.rel);
        if !self.contents.reading.is_any() || !self.contents.wants(&full) {
            return Ok(());
        }
        let before = self.contents.unaccepted.remove(&path);
        let accepted = before.as_ref().map_or(&seen.was, |b| &b.accepted).clone();
        if let Some(group) = before.and_then(|b| b.group) {
            self.contents.asked.remove(&group);
            self.gate.abandon(group, "the file was changed again")?;
        }
        let (new, through) = match &seen.node {
            Node::Symlink { .. } => {
                let target = self.behind_link(&seen.rel);
                let digest = target.as_deref().map(digest_of);
                if self.contents.targets.get(&path) == Some(&digest) && accepted == seen.node {
                    return Ok(());
                }
                (target, Some(digest))
            }
            node if *node == accepted => return Ok(()),
            Node::File { .. } | Node::Other => (seen.content, None),
            Node::Absent | Node::Directory { .. } => (None, None),
        };
        let full_text = translate::text(&full);
        let wanted = self.contents.wanted();
        let by_name = reads_content(&full_text, wanted);
        let told =
            |old: Option<&[u8]>, new: Option<&[u8]>| content_actions(&Content { path: &full_text, old, new, wanted });
        // What has nothing to say for itself has none beside what it was: that need not be fetched.
        let mut found = if by_name { Vec::new() } else { told(None, new.as_deref()) };
        if by_name || !found.is_empty() {
            let old = self.accepted_content(&seen.rel, &accepted)?;
            found = told(old.as_deref().map(Vec::as_slice), new.as_deref());
        }
        let agent = self.agent.clone();
        let mut actions = self.contents.relevant(&full_text, found, &agent);
        if new.is_none() && !actions.iter().any(|a| !a.is_content()) {
            // That it is gone was ruled on when it went.
            actions.clear();
        }
        let judged = Judged { path, rel: seen.rel, accepted, node: seen.node, through, is_open: seen.is_open };
        if let (Some(content), Node::File { digest, .. }, true) = (new, &judged.node, by_name) {
            self.contents.remember(digest, content);
        }
        if actions.is_empty() {
            self.accept(&judged);
            return Ok(());
        }
        self.rule_on(judged, actions, cause)
    }

    fn rule_on(&mut self, judged: Judged, actions: Vec<Action>, cause: &[u64]) -> Result<(), BarrierError> {
        let asked = self.gate.ask_later(&actions, cause);
        self.take_effects(&asked.effects);
        match asked.verdict {
            Verdict::Allow => {
                self.record_outcomes(&asked.attempts, true, &BTreeMap::new());
                self.accept(&judged);
                Ok(())
            }
            Verdict::Hold if self.on_hold == OnHold::Wait => {
                self.contents.asked.insert(asked.group, judged.path.clone());
                if let Node::File { digest, .. } = &judged.node {
                    self.contents.refused.insert((judged.path.clone(), digest.clone()));
                }
                let entry = Unaccepted {
                    accepted: judged.accepted,
                    judged: judged.node,
                    group: Some(asked.group),
                    refused: None,
                };
                self.contents.unaccepted.insert(judged.path, entry);
                self.contents.found_at = Some(Instant::now());
                Ok(())
            }
            Verdict::Hold => {
                self.gate.abandon(asked.group, "this run does not wait for answers (--on-hold deny)")?;
                self.put_back(&judged, asked.group, &asked.because)
            }
            Verdict::Deny | Verdict::Modify => self.put_back(&judged, asked.group, &asked.because),
        }
    }

    fn accept(&mut self, judged: &Judged) {
        if let Node::File { digest, .. } = &judged.node {
            self.contents.refused.remove(&(judged.path.clone(), digest.clone()));
        }
        match &judged.through {
            Some(digest) => drop(self.contents.targets.insert(judged.path.clone(), digest.clone())),
            None => drop(self.contents.targets.remove(&judged.path)),
        }
        if !judged.is_open {
            self.contents.writers.remove(&self.workspace.join(&judged.rel));
        }
    }

    /// Makes the path what it was, and tells.
    fn put_back(&mut self, judged: &Judged, group: u64, because: &[(Action, Reason)]) -> Result<(), BarrierError> {
        let restored = self.restore(judged);
        let said = match &restored {
            Ok(()) => format!("{} was put back as it was; what was written is kept in the record", judged.path),
            Err(error) => {
                format!("{} could not be put back ({error}): change or remove it, nothing runs before", judged.path)
            }
        };
        let text = refusal::text_of_content(&self.session, group, because, &said);
        let text = self.as_then(group, text);
        let rules: BTreeSet<&str> = because.iter().map(|(_, r)| r.rule.as_str()).collect();
        let rules = rules.into_iter().collect::<Vec<_>>().join(", ");
        let mut body = json!({ "path": judged.path, "of": group, "was": judged.node, "now": judged.accepted });
        if let (Some(body), Node::File { digest, .. }) = (body.as_object_mut(), &judged.node) {
            body.insert("blob".into(), digest.as_str().into());
            self.contents.refused.insert((judged.path.clone(), digest.clone()));
        }
        let (act, reason) = match &restored {
            Ok(()) => ("put-back", format!("{}: {rules}", judged.path)),
            Err(error) => ("put-back-failed", format!("{}: {rules}; {error}", judged.path)),
        };
        let seq = self.gate.control(act, "charter", &reason, body)?;
        if restored.is_ok() {
            // The state takes what is there now, whatever that is: if somebody was quicker, it is judged next.
            self.capture.touched(&self.workspace.join(&judged.rel));
            let ledger = Arc::clone(&self.ledger);
            let now = self.capture.one(&ledger, &judged.rel)?;
            let is_back = now.as_ref().is_none_or(|c| c.node == judged.accepted);
            if let Some(change) = now {
                let body = json!({ "workspace": { "changes": [change], "state": self.capture.state.digest() } });
                self.gate.note(Kind::Observe, "put-back", &[seq], body)?;
            }
            if !is_back {
                self.capture.force(judged.rel.clone());
            }
            self.contents.targets.remove(&judged.path);
        } else {
            let entry = Unaccepted {
                accepted: judged.accepted.clone(),
                judged: judged.node.clone(),
                group: None,
                refused: Some(text.clone()),
            };
            self.contents.unaccepted.insert(judged.path.clone(), entry);
        }
        if let Some(pid) = self.contents.writers.remove(&self.workspace.join(&judged.rel)) {
            self.contents.tell.push((pid, text.clone()));
        }
        self.contents.refusals += 1;
        if self.contents.untold.len() < TOLD_MAX {
            self.contents.untold.push(text.clone());
        }
        self.hear(Notice::PutBack { seq: group, path: judged.path.clone(), text });
        Ok(())
    }

    fn restore(&mut self, judged: &Judged) -> Result<(), String> {
        let view = self.contents.view.as_ref().ok_or("the workspace is not at hand")?.as_fd();
        if judged.accepted == Node::Other {
            return Err("what was there before could not be kept".into());
        }
        self.gate.flush().map_err(|e| e.to_string())?;
        let content = || rewind::content(&self.ledger, &self.capture.layers, &judged.rel, &judged.accepted);
        // A new file in its place: whoever holds the old one open writes to what has no name any more.
        workspace::set(view, &judged.rel, &judged.accepted, content).map_err(|e| e.to_string())?;
        if judged.through.is_some() && matches!(judged.accepted, Node::Symlink { .. }) {
            // The link is what it was and its target is not: it must not be read through.
            workspace::set(view, &judged.rel, &Node::Absent, content).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// A person took these paths back to what they were at a step. What was refused before is judged again.
    pub(crate) fn rewound(&mut self, paths: impl IntoIterator<Item = PathBuf>) -> Result<(), BarrierError> {
        for rel in paths {
            let path = translate::text(&rel);
            if let Some(group) = self.contents.unaccepted.remove(&path).and_then(|u| u.group) {
                self.contents.asked.remove(&group);
                self.gate.abandon(group, "the workspace was rolled back")?;
            }
            let Some(judged) = self.capture.state.node(&path) else { continue };
            if matches!(&judged, Node::File { digest, .. } if self.contents.refused.contains(&(path.clone(), digest.clone())))
            {
                let accepted = self.capture.state.base(&path).unwrap_or(Node::Absent);
                self.contents.unaccepted.insert(path, Unaccepted { accepted, judged, group: None, refused: None });
                self.capture.force(rel);
            }
        }
        Ok(())
    }

    /// Whether an outward call may go on, after a barrier before which there had been so many refusals.
    pub(super) fn met(&mut self, call: &Call, refusals_before: u64) -> Met {
        let exec = match &call.attempt {
            Attempt::Exec { argv, .. } => Some(argv),
            _ => None,
        };
        if let Some(argv) = exec
            && let Some(search) = &mut self.contents.search
            && (search.pid, &search.argv) == (call.pid, argv)
            && search.left > 0
        {
            search.left -= 1;
            return Met::Refused(search.text.clone());
        }
        let refused = self.contents.unaccepted.values().filter_map(|u| u.refused.clone());
        let mut texts: Vec<String> = refused.collect();
        let mut count = texts.len() as u64;
        // What a program prints that could not be started is what an agent reads; a connection is refused only if it was
        // this one that found something.
        if exec.is_some() || self.contents.refusals > refusals_before {
            count += self.contents.refusals - self.contents.told;
            self.contents.told = self.contents.refusals;
            texts.append(&mut self.contents.untold);
        }
        if !texts.is_empty() {
            self.contents.parked.remove(&call.ticket);
            let text = joined(&texts, count);
            self.contents.search =
                exec.map(|argv| Search { pid: call.pid, argv: argv.clone(), left: PLACES_MAX, text: text.clone() });
            return Met::Refused(text);
        }
        if self.contents.asked.is_empty() {
            self.contents.parked.remove(&call.ticket);
            return Met::Nothing;
        }
        self.contents.parked.insert(call.ticket);
        Met::Asked
    }

    /// How many refusals of content there were.
    pub(super) fn refusals(&self) -> u64 {
        self.contents.refusals
    }

    /// A parked call's asker is gone.
    pub(super) fn unpark(&mut self, ticket: Ticket) -> bool {
        self.contents.parked.remove(&ticket)
    }

    /// What a path said when it was accepted last.
    fn accepted_content(&mut self, rel: &Path, node: &Node) -> Result<Option<Arc<Vec<u8>>>, BarrierError> {
        let Node::File { digest, size, .. } = node else { return Ok(None) };
        if let Some((_, content)) = self.contents.remembered.iter().find(|(d, _)| d == digest) {
            return Ok(Some(Arc::clone(content)));
        }
        if *size > CONTENT_BYTES_MAX as u64 {
            return Ok(None);
        }
        // Content that was put a moment ago can be read back once it is on the disk.
        self.gate.flush()?;
        let found = rewind::content(&self.ledger, &self.capture.layers, rel, node).ok().and_then(|mut from| {
            let mut content = Vec::new();
            from.by_ref().take(CONTENT_BYTES_MAX as u64 + 1).read_to_end(&mut content).ok()?;
            (content.len() as u64 == *size).then(|| Arc::new(content))
        });
        if let Some(found) = &found {
            self.contents.remember(digest, found.to_vec());
        }
        Ok(found)
    }

    /// What a link leads to, where that is a file that can be read.
    fn behind_link(&self, rel: &Path) -> Option<Vec<u8>> {
        let root = self.contents.root.as_ref();
        let root = root.and_then(|(root, workspace)| open_inside(root.as_fd(), &workspace.join(rel)));
        // Once the program has ended only the workspace itself is left to look into.
        let file = root.or_else(|| open_inside(self.contents.view.as_ref()?.as_fd(), rel))?;
        let mut content = Vec::new();
        file.take(CONTENT_BYTES_MAX as u64 + 1).read_to_end(&mut content).ok()?;
        Some(content)
    }
}

/// A regular file as who runs below that root would find it.
fn open_inside(root: BorrowedFd<'_>, path: &Path) -> Option<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let below = path.strip_prefix("/").unwrap_or(path);
    let file = std::fs::File::from(rustix::fs::openat2(root, below, flags, Mode::empty(), resolve).ok()?);
    file.metadata().is_ok_and(|m| m.is_file()).then_some(file)
}

/// One path that was judged.
struct Judged {
    /// As the record writes it.
    path: String,
    rel: PathBuf,
    accepted: Node,
    node: Node,
    /// For a link, the digest of what it leads to.
    through: Option<Option<String>>,
    is_open: bool,
}

fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// The first of so many refusals.
pub(super) fn joined(texts: &[String], count: u64) -> String {
    let mut out = texts.iter().take(TOLD_MAX).cloned().collect::<String>();
    if count > TOLD_MAX as u64 {
        out.push_str(&format!("flyball: and {} more files\n", count - TOLD_MAX as u64));
    }
    out
}
