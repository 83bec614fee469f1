//! Tries each way round the boundary once, from inside, before the program starts (SANDBOX.md, layer 9).
//!
//! The prober is confined exactly as the agent is, the filter included. Nobody serves its listener, which is closed at
//! once: a mediated call fails with ENOSYS then, as good as refused. What the filter ends the prober for counts as
//! refused as well; another prober goes on with the next attempt.

use super::confine;
use super::step::{At, Step};
use super::sys::Arg::{self, Is, Text, Words};
use super::sys::{self, Forked, attempt};
use super::wire::Boot;
use crate::places::Places;
use crate::spec::Spec;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::thread::CapabilitySet;
use std::ffi::CString;
use std::path::Path;

/// The prober's exit code where the kernel does not take the filter.
const NO_FILTER: i32 = 3;
/// Hidden and protected paths that are tried, each kind.
const PATHS_MAX: usize = 64;

/// A prober under way.
pub(super) struct Probing {
    attempts: Vec<Attempt>,
    pid: i32,
    progress: OwnedFd,
}

/// One way round: what it would mean, and the try, which says whether it succeeded.
struct Attempt {
    what: String,
    try_it: Box<dyn Fn() -> bool>,
}

/// Starts trying; meanwhile the caller can go on preparing.
pub(super) fn start(boot: &Boot) -> Step<Probing> {
    let attempts = attempts(boot);
    let (pid, progress) = prober(boot, &attempts)?;
    Ok(Probing { attempts, pid, progress })
}

/// Waits for the tries to end: the first one that succeeded, if one did.
pub(super) fn finish(boot: &Boot, mut probing: Probing) -> Step<Option<String>> {
    loop {
        // Each attempt writes one byte before it starts; the count says how far the prober came. It is read at the end:
        // a pipe holds far more, and each byte would wake this process.
        let status = sys::wait_for(probing.pid).unwrap_or(-1);
        let mut begun = 0;
        let mut buffer = [0u8; 256];
        loop {
            match rustix::io::read(&probing.progress, &mut buffer) {
                Ok(0) => break,
                Ok(bytes) => begun += bytes,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).doing("testing the boundary"),
            }
        }
        let done = probing.attempts.len();
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
            return Ok(None);
        }
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == NO_FILTER {
            return Err(Errno::INVAL).doing("installing the filter");
        }
        let is_refusal = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS && begun > 0;
        if !is_refusal {
            let index = begun.checked_sub(1).filter(|_| libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 1);
            let attempt = index.and_then(|index| probing.attempts.get(index));
            let ended = || format!("end its own test early (status {status:#x})");
            return Ok(Some(attempt.map_or_else(ended, |attempt| attempt.what.clone())));
        }
        if begun >= done {
            return Ok(None);
        }
        probing.attempts.drain(..begun);
        (probing.pid, probing.progress) = prober(boot, &probing.attempts)?;
    }
}

fn prober(boot: &Boot, attempts: &[Attempt]) -> Step<(i32, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing("testing the boundary")?;
    match sys::fork().doing("testing the boundary")? {
        Forked::Parent(pid) => Ok((pid, read)),
        Forked::Child => sys::exit_now(probe(boot, attempts, &write)),
    }
}

/// The prober's exit code: 0 when nothing succeeded, 1 when the attempt begun last did, 2 when it could not try,
/// [`NO_FILTER`].
fn probe(boot: &Boot, attempts: &[Attempt], progress: &OwnedFd) -> i32 {
    let filter: Vec<libc::sock_filter> =
        boot.filter.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    if confine::confine(boot).is_err() {
        return 2;
    }
    let Ok(listener) = sys::install_filter(&filter) else { return NO_FILTER };
    if sys::close_only(listener).is_err() {
        return 2;
    }
    for attempt in attempts {
        if rustix::io::write(progress, &[0]).is_err() {
            return 2;
        }
        if (attempt.try_it)() {
            return 1;
        }
    }
    0
}

