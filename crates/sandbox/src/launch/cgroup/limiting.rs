//! Other limits for a session that runs.

use super::{CPU_PERIOD_US, Cgroup, Hierarchies, quota_us};
use crate::spec::Limits;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// How often the members are looked for that were started while the others were moved.
const PASSES_MAX: usize = 100;

/// One of the limits, as both versions have it.
struct Kind {
    name: &'static str,
    v2: &'static str,
    v1: &'static str,
    wanted: Option<u64>,
}

impl Cgroup {
    /// Puts other limits in force than those before, each or none of them.
    ///
    /// # Errors
    /// The name of the limit that could not be had, and why: no group holds it here, or more memory than that is in use.
    pub(crate) fn limit(&self, before: &Limits, limits: &Limits) -> Result<(), (&'static str, io::Error)> {
        let cpu = limits.cpu_percent_max.map(quota_us);
        let kinds = [
            (
                before.pids_max,
                limits.pids_max,
                Kind { name: "pids", v2: "pids.max", v1: "pids.max", wanted: limits.pids_max },
            ),
            (
                before.memory_bytes_max,
                limits.memory_bytes_max,
                Kind { name: "memory", v2: "memory.max", v1: "memory.limit_in_bytes", wanted: limits.memory_bytes_max },
            ),
            (
                before.cpu_percent_max,
                limits.cpu_percent_max,
                Kind { name: "cpu", v2: "cpu.max", v1: "cpu.cfs_quota_us", wanted: cpu },
            ),
        ];
        let mut undo: Vec<(PathBuf, String)> = Vec::new();
        for (_, _, kind) in kinds.into_iter().filter(|(before, wanted, _)| before != wanted) {
            if let Err(error) = self.limit_one(&kind, &mut undo) {
                for (file, before) in undo.into_iter().rev() {
                    let _ = fs::write(file, before.trim());
                }
                return Err((kind.name, error));
            }
        }
        Ok(())
    }

    fn limit_one(&self, kind: &Kind, undo: &mut Vec<(PathBuf, String)>) -> io::Result<()> {
        let of_v2 = self.unified.as_ref().map(|group| group.join(kind.v2)).filter(|file| file.exists());
        let is_v2 = of_v2.is_some();
        let file = match of_v2 {
            Some(file) => file,
            None => match self.group_of(kind)? {
                Some(group) => group.join(kind.v1),
                None => return Ok(()),
            },
        };
        let before = fs::read_to_string(&file)?;
        let text = match (kind.wanted, is_v2, kind.name) {
            (Some(wanted), true, "cpu") => format!("{wanted} {CPU_PERIOD_US}"),
            (None, true, "cpu") => format!("max {CPU_PERIOD_US}"),
            (Some(wanted), ..) => wanted.to_string(),
            (None, false, "memory" | "cpu") => "-1".to_owned(),
            (None, ..) => "max".to_owned(),
        };
        if kind.name == "memory" && is_v2 {
            // Version 1 refuses what is in use already; version 2 would end the program instead.
            let used = fs::read_to_string(file.with_file_name("memory.current")).ok();
            let used = used.and_then(|text| text.trim().parse::<u64>().ok());
            if used.zip(kind.wanted).is_some_and(|(used, wanted)| used > wanted) {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            let _ = fs::write(file.with_file_name("memory.swap.max"), if kind.wanted.is_some() { "0" } else { "max" });
        }
        fs::write(&file, text)?;
        undo.push((file, before));
        Ok(())
    }

    /// The session's group of version 1 for that controller; made now where there is none yet and a limit is wanted.
    fn group_of(&self, kind: &Kind) -> io::Result<Option<PathBuf>> {
        let hierarchies = Hierarchies::of_this_process();
        let parent = hierarchies.v1.iter().find(|(named, _)| named == kind.name).map(|(_, parent)| parent);
        let group = parent.map(|parent| parent.join(&self.name));
        match group {
            Some(group) if group.is_dir() => Ok(Some(group)),
            _ if kind.wanted.is_none() => Ok(None),
            // What a process has in use is not counted in a group that it comes into.
            Some(_) if kind.name == "memory" => Err(io::ErrorKind::Unsupported.into()),
            Some(group) => {
                fs::create_dir(&group)?;
                self.later.lock().unwrap_or_else(PoisonError::into_inner).push(group.clone());
                self.move_all(&group)?;
                Ok(Some(group))
            }
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Moves every member into that group as well. Whatever a member starts is where the member is then, so that each pass leaves
    /// fewer.
    fn move_all(&self, to: &Path) -> io::Result<()> {
        let members = |group: &Path| -> io::Result<BTreeSet<String>> {
            Ok(fs::read_to_string(group.join("cgroup.procs"))?.lines().map(str::to_owned).collect())
        };
        let all = self.groups.first().ok_or(io::ErrorKind::Unsupported)?;
        for _ in 0..PASSES_MAX {
            let there = members(to)?;
            let missing: Vec<String> = members(all)?.difference(&there).cloned().collect();
            if missing.is_empty() {
                return Ok(());
            }
            for pid in missing {
                match fs::write(to.join("cgroup.procs"), &pid) {
                    // It ended meanwhile.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    other => other?,
                }
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}
