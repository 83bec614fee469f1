//! One pass over a record: what each level asks of it.

use super::{Levels, Player, Stored, Took};
use crate::rerun;
use flyball_ledger::{Digest, Filter, Kind, Ledger, LedgerError, Line, merkle};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// Contents that are looked for in the ledger; a record that names more is looked at no further.
const CONTENTS_MAX: usize = 1 << 20;

const IN_TURNS: &str =
    "here a thread acted again behind others of its program: which of them comes first is not given back";
const AT_ONCE: &str = "here a process wrote where another one, which went on as well, had written: which of them comes first is not given back";

/// Looks at a session's record as far as `level` needs.
pub(super) fn survey(ledger: &Ledger, session: &str, level: u8) -> Result<Levels, LedgerError> {
    let mut pass = Pass {
        found: Levels::new(session),
        last: 0,
        attempts: Vec::new(),
        contents: BTreeSet::new(),
        opening: 1,
        in_the_way: Vec::new(),
    };
    let mut player = (level >= 3).then(|| Player::new(ledger, session));
    let mut entries = ledger.entries(session, .., Filter::default())?;
    while let Some((index, leaf, raw)) = entries.next_stored()? {
        let stored = Stored { index, leaf, raw };
        pass.found.entries += 1;
        let Some(line) = Line::of(&stored.raw) else {
            let seq = pass.last + 1;
            pass.last = seq;
            pass.stands(1, seq, "it is no entry as flyball writes them".to_owned());
            player = None;
            continue;
        };
        pass.event(&stored, &line);
        pass.cause(&stored, &line, ledger)?;
        pass.workspace(&stored, &line, ledger)?;
        let Some(playing) = &mut player else { continue };
        match playing.take(&stored, &line)? {
            Took::Well => {}
            Took::Differs(difference) => {
                // What follows another ruling follows from another state: the first is what there is to say.
                pass.stands(3, difference.seq, "the ruling is another one by now".to_owned());
                pass.found.difference = Some(*difference);
                pass.found.rulings = playing.compared;
                player = None;
            }
            Took::Stopped(obstacle) => {
                pass.found.rulings = playing.compared;
                pass.stands(3, obstacle.seq, obstacle.why);
                player = None;
            }
        }
    }
    if let Some(player) = player {
        pass.found.rulings = player.compared;
        pass.found.unrecorded = player.unrecorded();
        pass.found.recompiled = player.recompiled;
    }
    let opening = pass.opening;
    for (level, why) in std::mem::take(&mut pass.in_the_way) {
        pass.stands(level, opening, why);
    }
    Ok(pass.found)
}

struct Pass {
    found: Levels,
    last: u64,
    /// The numbers of attempts so far, ascending.
    attempts: Vec<u64>,
    contents: BTreeSet<Digest>,
    opening: u64,
    /// What stands in the way of running the program again.
    in_the_way: Vec<(u8, String)>,
}

#[derive(Deserialize)]
struct Of {
    of: u64,
}

impl Pass {
    fn stands(&mut self, level: u8, seq: u64, why: String) {
        self.found.stands_in_the_way(level, seq, why);
    }

    /// Level 1: every entry, in order, as it was stored.
    fn event(&mut self, stored: &Stored, line: &Line<'_>) {
        if line.seq != self.last + 1 {
            let why = format!("entry {} should stand here: the record has a gap", self.last + 1);
            self.stands(1, line.seq, why);
        }
        self.last = line.seq;
        if merkle::leaf_digest(&stored.raw) != stored.leaf {
            self.stands(1, line.seq, "its bytes are not those that its leaf was made of".to_owned());
        }
    }

