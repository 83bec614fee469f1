//! What mediation costs a call: the same worker alone, on an overlay alone and there under a bare notifier (where that can be
//! mounted), and inside, rounds interleaved, medians of each and the last one's ratio to the first.
//!
//! `cargo bench -p flyball-sandbox --bench mediate`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a bench")]

mod bare;

use flyball_sandbox::{Call, Decision, Done, Limits, Mediator, Network, Spec, Terminal, Ticket, start};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 5;
const CALLS: u32 = 3000;
const EXECS: u32 = 150;

/// Allows everything, and counts: what a call costs the supervisor is its thread's processor time, which other load hardly
/// changes.
#[derive(Default)]
struct Allow {
    asked: u32,
}

impl Mediator for Allow {
    fn decide(&mut self, _: &Call) -> Decision {
        self.asked += 1;
        Decision::Allow
    }
    fn done(&mut self, _: Ticket, _: i32, _: Done) {}
    fn withdrawn(&mut self, _: Ticket) {}
    fn exited(&mut self, _: i32, _: Option<i32>) {}
    fn breached(&mut self, what: &str) {
        panic!("{what}");
    }
}

impl Drop for Allow {
    fn drop(&mut self) {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let Some(ns) = stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()) else { return };
        eprintln!("  supervisor: {:.2} us of processor time a call", ns / 1e3 / f64::from(self.asked));
    }
}

fn main() {
    flyball_sandbox::enter_if_launcher();
    match std::env::args().nth(1).as_deref() {
        Some("work") => return work(),
        Some("bare") => return bare::notify().map_or((), |()| work()),
        _ => {}
    }
    // Memory, as for the figures in SANDBOX.md: a disk would hide what a call costs.
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    for dir in ["ws", "home", "alone", "lower"] {
        std::fs::create_dir(base.path().join(dir)).unwrap();
    }
    let worker = base.path().join("ws/worker");
    std::fs::copy(std::env::current_exe().unwrap(), &worker).unwrap();
    let mut times: BTreeMap<String, [Vec<f64>; 4]> = BTreeMap::new();
    for round in 0..ROUNDS {
        let alone = Command::new(&worker).arg("work").current_dir(base.path().join("alone")).output().unwrap();
        let [overlaid, notified] =
            ["work", "bare"].map(|how| on_overlay(base.path(), &worker, how).unwrap_or_default());
        let begun = Instant::now();
        let session = base.path().join(format!("session{round}"));
        let inside = mediated(base.path(), &session);
        let whole = begun.elapsed().as_secs_f64() * 1e3;
        for (side, text) in [String::from_utf8(alone.stdout).unwrap(), overlaid, notified, inside].iter().enumerate() {
            for line in text.lines() {
                let (name, micros) = line.rsplit_once(' ').unwrap();
                times.entry(name.to_owned()).or_default()[side].push(micros.parse().unwrap());
            }
        }
        eprintln!("round {round}: {whole:.0} ms inside");
    }
    println!(
        "{:<40} {:>10} {:>10} {:>10} {:>10} {:>7}",
        "median of 5, us a time", "alone", "overlay", "notified", "inside", "ratio"
    );
    for (name, times) in &mut times {
        let [alone, overlaid, notified, inside] = times.each_mut().map(|times| median(times));
        let ratio = inside / alone;
        println!("{name:<40} {alone:>10.2} {overlaid:>10.2} {notified:>10.2} {inside:>10.2} {ratio:>7.2}");
    }
}

/// The worker's times on an overlay as the sandbox mounts it; to mount one takes root.
fn on_overlay(base: &Path, worker: &Path, how: &str) -> Option<String> {
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| base.join("overlay").join(name));
    for dir in [&upper, &work, &merged] {
        std::fs::create_dir_all(dir).unwrap();
    }
    let lower = base.join("lower");
    let layers = format!(
        "lowerdir={},upperdir={},workdir={},userxattr,index=off",
        lower.display(),
        upper.display(),
        work.display()
    );
    let mounted = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(&merged).output();
    let is_mounted = mounted.is_ok_and(|output| output.status.success());
    let out = is_mounted.then(|| Command::new(worker).arg(how).current_dir(&merged).output().unwrap());
    if is_mounted {
        Command::new("umount").arg(&merged).status().unwrap();
    }
    std::fs::remove_dir_all(base.join("overlay")).unwrap();
    out.map(|out| String::from_utf8(out.stdout).unwrap())
}

fn mediated(base: &Path, session: &Path) -> String {
    std::fs::create_dir(session).unwrap();
    let spec = Spec {
        lower: None,
        gives: false,
        argv: ["/bin/sh", "-c", "./worker work > out"].map(Into::into).to_vec(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: base.join("ws"),
        session_dir: session.to_owned(),
        workspace: base.join("ws"),
        home: base.join("home"),
        left: None,
        home_keep: None,
        hide: vec![],
        protect: vec![],
        expose: vec![],
        programs: vec![],
        limits: Limits::default(),
        terminal: Terminal::Inherit,
        network: Network::Closed,
        mediate_reads: false,
        hooks: None,
        accept_weaker: vec![],
    };
    let running = start(spec, Box::new(Allow::default())).unwrap_or_else(|error| panic!("{error}"));
    running.wait();
    std::fs::read_to_string(session.join("workspace/upper/out")).unwrap()
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints each thing's name and how many microseconds one takes.
fn work() {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    let page = [7u8; 4096];
    File::create("there").unwrap();
    time("open for writing, close", CALLS, || drop(OpenOptions::new().write(true).open("there").unwrap()));
    time("create, write 4 KiB, close, unlink", CALLS, || {
        File::create("new").unwrap().write_all(&page).unwrap();
        std::fs::remove_file("new").unwrap();
    });
    std::fs::create_dir_all("a/b/c/d").unwrap();
    time("the same five directories down", CALLS, || {
        File::create("a/b/c/d/new").unwrap().write_all(&page).unwrap();
        std::fs::remove_file("a/b/c/d/new").unwrap();
    });
    time("write anew and rename over", CALLS, || {
        File::create("new").unwrap().write_all(&page).unwrap();
        std::fs::rename("new", "there").unwrap();
    });
    time("mkdir, rmdir", CALLS, || {
        std::fs::create_dir("dir").unwrap();
        std::fs::remove_dir("dir").unwrap();
    });
    time("open for reading, close", CALLS, || drop(File::open("there").unwrap()));
    time("run /bin/true and wait", EXECS, || assert!(Command::new("/bin/true").status().unwrap().success()));
}

fn time(name: &str, times: u32, mut what: impl FnMut()) {
    what();
    let begun = Instant::now();
    (0..times).for_each(|_| what());
    println!("{name} {:.3}", begun.elapsed().as_secs_f64() * 1e6 / f64::from(times));
}
