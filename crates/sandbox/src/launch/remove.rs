//! Removing a session's folder: an overlay leaves a closed folder in its work layer, and an agent may have closed its own.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Folders within folders that are opened up. Deeper ones are removed if they are open.
const DEPTH_MAX: usize = 512;

/// Removes a session's folder with its layers, closed folders in it included. Links are removed, not followed; the
/// session must have ended.
///
/// # Errors
/// What the system says of the first entry that stays.
pub fn remove_session_dir(path: &Path) -> io::Result<()> {
    open_up(path, DEPTH_MAX);
    fs::remove_dir_all(path)
}

fn open_up(path: &Path, depth: usize) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    if !meta.is_dir() || depth == 0 {
        return;
    }
    if meta.mode() & 0o700 != 0o700 {
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path(), depth - 1);
        }
    }
}
