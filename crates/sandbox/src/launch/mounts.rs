//! What the agent sees: the system read-only, private places, its home, the workspace's overlay or copy (SANDBOX.md, layers 1, 2).

use super::home;
use super::root::{READ_ONLY, Root, WRITABLE, attach, mount_at, tree};
use super::step::{At, Step};
use super::sys;
use super::{DNS_ADDRESS, wire::Boot};
use crate::spec::{Network, Spec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The system, where it is there. Not `/home`, `/root`, `/mnt`, `/media`, `/srv`, `/boot`: those are data.
pub(super) const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix",
    "/gnu",
    "/snap",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/lib/alternatives",
    "/var/lib/pacman",
    "/var/cache/fontconfig",
];
/// Secrets of the system that a root user could read.
pub(super) const SYSTEM_SECRETS: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssl/private",
    "/etc/NetworkManager/system-connections",
    "/etc/wireguard",
    "/etc/krb5.keytab",
    "/etc/kubernetes",
    "/etc/rancher",
];
const PROC: &str = "/proc";
/// What of `/proc` speaks of, or to, the whole machine.
const PROC_MASKED: &[&str] = &[
    "sysrq-trigger",
    "kcore",
    "kmsg",
    "keys",
    "key-users",
    "timer_list",
    "latency_stats",
    "sched_debug",
    "acpi",
    "scsi",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "vmallocinfo",
    "interrupts",
];
const PROC_READ_ONLY: &[&str] = &["sys", "irq", "bus", "fs"];
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// Where the program finds what it is told beside its calls, if the session's folder has a file for it. In the root
/// itself, which is read-only: nothing can be moved over it or away.
pub const INBOX: &str = "/.flyball/inbox.jsonl";
/// That file, in the session's folder.
pub(super) const INBOX_FILE: &str = "inbox.jsonl";
/// Where the program finds the certificates that it is to trust, if the session's folder has a file for them. They also stand
/// in place of the system's own, where those are in one file.
pub const TRUST: &str = "/.flyball/trust.pem";
/// That file, in the session's folder.
pub(super) const TRUST_FILE: &str = "trust.pem";
/// The same in Java's form: it stands in place of what Java programs trust.
const JAVA_TRUST: &str = "/.flyball/trust.jks";
/// That file, in the session's folder.
pub const JAVA_TRUST_FILE: &str = "trust.jks";
/// Where Chromium's settings of the machine are (Debian and its kin).
pub const SYSTEM_CHROMIUM: &str = "/etc/chromium";
/// In the session's folder: what stands in their place, if it is there.
pub const CHROMIUM_DIR: &str = "chromium";
/// Where the harness's hooks reach the supervisor.
pub const HOOKS_SOCKET: &str = "/.flyball/hooks.sock";
/// That socket, in the session's folder.
pub const HOOKS_SOCKET_FILE: &str = "hooks.sock";
/// What the harness's hooks call.
pub const HOOKS_PROGRAM: &str = "/.flyball/flyball";
/// In the session's folder: the harness's settings, with hooks, those of that number.
#[must_use]
pub fn hooks_settings_file(n: usize) -> String {
    format!("hooks.{n}")
}
/// Where systems keep the certificates that they trust (Debian and its kin, Fedora and its kin, SUSE, Alpine).
const SYSTEM_TRUST: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Where they keep what Java programs trust (Debian, Fedora, SUSE).
pub const SYSTEM_JAVA_TRUST: &[&str] = &[
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
    "/etc/pki/java/cacerts",
    "/var/lib/ca-certificates/java-cacerts",
];
/// Where a Java of its own has that, below its home.
pub const JAVA_HOME_TRUST: &[&str] = &["lib/security/cacerts", "jre/lib/security/cacerts"];
/// Where masks come from: visible inside, empty and closed.
const MASKS: &str = "/.masked";

