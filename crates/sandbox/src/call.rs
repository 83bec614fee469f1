//! A world-changing call of the governed program, as the mediator is asked about it.

use rustix::fd::BorrowedFd;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names one call from the question to its outcome. Never reused within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One call that waits for a decision.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name.
    pub ticket: Ticket,
    /// The calling thread group, as the supervisor's pid namespace numbers it.
    pub pid: i32,
    /// What is attempted.
    pub attempt: Attempt,
}

/// What kind of file a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Other,
}

/// A file's identity: what was ruled on must be what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size, bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i128,
}

/// A `#!` script, judged as interpreter plus script.
#[derive(Clone, Debug)]
pub struct Script {
    /// The script's path.
    pub path: PathBuf,
    /// The interpreter's path as the `#!` line names it.
    pub interpreter: PathBuf,
    /// The one argument that the line may carry.
    pub argument: Option<OsString>,
}

/// What is attempted. Every path is absolute and canonical as seen inside: all links but a final one that the call does
/// not follow are resolved, there is no `..`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Attempt {
    /// Run a program.
    Exec {
        /// The file that will run; for a script, the script.
        path: PathBuf,
        /// Its arguments, the zeroth included.
        argv: Vec<OsString>,
        /// The caller's working directory.
        cwd: PathBuf,
        /// What stands behind a `#!`.
        script: Option<Script>,
        /// Identity of `path`.
        file: FileId,
    },
    /// Open a file, by path.
    Open {
        /// The path.
        path: PathBuf,
        /// For writing.
        write: bool,
        /// Made if it is not there.
        create: bool,
        /// Emptied.
        truncate: bool,
        /// What is there now.
        existing: Option<FileKind>,
    },
    /// Make a directory, FIFO or socket file (device nodes are refused before anyone is asked).
    Make {
        /// The path.
        path: PathBuf,
        /// What is made.
        kind: FileKind,
    },
    /// Unlink or remove a directory.
    Remove {
        /// The path.
        path: PathBuf,
        /// What is there.
        kind: FileKind,
    },
    /// Rename; `to` is replaced, or exchanged with `from`.
    Rename {
        /// The old path.
        from: PathBuf,
        /// The new path.
        to: PathBuf,
        /// What `from` is.
        kind: FileKind,
        /// Whether something stands at `to`.
        replaces: bool,
        /// `RENAME_EXCHANGE`.
        exchange: bool,
        /// What lies below `from`, and goes with it.
        below: Below,
        /// What lies below `to`, and comes back by an exchange.
        back: Below,
    },
    /// A hard link.
    Link {
        /// The existing file.
        target: PathBuf,
        /// The new name.
        path: PathBuf,
    },
    /// A symbolic link.
    Symlink {
        /// What it says.
        target: OsString,
        /// The new name.
        path: PathBuf,
    },
    /// Truncate by path.
    Truncate {
        /// The path.
        path: PathBuf,
        /// The new length, bytes.
        bytes: u64,
    },
    /// Mode, owner, extended attribute or times, by path or descriptor.
    Metadata {
        /// The path.
        path: PathBuf,
        /// What changes.
        change: MetadataChange,
    },
    /// A TCP connection.
    Connect {
        /// Where to.
        address: SocketAddr,
        /// The name that the broker's DNS gave this address for, if it did.
        name: Option<String>,
    },
    /// A unix-domain socket connection or send, by path.
    ConnectUnix {
        /// The socket's path.
        path: PathBuf,
    },
    /// A listening or bound address other than an ephemeral one.
    Bind {
        /// The address.
        address: SocketAddr,
    },
    /// A unix socket made at a path.
    BindUnix {
        /// The socket's path.
        path: PathBuf,
    },
}

/// What lies below a name that moves: each path relative to it, what holds before what is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Below {
    /// All of it; nothing, where the name is no directory.
    Known(Vec<(PathBuf, FileKind)>),
    /// More than is looked at, deeper, or not to be read.
    Unknown,
}

/// What a [`Attempt::Metadata`] call changes.
#[derive(Clone, Debug)]
pub enum MetadataChange {
    /// Permission bits.
    Mode(u32),
    /// Owner and group; `None` leaves it.
    Owner(Option<u32>, Option<u32>),
    /// An extended attribute set or (`false`) removed.
    Xattr(OsString, bool),
    /// Access and modification times.
    Times,
}

