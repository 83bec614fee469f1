//! What a session costs beside its program's own time: its start, its memory, its record, and how fast people's acts take hold.

use super::workloads::{bubblewrapped, find_flyball, governed, init, median};
use crate::{Failure, exec};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Busy processes that are stopped.
const BUSY: u32 = 50;
/// Actions after which the supervisor's memory is read.
const ACTIONS: u32 = 100_000;
/// How long is waited for a session to get anywhere.
const PATIENCE: Duration = Duration::from_secs(600);

/// The program and the folders of one measurement.
struct Place {
    scratch: PathBuf,
    program: PathBuf,
}

impl Place {
    /// A new workspace with a charter.
    fn fresh(&self, name: &str) -> Result<PathBuf, Failure> {
        let workspace = self.scratch.join(name);
        std::fs::create_dir_all(&workspace)?;
        init(&self.program, &workspace)?;
        Ok(workspace)
    }

    fn ledger(&self) -> PathBuf {
        self.scratch.join("ledger")
    }

    fn flyball(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--ledger").arg(self.ledger());
        command
    }

    fn governed(&self, workspace: &Path, script: &str) -> Command {
        governed(&self.program, &self.scratch, workspace, script)
    }
}

/// The section for docs/benchmarks.md.
pub(super) fn measure(flyball: Option<PathBuf>, rounds: usize) -> Result<String, Failure> {
    let scratch = std::env::temp_dir().join(format!("flyball-bench-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let program = find_flyball(flyball, &scratch)?;
    let table = table(&Place { scratch: scratch.clone(), program }, rounds);
    std::fs::remove_dir_all(scratch)?;
    table
}

fn table(place: &Place, rounds: usize) -> Result<String, Failure> {
    let mut out =
        format!("`cargo xtask bench sessions`, {}, medians of {rounds} rounds\n\n| | |\n|---|---|\n", super::machine());
    let mut row = |name: &str, value: &str| out.push_str(&format!("| {name} | {value} |\n"));
    let (bubblewrap, flyball) = starts(place, rounds)?;
    let ratio = flyball.as_secs_f64() / bubblewrap.as_secs_f64().max(1e-9);
    row("start to first instruction, bubblewrap", &milliseconds(bubblewrap));
    row("start to first instruction, flyball", &format!("{}, {ratio:.1} times", milliseconds(flyball)));
    let stopped = stops(place, rounds)?;
    row(&format!("`pause` of {BUSY} busy processes until none runs"), &milliseconds(stopped.pause));
    row(&format!("`kill` of {BUSY} busy processes, until the supervisor has said it"), &milliseconds(stopped.kill));
    row("the same until the run has ended and its record is closed", &milliseconds(stopped.end));
    let long = many_actions(place)?;
    row(&format!("the supervisor's memory after {} actions, at most", long.actions), &mebibytes(long.resident_bytes));
    row("record an action", &format!("{} bytes", long.ledger_bytes / long.actions.max(1)));
    let build = large_build(place)?;
    row(
        "record of a `cargo build` of 100 crates",
        &format!("{}, {} actions", mebibytes(build.ledger_bytes), build.actions),
    );
    Ok(out.trim_end().to_owned())
}

/// From before the command to the program's own clock.
fn starts(place: &Place, rounds: usize) -> Result<(Duration, Duration), Failure> {
    let workspace = place.fresh("start")?;
    let Some(bwrap) = exec::find("bwrap") else { return Err("bubblewrap is missing".into()) };
    let script = "date +%s%N";
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        one.push(first_instruction(bubblewrapped(&bwrap, &workspace, script))?);
        other.push(first_instruction(place.governed(&workspace, script))?);
    }
    Ok((median(one), median(other)))
}

fn first_instruction(mut command: Command) -> Result<Duration, Failure> {
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let told: u64 = text.trim().parse().map_err(|_| format!("`date` said `{}`", text.trim()))?;
    Ok(Duration::from_nanos(told).saturating_sub(begun))
}

struct Stops {
    pause: Duration,
    kill: Duration,
    end: Duration,
}

fn stops(place: &Place, rounds: usize) -> Result<Stops, Failure> {
    let (mut pauses, mut kills, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let workspace = place.fresh(&format!("stop{round}"))?;
        let script = format!("for i in $(seq {BUSY}); do while :; do :; done & done; echo ready; wait");
        let mut run = place.governed(&workspace, &script).stdout(Stdio::piped()).spawn()?;
        let mut first = [0; 5];
        std::io::Read::read_exact(run.stdout.as_mut().ok_or("no output")?, &mut first)?;
        // Let them all get going.
        std::thread::sleep(Duration::from_millis(300));
        pauses.push(took(place, "pause")?);
        took(place, "resume")?;
        std::thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        kills.push(took(place, "kill")?);
        run.wait()?;
        ends.push(begun.elapsed());
    }
    Ok(Stops { pause: median(pauses), kill: median(kills), end: median(ends) })
}

/// What the supervisor says an act took.
fn took(place: &Place, act: &str) -> Result<Duration, Failure> {
    let told = exec::read(place.flyball().args(["--json", act, "@", "--reason", "a bench"]))?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    Ok(Duration::from_micros(told.get("took_us").and_then(serde_json::Value::as_u64).unwrap_or_default()))
}

struct Long {
    actions: u64,
    resident_bytes: u64,
    ledger_bytes: u64,
}

fn many_actions(place: &Place) -> Result<Long, Failure> {
    let workspace = place.fresh("long")?;
    let script = format!("exec python3 -c \"for i in range({ACTIONS}): open('f%d' % (i % 500), 'w').close()\"");
    measured(place, &workspace, &script)
}

fn large_build(place: &Place) -> Result<Long, Failure> {
    let workspace = place.fresh("build")?;
    let prepare = r#"printf '[workspace]\nresolver = "3"\nmembers = ["c*"]\n' >Cargo.toml
        for c in $(seq 1 100); do mkdir -p c$c/src
            printf '[package]\nname = "c%s"\nversion = "0.1.0"\nedition = "2024"\n' $c >c$c/Cargo.toml
            printf 'pub fn f(x: u64) -> u64 { x + %s }\n' $c >c$c/src/lib.rs; done"#;
    exec::run(Command::new("sh").args(["-ec", prepare]).current_dir(&workspace))?;
    measured(place, &workspace, "cargo build -q --offline")
}

/// Runs a script governed, and reads what it took.
fn measured(place: &Place, workspace: &Path, script: &str) -> Result<Long, Failure> {
    let before = folder_bytes(&place.ledger())?;
    let mut run = place.flyball();
    run.args(["--json", "run", "--apply", "never", "--on-hold", "deny", "--workspace"]).arg(workspace);
    run.args(["--", "sh", "-ec", script]).current_dir(workspace).stdin(Stdio::null()).stderr(Stdio::null());
    let mut run = run.stdout(Stdio::piped()).spawn()?;
    let resident_bytes = peak(&mut run)?;
    let told: serde_json::Value = serde_json::from_slice(&run.wait_with_output()?.stdout)?;
    if told.get("exit").and_then(serde_json::Value::as_i64) != Some(0) {
        return Err(format!("the measured program failed: {told}").into());
    }
    let actions = told.get("actions").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let ledger_bytes = folder_bytes(&place.ledger())?.saturating_sub(before);
    Ok(Long { actions, resident_bytes, ledger_bytes })
}

/// The most memory that a process was seen to have, until it ends.
fn peak(run: &mut Child) -> Result<u64, Failure> {
    let (path, begun, mut most) = (format!("/proc/{}/status", run.id()), Instant::now(), 0);
    while run.try_wait()?.is_none() {
        if begun.elapsed() > PATIENCE {
            run.kill()?;
            return Err("a session took too long".into());
        }
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        most = most.max(kib.unwrap_or_default() * 1024);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(most)
}

fn folder_bytes(folder: &Path) -> Result<u64, Failure> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(0) };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        // The store itself, not the sessions' folders.
        if entry.file_name().to_string_lossy().starts_with("ledger.db") {
            bytes += entry.metadata()?.len();
        } else if entry.file_name() == "blobs" {
            for blob in std::fs::read_dir(entry.path())? {
                bytes += blob?.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
