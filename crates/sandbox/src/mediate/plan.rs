//! Which call it is.

use super::Loop;
use super::act::{Answer, Plan};
use super::caller::Caller;
use super::files::Context;
use super::sys::Errno;
use super::{exec, socket};
use rustix::fd::AsFd;

impl Loop {
    /// Reads a call's registers and copies what they point to.
    pub(super) fn plan(&mut self, id: u64, tid: i32, data: &libc::seccomp_data) -> Result<Plan, Errno> {
        let caller = Caller { notify: self.parts.notify.as_fd(), id, tid };
        let on = Context { view: &self.view, caller, reads: self.parts.reads };
        let statuses = &mut self.statuses;
        let mut umask = || statuses.of(&caller).map(|status| status.umask);
        let [a, b, c, d, e, f] = data.args;
        let _ = f;
        const CWD: i32 = libc::AT_FDCWD;
        const NOFOLLOW: i32 = libc::AT_SYMLINK_NOFOLLOW;
        // The kernel takes descriptors, flags and modes as 32 bits.
        let (fd, int) = (|register: u64| register as i32, |register: u64| register as i32);
        let word = |register: u64| register as u32;
        match i64::from(data.nr) {
            libc::SYS_openat => on.open(fd(a), b, int(c), word(d), umask),
            libc::SYS_open => on.open(CWD, a, int(b), word(c), umask),
            libc::SYS_creat => on.open(CWD, a, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, word(b), umask),
            libc::SYS_mkdirat => on.mkdir(fd(a), b, word(c), umask()?),
            libc::SYS_mkdir => on.mkdir(CWD, a, word(b), umask()?),
            libc::SYS_mknodat => on.mknod(fd(a), b, word(c), umask()?),
            libc::SYS_mknod => on.mknod(CWD, a, word(b), umask()?),
            libc::SYS_unlinkat => on.unlink(fd(a), b, int(c)),
            libc::SYS_unlink => on.unlink(CWD, a, 0),
            libc::SYS_rmdir => on.unlink(CWD, a, libc::AT_REMOVEDIR),
            libc::SYS_renameat2 => on.rename((fd(a), b), (fd(c), d), word(e)),
            libc::SYS_renameat => on.rename((fd(a), b), (fd(c), d), 0),
            libc::SYS_rename => on.rename((CWD, a), (CWD, b), 0),
            libc::SYS_linkat => on.link((fd(a), b), (fd(c), d), int(e)),
            libc::SYS_link => on.link((CWD, a), (CWD, b), 0),
            libc::SYS_symlinkat => on.symlink(a, fd(b), c),
            libc::SYS_symlink => on.symlink(a, CWD, b),
            libc::SYS_truncate => on.truncate(a, b as i64),
            libc::SYS_chmod => on.chmod(CWD, Some(a), word(b), 0),
            libc::SYS_fchmodat => on.chmod(fd(a), Some(b), word(c), 0),
            libc::SYS_fchmodat2 => on.chmod(fd(a), Some(b), word(c), int(d)),
            libc::SYS_fchmod => on.chmod(open_descriptor(a)?, None, word(b), 0),
            libc::SYS_chown => on.chown(CWD, Some(a), (word(b), word(c)), 0),
            libc::SYS_lchown => on.chown(CWD, Some(a), (word(b), word(c)), NOFOLLOW),
            libc::SYS_fchownat => on.chown(fd(a), Some(b), (word(c), word(d)), int(e)),
            libc::SYS_fchown => on.chown(open_descriptor(a)?, None, (word(b), word(c)), 0),
            libc::SYS_setxattr => on.set_xattr(CWD, Some(a), b, (c, d), int(e), 0),
            libc::SYS_lsetxattr => on.set_xattr(CWD, Some(a), b, (c, d), int(e), NOFOLLOW),
            libc::SYS_fsetxattr => on.set_xattr(open_descriptor(a)?, None, b, (c, d), int(e), 0),
            libc::SYS_removexattr => on.remove_xattr(CWD, Some(a), b, 0),
            libc::SYS_lremovexattr => on.remove_xattr(CWD, Some(a), b, NOFOLLOW),
            libc::SYS_fremovexattr => on.remove_xattr(open_descriptor(a)?, None, b, 0),
            // By descriptor nobody is asked; see the filter.
            libc::SYS_utimensat if b == 0 => on.own_times(open_descriptor(a)?, timespecs(&caller, c)?),
            libc::SYS_futimesat if b == 0 => on.own_times(open_descriptor(a)?, timevals(&caller, c)?),
            libc::SYS_ioctl => on.terminal(fd(a), int(c)),
            libc::SYS_utimensat => on.utimes(fd(a), Some(b), timespecs(&caller, c)?, int(d)),
            libc::SYS_futimesat => on.utimes(fd(a), Some(b), timevals(&caller, c)?, 0),
            libc::SYS_utimes => on.utimes(CWD, Some(a), timevals(&caller, b)?, 0),
            libc::SYS_utime => on.utimes(CWD, Some(a), seconds(&caller, b)?, 0),
            libc::SYS_execve => exec::plan(&self.view, &caller, CWD, a, b, 0),
            libc::SYS_execveat => exec::plan(&self.view, &caller, fd(a), b, c, int(e)),
            libc::SYS_connect => socket::connect(&self.view, &caller, [a, b, c], self.parts.broker.is_some()),
            libc::SYS_bind => {
                let tgid = statuses.tgid(&caller)?;
                socket::bind(&self.view, &caller, tgid, [a, b, c], || statuses.of(&caller).map(|status| status.umask))
            }
            libc::SYS_inotify_add_watch => on.watch(fd(a), b, word(c)),
            libc::SYS_umask => {
                statuses.umask_changes();
                Ok(Plan::Answer(Answer::Continue))
            }
            _ => Err(libc::ENOSYS),
        }
    }
}

