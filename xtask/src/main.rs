//! The project's own chores, run as `cargo xtask CHORE`. Nothing here ships.
//!
//! `tidy` holds the laws that the compiler can't, `test` installs what the tests need and runs them, `agents` installs
//! the pinned agent programs, `deps` the system packages, `crash` kills sessions at random moments, and `bench` measures against baselines.
#![forbid(unsafe_code)]

mod agentdojo;
mod agents;
mod attacks;
mod bench;
mod crash;
mod deps;
mod determinism;
mod exec;
mod fuzz;
mod oracle;
mod posix;
mod suite;
mod tidy;

use std::process::ExitCode;

/// A chore's failure: already worded for the person who reads the terminal.
type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "\
cargo xtask CHORE

  tidy              hold the tree against the laws that the compiler can't check
  test [--slow]     install what the tests need, then run every test and doc test
  same [NAME]       compare every program's run under governance with its plain run, the long ones too
  deps              install the system packages that tests use, where that is possible
  fuzz [TARGET…]    run libFuzzer on every reader, or those named; --seconds N for each (60)
  agents            install the pinned agent programs into .agents/
  crash             kill supervisor, agent and commands at random moments and hold what is left against what was
                    acknowledged; --rounds N (500), --seed S, --flyball PATH picks the binary
  oracle [NAME]     hold our code against what others wrote: dogwood, mfotl, naive, cedar, determinism; --cases N, --mutants N
  oracle determinism  chain a long run's rulings in debug and release, from the start and from snapshots; --steps N (20,000)
  attacks [NAME…]   run syd's attacks (built once, in minutes) inside sessions and write docs/attacks.md;
                    --no-build, --syd PATH, --flyball PATH
  posix             hold pjdfstest's cases inside a session against the same alone; --no-build, --pjdfstest PATH, --flyball PATH
  agentdojo FILE    rule on recorded runs of AgentDojo (.jsonl, .gz) by charters/agentdojo-*; --rulings PATH writes each
                    call's ruling, --debug builds no release
  bench [NAME…]     measure beside the baselines and write docs/benchmarks.md: kernel, ledger,
                    sandbox, hooks, http, mcp, recording, sessions, workloads, temporal; --flyball PATH picks the binary, --rounds N (5)
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let chore = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let done = match chore.as_str() {
        "tidy" => tidy::tidy(),
        "test" => suite::test(&rest),
        "same" => suite::same(&rest),
        "deps" => deps::install().map(|missing| deps::tell(&missing)),
        "agents" => agents::install_all(),
        "fuzz" => fuzz::fuzz(&rest),
        "crash" => crash::crash(&rest),
        "oracle" => oracle::oracle(&rest),
        "bench" => bench::bench(&rest),
        "attacks" => attacks::attacks(&rest),
        "posix" => posix::posix(&rest),
        "agentdojo" => agentdojo::agentdojo(&rest),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {chore}: {failure}");
            ExitCode::FAILURE
        }
    }
}
