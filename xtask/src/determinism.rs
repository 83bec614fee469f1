//! Debug and release, from the start and from snapshots: the same inputs must chain to the same head.

use crate::{Failure, exec};
use std::process::Stdio;

/// Compares the heads of a run of that many steps.
pub(crate) fn compare(arguments: &[String]) -> Result<(), Failure> {
    let steps = match arguments {
        [] => "20000",
        [flag, steps] if flag == "--steps" && steps.parse::<u32>().is_ok() => steps,
        _ => return Err("`oracle determinism` takes `--steps N`".into()),
    };
    let mut first: Option<String> = None;
    for build in [&[][..], &["--release"]] {
        for every in ["", "97"] {
            let head = head(build, steps, every)?;
            let how = if build.is_empty() { "debug" } else { "release" };
            let from = if every.is_empty() { "from the start" } else { "from a snapshot at every 97th step" };
            println!("{head}  {how}, {from}");
            if first.get_or_insert_with(|| head.clone()) != &head {
                return Err("the same inputs gave other rulings".into());
            }
        }
    }
    Ok(())
}

fn head(build: &[&str], steps: &str, every: &str) -> Result<String, Failure> {
    let mut command = exec::cargo();
    command.args(["test", "--quiet", "--locked", "-p", "flyball-kernel", "--test", "kernel"]).args(build);
    command.args(["--", "--exact", "determinism::head", "--ignored", "--nocapture"]);
    command.env("FLYBALL_CHAIN_STEPS", steps).env("FLYBALL_CHAIN_EVERY", every).stdout(Stdio::piped());
    let out = command.spawn()?.wait_with_output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let head = text.lines().find_map(|line| line.strip_prefix("head ")).map(str::to_owned);
    head.ok_or_else(|| "the test printed no head".into())
}
