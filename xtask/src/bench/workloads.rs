//! Whole programs, as a user runs them: plain, under bubblewrap, on an overlay alone (what any sandbox costs that keeps changes
//! apart), and under `flyball run` with the charter of `flyball init`.
//!
//! Rounds are interleaved, so that what else the machine does falls on all alike; each run has a fresh copy of its
//! workspace, made outside the measured time. Each script checks its own result, so a refusal can't pass for speed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::{Failure, exec};

/// A program to measure: how its workspace is made once, and what runs in each copy of it.
struct Workload {
    name: &'static str,
    needs: &'static [&'static str],
    prepare: &'static str,
    run: &'static str,
}

const WORKLOADS: &[Workload] = &[
    Workload { name: "start: `true`", needs: &[], prepare: "mkdir -p .", run: "true" },
    Workload {
        name: "git: clone, 20 checkouts, 50 commits",
        needs: &["git"],
        prepare: r#"
            git init -q -b main source && cd source
            git config user.name bench && git config user.email bench@example.test
            for d in $(seq 1 20); do mkdir -p src/d$d
                for f in $(seq 1 20); do seq 1 40 >src/d$d/f$f.txt; done; done
            git add -A && git commit -q -m first
            for b in $(seq 1 20); do git checkout -q -b b$b main
                for d in $(seq 1 20); do echo $b >>src/d$d/f$b.txt; done
                git commit -q -a -m b$b; done
            git checkout -q main"#,
        run: r#"
            git clone -q source copy && cd copy
            git config user.name bench && git config user.email bench@example.test
            for b in $(seq 1 20); do git checkout -q b$b; done
            git checkout -q main
            for c in $(seq 1 50); do echo $c >>src/d1/f1.txt; git commit -q -a -m c$c; done
            test "$(git rev-list --count HEAD)" = 51"#,
    },
    Workload {
        name: "cargo build, 12 crates",
        needs: &["cargo"],
        prepare: r#"
            echo '[workspace]
            resolver = "3"
            members = ["c*"]' >Cargo.toml
            for c in $(seq 1 12); do mkdir -p c$c/src
                printf '[package]\nname = "c%s"\nversion = "0.1.0"\nedition = "2024"\n[dependencies]\n' $c >c$c/Cargo.toml
                if [ $c -gt 1 ]; then printf 'c%s = { path = "../c%s" }\n' $((c-1)) $((c-1)) >>c$c/Cargo.toml; fi
                for f in $(seq 1 40); do printf 'pub fn f%s(x: u64) -> String { let v: Vec<u64> = (0..x).map(|i| i * %s).collect(); format!("{:?}", v) }\n' $f $f; done >c$c/src/lib.rs
            done
            printf 'fn main() { println!("{}", c12::f1(3)); }\n' >c12/src/main.rs"#,
        run: r#"
            cargo build -q --offline
            test "$(target/debug/c12)" = "[0, 1, 2]""#,
    },
    Workload {
        name: "cargo build, 33 crates of a registry",
        needs: &["cargo"],
        prepare: r#"
            printf '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2024"\n[dependencies]\n' >Cargo.toml
            printf 'clap = { version = "=4.5.53", features = ["derive"] }\nregex = "=1.12.2"\n' >>Cargo.toml
            printf 'serde = { version = "=1.0.228", features = ["derive"] }\nserde_json = "=1.0.145"\n' >>Cargo.toml
            mkdir src
            echo 'fn main() { println!("{}", regex::Regex::new("a+").unwrap().is_match("baa")) }' >src/main.rs
            cargo fetch -q"#,
        run: r#"
            cargo build -q --offline
            test "$(target/debug/app)" = true"#,
    },
    Workload {
        name: "npm ci, 30 packages of 50 files",
        needs: &["npm", "node"],
        prepare: r#"
            printf '{"name":"bench","version":"1.0.0","private":true,"dependencies":{' >package.json
            for p in $(seq 1 30); do mkdir -p made/package
                printf '{"name":"p%s","version":"1.0.0"}' $p >made/package/package.json
                for f in $(seq 1 50); do seq 1 60 >made/package/f$f.js; done
                tar -C made -czf p$p.tgz package; rm -rf made
                if [ $p -gt 1 ]; then printf ',' >>package.json; fi
                printf '"p%s":"file:p%s.tgz"' $p $p >>package.json; done
            printf '}}' >>package.json
            npm install --package-lock-only --offline --no-audit --no-fund --loglevel=error"#,
        run: r#"
            npm ci --offline --no-audit --no-fund --loglevel=error >npm.log
            test -f node_modules/p30/f50.js"#,
    },
    Workload {
        name: "npm ci, 156 packages of a registry",
        needs: &["npm", "node"],
        prepare: r#"
            printf '{"name":"bench","version":"1.0.0","private":true,"dependencies":{' >package.json
            printf '"eslint":"9.39.1","express":"5.1.0","typescript":"5.9.3"}}' >>package.json
            npm install --package-lock-only --no-audit --no-fund --loglevel=error
            npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && rm -rf node_modules"#,
        run: r#"
            npm ci --offline --ignore-scripts --no-audit --no-fund --loglevel=error >npm.log
            test "$(node -p "require('typescript').version")" = 5.9.3"#,
    },
    Workload {
        name: "rg over 4,000 files, 5 patterns",
        needs: &["rg"],
        prepare: r#"
            for d in $(seq 1 80); do mkdir -p t/d$d
                for f in $(seq 1 50); do seq $f 400 >t/d$d/f$f.txt; done; done
            printf 'needle\n' >t/d40/f25.txt"#,
        run: r#"
            for p in needle n..dle '^nee' 'dle$' 'ne+dle'; do test "$(rg -l "$p" t)" = t/d40/f25.txt; done"#,
    },
    Workload {
        name: "rm -rf node_modules, 6,000 files",
        needs: &[],
        prepare: r#"
            echo '{"name":"bench","private":true}' >package.json
            for d in $(seq 1 120); do mkdir -p node_modules/d$d
                for f in $(seq 1 50); do echo $f >node_modules/d$d/f$f; done; done"#,
        run: r#"
            rm -rf node_modules
            test ! -e node_modules"#,
    },
];

