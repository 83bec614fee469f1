//! A governed repository and what tests ask of it.

use flyball_testkit::lack::Lack;
use flyball_testkit::repo::Repo;
use flyball_testkit::user::User;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// One case; run once for each kind of user.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// Why it can't run here, if so.
    pub needs: fn(User) -> Option<String>,
    pub run: fn(User),
}

pub fn nothing(_: User) -> Option<String> {
    None
}

/// Why nothing can be governed on this machine, if so.
pub fn why_not() -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_flyball")).args(["doctor", "--json"]).output().unwrap();
    (!output.status.success()).then(|| format!("doctor says: {}", String::from_utf8_lossy(&output.stdout)))
}

pub fn program(name: &'static str) -> Option<String> {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(name).exists());
    (!found).then(|| format!("`{name}` is not installed"))
}

thread_local! {
    /// Worlds that this thread makes are on a machine without user namespaces, and sessions there go on without.
    static APART: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs a case where there are no user namespaces.
pub fn apart(run: fn(User), user: User) {
    APART.set(true);
    run(user);
    APART.set(false);
}

/// A repository, a ledger, and the binary where this user can run it.
pub struct World {
    pub repo: Repo,
    pub user: User,
    pub binary: PathBuf,
    pub ledger: PathBuf,
    lack: Option<Lack>,
}

impl World {
    pub fn new(user: User) -> Self {
        let repo = Repo::new(user).unwrap();
        let binary = user.reach(Path::new(env!("CARGO_BIN_EXE_flyball")), repo.scratch()).unwrap();
        let ledger = repo.scratch().join("ledger");
        std::fs::create_dir(&ledger).unwrap();
        user.own(&ledger).unwrap();
        let apart = ["user-namespaces"];
        let lack = APART.get().then(|| Lack::new(&apart, &ledger, repo.scratch(), user).unwrap());
        Self { repo, user, binary, ledger, lack }
    }

    /// The same on a machine that lacks something; see [`Lack::new`] for what.
    pub fn lacking(user: User, names: &[&str]) -> Self {
        let mut world = Self::new(user);
        world.lack = Some(Lack::new(names, &world.ledger, world.repo.scratch(), user).unwrap());
        world
    }

    /// Writes the charter that `init` makes here, with some text added to `charter.toml` and some rules.
    pub fn init(&self, toml: &str, cedar: &str) {
        self.ok(&["init"]);
        let dir = self.repo.workspace().join(".flyball");
        let file = dir.join("charter.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, merge(&text, toml)).unwrap();
        std::fs::write(dir.join("more.cedar"), cedar).unwrap();
        self.user.own(&dir).unwrap();
    }

    /// Replaces text in a file of the charter; it must be there.
    pub fn edit(&self, file: &str, old: &str, new: &str) {
        let file = self.repo.workspace().join(".flyball").join(file);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{old} is not in:\n{text}");
        std::fs::write(&file, text.replacen(old, new, 1)).unwrap();
    }

    /// Rewrites a file of the charter.
    pub fn change(&self, file: &str, how: impl FnOnce(String) -> String) {
        let file = self.repo.workspace().join(".flyball").join(file);
        std::fs::write(&file, how(std::fs::read_to_string(&file).unwrap())).unwrap();
    }

    pub fn flyball(&self, words: &[&str]) -> Command {
        let mut command = match &self.lack {
            Some(lack) => lack.command(&self.binary, &self.repo.home()),
            None => self.user.command(&self.binary, &self.repo.home()),
        };
        command.arg("--ledger").arg(&self.ledger).current_dir(self.repo.workspace()).stdin(Stdio::null());
        match words {
            ["run", words @ ..] if APART.get() => {
                command.args(["run", "--accept-weaker", "namespaces"]).args(words);
            }
            words => _ = command.args(words),
        }
        command
    }

    pub fn front<'a>(&'a self, words: &'a [&'a str]) -> Vec<&'a OsStr> {
        let mut all = vec![self.binary.as_os_str(), OsStr::new("--ledger"), self.ledger.as_os_str()];
        all.extend(words.iter().map(OsStr::new));
        all
    }

    /// Runs it, which must go well; gives what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.flyball(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {:?}\n{text}\n{}", output.status, stderr(&output));
        text
    }

    /// Governs a shell script; gives the summary and all that was printed.
    pub fn run(&self, script: &str) -> (Value, Output) {
        let output = self.flyball(&["run", "--json", "--apply", "never", "--", "sh", "-c", script]).output().unwrap();
        (summary(&output), output)
    }

    /// The session's entries.
    pub fn log(&self) -> Vec<Value> {
        let text = self.ok(&["log", "@", "--json"]);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn verifies(&self) {
        let report: Value = serde_json::from_str(&self.ok(&["verify", "@", "--json"])).unwrap();
        assert_eq!(report["ok"], true, "{report}");
    }

    /// The record of a session, made again.
    pub fn replay(&self, session: &str) -> Value {
        let output = self.flyball(&["replay", session, "--level", "3", "--json"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", stderr(&output)))
    }

    /// Every ruling of every session is made again as it is on record.
    fn replays(&self) {
        let Ok(output) = self.flyball(&["ps", "--json"]).output() else { return };
        let sessions = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in sessions.lines() {
            let session: Value = serde_json::from_str(line).unwrap();
            if session["state"] == "ended" {
                let replayed = self.replay(session["id"].as_str().unwrap());
                assert!(replayed["difference"].is_null(), "{replayed:#}");
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.replays();
        }
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The last line of `run --json`.
pub fn summary(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rev().find(|line| line.starts_with('{') && line.contains("ended_by"));
    serde_json::from_str(last.unwrap_or_else(|| panic!("no summary in:\n{text}\n{}", stderr(output)))).unwrap()
}

/// Adds keys to sections that are there, and sections that are not. Enough for tests: `key = value` lines.
fn merge(text: &str, more: &str) -> String {
    let mut out = text.to_owned();
    let mut section = String::new();
    for line in more.lines().filter(|l| !l.trim().is_empty()) {
        if line.starts_with('[') {
            section = line.to_owned();
            if !out.contains(&format!("{line}\n")) {
                out.push_str(&format!("\n{line}\n"));
            }
        } else {
            out = out.replacen(&format!("{section}\n"), &format!("{section}\n{line}\n"), 1);
        }
    }
    out
}

/// The verdicts of every ruling on this verb.
pub fn verdicts<'a>(log: &'a [Value], verb: &str) -> Vec<(&'a Value, &'a str)> {
    let attempts = log.iter().filter(|e| e["kind"] == "attempt" && e["body"]["verb"] == verb);
    attempts
        .filter_map(|attempt| {
            let ruling = log.iter().find(|e| e["kind"] == "ruling" && e["body"]["of"] == attempt["seq"])?;
            Some((attempt, ruling["body"]["verdict"].as_str()?))
        })
        .collect()
}
