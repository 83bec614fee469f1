//! What a session changed in its overlay, putting it back, and taking it to the real tree.
//!
//! The user's tree is an overlay's lower layer and is written by [`apply`] alone. What a session changed lies in the upper
//! layer, in overlayfs's own form with `userxattr`: a whiteout is a character device 0:0, an opaque directory carries the
//! extended attribute `user.overlay.opaque` = `y`. Redirects and metacopies are refused ([`WorkspaceError::Foreign`]): the
//! sandbox never mounts with them.
//!
//! Where no overlay can be had ([`copy`]) the upper layer is a copy of the whole tree instead, and what the tree held when it
//! was copied is kept in a manifest. All functions here work on either form alike.
//!
//! Entry points: [`changes`], [`digest`], [`node_at`], [`capture`], [`read`] and, at many paths, [`Look`] look; [`set`] rewinds a path of a mounted view,
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
mod base;
mod beneath;
mod changes;
#[cfg(test)]
mod copy_tests;
mod error;
mod journal;
mod likeness;
mod look;
mod names;
mod node;
mod probe;
mod rewind;
#[cfg(test)]
mod tests;
mod text;
mod twin;
mod view;

pub use apply::{Applied, Plan, apply};
pub use base::{COPIED_MAX, along_with, base_node, copy, is_copy};
pub use changes::{CHANGES_MAX, Change, ChangeKind, Scratch, changes, digest};
pub use error::{Conflict, PAGES, WorkspaceError};
pub use journal::{Recovered, conclude, recover, remove_durably, write_durably};
pub use look::{Found, Look, What};
pub use node::{Node, capture, node_at, read};
pub use probe::{Stamp, lower_file, lower_node, remove_tree, stamp, stamps_tell};
pub use rewind::{set, set_upper};
pub use text::{escape, unescape};
pub use twin::{drop_twin, exchange, inode, twin};
pub use view::set_all;

use base::Base;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// The two layers of a workspace, by their host paths: of an overlay, or of a copy where there is a manifest beside it.
#[derive(Clone, Debug)]
pub struct Layers {
    /// The user's tree.
    pub lower: PathBuf,
    /// What the session changed, or the copy that it works in; private to the supervisor.
    pub upper: PathBuf,
    /// Read when it is first asked for, and only once the upper layer is there: from then on the form stands.
    base: OnceLock<Option<Arc<Base>>>,
}

impl Layers {
    /// Layers at these paths.
    #[must_use]
    pub fn new(lower: PathBuf, upper: PathBuf) -> Self {
        Self { lower, upper, base: OnceLock::new() }
    }

    /// What the tree held when it was copied; `None` for an overlay.
    fn base(&self) -> Result<Option<Arc<Base>>> {
        if let Some(known) = self.base.get() {
            return Ok(known.clone());
        }
        let found = Base::of(self)?.map(Arc::new);
        if found.is_none() && !self.upper.exists() {
            return Ok(None);
        }
        Ok(self.base.get_or_init(|| found).clone())
    }
}

/// What the functions here give.
pub type Result<T> = std::result::Result<T, WorkspaceError>;
