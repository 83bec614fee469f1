//! The long form of the crash tests; the short one is part of the suite.

use crate::{Failure, exec};

/// Rounds, where none are named.
const ROUNDS: u64 = 500;

/// Runs so many rounds; what failed is told with the folder that it was kept in.
pub(crate) fn crash(arguments: &[String]) -> Result<(), Failure> {
    let mut command = exec::cargo();
    command.args(["test", "--locked", "--package", "flyball", "--test", "crash", "--", "--nocapture"]);
    command.env("FLYBALL_CRASH_ROUNDS", ROUNDS.to_string()).env("RUST_BACKTRACE", "0");
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number = |name: &str| -> Result<String, Failure> {
            let text = words.next().ok_or_else(|| format!("`{name}` takes a number"))?;
            Ok(text.parse::<u64>().map_err(|error| format!("`{name} {text}`: {error}"))?.to_string())
        };
        match word.as_str() {
            "--rounds" => _ = command.env("FLYBALL_CRASH_ROUNDS", number("--rounds")?),
            "--seed" => _ = command.env("FLYBALL_CRASH_SEED", number("--seed")?),
            "--flyball" => _ = command.env("FLYBALL_CRASH_BINARY", words.next().ok_or("`--flyball` takes a path")?),
            other => {
                return Err(format!("`crash` does not take `{other}`: --rounds N, --seed S, --flyball PATH").into());
            }
        }
    }
    exec::run(&mut command)
}
