//! What others wrote, for holding Flyball's facts against it: the corpus of `dogwood-language`, translated; and the engines that
//! Flyball's speed is measured beside. `cargo xtask oracle dogwood` and `cargo xtask bench temporal` build and run this.
#![forbid(unsafe_code)]

mod cases;
mod formula;
mod rules;
mod slots;
mod temporal;

use std::process::ExitCode;

const USAGE: &str = "\
flyball-oracle cases [--mutants N] [--seed S]   the corpus, a case a line, as JSON
flyball-oracle dogwood|rtlola EVENTS            the bench's events through that engine: verdicts' digest, time, state";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["cases", rest @ ..] => cases::write(rest),
        ["dogwood", events] => temporal::dogwood(events),
        ["rtlola", events] => temporal::rtlola(events),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
