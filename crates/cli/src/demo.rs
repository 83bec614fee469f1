//! `demo`: a governed run of a scripted agent on a sample repository, told step by step. Only the agent and the repository
//! are made up: sandbox, rulings, record and commands are those of every run.

use crate::failure::{Failure, Kind};
use crate::output::{Output, Style, visible, visible_lines};
use crate::place::Place;
use crate::{apply, control, run, verify, why, workspace};
use flyball_kernel::{Action, Verdict};
use flyball_ledger::Kind as EntryKind;
use flyball_runtime::control::{Request, send};
use flyball_runtime::read::History;
use flyball_runtime::{Home, Notice, RunError, RunOptions, Summary, Watcher};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The session's name, as the told commands use it.
const NAME: &str = "demo";

/// The question stands this long before it is answered, so that it can be read.
const READING_TIME: Duration = Duration::from_millis(1200);

/// Files of the sample repository: path, content, whether it is a program.
const FILES: &[(&str, &str, bool)] = &[
    ("agent.sh", include_str!("demo/agent.sh"), true),
    ("src/price.sh", include_str!("demo/price.sh"), false),
    ("test.sh", include_str!("demo/test.sh"), true),
    ("bin/kubectl", include_str!("demo/kubectl.sh"), true),
    ("deploy.yaml", "kind: Deployment\nname: shop\n", false),
    ("ci.yml", "run: ./test.sh\n", false),
    (".flyball/rules.cedar", include_str!("demo/rules.cedar"), false),
];

/// `flyball demo`.
pub fn demo(out: Output) -> Result<u8, Failure> {
    let stage = Stage::build(out)?;
    let told = stage.tell();
    let left = fs::remove_dir_all(&stage.dir);
    if let Err(e) = left {
        out.warn(&format!("could not remove {}: {e}", stage.dir.display()));
    }
    told?;
    out.line("");
    out.line(&format!("  {} was removed; nothing else was touched.", stage.dir.display()));
    out.line(&format!(
        "  Your turn:  {}   then   {}",
        out.paint(Style::Bold, "flyball init"),
        out.paint(Style::Bold, "flyball run -- YOUR-AGENT")
    ));
    Ok(0)
}

struct Stage {
    out: Output,
    dir: PathBuf,
    repository: PathBuf,
    place: Place,
    home: Home,
}

impl Stage {
    /// The sample repository, and a ledger of its own beside it.
    fn build(out: Output) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("flyball-demo-")
            .tempdir()
            .map_err(|e| cannot("make a temporary folder", &e))?;
        // The stage removes it at its end and says so; one that panicked or was killed is left to look at.
        let dir = dir.keep();
        let dir = dir.canonicalize().map_err(|e| cannot("enter the temporary folder", &e))?;
        let repository = dir.join("shop");
        for (name, text, is_program) in FILES {
            write(&repository.join(name), text, *is_program)?;
        }
        let owner = flyball_runtime::control::this_user();
        let charter = include_str!("demo/charter.toml").replace("@OWNER@", &visible(&owner).replace(['"', '\\'], ""));
        write(&repository.join(".flyball/charter.toml"), &charter, false)?;
        make_git(&repository);
        let ledger = dir.join("ledger");
        let home = Home::open(&ledger)?;
        Ok(Self { out, dir, repository, place: Place::new(Some(ledger)), home })
    }

    fn tell(&self) -> Result<(), Failure> {
        let out = self.out;
        out.line(&out.paint(Style::Bold, "flyball demo"));
        out.line("  A scripted agent works on a sample repository, under a charter. Agent and");
        out.line("  repository are made up; sandbox, rulings, record and commands are real.");
        out.line(&format!("  Everything is in {}.", self.dir.display()));

        self.title("1. The charter");
        out.line("  Two of its rules (Cedar), and the fact that the first one reads:");
        self.quote("charter.toml", &["tests_green"]);
        self.quote("rules.cedar", &["no-deploy-on-red", "ci-is-asked-about"]);

        self.title("2. The agent runs");
        self.command("flyball run --name demo -- ./agent.sh");
        let summary = self.run()?;
        let ledger = self.place.ledger()?;
        let history = History::read(&ledger, &summary.session)?;
        out.line(&format!(
            "  {} actions were decided before they took effect: {} denied, {} asked about.",
            summary.counts.actions, summary.counts.denied, summary.counts.held
        ));

        self.title("3. Why the first deploy was refused");
        let deploy = find(&history, |a, verdict| a.verb.name() == "deploy.apply" && verdict == "deny")
            .ok_or_else(|| Failure::internal("the demo's deploy was not refused"))?;
        self.command(&format!("flyball why {NAME} {deploy}"));
        why::why(out, &self.place, NAME, deploy)?;

        self.title("4. The agent deleted its own work: take the workspace back");
        let deletion =
            find(&history, |a, _| a.verb.name() == "fs.delete" && a.resource.str("path").ends_with("price.sh"))
                .ok_or_else(|| Failure::internal("the demo's deletion is not on record"))?;
        let before = deletion.saturating_sub(1);
        let last = history.last();
        self.command(&format!("flyball at {NAME} {last}"));
        workspace::at(out, &self.place, NAME, last, None)?;
        self.command(&format!("flyball rollback {NAME} {before}"));
        let act = crate::args::Act {
            session: crate::args::Session { session: NAME.to_owned() },
            reason: Some("the agent deleted its work".to_owned()),
        };
        control::rollback(out, &self.place, &act, before)?;
        let now = History::read(&ledger, &summary.session)?.last();
        self.command(&format!("flyball at {NAME} {now}"));
        workspace::at(out, &self.place, NAME, now, None)?;

        self.title("5. The real files are still as they were: take the changes");
        self.command(&format!("flyball apply {NAME}"));
        apply::apply(out, &self.place, &act)?;
        self.command("cat src/price.sh");
        let text = fs::read_to_string(self.repository.join("src/price.sh")).unwrap_or_default();
        out.line(visible_lines(&text).trim_end());

        self.title("6. The proof");
        self.command(&format!("flyball verify {NAME}"));
        verify::verify(out, &self.place, &crate::args::Verify { what: Some(NAME.to_owned()), ..Default::default() })
    }

    fn run(&self) -> Result<Summary, Failure> {
        let options = RunOptions {
            argv: vec!["./agent.sh".into()],
            charter: None,
            workspace: self.repository.clone(),
            cwd: Some(self.repository.clone()),
            name: Some(NAME.to_owned()),
            on_hold: flyball_runtime::OnHold::Wait,
            learn: false,
            accept_weaker: Vec::new(),
            allow_pty: false,
            hooks: true,
            needs_contracts: false,
            record: false,
            again: None,
            fork: None,
        };
        let teller = Teller { out: self.out, home: self.home.clone() };
        flyball_runtime::run(&self.home, &options, &teller).map_err(|error| {
            let is_start = matches!(error, RunError::Start(_));
            let failure = run::not_run(self.out, error);
            if is_start { failure.of(Kind::Weaker) } else { failure }
        })
    }

    fn title(&self, text: &str) {
        self.out.line("");
        self.out.line(&self.out.paint(Style::Bold, text));
    }

    fn command(&self, text: &str) {
        self.out.line(&format!("{} {}", self.out.paint(Style::Dim, "$"), self.out.paint(Style::Cyan, text)));
    }

    /// The paragraphs of a charter's file that name one of `wanted`.
    fn quote(&self, file: &str, wanted: &[&str]) {
        let text = fs::read_to_string(self.repository.join(".flyball").join(file)).unwrap_or_default();
        for paragraph in text.split("\n\n").filter(|p| wanted.iter().any(|w| p.contains(w))) {
            for line in paragraph.lines().filter(|l| !l.starts_with('#') && !l.starts_with("//")) {
                self.out.line(&format!("    {}", self.out.paint(Style::Dim, line)));
            }
        }
    }
}

