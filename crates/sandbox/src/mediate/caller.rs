//! The caller of one call: its arguments, copied once, and what `/proc` says of it. Nothing here is read twice.

use super::sys::{self, Errno};
use std::ffi::CString;
use std::io::Write as _;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `PATH_MAX`, the terminating NUL included.
pub(super) const PATH_BYTES_MAX: usize = 4096;
const PAGE_BYTES: u64 = 4096;

/// The thread that waits in one call.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) notify: BorrowedFd<'a>,
    pub(super) id: u64,
    pub(super) tid: i32,
}

/// What `/proc/TID/status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Thread group.
    pub(super) tgid: i32,
    /// Thread and thread group as its own pid namespace numbers them.
    pub(super) inner_tid: i32,
    pub(super) inner_tgid: i32,
    pub(super) umask: u32,
}

impl Caller<'_> {
    /// Whether it still waits: what was read by its number until now was then really its own.
    pub(super) fn is_waiting(&self) -> bool {
        sys::is_valid(self.notify, self.id)
    }

    /// Copies a path. EFAULT and ENAMETOOLONG as the kernel gives them.
    pub(super) fn path(&self, address: u64) -> Result<Vec<u8>, Errno> {
        let path = self.string(address, PATH_BYTES_MAX)?;
        path.ok_or(libc::ENAMETOOLONG)
    }

    /// Copies a string of less than `bytes_max` bytes; `None` if it is longer.
    pub(super) fn string(&self, address: u64, bytes_max: usize) -> Result<Option<Vec<u8>>, Errno> {
        let mut out = Vec::new();
        let mut buffer = [0u8; PAGE_BYTES as usize];
        while out.len() < bytes_max {
            let at = address.wrapping_add(out.len() as u64);
            let wanted = ((PAGE_BYTES - at % PAGE_BYTES) as usize).min(bytes_max - out.len());
            // Most strings are short: a first small read saves copying a page.
            let wanted = if out.is_empty() { wanted.min(256) } else { wanted };
            let Some(into) = buffer.get_mut(..wanted) else { return Err(libc::EFAULT) };
            let got = sys::read_memory(self.tid, at, into).map_err(|_| libc::EFAULT)?;
            let read = into.get(..got).unwrap_or_default();
            if read.is_empty() {
                return Err(libc::EFAULT);
            }
            if let Some(end) = read.iter().position(|byte| *byte == 0) {
                out.extend_from_slice(read.get(..end).unwrap_or_default());
                return Ok(Some(out));
            }
            out.extend_from_slice(read);
        }
        Ok(None)
    }

    /// Copies exactly `N` bytes.
    pub(super) fn bytes<const N: usize>(&self, address: u64) -> Result<[u8; N], Errno> {
        let mut out = [0; N];
        match sys::read_memory(self.tid, address, &mut out) {
            Ok(read) if read == N => Ok(out),
            _ => Err(libc::EFAULT),
        }
    }

    /// Copies `length` bytes; the caller of this function bounds it.
    pub(super) fn block(&self, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut out = vec![0; length];
        if length > 0 && sys::read_memory(self.tid, address, &mut out) != Ok(length) {
            return Err(libc::EFAULT);
        }
        Ok(out)
    }

    /// Its directory of `/proc`.
    pub(super) fn directory(&self) -> Result<OwnedFd, Errno> {
        sys::openat(libc::AT_FDCWD, &self.proc(format_args!("")), libc::O_PATH | libc::O_DIRECTORY, 0)
    }

    /// A handle on the file behind one of its descriptors.
    pub(super) fn descriptor(&self, fd: i32) -> Result<OwnedFd, Errno> {
        let path =
            if fd == libc::AT_FDCWD { self.proc(format_args!("cwd")) } else { self.proc(format_args!("fd/{fd}")) };
        sys::openat(libc::AT_FDCWD, &path, libc::O_PATH, 0)
            .map_err(|errno| if errno == libc::ENOENT { libc::EBADF } else { errno })
    }

    /// A second descriptor of one of its open files (a socket's, say, which `/proc` does not open).
    pub(super) fn duplicate(&self, fd: i32) -> Result<OwnedFd, Errno> {
        // Of the thread itself: its descriptors need not be its group's.
        let pidfd = sys::pidfd_open_thread(self.tid)?;
        sys::pidfd_getfd(rustix::fd::AsFd::as_fd(&pidfd), fd)
    }

    /// Reads its status.
    pub(super) fn status(&self) -> Result<Status, Errno> {
        let file = sys::openat(libc::AT_FDCWD, &self.proc(format_args!("status")), libc::O_RDONLY, 0)?;
        let mut buffer = [0; 2048];
        let read = sys::pread(rustix::fd::AsFd::as_fd(&file), &mut buffer)?;
        parse_status(buffer.get(..read).unwrap_or_default()).ok_or(libc::ESRCH)
    }

    /// What it calls itself, a line feed at the end. No verdict may rest on it.
    pub(super) fn name(&self) -> Result<Vec<u8>, Errno> {
        let file = sys::openat(libc::AT_FDCWD, &self.proc(format_args!("comm")), libc::O_RDONLY, 0)?;
        let mut buffer = [0; 64];
        let read = sys::pread(rustix::fd::AsFd::as_fd(&file), &mut buffer)?;
        Ok(buffer.get(..read).unwrap_or_default().to_vec())
    }

    /// Signals that wait for it and that it does not block, one bit each from signal 1.
    pub(super) fn pending_signals(&self) -> Result<u64, Errno> {
        let file = sys::openat(libc::AT_FDCWD, &self.proc(format_args!("status")), libc::O_RDONLY, 0)?;
        let mut buffer = [0; 4096];
        let read = sys::pread(rustix::fd::AsFd::as_fd(&file), &mut buffer)?;
        let text = std::str::from_utf8(buffer.get(..read).unwrap_or_default()).unwrap_or_default();
        let set = |label: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(label));
            line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
        };
        Ok((set("SigPnd:") | set("ShdPnd:")) & !set("SigBlk:"))
    }

    /// The device number of its controlling terminal; 0 for none.
    pub(super) fn terminal(&self) -> Result<u64, Errno> {
        let file = sys::openat(libc::AT_FDCWD, &self.proc(format_args!("stat")), libc::O_RDONLY, 0)?;
        let mut buffer = [0; 1024];
        let read = sys::pread(rustix::fd::AsFd::as_fd(&file), &mut buffer)?;
        let text = buffer.get(..read).unwrap_or_default();
        // The name in parentheses may hold anything; the last one closes it. Then: state ppid pgrp session tty_nr.
        let after = text.iter().rposition(|byte| *byte == b')').and_then(|at| text.get(at + 1..)).ok_or(libc::ESRCH)?;
        let field = after.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).nth(4);
        field.and_then(number).map(|nr| nr as u64).ok_or(libc::ESRCH)
    }

    fn proc(&self, rest: std::fmt::Arguments<'_>) -> CString {
        let mut path = Vec::with_capacity(40);
        // Writing to a vector does not fail, and neither numbers nor literals hold a NUL.
        let _ = write!(path, "/proc/{}/{rest}", self.tid);
        CString::new(path).unwrap_or_default()
    }
}

