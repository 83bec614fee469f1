//! A person's command with one of its system calls failed, or the process killed at it: any call, any time (`strace`).

use crate::check;
use crate::dice::Dice;
use crate::rounds::{self, Finished, Seen};
use crate::tree::Tree;
use crate::world::World;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

/// The calls that change something, or open what is changed.
const CALLS: &str = "rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,link,linkat,symlinkat,openat,openat2,write,\
                     pwrite64,ftruncate,fallocate,fsync,fdatasync,syncfs,chmod,fchmod,fchownat,utimensat,fsetxattr,flock";
/// Calls that are tried in a round.
const TRIED: u64 = 5;

/// Why there is no such tracing here, if so.
pub fn why_not() -> Option<String> {
    let traced = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).output();
    match traced {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("strace can't trace: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("no strace: {error}")),
    }
}

pub fn apply(world: &World, dice: &mut Dice, seen: &Seen) {
    let (_, session) = rounds::finished(world, dice, "");
    let after = session.stages[2].1.clone();
    let words = ["apply".to_owned(), session.id.clone()];
    each(world, dice, seen, &session, &words, &|world, output, seen| {
        let real = world.real();
        if output.status.success() {
            rounds::is_one_of("after apply", &real, &[&after]);
        }
        settled(world, output, seen, &session, &words);
        rounds::is_one_of("after apply was given again", &world.real(), &[&after]);
    });
}

pub fn rollback(world: &World, dice: &mut Dice, seen: &Seen) {
    let (_, session) = rounds::finished(world, dice, "");
    let to = dice.below(2) as usize;
    let words = ["rollback".to_owned(), session.id.clone(), session.stages[to].0.to_string()];
    let (old, new) = (session.stages[2].1.clone(), session.stages[to].1.clone());
    each(world, dice, seen, &session, &words, &|world, output, seen| {
        // What was cut off ends with the next start or act.
        world.ok(&["run", "--json", "--apply", "never", "--", "true"]);
        let found = world.merged(&session.id);
        let allowed: &[&Tree] = if output.status.success() { &[&new] } else { &[&old, &new] };
        rounds::is_one_of("after a rollback", &found, allowed);
        rounds::note(seen, if found == new { "was done" } else { "was not done" });
        assert_eq!(world.real(), session.real);
        world.ok(&["rollback", &session.id, &session.stages[to].0.to_string()]);
        rounds::is_one_of("after the rollback was given again", &world.merged(&session.id), &[&new]);
        world.ok(&["apply", &session.id]);
        rounds::is_one_of("after apply", &world.real(), &[&new]);
    });
}

/// The command is given again until it is done; it need not be more than once.
fn settled(world: &World, output: &Output, seen: &Seen, session: &Finished, words: &[String]) {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let journal = world.session(&session.id).join("apply.journal").exists();
    if output.status.code() == Some(1) && journal {
        assert!(told.contains("FB0531"), "a tree in between is told:\n{told}");
        rounds::note(seen, "in between, and told so");
    }
    // With a journal and no workspace all was applied, and what was set aside could not be removed.
    if journal || world.session(&session.id).join("workspace").exists() {
        if !journal && !told.contains("were applied") {
            assert_eq!(world.real(), session.real, "nothing was applied: {told}");
        }
        rounds::note(seen, "was not done");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        world.ok(&words);
    } else {
        rounds::note(seen, "was done");
    }
}

type Then<'a> = &'a dyn Fn(&World, &Output, &Seen);

/// Gives the command with a call of its failed or killed, several times, each time from the same beginning.
fn each(world: &World, dice: &mut Dice, seen: &Seen, session: &Finished, words: &[String], then: Then<'_>) {
    let kept = tempfile::Builder::new().prefix("kept-").tempdir_in(world.ledger().parent().unwrap()).unwrap();
    copy(&world.ledger(), &kept.path().join("ledger"));
    copy(&world.workspace(), &kept.path().join("work"));
    let back = || {
        for (name, to) in [("ledger", world.ledger()), ("work", world.workspace())] {
            let _ = Command::new("rm").arg("-rf").arg(&to).status();
            copy(&kept.path().join(name), &to);
        }
    };
    let log = kept.path().join("calls");
    std::fs::write(&log, "").unwrap();
    world.user.own(&log).unwrap();
    let counted = strace(world, &["-o", log.to_str().unwrap(), "-e", &format!("trace={CALLS}")], words);
    assert!(counted.status.success(), "{}", String::from_utf8_lossy(&counted.stderr));
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        let call = line.split_whitespace().nth(1).and_then(|w| w.split('(').next()).unwrap_or_default();
        if CALLS.split(',').any(|known| known == call) {
            *calls.entry(call.to_owned()).or_default() += 1;
        }
    }
    // As often as it is called, but for the many openings of what is only read.
    let weighed: Vec<(&str, u64)> =
        calls.iter().flat_map(|(call, n)| vec![(call.as_str(), *n); (*n).min(12) as usize]).collect();
    for _ in 0..TRIED {
        back();
        let (call, count) = weighed[dice.below(weighed.len() as u64) as usize];
        let n = 1 + dice.below(count);
        let how = dice.pick(&["signal=KILL", "signal=KILL", "error=EIO", "error=ENOSPC"]);
        // A disk that is full stays full for a while.
        let when = if how == "error=ENOSPC" { format!("{n}+") } else { n.to_string() };
        let inject = format!("inject={call}:{how}:when={when}");
        rounds::note(seen, how);
        let output = strace(world, &["-o", "/dev/null", "-e", &format!("trace={CALLS}"), "-e", &inject], words);
        let guarded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| then(world, &output, seen)));
        if let Err(panic) = guarded {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("{words:?} with {inject}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
        }
        check::ledger(world);
    }
    back();
    drop(kept);
    let _ = session;
}

fn strace(world: &World, options: &[&str], words: &[String]) -> Output {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let inner = world.flyball(&words);
    let mut command = world.user.command("strace", &world.home());
    command.args(["-f", "-qq"]).args(options).arg("--").arg(inner.get_program()).args(inner.get_args());
    command.current_dir(world.workspace()).stdin(std::process::Stdio::null()).output().unwrap()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}