/// A refusal: what the caller's call fails with and what it can read about it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// `EACCES`, `EPERM`, … as `libc` numbers it.
    pub errno: i32,
    /// Five lines at most; written to the caller's standard error where that is the session's own.
    pub text: String,
}

/// What is to be done with a call.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Perform it.
    Allow,
    /// Fail it.
    Deny(Refusal),
    /// Park it until [`crate::Running::answer`] names its ticket. The mediator hears of the asker's death by
    /// [`Mediator::withdrawn`].
    Hold,
    /// Of a held call: what it waited for is over, put it to the mediator again. Of any other: a denial.
    Again,
}

/// What came of a [`Mediator::lull`].
#[derive(Clone, Debug, Default)]
pub struct Lull {
    /// Texts for processes of the tree, each by its number, on their standard error. One that is gone is not told.
    pub tell: Vec<(i32, String)>,
    /// Whether something may come to be there to look at without another call.
    pub again: bool,
}

/// Who asks for time or random bytes: the same in each run of the same program, whatever numbers the kernel gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asker {
    /// The process, by the programs that were run up to it.
    pub process: u64,
    /// The thread, counted in it; 0 is the first one.
    pub thread: u32,
}

/// What became of an allowed call.
#[derive(Clone, Debug)]
pub enum Done {
    /// Performed; for an exec, the new image was verified.
    Ok,
    /// The operating system refused, with this errno.
    Failed(i32),
}

/// Takes connections that were allowed, in place of copying what goes over them.
pub trait Through: Send + Sync {
    /// Serves a connection to its end, on a thread of its own. Either stream may be shut down meanwhile: the session is over then.
    fn serve(&self, connection: Passing);

    /// Nobody answered at an allowed connection's other end, and it was closed.
    fn missed(&self, _address: SocketAddr, _name: Option<&str>) {}
}

/// A connection that was allowed, with both its ends.
#[derive(Debug)]
pub struct Passing {
    /// To the program.
    pub inside: TcpStream,
    /// To where it leads; `None` where nothing is dialled.
    pub outside: Option<TcpStream>,
    /// The address that the program connected to.
    pub address: SocketAddr,
    /// The name that the broker's DNS gave this address for, if it did.
    pub name: Option<String>,
}

/// Decides calls. Called from the one mediation thread, one call at a time: be quick, never block on people.
pub trait Mediator: Send {
    /// What is to be done with this call. A panic or a missing answer is a denial.
    fn decide(&mut self, call: &Call) -> Decision;

    /// The program is about to start; `root` is the root as it will see it, with the workspace at that path below it.
    fn started(&mut self, _root: BorrowedFd<'_>, _workspace: &Path) {}

    /// Who serves the connections that are allowed; `None` copies what goes over them. Asked once, before the program starts.
    fn through(&self) -> Option<Arc<dyn Through>> {
        None
    }

    /// Nobody asked anything for a moment: time to look at what was closed, or changed without a call, since then.
    fn lull(&mut self) -> Lull {
        Lull::default()
    }

    /// Time or random bytes, where these are asked for: what `fresh` gives, or what was given once. The kind is the call's number
    /// (from bit 40 on), the clock (8 bits), and of random bytes how many.
    fn given(&mut self, _asker: Asker, _kind: u64, fresh: &mut dyn FnMut() -> Vec<u8>) -> Vec<u8> {
        fresh()
    }

    /// In a run where these are asked for: somebody attempts what [`Mediator::decide`] hears next. Equal marks are equal calls.
    fn passed(&mut self, _asker: Asker, _mark: u64) {}

    /// What became of an allowed call.
    fn done(&mut self, ticket: Ticket, pid: i32, done: Done);

    /// A parked call's asker died or was interrupted; its ticket is dead.
    fn withdrawn(&mut self, ticket: Ticket);

    /// A process that had exec'ed ended, with its wait status, where that could be seen.
    fn exited(&mut self, pid: i32, status: Option<i32>);

    /// The boundary itself was attacked (another image ran than was ruled on, say): the tree is being killed.
    fn breached(&mut self, what: &str);
}