/// Major and minor of a terminal's number in `/proc/PID/stat` (proc(5), field 7).
pub(super) fn terminal_device(number: u64) -> (u64, u64) {
    ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00))
}

/// The path of the directory that relative paths of a thread start at, as the kernel prints it; by the thread's directory of
/// `/proc`.
pub(super) fn base_in(directory: BorrowedFd<'_>, dirfd: i32) -> Result<Vec<u8>, Errno> {
    let mut buffer = [0; PATH_BYTES_MAX];
    let text = if dirfd == libc::AT_FDCWD {
        sys::readlink(directory.as_raw_fd(), c"cwd", &mut buffer)?
    } else {
        let link = CString::new(format!("fd/{dirfd}")).map_err(|_| libc::EBADF)?;
        sys::readlink(directory.as_raw_fd(), &link, &mut buffer)
            .map_err(|errno| if errno == libc::ENOENT { libc::EBADF } else { errno })?
    };
    // Pipes, sockets and the like print as `pipe:[1]`.
    if text.first() == Some(&b'/') { Ok(text.to_vec()) } else { Err(libc::ENOTDIR) }
}

/// The name of one of our own descriptors below [`own_descriptors`].
pub(super) fn descriptor_name(fd: &OwnedFd) -> CString {
    CString::new(fd.as_raw_fd().to_string()).unwrap_or_default()
}

/// A path that reaches the file of one of our own descriptors. By thread: the process's first thread may be gone.
pub(super) fn descriptor_path(fd: &OwnedFd) -> CString {
    CString::new(format!("/proc/thread-self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

/// The directory of this process's own descriptors, opened once.
pub(super) fn own_descriptors() -> Result<OwnedFd, Errno> {
    sys::openat(libc::AT_FDCWD, c"/proc/self/fd", libc::O_PATH | libc::O_DIRECTORY, 0)
}

pub(super) fn parse_status(text: &[u8]) -> Option<Status> {
    let (mut tgid, mut inner_tgid, mut inner_tid, mut umask) = (None, None, None, None);
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b'\t');
        match fields.next() {
            Some(b"Umask:") => umask = fields.next().and_then(octal),
            Some(b"Tgid:") => tgid = fields.next().and_then(number),
            Some(b"NStgid:") => inner_tgid = fields.next_back().and_then(number),
            Some(b"NSpid:") => inner_tid = fields.next_back().and_then(number),
            _ => {}
        }
    }
    let (tgid, umask) = (tgid?, umask?);
    Some(Status { tgid, umask, inner_tgid: inner_tgid.unwrap_or(tgid), inner_tid: inner_tid.unwrap_or(tgid) })
}

fn number(text: &[u8]) -> Option<i32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// An octal number, as `/proc` prints modes and flags.
pub(super) fn octal(text: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(text).ok()?.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_status_is_read_by_its_labels() {
        let text = b"Name:\tTgid:\t9\nUmask:\t0027\nState:\tS (sleeping)\nTgid:\t71\nNgid:\t0\nPid:\t72\nNStgid:\t71\t4\nNSpid:\t72\t5\n";
        let status = parse_status(text).unwrap();
        assert_eq!(status, Status { tgid: 71, inner_tid: 5, inner_tgid: 4, umask: 0o27 });
        assert!(parse_status(b"Name:\tx\n").is_none());
    }
}
