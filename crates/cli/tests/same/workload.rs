//! One workload: how its workspace is made, what runs in it, and what may differ.

use crate::inside::{self, Report};
use crate::tree::{Known, Tree, glob, now_ns};
use flyball_testkit::user::User;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Differences that a failure lists.
const TOLD_MAX: usize = 60;

/// A workload. Scripts run by `sh -eu` in the workspace, without a terminal and with PATH, HOME, TERM and LANG only.
#[derive(Clone)]
pub struct Workload {
    pub name: &'static str,
    /// Programs that it needs, as this user finds them.
    pub programs: &'static [&'static str],
    /// Why else it can't run here as this user, if so.
    pub needs: fn(User) -> Option<String>,
    /// Makes the workspace, plainly.
    pub prepare: &'static str,
    /// What is compared.
    pub run: &'static str,
    /// Keys that the charter gets beside those of `init`, by section: what no charter could know of the test.
    pub charter: fn(User) -> String,
    /// What is replaced in the rules of `init`, where the workload is what they ask about: nobody answers here.
    pub rules: &'static [(&'static str, &'static str)],
    pub known: &'static [Known],
    /// What `apply` does not take to the real tree by design, beside scratch places: globs.
    pub not_applied: &'static [Known],
    /// Runs only with `FLYBALL_SAME=all`.
    pub is_long: bool,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            name: "",
            programs: &[],
            needs: |_| None,
            prepare: ":",
            run: ":",
            charter: |_| String::new(),
            rules: &[],
            known: &[],
            not_applied: &[],
            is_long: false,
        }
    }
}

/// Why nothing can be governed on this machine, if so.
pub fn why_not() -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_flyball")).args(["doctor", "--json"]).output().unwrap();
    (!output.status.success()).then(|| format!("doctor says: {}", String::from_utf8_lossy(&output.stdout)))
}

