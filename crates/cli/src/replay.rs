//! `replay`: whether a record says the same again, and the levels that `show` tells.

use crate::failure::{Failure, Kind, chain};
use crate::output::{Output, Style, visible};
use crate::place::Place;
use crate::workspace::told_behind;
use flyball_runtime::read;
use flyball_runtime::replay::{self, Levels, Obstacle, Outcome, ReplayError, Replayed};
use flyball_runtime::rerun::{self, Rerun, RerunError};
use flyball_runtime::{Notice, Watcher};
use std::ffi::OsString;

/// Obstacles of a level that are shown; `--json` has more.
const SHOWN_MAX: usize = 5;

/// `flyball replay S --level N`.
pub fn replay(out: Output, place: &Place, wanted: &str, level: u8) -> Result<(), Failure> {
    let (ledger, id) = place.session(wanted)?;
    let replayed = if (RERUN_FROM..=replay::LEVEL_MAX).contains(&level) {
        drop(ledger);
        rerun::replay(&place.home()?, &id, level, &Unheard).map_err(|e| not_run(out, e))?
    } else {
        replay::replay(&ledger, &id, level)?
    };
    if out.is_json {
        out.json(&replayed);
    } else {
        print(out, &replayed);
    }
    match replayed.result {
        Outcome::Match => Ok(()),
        Outcome::Diverged => Err(Failure::said(Kind::Diverged)),
        Outcome::Inconclusive => Err(Failure::said(Kind::User)),
    }
}

/// `flyball replay S --until SEQ --then -- CMD`.
pub fn fork(
    out: Output,
    place: &Place,
    wanted: &str,
    until: u64,
    reopen: bool,
    argv: Vec<OsString>,
) -> Result<u8, Failure> {
    let (ledger, id) = place.session(wanted)?;
    let options = rerun::fork(&ledger, &id, until, argv, reopen).map_err(|e| not_run(out, e))?;
    if let Some(behind) = read::behind(&ledger, &id, until)? {
        out.warn(&format!("flyball: {}", told_behind(&behind)));
    }
    drop(ledger);
    crate::run::fork(out, place, &options)
}

/// From this level on the program runs again.
const RERUN_FROM: u8 = 4;

/// A replay has nobody to tell on its way: what it did is in its record.
struct Unheard;

impl Watcher for Unheard {
    fn notice(&self, _: Notice) {}
}

fn not_run(out: Output, error: RerunError) -> Failure {
    match error {
        RerunError::Run(error) => crate::run::not_run(out, *error),
        error => Failure::user(error.code(), visible(&chain(&error))).hint(error.hint()),
    }
}

fn print(out: Output, replayed: &Replayed) {
    let Replayed { asked, result, at, rerun, found } = replayed;
    let made = match asked {
        3 => format!(", {} rulings made again", found.rulings),
        _ => String::new(),
    };
    let about = format!("level {asked} of session {}, {} entries{made}", found.session, found.entries);
    match (result, at) {
        (Outcome::Match, _) => out.line(&format!("{}: {about}", out.paint(Style::Green, "match"))),
        (Outcome::Diverged, at) => {
            let at = at.map(|seq| format!("@{seq}")).unwrap_or_default();
            out.line(&format!("{}: {about}", out.paint(Style::Red, &format!("diverged{at}"))));
        }
        (Outcome::Inconclusive, _) => {
            out.line(&format!("{}: {about}", out.paint(Style::Yellow, "inconclusive")));
        }
    }
    if let Some(Rerun { session, recorded, made, reopened, in_the_copy, more_in_the_copy, is_paced, in_vain }) = rerun {
        let pace = if *is_paced { ", each answer no sooner than then" } else { "" };
        out.line(&format!("  run again in session {session}: {made} actions, {recorded} on record{pace}"));
        if !in_vain.is_empty() {
            let which: Vec<String> = in_vain.iter().map(u64::to_string).collect();
            out.line(&format!(
                "  waited in vain for what came before an answer, or behind one: entry {}",
                which.join(", ")
            ));
        }
        let told = in_the_copy.iter().take(SHOWN_MAX).map(|done| format!("entry {} {}", done.seq, visible(&done.verb)));
        let told: Vec<String> = told.collect();
        let more = in_the_copy.len().saturating_sub(SHOWN_MAX) + more_in_the_copy;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        if !told.is_empty() {
            out.line(&format!("  irreversible, done in its copy only, which is gone: {}{more}", told.join(", ")));
        }
        if *reopened > 0 {
            out.line(&format!(
                "  not counted: a file opened again to write on in it ({reopened} times more in one of both)"
            ));
        }
    }
    if let Some(difference) = &found.difference {
        let field = if difference.field.is_empty() { "the whole" } else { &difference.field };
        out.line(&format!("  {}", visible(field)));
        out.line(&format!("    recorded    {}", visible(&difference.recorded.to_string())));
        out.line(&format!("    made again  {}", visible(&difference.recomputed.to_string())));
    }
    if *result == Outcome::Inconclusive {
        for level in found.levels.iter().filter(|l| l.level <= *asked) {
            obstacles(out, &level.obstacles, level.further);
        }
    }
    if !found.unrecorded.is_empty() {
        let which = found.unrecorded.iter().take(SHOWN_MAX).map(u64::to_string).collect::<Vec<_>>().join(", ");
        out.line(&format!("  no ruling is on record of {which}: not carried out, the supervisor died before"));
    }
    if !found.recompiled.is_empty() {
        out.line("  the charter has another digest by this version; rulings are compared with the recorded one");
    }
}

