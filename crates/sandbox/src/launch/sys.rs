//! The system calls that no safe crate wraps, each in the narrowest shape that the launcher needs.

use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ffi::{CStr, CString};
use std::io;

/// Which side of a [`fork`] this is.
pub(super) enum Forked {
    Child,
    Parent(i32),
}

/// Forks this process, which must have one thread.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: the launcher never starts a thread, so the child's heap and locks are consistent, and Rust code may go on
    // in it as in the parent.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// `CLONE_INTO_CGROUP` (Linux 5.7).
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks this process, which must have one thread, its child born into that control group. Moving a process that runs makes
/// the kernel wait for all processors, some 7 ms.
pub(super) fn fork_into(group: &OwnedFd) -> io::Result<Forked> {
    // SAFETY: all-zero is a valid value of this plain structure: no stack or thread of its own, as in a fork.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = INTO_CGROUP;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = group.as_raw_fd() as u64;
    // SAFETY: `args` lives through the call and its size is passed. As for `fork`, this process has one thread; nothing of
    // the child's relies on what the C library remembers of that thread's number.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) } {
        ..=-1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// Ends the process at once, without destructors or exit handlers (which belong to the process that was forked from).
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` on, but for those in `keep`.
///
/// The caller gives up every owner of a closed descriptor: it must go on to `execve`, or never drop them.
pub(super) fn close_from(first: RawFd, keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    let mut from = first;
    for fd in keep {
        if fd > from {
            close_range(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close_range(from, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: closes by number; see `close_from` for who may still own these.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, last as libc::c_uint, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets mount attributes (`MOUNT_ATTR_*`) on the mount that `fd` refers to, and, if asked, on all below it.
pub(super) fn mount_setattr(fd: impl AsFd, set: u64, is_recursive: bool) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if is_recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal, `attr` lives through the call and its size is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Programs are loaded at the same addresses each time, from the next exec on.
pub(super) fn same_addresses() {
    // SAFETY: takes an integer.
    unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
}

/// Installs a seccomp program on this process and returns the number of its listener.
pub(super) fn install_filter(filter: &[libc::sock_filter]) -> io::Result<RawFd> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points at `len` instructions that live through the call; the kernel copies and checks them, and
    // does not write to them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            // Killable: once received, a call is interrupted by death only. A signal (Go sends one every 10 ms) would make
            // a call start over that is performed already, and its second O_EXCL fail.
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
            &raw const program,
        )
    };
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(fd as RawFd) }
}

/// Replaces this process's image. Returns only with the reason why not.
pub(super) fn execve(path: &CString, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end in NULL and, like the strings that they point at, outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Undoes what Rust's start-up and the supervisor did to signals: none blocked, SIGPIPE as by default.
pub(super) fn reset_signals() {
    // SAFETY: the set is initialised by sigemptyset before it is read; SIG_DFL installs no code of ours.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Blocks every signal that can be blocked.
pub(super) fn block_signals() {
    // SAFETY: the set is initialised by sigfillset before it is read.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// A descriptor that is readable while a child's end waits to be collected. SIGCHLD must be blocked.
pub(super) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use; the result is a new descriptor that nobody else owns.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Collects one ended child, if there is one: its pid and wait status.
pub(super) fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
    (pid > 0).then_some((pid, status))
}

/// Waits for any child and collects it: its pid. `None`: there is none.
pub(super) fn wait_any() -> Option<i32> {
    loop {
        // SAFETY: no status is asked for.
        let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL) };
        if pid > 0 {
            return Some(pid);
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

/// Waits for this child: its wait status.
pub(super) fn wait_for(pid: i32) -> Option<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the result.
        let done = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if done == pid {
            return Some(status);
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

/// `kill`, with the numbers as they are.
pub(super) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: sends a signal; touches no memory of ours.
    if unsafe { libc::kill(pid, signal) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes one descriptor that has no owner.
pub(super) fn close_only(fd: RawFd) -> io::Result<()> {
    close_range(fd, fd)
}

/// An argument of an [`attempt`].
#[derive(Clone, Copy)]
pub(super) enum Arg<'a> {
    /// A number.
    Is(isize),
    /// A string to read.
    Text(&'a CStr),
    /// A structure that begins with these words, zeros behind them.
    Words(&'a [u32]),
}

/// Makes a system call by number, for the self-test's prober: whether it succeeded. The prober ends after a success, so
/// it does not matter what one did to this process.
pub(super) fn attempt(number: libc::c_long, args: &[Arg<'_>]) -> bool {
    let mut structure = [0u32; 64];
    let mut raw = [0isize; 5];
    for (place, arg) in raw.iter_mut().zip(args) {
        *place = match arg {
            Arg::Is(number) => *number,
            Arg::Text(text) => text.as_ptr() as isize,
            Arg::Words(words) => {
                structure.iter_mut().zip(*words).for_each(|(place, word)| *place = *word);
                structure.as_mut_ptr() as isize
            }
        };
    }
    let [a, b, c, d, e] = raw;
    // SAFETY: every pointer is to a string that outlives the call and is only read, or to `structure`, 256 bytes, which
    // is more than bpf, perf_event_open and io_uring_setup read or write there.
    unsafe { libc::syscall(number, a, b, c, d, e) >= 0 }
}

/// Whether this process may read that one's memory. Nothing is read: there is nothing at the address.
pub(super) fn can_read_memory(pid: i32) -> bool {
    let mut byte = 0u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 1 };
    // SAFETY: `local` covers exactly `byte`, which lives through the call; the remote side is the other process's.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    read >= 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// Whether the kernel knows `SECCOMP_ADDFD_FLAG_SEND`: it then looks for the call that is named, and finds none.
pub(super) fn can_add_and_send(listener: &OwnedFd) -> bool {
    let request = libc::seccomp_notif_addfd {
        id: 0,
        flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
        srcfd: listener.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: 0,
    };
    // SAFETY: the request is a live structure of the type that this ioctl reads.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request) };
    done < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT)
}
