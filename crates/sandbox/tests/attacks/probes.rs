//! Attempts of one call each (`inside/probe.c`), all made in one sandbox; what each was answered with says who stopped it.

use crate::scene::{deny, paths};
use crate::{Attack, run, scene_with, told};
use flyball_sandbox::{Call, Decision, Refusal};
use libtest_mimic::Trial;
use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::Stdio;
use std::sync::OnceLock;

pub const ALL: &str = "probes";

/// Name, layer, answer (`|`: as root or as an ordinary user).
#[rustfmt::skip]
const PROBES: &[(&str, &str, &str)] = &[
    ("io_uring", "seccomp", "ENOSYS"),
    ("io_uring-enter", "seccomp", "ENOSYS"),
    ("openat2", "seccomp", "ENOSYS"),
    ("clone3", "seccomp", "ENOSYS"),
    ("open-by-handle", "seccomp", "EPERM"),
    ("name-to-handle", "seccomp", "EOPNOTSUPP"),
    ("userfaultfd", "seccomp", "EPERM"),
    ("bpf", "seccomp", "EPERM"),
    ("perf", "seccomp", "EPERM"),
    ("keyctl", "seccomp", "EPERM"),
    ("add-key", "seccomp", "EPERM"),
    ("request-key", "seccomp", "EPERM"),
    ("kexec", "seccomp", "EPERM"),
    ("module", "seccomp", "EPERM"),
    ("reboot", "seccomp", "EPERM"),
    ("swapon", "seccomp", "EPERM"),
    ("settimeofday", "seccomp", "EPERM"),
    ("acct", "seccomp", "EPERM"),
    ("iopl", "seccomp", "EPERM"),
    ("syslog", "seccomp", "EPERM"),
    ("fanotify", "seccomp", "EPERM"),
    ("lease", "seccomp", "EPERM"),
    ("sethostname", "seccomp", "EPERM"),
    ("sysctl", "seccomp", "ENOSYS"),
    ("ldt", "seccomp", "ENOSYS"),
    ("unknown-call", "seccomp", "ENOSYS"),
    ("tiocsti", "seccomp", "EPERM"),
    ("tiocsti-high-bits", "seccomp", "EPERM"),
    ("tioclinux", "seccomp", "EPERM"),
    ("set-flags", "seccomp", "EPERM"),
    ("set-fsxattr", "seccomp", "EPERM"),
    ("x32", "seccomp", "ENOSYS"),
    ("x32-exec", "seccomp", "ENOSYS"),
    ("int80", "seccomp", "SIGSYS"),
    ("int80-creat", "seccomp", "SIGSYS"),
    ("new-user-namespace", "seccomp", "EPERM"),
    ("new-mount-namespace", "seccomp", "EPERM"),
    ("new-net-namespace", "seccomp", "EPERM"),
    ("new-pid-namespace", "seccomp", "EPERM"),
    ("new-time-namespace", "seccomp", "EPERM"),
    ("new-user-namespace-by-clone", "seccomp", "EPERM"),
    ("setns", "seccomp", "EPERM"),
    ("chroot", "seccomp", "EPERM"),
    ("pivot-root", "seccomp", "EPERM"),
    ("mount", "seccomp", "EPERM"),
    ("bind-mount", "seccomp", "EPERM"),
    ("remount", "seccomp", "EPERM"),
    ("umount", "seccomp", "EPERM"),
    ("fsopen", "seccomp", "EPERM"),
    ("open-tree", "seccomp", "EPERM"),
    ("move-mount", "seccomp", "EPERM"),
    ("mount-setattr", "seccomp", "EPERM"),
    ("trace-sibling", "seccomp", "EPERM"),
    ("trace-me", "seccomp", "EPERM"),
    ("seize-init", "seccomp", "EPERM"),
    ("vm-writev", "seccomp", "EPERM"),
    ("vm-readv", "seccomp", "EPERM"),
    ("pidfd-getfd", "seccomp", "EPERM"),
    ("kcmp", "seccomp", "EPERM"),
    ("process-madvise", "seccomp", "EPERM"),
    ("sibling-mem", "mediation", "EACCES"),
    ("own-mem", "mediation", "EACCES"),
    ("own-mem-by-o-path", "mediation", "EACCES"),
    ("map-files", "namespace", "EPERM"),
    ("own-exe", "namespace", "ETXTBSY"),
    ("init-root", "namespace", "EROFS|EACCES"),
    ("init-root-read", "namespace", "EACCES"),
    ("init-cwd", "namespace", "EACCES"),
    ("init-fd", "namespace", "EACCES"),
    ("init-mem", "namespace", "EACCES"),
    ("init-environ", "namespace", "EACCES"),
    ("init-map-files", "namespace", "EACCES"),
    ("sibling-root", "namespace", "EROFS|EACCES"),
    ("sibling-cwd", "mediation", "ENOTRECOVERABLE"),
    ("sibling-fd", "mediation", "ENOTRECOVERABLE"),
    ("dev-fd", "mediation", "ENOTRECOVERABLE"),
    ("core-pattern", "mediation", "EACCES"),
    ("uid-map", "mediation", "EACCES"),
    ("sysrq", "namespace", "ENOENT"),
    ("attr-exec", "mediation", "EACCES"),
    ("kill-supervisor", "namespace", "ESRCH"),
    ("pidfd-supervisor", "namespace", "ESRCH"),
    ("queue-supervisor", "namespace", "ESRCH"),
    ("proc-supervisor", "namespace", "ENOENT"),
    ("stop-init", "namespace", "EPERM"),
    ("own-listener", "seccomp", "EPERM"),
    ("own-listener-killable", "seccomp", "EPERM"),
    ("filter-on-top", "mediation", "ENOTRECOVERABLE"),
    ("trace-filter-on-top", "mediation", "ENOTRECOVERABLE"),
    ("filter-by-prctl", "mediation", "ENOTRECOVERABLE"),
    ("undo-no-new-privs", "namespace", "EINVAL"),
    ("own-landlock", "seccomp", "EOPNOTSUPP"),
    ("packet-socket", "seccomp", "EAFNOSUPPORT"),
    ("raw-socket", "seccomp", "EPERM"),
    ("raw6-socket", "seccomp", "EPERM"),
    ("ping-socket", "seccomp", "EPROTONOSUPPORT"),
    ("vsock", "seccomp", "EAFNOSUPPORT"),
    ("alg-socket", "seccomp", "EAFNOSUPPORT"),
    ("bluetooth", "seccomp", "EAFNOSUPPORT"),
    ("can", "seccomp", "EAFNOSUPPORT"),
    ("tipc", "seccomp", "EAFNOSUPPORT"),
    ("xdp", "seccomp", "EAFNOSUPPORT"),
    ("sctp", "seccomp", "EPROTONOSUPPORT"),
    ("mptcp", "seccomp", "EPROTONOSUPPORT"),
    ("netlink-audit", "seccomp", "EAFNOSUPPORT"),
    ("netlink-netfilter", "seccomp", "EAFNOSUPPORT"),
    ("netlink-uevent", "seccomp", "EAFNOSUPPORT"),
    ("tipc-pair", "seccomp", "EAFNOSUPPORT"),
    ("new-address", "namespace", "EPERM"),
    ("host-abstract", "network", "ECONNREFUSED"),
    ("host-socket-in-workspace", "overlay", "ECONNREFUSED"),
    ("host-socket-in-home", "overlay", "ECONNREFUSED"),
    ("host-socket-in-tmp", "namespace", "ENOENT"),
    ("host-dbus", "namespace", "ENOENT"),
    ("host-docker", "namespace", "ENOENT"),
    ("host-datagram", "overlay", "ECONNREFUSED"),
    ("xattr-trusted-overlay", "mediation", "EPERM"),
    ("xattr-user-overlay", "mediation", "EPERM"),
    ("xattr-overlay-redirect", "mediation", "EPERM"),
    ("xattr-overlay-nested", "mediation", "EPERM"),
    ("xattr-overlay-remove", "mediation", "EPERM"),
    ("xattr-overlay-by-fd", "mediation", "EPERM"),
    ("xattr-overlay-at", "seccomp", "ENOSYS"),
    ("xattr-capability", "mediation", "EPERM"),
    ("whiteout", "mediation", "EPERM"),
    ("device-node", "mediation", "EPERM"),
    ("block-device-node", "mediation", "EPERM"),
    ("rename-whiteout", "mediation", "EINVAL"),
    ("link-out", "overlay", "EXDEV"),
    ("link-in", "namespace", "EXDEV"),
    ("move-workspace", "namespace", "EBUSY"),
    ("remove-tmp", "namespace", "EBUSY"),
    ("write-system", "namespace", "EROFS"),
    ("chmod-device", "namespace", "EROFS"),
    ("touch-device", "namespace", "EROFS"),
    ("chmod-stdin", "mediation", "EPERM"),
    ("chmod-stdin-by-path", "mediation", "EACCES"),
    ("chown-stdin", "mediation", "EPERM"),
    ("xattr-stdin", "mediation", "EPERM"),
    ("touch-stdin", "mediation", "EACCES"),
    ("write-stdin", "mediation", "EACCES"),
    ("link-stdin", "mediation", "EPERM"),
    ("run-stdin", "mediation", "EPERM"),
    ("run-stdin-by-path", "mediation", "EACCES"),
    ("memfd", "mediation", "EACCES"),
    ("memfd-by-path", "mediation", "EACCES"),
    ("memfd-by-dev-fd", "mediation", "EACCES"),
    ("deleted", "mediation", "EACCES"),
    ("deleted-by-path", "mediation", "EACCES"),
    ("tmpfile", "mediation", "EACCES"),
    ("denied-program", "mediation", "ENOTRECOVERABLE"),
    ("denied-program-by-link", "mediation", "ENOTRECOVERABLE"),
    ("denied-program-by-fd", "mediation", "ENOTRECOVERABLE"),
    ("dots", "mediation", "ENOTRECOVERABLE"),
    ("slashes", "mediation", "ENOTRECOVERABLE"),
    ("through-proc", "mediation", "ENOTRECOVERABLE"),
    ("through-task", "mediation", "ENOTRECOVERABLE"),
    ("through-dev-fd", "mediation", "ENOTRECOVERABLE"),
    ("through-root", "mediation", "ENOTRECOVERABLE"),
    ("through-link", "mediation", "ENOTRECOVERABLE"),
    ("through-30-links", "mediation", "ENOTRECOVERABLE"),
    ("link-loop", "mediation", "ELOOP"),
    ("long-name", "mediation", "ENAMETOOLONG"),
    ("long-path", "mediation", "ENAMETOOLONG"),
    ("full-path", "mediation", "ENAMETOOLONG"),
    ("bad-pointer", "mediation", "EFAULT"),
    ("cut-string", "mediation", "EFAULT"),
    ("non-utf8", "mediation", "ENOTRECOVERABLE"),
    ("by-dirfd", "mediation", "ENOTRECOVERABLE"),
    ("high-bits", "mediation", "ENOTRECOVERABLE"),
    ("creat", "mediation", "ENOTRECOVERABLE"),
    ("rename-onto", "mediation", "ENOTRECOVERABLE"),
    ("link-onto", "mediation", "ENOTRECOVERABLE"),
    ("tmpfile-onto", "mediation", "ENOTRECOVERABLE"),
    ("exchange", "mediation", "ENOTRECOVERABLE"),
    ("o-path-then-write", "mediation", "ENOTRECOVERABLE"),
    ("proc-fd-dir", "mediation", "ENOTRECOVERABLE"),
    ("truncate", "mediation", "ENOTRECOVERABLE"),
    ("stdin-is-unchanged", "mediation", "true"),
    ("null-is-unchanged", "mediation", "true"),
    ("no-datagram-came", "network", "true"),
    ("denied-was-never-made", "mediation", "true"),
];

