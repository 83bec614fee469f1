//! Crashes: `kill -9` of the supervisor, of the agent, of both, of people's commands, at random moments; then what must hold.
//!
//! After each crash: no acknowledged entry is lost, every attempt has its ruling and its end, nothing of the session runs
//! any more, the real workspace is exactly as before or exactly as after, and every command works on the session again.
//!
//! A short form by default; `cargo xtask crash --rounds N --seed S` for more. The seed is printed: with it the same rounds
//! are made again, though not the same moments of the machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod calls;
mod check;
mod dice;
mod full;
mod governing;
mod processes;
mod rounds;
mod tree;
mod work;
mod world;

use dice::Dice;
use flyball_testkit::user::User;
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use world::World;

/// Rounds of the short form: each kind once as root, once as an ordinary user.
const ROUNDS: u64 = 32;
/// The seed of the short form.
const SEED: u64 = 416_213;
/// Rounds in one ledger: enough for it to hold others' sessions, few enough to verify it after each.
const ROUNDS_PER_WORLD: u64 = 6;

fn main() {
    let arguments = Arguments::from_args();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("FLYBALL_CRASH_ROUNDS").unwrap_or(ROUNDS);
    // The short form throws the same dice each time: what it tells of a change must not be what it finds by luck.
    let is_short = number("FLYBALL_CRASH_ROUNDS").is_none();
    let seed = number("FLYBALL_CRASH_SEED").unwrap_or_else(|| if is_short { SEED } else { Dice::any_seed() });
    let why_not = world::why_not();
    if let Some(why) = &why_not {
        eprintln!("skipped: {why}");
    }
    eprintln!("crash: {rounds} rounds, seed {seed}");
    let users = User::each();
    let each = rounds.div_ceil((rounds::KINDS.len() * users.len()) as u64);
    let mut trials = Vec::new();
    for user in users {
        for &(name, run) in rounds::KINDS {
            let needs = match name {
                _ if name.contains("call by call") => calls::why_not(),
                _ if name.contains("full disk") => full::why_not(),
                _ => None,
            };
            let skip = why_not.clone().or(needs);
            if let (Some(why), None) = (&skip, &why_not) {
                eprintln!("skipped: {}::{name}: {why}", user.kind());
            }
            let own_seed = seed.wrapping_add(trials.len() as u64 * 1_000_003);
            let trial = Trial::test(
                format!("{}::{}", user.kind(), name.replace(", ", "_").replace("'s", "s").replace(' ', "_")),
                move || several(name, run, user, each, own_seed).map_err(|e| Failed::from(format!("seed {seed}: {e}"))),
            );
            trials.push(trial.with_ignored_flag(skip.is_some()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// That many rounds of one kind; each has dice of its own.
fn several(name: &str, run: rounds::Round, user: User, rounds: u64, seed: u64) -> Result<(), String> {
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut world = None;
    for round in 0..rounds {
        let mut dice = Dice::new(seed.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let here = match world.take() {
            Some(here) if round % ROUNDS_PER_WORLD != 0 => here,
            _ => World::new(user),
        };
        let seen = Mutex::new(Vec::new());
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| run(&here, &mut dice, &seen)));
        for what in seen.into_inner().unwrap_or_else(|e| e.into_inner()) {
            *told.entry(what).or_default() += 1;
        }
        if round % 5 == 4 {
            eprintln!("crash: {name} as {}: {} of {rounds} rounds, {} failed", user.kind(), round + 1, failures.len());
        }
        match done {
            Ok(()) => world = Some(here),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
                let kept = here.keep().display().to_string();
                failures.push(format!("round {round}, kept in {kept}: {text}"));
            }
        }
    }
    let what: Vec<String> = told.iter().map(|(what, count)| format!("{what} {count}")).collect();
    eprintln!("crash: {name} as {}: {rounds} rounds, {} failed; {}", user.kind(), failures.len(), what.join(", "));
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}
