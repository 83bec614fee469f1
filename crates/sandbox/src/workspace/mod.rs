//! What a session changed in its overlay, putting it back, and taking it to the real tree.
//!
//! The user's tree is an overlay's lower layer and is written by [`apply`] alone. What a session changed lies in the upper
//! layer, in overlayfs's own form with `userxattr`: a whiteout is a character device 0:0, an opaque directory carries the
//! extended attribute `user.overlay.opaque` = `y`. Redirects and metacopies are refused ([`WorkspaceError::Foreign`]): the
//! sandbox never mounts with them.
//!
//! Entry points: [`changes`], [`digest`], [`node_at`], [`capture`] and [`read`] look; [`set`] rewinds a path of a mounted view,
//! [`set_upper`] one of an ended session; [`set_all`] and, for an ended session, a [`twin`] and its [`exchange`] take a whole
//! workspace back, all or nothing; [`apply`] takes changes to the real tree, all or nothing, and [`recover`] tidies
//! up after a crash within it.
//!
//! INVARIANT: no path below a layer or view is ever followed through a symbolic link or out of its root (`openat2` with
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`): an agent or another process may swap a link in at any time.
//!
//! Not here: mounting (`launch`), what a step's content was (the ledger's blobs), asking people. Extended attributes other than
//! overlayfs's own, ACLs and times other than a file's modification time are not carried.

mod apply;
mod beneath;
mod changes;
mod error;
mod journal;
mod node;
mod probe;
mod rewind;
#[cfg(test)]
mod tests;
mod text;
mod twin;
mod view;

pub use apply::{Applied, Plan, apply};
pub use changes::{CHANGES_MAX, Change, ChangeKind, Scratch, changes, digest};
pub use error::{Conflict, PAGES, WorkspaceError};
pub use journal::{Recovered, recover, remove_durably, write_durably};
pub use node::{Node, capture, node_at, read};
pub use probe::{has_writers, lower_file, lower_node, remove_tree};
pub use rewind::{set, set_upper};
pub use text::{escape, unescape};
pub use twin::{drop_twin, exchange, inode, twin};
pub use view::set_all;

use std::path::PathBuf;

/// The two layers of a workspace's overlay, by their host paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// The user's tree.
    pub lower: PathBuf,
    /// What the session changed; private to the supervisor.
    pub upper: PathBuf,
}

/// What the functions here give.
pub type Result<T> = std::result::Result<T, WorkspaceError>;
