//! Who asks for time and random bytes: processes by how they came to be, threads by their order in them. Numbers that the kernel
//! gives differ from run to run where processes or threads start at once; these don't.
//!
//! INVARIANT: nothing is decided by them.

use super::sys::{self, Errno};
use crate::call::{Asker, Attempt};
use rustix::fd::BorrowedFd;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;

/// Threads, and processes, that are remembered.
const REMEMBERED_MAX: usize = 4096;
/// Parents that are looked through for one that is known.
const PARENTS_MAX: usize = 32;
/// Digits in a row from which on they are no part of what a call is known by: a time in a name.
const TIME_DIGITS: usize = 10;

/// A process.
#[derive(Clone, Copy)]
struct Process {
    who: u64,
    /// The program that it runs: what it was forked from is the same one.
    program: u64,
    threads: u32,
    forks: u32,
}

/// Everyone who asked so far.
pub(super) struct Askers {
    /// By the number of the thread; with its group.
    threads: HashMap<i32, (i32, Asker)>,
    processes: HashMap<i32, Process>,
    /// How often each call to run a program was made by another.
    execs: HashMap<(u64, u64), u32>,
    /// Whom processes are about to become.
    becoming: HashMap<i32, u64>,
}

/// What `/proc/TID/status` says of it.
struct Family {
    group: i32,
    parent: i32,
    /// As its own namespace numbers it.
    inner: i32,
}

impl Askers {
    pub(super) fn new() -> Self {
        Self { threads: HashMap::new(), processes: HashMap::new(), execs: HashMap::new(), becoming: HashMap::new() }
    }

    /// Whose call this is.
    pub(super) fn asker(&mut self, notify: BorrowedFd<'_>, id: u64, tid: i32) -> Result<Asker, Errno> {
        if let Some((_, asker)) = self.threads.get(&tid) {
            return Ok(*asker);
        }
        let group = family(tid).ok_or(libc::ESRCH)?.group;
        let process = self.process(group);
        let threads = threads(group);
        // INVARIANT: it still waits, so that what was read by its number was its own.
        if !sys::is_valid(notify, id) {
            return Err(libc::EINTR);
        }
        if self.threads.len() >= REMEMBERED_MAX {
            self.threads.retain(|tid, _| is_there(*tid));
        }
        // Those that began before it count before it, though they did not ask yet.
        let mut all = process.threads;
        for other in threads.into_iter().chain([tid]) {
            let thread = if other == group { 0 } else { all };
            let is_new = !self.threads.contains_key(&other);
            if is_new {
                self.threads.insert(other, (group, Asker { process: process.who, thread }));
            }
            if is_new && other != group {
                all = all.saturating_add(1);
            }
        }
        if let Some(process) = self.processes.get_mut(&group) {
            process.threads = all;
        }
        self.threads.get(&tid).map(|(_, asker)| *asker).ok_or(libc::ESRCH)
    }

    /// A process runs a program, if it may. Whose act that is: its parent's, where that waits for it.
    pub(super) fn runs(&mut self, group: i32, asker: Asker, mark: u64) -> Option<Asker> {
        let process = self.process(group);
        let nth = self.execs.entry((process.program, mark)).or_default();
        *nth = nth.saturating_add(1);
        self.becoming.insert(group, digest(&[&process.program.to_le_bytes(), &mark.to_le_bytes(), &nth.to_le_bytes()]));
        if process.who == process.program {
            return Some(asker);
        }
        // A parent that has lent its memory to the child (vfork) waits without being disturbed until that runs its own program.
        let parent = family(group)?.parent;
        let is_waiting = std::fs::read_to_string(format!("/proc/{parent}/stat"))
            .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D')));
        let who = self.processes.get(&parent).map(|parent| parent.who);
        who.filter(|_| is_waiting).map(|process| Asker { process, thread: 0 })
    }

    /// Whom a process is about to become.
    pub(super) fn becomes(&self, group: i32) -> Option<u64> {
        self.becoming.get(&group).copied()
    }

    /// It runs it.
    pub(super) fn ran(&mut self, group: i32) {
        let Some(who) = self.becoming.remove(&group) else { return };
        self.threads.retain(|_, (of, _)| *of != group);
        self.processes.insert(group, Process { who, program: who, threads: 1, forks: 0 });
    }

    /// That process is gone: its number may come to mean another.
    pub(super) fn forget(&mut self, group: i32) {
        self.threads.retain(|_, (of, _)| *of != group);
        self.processes.remove(&group);
        self.becoming.remove(&group);
    }