/// Begins the new root, on an empty folder, with what takes no knowledge of the session. Runs as init, in its own namespaces.
pub(super) fn begin(base: &Path) -> Step<Root> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing("cutting off the host's mounts")?;
    let root = Root::new(base)?;
    system(&root)?;
    private_places(&root)?;
    devices(&root)?;
    mount_at(root.dir(Path::new(PROC))?, "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, "")
        .doing("mounting a fresh /proc")?;
    make_masks(&root)?;
    close_proc(&root)?;
    Ok(root)
}

/// Completes the new root and moves into it.
pub(super) fn enter(root: Root, boot: &Boot) -> Step<()> {
    let spec = &boot.spec;
    for path in spec.programs.iter().filter(|path| !is_of_system(path)).chain(&spec.expose) {
        if path.exists() {
            root.bind(path, path, READ_ONLY)?;
        }
    }
    home::build(&root, boot)?;
    workspace(&root, boot)?;
    let inbox = spec.session_dir.join(INBOX_FILE);
    if inbox.is_file() {
        root.bind(&inbox, Path::new(INBOX), READ_ONLY | libc::MOUNT_ATTR_NOEXEC)?;
    }
    let trust = spec.session_dir.join(TRUST_FILE);
    let has_trust = trust.is_file();
    if has_trust {
        root.bind(&trust, Path::new(TRUST), READ_ONLY | libc::MOUNT_ATTR_NOEXEC)?;
    }
    let java_trust = spec.session_dir.join(JAVA_TRUST_FILE);
    let has_java_trust = java_trust.is_file();
    if has_java_trust {
        root.bind(&java_trust, Path::new(JAVA_TRUST), READ_ONLY | libc::MOUNT_ATTR_NOEXEC)?;
    }
    let mut protected = protected_trees(spec)?;
    let chromium = spec.session_dir.join(CHROMIUM_DIR);
    if chromium.is_dir() {
        let tree =
            tree(CWD, &chromium, READ_ONLY | libc::MOUNT_ATTR_NOEXEC).at("reading a browser's settings", chromium)?;
        protected.push((SYSTEM_CHROMIUM.into(), tree));
    }
    if let Some(hooks) = &spec.hooks {
        root.bind(&spec.session_dir.join(HOOKS_SOCKET_FILE), Path::new(HOOKS_SOCKET), READ_ONLY)?;
        root.bind(&hooks.program, Path::new(HOOKS_PROGRAM), READ_ONLY)?;
        for (n, place) in hooks.settings.iter().enumerate() {
            let settings = spec.session_dir.join(hooks_settings_file(n));
            let tree = tree(CWD, &settings, READ_ONLY | libc::MOUNT_ATTR_NOEXEC)
                .at("reading the hooks' settings", settings)?;
            protected.push((place.clone(), tree));
        }
    }
    pivot(&root)?;

    // From here `/` is the new root, and paths resolve as they will for the agent.
    for (path, tree) in &protected {
        let place = if is_dir(tree) { root.dir(path)? } else { root.file(path)? };
        attach(tree, &place).at("protecting a path", path)?;
    }
    devpts()?;
    masks(&root, spec)?;
    if shown(spec).any(|path| path.starts_with(PROC) || Path::new(PROC).starts_with(path)) {
        // What was laid over parts of it is closed as it was.
        close_proc(&root)?;
    }
    if spec.network != Network::Closed {
        resolver()?;
    }
    for path in SYSTEM_TRUST.iter().map(Path::new).filter(|path| has_trust && path.is_file()) {
        cover(CWD, Path::new(TRUST), CWD, path)?;
    }
    for path in java_trust_places(spec).iter().filter(|_| has_java_trust) {
        cover(CWD, Path::new(JAVA_TRUST), CWD, path)?;
    }
    sys::mount_setattr(root.fd(), READ_ONLY, false).doing("closing the new root")
}

/// Whether all of this folder, links resolved, is shown already, just so.
fn is_of_system(path: &Path) -> bool {
    let holds = |dir: &&Path| path.starts_with(dir) && fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir());
    SYSTEM.iter().map(Path::new).any(|dir| holds(&dir))
}