fn attempts(boot: &Boot) -> Vec<Attempt> {
    let mut all: Vec<Attempt> = Vec::new();
    let mut add = |what: &str, try_it: Box<dyn Fn() -> bool>| all.push(Attempt { what: what.to_owned(), try_it });
    confinement(boot.places.is_some(), &mut add);
    namespaces(&mut add);
    other_processes(&mut add);
    kernel(&mut add);
    sockets(&mut add);
    paths(boot, &mut add);
    if let Some(places) = &boot.places {
        apart(&boot.spec, places, &mut add);
    }
    all
}

type Add<'a> = dyn FnMut(&str, Box<dyn Fn() -> bool>) + 'a;

fn confinement(is_apart: bool, add: &mut Add<'_>) {
    add(
        "hold a capability",
        Box::new(|| {
            rustix::thread::capabilities(None).map_or(true, |sets| !(sets.effective | sets.permitted).is_empty())
        }),
    );
    // Without a user namespace an ordinary user can't empty the set; new privileges are forbidden all the same.
    if !is_apart {
        add(
            "regain a capability by running a program",
            Box::new(|| rustix::thread::capability_is_in_bounding_set(CapabilitySet::SYS_ADMIN).unwrap_or(true)),
        );
    }
    add("gain privileges by running a program", Box::new(|| !rustix::thread::no_new_privs().unwrap_or(false)));
    let other = Is(isize::from(rustix::process::getuid().is_root())); // root becomes 1, others 0
    add("become another user", call(libc::SYS_setresuid, [other, other, other]));
}

fn namespaces(add: &mut Add<'_>) {
    add("make a user namespace", call(libc::SYS_unshare, [flag(libc::CLONE_NEWUSER)]));
    add("make a mount namespace", call(libc::SYS_unshare, [flag(libc::CLONE_NEWNS)]));
    add("mount a file system", call(libc::SYS_mount, [Text(c"none"), Text(c"/tmp"), Text(c"tmpfs")]));
    add("take a mount away", call(libc::SYS_umount2, [Text(c"/proc/sys"), flag(libc::MNT_DETACH)]));
    add("change the root", call(libc::SYS_chroot, [Text(c"/tmp")]));
}

fn other_processes(add: &mut Add<'_>) {
    add("trace pid 1", call(libc::SYS_ptrace, [Is(libc::PTRACE_SEIZE as isize), Is(1)]));
    for path in ["/proc/1/mem", "/proc/1/environ", "/proc/1/root/usr", "/proc/1/fd/0"] {
        add(&format!("reach into pid 1 by `{path}`"), Box::new(move || opens(path, libc::O_RDONLY)));
    }
    let take = || {
        let Some(init) = rustix::process::Pid::from_raw(1) else { return false };
        rustix::process::pidfd_open(init, rustix::process::PidfdFlags::empty())
            .is_ok_and(|init| attempt(libc::SYS_pidfd_getfd, &[flag(init.as_raw_fd()), Is(0), Is(0)]))
    };
    add("take a descriptor of pid 1's", Box::new(take));
}

fn kernel(add: &mut Add<'_>) {
    // BPF_MAP_CREATE of an array: type, key size, value size, entries.
    add("make a BPF map", call(libc::SYS_bpf, [Is(0), Words(&[2, 4, 4, 1]), Is(72)]));
    // PERF_TYPE_SOFTWARE, of this process, on any processor.
    add(
        "open a performance counter",
        call(libc::SYS_perf_event_open, [Words(&[1, 120]), Is(0), Is(-1), Is(-1), Is(0)]),
    );
    add("handle page faults", call(libc::SYS_userfaultfd, [flag(libc::O_CLOEXEC)]));
    add("use io_uring", call(libc::SYS_io_uring_setup, [Is(1), Words(&[])]));
    // KEYCTL_GET_KEYRING_ID of the user's session keyring.
    add("reach the kernel's keys", call(libc::SYS_keyctl, [Is(0), Is(-5), Is(0)]));
    let null = Is(libc::makedev(1, 3) as isize);
    let mode = Is((libc::S_IFCHR | 0o600) as isize);
    add("make a device", call(libc::SYS_mknodat, [flag(libc::AT_FDCWD), Text(c"/tmp/.flyball"), mode, null]));
    for path in ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/modprobe"] {
        add(&format!("write `{path}`"), Box::new(move || opens(path, libc::O_WRONLY)));
    }
    for path in ["/proc/kcore", "/proc/kmsg"] {
        add(&format!("read `{path}`"), Box::new(move || opens(path, libc::O_RDONLY)));
    }
}

