//! Mediation, end to end: real programs in real sandboxes, a mediator that records and decides by script.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    unused_imports,
    reason = "tests"
)]

mod scene;
mod trials;

fn main() {
    flyball_sandbox::enter_if_launcher();
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, trials::all()).exit();
}