/// Where there are no namespaces: who stops it instead, and the answer. `proc-supervisor` asks only for what `/proc` tells
/// everybody of a process, which docs/without-namespaces.md states.
#[rustfmt::skip]
const INSTEAD: &[(&str, &str, &str)] = &[
    ("sibling-cwd", "mediation", "EACCES"),
    ("sibling-fd", "mediation", "EACCES"),
    ("kill-supervisor", "Landlock", "EPERM"),
    ("pidfd-supervisor", "Landlock", "EPERM"),
    ("queue-supervisor", "Landlock", "EPERM"),
    ("proc-supervisor", "none", "OPEN"),
    ("raw-socket", "seccomp", "EACCES"),
    ("raw6-socket", "seccomp", "EACCES"),
    ("ping-socket", "seccomp", "EACCES"),
    ("sctp", "seccomp", "EACCES"),
    ("mptcp", "seccomp", "EACCES"),
    ("host-abstract", "mediation", "EACCES"),
    ("host-socket-in-home", "mediation", "EACCES"),
    ("host-socket-in-tmp", "mediation", "EACCES"),
    // There is no such socket: its descriptor is none.
    ("host-datagram", "seccomp", "EBADF"),
    ("link-out", "mediation", "EROFS"),
    ("link-in", "mediation", "EROFS"),
    ("move-workspace", "mediation", "EROFS"),
    ("remove-tmp", "mediation", "EROFS"),
    ("chmod-stdin", "mediation", "EROFS"),
    ("chmod-stdin-by-path", "mediation", "EROFS"),
    ("chown-stdin", "mediation", "EROFS"),
    ("xattr-stdin", "mediation", "EROFS"),
    ("touch-stdin", "mediation", "EROFS"),
    ("write-stdin", "mediation", "EROFS"),
    ("link-stdin", "mediation", "EROFS"),
    ("run-stdin", "Landlock", "EACCES"),
];

