//! Recorded runs of AgentDojo against `charters/agentdojo-*`: what would have been stopped, and what harmed.

use crate::{Failure, exec};
use std::path::PathBuf;

/// Rules on every run of a file; the work is done by the test `recorded` of `crates/intent/tests/agentdojo.rs`.
pub(crate) fn agentdojo(arguments: &[String]) -> Result<(), Failure> {
    let wanted = Wanted::read(arguments)?;
    if !wanted.file.is_file() {
        return Err(format!(
            "there is no file {}: give one of recorded runs, .jsonl or .jsonl.gz",
            wanted.file.display()
        )
        .into());
    }
    let mut command = exec::cargo();
    command.args(["test", "--quiet", "--locked", "-p", "flyball-intent", "--test", "agentdojo"]);
    if !wanted.is_debug {
        command.arg("--release");
    }
    command.args(["--", "--exact", "recorded", "--ignored", "--nocapture"]);
    command.env("FLYBALL_AGENTDOJO", std::path::absolute(&wanted.file)?);
    if let Some(rulings) = &wanted.rulings {
        command.env("FLYBALL_AGENTDOJO_RULINGS", std::path::absolute(rulings)?);
    }
    exec::run(&mut command)
}

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    file: PathBuf,
    rulings: Option<PathBuf>,
    is_debug: bool,
}

impl Wanted {
    fn read(arguments: &[String]) -> Result<Self, Failure> {
        let (mut file, mut rulings, mut is_debug) = (None, None, false);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--debug" => is_debug = true,
                "--rulings" => rulings = Some(PathBuf::from(arguments.next().ok_or("`--rulings` lacks a path")?)),
                flag if flag.starts_with('-') => {
                    return Err(format!("no `{flag}`: agentdojo FILE [--rulings PATH] [--debug]").into());
                }
                path if file.is_none() => file = Some(PathBuf::from(path)),
                _ => return Err("one file at a time".into()),
            }
        }
        let file = file.ok_or("which file? agentdojo FILE [--rulings PATH] [--debug]")?;
        Ok(Self { file, rulings, is_debug })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::Wanted;

    #[test]
    fn arguments_are_read_or_refused() {
        let read = |line: &str| Wanted::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let wanted = read("a.jsonl.gz --rulings out.jsonl --debug").unwrap();
        assert_eq!((wanted.file.to_str(), wanted.is_debug), (Some("a.jsonl.gz"), true));
        assert_eq!(wanted.rulings.unwrap().to_str(), Some("out.jsonl"));
        for wrong in ["", "--debug", "a b", "a --rulings", "a --fast"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