/// A descriptor that a call by descriptor names; never the working directory.
fn open_descriptor(register: u64) -> Result<i32, Errno> {
    let fd = register as i32;
    if fd < 0 { Err(libc::EBADF) } else { Ok(fd) }
}

fn timespecs(caller: &Caller<'_>, at: u64) -> Result<Option<[libc::timespec; 2]>, Errno> {
    read_times(caller, at, Some)
}

fn timevals(caller: &Caller<'_>, at: u64) -> Result<Option<[libc::timespec; 2]>, Errno> {
    read_times(caller, at, |micros| if (0..1_000_000).contains(&micros) { Some(micros * 1000) } else { None })
}

fn read_times(
    caller: &Caller<'_>,
    at: u64,
    nanos: impl Fn(i64) -> Option<i64>,
) -> Result<Option<[libc::timespec; 2]>, Errno> {
    if at == 0 {
        return Ok(None);
    }
    let [a, b, c, d] = words(&caller.bytes::<32>(at)?);
    let time = |seconds, fraction| Some(libc::timespec { tv_sec: seconds, tv_nsec: nanos(fraction)? });
    match (time(a, b), time(c, d)) {
        (Some(one), Some(two)) => Ok(Some([one, two])),
        _ => Err(libc::EINVAL),
    }
}

fn seconds(caller: &Caller<'_>, at: u64) -> Result<Option<[libc::timespec; 2]>, Errno> {
    if at == 0 {
        return Ok(None);
    }
    let [a, b] = words(&caller.bytes::<16>(at)?);
    Ok(Some([a, b].map(|seconds| libc::timespec { tv_sec: seconds, tv_nsec: 0 })))
}

fn words<const N: usize, const BYTES: usize>(bytes: &[u8; BYTES]) -> [i64; N] {
    let mut out = [0; N];
    for (word, chunk) in out.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.try_into().map(i64::from_ne_bytes).unwrap_or_default();
    }
    out
}