pub fn attacks() -> Vec<Attack> {
    vec![(ALL, "", all)]
}

pub fn trials(user: &'static str) -> Vec<Trial> {
    static ROOT: OnceLock<HashMap<String, String>> = OnceLock::new();
    static ORDINARY: OnceLock<HashMap<String, String>> = OnceLock::new();
    static APART: OnceLock<HashMap<String, String>> = OnceLock::new();
    let trial = |probe: &'static (&'static str, &'static str, &'static str)| {
        let instead = INSTEAD.iter().find(|(name, ..)| user == "apart" && *name == probe.0);
        let &(name, layer, expect) = instead.unwrap_or(probe);
        let trial = Trial::test(format!("{user}::{name}"), move || {
            let answers = match user {
                "root" => &ROOT,
                "ordinary" => &ORDINARY,
                _ => &APART,
            };
            let answers = answers.get_or_init(|| self::answers(user));
            let answer = answers.get(name).map_or("nothing", String::as_str);
            if expect.split('|').any(|one| one == answer) {
                Ok(())
            } else {
                Err(format!("answered with {answer}, expected {expect}").into())
            }
        });
        trial.with_kind(layer)
    };
    PROBES.iter().map(trial).collect()
}

fn answers(user: &str) -> HashMap<String, String> {
    // What the agent's standard input is: a program of the host's that is nowhere inside.
    let stdin = tempfile::NamedTempFile::new_in("/var/tmp").unwrap().into_temp_path();
    std::fs::copy("/bin/true", &stdin).unwrap();
    crate::open(&stdin);
    if user != "root" {
        let _ = std::os::unix::fs::chown(&stdin, Some(crate::NOBODY), Some(crate::NOBODY));
    }
    let output = run(ALL, user, Stdio::from(std::fs::File::open(&stdin).unwrap()));
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers =
        text.lines().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{user}:\n{text}");
    }
    answers
}

