//! The kernel of a recorded session, run again from its record under the charters that were in force: each ruling that it
//! gives is held against the recorded one, byte by byte.

use super::told::{Stored, Told, Untold};
use super::{Difference, Obstacle, differ};
use crate::gate::adopting;
use flyball_kernel::{Charter, Effect, Input, Kernel, Ruling, Session, Sources, Text};
use flyball_ledger::{Digest, Entry, Filter, Kind, Ledger, LedgerError, Line};
use serde_json::{Value as Json, json};
use std::collections::VecDeque;
use std::sync::Arc;

/// Rulings that may wait for their entry; a record in which more do is none of ours.
const WAITING_MAX: usize = 65_536 * 2;

/// A session's kernel as its record makes it.
pub(crate) struct Player<'l> {
    ledger: &'l Ledger,
    session: String,
    pub kernel: Option<Kernel>,
    /// The entry that put the charter in force: the opening's, or a later one's.
    pub charter_seq: u64,
    /// The charter's digest as recorded, where the same files have another one by now.
    recorded_digest: Option<Text>,
    /// What the kernel said and the record has not yet.
    rulings: VecDeque<Ruling>,
    alerts: VecDeque<Json>,
    /// After its close nothing is told to a session's kernel any more.
    is_over: bool,
    pub compared: u64,
    /// Entries whose charter has another digest by now.
    pub recompiled: Vec<u64>,
}

/// What came of an entry.
pub(crate) enum Took {
    /// Nothing to say.
    Well,
    /// The record says otherwise.
    Differs(Box<Difference>),
    /// From here on the kernel's state is not known.
    Stopped(Obstacle),
}

impl<'l> Player<'l> {
    pub fn new(ledger: &'l Ledger, session: &str) -> Self {
        Self {
            ledger,
            session: session.to_owned(),
            kernel: None,
            charter_seq: 0,
            recorded_digest: None,
            rulings: VecDeque::new(),
            alerts: VecDeque::new(),
            is_over: false,
            compared: 0,
            recompiled: Vec::new(),
        }
    }

    /// One that took every entry up to `until`, and the leaf of that one; or what it stopped at.
    pub fn up_to(
        ledger: &'l Ledger,
        session: &str,
        until: u64,
    ) -> Result<Result<(Self, Option<Digest>), Obstacle>, LedgerError> {
        let mut player = Self::new(ledger, session);
        let (mut entries, mut last, mut at) = (ledger.entries(session, 1..=until, Filter::default())?, None, 0);
        while let Some((index, leaf, raw)) = entries.next_stored()? {
            let stored = Stored { index, leaf, raw };
            (last, at) = (Some(leaf), at + 1);
            let Some(line) = Line::of(&stored.raw) else {
                return Ok(Err(Obstacle { seq: at, why: "it can't be read".to_owned() }));
            };
            match player.take(&stored, &line)? {
                Took::Well => {}
                Took::Stopped(obstacle) => return Ok(Err(obstacle)),
                Took::Differs(difference) => {
                    return Ok(Err(Obstacle {
                        seq: difference.seq,
                        why: "the ruling is another one by now".to_owned(),
                    }));
                }
            }
        }
        Ok(Ok((player, last)))
    }

    /// Whether the record has all that the kernel said so far.
    pub fn is_even(&self) -> bool {
        self.rulings.is_empty() && self.alerts.is_empty() && !self.is_over
    }

    /// Attempts whose ruling is not on record: their supervisor died in between.
    pub fn unrecorded(&self) -> Vec<u64> {
        self.rulings.iter().map(|r| r.of).collect()
    }

    /// Takes the next entry.
    pub fn take(&mut self, stored: &Stored, line: &Line<'_>) -> Result<Took, LedgerError> {
        let stopped = |why: String| Ok(Took::Stopped(Obstacle { seq: line.seq, why }));
        match stored.told(self.ledger, line) {
            Ok(_) if self.is_over => Ok(Took::Well),
            Ok(Told::Nothing) => Ok(Took::Well),
            Ok(Told::Input(input)) => {
                if self.kernel.is_none() {
                    return stopped("the session was not opened before it".to_owned());
                }
                self.input(&input);
                if self.rulings.len() > WAITING_MAX {
                    return stopped(format!("{WAITING_MAX} rulings before it are not on record"));
                }
                Ok(Took::Well)
            }
            Ok(Told::Ruling(body)) => self.ruling(stored, line.seq, &body),
            Ok(Told::Entry(entry)) => match entry.kind {
                Kind::Alert => Ok(self.alert(&entry)),
                Kind::Close => {
                    self.is_over = true;
                    Ok(Took::Well)
                }
                Kind::Open => match self.open(&entry) {
                    Ok(()) => Ok(Took::Well),
                    Err(why) => stopped(why),
                },
                _ => match self.charter(&entry)? {
                    Ok(()) => Ok(Took::Well),
                    Err(why) => stopped(why),
                },
            },
            Err(Untold::Entry(why)) => stopped(why),
            Err(Untold::Ledger(error)) => Err(error),
        }
    }

    fn open(&mut self, entry: &Entry) -> Result<(), String> {
        if self.kernel.is_some() {
            return Err("the session is opened a second time".to_owned());
        }
        let session = session(entry).ok_or("it lacks the session's workspace, home or agent")?;
        let charter = self.compile(entry)?;
        self.kernel = Some(Kernel::new(charter, session));
        Ok(())
    }