/// What of the host's is laid over the new root, where the session says.
fn shown(spec: &Spec) -> impl Iterator<Item = &PathBuf> {
    let settings = spec.hooks.iter().flat_map(|hooks| &hooks.settings);
    [&spec.home, &spec.workspace]
        .into_iter()
        .chain(&spec.programs)
        .chain(&spec.expose)
        .chain(&spec.protect)
        .chain(settings)
}

/// The system's, and that of the Java that the program is told of.
fn java_trust_places(spec: &Spec) -> BTreeSet<PathBuf> {
    let home = spec.env.iter().find(|(name, _)| name == "JAVA_HOME").map(|(_, home)| Path::new(home));
    let own = home.into_iter().flat_map(|home| JAVA_HOME_TRUST.iter().map(|place| home.join(place)));
    let all = SYSTEM_JAVA_TRUST.iter().map(PathBuf::from).chain(own);
    all.filter_map(|path| path.canonicalize().ok()).filter(|path| path.is_file()).collect()
}

fn system(root: &Root) -> Step<()> {
    for path in SYSTEM.iter().map(Path::new) {
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_symlink() => {
                let target = fs::read_link(path).at("reading a link", path)?;
                root.link(path, target.as_os_str())?;
            }
            Ok(meta) if meta.is_dir() => root.bind(path, path, READ_ONLY)?,
            _ => {}
        }
    }
    // What programs ask of the machine's processors; the rest of /sys is not there.
    for path in ["/sys/devices/system/cpu", "/sys/devices/system/node"].map(Path::new) {
        if path.is_dir() {
            root.bind(path, path, READ_ONLY | libc::MOUNT_ATTR_NOEXEC)?;
        }
    }
    Ok(())
}

fn private_places(root: &Root) -> Step<()> {
    for path in ["/tmp", "/var/tmp", "/dev/shm"] {
        root.tmpfs(Path::new(path), "mode=1777")?;
    }
    root.tmpfs(Path::new("/run"), "mode=0755")?;
    root.dir(Path::new("/run/lock"))?;
    root.link(Path::new("/var/run"), "/run".as_ref())?;
    root.link(Path::new("/var/lock"), "/run/lock".as_ref())
}

fn devices(root: &Root) -> Step<()> {
    let dev = Path::new("/dev");
    for name in DEVICES {
        let path = dev.join(name);
        // Read-only binds the node itself, whose mode and times are the host's; what is written to it goes through.
        root.bind(&path, &path, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)?;
    }
    root.dir(Path::new("/dev/pts"))?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        root.link(&dev.join(name), target.as_ref())?;
    }
    Ok(())
}

fn devpts() -> Step<()> {
    rustix::mount::mount(
        "devpts",
        "/dev/pts",
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some(c"newinstance,ptmxmode=0666,mode=620"),
    )
    .doing("mounting private terminals")
}

fn workspace(root: &Root, boot: &Boot) -> Step<()> {
    let spec = &boot.spec;
    let layers = spec.session_dir.join("workspace");
    if boot.is_copy {
        return root.bind(&layers.join("upper"), &spec.workspace, WRITABLE);
    }
    let mut lower: Vec<&Path> = spec.left.iter().map(PathBuf::as_path).collect();
    // A copy is the whole tree: what it lacks was removed in it.
    if !spec.left.as_ref().is_some_and(|left| left.with_file_name("base").exists()) {
        lower.push(spec.lower());
    }
    let is_kept = spec.left.is_none();
    root.overlay(&spec.workspace, &lower, &layers.join("upper"), &layers.join("work"), is_kept)
}