/// The highest level, and what stands in the way of each above it.
pub fn levels(out: Output, found: &Levels) {
    let name = found.levels.iter().rev().find(|l| l.level <= found.level).map(|l| l.name);
    let name = name.map(|name| format!(", {name}")).unwrap_or_default();
    out.line(&format!("  {}up to level {}{name}", out.paint(Style::Dim, "replay     "), found.level));
    for level in found.levels.iter().filter(|l| l.level > found.level && !l.obstacles.is_empty()) {
        out.line(&format!("  {}level {}, {}:", out.paint(Style::Dim, "  not      "), level.level, level.name));
        obstacles(out, &level.obstacles, level.further);
    }
}

fn obstacles(out: Output, obstacles: &[Obstacle], further: u64) {
    for Obstacle { seq, why } in obstacles.iter().take(SHOWN_MAX) {
        let at = if *seq == 0 { String::new() } else { format!("entry {seq}: ") };
        out.line(&format!("    {at}{}", visible(why)));
    }
    let further = further + obstacles.len().saturating_sub(SHOWN_MAX) as u64;
    if further > 0 {
        out.line(&format!("    and {further} more"));
    }
}

/// `flyball at S SEQ --state`.
pub fn at(out: Output, place: &Place, wanted: &str, seq: u64) -> Result<(), Failure> {
    let (ledger, id) = place.session(wanted)?;
    let state = replay::state(&ledger, &id, seq)?;
    if out.is_json {
        out.json(&state);
        return Ok(());
    }
    let registers = &state.registers;
    out.line(&format!("session {id} just after entry {seq}: {}, autonomy {}", registers.gate, registers.autonomy));
    out.line(&format!("  charter {}", state.charter));
    for budget in &registers.budgets {
        let whose = if budget.agent.is_empty() { String::new() } else { format!(" of {}", visible(&budget.agent)) };
        let name = visible(&budget.budget);
        out.line(&format!("  budget {name}{whose}: {} of {}, {} reserved", budget.used, budget.limit, budget.reserved));
    }
    for envelope in &registers.envelopes {
        let Some(value) = envelope.value else { continue };
        out.line(&visible(&format!("  envelope {}: {} is at {value}", envelope.envelope, envelope.resource)));
    }
    for owed in &registers.obligations {
        out.line(&visible(&format!("  owed since entry {}: {} ({})", owed.since, owed.obligation, owed.owner)));
    }
    for (label, since) in &registers.labels {
        out.line(&visible(&format!("  tainted by {label} since entry {since}")));
    }
    for standing in &state.open {
        out.line(&visible(&format!("  open: {} {} {}", standing.seq, standing.state, standing.action)));
    }
    Ok(())
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let failure = Failure::user(error.code(), chain(&error)).hint(error.hint());
        if matches!(error, ReplayError::Level(_)) { failure.of(Kind::Usage) } else { failure }
    }
}