/// The path at which this user finds a program, if so. Also as another user than the one that runs the tests.
fn find(user: User, program: &str) -> bool {
    let mut command = user.command("sh", Path::new("/tmp"));
    command.args(["-c", &format!("command -v {program}")]).current_dir("/").stdin(Stdio::null()).stderr(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

/// Where a run takes place.
struct Scene {
    scratch: tempfile::TempDir,
    user: User,
    flyball: PathBuf,
    inside: PathBuf,
}

impl Workload {
    pub fn why_not(&self, user: User) -> Option<String> {
        if self.is_long && std::env::var_os("FLYBALL_SAME").is_none_or(|value| value != "all") {
            return Some("long: runs with FLYBALL_SAME=all, as `cargo xtask same` does".to_owned());
        }
        let missing = self.programs.iter().find(|program| !find(user, program));
        let missing = missing.map(|program| format!("`{program}` is not installed for this user"));
        missing.or_else(|| (self.needs)(user))
    }

    pub fn compare(&self, user: User) {
        let scene = Scene::new(user);
        let script = scene.script(self.run);
        scene.prepare(self);
        let began_ns = now_ns(scene.scratch.path());
        let plain = scene.plain(&script);
        scene.start_over("plain");
        let (governed, applied) = if std::env::var_os("FLYBALL_SAME_PLAIN").is_some() {
            let second = scene.plain(&script);
            let tree = second.tree.clone();
            (second, tree)
        } else {
            scene.governed(&script)
        };
        let mut told = Vec::new();
        if plain.code != governed.code {
            told.push(format!("exit code: {}, governed {}", plain.code, governed.code));
        }
        if plain.stdout != governed.stdout {
            told.push(format!("standard output:\n--- plain\n{}\n--- governed\n{}", plain.stdout, governed.stdout));
        }
        let inside = plain.tree.differences(&governed.tree, self.known, began_ns);
        told.extend(inside.into_iter().map(|line| format!("inside: {line}")));
        let scratch = scene.scratch_places();
        let left: Vec<Known> = [self.known, self.not_applied].concat();
        let (expected, applied) = (without(&plain.tree, &scratch), without(&applied, &scratch));
        let outside = expected.differences(&applied, &left, began_ns);
        told.extend(outside.into_iter().map(|line| format!("applied: {line}")));
        if !told.is_empty() {
            let kept = scene.keep();
            let (count, told) = (told.len(), told[..told.len().min(TOLD_MAX)].join("\n"));
            panic!("{}: {count} differences ({}):\n{told}", self.name, kept.display());
        }
    }
}

/// The tree without what scratch patterns name: that stays with the session.
fn without(tree: &Tree, scratch: &[String]) -> Tree {
    let globs: Vec<_> = scratch.iter().map(|pattern| glob(pattern)).collect();
    let is_scratch = |name: &str| Path::new(name).ancestors().any(|path| globs.iter().any(|glob| glob.is_match(path)));
    Tree(
        tree.0
            .iter()
            .filter(|(name, _)| !is_scratch(name))
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect(),
    )
}

impl Scene {
    fn new(user: User) -> Self {
        let scratch = tempfile::Builder::new().prefix("flyball-same-").tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        for name in ["home", "work", "bin", "ledger"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        user.own(scratch.path()).unwrap();
        let inside = path("bin/same");
        let exe = std::env::current_exe().unwrap();
        // Not a link: making one changes the file under whoever runs it at the same moment.
        std::fs::copy(&exe, &inside).unwrap();
        let flyball = user.reach(Path::new(env!("CARGO_BIN_EXE_flyball")), scratch.path()).unwrap();
        Self { scratch, user, flyball, inside }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn work(&self) -> PathBuf {
        self.path("work")
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.user.command(program, &self.path("home"));
        command.current_dir(self.work()).stdin(Stdio::null());
        command
    }

    /// The script as a file where the session sees it.
    fn script(&self, text: &str) -> PathBuf {
        let path = self.path("bin/script");
        let toolchain = rust_toolchain(self.user).unwrap_or_default();
        std::fs::write(&path, text.replace("@TOOLCHAIN@", &toolchain)).unwrap();
        path
    }

    fn prepare(&self, workload: &Workload) {
        let mut command = self.command("sh");
        good(command.args(["-euc", workload.prepare]));
        good(self.command(&self.flyball).arg("init"));
        let more = (workload.charter)(self.user);
        if !more.is_empty() {
            let file = self.work().join(".flyball/charter.toml");
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, add(&text, &more)).unwrap();
        }
        for (old, new) in workload.rules {
            let file = self.work().join(".flyball/rules.cedar");
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains(old), "{old} is not in:\n{text}");
            std::fs::write(&file, text.replacen(old, new, 1)).unwrap();
        }
        self.copy("work", "template");
        self.copy("home", "home-template");
    }

    fn copy(&self, from: &str, to: &str) {
        good(Command::new("cp").arg("-a").arg(self.path(from)).arg(self.path(to)));
    }

    /// Puts workspace and home back to how they were.
    fn start_over(&self, keep_as: &str) {
        std::fs::rename(self.work(), self.path(keep_as)).unwrap();
        std::fs::remove_dir_all(self.path("home")).unwrap();
        self.copy("template", "work");
        self.copy("home-template", "home");
    }

    fn plain(&self, script: &Path) -> Report {
        let output = self.command(&self.inside).arg(inside::WORD).arg(script).output().unwrap();
        show(&output);
        inside::report(&output.stdout).unwrap_or_else(|| panic!("no report of the plain run: {output:?}"))
    }

    /// Governed, then applied: what the session saw, and what the real tree is afterwards.
    fn governed(&self, script: &Path) -> (Report, Tree) {
        let mut command = self.flyball(&["run", "--json", "--apply", "never", "--on-hold", "deny", "--"]);
        let output = command.arg(&self.inside).arg(inside::WORD).arg(script).output().unwrap();
        show(&output);
        let report = inside::report(&output.stdout);
        let report = report.unwrap_or_else(|| panic!("no report of the governed run: {output:?}"));
        let summary = summary(&output);
        for count in ["denied", "held"] {
            let kept = if summary[count] == 0 { PathBuf::new() } else { self.refused() };
            assert_eq!(summary[count], 0, "ordinary work met a rule: {summary}\n{}", kept.display());
        }
        good(&mut self.flyball(&["apply", "@"]));
        (report, Tree::read(&self.work()))
    }

    /// What was refused, in a file.
    fn refused(&self) -> PathBuf {
        let output = self.flyball(&["log", "@", "--json"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines {
            let entry: Value = serde_json::from_str(line).unwrap();
            let verdict = &entry["body"]["verdict"];
            if entry["kind"] == "ruling" && verdict != "allow" {
                let of = entry["body"]["of"].as_u64().unwrap();
                eprintln!("{line}");
                eprintln!("{}", lines.iter().find(|line| line.contains(&format!("\"seq\":{of},"))).unwrap_or(&""));
            }
        }
        self.path("ledger")
    }

    fn flyball(&self, words: &[&str]) -> Command {
        let mut command = self.command(&self.flyball);
        command.arg("--ledger").arg(self.path("ledger")).args(words);
        command
    }

    /// Scratch patterns of the charter.
    fn scratch_places(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.work().join(".flyball/charter.toml")).unwrap();
        let Some((_, list)) = text.split_once("scratch = [") else { return Vec::new() };
        let list = list.split(']').next().unwrap_or_default();
        list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// Leaves everything where it is, for whoever looks into a failure, if asked to.
    fn keep(self) -> PathBuf {
        if std::env::var_os("FLYBALL_SAME_KEEP").is_some() { self.scratch.keep() } else { PathBuf::from("removed") }
    }
}

/// Adds keys to sections that are there, and sections that are not.
fn add(text: &str, more: &str) -> String {
    let (section, keys) = more.split_once('\n').unwrap();
    match text.contains(&format!("{section}\n")) {
        true => text.replacen(&format!("{section}\n"), &format!("{section}\n{keys}\n"), 1),
        false => format!("{text}\n{more}\n"),
    }
}

fn good(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

fn show(output: &Output) {
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
}

fn summary(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rev().find(|line| line.starts_with('{') && line.contains("ended_by"));
    serde_json::from_str(last.unwrap_or_else(|| panic!("no summary in:\n{text}"))).unwrap()
}

/// Rust's toolchain where this user can read it: `rustup`'s own programs are proxies that want a home.
pub fn rust_toolchain(user: User) -> Result<String, String> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().map_err(|error| error.to_string())?;
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let runs = user.command(format!("{sysroot}/bin/cargo"), Path::new("/tmp")).arg("--version").output();
    match runs {
        Ok(output) if output.status.success() => Ok(sysroot),
        _ => Err(format!("the toolchain at `{sysroot}` is closed to this user")),
    }
}
