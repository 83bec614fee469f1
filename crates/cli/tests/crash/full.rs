//! A disk that is full: at the record, at blobs, at what the program writes, at a rollback, at an apply.

use crate::check;
use crate::dice::Dice;
use crate::processes;
use crate::rounds::{self, Seen, note};
use crate::work;
use crate::world::World;
use flyball_testkit::user::User;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room of the small disk: enough for a session, filled in a moment.
const SIZE: &str = "size=48m,mode=700";

/// A small disk at a folder, as long as this lives.
struct Disk(PathBuf);

/// Why a small disk can't be had here, if so.
pub fn why_not() -> Option<String> {
    (!User::current().is_root()).then(|| "only root mounts a small disk to fill".to_owned())
}

impl Disk {
    fn at(world: &World, dir: &Path) -> Self {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "flyball-test"]).arg(dir).status().unwrap();
        assert!(mounted.success());
        world.user.own(dir).unwrap();
        Self(dir.to_owned())
    }

    /// Fills it but for about that much.
    fn fill(&self, free_kib: usize) {
        let mut filler = std::fs::File::create(self.0.join("filler")).unwrap();
        while filler.write(&[0; 4096]).is_ok_and(|n| n > 0) {}
        let length = filler.metadata().unwrap().len();
        filler.set_len(length.saturating_sub(free_kib as u64 * 1024)).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The disk of record, blobs and layers fills up under a program at work.
pub fn run(world: &World, dice: &mut Dice, seen: &Seen) {
    let world = World::new(world.user);
    let disk = Disk::at(&world, &world.ledger());
    world.ok(&["run", "--json", "--apply", "never", "--", "true"]);
    let before = world.ids();
    let steps = work::steps(dice, 400);
    let free_kib = 200 + dice.below(3000) as usize;
    let token = world.token();
    let mut session = world.govern(&steps, &token, "");
    let real = world.real();
    let mut output = String::new();
    session.wait_for("ack 0\n", &mut output);
    disk.fill(free_kib);
    let ended = session.end();
    output.push_str(&ended.stdout);
    world.nothing_runs("after the end", &token);
    note(seen, if ended.stdout.contains("ack 399\n") { "had room enough" } else { "met it" });
    disk.free();
    world.ok(&["run", "--json", "--apply", "never", "--", "true"]);
    assert_eq!(world.real(), real);
    check::ledger(&world);
    let id = world.new_session(&before).unwrap();
    check::acknowledged(&world, &id, &steps, work::acknowledged(&output), true);
    rounds::settle(&world, dice, seen, &id, &real);
}

/// The disk is full when people act on a session that ended, and when they act on one that runs.
pub fn acts(world: &World, dice: &mut Dice, seen: &Seen) {
    let world = World::new(world.user);
    let disk = Disk::at(&world, &world.ledger());
    let (_, ended) = rounds::finished(&world, dice, "");
    disk.fill(0);
    let seq = ended.stages[0].0.to_string();
    let refused = world.run(&["rollback", &ended.id, &seq, "--reason", "test"]);
    assert!(!refused.status.success(), "there was no room for its record");
    rounds::is_one_of("after a refused rollback", &world.merged(&ended.id), &[&ended.stages[2].1]);
    let refused = world.run(&["apply", &ended.id]);
    assert!(!refused.status.success(), "there was no room for its record");
    assert_eq!(world.real(), ended.real);
    disk.free();
    world.ok(&["rollback", &ended.id, &seq, "--reason", "test"]);
    world.ok(&["apply", &ended.id]);
    rounds::is_one_of("after apply", &world.real(), &[&ended.stages[0].1]);
    rounds::reset(&world, &ended.real);

    let tail = "echo ready; while [ ! -e /tmp/go ]; do sleep 0.02; done";
    let (running, live) = rounds::finished(&world, dice, tail);
    let running = running.unwrap();
    let below = processes::below(running.child.id());
    let free_kib = dice.pick(&[0, 8, 40, 120, 400]);
    disk.fill(free_kib);
    let seq = live.stages[0].0.to_string();
    let done = world.run(&["rollback", &live.id, &seq, "--reason", "test"]);
    note(seen, if done.status.success() { "had room enough" } else { "live rollback refused" });
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    let (old, new) = (&live.stages[2].1, &live.stages[0].1);
    let is_between = told.contains("cut off half-way");
    if is_between {
        note(seen, "in between, and paused");
    } else {
        rounds::is_one_of(&told, &world.merged(&live.id), &[if done.status.success() { new } else { old }]);
    }
    // Whatever the record can take, a person can end it.
    let _ = world.run(&["kill", &live.id, "--reason", "test"]);
    running.end();
    processes::wait_gone("after kill", &below);
    disk.free();
    world.ok(&["run", "--json", "--apply", "never", "--", "true"]);
    check::ledger(&world);
    // What was in flight when it failed may be committed now: either is right, as long as the record and the layer say the same.
    let found = world.merged(&live.id);
    let may_be: &[_] = if is_between { &[old, new] } else { &[if done.status.success() { new } else { old }] };
    rounds::is_one_of("after the next start", &found, may_be);
    let acts: Vec<String> =
        world.log(&live.id).iter().filter_map(|e| e["body"]["act"].as_str().map(str::to_owned)).collect();
    let last = acts.iter().rev().find(|act| act.starts_with("rollback")).map(String::as_str);
    assert_eq!(last == Some("rollback"), found == *new && new != old, "{told}\n{acts:?}");
    assert_eq!(world.real(), live.real);
    world.ok(&["apply", &live.id]);
    rounds::is_one_of("after apply", &world.real(), &[&found]);
}
