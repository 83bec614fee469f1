//! Tries, in processes of their own, what a sandbox is built with: for [`crate::doctor`].
//!
//! A probe is a launcher like any other (same binary, one thread, no environment), so that namespaces can be made and
//! thrown away without touching the asker.

use super::netns;
use super::root::{Root, mount_at};
use super::step::{At, Failure, Step};
use super::sys::{self, Forked};
use super::{LAUNCHER, init};
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::mount::{MountFlags, MountPropagationFlags};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The word that makes a launcher a probe.
pub(super) const PROBE: &str = "probe";

/// What was tried, each with what came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Probed {
    pub(crate) namespaces: Result<(), String>,
    pub(crate) overlay: Result<(), String>,
    pub(crate) proc: Result<(), String>,
    pub(crate) network: Result<(), String>,
    pub(crate) mediation: Result<(), String>,
    pub(crate) memory: Result<(), String>,
}

/// Tries everything; `folder` is an empty directory on the file system where sessions will be kept.
pub(crate) fn probe(folder: &Path) -> io::Result<Probed> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(LAUNCHER).arg(PROBE).arg(folder).env_clear();
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    serde_json::from_slice(&output.stdout).map_err(io::Error::other)
}

/// Runs as the probe; returns its exit code.
pub(super) fn run(folder: &Path) -> i32 {
    let probed = Probed {
        namespaces: apart(|| namespaces().map(drop)),
        overlay: apart(|| namespaces().and_then(|()| overlay(folder))),
        proc: apart(|| namespaces().and_then(|()| in_pid_namespace(|| fresh_proc(folder)))),
        network: apart(|| namespaces().and_then(|()| network())),
        mediation: apart(mediation),
        memory: memory().map_err(|failure| failure.to_string()),
    };
    // Unbuffered: a launcher ends without flushing anything.
    let written = serde_json::to_vec(&probed)
        .map_err(io::Error::other)
        // tidy: allow print: a pipe of doctor's own, not the user's screen
        .and_then(|bytes| Ok(rustix::io::write(rustix::stdio::stdout(), &bytes)?));
    i32::from(written.is_err())
}

/// Runs a try in a child: what went wrong in it, in words.
fn apart(try_it: impl FnOnce() -> Step<()>) -> Result<(), String> {
    let lost = |error: io::Error| error.to_string();
    let (read, write) = rustix::pipe::pipe().map_err(|error| lost(error.into()))?;
    match sys::fork().map_err(lost)? {
        Forked::Child => {
            let text = try_it().map_err(|failure| failure.to_string()).err().unwrap_or_default();
            let _ = rustix::io::write(&write, text.as_bytes());
            sys::exit_now(i32::from(!text.is_empty()))
        }
        Forked::Parent(pid) => {
            drop(write);
            let mut text = String::new();
            let _ = fs::File::from(read).read_to_string(&mut text);
            match sys::wait_for(pid) {
                Some(0) => Ok(()),
                status if text.is_empty() => Err(format!("ended early ({status:?})")),
                _ => Err(text),
            }
        }
    }
}

fn namespaces() -> Step<()> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    init::namespaces(!user.is_root(), user.as_raw(), group.as_raw())
}

fn in_pid_namespace(try_it: impl FnOnce() -> Step<()>) -> Step<()> {
    // The first child after `unshare` is pid 1 there.
    apart(try_it).map_err(|text| Failure { step: text, path: None, source: io::Error::from_raw_os_error(libc::EPERM) })
}

fn overlay(folder: &Path) -> Step<()> {
    cut_off()?;
    for name in ["lower", "upper", "work", "root"] {
        fs::create_dir_all(folder.join(name)).at("making a folder", folder)?;
    }
    fs::write(folder.join("lower/file"), "lower").at("writing a file", folder)?;
    let root = Root::new(&folder.join("root"))?;
    root.overlay(Path::new("/merged"), &[&folder.join("lower")], &folder.join("upper"), &folder.join("work"), false)?;
    let merged = folder.join("root/merged");
    fs::write(merged.join("file"), "upper").at("writing through the overlay", folder)?;
    fs::remove_file(merged.join("file")).at("deleting through the overlay", folder)
}

fn fresh_proc(folder: &Path) -> Step<()> {
    cut_off()?;
    fs::create_dir_all(folder.join("root")).at("making a folder", folder)?;
    let root = Root::new(&folder.join("root"))?;
    mount_at(root.dir(Path::new("/proc"))?, "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, "")
        .doing("mounting a fresh /proc")
}

fn cut_off() -> Step<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing("cutting off the host's mounts")
}

fn network() -> Step<()> {
    netns::begin().and_then(|network| network.be_everywhere()).doing("setting up the inner network")?;
    for address in ["203.0.113.7:80", "[2001:db8::7]:80"] {
        let address = address.parse().map_err(io::Error::other).doing("reading an address")?;
        match netns::listen(address).map(drop) {
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            other => other.doing("binding an address of the world inside")?,
        }
    }
    Ok(())
}

/// Reading the memory of what this process started.
fn memory() -> Step<()> {
    let (read, write) = rustix::pipe::pipe().doing("making a pipe")?;
    match sys::fork().doing("starting a process")? {
        Forked::Child => {
            drop(write);
            // Until the parent has looked, or is gone.
            let _ = rustix::io::read(&read, &mut [0u8; 1]);
            sys::exit_now(0)
        }
        Forked::Parent(pid) => {
            let can_read = sys::can_read_memory(pid);
            drop((read, write));
            let _ = sys::wait_for(pid);
            match can_read {
                true => Ok(()),
                false => Err(io::Error::from_raw_os_error(libc::EPERM)).doing("reading another process's memory"),
            }
        }
    }
}

/// A listener, and whether the kernel can put a descriptor into a caller and answer it in one step (5.14).
fn mediation() -> Step<()> {
    rustix::thread::set_no_new_privs(true).doing("forbidding new privileges")?;
    let allow =
        libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
    let listener = sys::install_filter(&[allow]).doing("installing a filter with a listener")?;
    // SAFETY: the number was just returned as a new descriptor, which nobody else owns.
    let listener = unsafe { OwnedFd::from_raw_fd(listener) };
    match sys::can_add_and_send(&listener) {
        true => Ok(()),
        false => {
            Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)).doing("handing over descriptors (ADDFD with SEND)")
        }
    }
}
