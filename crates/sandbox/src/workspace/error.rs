//! What can go wrong with a workspace's layers, each with its code and what to do.

use super::{Node, escape};
use std::io;
use std::path::PathBuf;

/// A real path that is not what the session saw when it first touched it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// What the session saw.
    pub expected: Node,
    /// What is there now.
    pub found: Node,
}

/// Why a workspace could not be read, rewound or applied.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The operating system refused.
    #[error("can't {doing} `{}`: {source}", escape(.path))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what; relative to the workspace where it lies in one.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// The path is absolute, or has `..` in it.
    #[error("`{}` does not stay within the workspace", escape(.0))]
    Outside(PathBuf),
    /// The upper layer has something that the sandbox's mounts never make.
    #[error("`{}` in the session's layer carries `{what}`, which this version does not read", escape(.path))]
    Foreign {
        /// Where.
        path: PathBuf,
        /// The extended attribute.
        what: &'static str,
    },
    /// More changed than this is made for.
    #[error("more than {0} paths changed")]
    TooMany(usize),
    /// Content is not what it was said to be.
    #[error("the content for `{}` has the digest {found}, not {expected}", escape(.path))]
    Content {
        /// Where it was to go.
        path: PathBuf,
        /// What was promised.
        expected: String,
        /// What came.
        found: String,
    },
    /// Only files, directories and symbolic links can be made.
    #[error("`{}` is a device, FIFO or socket, which can't be put back", escape(.0))]
    Kind(PathBuf),
    /// The real tree changed since the session saw it. Nothing was applied.
    #[error("{} real path(s) changed since the session saw them, the first is `{}`", .0.len(), .0.first().map(|c| escape(&c.path)).unwrap_or_default())]
    Conflicts(Vec<Conflict>),
    /// The workspace changed while the plan was being applied; all was undone.
    #[error("could not {doing} `{}` while applying, and undid the rest: {source}", escape(.path))]
    Undone {
        /// The step.
        doing: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Undoing met something of somebody else's at these paths; what belongs there is kept.
    #[error("could not put back {} path(s), the first is `{}`; what belongs there is kept in `{}`", .paths.len(), .paths.first().map(|p| escape(p)).unwrap_or_default(), escape(.kept))]
    Stuck {
        /// The paths.
        paths: Vec<PathBuf>,
        /// The folder with the originals.
        kept: PathBuf,
    },
    /// The journal can't be read.
    #[error("the journal `{}` is damaged or of a newer version: {why}", escape(.path))]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another apply has not ended, or was cut off.
    #[error("the journal `{}` of an unfinished apply stands", escape(.0))]
    Unfinished(PathBuf),
    /// Neither all nor nothing: the rest is done by recovering the journal.
    #[error("cut off half-way, and what was done could not be undone yet: {why}; the journal `{}` knows the rest", escape(.journal))]
    Between {
        /// The journal.
        journal: PathBuf,
        /// What stood in the way.
        why: String,
    },
    /// The manifest of a copied workspace can't be read.
    #[error("the manifest `{}` of the session's copy is damaged or of a newer version: {why}", escape(.path))]
    Base {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A pattern for scratch places does not parse.
    #[error("`{pattern}` is no path pattern: {why}")]
    Pattern {
        /// What was written.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// A test cut the work off here, as a crash would.
    #[cfg(test)]
    #[error("stopped")]
    Stopped,
}

impl WorkspaceError {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            WorkspaceError::Io { .. } => "FB0280",
            WorkspaceError::Outside(_) => "FB0281",
            WorkspaceError::Foreign { .. } => "FB0282",
            WorkspaceError::TooMany(_) => "FB0283",
            WorkspaceError::Content { .. } => "FB0284",
            WorkspaceError::Kind(_) => "FB0285",
            WorkspaceError::Conflicts(_) => "FB0286",
            WorkspaceError::Undone { .. } => "FB0287",
            WorkspaceError::Stuck { .. } => "FB0288",
            WorkspaceError::Journal { .. } => "FB0289",
            WorkspaceError::Unfinished(_) => "FB0290",
            WorkspaceError::Pattern { .. } => "FB0291",
            WorkspaceError::Between { .. } => "FB0292",
            WorkspaceError::Base { .. } => "FB0293",
            #[cfg(test)]
            WorkspaceError::Stopped => "FB0299",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            WorkspaceError::Io { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => {
                "free space on that file system and try again; nothing was changed"
            }
            WorkspaceError::Io { .. } => "check that the path is there and yours, then try again",
            WorkspaceError::Outside(_) => "give a path relative to the workspace, without `..`",
            WorkspaceError::Foreign { .. } => "use the version of flyball that ran this session",
            WorkspaceError::TooMany(_) => "name build output and caches as scratch places in the charter",
            WorkspaceError::Content { .. } => "run `flyball verify` on the session: its record may be damaged",
            WorkspaceError::Kind(_) => "remove it inside the session, or leave the path out",
            WorkspaceError::Conflicts(_) => {
                "nothing was applied; put the real files back or take the session's by hand, then apply again"
            }
            WorkspaceError::Undone { .. } => "nothing was applied; mend the cause and apply again",
            WorkspaceError::Stuck { .. } => "move what is in the way aside, then run the command again",
            WorkspaceError::Journal { .. } => {
                "use the version that wrote it, or look into the folder that it names by hand"
            }
            WorkspaceError::Unfinished(_) => "recover it first; starting `flyball apply` again does so",
            WorkspaceError::Between { .. } => {
                "mend the cause (free space, most likely) and run the command again at once"
            }
            WorkspaceError::Pattern { .. } => "mend the pattern under `scratch` in the charter",
            WorkspaceError::Base { .. } => {
                "what the session did is in its record: `flyball diff` shows it, `flyball discard` removes the copy"
            }
            #[cfg(test)]
            WorkspaceError::Stopped => "",
        }
    }
}

/// The pages of `flyball explain` for these codes.
pub const PAGES: &[(&str, &str)] = &[
    (
        "FB0280",
        "The operating system refused an operation on a workspace or on the session's layer over it. The message has its \
         answer. Nothing is half done: content is written beside its place and renamed.",
    ),
    (
        "FB0281",
        "A path given for a workspace was absolute or had `..` in it. Every path is taken relative to the workspace's \
         root and never leaves it, not even through a symbolic link.",
    ),
    (
        "FB0282",
        "The session's upper layer carries an overlayfs attribute (a redirect or a metacopy) that the sandbox's mounts never \
         make. Reading the layer without understanding it could lose changes, so it is refused.",
    ),
    (
        "FB0283",
        "The session changed more paths than can be listed. Build output and package caches should be named as scratch \
         places in the charter's `[sandbox]` section; they are then recorded as one digest.",
    ),
    (
        "FB0284",
        "Content taken from the record or the session's layer does not have the digest that it was promised to have: it \
         changed while it was read, or the record is damaged. It was not put in place.",
    ),
    ("FB0285", "Devices, FIFOs and sockets are not content. They are neither rewound nor applied."),
    (
        "FB0286",
        "Before anything is applied, each real path that the session changed is compared with what the session saw when it \
         first touched it. These differ: somebody else changed them meanwhile. Nothing was applied.",
    ),
    (
        "FB0287",
        "A step of the apply failed (the real tree changed under it, or the file system refused). Everything done before \
         it was undone from the originals kept beside it. Nothing was applied.",
    ),
    (
        "FB0288",
        "While an apply was undone, something of somebody else's was found where an original belongs. It was left alone, and \
         the original is kept in the folder that the message names. Move what is in the way aside and run again.",
    ),
    ("FB0289", "The journal of an apply could not be read: it is damaged or was written by a newer version."),
    ("FB0290", "An apply was cut off, or is still running in another process. Its journal must be recovered first."),
    (
        "FB0292",
        "The file system refused both a step and the way back from the steps before it, so the tree is in between. Its journal \
         stands: running the command again, or any `flyball run`, undoes or completes it first. Nothing is lost meanwhile.",
    ),
    (
        "FB0293",
        "Where no overlay can be had, a session works in a copy of the workspace, and a manifest beside the copy says what was \
         copied. It can't be read, so what the session changed can't be told from what it found. Nothing is applied.",
    ),
    ("FB0291", "A pattern for scratch places could not be read. Patterns are globs: `target/**`, `**/__pycache__/**`."),
];
