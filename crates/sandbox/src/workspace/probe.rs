//! Looks at one layer beneath the merged view.

use super::node::node_in;
use super::{Layers, Node, Result, beneath, beneath::err};
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What the user's own tree has now at a path, whether or not the session changed it. Reads a file's whole content.
///
/// # Errors
/// The path does not stay within, or the operating system refuses.
pub fn lower_node(layers: &Layers, rel: &Path) -> Result<Node> {
    beneath::check(rel)?;
    let root = beneath::root(&layers.lower)?;
    node_in(root.as_fd(), rel, &mut |_| {}).map_err(err("read", rel))
}

/// A regular file of the user's own tree, open for reading.
///
/// # Errors
/// There is none, the path does not stay within, or the operating system refuses.
pub fn lower_file(layers: &Layers, rel: &Path) -> Result<File> {
    beneath::check(rel)?;
    let root = beneath::root(&layers.lower)?;
    beneath::file(root.as_fd(), rel).map_err(err("read", rel))
}

/// Whether somebody may hold the session's copy of a file open for writing, or mapped shared: then what was read of it
/// can change without another mediated call. In doubt, yes.
///
/// The operating system grants a read lease on a file only while nobody has it open for writing.
#[must_use]
pub fn has_writers(layers: &Layers, rel: &Path) -> bool {
    let file = beneath::root(&layers.upper).and_then(|root| beneath::file(root.as_fd(), rel).map_err(err("open", rel)));
    let Ok(file) = file else { return false };
    // SAFETY: F_SETLEASE takes an open descriptor, which `file` keeps open, and a plain integer; it touches no memory.
    let leased = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } == 0;
    // Dropping the descriptor gives the lease back.
    !leased
}

/// Removes a tree of the supervisor's own, overlayfs's work folders (which have no permissions) included.
///
/// # Errors
/// What the operating system said.
pub fn remove_tree(place: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(place) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            open_up(place)?;
            fs::remove_dir_all(place)
        }
        other => other,
    }
}

fn open_up(dir: &Path) -> std::io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
