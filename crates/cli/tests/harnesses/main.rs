//! Real harnesses with the hooks that `flyball hook install` writes, and no sandbox: Claude Code, Codex and Gemini CLI, unmodified,
//! each played by a script. What can't run here says why and counts as skipped.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod claude;
mod codex;
mod cursor;
mod gemini;

use flyball_testkit::model_endpoint::ModelEndpoint;
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Case {
    name: &'static str,
    needs: fn() -> Option<String>,
    run: fn(),
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for Case { name, needs, run } in
        [claude::cases(), codex::cases(), cursor::cases(), gemini::cases()].into_iter().flatten()
    {
        let skip = needs();
        if let Some(why) = &skip {
            eprintln!("skipped: {name}: {why}");
        }
        let trial = Trial::test(name, move || {
            run();
            Ok(())
        });
        trials.push(trial.with_ignored_flag(skip.is_some()));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// What no charter of `init` has, and each of these tests uses.
const RULE: &str = r#"
@id("no-forbidden-file") @owner("maintainer") @reason("Nobody writes that file.")
forbid (principal, action == Action::"fs.write", resource) when { resource.path like "*forbidden*" };
"#;

/// A repository with a charter and a remote, a home and a ledger.
struct World {
    scratch: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { scratch: tempfile::tempdir().unwrap() };
        for name in ["w", "home", "l"] {
            std::fs::create_dir(world.path(name)).unwrap();
        }
        world.git(&["init", "-q", "--bare", "-b", "main", "../remote"]);
        world.git(&["init", "-q", "-b", "main"]);
        world.git(&["remote", "add", "origin", "../remote"]);
        world.git(&["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "first"]);
        world.ok(&["init"]);
        std::fs::write(world.file(".flyball/more.cedar"), RULE).unwrap();
        world.ok(&["check"]);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().canonicalize().unwrap().join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path("w").join(name)
    }

    fn git(&self, words: &[&str]) -> String {
        let output = Command::new("git").args(words).current_dir(self.path("w")).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn flyball(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
        command
            .arg("--ledger")
            .arg(self.path("l"))
            .args(words)
            .current_dir(self.path("w"))
            .env("HOME", self.path("home"));
        command.env_remove("CODEX_HOME").env_remove("CLAUDE_CONFIG_DIR").stdin(Stdio::null()).output().unwrap()
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.flyball(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the agent in the repository, and meanwhile answers what is asked, if anything is to be.
    fn run(&self, mut command: Command, answers: bool) -> Output {
        command.current_dir(self.path("w")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let ended = std::thread::scope(|scope| {
            let waits = scope.spawn(move || child.wait_with_output().unwrap());
            let until = Instant::now() + Duration::from_secs(180);
            while answers && !waits.is_finished() {
                assert!(Instant::now() < until, "nothing was asked");
                let asked = String::from_utf8(self.flyball(&["asks", "--json"]).stdout).unwrap();
                if let Some(asked) = asked.lines().next() {
                    let asked: Value = serde_json::from_str(asked).unwrap();
                    self.ok(&["answer", asked["id"].as_str().unwrap(), "allow", "--reason", "it may"]);
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            waits.join().unwrap()
        });
        assert!(ended.status.success(), "{}\n{}", text(&ended.stdout), text(&ended.stderr));
        ended
    }

    /// The session's entries, once it is closed: the harness is gone by then, its session's end is the hook's to tell.
    fn closed(&self) -> Vec<Value> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let log = self.ok(&["log", "@", "--json"]);
            let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if log.last().is_some_and(|last| last["kind"] == "close") {
                self.ok(&["verify", "@"]);
                return log;
            }
            assert!(Instant::now() < until, "the session is not closed");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a script of four steps must have come to: a file made, two refused by a shell and by an edit, a push that was asked about.
    fn has_made_pushed_and_refused(&self, endpoint: &ModelEndpoint, told: &str) {
        assert_eq!(std::fs::read_to_string(self.file("made")).unwrap(), "ready\n", "{told}");
        for (turn, file) in [(1, "forbidden.sh"), (2, "forbidden.txt")] {
            assert!(!self.file(file).exists(), "{told}");
            assert!(endpoint.result_of(turn).contains("no-forbidden-file"), "{told}");
        }
        let pushed = self.git(&["ls-remote", "origin", "main"])[..40].to_owned() + "\n";
        assert_eq!(self.git(&["rev-parse", "main"]), pushed);
        let log = self.closed();
        assert_eq!(verdict(&log, "fs.write", "/made"), "allow");
        assert_eq!(verdict(&log, "fs.write", "/forbidden.txt"), "deny");
        assert_eq!(verdict(&log, "git.push", "main"), "hold");
    }

    /// A `kubectl` that says what it is called with, and a charter that brings replicas back within bounds; gives where it is.
    fn clamps(&self) -> String {
        let bin = self.path("w").join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::write(bin.join("kubectl"), "#!/bin/sh\necho \"$@\" >scaled\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(bin.join("kubectl"), mode).unwrap();
        let rules = self.file(".flyball/rules.cedar");
        self.edit(&rules, "Action::\"deploy\",", "Action::\"deploy.apply\",");
        let add = |name: &str, more: &str| {
            let file = self.file(".flyball").join(name);
            let text = std::fs::read_to_string(&file).unwrap() + more;
            std::fs::write(file, text).unwrap();
        };
        add("charter.toml", "\n[envelope.replicas]\nof = \"deploy.scale.replicas\"\nmax = 20\non_breach = \"clamp\"\n");
        let scales = "@id(\"scales\") @owner(\"maintainer\") @reason(\"Within bounds.\")\n\
                      permit (principal, action == Action::\"deploy.scale\", resource);\n";
        add("more.cedar", scales);
        self.ok(&["check"]);
        format!("{}/kubectl scale deployment/api --replicas=50", bin.display())
    }

    /// The command ran with the value that passes, and the record has both.
    fn has_scaled(&self, told: &str) {
        let scaled = std::fs::read_to_string(self.file("scaled")).unwrap_or_default();
        assert_eq!(scaled, "scale deployment/api --replicas=20\n", "{told}");
        let log = self.closed();
        assert_eq!(verdict(&log, "deploy.scale", "api"), "modify", "{told}");
        let form = log.iter().find(|e| e["body"]["hook"] == "form").unwrap();
        let has = |field: &str, value: &str| form["body"][field].as_str().is_some_and(|text| text.contains(value));
        assert!(has("asked", "--replicas=50") && has("given", "--replicas=20"), "{form}");
        assert!(!log.iter().any(|e| e["body"]["hook"] == "not-given"), "{told}");
        let of = form["cause"][0].clone();
        let scale = log.iter().find(|e| e["kind"] == "attempt" && e["body"]["verb"] == "deploy.scale").unwrap();
        assert_eq!(scale["body"]["attrs"]["replicas"], 50, "{scale}\n{of}");
        let outcome = log.iter().find(|e| e["kind"] == "outcome" && e["body"]["of"] == scale["seq"]).unwrap();
        assert!(outcome["body"].get("withdrawn").is_none(), "{outcome}");
        // Made again from the record, the same is ruled.
        let replayed = text(&self.flyball(&["replay", "@"]).stdout);
        let is_same = replayed.contains("rulings made again") && replayed.contains("the session had no sandbox");
        assert!(is_same && replayed.lines().count() == 2, "{replayed}");
    }

    /// The agent's model is on this machine: its name inside is one that may be called.
    fn reaches_this_machine(&self) {
        self.edit(&self.file(".flyball/rules.cedar"), "[\"localhost\",", "[\"host.internal\", \"localhost\",");
    }

    /// The same command in a sandbox, by the name that the harness's users call it by.
    fn governed(&self, name: &str, plain: &Command) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
        command.arg("--ledger").arg(self.path("l")).args(["run", "--apply", "never", "--on-hold", "deny", "--", name]);
        command.args(plain.get_args().skip(usize::from(plain.get_program() == "node"))).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.agents/bin").canonicalize().unwrap();
        command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        command
    }

    /// Puts another text in the place of one in a settings file.
    fn edit(&self, file: &Path, old: &str, new: &str) {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains(old), "{old} is not in {text}");
        std::fs::write(file, text.replace(old, new)).unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The ruling on the first attempt that these words are in.
fn verdict<'a>(log: &'a [Value], verb: &str, words: &str) -> &'a str {
    let attempt = log
        .iter()
        .find(|e| {
            e["kind"] == "attempt" && e["body"]["verb"] == verb && e["body"]["resource"].to_string().contains(words)
        })
        .unwrap_or_else(|| panic!("no {verb} of {words}"));
    let ruling = log.iter().find(|e| e["kind"] == "ruling" && e["body"]["of"] == attempt["seq"]).unwrap();
    ruling["body"]["verdict"].as_str().unwrap()
}

/// The chain of the first such attempt begins at a hook's entry of that event, whose call it is.
fn is_caused<'a>(log: &'a [Value], verb: &str, words: &str, event: &str, told: &str) -> Vec<&'a Value> {
    let entry = |seq: &Value| log.iter().find(|e| e["seq"] == *seq).unwrap();
    let is_it = |e: &&Value| {
        e["kind"] == "attempt" && e["body"]["verb"] == verb && e["body"]["resource"].to_string().contains(words)
    };
    let mut at = log.iter().find(is_it).unwrap_or_else(|| panic!("no {verb} of {words}: {told}"));
    let mut chain = vec![at];
    // A tool call stands before the exec that the shell runs under.
    while let Some(cause) = at["cause"].get(0).filter(|_| at["body"]["hook"] != event) {
        at = entry(cause);
        chain.push(at);
    }
    assert!(at["body"]["hook"] == event && at["body"]["tool_use_id"].is_string(), "{chain:#?}\n{told}");
    chain
}
