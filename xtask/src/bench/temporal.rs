//! The kernel beside other engines for invariants over time: the same three on the same events, interleaved rounds.

use super::machine;
use crate::{Failure, exec, oracle};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

const EVENTS: [u32; 2] = [2_000, 20_000];

/// One engine's run.
struct Run {
    requests: u64,
    nanoseconds: u64,
    state_bytes: u64,
    grown_kib: u64,
}

/// Medians of `rounds`; each run's verdicts have to be those that a plain loop gives.
pub(super) fn measure(rounds: usize) -> Result<String, Failure> {
    let theirs = oracle::build()?;
    let ours = kernel_bench()?;
    let mut out = format!(
        "`cargo xtask bench temporal`, {}, medians of {rounds} interleaved rounds\n\n\
         | events | engine | events a second | to dogwood | to rtlola | largest state, as it says it | memory grown by |\n|---|---|---|---|---|---|---|\n",
        machine()
    );
    for events in EVENTS {
        let path = exec::root().join(format!("target/oracle/events-{events}"));
        exec::read(Command::new(&ours).arg("events").arg(&path).arg(events.to_string()))?;
        let mut took: [Vec<Run>; 5] = Default::default();
        for _ in 0..rounds {
            let engines =
                [(&ours, "run"), (&ours, "write"), (&theirs, "dogwood"), (&ours, "facts"), (&theirs, "rtlola")];
            let commands = engines.map(|(program, engine)| {
                let mut command = Command::new(program);
                command.arg(engine).arg(&path);
                command
            });
            for (mut command, runs) in commands.into_iter().zip(&mut took) {
                runs.push(run(&mut command)?);
            }
        }
        let [ours, written, dogwood, facts, rtlola] = took.map(median);
        let rate = |run: &Run| f64::from(events) / (run.nanoseconds.max(1) as f64) * 1e9;
        for (name, run) in [
            ("Flyball, whole steps", &ours),
            ("Flyball, whole steps, each ruling written as JSON", &written),
            ("dogwood-local-engine 1.1.1", &dogwood),
            ("Flyball, the facts alone", &facts),
            ("rtlola-interpreter 0.11.0", &rtlola),
        ] {
            let state = if run.state_bytes > 0 { format!("{} bytes", run.state_bytes) } else { "-".to_owned() };
            // Writing to a String can't fail.
            let _ = writeln!(
                out,
                "| {events} | {name} | {:.0} | {:.1} | {:.1} | {state} | {} KiB |",
                rate(run),
                rate(run) / rate(&dogwood),
                rate(run) / rate(&rtlola),
                run.grown_kib
            );
        }
        if [&written, &dogwood, &facts, &rtlola].iter().any(|run| run.requests != ours.requests) {
            return Err("the engines ruled on different numbers of requests".into());
        }
        let _ = writeln!(out, "| | {} requests of them, all verdicts alike | | | | | |", ours.requests);
    }
    Ok(out.trim_end().to_owned())
}

/// Builds the kernel's bench, and tells where it is.
fn kernel_bench() -> Result<PathBuf, Failure> {
    let mut command = exec::cargo();
    command.args([
        "bench",
        "--locked",
        "-p",
        "flyball-kernel",
        "--bench",
        "temporal",
        "--no-run",
        "--message-format=json",
    ]);
    let told = exec::read(&mut command)?;
    let messages = told.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut built = messages.filter(|m| m.pointer("/target/name").is_some_and(|name| name == "temporal"));
    let path = built.find_map(|m| m.get("executable")?.as_str().map(PathBuf::from));
    path.ok_or_else(|| "cargo told of no bench `temporal`".into())
}

/// `EVENTS REQUESTS WRONG NANOSECONDS BYTES KIB`.
fn run(command: &mut Command) -> Result<Run, Failure> {
    let shown = exec::shown(command);
    let told = exec::read(command)?;
    let numbers: Vec<u64> = told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        [_, requests, 0, nanoseconds, state_bytes, grown_kib] => {
            Ok(Run { requests: *requests, nanoseconds: *nanoseconds, state_bytes: *state_bytes, grown_kib: *grown_kib })
        }
        _ => Err(format!("`{shown}` gave other verdicts: {told}").into()),
    }
}

fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by_key(|run| run.nanoseconds);
    let middle = runs.len() / 2;
    runs.swap_remove(middle)
}
