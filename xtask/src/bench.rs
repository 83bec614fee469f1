//! Measurements, each beside its baseline in the same run, written into docs/benchmarks.md with the command that made them.

mod hooks;
mod http;
mod mcp;
mod recording;
mod sessions;
mod temporal;
mod workloads;

use std::path::PathBuf;
use std::process::Command;

use crate::{Failure, exec};

/// Crates with benches of their own, run by criterion or by their own harness.
const CRATES: [&str; 3] = ["kernel", "ledger", "sandbox"];

/// Benches of the whole program.
const WHOLE: [&str; 6] = ["hooks", "http", "mcp", "recording", "sessions", "workloads"];

/// Benches that take long, or stand beside engines that are built for the purpose: only where they are named.
const BESIDE: [&str; 2] = ["replay", "temporal"];

/// What `cargo xtask bench` was asked.
struct Asked {
    names: Vec<String>,
    /// Given with `--flyball`; else the release build is made and taken.
    flyball: Option<PathBuf>,
    rounds: usize,
}

/// Runs the named benches, or all of them, and writes each one's section.
pub(crate) fn bench(arguments: &[String]) -> Result<(), Failure> {
    let asked = Asked::read(arguments)?;
    for name in &asked.names {
        let section = match name.as_str() {
            "hooks" => hooks::measure(asked.flyball.clone(), asked.rounds)?,
            "http" => http::measure(asked.flyball.clone(), asked.rounds)?,
            "mcp" => mcp::measure(asked.flyball.clone(), asked.rounds)?,
            "recording" => recording::measure(asked.flyball.clone(), asked.rounds)?,
            "sessions" => sessions::measure(asked.flyball.clone(), asked.rounds)?,
            "workloads" => workloads::measure(asked.flyball.clone(), asked.rounds)?,
            "temporal" => temporal::measure(asked.rounds)?,
            "replay" => replay()?,
            krate => match bench_crate(krate)? {
                Some(section) => section,
                None => continue,
            },
        };
        let heading = if name == "workloads" { workloads::heading() } else { name };
        write_section(heading, &section)?;
        println!("{section}");
    }
    Ok(())
}

impl Asked {
    fn read(arguments: &[String]) -> Result<Self, Failure> {
        let mut asked = Self { names: Vec::new(), flyball: None, rounds: 5 };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--flyball" => asked.flyball = Some(words.next().ok_or("`--flyball` takes a path")?.into()),
                "--rounds" => asked.rounds = words.next().ok_or("`--rounds` takes a number")?.parse()?,
                name if WHOLE.contains(&name) || CRATES.contains(&name) || BESIDE.contains(&name) => {
                    asked.names.push(name.to_owned())
                }
                other => {
                    return Err(format!(
                        "no bench is named `{other}`: kernel, ledger, sandbox, hooks, http, mcp, recording, sessions, workloads, replay, temporal"
                    )
                    .into());
                }
            }
        }
        if asked.names.is_empty() {
            asked.names = CRATES.into_iter().chain(WHOLE).map(str::to_owned).collect();
        }
        Ok(asked)
    }
}

/// What the crate's benches print, less the runner's own chatter; `None` where it has none.
fn bench_crate(krate: &str) -> Result<Option<String>, Failure> {
    if !exec::root().join("crates").join(krate).join("benches").is_dir() {
        eprintln!("bench: crates/{krate} has no benches");
        return Ok(None);
    }
    let package = format!("flyball-{krate}");
    let told = exec::read(exec::cargo().args(["bench", "--locked", "--package", &package, "--benches"]))?;
    let lines: Vec<&str> = told.lines().filter(|line| is_measurement(line)).collect();
    let command = format!("cargo xtask bench {krate}");
    Ok(Some(format!("`{command}`, {}\n\n```text\n{}\n```", machine(), lines.join("\n"))))
}

/// The table that the runtime's bench prints.
fn replay() -> Result<String, Failure> {
    let told =
        exec::read(exec::cargo().args(["bench", "--locked", "--package", "flyball-runtime", "--bench", "replay"]))?;
    let rows: Vec<&str> = told.lines().filter(|line| line.starts_with('|')).collect();
    Ok(format!("`cargo xtask bench replay`, {}, medians of 3\n\n{}", machine(), rows.join("\n")))
}

fn is_measurement(line: &str) -> bool {
    let chatter =
        ["Benchmarking ", "Found ", "change:", "test ", "running ", "Performance has", "No change", "Change within"];
    let line = line.trim();
    let is_outlier = line.ends_with("mild") || line.ends_with("severe");
    !line.is_empty() && !is_outlier && !chatter.iter().any(|start| line.starts_with(start))
}

/// The machine in a few words, so that a number is never read without it.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = exec::read(Command::new("uname").arg("-r")).unwrap_or_default();
    let release: Vec<&str> = kernel.trim().split('.').take(2).collect();
    format!("on {cores} cores, Linux {}", release.join("."))
}

/// Puts the section between its markers in docs/benchmarks.md, at the end where there are none yet.
fn write_section(name: &str, section: &str) -> Result<(), Failure> {
    let path = exec::root().join("docs/benchmarks.md");
    let page = std::fs::read_to_string(&path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    Ok(std::fs::write(&path, replaced(&page, name, section))?)
}

fn replaced(page: &str, name: &str, section: &str) -> String {
    let (open, close) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let block = format!("{open}\n{section}\n{close}");
    let before_and_after = page.split_once(&open).and_then(|(before, rest)| Some((before, rest.split_once(&close)?.1)));
    match before_and_after {
        Some((before, after)) => format!("{before}{block}{after}"),
        None => format!("{}\n\n## {name}\n\n{block}\n", page.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_where_it_stands_and_the_rest_is_kept() {
        let page = "# Page\n\n<!-- bench:kernel -->\nold\n<!-- /bench:kernel -->\n\nwords\n";
        let new = replaced(page, "kernel", "new");
        assert_eq!(new, "# Page\n\n<!-- bench:kernel -->\nnew\n<!-- /bench:kernel -->\n\nwords\n");
        assert!(
            replaced(&new, "ledger", "x").ends_with("## ledger\n\n<!-- bench:ledger -->\nx\n<!-- /bench:ledger -->\n")
        );
    }

    #[test]
    fn the_runners_chatter_is_left_out() {
        assert!(is_measurement("step/100 rules   time:   [38.1 us 38.4 us 38.9 us]"));
        for line in
            ["Found 3 outliers among 100 measurements", "  2 (2.00%) high mild", "", "                 change: [-1%]"]
        {
            assert!(!is_measurement(line), "{line}");
        }
    }
}
