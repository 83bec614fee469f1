//! Sameness: what ordinary programs do under `flyball run` with the charter of `init` is what they do plainly.
//!
//! Each workload runs twice at the same path, from the same bytes: plainly, and governed. Exit code, standard output and the
//! whole tree are compared, the governed tree once as the session sees it and once as `flyball apply` leaves it. What
//! differs between any two plain runs is left out by name and reason ([`tree::Known`]).
//!
//! `FLYBALL_SAME=all` (or `cargo xtask same`) runs the long workloads as well; `FLYBALL_SAME_PLAIN=1` runs the second
//! one plainly too, which shows what a name and a reason are needed for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod builds;
mod editors;
mod files;
mod git;
mod inside;
mod packages;
mod services;
mod tree;
mod workload;

use flyball_testkit::user::User;
use libtest_mimic::{Arguments, Trial};
use workload::Workload;

fn main() {
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let [_, word, script] = words.as_slice()
        && word == inside::WORD
    {
        return inside::run(script);
    }
    let arguments = Arguments::from_args();
    let not_here = workload::why_not();
    let workloads: Vec<Workload> = [
        git::workloads(),
        files::workloads(),
        builds::workloads(),
        editors::workloads(),
        packages::workloads(),
        services::workloads(),
    ]
    .concat();
    let mut trials = Vec::new();
    for user in User::each() {
        for workload in &workloads {
            let workload = workload.clone();
            let name = format!("{}::{}", user.kind(), workload.name);
            let skip = not_here.clone().or_else(|| workload.why_not(user));
            if let Some(why) = &skip {
                eprintln!("skipped: {name}: {why}");
            }
            let trial = Trial::test(name, move || {
                workload.compare(user);
                Ok(())
            });
            trials.push(trial.with_ignored_flag(skip.is_some()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
