//! What the agent gives up before it runs: capabilities, writing outside its places, core files, new privileges.

use super::apart;
use super::step::{At, Failure, Step};
use super::wire::Boot;
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};
use std::io;
use std::path::Path;

/// The oldest Landlock that counts: it covers truncation and TCP.
pub(crate) const LANDLOCK_ABI_MIN: i32 = 4;
/// The newest that this code knows the rights of; older kernels get what they have.
const LANDLOCK_ABI: ABI = ABI::V7;
/// Everything that a file can have done to it there, where the agent may write.
const WRITABLE: &[&str] = &["/tmp", "/var/tmp", "/run", "/dev/shm"];

/// Confines this process, which becomes the agent or tries its bounds. Not undoable.
pub(super) fn confine(boot: &Boot) -> Step<()> {
    rlimits(boot);
    rustix::thread::set_no_new_privs(true).doing("forbidding new privileges")?;
    if let Some(places) = &boot.places {
        apart::confine(places)?;
        return no_capabilities();
    }
    if boot.has_landlock {
        landlock(boot)?;
    }
    keep_capabilities(CapabilitySet::empty())
}

/// What an ordinary user can do without a user namespace: the bounding set takes a capability to be emptied, and brings
/// nothing where new privileges are forbidden.
pub(super) fn no_capabilities() -> Step<()> {
    rustix::thread::clear_ambient_capability_set().doing("dropping ambient capabilities")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).doing("dropping capabilities")
}

/// Reduces every capability set, the bounding set included, to `keep`; root's id brings nothing back.
pub(super) fn keep_capabilities(keep: CapabilitySet) -> Step<()> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if keep.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error).doing("emptying the bounding set"),
        }
    }
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    rustix::thread::set_capabilities_secure_bits(bits).doing("locking the capabilities")?;
    rustix::thread::clear_ambient_capability_set().doing("dropping ambient capabilities")?;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).doing("dropping capabilities")
}

fn rlimits(boot: &Boot) {
    let limit = |max: u64| Rlimit { current: Some(max), maximum: Some(max) };
    // Lowering never fails; and a core file would be written by the kernel, past every rule.
    let _ = rustix::process::setrlimit(Resource::Core, limit(0));
    if let Some(max) = boot.nproc_max {
        let _ = rustix::process::setrlimit(Resource::Nproc, limit(max));
    }
}

/// Writing only below the overlay and the private places; signals and abstract sockets only within. Reading and running
/// are decided by the mounts.
fn landlock(boot: &Boot) -> Step<()> {
    let all = AccessFs::from_write(LANDLOCK_ABI);
    let restrict = || -> Result<RulesetStatus, landlock::RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?
            .scope(Scope::from_all(LANDLOCK_ABI))?
            .create()?;
        let places = [boot.spec.workspace.as_path(), boot.spec.home.as_path()];
        for path in places.into_iter().chain(WRITABLE.iter().map(Path::new)) {
            // A place that is not there needs no leave to be written to.
            if let Ok(place) = PathFd::new(path) {
                rules = rules.add_rule(PathBeneath::new(place, all))?;
            }
        }
        for (path, access) in [("/dev", device_access()), ("/proc", BitFlags::from(AccessFs::WriteFile))] {
            if let Ok(place) = PathFd::new(path) {
                rules = rules.add_rule(PathBeneath::new(place, access))?;
            }
        }
        Ok(rules.restrict_self()?.ruleset)
    };
    match restrict() {
        Ok(RulesetStatus::NotEnforced) => Err(failure("Landlock enforces nothing".to_owned())),
        Ok(_) => Ok(()),
        Err(error) => Err(failure(error.to_string())),
    }
}

/// Devices and terminals: written to and spoken to, none made.
fn device_access() -> BitFlags<AccessFs> {
    AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev
}

fn failure(why: String) -> Failure {
    Failure {
        step: format!("restricting with Landlock: {why}"),
        path: None,
        source: io::Error::from_raw_os_error(libc::EPERM),
    }
}
