//! One program for all targets; the environment says which. `cargo xtask fuzz` builds and runs it.
#![no_main]

mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("FLYBALL_FUZZ_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|target| target.name == name);
    *found.unwrap_or_else(|| panic!("no fuzz target `{name}`"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = *TARGET;
    (target.run)(target.path, data);
});
