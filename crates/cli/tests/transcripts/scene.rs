//! A folder to run commands in, and their transcript.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Scene {
    _dir: tempfile::TempDir,
    pub root: PathBuf,
    text: String,
}

impl Scene {
    pub fn new() -> Self {
        // A name of digits: examples that the analysis makes up take a letter that no path of the session has.
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let name = format!("{}-{now}", std::process::id());
        let dir = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("repo")).unwrap();
        std::fs::create_dir(root.join("home")).unwrap();
        Self { _dir: dir, root, text: String::new() }
    }

    pub fn repo(&self) -> PathBuf {
        self.root.join("repo")
    }

    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.repo().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A charter of these rules, with the least that it needs.
    pub fn charter(&self, toml: &str, cedar: &str) {
        let head = "[charter]\nname = \"t\"\n\n[owners]\nteam = [\"user:ann\"]\n\n";
        self.write(".flyball/charter.toml", &format!("{head}{toml}"));
        self.write(".flyball/rules.cedar", cedar);
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
        command.args(words).current_dir(self.repo()).stdin(Stdio::null()).env_clear();
        command.env("HOME", self.root.join("home")).env("FLYBALL_HOME", self.ledger());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// Runs it and writes down what came of it.
    pub fn type_in(&mut self, words: &[&str]) -> &mut Self {
        let output = self.command(words).output().unwrap();
        let shown: Vec<String> =
            words.iter().map(|w| if w.contains(' ') { format!("'{w}'") } else { (*w).to_owned() }).collect();
        writeln!(self.text, "$ flyball {}", shown.join(" ")).unwrap();
        for (name, bytes) in [("", &output.stdout), ("! ", &output.stderr)] {
            for line in String::from_utf8_lossy(bytes).lines() {
                writeln!(self.text, "{}", format!("{name}{line}").trim_end()).unwrap();
            }
        }
        writeln!(self.text, "[exit {}]\n", output.status.code().unwrap()).unwrap();
        self
    }

    /// What is left of the transcript once names of this run are out of it.
    pub fn transcript(&self) -> String {
        self.text
            .replace(&*self.root.to_string_lossy(), "/TMP")
            .replace(&flyball_runtime::control::this_user(), "user:ME")
    }
}

/// Compares with the stored transcript.
#[macro_export]
macro_rules! assert_transcript {
    ($scene:expr) => {
        insta::with_settings!({
            filters => vec![
                (r"sha256:[0-9a-f]{64}", "sha256:DIGEST"),
                (r"sha256:[0-9a-f]{12}\b", "sha256:DIGEST"),
                // How many depends on how many entries went into one commit.
                (r"\d+ checkpoints", "N checkpoints"),
                (r#""checkpoints":\d+"#, "\"checkpoints\":N"),
                (r"flyball\.local/ledger/[0-9a-f]{8}\+[0-9a-f]{8}(\+[A-Za-z0-9+/=]+)?", "KEY"),
            ],
            omit_expression => true,
            prepend_module_to_snapshot => false,
        }, { insta::assert_snapshot!($scene.transcript()) });
    };
}

/// Why no program can be governed on this machine, if so.
pub fn why_not(scene: &Path) -> Option<String> {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_flyball"));
    let output = doctor.args(["doctor", "--json"]).env("FLYBALL_HOME", scene.join("probe")).output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
