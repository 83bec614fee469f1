//! Attacks on the boundary from inside, without mediation: what namespaces, mounts, Landlock, capabilities and control
//! groups hold by themselves. The launcher's modules are compiled in, so that the crate exports no way to run unmediated.
//!
//! As root each attack runs twice: once as it is, once in a process of an ordinary user.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    unused_imports,
    reason = "tests, and of the launcher only what they use"
)]

#[path = "../../src/copy.rs"]
mod copy;
#[path = "../../src/doctor.rs"]
mod doctor;
#[path = "../../src/exits.rs"]
mod exits;
#[path = "../../src/launch/mod.rs"]
mod launch;
#[path = "../../src/spec.rs"]
mod spec;

mod attacks;
mod inside;
mod scene;

use libtest_mimic::{Arguments, Failed, Trial};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Says to a copy of this binary that it is to run one attack, and which.
const ONE: &str = "FLYBALL_BOUNDARY_ONE";
/// Who is an ordinary user here.
const NOBODY: u32 = 65534;

fn main() {
    launch::enter_if_launcher();
    inside::enter_if_asked();
    if let Ok(name) = std::env::var(ONE) {
        let (_, attack) = attacks::ALL.iter().find(|(known, _)| *known == name).expect("a known attack");
        attack();
        return;
    }
    let is_root = rustix::process::geteuid().is_root();
    let mut trials = Vec::new();
    for (name, attack) in attacks::ALL {
        if is_root {
            trials.push(Trial::test(format!("root::{name}"), move || {
                attack();
                Ok(())
            }));
        }
        trials.push(Trial::test(format!("ordinary::{name}"), move || as_ordinary(name, is_root)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn as_ordinary(name: &str, is_root: bool) -> Result<(), Failed> {
    let mut command = Command::new("/proc/self/exe");
    command.env(ONE, name).current_dir("/tmp");
    if is_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned().into()) }
}
