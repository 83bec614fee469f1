//! What this machine can enforce: found, required, how to mend.

use crate::copy;
use crate::exits;
use crate::launch::{Hierarchies, LANDLOCK_ABI_MIN, Probed, can_stand_apart, landlock_abi, probe, remove_session_dir};
use crate::spec::Weakness;
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use std::fs;
use std::path::Path;

/// One thing that a sandbox is built with.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What it is.
    pub feature: &'static str,
    /// What this machine has of it.
    pub found: String,
    /// Whether nothing starts without it, unless its weakness is accepted.
    pub required: bool,
    /// Whether it is there.
    pub ok: bool,
    /// What a session without it is, where one can be had: the name that `--accept-weaker` takes.
    pub weakness: Option<Weakness>,
    /// What to do where it is missing; empty where it is there.
    pub remedy: String,
}

/// Tries what a sandbox is built with, each part in a process of its own. `sessions` is the folder that sessions are kept
/// in, or will be: the overlay is tried on its file system. It takes some tens of milliseconds.
#[must_use]
pub fn doctor(sessions: &Path) -> Vec<Finding> {
    let mut findings = vec![kernel(), landlock()];
    match folder(sessions) {
        Ok(folder) => {
            findings.push(finding("session folder", Ok(sessions.display().to_string()), true, None, ""));
            findings.extend(tried(probe(&folder), &folder));
            let _ = remove_session_dir(&folder);
        }
        Err(error) => {
            let found = Err(format!("`{}` cannot be written: {error}", sessions.display()));
            findings.push(finding("session folder", found, true, None, "keep the ledger where this user can write"));
        }
    }
    findings.push(exit_status());
    findings.extend(cgroups());
    findings
}

fn finding(
    feature: &'static str,
    found: Result<String, String>,
    required: bool,
    weakness: Option<Weakness>,
    remedy: &str,
) -> Finding {
    let ok = found.is_ok();
    let found = found.unwrap_or_else(|why| why);
    Finding { feature, found, required, ok, weakness, remedy: if ok { String::new() } else { remedy.to_owned() } }
}

/// Held calls that only death interrupts are there from 5.19 on; mount attributes, pidfd_getfd, openat2 and close_range
/// since before. Landlock says for itself.
fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let found = if exits::version() >= (5, 19) { Ok(release) } else { Err(release) };
    finding("kernel", found, true, None, "use Linux 6.7 or later (5.19 works with `--accept-weaker landlock`)")
}

fn landlock() -> Finding {
    let abi = landlock_abi();
    let found = if abi >= LANDLOCK_ABI_MIN { Ok(format!("ABI {abi}")) } else { Err(format!("ABI {abi}")) };
    let remedy = "use Linux 6.7 or later, with `landlock` among the boot parameter `lsm=`";
    finding("Landlock", found, true, Some(Weakness::Landlock), remedy)
}

fn reading_calls(tried: Result<(), String>) -> Finding {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    let found = match scope.as_deref().map(str::trim) {
        Some("0" | "1" | "2") | None if tried.is_err() => Err(tried.err().unwrap_or_default()),
        None => Ok("not restricted".to_owned()),
        Some("3") => Err("kernel.yama.ptrace_scope is 3".to_owned()),
        Some(scope) => Ok(format!("kernel.yama.ptrace_scope is {scope}")),
    };
    let remedy = "boot with kernel.yama.ptrace_scope below 3, and in a container allow `ptrace` and `process_vm_readv`: it is how a call's arguments are read";
    finding("reading calls", found, true, None, remedy)
}

fn exit_status() -> Finding {
    let found = match exits::are_told() {
        true => Ok("told by the kernel".to_owned()),
        false => Err("not told by the kernel: programs stay traced until they end".to_owned()),
    };
    let remedy = "use Linux 6.15 or later, where signals to a governed program cost it nothing";
    finding("exit status", found, false, Some(Weakness::ExitStatus), remedy)
}

