//! The system calls of mediation that no safe crate wraps, each in the narrowest shape that is needed.

use super::cores::Kept;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// An errno.
pub(super) type Errno = i32;

/// The errno of the last failed call on this thread.
pub(super) fn last() -> Errno {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn check(result: impl Into<i64>) -> Result<i64, Errno> {
    let result = result.into();
    if result < 0 { Err(last()) } else { Ok(result) }
}

fn owned(result: impl Into<i64>) -> Result<OwnedFd, Errno> {
    let fd = check(result)?;
    // SAFETY: the kernel just made this descriptor for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Receives one notification.
pub(super) fn receive(notify: BorrowedFd<'_>) -> Result<libc::seccomp_notif, Errno> {
    // SAFETY: all-zero is a valid value of this plain structure (and the kernel demands it).
    let mut request: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: `request` is a writable `seccomp_notif` that outlives the call.
    check(unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut request) })?;
    Ok(request)
}

/// Whether the notification's caller is still waiting; what was read by its pid before this is then really its own.
pub(super) fn is_valid(notify: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the ioctl reads one u64, which lives through the call.
    unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) == 0 }
}

/// Sends a reply: `error` is 0 or a positive errno.
pub(super) fn reply(notify: BorrowedFd<'_>, id: u64, value: i64, error: Errno, flags: u32) -> Result<(), Errno> {
    let response = libc::seccomp_notif_resp { id, val: value, error: -error, flags };
    // SAFETY: `response` is a `seccomp_notif_resp` that lives through the call, which reads it.
    check(unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) }).map(drop)
}

