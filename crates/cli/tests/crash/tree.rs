//! Trees as they are, by path: kind, mode and content, times left out.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What stands at each path.
pub type Tree = BTreeMap<PathBuf, String>;

/// A tree on the disk.
pub fn read(root: &Path) -> Tree {
    let mut out = Tree::new();
    walk(root, Path::new(""), &mut out);
    out
}

fn walk(root: &Path, rel: &Path, out: &mut Tree) {
    for entry in std::fs::read_dir(root.join(rel)).unwrap() {
        let path = rel.join(entry.unwrap().file_name());
        let meta = std::fs::symlink_metadata(root.join(&path)).unwrap();
        out.insert(path.clone(), node(&root.join(&path), &meta));
        if meta.is_dir() {
            walk(root, &path, out);
        }
    }
}

fn node(path: &Path, meta: &std::fs::Metadata) -> String {
    if meta.is_symlink() {
        format!("-> {}", std::fs::read_link(path).unwrap().display())
    } else if meta.is_dir() {
        format!("dir {:o}", meta.mode() & 0o7777)
    } else {
        let content = std::fs::read(path).unwrap();
        format!("file {:o} {}", meta.mode() & 0o7777, String::from_utf8_lossy(&content))
    }
}

/// What an overlay of this upper layer over that tree shows (overlayfs with `userxattr`), worked out independently of Flyball.
pub fn merged(lower: &Tree, upper: &Path) -> Tree {
    let mut out = lower.clone();
    lay(upper, Path::new(""), &mut out);
    out
}

fn lay(upper: &Path, rel: &Path, out: &mut Tree) {
    for entry in std::fs::read_dir(upper.join(rel)).unwrap() {
        let path = rel.join(entry.unwrap().file_name());
        let at = upper.join(&path);
        let meta = std::fs::symlink_metadata(&at).unwrap();
        let is_whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
        let mut mark = [0_u8; 8];
        let is_opaque = meta.is_dir()
            && rustix::fs::getxattr(&at, "user.overlay.opaque", &mut mark).is_ok_and(|n| mark[..n] == *b"y");
        let was_dir = out.get(&path).is_some_and(|n| n.starts_with("dir "));
        if is_whiteout || is_opaque || !(meta.is_dir() && was_dir) {
            out.retain(|p, _| !p.starts_with(&path));
        }
        if is_whiteout {
            continue;
        }
        out.insert(path.clone(), node(&at, &meta));
        if meta.is_dir() {
            lay(upper, &path, out);
        }
    }
}

/// Where two trees differ, for messages; empty when they do not.
pub fn difference(found: &Tree, wanted: &Tree) -> String {
    let mut lines = Vec::new();
    for path in found.keys().chain(wanted.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (a, b) = (found.get(path), wanted.get(path));
        if a != b {
            lines.push(format!("{}: found {a:?}, wanted {b:?}", path.display()));
        }
    }
    lines.join("\n")
}
