//! Making a path be what it was: through a mounted view while a session lives, in the upper layer once it has ended.

use super::node::{Open, hash, is_whiteout, kind};
use super::{Layers, Node, Result, WorkspaceError, beneath, beneath::err};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Makes a path of a mounted merged view be that node. `view` is a descriptor of the view's root directory. `content` is
/// asked only for a file; what it gives must have the node's digest, or nothing changes. What stands in the way is removed
/// with all that is in it; an existing directory keeps what is in it. The directory above must be there: set paths in order.
///
/// # Errors
/// The path does not stay within the view, content differs from its digest, the node is [`Node::Other`], or the
/// operating system refuses.
pub fn set<R: Read>(
    view: BorrowedFd<'_>,
    rel: &Path,
    node: &Node,
    content: impl FnOnce() -> std::io::Result<R>,
) -> Result<()> {
    check(rel)?;
    match node {
        Node::Absent => beneath::remove(view, rel).map_err(err("remove", rel)),
        Node::Other => Err(WorkspaceError::Kind(rel.to_owned())),
        Node::Directory { mode } => directory(view, rel, *mode).map_err(err("make", rel)),
        Node::File { .. } | Node::Symlink { .. } => {
            let (dir, name) = beneath::parent(view, rel).map_err(err("open the folder of", rel))?;
            let temp = build(dir.as_fd(), rel, node, content)?;
            let placed = clear_for(view, rel).and_then(|()| rustix::fs::renameat(&dir, &temp, &dir, &name));
            placed.map_err(|e| {
                // The cause is what counts; the temporary file is a leftover at worst.
                let _ = rustix::fs::unlinkat(&dir, &temp, AtFlags::empty());
                err("put in place", rel)(e)
            })
        }
    }
}

/// Makes a path of an ended session's merged view be that node, by changing its upper layer: whiteouts (which need no
/// privilege), opaque directories, and no entry at all where the lower layer already shows that node.
///
/// A directory that was whited out and is in the lower layer shows again with all that it has there; set what should not
/// be in it to [`Node::Absent`] afterwards. The session must not be mounted: overlayfs does not expect changes beneath it.
///
/// # Errors
/// As [`set`]; also when a part of the way is no directory of the merged view.
pub fn set_upper<R: Read>(
    layers: &Layers,
    rel: &Path,
    node: &Node,
    content: impl FnOnce() -> std::io::Result<R>,
) -> Result<()> {
    check(rel)?;
    let open = Open::new(layers)?;
    if open.base.is_some() {
        return set(open.upper.as_fd(), rel, node, content);
    }
    ancestors(&open, rel)?;
    let upper = open.upper.as_fd();
    let below = if open.shows_lower(rel)? { open.lower_node(rel)? } else { Node::Absent };
    let here = beneath::stat(upper, rel).map_err(err("look at", rel))?;
    let has_dir = here.is_some_and(|s| kind(&s) == FileType::Directory);
    if *node == below && !(has_dir && matches!(below, Node::Directory { .. })) {
        return beneath::remove(upper, rel).map_err(err("reveal", rel));
    }
    match (node, &below) {
        (Node::Absent, _) => {
            beneath::remove(upper, rel).map_err(err("remove", rel))?;
            whiteout(upper, rel).map_err(err("white out", rel))
        }
        // Merged with the lower one, or shown through nothing: never opaque.
        (Node::Directory { mode }, Node::Directory { .. }) => {
            if here.is_some_and(|s| is_whiteout(&s)) {
                beneath::remove(upper, rel).map_err(err("reveal", rel))?;
            }
            directory(upper, rel, *mode).map_err(err("make", rel))
        }
        (Node::Directory { mode }, Node::Absent) => {
            if here.is_some_and(|s| is_whiteout(&s)) {
                beneath::remove(upper, rel).map_err(err("replace", rel))?;
            }
            directory(upper, rel, *mode).map_err(err("make", rel))
        }
        (Node::Directory { mode }, _) => {
            directory(upper, rel, *mode).map_err(err("make", rel))?;
            let dir = beneath::dir(upper, rel).map_err(err("open", rel))?;
            rustix::fs::fsetxattr(dir, "user.overlay.opaque", b"y", XattrFlags::empty()).map_err(err("mark", rel))
        }
        _ => set(upper, rel, node, content),
    }
}

/// A path below a root, not the root itself.
fn check(rel: &Path) -> Result<()> {
    beneath::check(rel)?;
    if rel.as_os_str().is_empty() { Err(WorkspaceError::Outside(rel.to_owned())) } else { Ok(()) }
}

/// Gives the upper layer the directories above a path, as overlayfs does when it copies up.
fn ancestors(open: &Open, rel: &Path) -> Result<()> {
    let above = rel.parent().unwrap_or(Path::new(""));
    let mut dirs: Vec<&Path> = above.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
    dirs.reverse();
    for dir in dirs {
        match beneath::stat(open.upper.as_fd(), dir).map_err(err("look at", dir))? {
            Some(stat) if kind(&stat) == FileType::Directory => {}
            Some(_) => return Err(err("go into", dir)(Errno::NOTDIR)),
            None => {
                let stat = if open.shows_lower(dir)? {
                    beneath::stat(open.lower.as_fd(), dir).map_err(err("look at", dir))?
                } else {
                    None
                };
                let Some(stat) = stat.filter(|s| kind(s) == FileType::Directory) else {
                    return Err(err("go into", dir)(Errno::NOTDIR));
                };
                directory(open.upper.as_fd(), dir, stat.st_mode & 0o7777).map_err(err("make", dir))?;
                let made = beneath::dir(open.upper.as_fd(), dir).map_err(err("open", dir))?;
                own(made.as_fd(), stat.st_uid, stat.st_gid).map_err(err("give away", dir))?;
            }
        }
    }
    Ok(())
}