/// Puts `fd` into the caller's table and makes its number the call's result.
///
/// The caller itself takes the descriptor in, and so is woken for it. The kernel would wake it, and then this thread, each
/// on another core that sleeps, which costs ten times the hand-over: so both are `kept` on one core until that is done.
/// The caller waits in its call meanwhile, so that nothing it starts inherits its narrowed set of cores.
pub(super) fn reply_descriptor(
    notify: BorrowedFd<'_>,
    id: u64,
    fd: BorrowedFd<'_>,
    is_cloexec: bool,
    kept: Option<Kept<'_>>,
) -> Result<(), Errno> {
    // With `SECCOMP_ADDFD_FLAG_SEND` the caller would run on before its cores are its own again.
    let flags = if kept.is_some() { 0 } else { libc::SECCOMP_ADDFD_FLAG_SEND as u32 };
    let request = libc::seccomp_notif_addfd {
        id,
        flags,
        srcfd: fd.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: if is_cloexec { libc::O_CLOEXEC as u32 } else { 0 },
    };
    // SAFETY: `request` is a `seccomp_notif_addfd` that lives through the call, which reads it.
    let number = check(unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request) });
    let was_kept = kept.is_some();
    drop(kept);
    match number {
        Ok(number) if was_kept => reply(notify, id, number, 0, 0),
        other => other.map(drop),
    }
}

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`: caller and supervisor share a core for the length of a call. Older kernels
/// lack it and lose speed only.
pub(super) fn wake_on_same_core(notify: BorrowedFd<'_>) {
    // SAFETY: takes its argument by value.
    unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1u64) };
}

/// Copies the memory of another process; returns how many bytes were there to read.
pub(super) fn read_memory(tid: i32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: `local` covers exactly `into`; the remote side is checked by the kernel against the other process.
    check(unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) } as i64)
        .map(|read| read as usize)
}

/// Writes to the memory of another process; returns how many bytes went.
pub(super) fn write_memory(tid: i32, address: u64, bytes: &[u8]) -> Result<usize, Errno> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: `local` covers exactly `bytes`, which the kernel only reads; the remote side is checked by it against the other process.
    check(unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) } as i64)
        .map(|written| written as usize)
}

/// So often is a path looked up again that somebody's rename cut off.
const RACES_MAX: usize = 256;

/// `openat2` for a parent directory or file below `root`, never through a `/proc` magic link.
pub(super) fn open_in_root(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    open_in(root, path, flags, libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS)
}

/// Whether a directory's path ends, below `root`, at a name that nothing has, with no link on the way to it.
pub(super) fn is_missing_in_root(root: BorrowedFd<'_>, path: &CStr) -> bool {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_SYMLINKS;
    open_in(root, path, flags, resolve).err() == Some(libc::ENOENT)
}

fn open_in(root: BorrowedFd<'_>, path: &CStr, flags: i32, resolve: u64) -> Result<OwnedFd, Errno> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = resolve;
    let size = size_of::<libc::open_how>();
    let mut tries = 0;
    loop {
        // SAFETY: the path is NUL-terminated and `how` lives through the call, its size is passed.
        let opened =
            owned(unsafe { libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), &raw const how, size) });
        tries += 1;
        // A path with `..` is given up whenever anybody renames anything anywhere on the machine meanwhile.
        if opened.as_ref().err() != Some(&libc::EAGAIN) || tries >= RACES_MAX {
            return opened;
        }
    }
}

/// `openat` by the plain system call.
pub(super) fn openat(at: RawFd, path: &CStr, flags: i32, mode: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: the path is NUL-terminated.
    owned(unsafe { libc::syscall(libc::SYS_openat, at, path.as_ptr(), flags | libc::O_CLOEXEC, mode) })
}

/// `fstatat`; with `AT_EMPTY_PATH` and an empty path, of the descriptor itself.
pub(super) fn stat(at: RawFd, path: &CStr, flags: i32) -> Result<libc::stat, Errno> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path is NUL-terminated and `stat` is writable and lives through the call.
    check(unsafe { libc::fstatat(at, path.as_ptr(), &raw mut stat, flags) })?;
    Ok(stat)
}

/// The file behind a descriptor.
pub(super) fn fstat(fd: BorrowedFd<'_>) -> Result<libc::stat, Errno> {
    stat(fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

/// `readlinkat` into `into`; the bytes that it wrote.
pub(super) fn readlink<'b>(at: RawFd, path: &CStr, into: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    // SAFETY: the path is NUL-terminated and the buffer's own length is passed.
    let length = check(unsafe { libc::readlinkat(at, path.as_ptr(), into.as_mut_ptr().cast(), into.len()) } as i64)?;
    into.get(..length as usize).ok_or(libc::ENAMETOOLONG)
}

/// One plain system call whose pointer arguments are NUL-terminated strings or null.
macro_rules! plain {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty => $raw:expr),*) = $number:expr) => {
        $(#[$doc])*
        pub(super) fn $name($($arg: $ty),*) -> Result<(), Errno> {
            // SAFETY: every pointer passed is a borrowed `CStr` or `stat`-like value of the caller's, alive through the
            // call; the rest are integers.
            check(unsafe { libc::syscall($number $(, $raw)*) }).map(drop)
        }
    };
}

plain!(/// `mkdirat`.
    mkdir(at: RawFd => at, name: &CStr => name.as_ptr(), mode: u32 => mode) = libc::SYS_mkdirat);
plain!(/// `mknodat`, never for a device.
    mknod(at: RawFd => at, name: &CStr => name.as_ptr(), mode: u32 => mode) = libc::SYS_mknodat);
plain!(/// `unlinkat`.
    unlink(at: RawFd => at, name: &CStr => name.as_ptr(), flags: i32 => flags) = libc::SYS_unlinkat);
plain!(/// `renameat2`.
    rename(from: RawFd => from, old: &CStr => old.as_ptr(), to: RawFd => to, new: &CStr => new.as_ptr(), flags: u32 => flags)
        = libc::SYS_renameat2);
plain!(/// `linkat`.
    link(from: RawFd => from, old: &CStr => old.as_ptr(), to: RawFd => to, new: &CStr => new.as_ptr(), flags: i32 => flags)
        = libc::SYS_linkat);
plain!(/// `symlinkat`.
    symlink(target: &CStr => target.as_ptr(), at: RawFd => at, name: &CStr => name.as_ptr()) = libc::SYS_symlinkat);
plain!(/// `fchmodat`, following.
    chmod(at: RawFd => at, path: &CStr => path.as_ptr(), mode: u32 => mode) = libc::SYS_fchmodat);
plain!(/// `fchownat`.
    chown(at: RawFd => at, path: &CStr => path.as_ptr(), uid: u32 => uid, gid: u32 => gid, flags: i32 => flags)
        = libc::SYS_fchownat);
plain!(/// `faccessat2`.
    access(at: RawFd => at, path: &CStr => path.as_ptr(), mode: i32 => mode, flags: i32 => flags) = libc::SYS_faccessat2);
plain!(/// `ftruncate`.
    truncate(fd: RawFd => fd, length: i64 => length) = libc::SYS_ftruncate);
plain!(/// `tgkill`.
    tgkill(tgid: i32 => tgid, tid: i32 => tid, signal: i32 => signal) = libc::SYS_tgkill);

/// `utimensat`; `None` is now.
pub(super) fn utimens(at: RawFd, path: &CStr, times: Option<&[libc::timespec; 2]>, flags: i32) -> Result<(), Errno> {
    let times = times.map_or(std::ptr::null(), |times| times.as_ptr());
    // SAFETY: the path is NUL-terminated; `times` is null or two timespecs that outlive the call.
    check(unsafe { libc::utimensat(at, path.as_ptr(), times, flags) }).map(drop)
}

/// `setxattr`, following links.
pub(super) fn setxattr(path: &CStr, name: &CStr, value: &[u8], flags: i32) -> Result<(), Errno> {
    // SAFETY: both strings are NUL-terminated, the value's own length is passed.
    check(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags) }).map(drop)
}

/// `removexattr`, following links.
pub(super) fn removexattr(path: &CStr, name: &CStr) -> Result<(), Errno> {
    // SAFETY: both strings are NUL-terminated.
    check(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
}

/// Reads at most a buffer full from the start of a file.
pub(super) fn pread(fd: BorrowedFd<'_>, into: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the buffer's own length is passed.
    check(unsafe { libc::pread(fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), 0) } as i64).map(|n| n as usize)
}

/// `fcntl` with an integer.
pub(super) fn fcntl(fd: BorrowedFd<'_>, command: i32, value: i32) -> Result<i32, Errno> {
    // SAFETY: only commands that take an integer or nothing are passed in this module.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), command, value) }).map(|n| n as i32)
}

/// `pidfd_open`.
pub(super) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// `pidfd_open` of one thread (Linux 6.9); before that, of a group by its first thread, and no other thread's.
pub(super) fn pidfd_open_thread(tid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only. `PIDFD_THREAD` is `O_EXCL`.
    match owned(unsafe { libc::syscall(libc::SYS_pidfd_open, tid, libc::O_EXCL) }) {
        Err(libc::EINVAL) => pidfd_open(tid),
        other => other,
    }
}

/// `pidfd_getfd`: a second descriptor of the other process's open file.
pub(super) fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })
}

/// An integer socket option at `SOL_SOCKET`.
pub(super) fn socket_option(fd: BorrowedFd<'_>, option: i32) -> Result<i32, Errno> {
    let (mut value, mut length) = (0i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: `value` and `length` are writable and agree on the size.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, (&raw mut value).cast(), &raw mut length)
    })?;
    Ok(value)
}

/// `connect` or `bind` with an address's raw bytes.
pub(super) fn with_address(number: i64, fd: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    // SAFETY: the address's own length is passed; the kernel parses it as untrusted bytes.
    check(unsafe { libc::syscall(number, fd.as_raw_fd(), address.as_ptr(), address.len()) }).map(drop)
}

/// `TIOCGPTPEER`: the other side of a terminal. ENOTTY of anything else.
pub(super) fn peer(master: BorrowedFd<'_>, flags: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the command takes an integer and makes a new descriptor, which nobody else owns.
    owned(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })
}

/// `inotify_add_watch`: the watch's number.
pub(super) fn watch(inotify: BorrowedFd<'_>, path: &CStr, mask: u32) -> Result<i64, Errno> {
    // SAFETY: the path is NUL-terminated and outlives the call.
    check(unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), mask) })
}

/// Gives this thread a umask, root and working directory of its own.
pub(super) fn unshare_fs() -> Result<(), Errno> {
    // SAFETY: integers only; affects this thread.
    check(unsafe { libc::unshare(libc::CLONE_FS) }).map(drop)
}

/// Makes this folder the calling thread's working directory, which must be its own.
pub(super) fn enter(folder: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: integers only.
    check(unsafe { libc::fchdir(folder.as_raw_fd()) }).map(drop)
}

/// Sets this thread's umask; it must have its own (`unshare_fs`).
pub(super) fn umask(mask: u32) {
    // SAFETY: integers only.
    unsafe { libc::umask(mask) };
}

/// Makes timeouts of this thread exact: the default slack of 50 us is as long as what it waits for.
pub(super) fn exact_timers() {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// Blocks SIGPIPE in this thread: it writes to pipes of others.
pub(super) fn block_sigpipe() {
    // SAFETY: all-zero is a valid signal set, and it is initialised by `sigemptyset` before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Lowers every effective capability of this thread but those named (by number); the permitted ones stay.
pub(super) fn lower_capabilities(keep: &[u32]) -> Result<(), Errno> {
    let kept = keep.iter().fold(0u64, |set, number| set | 1 << number);
    set_capabilities(|effective, _, half| effective & (kept >> (32 * half)) as u32)
}

/// Makes every permitted capability of this thread effective again.
pub(super) fn raise_capabilities() -> Result<(), Errno> {
    set_capabilities(|_, permitted, _| permitted)
}

fn set_capabilities(effective: impl Fn(u32, u32, usize) -> u32) -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 of the interface takes this header and two such blocks, all alive through the call.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    for (half, block) in data.iter_mut().enumerate() {
        block.effective = effective(block.effective, block.permitted, half);
    }
    // SAFETY: as above; changes this thread only.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// Moves this process, which must have one thread, into the user (if it is another) and mount namespace of a process.
pub(super) fn enter_mounts(pidfd: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: integers only.
    let both = check(unsafe { libc::setns(pidfd.as_raw_fd(), libc::CLONE_NEWUSER | libc::CLONE_NEWNS) });
    if both.is_ok() {
        return Ok(());
    }
    // Joining the user namespace that one is in already is refused: root's sandbox has none of its own.
    // SAFETY: integers only.
    check(unsafe { libc::setns(pidfd.as_raw_fd(), libc::CLONE_NEWNS) }).map(drop)
}

/// `PTRACE_SEIZE` with options, at once.
pub(super) fn seize(tid: i32, options: i32) -> Result<(), Errno> {
    // SAFETY: seizing takes integers only.
    check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, 0usize, options as usize) }).map(drop)
}

/// A ptrace request that takes one integer.
pub(super) fn ptrace(request: u32, tid: i32, data: usize) -> Result<(), Errno> {
    // SAFETY: only requests that take an integer (CONT, DETACH, INTERRUPT, LISTEN) are passed in this module.
    check(unsafe { libc::ptrace(request, tid, 0usize, data) }).map(drop)
}

/// `PTRACE_GETEVENTMSG`.
pub(super) fn event_message(tid: i32) -> Option<libc::c_ulong> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the thread is in a ptrace stop of ours; `message` is writable.
    let done = unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, tid, 0usize, &raw mut message) };
    (done == 0).then_some(message)
}

/// The result register of a stopped thread: the system call's result.
pub(super) fn result_register(tid: i32) -> Option<i64> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    // SAFETY: the thread is in a ptrace stop of ours; `registers` is writable and of the kernel's layout.
    let done = unsafe { libc::ptrace(libc::PTRACE_GETREGS, tid, 0usize, &raw mut registers) };
    (done == 0).then_some(registers.rax as i64)
}

/// `waitpid` for exactly one traced thread, without waiting. `None`: nothing to tell.
pub(super) fn wait_for(tid: i32) -> Result<Option<i32>, Errno> {
    let mut status = 0;
    // SAFETY: `status` is writable and lives through the call.
    let got = check(unsafe { libc::waitpid(tid, &raw mut status, libc::WNOHANG | libc::__WALL) })?;
    Ok((got > 0).then_some(status))
}

/// `writev` that neither blocks nor raises.
pub(super) fn write_some(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: the slice's own length is passed.
    check(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) } as i64).map(drop)
}

/// `send` that neither blocks nor raises.
pub(super) fn send_some(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: the slice's own length is passed.
    check(unsafe {
        libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    } as i64)
    .map(drop)
}