/// The protected paths as the host has them now, to be laid over whatever the layers say.
fn protected_trees(spec: &Spec) -> Step<Vec<(PathBuf, OwnedFd)>> {
    let mut trees = Vec::new();
    for path in &spec.protect {
        // Of a tree that begins in another state, as it has them.
        let source = match (&spec.lower, path.strip_prefix(&spec.workspace)) {
            (Some(lower), Ok(rel)) => lower.join(rel),
            _ => path.clone(),
        };
        match tree(CWD, &source, READ_ONLY) {
            Ok(tree) => trees.push((path.clone(), tree)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("reading a protected path", path),
        }
    }
    Ok(trees)
}

fn is_dir(tree: &OwnedFd) -> bool {
    rustix::fs::fstat(tree).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn pivot(root: &Root) -> Step<()> {
    rustix::process::fchdir(root.fd()).doing("entering the new root")?;
    rustix::process::pivot_root(".", ".").doing("making it the root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).doing("leaving the old root")?;
    rustix::process::chdir("/").doing("entering the new root")
}

/// Empty things that nobody may open, to be laid over what is not to be seen.
fn make_masks(root: &Root) -> Step<()> {
    let masks = root.dir(Path::new(MASKS))?;
    rustix::fs::mkdirat(&masks, "dir", Mode::empty()).doing("making masks")?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(&masks, "file", flags, Mode::empty()).doing("making masks").map(drop)
}

/// Closes what of `/proc` is not the session's: that is the same of any.
fn close_proc(root: &Root) -> Step<()> {
    let (masks, proc) = (root.dir(Path::new(MASKS))?, root.dir(Path::new(PROC))?);
    for name in PROC_MASKED.iter().map(Path::new) {
        mask(&masks, &proc, name)?;
    }
    for name in PROC_READ_ONLY.iter().map(Path::new) {
        if rustix::fs::statat(&proc, name, AtFlags::empty()).is_ok() {
            cover(&proc, name, &proc, name)?;
        }
    }
    Ok(())
}

fn masks(root: &Root, spec: &Spec) -> Step<()> {
    let masks = root.dir(Path::new(MASKS))?;
    let host_keys = fs::read_dir("/etc/ssh").into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ssh_host_") && name.ends_with("_key")
    });
    let fixed = SYSTEM_SECRETS.iter().map(PathBuf::from);
    let private = [Some(&spec.session_dir), spec.home_keep.as_ref()].into_iter().flatten();
    for path in spec.hide.iter().chain(private).cloned().chain(fixed).chain(host_keys) {
        mask(&masks, CWD, &path)?;
    }
    Ok(())
}

/// Lays something empty and closed over a path, links resolved; what can't be reached needs no mask.
fn mask(masks: &OwnedFd, at: impl AsFd, path: &Path) -> Step<()> {
    match rustix::fs::statat(&at, path, AtFlags::empty()) {
        Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => cover(masks, Path::new("dir"), at, path),
        Ok(_) => cover(masks, Path::new("file"), at, path),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => Ok(()),
        Err(error) => Err(error).at("looking at a path to hide", path),
    }
}

/// Lays `source`, read below `from`, over `path`, read below `at`.
fn cover(from: impl AsFd, source: &Path, at: impl AsFd, path: &Path) -> Step<()> {
    let place = rustix::fs::openat(at, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at("opening a path to cover", path)?;
    let tree = tree(from, source, READ_ONLY | libc::MOUNT_ATTR_NOEXEC).at("copying a mount", source)?;
    attach(&tree, &place).at("covering a path", path)
}

/// Puts the broker's name server in place of the host's.
fn resolver() -> Step<()> {
    let path = Path::new("/etc/resolv.conf");
    let own = Path::new(MASKS).join("resolv.conf");
    let text = format!("# flyball: names are answered by the session's broker\nnameserver {DNS_ADDRESS}\n");
    fs::write(&own, &text).doing("writing the resolver's configuration")?;
    if path.exists() {
        return cover(CWD, &own, CWD, path);
    }
    // Often a link into /run, which is private and empty here. Where it is absent for good, programs ask 127.0.0.1.
    if let Ok(target) = fs::read_link(path) {
        let target = Path::new("/etc").join(target);
        if let Some(parent) = target.parent() {
            let _ = fs::create_dir_all(parent);
        }
        let _ = fs::write(&target, &text);
    }
    Ok(())
}