/// Makes every attempt and prints the answers.
fn all() {
    let mut scene = scene_with("probe");
    let workspace = scene.workspace();
    for (name, text) in [("file", "as it was"), ("denied-there", "as it was")] {
        std::fs::write(workspace.join(name), text).unwrap();
    }
    std::fs::create_dir(workspace.join("d")).unwrap();
    std::fs::copy("/bin/true", workspace.join("denied-program")).unwrap();
    // Services of the host's: by a name in no file system, and by path where the agent can see it.
    let name = format!("flyball-attack-{}", std::process::id());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let _listener = UnixListener::bind(workspace.join("host.socket")).unwrap();
    let datagram = UnixDatagram::bind(workspace.join("host.datagram")).unwrap();
    datagram.set_nonblocking(true).unwrap();
    std::fs::create_dir(scene.base.path().join("home/.agent")).unwrap();
    let in_home = scene.base.path().join("home/.agent/socket");
    let _home = UnixListener::bind(&in_home).unwrap();
    let in_tmp = scene.base.path().join("socket");
    let _tmp = UnixListener::bind(&in_tmp).unwrap();
    scene.env = vec![
        ("SUPERVISOR".into(), std::process::id().to_string().into()),
        ("ABSTRACT".into(), name.into()),
        ("HOME_SOCKET".into(), in_home.into()),
        ("TMP_SOCKET".into(), in_tmp.into()),
    ];
    let before = std::fs::metadata("/proc/self/fd/0").unwrap();
    let null = std::fs::metadata("/dev/null").unwrap();
    let (exit, _) = scene.run(&["/bin/sh", "-c", "exec ./probe all > answers"], by_name);
    print!("{}", scene.text("answers"));
    eprintln!("{exit:?}");

    let after = std::fs::metadata("/proc/self/fd/0").unwrap();
    let of = |file: &std::fs::Metadata| (file.mode(), file.uid(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
    println!("stdin-is-unchanged {}", of(&before) == of(&after));
    println!("null-is-unchanged {}", null.mode() == std::fs::metadata("/dev/null").unwrap().mode());
    println!("no-datagram-came {}", datagram.recv(&mut [0; 9]).is_err());
    println!("denied-was-never-made {}", scene.after("denied").is_none());
    for name in ["file", "denied-there"] {
        assert_eq!(std::fs::read_to_string(workspace.join(name)).unwrap(), "as it was");
    }
}

/// Denies whatever names a path whose last name starts with `denied`, with an errno that nothing else answers with.
fn by_name(call: &Call) -> Decision {
    let is_denied =
        |path: &std::path::Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"denied"));
    let is_exec_of_denied = matches!(&call.attempt, flyball_sandbox::Attempt::Exec { path, .. } if is_denied(path));
    if is_exec_of_denied || paths(&call.attempt).into_iter().any(is_denied) {
        return Decision::Deny(Refusal { errno: libc::ENOTRECOVERABLE, text: String::new() });
    }
    Decision::Allow
}
