//! What is checked and made before the launcher starts: the session's folders, the control groups, the orders.

use super::apart;
use super::cgroup::{Cgroup, Hierarchies};
use super::confine::LANDLOCK_ABI_MIN;
use super::error::LaunchError;
use super::home::make_dir;
use super::wire::Boot;
use crate::places::Places;
use crate::spec::{Spec, Terminal, Weakness};
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// The lock of a folder that one launch has for itself, held by supervisor and launcher.
pub(super) const LOCK: &str = "lock";

/// What stands before the launcher starts.
pub(super) struct Prepared {
    pub(super) cgroup: Option<Cgroup>,
    pub(super) weaker: Vec<Weakness>,
    pub(super) nproc_max: Option<u64>,
    /// The workspace stands in the session's folder as a copy.
    pub(super) is_copy: bool,
    /// There are no namespaces: what the program may touch.
    pub(super) places: Option<Places>,
    /// Held while the session runs: its layers have one writer.
    pub(super) locks: Vec<OwnedFd>,
}

/// Whether a session can be had without namespaces: by an ordinary user, where Landlock can stand alone.
pub(crate) fn can_stand_apart() -> bool {
    !rustix::process::geteuid().is_root() && landlock_abi() >= apart::ALONE_ABI_MIN
}

/// Checks the spec against the machine and makes the session's folders, and its groups in `hierarchies` if these were looked up
/// before. `is_apart`: there are no namespaces, and the
/// workspace was copied.
pub(super) fn prepare(spec: &Spec, is_apart: bool, hierarchies: Option<&Hierarchies>) -> Result<Prepared, LaunchError> {
    strings(spec)?;
    workspace(spec)?;
    if spec.terminal == Terminal::Inherit {
        streams()?;
    }
    let is_ordinary = !rustix::process::geteuid().is_root();
    let mut weaker = Vec::new();
    let mut accept = |weakness: Weakness, found: String| {
        if !spec.accept_weaker.contains(&weakness) {
            return Err(LaunchError::Weaker { weakness, found });
        }
        weaker.push(weakness);
        Ok(())
    };
    let abi = landlock_abi();
    if abi < LANDLOCK_ABI_MIN {
        accept(Weakness::Landlock, format!("Landlock ABI {abi}, needed is {LANDLOCK_ABI_MIN}"))?;
    }
    let is_copy = has_copy(spec);
    let locks = session_dirs(spec, is_copy)?;

    let cgroup = match hierarchies {
        Some(hierarchies) => Cgroup::new(&spec.limits, hierarchies),
        None => {
            let hierarchies = Hierarchies::of_this_process();
            hierarchies.remove_stale();
            Cgroup::new(&spec.limits, &hierarchies)
        }
    };
    let mut unlimited: Vec<&str> = match &cgroup {
        Some(cgroup) => cgroup.unlimited.clone(),
        None => [
            spec.limits.pids_max.map(|_| "pids"),
            spec.limits.memory_bytes_max.map(|_| "memory"),
            spec.limits.cpu_percent_max.map(|_| "cpu"),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    if is_apart {
        accept(Weakness::Namespaces, "there are no namespaces for this user".to_owned())?;
    }
    // In a user namespace of its own, RLIMIT_NPROC counts exactly the processes of this sandbox (kernel 5.14).
    let is_counted = is_ordinary && !is_apart;
    let nproc_max = spec.limits.pids_max.filter(|_| is_counted && unlimited.contains(&"pids"));
    if nproc_max.is_some() {
        unlimited.retain(|name| *name != "pids");
    }
    if !unlimited.is_empty() {
        accept(Weakness::Limits, format!("no cgroup controller for {} that this user can use", unlimited.join(", ")))?;
    }
    if is_copy {
        // Announced, not refused: a copy keeps the user's tree as untouched as an overlay does.
        weaker.push(Weakness::Overlay);
    }
    if !crate::exits::are_told() {
        weaker.push(Weakness::ExitStatus);
    }
    if !cgroup.as_ref().is_some_and(Cgroup::has_freezer) {
        // Announced, not refused: stopping by signal pauses as well.
        weaker.push(Weakness::Freezer);
    }
    let places = match is_apart {
        true => Some(apart::places(spec).map_err(|failed| setup_error(failed.step, failed.path, failed.source))?),
        false => None,
    };
    Ok(Prepared { cgroup, weaker, nproc_max, is_copy, places, locks })
}

/// The streams that the program keeps. A datagram names its receiver with each send: in the machine's own network, where the
/// socket was made, and to any unix socket whose folder the session exposes. No call that is mediated would stand in its way.
fn streams() -> Result<(), LaunchError> {
    use rustix::net::{SocketType, sockopt::socket_type};
    use rustix::stdio::{stderr, stdin, stdout};
    let streams: [(fn() -> BorrowedFd<'static>, _); 3] =
        [(stdin, "standard input"), (stdout, "standard output"), (stderr, "standard error")];
    for (stream, name) in streams {
        let kind = match socket_type(stream()) {
            // Connected for good, or to be connected by a call that is mediated.
            Ok(SocketType::STREAM | SocketType::SEQPACKET) => continue,
            Ok(SocketType::DGRAM) => "datagrams",
            Ok(_) => "raw packets",
            Err(Errno::NOTSOCK | Errno::BADF) => continue,
            Err(errno) => return Err(setup_error(format!("looking at {name}"), None, errno.into())),
        };
        return Err(LaunchError::OpenStream { name, kind });
    }
    Ok(())
}

/// The launcher's orders, sealed.
pub(super) fn orders(spec: &Spec, filter: &[libc::sock_filter], prepared: &Prepared) -> io::Result<OwnedFd> {
    let boot = Boot {
        spec: prepared.places.as_ref().map_or_else(|| spec.clone(), |places| apart::moved(spec, places)),
        filter: filter.iter().map(|part| (part.code, part.jt, part.jf, part.k)).collect(),
        has_landlock: !prepared.weaker.contains(&Weakness::Landlock),
        is_copy: prepared.is_copy,
        nproc_max: prepared.nproc_max,
        places: prepared.places.clone(),
    };
    let memfd = rustix::fs::memfd_create("flyball-orders", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = fs::File::from(memfd);
    file.write_all(&serde_json::to_vec(&boot).map_err(io::Error::other)?)?;
    file.seek(SeekFrom::Start(0))?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

/// The error that a failed step of the set-up stands for.
pub(super) fn setup_error(step: String, path: Option<String>, source: io::Error) -> LaunchError {
    if step.contains("namespace") {
        return LaunchError::Weaker { weakness: Weakness::Namespaces, found: format!("{step}: {source}") };
    }
    if step.contains("inner network") || step.contains("fresh /proc") {
        return LaunchError::Weaker { weakness: Weakness::Namespaces, found: format!("{step}: {source}") };
    }
    if step.contains("filter") {
        // EINVAL: an older kernel, which knows a flag less.
        return LaunchError::Weaker { weakness: Weakness::Mediation, found: format!("{step}: {source}") };
    }
    if step.contains("overlay") {
        return LaunchError::Weaker { weakness: Weakness::Overlay, found: format!("{step}: {source}") };
    }
    if source.raw_os_error() == Some(libc::ENOSPC) && path.is_some() {
        return LaunchError::SessionDirFull { path: path.unwrap_or_default().into() };
    }
    LaunchError::Setup { step, path, source }
}

/// The Landlock ABI of this kernel; 0 when there is none.
pub(crate) fn landlock_abi() -> i32 {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no ruleset (NULL, size 0) and only returns a number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    i32::try_from(abi).unwrap_or(0).max(0)
}

fn strings(spec: &Spec) -> Result<(), LaunchError> {
    let bad = |what: &dyn AsRef<std::ffi::OsStr>, why: &str| LaunchError::BadSpec {
        what: what.as_ref().to_string_lossy().into_owned(),
        why: why.to_owned(),
    };
    if spec.argv.is_empty() {
        return Err(bad(&"argv", "there is no program"));
    }
    let pairs = spec.env.iter().flat_map(|(name, value)| [name, value]);
    if let Some(text) = spec.argv.iter().chain(pairs).find(|text| text.as_bytes().contains(&0)) {
        return Err(bad(text, "it holds a NUL byte"));
    }
    let single = [&spec.cwd, &spec.session_dir, &spec.workspace, &spec.home];
    let many = spec
        .hide
        .iter()
        .chain(&spec.protect)
        .chain(&spec.expose)
        .chain(&spec.programs)
        .chain(&spec.home_keep)
        .chain(&spec.left)
        .chain(&spec.lower);
    for path in single.into_iter().chain(many) {
        if !path.is_absolute() || path.components().any(|part| matches!(part, std::path::Component::ParentDir)) {
            return Err(bad(path, "the path is not absolute and canonical"));
        }
        if path.to_str().is_none() {
            return Err(bad(path, "the path is not valid UTF-8"));
        }
    }
    Ok(())
}

fn workspace(spec: &Spec) -> Result<(), LaunchError> {
    let path = spec.lower().to_owned();
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LaunchError::WorkspaceMissing { path }),
        Err(source) => return Err(LaunchError::WorkspaceUnreadable { path, source }),
        Ok(meta) if !meta.is_dir() => return Err(LaunchError::WorkspaceNotDirectory { path }),
        Ok(_) => {}
    }
    fs::read_dir(&path).map_err(|source| LaunchError::WorkspaceUnreadable { path: path.clone(), source })?;
    let path = spec.workspace.clone();
    for private in [Some(&spec.session_dir), spec.home_keep.as_ref()].into_iter().flatten() {
        if private.starts_with(&path) || path.starts_with(private) {
            return Err(LaunchError::SessionInsideWorkspace { workspace: path, session_dir: private.clone() });
        }
    }
    if !spec.cwd.starts_with(&path) {
        return Err(LaunchError::CwdOutsideWorkspace { cwd: spec.cwd.clone(), workspace: path });
    }
    Ok(())
}

/// Whether the workspace was copied for this session: the copy's manifest says so.
fn has_copy(spec: &Spec) -> bool {
    let layers = spec.session_dir.join("workspace");
    layers.join("base").exists() && layers.join("upper").exists()
}

fn session_dirs(spec: &Spec, is_copy: bool) -> Result<Vec<OwnedFd>, LaunchError> {
    let layers = spec.session_dir.join("workspace");
    let upper = layers.join("upper");
    if !is_copy {
        for path in [upper.clone(), layers.join("work")] {
            make_dir(&path).map_err(|source| folder_error(&path, source))?;
        }
        like(&upper, spec.left.as_deref().unwrap_or(spec.lower())).map_err(|source| folder_error(&upper, source))?;
    }
    let mut locks = vec![lock(&spec.session_dir)?];
    if let Some(keep) = &spec.home_keep {
        make_dir(keep).map_err(|source| folder_error(keep, source))?;
        locks.push(lock(keep)?);
    }
    Ok(locks)
}

/// A process that was just forked holds its parent's locks until it runs a program: such are waited for.
const LOCK_WAIT: Duration = Duration::from_millis(400);

fn lock(folder: &Path) -> Result<OwnedFd, LaunchError> {
    let path = folder.join(LOCK);
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
        .map_err(|error| folder_error(&path, error.into()))?;
    let since = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if since.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_WAIT / 20),
            Err(Errno::WOULDBLOCK) => return Err(LaunchError::Busy { path: folder.to_owned() }),
            Err(error) => return Err(folder_error(&path, error.into())),
        }
    }
}

/// Gives a layer the owner, mode, access lists and times of what it lies over: the overlay shows the upper one's.
pub(super) fn like(upper: &Path, lower: &Path) -> io::Result<()> {
    let meta = fs::metadata(lower)?;
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        let mut list = [0; 4096];
        // Where one of both file systems has none, there is none to be shown.
        if let Some(list) = rustix::fs::lgetxattr(lower, name, &mut list[..]).ok().and_then(|n| list.get(..n)) {
            let _ = rustix::fs::lsetxattr(upper, name, list, rustix::fs::XattrFlags::empty());
        }
    }
    fs::set_permissions(upper, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    // An ordinary user can't give it away, and in its own tree need not.
    let _ = std::os::unix::fs::chown(upper, Some(meta.uid()), Some(meta.gid()));
    let time = rustix::fs::Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() as _ };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, upper, &times, rustix::fs::AtFlags::empty())?)
}

pub(super) fn folder_error(path: &Path, source: io::Error) -> LaunchError {
    match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => LaunchError::SessionDirFull { path: path.to_owned() },
        _ => LaunchError::SessionDirUnwritable { path: path.to_owned(), source },
    }
}