    /// Level 2: causes are earlier entries, and what belongs to an attempt has one.
    fn cause(&mut self, stored: &Stored, line: &Line<'_>, ledger: &Ledger) -> Result<(), LedgerError> {
        for cause in line.causes() {
            match cause {
                Some(cause) if cause >= 1 && cause < line.seq => {}
                Some(cause) => {
                    self.stands(2, line.seq, format!("it names entry {cause} as its cause, which is not before it"));
                }
                None => self.stands(2, line.seq, "what caused it can't be read".to_owned()),
            }
        }
        match line.kind {
            Kind::Attempt => self.attempts.push(line.seq),
            Kind::Ruling | Kind::Dispatch | Kind::Outcome | Kind::Question | Kind::Answer => {
                let of = match serde_json::from_slice::<Of>(line.body) {
                    Ok(Of { of }) => Some(of),
                    Err(_) => stored.entry(ledger).ok().and_then(|e| e.body.get("of")?.as_u64()),
                };
                match of {
                    Some(of) if self.attempts.binary_search(&of).is_ok() => {}
                    Some(of) => {
                        self.stands(2, line.seq, format!("entry {of}, of which it tells, is no attempt before it"))
                    }
                    None => self.stands(2, line.seq, "it does not say of which attempt it tells".to_owned()),
                }
            }
            Kind::Open => {
                self.opening = line.seq;
                let Ok(entry) = stored.entry(ledger) else { return Ok(()) };
                self.in_the_way = rerun::in_the_way(&entry.body);
                if entry.body.get("door").is_some() {
                    let why = "the session had no sandbox: only what came through its doors is on record";
                    self.stands(2, line.seq, why.to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Level 3: contents of the workspace at each step.
    fn workspace(&mut self, stored: &Stored, line: &Line<'_>, ledger: &Ledger) -> Result<(), LedgerError> {
        if !matches!(line.kind, Kind::Observe | Kind::Alert) {
            return Ok(());
        }
        let Ok(entry) = stored.entry(ledger) else {
            self.stands(3, line.seq, "what was seen is not in the ledger any more".to_owned());
            return Ok(());
        };
        if line.kind == Kind::Alert {
            let alert = entry.body.get("alert").and_then(Json::as_str).unwrap_or_default();
            let why = match alert {
                "unread" => "it holds nothing that could be recorded",
                "capture" => "the workspace could not be looked at",
                "unexplained" => "the workspace changed by no call on record",
                _ => return Ok(()),
            };
            let detail = entry.body.get("detail").map(Json::to_string).unwrap_or_default();
            self.stands(3, line.seq, format!("{why}: {}", detail.chars().take(200).collect::<String>()));
            return Ok(());
        }
        if let Some(told) = entry.body.pointer("/streams/turns").filter(|_| entry.actor == "supervisor") {
            for ((entries, more), why) in [(rerun::turns(told), IN_TURNS), (rerun::beside(told), AT_ONCE)] {
                entries.into_iter().for_each(|seq| self.found.may_stand_in_the_way(5, seq, why.to_owned()));
                self.found.further(5, more);
            }
        }
        let told = if entry.actor == "gateway" { ledger.body(&entry).ok() } else { None };
        if let Some(why) = told.as_ref().and_then(rerun::not_kept) {
            self.stands(4, line.seq, why.to_owned());
        }
        let changes = entry.body.pointer("/workspace/changes").and_then(Json::as_array);
        for change in changes.into_iter().flatten() {
            let text = |at: &str| change.pointer(at).and_then(Json::as_str);
            if text("/node/kind") != Some("file") {
                continue;
            }
            let path: String = text("/path").unwrap_or_default().chars().take(200).collect();
            let digest = text("/node/digest").and_then(|d| d.parse::<Digest>().ok());
            let Some(digest) = digest else {
                self.stands(3, line.seq, format!("the content of `{path}` was not recorded"));
                continue;
            };
            if self.contents.contains(&digest) {
                continue;
            }
            if self.contents.len() < CONTENTS_MAX && ledger.has_blob(&digest)? {
                self.contents.insert(digest);
            } else {
                self.stands(3, line.seq, format!("the content of `{path}` is not in the ledger"));
            }
        }
        Ok(())
    }
}
