//! How programs ended, of which others are the parents: from the kernel where it tells (Linux 6.15).

use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::process::PidfdFlags;

// linux/pidfd.h: mask, cgroupid, then 32-bit pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid, exit_code.
const GET_INFO: libc::c_ulong = 0xc000_0000 | (64 << 16) | (0xff << 8) | 11;
const INFO_EXIT: u64 = 1 << 3;

/// The release that tells it; the request itself is older and may be closed off.
const TOLD_SINCE: (u32, u32) = (6, 15);

/// How a process ended, from its pidfd once it has been reaped: its wait status.
pub(crate) fn status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = info(pidfd)?;
    // exit_code is the twelfth 32-bit word after two 64-bit ones: the upper half of word 7.
    (info[0] & INFO_EXIT != 0).then_some((info[7] >> 32) as i32)
}

/// Whether this kernel tells it.
pub(crate) fn are_told() -> bool {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    version() >= TOLD_SINCE && own.is_ok_and(|own| info(own.as_fd()).is_some())
}

/// The kernel's release, by its first two numbers.
pub(crate) fn version() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn info(pidfd: BorrowedFd<'_>) -> Option<[u64; 8]> {
    let mut info = [0u64; 8];
    info[0] = INFO_EXIT;
    // SAFETY: 64 bytes is the first published size of the structure, and the number carries that size.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO, info.as_mut_ptr()) };
    (done == 0).then_some(info)
}