fn folder(sessions: &Path) -> std::io::Result<std::path::PathBuf> {
    fs::create_dir_all(sessions)?;
    let folder = sessions.canonicalize()?.join(format!(".doctor-{}", std::process::id()));
    let _ = remove_session_dir(&folder);
    fs::create_dir(&folder)?;
    Ok(folder)
}

fn tried(probed: std::io::Result<Probed>, folder: &Path) -> Vec<Finding> {
    let probed = probed.unwrap_or_else(|error| {
        let lost = || Err(format!("could not be tried: {error}"));
        let (namespaces, overlay, proc) = (lost(), lost(), lost());
        Probed { namespaces, overlay, proc, network: lost(), mediation: lost(), memory: lost() }
    });
    let works = |tried: Result<(), String>| tried.map(|()| "works".to_owned());
    // What is built with namespaces is missing together with them, and done without together with them.
    let apart = can_stand_apart().then_some(Weakness::Namespaces);
    let alone = |tried: Result<(), String>| {
        works(tried).map_err(|why| match apart {
            Some(_) => format!("{why}; without, Landlock and mediation stand alone, and the network is closed"),
            None => why,
        })
    };
    vec![
        reading_calls(probed.memory),
        finding("namespaces", alone(probed.namespaces), true, apart, &namespaces_remedy()),
        finding(
            "fresh /proc",
            works(probed.proc),
            true,
            apart,
            "in a container, run it with an unmasked /proc (Docker: `--security-opt systempaths=unconfined`)",
        ),
        finding(
            "overlay",
            probed.overlay.map(|()| "works".to_owned()).map_err(|why| format!("{why}; {}", copies(folder))),
            false,
            Some(Weakness::Overlay),
            "load the module `overlay`, use Linux 5.11 or later, and keep the ledger on ext4, xfs, btrfs or tmpfs, not on an overlay or a network file system",
        ),
        finding("inner network", works(probed.network), true, apart, "use a kernel with network namespaces"),
        finding(
            "mediation",
            works(probed.mediation),
            true,
            None,
            "use Linux 5.19 or later with CONFIG_SECCOMP_FILTER; in a container, allow the `seccomp` system call",
        ),
    ]
}

/// What stands in for the overlay, in words.
fn copies(folder: &Path) -> String {
    let open = rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let shares = open.is_ok_and(|folder| copy::can_share(folder.as_fd(), folder.as_fd()));
    let how = if shares { "which takes little time and space here (reflinks)" } else { "file by file" };
    format!("each session copies the workspace, {how}")
}

fn namespaces_remedy() -> String {
    let is = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "sysctl -w kernel.unprivileged_userns_clone=1".to_owned()
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "sysctl -w user.max_user_namespaces=10000".to_owned()
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give flyball an AppArmor profile with `userns,`"
            .to_owned()
    } else {
        "allow unprivileged user namespaces, or run as root; in a container, allow `unshare` and `mount`".to_owned()
    }
}

fn cgroups() -> [Finding; 2] {
    let mounted = Hierarchies::of_this_process();
    let usable = mounted.try_out();
    let found = |is_usable: bool, what: &str| {
        let text = format!("{what}; mounted: {}", mounted.describe());
        if is_usable { Ok(text) } else { Err(text) }
    };
    let freezer = found(usable.freezer, if usable.freezer { "usable" } else { "not usable: pause stops by signal" });
    let what = if usable.limits.is_empty() { "none usable".to_owned() } else { usable.limits.join(" ") };
    let limits = found(usable.limits.len() == 3, &what);
    let remedy =
        "run as root, or in a systemd user scope with delegation (`systemd-run --user --scope -p Delegate=yes`)";
    [
        finding("freezer", freezer, false, Some(Weakness::Freezer), remedy),
        finding("limits", limits, false, Some(Weakness::Limits), remedy),
    ]
}