/// Tells what happens in the run, and has the question answered by its owner.
struct Teller {
    out: Output,
    home: Home,
}

impl Watcher for Teller {
    fn notice(&self, notice: Notice) {
        let out = self.out;
        match notice {
            Notice::Asked(question) => {
                let what = flyball_runtime::refusal::say(&question.attempt);
                let Some((session, _)) = question.id.split_once('-') else { return };
                out.line(&format!(
                    "  {} {} is asked, and the agent waits:",
                    out.paint(Style::Yellow, "?"),
                    question.who.join(", ")
                ));
                out.line(&format!("    {}", visible(&what)));
                let (home, session, id) = (self.home.clone(), session.to_owned(), question.id.clone());
                // The demo stands in for the person at another terminal; the way of the answer is the real one.
                let answerer = std::thread::Builder::new().name("owner".into());
                let _ = answerer.spawn(move || {
                    std::thread::sleep(READING_TIME);
                    out.line(&format!(
                        "  {} another terminal, played by the demo as the owner:",
                        out.paint(Style::Yellow, "!")
                    ));
                    out.line(&format!(
                        "    {}",
                        out.paint(Style::Cyan, &format!("flyball answer {id} allow --reason \"fine, it is faster\""))
                    ));
                    let reason = "fine, it is faster".to_owned();
                    let request = Request::Answer {
                        id,
                        verdict: Verdict::Allow,
                        with: None,
                        reason,
                        signed: None,
                        only: Vec::new(),
                        set: None,
                    };
                    if let Err(error) = send(&home, &session, &request) {
                        out.warn(&format!("  the answer did not arrive: {error}"));
                    }
                });
            }
            Notice::Alert(text) => out.line(&format!("  {} {}", out.paint(Style::Red, "alert"), visible(&text))),
            Notice::Started { weaker, .. } if !weaker.is_empty() => {
                let names: Vec<&str> = weaker.into_iter().map(flyball_sandbox::weakness_name).collect();
                out.line(&format!("  without {}", names.join(", ")))
            }
            _ => {}
        }
    }
}

/// The first attempt that passes.
fn find(history: &History, passes: impl Fn(&Action, &str) -> bool) -> Option<u64> {
    let attempts = history.entries().iter().filter(|e| e.kind == EntryKind::Attempt);
    attempts
        .map(|e| (e.seq, serde_json::from_value::<Action>(e.body.clone())))
        .find_map(|(seq, action)| passes(&action.ok()?, history.verdict(seq).unwrap_or_default()).then_some(seq))
}

fn write(path: &Path, text: &str, is_program: bool) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text)).map_err(|e| cannot("write the sample repository", &e))?;
    let mode = if is_program { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| cannot("write the sample repository", &e))
}

/// A git repository where git is installed; the demo needs none.
fn make_git(dir: &Path) {
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "init.defaultBranch=main"]);
        let _ = command.args(args).current_dir(dir).output();
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "A shop"]);
}

fn cannot(what: &str, error: &std::io::Error) -> Failure {
    Failure::user("FB0512", format!("can't {what}: {error}")).hint("set `TMPDIR` to a folder that can be written")
}