/// Under what a workload runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Under {
    Nothing,
    Bubblewrap,
    Overlay,
    Flyball,
}

const ALL: [Under; 4] = [Under::Nothing, Under::Bubblewrap, Under::Overlay, Under::Flyball];

/// The folders and programs of one measurement.
struct Bench {
    scratch: PathBuf,
    flyball: Result<PathBuf, String>,
    bwrap: Option<PathBuf>,
}

/// Runs every workload that this machine has the programs for; gives the section for docs/benchmarks.md.
pub(super) fn measure(flyball: Option<PathBuf>, rounds: usize) -> Result<String, Failure> {
    let scratch = std::env::temp_dir().join(format!("flyball-bench-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let bench = Bench { flyball: find_flyball(flyball, &scratch), bwrap: exec::find("bwrap"), scratch };
    let table = bench.table(rounds);
    std::fs::remove_dir_all(&bench.scratch)?;
    table
}

/// The section that the table stands in: files cost several times as much on a disk as in memory, and so the same overhead is
/// another ratio there.
pub(super) fn heading() -> &'static str {
    if file_system() == "tmpfs" { "workloads-in-memory" } else { "workloads" }
}

/// What the folders of temporary files are on.
fn file_system() -> String {
    let told = exec::read(Command::new("stat").args(["-f", "-c", "%T"]).arg(std::env::temp_dir()));
    // `stat` has one name for what ext2 and its successors share.
    told.unwrap_or_default().trim().replace("ext2/ext3", "ext4")
}

/// The binary, made to govern `true` once so that a broken one is told and not measured.
pub(super) fn find_flyball(given: Option<PathBuf>, scratch: &Path) -> Result<PathBuf, String> {
    let program = match given {
        Some(program) => program,
        None => {
            exec::run(exec::cargo().args(["build", "--release", "--locked"])).map_err(|failure| failure.to_string())?;
            target_folder().join("release/flyball")
        }
    };
    let program = program.canonicalize().map_err(|error| format!("`{}`: {error}", program.display()))?;
    let workspace = scratch.join("probe");
    std::fs::create_dir_all(&workspace).map_err(|error| error.to_string())?;
    init(&program, &workspace)?;
    let probe = governed(&program, scratch, &workspace, "true").output().map_err(|error| error.to_string())?;
    if probe.status.success() { Ok(program) } else { Err(last_line(&probe)) }
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| exec::root().join("target"), PathBuf::from)
}

