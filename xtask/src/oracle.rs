//! The long form of tests that hold our own code against what others wrote.

use crate::{Failure, exec};

/// Runs the oracle of that name; the same tests run in short with all others.
pub(crate) fn oracle(arguments: &[String]) -> Result<(), Failure> {
    if arguments.first().is_some_and(|name| name == "determinism") {
        return crate::determinism::compare(arguments.get(1..).unwrap_or_default());
    }
    let cases = match arguments {
        [name] if name == "cedar" => "20000",
        [name, flag, cases] if name == "cedar" && flag == "--cases" && cases.parse::<u32>().is_ok() => cases,
        _ => return Err("`oracle` takes `cedar` and `--cases N`, or `determinism` and `--steps N`".into()),
    };
    let mut command = exec::cargo();
    command.args(["test", "--release", "--locked", "-p", "flyball-kernel", "--lib", "--", "rules::oracle"]);
    exec::run(command.env("FLYBALL_ORACLE_CASES", cases))
}