    /// The charter that an opening or a change puts in force.
    pub fn compile(&mut self, entry: &Entry) -> Result<Arc<Charter>, String> {
        let (files, digest) = match entry.kind {
            Kind::Open => (entry.body.pointer("/charter/files"), entry.body.pointer("/charter/digest")),
            _ => (entry.body.get("files"), entry.body.get("charter")),
        };
        let files: Sources = serde_json::from_value(files.cloned().unwrap_or_default())
            .map_err(|e| format!("the charter's files can't be read: {e}"))?;
        let (mut charter, _) = Charter::compile(&files).map_err(|found| {
            let first = found.0.first().map(|d| format!("{} {}:{}: {}", d.code, d.file, d.line, d.message));
            format!("its charter is none to this flyball any more: {}", first.unwrap_or_default())
        })?;
        if entry.kind == Kind::Open && entry.body.get("learning").and_then(Json::as_bool) == Some(true) {
            let kept = entry.body.get("kept").cloned().ok_or("it does not say what a learning charter kept")?;
            let kept: Vec<String> = serde_json::from_value(kept).map_err(|e| format!("what it kept: {e}"))?;
            charter = charter.learning(kept);
        }
        self.charter_seq = entry.seq;
        // Compiled by another version, the same files have another digest, which stands on every ruling.
        let recorded = digest.and_then(Json::as_str).unwrap_or_default();
        self.recorded_digest = (recorded != charter.digest()).then(|| recorded.into());
        if self.recorded_digest.is_some() {
            self.recompiled.push(entry.seq);
        }
        Ok(Arc::new(charter))
    }

    /// Another charter during the session: what it asks of the past is made of the entries before it, as it was then.
    fn charter(&mut self, entry: &Entry) -> Result<Result<(), String>, LedgerError> {
        let mut before = Vec::new();
        for found in self.ledger.entries(&self.session, ..entry.seq, Filter::default())? {
            let mut found = found?;
            match self.ledger.body(&found) {
                Ok(body) => found.body = body,
                // What the kernel was told of was read on the way here.
                Err(LedgerError::NoBlob(_)) => {}
                Err(error) => return Err(error),
            }
            before.push(found);
        }
        let past = match adopting::past(&before) {
            Ok(past) => past,
            Err(why) => return Ok(Err(why)),
        };
        let charter = match self.compile(entry) {
            Ok(charter) => charter,
            Err(why) => return Ok(Err(why)),
        };
        let Some(kernel) = &self.kernel else { return Ok(Err("the session was not opened before it".to_owned())) };
        self.kernel = Some(kernel.adopted(charter, past, entry.seq, entry.at_ns));
        Ok(Ok(()))
    }

    /// What the gate does with an input, less all that is not the kernel's: see `gate::caused`.
    fn input(&mut self, input: &Input) {
        let Some(kernel) = &mut self.kernel else { return };
        let is_asked = input.event.is_ruled_on();
        let mut rulings = kernel.step(input);
        let of_input = |r: &Ruling| !is_asked && r.of == input.seq;
        let own = if rulings.last().is_some_and(of_input) { rulings.pop() } else { None };
        for ruling in rulings.iter().chain(&own) {
            for effect in &ruling.effects {
                let Effect::Cause { act, because, since } = effect else { continue };
                self.alerts.push_back(json!({
                    "alert": "obligation", "detail": because, "act": act, "since": since, "reasons": ruling.reasons,
                }));
            }
        }
        self.rulings.extend(rulings);
    }

    fn ruling(&mut self, stored: &Stored, seq: u64, body: &[u8]) -> Result<Took, LedgerError> {
        self.compared += 1;
        let Some(mut ruling) = self.rulings.pop_front() else {
            return Ok(match stored.entry(self.ledger) {
                Ok(entry) => differs(seq, &entry.body, &Json::Null),
                Err(Untold::Entry(why)) => Took::Stopped(Obstacle { seq, why }),
                Err(Untold::Ledger(error)) => return Err(error),
            });
        };
        if let Some(digest) = &self.recorded_digest {
            ruling.charter = digest.clone();
        }
        if serde_json::to_vec(&ruling).is_ok_and(|bytes| bytes == body) {
            return Ok(Took::Well);
        }
        // Not these bytes: one that names stored content is followed by what it names.
        let recorded = match stored.entry(self.ledger) {
            Ok(entry) => entry.body,
            Err(Untold::Entry(why)) => return Ok(Took::Stopped(Obstacle { seq, why })),
            Err(Untold::Ledger(error)) => return Err(error),
        };
        let again = serde_json::to_value(&ruling).unwrap_or_default();
        let is_same = serde_json::to_vec(&recorded).ok() == serde_json::to_vec(&again).ok();
        Ok(if is_same { Took::Well } else { differs(seq, &recorded, &again) })
    }

    fn alert(&mut self, entry: &Entry) -> Took {
        let is_ours = entry.actor == "kernel" && entry.body.get("alert").and_then(Json::as_str) == Some("obligation");
        if !is_ours {
            return Took::Well;
        }
        let again = self.alerts.pop_front().unwrap_or_default();
        if again == entry.body { Took::Well } else { differs(entry.seq, &entry.body, &again) }
    }
}

/// Where the session ran, as its opening says.
pub(crate) fn session(entry: &Entry) -> Option<Session> {
    let text = |key: &str| entry.body.get(key).and_then(Json::as_str).map(str::to_owned);
    Some(Session { workspace: text("workspace")?, home: text("home")?, agent: text("agent")? })
}

fn differs(seq: u64, recorded: &Json, again: &Json) -> Took {
    let (field, recorded, again) = differ::first(recorded, again);
    Took::Differs(Box::new(Difference { seq, field, recorded, recomputed: again }))
}