/// `flyball init`, outside the measured time.
pub(super) fn init(program: &Path, workspace: &Path) -> Result<(), String> {
    let output = Command::new(program).arg("init").arg(workspace).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(format!("init: {}", last_line(&output))) }
}

pub(super) fn governed(program: &Path, scratch: &Path, workspace: &Path, script: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("--ledger").arg(scratch.join("ledger"));
    command.args(["run", "--apply", "never", "--on-hold", "deny", "--workspace"]).arg(workspace);
    command.args(["--", "sh", "-ec", script]).current_dir(workspace).stdin(Stdio::null());
    command
}

impl Bench {
    fn table(&self, rounds: usize) -> Result<String, Failure> {
        let mut out = format!(
            "`{}cargo xtask bench workloads`, on {}, {}, medians of {rounds} interleaved rounds\n\n",
            if heading() == "workloads" { "" } else { "TMPDIR=/dev/shm " },
            file_system(),
            super::machine()
        );
        out.push_str(
            "| workload | plain | bubblewrap | overlay alone | flyball | flyball to plain | overlay to plain |\n",
        );
        out.push_str("|---|---|---|---|---|---|---|\n");
        let mut total = [Duration::ZERO; 4];
        for workload in WORKLOADS {
            let missing: Vec<&&str> = workload.needs.iter().filter(|program| !exec::has(program)).collect();
            if missing.is_empty() {
                eprintln!("bench: {}", workload.name);
                out.push_str(&self.row(workload, rounds, &mut total)?);
            } else {
                out.push_str(&format!("| {} | not run: {missing:?} missing | | | | | |\n", workload.name));
            }
        }
        let [plain, _, overlay, flyball] = total;
        if !plain.is_zero() {
            let [flyball, overlay] = [flyball, overlay].map(|time| time.as_secs_f64() / plain.as_secs_f64());
            let cells = total.map(|time| format!("{} ms", time.as_millis())).join(" | ");
            out.push_str(&format!("| all that ran on all four | {cells} | {flyball:.2} | {overlay:.2} |\n"));
        }
        if let Err(why) = &self.flyball {
            out.push_str(&format!("\nNot measured under Flyball: {why}\n"));
        }
        Ok(out.trim_end().to_owned())
    }

    /// One line of the table; what all four could do counts in the total.
    fn row(&self, workload: &Workload, rounds: usize, total: &mut [Duration; 4]) -> Result<String, Failure> {
        let template = self.scratch.join("template");
        std::fs::create_dir_all(&template)?;
        exec::run(Command::new("sh").args(["-ec", workload.prepare]).current_dir(&template))?;
        if let Ok(program) = &self.flyball {
            init(program, &template)?;
        }
        let mut taken: [Result<Vec<Duration>, String>; 4] = [const { Ok(Vec::new()) }; 4];
        for round in 0..rounds {
            // The order turns with the rounds: whoever comes first pays for cold caches.
            for offset in 0..ALL.len() {
                let index = (round + offset) % ALL.len();
                let (Some(under), Some(times)) = (ALL.get(index), taken.get_mut(index)) else { continue };
                let Ok(so_far) = times else { continue };
                match self.time(workload, *under, &template)? {
                    Ok(time) => so_far.push(time),
                    Err(why) => *times = Err(why),
                }
            }
        }
        std::fs::remove_dir_all(&template)?;
        let medians = taken.map(|times| times.map(median));
        if let [Ok(plain), Ok(bwrap), Ok(overlay), Ok(flyball)] = &medians {
            for (sum, time) in total.iter_mut().zip([plain, bwrap, overlay, flyball]) {
                *sum += *time;
            }
        }
        let [plain, _, overlay, flyball] = &medians;
        let ratio = |time: &Result<Duration, String>| match (plain, time) {
            (Ok(plain), Ok(time)) if !plain.is_zero() => format!("{:.2}", time.as_secs_f64() / plain.as_secs_f64()),
            _ => "-".to_owned(),
        };
        let (flyball, overlay) = (ratio(flyball), ratio(overlay));
        let cells = medians.map(|cell| cell.map_or_else(|why| why, |time| format!("{} ms", time.as_millis())));
        Ok(format!("| {} | {} | {flyball} | {overlay} |\n", workload.name, cells.join(" | ")))
    }

