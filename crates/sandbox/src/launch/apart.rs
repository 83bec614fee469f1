//! A session without namespaces: nothing is mounted and nothing is another number inside. Its own folders lie in the
//! session's, the program is told where by its environment, and Landlock closes the rest of the machine.

use super::home;
use super::mounts::{INBOX, INBOX_FILE, SYSTEM, SYSTEM_SECRETS, TRUST};
use super::step::{At, Failure, Step};
use crate::places::{Own, Places};
use crate::spec::Spec;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The oldest Landlock that can stand alone: it keeps signals and abstract sockets within the tree.
pub(crate) const ALONE_ABI_MIN: i32 = 6;
/// The newest that this code knows the rights of.
const LANDLOCK_ABI: ABI = ABI::V7;
/// What of the machine is read, beside the system's own folders.
const ALSO_READ: &[&str] = &["/proc", "/sys/devices/system/cpu", "/sys/devices/system/node"];
/// Devices that are read without a call that mediation sees.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
/// Folders that hold something closed are opened entry by entry, up to so many entries.
const OPENED_MAX: usize = 20_000;

/// Makes the session's own folders and says what it may touch.
pub(super) fn places(spec: &Spec) -> Step<Places> {
    let workspace = spec.session_dir.join("workspace/upper");
    let tmp = spec.session_dir.join("tmp");
    home::make_dir(&tmp).at("making the temporary folder", &tmp)?;
    let linked = home::build_apart(spec)?;
    let own = vec![
        Own { at: workspace.clone(), is: spec.workspace.clone() },
        Own { at: tmp, is: PathBuf::from("/tmp") },
        Own { at: home::layers(spec).join("top"), is: spec.home.clone() },
    ];
    let protect =
        spec.protect.iter().filter_map(|path| Some(workspace.join(path.strip_prefix(&spec.workspace).ok()?))).collect();
    let mut shown: Vec<PathBuf> = SYSTEM.iter().chain(ALSO_READ).map(PathBuf::from).collect();
    // What names are looked up by, wherever its link leads.
    shown.push(PathBuf::from("/etc/resolv.conf"));
    shown.extend(spec.programs.iter().chain(&spec.expose).cloned());
    shown.extend(linked);
    let mut open = Open { closed: closed(spec), read: Vec::new(), left: OPENED_MAX };
    for path in shown.iter().filter_map(|path| path.canonicalize().ok()) {
        open.allow(&path).at("listing what the program may read", &path)?;
    }
    let mut read = open.read;
    read.sort();
    read.dedup();
    Ok(Places {
        own,
        read,
        protect,
        expose: spec.expose.clone(),
        inbox: spec.session_dir.join(INBOX_FILE),
        supervisor: rustix::process::getpid().as_raw_nonzero().get(),
    })
}

/// The spec as the program is started by it: its folders where they are.
pub(super) fn moved(spec: &Spec, places: &Places) -> Spec {
    let cwd = places.place_of(&spec.cwd);
    let at = |place: &str| places.own.iter().find(|own| own.is == Path::new(place)).map(|own| own.at.clone());
    let home = places.own.last().map(|own| own.at.clone()).unwrap_or_default();
    let tmp = at("/tmp").unwrap_or_default();
    let told: [(&str, &Path); 5] = [("HOME", &home), ("TMPDIR", &tmp), ("TMP", &tmp), ("TEMP", &tmp), ("PWD", &cwd)];
    let mut env: Vec<(OsString, OsString)> = spec
        .env
        .iter()
        // Nobody is to be trusted where there is no network, and no file says whom.
        .filter(|(name, value)| value != TRUST && !told.iter().any(|(told, _)| name == told))
        .map(|(name, value)| {
            // The inbox has another place here.
            if value == INBOX { (name.clone(), places.inbox.clone().into()) } else { (name.clone(), value.clone()) }
        })
        .collect();
    env.extend(told.map(|(name, path)| (name.into(), path.into())));
    Spec { cwd, env, ..spec.clone() }
}

/// What no leave to read may cover.
fn closed(spec: &Spec) -> Vec<PathBuf> {
    let mut closed: Vec<PathBuf> = spec.hide.clone();
    closed.push(spec.session_dir.clone());
    closed.extend(spec.home_keep.clone());
    // The session works in a copy: two trees of one name would only mislead.
    closed.push(spec.workspace.clone());
    // What this user can't read anyway needs no care, and would have its whole folder opened entry by entry.
    let readable = |path: &&Path| rustix::fs::access(*path, rustix::fs::Access::READ_OK).is_ok();
    closed.extend(SYSTEM_SECRETS.iter().map(Path::new).filter(readable).map(Path::to_owned));
    let real: Vec<PathBuf> = closed.iter().filter_map(|path| path.canonicalize().ok()).collect();
    closed.extend(real);
    closed
}

struct Open {
    closed: Vec<PathBuf>,
    read: Vec<PathBuf>,
    left: usize,
}

impl Open {
    /// Landlock can't take anything back below what is allowed: so a folder with something closed in it is opened by its
    /// other entries, and can't be listed itself.
    fn allow(&mut self, path: &Path) -> io::Result<()> {
        if self.closed.iter().any(|closed| path.starts_with(closed)) {
            return Ok(());
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::from_raw_os_error(libc::E2BIG))?;
        if !self.closed.iter().any(|closed| closed.starts_with(path) && closed.symlink_metadata().is_ok()) {
            self.read.push(path.to_owned());
            return Ok(());
        }
        // What can't be listed can't be read by name either, as far as we know.
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            // A link's own target is open or closed by its own path.
            if !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                self.allow(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Keeps the signals of this process, and of all that it starts, among those. Processes outside can still signal it.
pub(super) fn keep_signals() -> Step<()> {
    let restrict = || -> Result<RulesetStatus, landlock::RulesetError> {
        let rules =
            Ruleset::default().set_compatibility(CompatLevel::HardRequirement).scope(Scope::Signal)?.create()?;
        Ok(rules.restrict_self()?.ruleset)
    };
    enforced(restrict())
}

/// All that Landlock can hold: reading and running by list, nothing written (mediation writes, from outside), no TCP, no
/// process, signal or abstract socket beyond the tree.
pub(super) fn confine(places: &Places) -> Step<()> {
    let read = AccessFs::from_read(LANDLOCK_ABI);
    let restrict = || -> Result<RulesetStatus, landlock::RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
            .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
            .scope(Scope::from_all(LANDLOCK_ABI))?
            .create()?;
        let own = places.own.iter().map(|own| &own.at);
        let folders = own.chain(&places.read).chain([&places.inbox]).map(|path| (path.as_path(), read));
        let devices = DEVICES.iter().map(|path| (Path::new(path), AccessFs::ReadFile | AccessFs::IoctlDev));
        for (path, access) in folders.chain(devices) {
            // A place that is not there needs no leave to be read.
            let Ok(place) = PathFd::new(path) else { continue };
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK_ABI) };
            rules = rules.add_rule(PathBeneath::new(place, access))?;
        }
        Ok(rules.restrict_self()?.ruleset)
    };
    enforced(restrict())
}

fn enforced(done: Result<RulesetStatus, landlock::RulesetError>) -> Step<()> {
    let why = match done {
        Ok(RulesetStatus::NotEnforced) => "it enforces nothing".to_owned(),
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    Err(Failure {
        step: format!("restricting with Landlock: {why}"),
        path: None,
        source: io::Error::from_raw_os_error(libc::EPERM),
    })
}
