//! Why a sandbox could not be built: what, where, and what to do about it.

use crate::spec::Weakness;
use std::path::PathBuf;

/// Why a sandbox could not be built. Nothing was run, nothing of the user's was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// There is no such workspace.
    #[error("the workspace `{}` does not exist", path.display())]
    WorkspaceMissing {
        /// The workspace.
        path: PathBuf,
    },
    /// The workspace is a file.
    #[error("the workspace `{}` is not a directory", path.display())]
    WorkspaceNotDirectory {
        /// The workspace.
        path: PathBuf,
    },
    /// The workspace is closed to this user.
    #[error("the workspace `{}` cannot be read: {source}", path.display())]
    WorkspaceUnreadable {
        /// The workspace.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The workspace is so wide that the sandbox's own files would lie in it.
    #[error("the workspace `{}` contains the session's private folder `{}`", workspace.display(), session_dir.display())]
    SessionInsideWorkspace {
        /// The workspace.
        workspace: PathBuf,
        /// The session's folder.
        session_dir: PathBuf,
    },
    /// The working directory is elsewhere.
    #[error("the working directory `{}` is not inside the workspace `{}`", cwd.display(), workspace.display())]
    CwdOutsideWorkspace {
        /// The working directory.
        cwd: PathBuf,
        /// The workspace.
        workspace: PathBuf,
    },
    /// The session's folder can't be written.
    #[error("the session's folder `{}` cannot be written: {source}", path.display())]
    SessionDirUnwritable {
        /// The folder or the file in it.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The session's disk is full.
    #[error("no space is left for the session's folder `{}`", path.display())]
    SessionDirFull {
        /// The folder.
        path: PathBuf,
    },
    /// Another supervisor holds the session's folder, or another session the agent's kept home.
    #[error("`{}` is in use by another session", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A path or the program's name can't be handed to the launcher.
    #[error("`{what}` cannot be handed to the sandbox: {why}")]
    BadSpec {
        /// The path or field.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A standard stream is a socket that each send can address anew.
    #[error("{name} is a socket of {kind}, through which a program could reach whomever it names")]
    OpenStream {
        /// `standard input`, say.
        name: &'static str,
        /// Of which kind.
        kind: &'static str,
    },
    /// The program was not found inside.
    #[error("there is no program `{program}` inside the sandbox (looked in {looked_in})")]
    ProgramNotFound {
        /// As it was asked for.
        program: String,
        /// Directories that were searched, or the path itself.
        looked_in: String,
    },
    /// The program is there and can't be run.
    #[error("`{program}` cannot be run: {why}")]
    ProgramNotRunnable {
        /// Its path.
        program: String,
        /// What the system said.
        why: String,
    },
    /// This machine can't hold up a layer that was asked for.
    #[error("this machine cannot enforce {}: {found}", weakness_name(*weakness))]
    Weaker {
        /// The layer.
        weakness: Weakness,
        /// What was found.
        found: String,
    },
    /// A step of the set-up failed.
    #[error("the sandbox could not be built: {step}{}: {source}", place(path))]
    Setup {
        /// What was being done.
        step: String,
        /// To what, where that helps.
        path: Option<String>,
        /// What the system said.
        source: std::io::Error,
    },
    /// The launcher ended without a word.
    #[error("the sandbox's launcher ended before the program started ({how})")]
    LauncherDied {
        /// How it ended.
        how: String,
    },
    /// A bypass succeeded from inside.
    #[error("the sandbox does not hold: from inside it was possible to {what}")]
    SelfTest {
        /// What was possible.
        what: String,
    },
}

/// The codes of this module, each with its page for `flyball explain`.
pub const CODES: &[(&str, &str)] = &[
    (
        "FB0200",
        "The workspace does not exist.\n\nThe folder that the session should govern is not there. Name an existing folder, or start in one. Nothing was run.",
    ),
    (
        "FB0201",
        "The workspace is not a directory.\n\nA session governs a folder. Name the folder that holds the file. Nothing was run.",
    ),
    (
        "FB0202",
        "The workspace cannot be read.\n\nThe folder is closed to the user who runs flyball. Run as its owner, or open it (`chmod u+rx`). Nothing was run.",
    ),
    (
        "FB0203",
        "The session's folder cannot be written.\n\nA session keeps what the agent changes in a private folder of the ledger's. It is on a read-only file system or belongs to someone else. Choose another place for the ledger. Nothing was run, nothing of the workspace was touched.",
    ),
    (
        "FB0204",
        "No space is left for the session.\n\nThe disk of the session's folder is full. Free some space, discard old sessions, or keep the ledger on another disk. Nothing was run, nothing of the workspace was touched.",
    ),
    (
        "FB0205",
        "The session's folder lies inside the workspace.\n\nThe workspace is the lower layer of an overlay, and an overlay can't hold its own upper layer; and an agent must never see the record of its session. Choose a narrower workspace, or a place for the ledger outside it.",
    ),
    (
        "FB0206",
        "The program was not found inside the sandbox.\n\nInside, a session sees the system's programs, the dot folders of your home and the workspace, and nothing else. If the program is elsewhere, expose its folder in the charter, or give its path inside the workspace. The environment's PATH is the one that the charter passes.",
    ),
    ("FB0207", "The program cannot be run.\n\nIt is there, but is not executable, or is a directory. Check its mode."),
    (
        "FB0208",
        "The working directory is outside the workspace.\n\nStart inside the workspace or name one that holds the working directory.",
    ),
    (
        "FB0209",
        "Something in the session's description cannot be handed to the sandbox.\n\nPaths must be absolute and valid UTF-8, and arguments must hold no NUL byte.",
    ),
    (
        "FB0210",
        "This machine cannot enforce what the charter asks.\n\n`flyball doctor` says what is missing and how to mend it. `--accept-weaker NAME` starts without that layer; the weakness is recorded in the session's first entry and shown. Namespaces need an unmasked /proc and permission to `unshare` and `mount`; without them an ordinary user (not root) can accept a session in which Landlock and mediation stand alone, on Linux 6.12 or later. Without an overlay a session works in a copy of the workspace, which is announced and needs no acceptance unless the charter requires the overlay.",
    ),
    (
        "FB0211",
        "The sandbox could not be built.\n\nA step of the set-up was refused by the system. `flyball doctor` tries each of them and says what to do. Nothing was run, nothing of the workspace was touched.",
    ),
    (
        "FB0212",
        "The sandbox's launcher ended early.\n\nThe process that builds the sandbox ended before the program started, most often because memory ran out or someone killed it. Nothing was run.",
    ),
    (
        "FB0213",
        "The sandbox does not hold.\n\nBefore a program starts, the launcher tries each way round the boundary once, from inside, with the program's own confinement. One of them succeeded, so nothing was run. This is a fault of flyball or of the kernel: please report it with the output of `flyball doctor --json`.",
    ),
    (
        "FB0214",
        "A folder is in use by another session.\n\nTwo sessions cannot write the same layers: the kernel does not say what they would see. Wait until the other one has ended, or kill it. A home that is kept for the agent (`keep = \"agent\"`) is one such folder; `keep = \"session\"` gives each session its own.",
    ),
    (
        "FB0215",
        "A standard stream is a socket of datagrams.\n\nA program keeps the standard input, output and error that flyball was started with. Through a socket of datagrams (or a raw one) it could send to whomever it names, with each send anew, in the network of the machine and not in the session's: no rule would be asked. Connected streams, pipes, files and terminals are fine: `flyball run -- CMD < /dev/null 2>&1 | cat`. Nothing was run.",
    ),
];

impl LaunchError {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::WorkspaceMissing { .. } => "FB0200",
            Self::WorkspaceNotDirectory { .. } => "FB0201",
            Self::WorkspaceUnreadable { .. } => "FB0202",
            Self::SessionDirUnwritable { .. } => "FB0203",
            Self::SessionDirFull { .. } => "FB0204",
            Self::SessionInsideWorkspace { .. } => "FB0205",
            Self::ProgramNotFound { .. } => "FB0206",
            Self::ProgramNotRunnable { .. } => "FB0207",
            Self::CwdOutsideWorkspace { .. } => "FB0208",
            Self::BadSpec { .. } => "FB0209",
            Self::Weaker { .. } => "FB0210",
            Self::Setup { .. } => "FB0211",
            Self::LauncherDied { .. } => "FB0212",
            Self::SelfTest { .. } => "FB0213",
            Self::Busy { .. } => "FB0214",
            Self::OpenStream { .. } => "FB0215",
        }
    }

    /// What to do about it, in one sentence.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::WorkspaceMissing { .. } => "name a folder that exists".into(),
            Self::WorkspaceNotDirectory { .. } => "name the folder that holds it".into(),
            Self::WorkspaceUnreadable { .. } => "run as the folder's owner, or give this user `rx` on it".into(),
            Self::SessionInsideWorkspace { .. } => "choose a narrower workspace, or keep the ledger outside it".into(),
            Self::CwdOutsideWorkspace { .. } => "start inside the workspace".into(),
            Self::SessionDirUnwritable { .. } => "keep the ledger on a file system that this user can write to".into(),
            Self::SessionDirFull { .. } => "free some space or discard old sessions".into(),
            Self::Busy { .. } => {
                "wait until the other session has ended, or let the home be kept for the session only".into()
            }
            Self::OpenStream { .. } => "start flyball with a pipe, a file or a terminal in its place".into(),
            Self::BadSpec { .. } => "use absolute UTF-8 paths and arguments without NUL".into(),
            Self::ProgramNotFound { .. } => {
                "check the name and the PATH that the charter passes, or expose the program's folder in the charter"
                    .into()
            }
            Self::ProgramNotRunnable { .. } => "check that it is a file and executable (`chmod +x`)".into(),
            Self::Weaker { weakness: Weakness::Namespaces, .. } if super::can_stand_apart() => {
                "`flyball doctor` says how to get them, or accept it with `--accept-weaker namespaces`".into()
            }
            Self::Weaker { weakness: Weakness::Namespaces, .. } => {
                "`flyball doctor` says how to get them; only an ordinary user can have a session without, on Linux 6.12 or later".into()
            }
            Self::Weaker { weakness: Weakness::Mediation, .. } => {
                "use Linux 5.19 or later and let flyball call `seccomp` and `ptrace`; `flyball doctor` says which is missing, and nothing can stand in".into()
            }
            Self::Weaker { weakness, .. } => {
                format!("see `flyball doctor`, or accept it with `--accept-weaker {}`", weakness_name(*weakness))
            }
            Self::Setup { .. } | Self::LauncherDied { .. } => "see `flyball doctor`".into(),
            Self::SelfTest { .. } => "please report this with the output of `flyball doctor --json`".into(),
        }
    }

    /// The layer that was missing and not accepted, where that is what stopped the start (exit code 102).
    #[must_use]
    pub fn weakness(&self) -> Option<Weakness> {
        match self {
            Self::Weaker { weakness, .. } => Some(*weakness),
            _ => None,
        }
    }
}

/// A weakness as `--accept-weaker` takes it.
#[must_use]
pub fn weakness_name(weakness: Weakness) -> &'static str {
    match weakness {
        Weakness::Namespaces => "namespaces",
        Weakness::Overlay => "overlay",
        Weakness::Landlock => "landlock",
        Weakness::Mediation => "mediation",
        Weakness::Freezer => "freezer",
        Weakness::Limits => "limits",
        Weakness::ExitStatus => "exit-status",
    }
}

fn place(path: &Option<String>) -> String {
    path.as_ref().map(|path| format!(" (`{path}`)")).unwrap_or_default()
}