    /// Of one that did not run a program of its own: the parent's, in the order in which its children come up.
    fn process(&mut self, group: i32) -> Process {
        let mut line = vec![group];
        while let Some(last) = line.last()
            && !self.processes.contains_key(last)
            && line.len() < PARENTS_MAX
            && let Some(Family { parent, inner, .. }) = family(*last)
            // What is above the tree's first process is another in each run.
            && inner > 1
            && parent > 0
        {
            line.push(parent);
        }
        if self.processes.len() >= REMEMBERED_MAX {
            self.processes.retain(|group, _| is_there(*group));
            self.becoming.retain(|group, _| is_there(*group));
        }
        let mut above = Process { who: 0, program: 0, threads: 1, forks: 0 };
        let mut parent = None;
        for group in line.into_iter().rev() {
            above = match self.processes.get(&group) {
                Some(known) => *known,
                None if parent.is_none() => {
                    self.processes.insert(group, above);
                    above
                }
                None => {
                    let nth = above.forks.saturating_add(1);
                    if let Some(parent) = parent.and_then(|parent| self.processes.get_mut(&parent)) {
                        parent.forks = nth;
                    }
                    let who = digest(&[&above.who.to_le_bytes(), b"fork", &nth.to_le_bytes()]);
                    let made = Process { who, program: above.program, threads: 1, forks: 0 };
                    self.processes.insert(group, made);
                    made
                }
            };
            parent = Some(group);
        }
        above
    }
}

/// What a call is known by in another run: what it does and to what, without times that its names may hold.
pub(super) fn mark(attempt: &Attempt) -> u64 {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut add = |kind: &str, names: &[&[u8]]| {
        parts.push(kind.as_bytes().to_vec());
        parts.extend(names.iter().map(|name| without_times(name)));
    };
    let bytes = |path: &std::path::PathBuf| path.as_os_str().as_bytes().to_vec();
    match attempt {
        Attempt::Exec { path, argv, .. } => {
            add("exec", &[&bytes(path)]);
            argv.iter().for_each(|word| add("", &[word.as_bytes()]));
        }
        Attempt::Open { path, write, .. } => add(if *write { "write" } else { "read" }, &[&bytes(path)]),
        Attempt::Make { path, .. } => add("make", &[&bytes(path)]),
        Attempt::Remove { path, .. } => add("remove", &[&bytes(path)]),
        Attempt::Rename { from, to, .. } => add("rename", &[&bytes(from), &bytes(to)]),
        Attempt::Link { target, path } => add("link", &[&bytes(target), &bytes(path)]),
        Attempt::Symlink { target, path } => add("symlink", &[target.as_bytes(), &bytes(path)]),
        Attempt::Truncate { path, .. } => add("truncate", &[&bytes(path)]),
        Attempt::Metadata { path, .. } => add("metadata", &[&bytes(path)]),
        Attempt::Connect { address, name } => {
            add("connect", &[name.clone().unwrap_or_default().as_bytes(), &address.port().to_le_bytes()]);
        }
        Attempt::ConnectUnix { path } => add("connect", &[&bytes(path)]),
        Attempt::Bind { address } => add("bind", &[&address.port().to_le_bytes()]),
        Attempt::BindUnix { path } => add("bind", &[&bytes(path)]),
    }
    digest(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn without_times(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for run in name.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        let is_time = run.len() >= TIME_DIGITS && run.iter().all(u8::is_ascii_digit);
        out.extend_from_slice(if is_time { b"#" } else { run });
    }
    out
}

fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
}

fn family(tid: i32) -> Option<Family> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
    let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().next_back()?.parse();
    Some(Family { group: field("Tgid:")?, parent: field("PPid:")?, inner: inner.ok()? })
}

/// A process's threads, as they began.
fn threads(group: i32) -> Vec<i32> {
    let entries = std::fs::read_dir(format!("/proc/{group}/task")).into_iter().flatten().flatten();
    let mut all: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    all.sort_unstable();
    all
}

fn is_there(number: i32) -> bool {
    std::path::Path::new(&format!("/proc/{number}")).exists()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_call_is_known_by_what_it_does_and_not_by_a_time_in_it() {
        let make = |path: &str| mark(&Attempt::Make { path: path.into(), kind: crate::FileKind::Directory });
        assert_eq!(make("/a/s-1795343738657-x"), make("/a/s-1795343758715-x"));
        assert_ne!(make("/a/s-1795343738657-x"), make("/a/s-1795343758715-y"));
        assert_ne!(make("/a/b1"), make("/a/b2"));
        let remove = mark(&Attempt::Remove { path: "/a/b1".into(), kind: crate::FileKind::Directory });
        assert_ne!(make("/a/b1"), remove);
    }

    #[test]
    fn programs_are_told_apart_by_who_ran_them_and_in_which_order() {
        let own = std::process::id() as i32;
        let mut askers = Askers::new();
        let asker = Asker { process: 1, thread: 0 };
        askers.runs(own, asker, 7);
        askers.ran(own);
        let first = askers.process(own).who;
        // It runs another program itself: its own act, and it is somebody else then.
        assert_eq!(askers.runs(own, asker, 7), Some(asker));
        askers.ran(own);
        let second = askers.process(own).who;
        assert_ne!(first, second);
        let mut again = Askers::new();
        for _ in 0..2 {
            again.runs(own, asker, 7);
            again.ran(own);
        }
        assert_eq!(again.process(own).who, second);
        again.forget(own);
        again.runs(own, asker, 8);
        again.ran(own);
        assert_ne!(again.process(own).who, first);
    }
}
