//! Real programs under `flyball run`: unmodified Claude Code and Codex driven by a script, and the tools that agents use.
//!
//! Each case runs as root and as an ordinary user where the tests run as root. What can't run here says why and counts as
//! skipped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod again;
mod agent;
mod answering;
mod apart;
mod attesting;
mod attesting_later;
mod bad_input;
mod barrier;
mod claude_again;
mod clients;
mod codex;
mod constraining;
mod content;
mod contracting;
mod coverage;
mod demo;
mod exporting;
mod fleet;
mod forking;
mod holding;
mod hostile;
mod labels;
mod lacking;
mod learning;
mod library;
mod models;
mod people;
mod programs;
mod questions;
mod registers;
mod rerunning;
mod screen;
mod seen;
mod signing;
mod support;
mod terminal;
mod watching;
mod web;

use flyball_testkit::user::User;
use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let not_here = support::why_not();
    let mut trials = Vec::new();
    let cases: Vec<support::Case> = [
        again::cases(),
        agent::cases(),
        answering::cases(),
        apart::cases(),
        attesting::cases(),
        attesting_later::cases(),
        bad_input::cases(),
        barrier::cases(),
        claude_again::cases(),
        clients::cases(),
        codex::cases(),
        constraining::cases(),
        contracting::cases(),
        signing::cases(),
        content::cases(),
        coverage::cases(),
        demo::cases(),
        exporting::cases(),
        fleet::cases(),
        holding::cases(),
        hostile::cases(),
        labels::cases(),
        lacking::cases(),
        learning::cases(),
        library::cases(),
        models::cases(),
        people::cases(),
        programs::cases(),
        questions::cases(),
        registers::cases(),
        forking::cases(),
        rerunning::cases(),
        seen::cases(),
        terminal::cases(),
        watching::cases(),
        web::cases(),
    ]
    .concat();
    for user in User::each() {
        for case in &cases {
            let run = case.run;
            let name = format!("{}::{}", user.kind(), case.name);
            let skip = not_here.clone().or_else(|| (case.needs)(user));
            if let Some(why) = &skip {
                eprintln!("skipped: {name}: {why}");
            }
            let trial = Trial::test(name, move || {
                run(user);
                Ok(())
            });
            trials.push(trial.with_ignored_flag(skip.is_some()));
        }
    }
    // What people and hostile programs do is the same where there are no namespaces.
    let user = User::ordinary();
    for case in [people::cases(), hostile::cases(), content::cases(), contracting::commands()].concat() {
        let name = format!("apart::{}", case.name);
        let is_of_network =
            ["what_violates_reaches_no_server", "names_that_are_asked_carry_nothing_out"].contains(&case.name);
        let network = is_of_network.then(|| "there is no network there".to_owned());
        let skip = not_here.clone().or(network).or_else(|| (case.needs)(user));
        if let Some(why) = &skip {
            eprintln!("skipped: {name}: {why}");
        }
        let trial = Trial::test(name, move || {
            support::apart(case.run, user);
            Ok(())
        });
        trials.push(trial.with_ignored_flag(skip.is_some()));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
