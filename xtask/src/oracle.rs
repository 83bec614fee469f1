//! The long form of tests that hold our own code against what others wrote.

mod dogwood;

pub(crate) use dogwood::build;

use crate::{Failure, exec};

const NAMES: [&str; 5] = ["dogwood", "mfotl", "naive", "cedar", "determinism"];

/// Runs the oracle of that name, or all; the same tests run in short with all others.
pub(crate) fn oracle(arguments: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = arguments.split_first() else { return all() };
    match one(name, rest)? {
        Closing::Same(told) => println!("oracle {name}: {told}"),
        Closing::Skipped(why) => println!("oracle {name}: skipped, {why}"),
    }
    Ok(())
}

/// How an oracle ended, other than in a failure.
enum Closing {
    Same(String),
    Skipped(String),
}

fn all() -> Result<(), Failure> {
    let mut closings = Vec::new();
    let mut failed = 0;
    for name in NAMES {
        let line = match one(name, &[]) {
            Ok(Closing::Same(told)) => told,
            Ok(Closing::Skipped(why)) => format!("skipped, {why}"),
            Err(failure) => {
                failed += 1;
                format!("FAILED: {failure}")
            }
        };
        closings.push(format!("oracle {name}: {line}"));
    }
    println!("{}", closings.join("\n"));
    if failed > 0 { Err(format!("{failed} of {} failed", NAMES.len()).into()) } else { Ok(()) }
}

fn one(name: &str, rest: &[String]) -> Result<Closing, Failure> {
    match name {
        "dogwood" => dogwood::compare(rest),
        "mfotl" => tests("mfotl", cases(rest, "20000")?, "MonPoly's cases"),
        "naive" => tests("facts::", cases(rest, "20000")?, "random formulas"),
        "cedar" => tests("rules::oracle", cases(rest, "20000")?, "random charters"),
        "determinism" => {
            crate::determinism::compare(rest)?;
            Ok(Closing::Same("one head in debug and release, from the start and from snapshots".to_owned()))
        }
        _ => Err(format!("no oracle is named `{name}`: {}; `--cases N` for random ones", NAMES.join(", ")).into()),
    }
}

fn cases<'a>(rest: &'a [String], default: &'a str) -> Result<&'a str, Failure> {
    match rest {
        [] => Ok(default),
        [flag, cases] if flag == "--cases" && cases.parse::<u32>().is_ok() => Ok(cases),
        _ => Err("only `--cases N` can follow here".into()),
    }
}

/// Runs the kernel's tests of that name with so many cases.
fn tests(filter: &str, cases: &str, of: &str) -> Result<Closing, Failure> {
    let page = exec::root().join("docs/oracle-mfotl.md");
    let mut command = exec::cargo();
    command.args(["test", "--release", "--locked", "-p", "flyball-kernel", "--lib", "--tests", "--", filter]);
    let told =
        exec::read(command.args(["--nocapture"]).env("FLYBALL_ORACLE_CASES", cases).env("FLYBALL_MFOTL_PAGE", page))?;
    print!("{told}");
    match passed(&told) {
        0 => Ok(Closing::Skipped(format!("no test is named `{filter}` yet"))),
        tests => Ok(Closing::Same(format!("{tests} tests passed, {cases} {of} where they are random"))),
    }
}

/// How many tests passed in all test binaries together.
fn passed(told: &str) -> usize {
    let results = told.lines().filter_map(|line| line.split_once("test result: ok. "));
    results.filter_map(|(_, rest)| rest.split(' ').next()?.parse::<usize>().ok()).sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn tests_that_passed_are_added_up() {
        let told = "running 0 tests\ntest result: ok. 0 passed; 0 failed\n\ntest result: ok. 4 passed; 0 failed\n";
        assert_eq!(super::passed(told), 4);
    }
}
