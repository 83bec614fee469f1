//! What to build around a program.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;

/// What to build around a program before it starts. All paths are absolute and canonical on the host; inside they
/// stand at the same place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Program and arguments. The program is looked up in the inner `PATH` when it has no slash.
    pub argv: Vec<OsString>,
    /// The whole environment that the program gets.
    pub env: Vec<(OsString, OsString)>,
    /// Where it starts; below `workspace`.
    pub cwd: PathBuf,
    /// The supervisor's private folder for this session, on a file system that can be an overlay's upper layer. Below it:
    /// `workspace/{upper,work}`, `home/…`. Never visible inside, but for `inbox.jsonl` where it is there: [`crate::INBOX`].
    pub session_dir: PathBuf,
    /// The user's tree: the overlay's lower layer, never written by the sandbox.
    pub workspace: PathBuf,
    /// What an ended session left over `workspace` (its folder's `workspace/upper`): seen as part of the tree, and never written
    /// either.
    pub left: Option<PathBuf>,
    /// What lies beneath the overlay in the user's tree's place, where a session begins with another state of it.
    #[serde(default)]
    pub lower: Option<PathBuf>,
    /// The user's home. Its dot entries appear inside through overlays; the rest of it is not there, but for the way to
    /// `workspace`.
    pub home: PathBuf,
    /// Where the home's upper layers are kept for the agent's next session; `None` throws them away.
    pub home_keep: Option<PathBuf>,
    /// Paths that read as absent or unreadable inside (credentials), links resolved.
    pub hide: Vec<PathBuf>,
    /// Paths that are readable and never writable inside (the charter).
    pub protect: Vec<PathBuf>,
    /// Further host paths that are readable inside. What is no plain file may hold sockets of the host's.
    pub expose: Vec<PathBuf>,
    /// Folders of programs, readable inside: they hold nothing else.
    pub programs: Vec<PathBuf>,
    /// Resource limits.
    pub limits: Limits,
    /// What the program's standard streams are.
    pub terminal: Terminal,
    /// What the program can reach.
    pub network: Network,
    /// Whether opens for reading are mediated as well.
    pub mediate_reads: bool,
    /// Whether time and random bytes are the mediator's to give; where programs are loaded is then the same each time.
    #[serde(default)]
    pub gives: bool,
    /// The door for a harness's hooks. Nothing stands for it in a session without namespaces.
    pub hooks: Option<HooksDoor>,
    /// Layers that may be missing without refusing to start.
    pub accept_weaker: Vec<Weakness>,
}

impl Spec {
    /// What lies beneath the workspace's overlay.
    pub(crate) fn lower(&self) -> &std::path::Path {
        self.lower.as_deref().unwrap_or(&self.workspace)
    }
}

/// How the hooks of an agent's harness reach the supervisor: the session's folder holds [`crate::HOOKS_SOCKET_FILE`], which stands
/// inside at [`crate::HOOKS_SOCKET`], and [`crate::hooks_settings_file`] for each of the settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HooksDoor {
    /// The program that the hooks call, which stands inside at [`crate::HOOKS_PROGRAM`].
    pub program: PathBuf,
    /// Where the harness looks for its settings: those of the session's folder stand there, read-only.
    pub settings: Vec<PathBuf>,
}

/// Resource limits of the whole tree; `None` is no limit of ours.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads.
    pub pids_max: Option<u64>,
    /// Memory, bytes.
    pub memory_bytes_max: Option<u64>,
    /// CPU, percent of one core.
    pub cpu_percent_max: Option<u64>,
}

/// What the program's standard streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Terminal {
    /// The caller's own 0, 1 and 2, as they are.
    Inherit,
    /// A private pty of that size; the supervisor relays.
    Pty {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Nothing to read; output and errors go to [`crate::Running::output`], which somebody must read.
    Captured,
}

/// What the program can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Its own loopback only.
    Closed,
    /// TCP through the broker, each connection decided by name and port.
    Brokered,
    /// Decided as those, and answered by who serves connections ([`crate::Through`]): nothing is ever dialled.
    Answered,
}

/// A layer that a machine may lack (SANDBOX.md, "Fallbacks"). The names are what `--accept-weaker` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weakness {
    /// No user, mount, pid or network namespaces: Landlock and mediation stand alone. An ordinary user's only.
    Namespaces,
    /// No overlayfs: the workspace is a copy. As strong; what differs is the start's length and the space.
    Overlay,
    /// No Landlock, or an ABI below 4.
    Landlock,
    /// No seccomp user notification: nothing is mediated.
    Mediation,
    /// No freezer: pause stops processes by signal.
    Freezer,
    /// No cgroup controllers: limits are not enforced.
    Limits,
    /// The kernel does not tell how others' children ended: programs stay traced until they end. As strong.
    ExitStatus,
}

impl Weakness {
    /// What a session without that layer is, in words for its user.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Namespaces => {
                "Landlock and mediation stand alone. The program works in a copy at another path, with a home and a temporary folder of the session's; the network is closed, whatever the charter says; shared memory, message queues, datagram and abstract unix sockets are refused. It can tell that files it may not read are there, and lists the machine's processes with their arguments"
            }
            Self::Overlay => {
                "the session works in a copy of the workspace, made at its start; home folders too large to copy are read-only"
            }
            Self::Landlock => "nothing stands behind the mounts and the mediation",
            Self::Mediation => "nothing is decided",
            Self::Freezer => "pause stops processes by signal, which a process can notice",
            Self::Limits => "processes, memory or CPU time have no bound",
            Self::ExitStatus => {
                "the kernel does not tell how programs end, so they stay traced until they do, which slows their signals"
            }
        }
    }
}
