//! The least that any supervisor beneath an agent takes: this one decides nothing, records nothing, looks at nothing twice,
//! and is always on the caller's core. It receives a call, reads its path, does it, and hands over what came of it.

use std::ffi::{CStr, c_long};
use std::mem::offset_of;
use std::os::fd::RawFd;
use std::sync::mpsc;

/// Calls whose last argument but one says for what a file is opened, and calls that change names.
const CHANGES: [c_long; 5] = [libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename, libc::SYS_unlinkat];
const WRITES: u32 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u32;

/// Has the changes of this thread, and of what it starts, done by another from now on. `None` where the kernel refuses.
pub(super) fn notify() -> Option<()> {
    let (give, take) = mpsc::channel();
    share_one_core();
    std::thread::spawn(move || take.recv().map(|listener| while serve(listener).is_some() {}));
    give.send(listen()?).ok()
}

/// Keeps this thread and those that it starts on the core where it runs: no wake-up crosses to a core that sleeps.
fn share_one_core() {
    let mut here = rustix::thread::CpuSet::new();
    here.set(rustix::thread::sched_getcpu());
    rustix::thread::sched_setaffinity(None, &here).expect("a core of its own");
}

/// A filter on this thread alone; the listener's descriptor.
fn listen() -> Option<RawFd> {
    let load = |field: usize| statement((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, field as u32);
    let is = |value: u32, then: u8, otherwise: u8| jump(libc::BPF_JEQ as u16, value, then, otherwise);
    let mut code = vec![load(offset_of!(libc::seccomp_data, nr))];
    for (index, call) in CHANGES.iter().enumerate() {
        code.push(is(*call as u32, (CHANGES.len() - index) as u8 + 2, 0));
    }
    code.push(is(libc::SYS_openat as u32, 0, 3));
    code.push(load(offset_of!(libc::seccomp_data, args) + 2 * size_of::<u64>()));
    code.push(jump(libc::BPF_JSET as u16, WRITES, 0, 1));
    code.push(statement((libc::BPF_RET | libc::BPF_K) as u16, libc::SECCOMP_RET_USER_NOTIF));
    code.push(statement((libc::BPF_RET | libc::BPF_K) as u16, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: `program` points to `code`, both alive through the call, which copies them.
    let listener = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program)
    };
    (listener >= 0).then_some(listener as RawFd)
}

fn statement(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(test: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_K) as u16 | test, jt, jf, k }
}

/// One call; `None` when there are none any more.
fn serve(listener: RawFd) -> Option<()> {
    // SAFETY: all-zero is a valid value of this plain structure, and what the kernel demands.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: `call` is writable and lives through the call.
    if unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) } < 0 {
        return None;
    }
    let [a, b, c, d, ..] = call.data.args;
    // SAFETY: names are NUL-terminated and outlive the calls.
    let done = unsafe {
        match c_long::from(call.data.nr) {
            libc::SYS_openat => libc::open(name(&call, b).as_ptr().cast(), c as i32, d as u32),
            libc::SYS_mkdir => libc::mkdir(name(&call, a).as_ptr().cast(), b as u32),
            libc::SYS_rmdir => libc::rmdir(name(&call, a).as_ptr().cast()),
            libc::SYS_unlink => libc::unlink(name(&call, a).as_ptr().cast()),
            libc::SYS_unlinkat => libc::unlinkat(a as i32, name(&call, b).as_ptr().cast(), c as i32),
            _ => libc::rename(name(&call, a).as_ptr().cast(), name(&call, b).as_ptr().cast()),
        }
    };
    let error = if done < 0 { -std::io::Error::last_os_error().raw_os_error()? } else { 0 };
    if error == 0 && c_long::from(call.data.nr) == libc::SYS_openat {
        let flags = libc::SECCOMP_ADDFD_FLAG_SEND as u32;
        let handed = libc::seccomp_notif_addfd { id: call.id, flags, srcfd: done as u32, newfd: 0, newfd_flags: 0 };
        // SAFETY: `handed` lives through the call, which reads it; `done` was opened above and is closed once.
        unsafe {
            libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const handed);
            libc::close(done);
        }
    } else {
        let answer = libc::seccomp_notif_resp { id: call.id, val: i64::from(done.max(0)), error, flags: 0 };
        // SAFETY: `answer` lives through the call, which reads it.
        unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
    }
    Some(())
}

/// A name in the caller's memory.
fn name(call: &libc::seccomp_notif, at: u64) -> [u8; 257] {
    let mut text = [0; 257];
    let local = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: 256 };
    let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: 256 };
    // SAFETY: `local` covers all of `text` but its last byte, which stays NUL.
    unsafe { libc::process_vm_readv(call.pid as i32, &raw const local, 1, &raw const remote, 1, 0) };
    assert!(CStr::from_bytes_until_nul(&text).is_ok_and(|name| !name.is_empty()), "a name");
    text
}