    /// One run in a fresh copy; the inner error is a cell of the table.
    fn time(&self, workload: &Workload, under: Under, template: &Path) -> Result<Result<Duration, String>, Failure> {
        let workspace = self.scratch.join("workspace");
        exec::run(Command::new("cp").arg("-a").arg(template).arg(&workspace))?;
        let command = match under {
            Under::Nothing => Ok(plain(&workspace, workload.run)),
            Under::Bubblewrap => match &self.bwrap {
                Some(program) => Ok(bubblewrapped(program, &workspace, workload.run)),
                None => Err("not here".to_owned()),
            },
            Under::Overlay => self.overlay(&workspace).map(|merged| plain(&merged, workload.run)),
            Under::Flyball => match &self.flyball {
                Ok(program) => Ok(governed(program, &self.scratch, &workspace, workload.run)),
                Err(_) => Err("not run".to_owned()),
            },
        };
        let taken = command.and_then(|mut command| {
            let start = Instant::now();
            let output = command.output().map_err(|error| error.to_string())?;
            let taken = start.elapsed();
            if output.status.success() { Ok(taken) } else { Err(format!("failed: {}", last_line(&output))) }
        });
        if under == Under::Overlay {
            // Where it could not be mounted there is nothing to take away.
            let _ = Command::new("umount").arg(self.scratch.join("merged")).stderr(Stdio::null()).status();
        }
        let made = ["upper", "work", "merged"].map(|name| self.scratch.join(name));
        exec::run(Command::new("rm").arg("-rf").arg(&workspace).args(made))?;
        Ok(taken)
    }

    /// An overlay over the workspace, as the sandbox mounts it; to mount one takes root.
    fn overlay(&self, workspace: &Path) -> Result<PathBuf, String> {
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| self.scratch.join(name));
        for folder in [&upper, &work, &merged] {
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={},userxattr,index=off",
            workspace.display(),
            upper.display(),
            work.display()
        );
        let mut command = Command::new("mount");
        command.args(["-t", "overlay", "overlay", "-o", &layers]).arg(&merged).stdin(Stdio::null());
        let output = command.output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(merged) } else { Err("not here".to_owned()) }
    }
}

fn plain(workspace: &Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(workspace).stdin(Stdio::null());
    // Flyball passes no such variable on: all build the same.
    command.env_remove("CARGO_INCREMENTAL");
    command
}

/// The usual way to run an agent in bubblewrap: all read-only but the workspace, no network.
pub(super) fn bubblewrapped(program: &Path, workspace: &Path, script: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/dev/shm"]);
    if let Some(home) = std::env::var_os("HOME") {
        command.arg("--bind").arg(&home).arg(&home);
    }
    command.arg("--bind").arg(workspace).arg(workspace).arg("--chdir").arg(workspace);
    command.args(["--unshare-all", "--die-with-parent", "sh", "-ec", script]).stdin(Stdio::null());
    command.env_remove("CARGO_INCREMENTAL");
    command
}

pub(super) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The end of what a failed command said, fit for a cell.
fn last_line(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    let line = told.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("said nothing");
    let line: String = line.chars().filter(|letter| *letter != '|').take(160).collect();
    format!("{} ({})", line.trim(), output.status)
}
