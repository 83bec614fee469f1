//! Telling the caller why: on its standard error, where a model reads it in its tool's output.

use super::caller::descriptor_path;
use super::sys;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io::IoSlice;
use std::os::unix::fs::MetadataExt;

/// Five lines are far below it; a longer text is cut.
const TEXT_BYTES_MAX: usize = 2048;
/// Parents of parents that are looked at.
const GENERATIONS_MAX: usize = 256;

/// Writes a refusal to descriptor 2 of a process: never blocks, and what can't be told is only not told.
pub(super) fn tell(pid: i32, text: &str) {
    if let Ok(pidfd) = sys::pidfd_open(pid) {
        tell_held(&pidfd, text);
    }
}

/// The same to a process that is not waiting in a call: only if that number is still one of the tree's.
pub(super) fn tell_inside(root: BorrowedFd<'_>, pid: i32, text: &str) {
    // Held first: the number can't come to mean another process after it was found to be inside.
    let Ok(pidfd) = sys::pidfd_open(pid) else { return };
    let identity = |path: &str| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let Ok(ours) = sys::fstat(root) else { return };
    let inside = identity(&format!("/proc/{pid}/root")) == Some((ours.st_dev, ours.st_ino));
    // Without a root of its own there is no telling which processes are the tree's.
    if inside && identity("/") != Some((ours.st_dev, ours.st_ino)) {
        tell_held(&pidfd, text);
    }
}

/// The same where the tree has no root of its own: its processes are those that come down from its first.
pub(super) fn tell_below(first: i32, pid: i32, text: &str) {
    let Ok(pidfd) = sys::pidfd_open(pid) else { return };
    let parents = std::iter::successors(Some(pid), |pid| parent(*pid)).take(GENERATIONS_MAX);
    if parents.into_iter().any(|pid| pid == first) {
        tell_held(&pidfd, text);
    }
}

/// A process's parent (proc(5), stat field 4).
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the last one closes it.
    let after = stat.iter().rposition(|byte| *byte == b')').and_then(|at| stat.get(at + 1..))?;
    std::str::from_utf8(after).ok()?.split_whitespace().nth(1)?.parse().ok().filter(|parent| *parent > 0)
}

fn tell_held(pidfd: &OwnedFd, text: &str) {
    let mut bytes: Vec<u8> = text.bytes().take(TEXT_BYTES_MAX).collect();
    if bytes.last() != Some(&b'\n') {
        bytes.push(b'\n');
    }
    let Ok(file) = sys::pidfd_getfd(pidfd.as_fd(), 2) else { return };
    // One with `O_PATH` only names a file: it could be any of the machine's.
    let is_open = |flags: i32| flags & libc::O_PATH == 0 && flags & libc::O_ACCMODE != libc::O_RDONLY;
    if !sys::fcntl(file.as_fd(), libc::F_GETFL, 0).is_ok_and(is_open) {
        return;
    }
    let Ok(stat) = sys::fstat(file.as_fd()) else { return };
    let is_terminal = (136..144).contains(&libc::major(stat.st_rdev));
    let _ = match stat.st_mode & libc::S_IFMT {
        // Its offset is shared, so that the caller's own next line comes after this one.
        libc::S_IFREG => sys::write_some(file.as_fd(), &bytes),
        libc::S_IFSOCK => sys::send_some(file.as_fd(), &bytes),
        // An open file of its own, so that non-blocking is ours alone.
        libc::S_IFIFO | libc::S_IFCHR if is_terminal || stat.st_mode & libc::S_IFMT == libc::S_IFIFO => {
            let flags = libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
            match sys::openat(libc::AT_FDCWD, &descriptor_path(&file), flags, 0) {
                Ok(own) => sys::write_some(own.as_fd(), &bytes),
                // Somebody else made it and passed it on.
                Err(_) => write_now(file.as_fd(), &bytes),
            }
        }
        _ => Ok(()),
    };
}

/// Writes what goes without waiting, on a descriptor that may block.
fn write_now(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), sys::Errno> {
    // At the current position, as write(2) would.
    const HERE: u64 = u64::MAX;
    let done = rustix::io::pwritev2(file, &[IoSlice::new(bytes)], HERE, rustix::io::ReadWriteFlags::NOWAIT);
    done.map(drop).map_err(|errno| errno.raw_os_error())
}