/// Owner and group, where they differ and we may.
pub(super) fn own(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> rustix::io::Result<()> {
    let now = rustix::fs::fstat(fd)?;
    if (now.st_uid, now.st_gid) == (uid, gid) || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    rustix::fs::fchown(fd, Some(rustix::process::Uid::from_raw(uid)), Some(rustix::process::Gid::from_raw(gid)))
}

fn whiteout(upper: BorrowedFd<'_>, rel: &Path) -> rustix::io::Result<()> {
    let (dir, name) = beneath::parent(upper, rel)?;
    rustix::fs::mknodat(&dir, &name, FileType::CharacterDevice, Mode::empty(), rustix::fs::makedev(0, 0))
}

/// A directory with that mode; one that is there stays, anything else is removed.
fn directory(root: BorrowedFd<'_>, rel: &Path, mode: u32) -> rustix::io::Result<()> {
    let (dir, name) = beneath::parent(root, rel)?;
    match rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if kind(&stat) == FileType::Directory => {}
        Ok(_) => {
            rustix::fs::unlinkat(&dir, &name, AtFlags::empty())?;
            rustix::fs::mkdirat(&dir, &name, Mode::from_raw_mode(0o700))?;
        }
        Err(Errno::NOENT) => rustix::fs::mkdirat(&dir, &name, Mode::from_raw_mode(0o700))?,
        Err(e) => return Err(e),
    }
    beneath::chmod(root, rel, mode)
}

/// Removes a directory that a rename could not replace.
fn clear_for(root: BorrowedFd<'_>, rel: &Path) -> rustix::io::Result<()> {
    match beneath::stat(root, rel)? {
        Some(stat) if kind(&stat) == FileType::Directory => beneath::remove(root, rel),
        _ => Ok(()),
    }
}

/// Makes the file or link under a name of its own in that directory, complete, and gives the name.
fn build<R: Read>(
    dir: BorrowedFd<'_>,
    rel: &Path,
    node: &Node,
    content: impl FnOnce() -> std::io::Result<R>,
) -> Result<OsString> {
    if let Node::Symlink { target } = node {
        let name = fresh(|name| rustix::fs::symlinkat(target, dir, name)).map_err(err("make", rel))?;
        return Ok(name.0);
    }
    let Node::File { digest, mode, .. } = node else { return Err(WorkspaceError::Kind(rel.to_owned())) };
    let mut from =
        content().map_err(|source| WorkspaceError::Io { doing: "get the content of", path: rel.into(), source })?;
    let (name, fd) = fresh(|name| create(dir, name)).map_err(err("make", rel))?;
    let filled = fill(File::from(fd), &mut from, rel, digest, *mode);
    if let Err(e) = filled {
        // The cause is what counts; the temporary file is a leftover at worst.
        let _ = rustix::fs::unlinkat(dir, &name, AtFlags::empty());
        return Err(e);
    }
    Ok(name)
}

/// A new file of ours alone.
pub(super) fn create(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
}

/// Writes content into a new file and checks that it is what was promised.
pub(super) fn fill(mut file: File, from: &mut dyn Read, rel: &Path, digest: &str, mode: u32) -> Result<File> {
    let mut failed: Option<std::io::Error> = None;
    let (found, _) = hash(from, &mut |chunk| {
        if failed.is_none() {
            failed = file.write_all(chunk).err();
        }
    })
    .map_err(err("read the content of", rel))?;
    if let Some(source) = failed {
        return Err(WorkspaceError::Io { doing: "write", path: rel.to_owned(), source });
    }
    if found != digest {
        return Err(WorkspaceError::Content { path: rel.to_owned(), expected: digest.to_owned(), found });
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(err("set the mode of", rel))?;
    Ok(file)
}

/// Tries names until one is free.
pub(super) fn fresh<T>(mut make: impl FnMut(&OsStr) -> rustix::io::Result<T>) -> rustix::io::Result<(OsString, T)> {
    for _ in 0..64 {
        let mut random = [0_u8; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let hex: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let name = OsString::from(format!(".flyball-tmp-{hex}"));
        match make(&name) {
            Ok(made) => return Ok((name, made)),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
    }
    Err(Errno::EXIST)
}

/// A rename that replaces nothing.
pub(super) fn move_to_free(from: (BorrowedFd<'_>, &OsStr), to: (BorrowedFd<'_>, &OsStr)) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        // A file system that does not know the flag.
        Err(Errno::INVAL) if !to.1.as_bytes().is_empty() => {
            match rustix::fs::statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => rustix::fs::renameat(from.0, from.1, to.0, to.1),
                Ok(_) => Err(Errno::EXIST),
                Err(e) => Err(e),
            }
        }
        other => other,
    }
}
