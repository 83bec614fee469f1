//! Resources, pause and kill by cgroup (SANDBOX.md, layer 7): version 2 where it is mounted and can be written, version 1
//! for whatever controllers version 2 does not have here.
//!
//! The agent and all that it starts are members; pid 1 is not, so that it can still answer and end while they are frozen.

mod limiting;

use crate::spec::Limits;
use rustix::fd::OwnedFd;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a freeze may take before it counts as failed.
const FREEZE_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long the ended members may take to leave before the groups are left to the next start.
const LEAVE_WAIT_MAX: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_micros(200);
/// The period that a CPU quota is counted over, microseconds.
const CPU_PERIOD_US: u64 = 100_000;
const PREFIX: &str = "flyball-";

/// The groups of one session.
#[derive(Debug)]
pub(crate) struct Cgroup {
    name: String,
    groups: Vec<PathBuf>,
    /// Those that were made for limits that came while it ran.
    later: Mutex<Vec<PathBuf>>,
    freezer: Option<Freezer>,
    /// The version 2 group.
    unified: Option<PathBuf>,
    /// The same, where its `cgroup.kill` ends all members at once.
    killer: Option<PathBuf>,
    /// The limits that were asked for and that no controller here holds.
    pub(crate) unlimited: Vec<&'static str>,
}

#[derive(Debug, Clone)]
enum Freezer {
    V1(PathBuf),
    V2(PathBuf),
}

/// Where this process's groups are: the writable places that new groups can be made in.
#[derive(Debug, Default)]
pub(crate) struct Hierarchies {
    /// Version 2: this process's own group, then its parent.
    v2: Vec<PathBuf>,
    /// Version 1: controller and this process's group in its hierarchy.
    v1: Vec<(String, PathBuf)>,
}

/// What of control groups this user can use.
#[derive(Debug, Default)]
pub(crate) struct Usable {
    pub(crate) freezer: bool,
    pub(crate) limits: Vec<&'static str>,
}

impl Cgroup {
    /// Makes the session's groups with these limits; `None` when no group can be made at all.
    pub(crate) fn new(limits: &Limits, hierarchies: &Hierarchies) -> Option<Self> {
        let name = fresh_name();
        let mut made = Self {
            name: name.clone(),
            groups: Vec::new(),
            later: Mutex::default(),
            freezer: None,
            unified: None,
            killer: None,
            unlimited: Vec::new(),
        };
        let unified = hierarchies.v2.iter().find_map(|parent| {
            let _ = fs::write(parent.join("cgroup.subtree_control"), "+pids +memory +cpu");
            made.make(&parent.join(&name))
        });
        if let Some(group) = &unified {
            if group.join("cgroup.freeze").exists() {
                made.freezer = Some(Freezer::V2(group.clone()));
            }
            made.killer = group.join("cgroup.kill").exists().then(|| group.clone());
        }
        if made.freezer.is_none() {
            made.freezer = made.make_v1(hierarchies, "freezer", &name).map(Freezer::V1);
        }
        for limit in wanted(limits) {
            let is_held = unified.as_ref().is_some_and(|group| limit.hold(group, limit.v2))
                || made.make_v1(hierarchies, limit.controller, &name).is_some_and(|group| limit.hold(&group, limit.v1));
            if !is_held {
                made.unlimited.push(limit.name);
            }
        }
        made.unified = unified;
        (!made.groups.is_empty()).then_some(made)
    }

    fn make(&mut self, group: &Path) -> Option<PathBuf> {
        if !group.is_dir() {
            fs::create_dir(group).ok()?;
            self.groups.push(group.to_owned());
        }
        Some(group.to_owned())
    }

    fn make_v1(&mut self, hierarchies: &Hierarchies, controller: &str, name: &str) -> Option<PathBuf> {
        let (_, parent) = hierarchies.v1.iter().find(|(named, _)| named == controller)?;
        self.make(&parent.join(name))
    }

    /// Moves a process, with what it will start, into the groups that it was not born into.
    pub(crate) fn add(&self, pid: i32) -> io::Result<()> {
        let pid = pid.to_string();
        self.groups.iter().try_for_each(|group| {
            let members = group.join("cgroup.procs");
            let is_born_there = self.unified.as_ref() == Some(group)
                && fs::read_to_string(&members).is_ok_and(|text| text.lines().any(|line| line == pid));
            if is_born_there { Ok(()) } else { fs::write(members, &pid) }
        })
    }

    /// The folder of the group that a process can be born into.
    pub(crate) fn birthplace(&self) -> Option<OwnedFd> {
        fs::File::open(self.unified.as_ref()?).ok().map(OwnedFd::from)
    }

    /// The folders of the groups.
    pub(crate) fn groups(&self) -> &[PathBuf] {
        &self.groups
    }