fn sockets(add: &mut Add<'_>) {
    let kind = flag(libc::SOCK_RAW | libc::SOCK_CLOEXEC);
    add("open a raw socket", call(libc::SYS_socket, [flag(libc::AF_INET), kind, flag(libc::IPPROTO_ICMP)]));
    add("open a packet socket", call(libc::SYS_socket, [flag(libc::AF_PACKET), kind, Is(0)]));
}

fn paths(boot: &Boot, add: &mut Add<'_>) {
    let spec = &boot.spec;
    for path in ["/usr/.flyball", "/etc/.flyball", "/.flyball", "/dev/.flyball"] {
        add(&format!("make `{path}`"), Box::new(move || opens(path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL)));
    }
    let private = [Some(&spec.session_dir), spec.home_keep.as_ref()].into_iter().flatten();
    for path in private.chain(spec.hide.iter().take(PATHS_MAX)) {
        let text = path.to_string_lossy().into_owned();
        add(&format!("read `{text}`"), Box::new(move || opens(&text, libc::O_RDONLY | libc::O_NONBLOCK)));
    }
    for path in spec.protect.iter().take(PATHS_MAX) {
        let text = path.to_string_lossy().into_owned();
        let what = format!("write `{text}`");
        if path.is_dir() {
            let probe = format!("{text}/.flyball");
            add(&what, Box::new(move || opens(&probe, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL)));
        } else {
            add(&what, Box::new(move || opens(&text, libc::O_WRONLY)));
        }
    }
}

/// What namespaces would keep out of reach.
fn apart(spec: &Spec, places: &Places, add: &mut Add<'_>) {
    let supervisor = Is(places.supervisor as isize);
    add("signal the supervisor", call(libc::SYS_kill, [supervisor, Is(0)]));
    add("limit the supervisor", call(libc::SYS_prlimit64, [supervisor, flag(libc::RLIMIT_CORE as i32), Words(&[0])]));
    add("slow the supervisor down", call(libc::SYS_setpriority, [Is(0), supervisor, Is(19)]));
    for name in ["mem", "environ", "maps", "fd/0", "root/etc/passwd", "cwd"] {
        let path = format!("/proc/{}/{name}", places.supervisor);
        add(&format!("reach into the supervisor by `{path}`"), Box::new(move || opens(&path, libc::O_RDONLY)));
    }
    for (family, kind) in [
        (libc::AF_INET, libc::SOCK_STREAM),
        (libc::AF_INET6, libc::SOCK_STREAM),
        (libc::AF_INET, libc::SOCK_DGRAM),
        (libc::AF_UNIX, libc::SOCK_DGRAM),
    ] {
        add("open a socket of the machine's", call(libc::SYS_socket, [flag(family), flag(kind), Is(0)]));
    }
    add("use shared memory", call(libc::SYS_shmget, [Is(0), Is(4096), flag(libc::IPC_CREAT | 0o600)]));
    add("list a folder of the session's", {
        let path = spec.session_dir.join("workspace").to_string_lossy().into_owned();
        Box::new(move || opens(&path, libc::O_RDONLY | libc::O_DIRECTORY))
    });
    for path in [spec.workspace.as_path(), spec.home.as_path(), Path::new("/"), Path::new("/tmp")] {
        let path = path.to_string_lossy().into_owned();
        let what = format!("list `{path}`");
        add(&what, Box::new(move || opens(&path, libc::O_RDONLY | libc::O_DIRECTORY)));
    }
}

fn call<const N: usize>(number: libc::c_long, args: [Arg<'static>; N]) -> Box<dyn Fn() -> bool> {
    Box::new(move || attempt(number, &args))
}

fn flag(bits: i32) -> Arg<'static> {
    Is(bits as isize)
}

fn opens(path: &str, flags: i32) -> bool {
    let Ok(path) = CString::new(path) else { return false };
    let flags = flag(flags | libc::O_CLOEXEC);
    attempt(libc::SYS_openat, &[flag(libc::AT_FDCWD), Text(&path), flags, Is(0o600)])
}
