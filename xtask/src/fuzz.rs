//! Real fuzzing: libFuzzer over the targets of `fuzz/src/targets.rs`, one after the other. What it finds stays in
//! `fuzz/found/` until it is fixed and kept as a seed.

use std::path::PathBuf;
use std::process::Command;

use crate::{Failure, exec};

const SECONDS: u64 = 60;

/// As cargo-fuzz has them. Passes and LLVM's arguments are options of stable compilers, so that no nightly is needed; the
/// address sanitizer would need one, and what it looks for the language rules out but in `sandbox` and the C of tree-sitter.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// `[--seconds N] [TARGET…]`: each for so long, all without a name.
pub(crate) fn fuzz(arguments: &[String]) -> Result<(), Failure> {
    let (mut seconds, mut wanted) = (SECONDS, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seconds" => {
                let number = rest.next().and_then(|n| n.parse().ok());
                seconds = number.ok_or("`--seconds` takes a whole number")?;
            }
            name => wanted.push(name.to_owned()),
        }
    }
    let targets = targets()?;
    if let Some(unknown) = wanted.iter().find(|name| !targets.contains(name)) {
        return Err(format!("no target `{unknown}`; there are {}", targets.join(", ")).into());
    }
    if !["c++", "g++", "clang++"].into_iter().any(exec::has) {
        println!("fuzz: skipped: libFuzzer is C++, and there is no compiler for it here");
        return Ok(());
    }
    let program = build()?;
    let mut found = Vec::new();
    for name in targets.iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        if !run(&program, name, seconds)? {
            found.push(name.clone());
        }
    }
    match found.as_slice() {
        [] => Ok(()),
        _ => Err(format!("found something in {}: see fuzz/found/", found.join(", ")).into()),
    }
}

fn folder() -> PathBuf {
    exec::root().join("fuzz")
}

/// Each has a folder of seeds.
fn targets() -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder().join("seeds"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn build() -> Result<PathBuf, Failure> {
    // The versions that ship are those that are fuzzed.
    std::fs::copy(exec::root().join("Cargo.lock"), folder().join("Cargo.lock"))?;
    let told = exec::read(Command::new("rustc").arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not tell its host")?;
    let mut command = exec::cargo();
    // With a target named, build scripts and macros are built without the flags.
    command.current_dir(folder()).env("RUSTFLAGS", COVERAGE).args(["build", "--release", "--target", host]);
    exec::run(&mut command)?;
    Ok(folder().join("target").join(host).join("release").join("flyball-fuzz"))
}

/// Whether nothing was found.
fn run(program: &PathBuf, name: &str, seconds: u64) -> Result<bool, Failure> {
    let (corpus, found) = (folder().join("corpus").join(name), folder().join("found"));
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(&found)?;
    println!("fuzz: {name}, {seconds} s");
    let mut command = Command::new(program);
    command.env("FLYBALL_FUZZ_TARGET", name).arg(&corpus).arg(folder().join("seeds").join(name));
    command.arg(format!("-artifact_prefix={}/{name}-", found.display()));
    command.args([&format!("-max_total_time={seconds}"), "-timeout=30", "-rss_limit_mb=2048", "-max_len=65536"]);
    command.args(["-verbosity=0", "-print_final_stats=1"]);
    Ok(command.status()?.success())
}