    /// The file that freezes and thaws, open for writing: who inherits it can thaw when nobody else is left to.
    pub(crate) fn freezer_file(&self) -> Option<OwnedFd> {
        let file = match self.freezer.as_ref()? {
            Freezer::V1(group) => group.join("freezer.state"),
            Freezer::V2(group) => group.join("cgroup.freeze"),
        };
        fs::OpenOptions::new().write(true).open(file).ok().map(OwnedFd::from)
    }

    /// Whether members can be frozen.
    pub(crate) fn has_freezer(&self) -> bool {
        self.freezer.is_some()
    }

    /// Stops every member and waits, a bounded time, until all stand. `told` runs once each has been told to.
    ///
    /// # Errors
    /// No freezer, or not all stood in time; they are thawed then.
    pub(crate) fn freeze(&self, told: impl FnOnce()) -> io::Result<()> {
        let freezer = self.freezer.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        freezer.set(true)?;
        told();
        let started = Instant::now();
        while !freezer.is_frozen()? {
            if started.elapsed() > FREEZE_WAIT_MAX {
                freezer.set(false)?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Lets the members go on.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        self.freezer.as_ref().map_or(Ok(()), |freezer| freezer.set(false))
    }

    /// Ends every member at once, frozen or not, where the kernel can (version 2).
    pub(crate) fn kill(&self) -> bool {
        self.killer.as_ref().is_some_and(|group| fs::write(group.join("cgroup.kill"), "1").is_ok())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = self.thaw();
        self.groups.append(self.later.get_mut().unwrap_or_else(PoisonError::into_inner));
        let started = Instant::now();
        self.groups.retain(|group| fs::remove_dir(group).is_err());
        while !self.groups.is_empty() && started.elapsed() < LEAVE_WAIT_MAX {
            std::thread::sleep(POLL_INTERVAL);
            self.groups.retain(|group| fs::remove_dir(group).is_err());
        }
    }
}

impl Freezer {
    fn set(&self, is_frozen: bool) -> io::Result<()> {
        match self {
            Self::V1(group) => fs::write(group.join("freezer.state"), if is_frozen { "FROZEN" } else { "THAWED" }),
            Self::V2(group) => fs::write(group.join("cgroup.freeze"), if is_frozen { "1" } else { "0" }),
        }
    }

    fn is_frozen(&self) -> io::Result<bool> {
        Ok(match self {
            Self::V1(group) => fs::read_to_string(group.join("freezer.state"))?.trim() == "FROZEN",
            Self::V2(group) => fs::read_to_string(group.join("cgroup.events"))?.lines().any(|line| line == "frozen 1"),
        })
    }
}

struct Wanted {
    name: &'static str,
    controller: &'static str,
    v2: (&'static str, u64),
    v1: (&'static str, u64),
}

impl Wanted {
    fn hold(&self, group: &Path, (file, value): (&str, u64)) -> bool {
        let text = if file == "cpu.max" { format!("{value} {CPU_PERIOD_US}") } else { value.to_string() };
        // Swap would otherwise stand in for memory; where it is not counted there is nothing to set.
        if file == "memory.max" {
            let _ = fs::write(group.join("memory.swap.max"), "0");
        }
        group.join(file).exists() && fs::write(group.join(file), text).is_ok()
    }
}

/// A share of one core as a quota for each period.
fn quota_us(percent: u64) -> u64 {
    percent.saturating_mul(CPU_PERIOD_US / 100).max(1000)
}

fn wanted(limits: &Limits) -> Vec<Wanted> {
    let limit = |value: Option<u64>, name, controller, v2, v1| {
        value.map(|value| Wanted { name, controller, v2: (v2, value), v1: (v1, value) })
    };
    [
        limit(limits.pids_max, "pids", "pids", "pids.max", "pids.max"),
        limit(limits.memory_bytes_max, "memory", "memory", "memory.max", "memory.limit_in_bytes"),
        limit(limits.cpu_percent_max.map(quota_us), "cpu", "cpu", "cpu.max", "cpu.cfs_quota_us"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Hierarchies {
    /// Reads where this process stands and where its hierarchies are mounted.
    pub(crate) fn of_this_process() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::parse(&own, &mounts)
    }

    /// `own` is `/proc/self/cgroup` (cgroups(7)), `mounts` is `/proc/self/mountinfo` (proc(5)).
    fn parse(own: &str, mounts: &str) -> Self {
        let mut found = Self::default();
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(&root), Some(&point), Some(&kind)) = (left.get(3), left.get(4), right.first()) else { continue };
            let options: Vec<&str> = right.get(2).unwrap_or(&"").split(',').collect();
            for line in own.lines() {
                let mut fields = line.splitn(3, ':');
                let (Some(_), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                    continue;
                };
                // A mount shows the hierarchy from `root` on; what lies outside of it can't be reached there.
                let Ok(below) = Path::new(path).strip_prefix(root) else { continue };
                let group =
                    if below.as_os_str().is_empty() { PathBuf::from(point) } else { Path::new(point).join(below) };
                if kind == "cgroup2" && names.is_empty() && found.v2.is_empty() {
                    let parent = (!below.as_os_str().is_empty()).then(|| group.parent().map(Path::to_owned)).flatten();
                    found.v2 = [Some(group), parent].into_iter().flatten().collect();
                } else if kind == "cgroup" {
                    let controllers = names.split(',').filter(|name| !name.is_empty() && options.contains(name));
                    found.v1.extend(controllers.map(|name| (name.to_owned(), group.clone())));
                }
            }
        }
        found
    }

    /// Makes a session's groups and takes them away again: what worked.
    pub(crate) fn try_out(&self) -> Usable {
        let limits = Limits { pids_max: Some(1000), memory_bytes_max: Some(1 << 30), cpu_percent_max: Some(100) };
        let all = ["pids", "memory", "cpu"];
        self.remove_stale();
        Cgroup::new(&limits, self).map_or_else(Usable::default, |made| Usable {
            freezer: made.has_freezer(),
            limits: all.into_iter().filter(|name| !made.unlimited.contains(name)).collect(),
        })
    }

    /// Ends and removes groups whose supervisor is dead.
    pub(super) fn remove_stale(&self) {
        for parent in self.v2.iter().chain(self.v1.iter().map(|(_, group)| group)) {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if name
                    .to_str()
                    .is_some_and(|name| owner(name).is_some_and(|(pid, start)| start_of(pid) != Some(start)))
                {
                    let _ = fs::write(entry.path().join("cgroup.kill"), "1");
                    let _ = Freezer::V1(entry.path()).set(false);
                    let _ = fs::remove_dir(entry.path());
                }
            }
        }
    }

    /// What there is, in words, for `doctor`.
    pub(crate) fn describe(&self) -> String {
        let v1: Vec<&str> = self.v1.iter().map(|(name, _)| name.as_str()).collect();
        let v2 = self.v2.first().map(|group| {
            let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
            let controllers = controllers.trim();
            if controllers.is_empty() {
                "version 2 (membership only)".to_owned()
            } else {
                format!("version 2 ({controllers})")
            }
        });
        match (v2, v1.is_empty()) {
            (Some(v2), true) => v2,
            (Some(v2), false) => format!("{v2}, version 1 ({})", v1.join(" ")),
            (None, false) => format!("version 1 ({})", v1.join(" ")),
            (None, true) => "none mounted".to_owned(),
        }
    }
}

/// `flyball-PID-START-N`: who owns it, and when that process started, so that a reused pid is not taken for it.
fn fresh_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    format!("{PREFIX}{pid}-{}-{}", start_of(pid).unwrap_or(0), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn owner(name: &str) -> Option<(u32, u64)> {
    let mut fields = name.strip_prefix(PREFIX)?.split('-');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// When a process started, in clock ticks since boot (proc(5), stat field 22).
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
    use super::*;

    fn check(own: &str, mounts: &str, v2: &[&str], v1: &[(&str, &str)]) {
        let found = Hierarchies::parse(own, mounts);
        assert_eq!(found.v2, v2.iter().map(PathBuf::from).collect::<Vec<_>>());
        let v1: Vec<_> = v1.iter().map(|(name, path)| ((*name).to_owned(), PathBuf::from(path))).collect();
        assert_eq!(found.v1, v1);
    }

    #[test]
    fn hierarchies_are_found() {
        check(
            "0::/user.slice/app\n",
            "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
            &["/sys/fs/cgroup/user.slice/app", "/sys/fs/cgroup/user.slice"],
            &[],
        );
        check(
            "5:cpu,cpuacct:/a\n2:name=systemd:/\n0::/\n",
            "1 2 0:3 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n1 2 0:4 / /cg/unified rw - cgroup2 cgroup2 rw\n",
            &["/cg/unified"],
            &[("cpu", "/cg/cpu/a"), ("cpuacct", "/cg/cpu/a")],
        );
        // A container's view: the mount starts at the container's own group.
        check("0::/docker/x\n", "1 2 0:4 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n", &["/sys/fs/cgroup"], &[]);
        check("garbage", "more garbage - cgroup2", &[], &[]);
    }

    #[test]
    fn names_tell_their_owner() {
        let pid = std::process::id();
        assert_eq!(owner(&fresh_name()), Some((pid, start_of(pid).unwrap())));
        assert_eq!(owner("flyball-x"), None);
        assert_eq!(owner("system.slice"), None);
    }
}
