//! A workspace, a ledger, the binary, and the commands on them.

use crate::processes;
use crate::tree::{self, Tree};
use crate::work::{self, Step};
use flyball_testkit::user::User;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The name of the session that a round is about: those of recoveries and of others beside have other names.
const WORK: &str = "work";

/// Why nothing can be governed on this machine, if so.
pub fn why_not() -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_flyball")).args(["doctor", "--json"]).output().unwrap();
    (!output.status.success()).then(|| format!("doctor says: {}", String::from_utf8_lossy(&output.stdout)))
}

pub struct World {
    folder: Option<tempfile::TempDir>,
    dir: PathBuf,
    pub user: User,
    binary: PathBuf,
}

/// A session that runs, or a command on one.
pub struct Running {
    pub child: Child,
    output: Receiver<String>,
    errors: Receiver<String>,
}

/// How one ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    pub fn new(user: User) -> Self {
        let folder = tempfile::Builder::new().prefix("flyball-crash-").tempdir().unwrap();
        let dir = folder.path().canonicalize().unwrap();
        std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        // A name of its own, so that its processes are told from others' that run the same program.
        let binary = dir.join("flyball-under-test");
        let named = std::env::var_os("FLYBALL_CRASH_BINARY").map(PathBuf::from);
        let built = &named.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_flyball")));
        if std::fs::hard_link(built, &binary).is_err() {
            // Not by this process: another thread's child would hold it open for writing while it is run.
            assert!(Command::new("cp").arg(built).arg(&binary).status().unwrap().success());
        }
        for name in ["home", "ledger", "work/src/deep", "work/docs", "work/grave"] {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
        for n in 0..5 {
            for place in ["", "src/", "src/deep/", "docs/"] {
                std::fs::write(dir.join(format!("work/{place}f{n}")), format!("original {place}{n}\n")).unwrap();
            }
        }
        for name in ["home", "ledger", "work"] {
            user.own(&dir.join(name)).unwrap();
        }
        let world = Self { folder: Some(folder), dir, user, binary };
        world.ok(&["init"]);
        let charter = world.workspace().join(".flyball/charter.toml");
        let mut text = std::fs::read_to_string(&charter).unwrap();
        text.push_str("\n[[consequence]]\naction = \"fs.write\"\nin = \"**/grave/*\"\nis = \"high\"\n");
        std::fs::write(&charter, text).unwrap();
        std::fs::create_dir_all(world.workspace().join(".github/workflows")).unwrap();
        user.own(&world.workspace()).unwrap();
        world
    }

    pub fn workspace(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// A place outside the workspace.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    pub fn ledger(&self) -> PathBuf {
        self.dir.join("ledger")
    }

    pub fn session(&self, id: &str) -> PathBuf {
        self.ledger().join("sessions").join(id)
    }

    /// Leaves all of it for whoever looks into a failure.
    pub fn keep(mut self) -> PathBuf {
        self.folder.take().map_or_else(|| self.dir.clone(), tempfile::TempDir::keep)
    }

    /// A word that no other process has.
    pub fn token(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        format!("token-{}-{}-", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    pub fn flyball(&self, words: &[&str]) -> Command {
        let mut command = self.user.command(&self.binary, &self.dir.join("home"));
        command.arg("--ledger").arg(self.ledger()).args(words).current_dir(self.workspace()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.flyball(words).output().unwrap()
    }

    /// Runs it, which must go well; gives what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {:?}\n{text}\n{told}", output.status);
        text
    }

    /// Starts it.
    pub fn start(&self, words: &[&str]) -> Running {
        let mut child = self.flyball(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = follow(child.stdout.take().unwrap());
        let errors = follow(child.stderr.take().unwrap());
        Running { child, output, errors }
    }

    /// Starts a session that runs these steps; nobody is asked anything.
    pub fn govern(&self, steps: &[Step], token: &str, tail: &str) -> Running {
        self.govern_with("deny", steps, token, tail)
    }

    /// The same, where people are asked.
    pub fn govern_asking(&self, steps: &[Step], token: &str, tail: &str) -> Running {
        self.govern_with("wait", steps, token, tail)
    }

    fn govern_with(&self, on_hold: &str, steps: &[Step], token: &str, tail: &str) -> Running {
        // In a file of the real tree: what is on a command line is judged when the shell is started.
        let file = self.workspace().join("run.sh");
        std::fs::write(&file, format!("{}{tail}\n", work::script(steps, token))).unwrap();
        self.user.own(&file).unwrap();
        let options = ["run", "--json", "--name", WORK, "--apply", "never", "--on-hold", on_hold];
        self.start(&[&options[..], &["--", "sh", "run.sh", token]].concat())
    }

    /// The tree that these steps leave where nobody governs them.
    pub fn plain(&self, steps: &[Step]) -> Tree {
        let copy = tempfile::Builder::new().prefix("plain-").tempdir_in(&self.dir).unwrap();
        let at = copy.path().join("work");
        let copied = Command::new("cp").arg("-a").arg(self.workspace()).arg(&at).status().unwrap();
        assert!(copied.success());
        std::fs::set_permissions(copy.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = self.user.command("sh", &self.dir.join("home"));
        let ran = command.arg("-c").arg(work::script(steps, "plain")).current_dir(&at).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        tree::read(&at)
    }

    /// The sessions of the ledger, the latest first; none where there is no ledger.
    pub fn sessions(&self) -> Vec<Value> {
        let output = self.run(&["ps", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn ids(&self) -> BTreeSet<String> {
        self.sessions().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
    }

    /// The one session that was not there before, if it came to be on record.
    pub fn new_session(&self, before: &BTreeSet<String>) -> Option<String> {
        let mut new = self.sessions().into_iter().filter(|s| !before.contains(s["id"].as_str().unwrap()));
        new.find(|s| s["name"] == WORK).map(|s| s["id"].as_str().unwrap().to_owned())
    }

    pub fn log(&self, session: &str) -> Vec<Value> {
        self.ok(&["log", session, "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn real(&self) -> Tree {
        tree::read(&self.workspace())
    }

    pub fn merged(&self, session: &str) -> Tree {
        tree::merged(&self.real(), &self.session(session).join("workspace/upper"))
    }

    /// Nothing that was started here runs any more.
    pub fn nothing_runs(&self, what: &str, token: &str) {
        processes::wait_gone(what, &processes::of_session(&self.binary, token, &[]));
    }
}

impl Running {
    /// Waits for a text on its standard output; `false` when it ended without.
    pub fn wait_for(&mut self, text: &str, seen: &mut String) -> bool {
        let begun = Instant::now();
        loop {
            match self.output.recv_timeout(Duration::from_millis(20)) {
                Ok(more) => seen.push_str(&more),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return seen.contains(text),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            }
            if seen.contains(text) {
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "waited for `{text}`, saw:\n{seen}");
        }
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                let mut told = String::new();
                told.extend(self.errors.try_iter());
                let _ = self.child.kill();
                panic!("{} does not end:\n{told}", self.child.id());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let all = |from: &Receiver<String>| {
            let mut text = String::new();
            // Whoever is still dying may hold the other end for a moment.
            while let Ok(more) = from.recv_timeout(PATIENCE) {
                text.push_str(&more);
            }
            text
        };
        Ended { status, stdout: all(&self.output), stderr: all(&self.errors) }
    }

    pub fn kill(&self) {
        processes::kill(self.child.id() as i32);
    }
}

/// Reads a stream as it comes.
fn follow(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (to, texts) = channel();
    std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buf) {
            if to.send(String::from_utf8_lossy(&buf[..n]).into_owned()).is_err() {
                return;
            }
        }
    });
    texts
}
