//! Who is whose child, and who is gone.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// A process that is not mistaken for another of the same number: number and start time.
pub type Process = (i32, u64);

/// All that descend from this process, itself left out.
pub fn below(root: u32) -> BTreeSet<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for pid in pids() {
        if let Some((parent, start, _)) = stat(pid) {
            children.entry(parent).or_default().push((pid, start));
        }
    }
    let mut found = BTreeSet::new();
    let mut todo = vec![root as i32];
    while let Some(at) = todo.pop() {
        for child in children.remove(&at).unwrap_or_default() {
            todo.push(child.0);
            found.insert(child);
        }
    }
    found
}

/// Kills it for good.
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Those of the processes that are there still, zombies left out.
pub fn alive(of: &BTreeSet<Process>) -> Vec<Process> {
    of.iter()
        .copied()
        .filter(|(pid, start)| stat(*pid).is_some_and(|(_, s, state)| s == *start && state != 'Z'))
        .collect()
}

/// Those that run this very binary or have this word among their arguments, but for `known`.
pub fn of_session(binary: &Path, word: &str, known: &[u32]) -> BTreeSet<Process> {
    let is_ours = |pid: i32| {
        let runs = std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary);
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        runs || String::from_utf8_lossy(&words).contains(word)
    };
    let all = pids().into_iter().filter(|pid| !known.contains(&(*pid as u32)) && is_ours(*pid));
    all.filter_map(|pid| stat(pid).map(|(_, start, _)| (pid, start))).collect()
}

/// Waits until none is left; panics with those that are.
pub fn wait_gone(what: &str, of: &BTreeSet<Process>) {
    let begun = Instant::now();
    while !alive(of).is_empty() {
        if begun.elapsed() > Duration::from_secs(60) {
            let left: Vec<String> = alive(of).iter().map(|(pid, _)| told(*pid)).collect();
            panic!("{what}: still there after a minute: {left:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn told(pid: i32) -> String {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let state = stat(pid).map_or('?', |(_, _, state)| state);
    format!("{pid} {state} {}", String::from_utf8_lossy(&words).replace('\0', " "))
}

fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Parent, start time and state.
fn stat(pid: i32) -> Option<(i32, u64, char)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?, fields.first()?.chars().next()?))
}
