//! The test run: what it needs is installed first, then nextest where it is, cargo's own runner where it is not.

use crate::{Failure, agents, deps, exec};

/// Runs every test and doc test of the workspace; `--slow` also those marked ignored for their length.
pub(crate) fn test(arguments: &[String]) -> Result<(), Failure> {
    let with_slow = match arguments {
        [] => false,
        [only] if only == "--slow" => true,
        _ => return Err("`test` takes `--slow` or nothing".into()),
    };
    deps::tell(&deps::install()?);
    if let Err(failure) = agents::install() {
        eprintln!("agents: {failure}; tests that run an agent program are skipped");
    }
    // Doc tests first: the run's last line is then the suite's own count.
    let docs = exec::run(exec::cargo().args(["test", "--workspace", "--locked", "--doc", "--quiet"]));
    run_suite(with_slow).and(docs)
}

/// Sameness in full, the long workloads too, and every agent; the argument picks some by name.
pub(crate) fn same(arguments: &[String]) -> Result<(), Failure> {
    deps::tell(&deps::install_for_same()?);
    if let Err(failure) = agents::install_all() {
        eprintln!("agents: {failure}; tests that run an agent program are skipped");
    }
    let run = |test: &str, filter: &[String]| {
        let mut command = exec::cargo();
        command.args(["test", "--locked", "--package", "flyball", "--test", test, "--"]).args(filter);
        exec::run(command.env("FLYBALL_SAME", "all"))
    };
    let agents = if arguments.is_empty() { run("governed", &["works_and_is_governed".to_owned()]) } else { Ok(()) };
    let harnesses = if arguments.is_empty() { run("harnesses", &[]) } else { Ok(()) };
    run("same", arguments).and(agents).and(harnesses)
}

fn run_suite(with_slow: bool) -> Result<(), Failure> {
    let mut command = exec::cargo();
    if exec::has("cargo-nextest") {
        command.args(["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]);
        if with_slow {
            command.args(["--run-ignored", "all"]);
        }
    } else {
        command.args(["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"]);
        if with_slow {
            command.args(["--", "--include-ignored"]);
        }
    }
    exec::run(&mut command)
}
