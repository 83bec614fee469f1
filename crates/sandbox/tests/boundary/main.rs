//! Attacks on the boundary from inside, without mediation: what namespaces, mounts, Landlock, capabilities and control
//! groups hold by themselves. The launcher's modules are compiled in, so that the crate exports no way to run unmediated.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    unused_imports,
    reason = "tests, and of the launcher only what they use"
)]

#[path = "../../src/launch/mod.rs"]
mod launch;
#[path = "../../src/spec.rs"]
mod spec;

mod scene;

fn main() {
    launch::enter_if_launcher();
    scene::enter_if_ordinary();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), scene::trials()).exit();
}
