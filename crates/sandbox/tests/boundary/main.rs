//! Attacks on the boundary from inside, without mediation: what namespaces, mounts, Landlock, capabilities and control
//! groups hold by themselves. The launcher's modules are compiled in, so that the crate exports no way to run unmediated.
//!
//! As root each attack runs twice: once as it is, once in a process of an ordinary user. Those on files run again with the
//! workspace as a copy, as on a machine without an overlay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    unused_imports,
    unfulfilled_lint_expectations,
    reason = "tests, and of the launcher only what they use"
)]

#[path = "../../src/call.rs"]
mod call;
#[path = "../../src/copy.rs"]
mod copy;
#[path = "../../src/doctor.rs"]
mod doctor;
#[path = "../../src/exits.rs"]
mod exits;
#[path = "../../src/launch/mod.rs"]
mod launch;
#[path = "../../src/places.rs"]
mod places;
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
        trials.push(Trial::test(format!("ordinary::{name}"), move || apart(name, is_root, false)));
    }
    for name in attacks::ON_FILES {
        if is_root {
            trials.push(Trial::test(format!("root::copy::{name}"), move || apart(name, false, true)));
        }
        trials.push(Trial::test(format!("ordinary::copy::{name}"), move || apart(name, is_root, true)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Runs an attack in a process of its own.
fn apart(name: &str, drops_root: bool, is_copy: bool) -> Result<(), Failed> {
    let mut command = Command::new("/proc/self/exe");
    command.env(ONE, name).current_dir("/tmp");
    if is_copy {
        command.env(scene::COPY, "1");
    }
    if drops_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned().into()) }
}
