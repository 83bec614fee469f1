//! Forks of sessions whose changes are in the real workspace by now.

use crate::rerunning::{entries, forked, program, programs};
use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::user::User;
use serde_json::Value;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "a_fork_goes_on_from_a_step_of_what_was_applied", needs: nothing, run: applied },
        Case { name: "a_fork_needs_what_is_in_no_record_nowhere", needs: nothing, run: not_kept },
        Case { name: "what_was_done_since_the_last_look_is_named", needs: nothing, run: behind },
    ]
}

const PARENT: &str = "echo a > a.txt; mkdir p/n; echo 1 > p/n/one; mkdir step; cat a.txt > /dev/null; echo A > a.txt; echo new > kept.txt; rm -r p/d p/n; rm link; mkdir link";
/// What it looks at, before it changes something itself.
const LOOKS: &str = "cat a.txt p/n/one kept.txt p/d/x link; ls p/d; echo c > c.txt; rm kept.txt";

fn scene(user: User) -> World {
    let world = World::new(user);
    world.init("", "");
    let workspace = world.repo.workspace();
    std::fs::create_dir_all(workspace.join("p/d/deep")).unwrap();
    for (name, text) in [("kept.txt", "old\n"), ("p/d/x", "x\n"), ("p/d/deep/y", "y\n")] {
        std::fs::write(workspace.join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("p/d/deep/y", workspace.join("link")).unwrap();
    world.user.own(&workspace).unwrap();
    let dir = programs(&world);
    program(&dir.join("parent"), PARENT);
    program(&dir.join("looks"), LOOKS);
    world.user.own(&dir).unwrap();
    world
}

/// Runs and applies it; gives it, the step in its middle and its last one.
fn run_and_apply(world: &World, words: &[&str]) -> (Value, u64, u64) {
    let parent = programs(world).join("parent");
    let words = [&["run", "--json", "--apply", "never"], words, &["--", parent.to_str().unwrap()]].concat();
    let output = world.flyball(&words).output().unwrap();
    let session = summary(&output);
    assert_eq!((&session["exit"], &session["denied"]), (&0.into(), &0.into()), "{session}\n{}", stderr(&output));
    let log = entries(world, &session);
    let is_step = |e: &&Value| e["kind"] == "observe" && e["body"]["workspace"].to_string().contains("\"step\"");
    let until = log.iter().find(is_step).unwrap()["seq"].as_u64().unwrap();
    world.ok(&["apply", session["session"].as_str().unwrap()]);
    (session, until, log.last().unwrap()["seq"].as_u64().unwrap() - 1)
}

/// What is said where nothing runs.
fn refused(world: &World, session: &Value, until: u64) -> String {
    let (session, until) = (session["session"].as_str().unwrap(), until.to_string());
    let output = world.flyball(&["replay", session, "--until", &until, "--then", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    stderr(&output)
}

fn real(world: &World, name: &str) -> Option<String> {
    std::fs::read_to_string(world.repo.workspace().join(name)).ok()
}

fn applied(user: User) {
    let world = scene(user);
    let (session, until, last) = run_and_apply(&world, &["--record"]);
    assert_eq!((real(&world, "a.txt").as_deref(), real(&world, "p/d/x")), (Some("A\n"), None));
    let looks = programs(&world).join("looks");
    let (fork, output) = forked(&world, &session, until, &[looks.to_str().unwrap()]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output));
    assert!(out.starts_with("a\n1\nold\nx\ny\ndeep\nx\n"), "{out}\n{err}");
    assert_eq!(fork["exit"], 0, "{fork}\n{err}");
    assert_eq!(real(&world, "a.txt").as_deref(), Some("A\n"), "nothing is taken to the real workspace by itself");
    world.verifies();
    let id = fork["session"].as_str().unwrap();
    let replayed = world.replay(id);
    assert_eq!(replayed["result"], "match", "{replayed:#}");
    // A fork of the fork, and back to its first step of its own.
    let own = u64::try_from(entries(&world, &fork).iter().position(|e| e["body"]["forked"].is_object()).unwrap())
        .unwrap()
        + 1;
    let (again, output) = forked(&world, &fork, own, &[looks.to_str().unwrap()]);
    assert_eq!((&again["exit"], String::from_utf8_lossy(&output.stdout).starts_with("a\n1\nold\n")), (&0.into(), true));
    let kept = world.flyball(&["rollback", id, &until.to_string(), "--reason", "x"]).output().unwrap();
    assert!(!kept.status.success() && stderr(&kept).contains("nothing was changed"), "{}", stderr(&kept));
    world.ok(&["rollback", id, &(own + 1).to_string(), "--reason", "x"]);
    world.ok(&["apply", id]);
    let found = ["a.txt", "p/n/one", "kept.txt", "p/d/x", "p/d/deep/y", "link", "c.txt"].map(|name| real(&world, name));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found, [text("a\n"), text("1\n"), text("old\n"), text("x\n"), text("y\n"), text("y\n"), None]);
    // What the first one left is there no more: somebody would lose what the fork made of it.
    let err = refused(&world, &session, last);
    assert!(err.contains("FB0608") && err.contains("changed since"), "{err}");
}

fn not_kept(user: User) {
    let world = scene(user);
    let (session, until, last) = run_and_apply(&world, &[]);
    let err = refused(&world, &session, until);
    assert!(err.contains("FB0608") && err.contains("is in no record") && err.contains("--record"), "{err}");
    // Of the last step nothing is needed but what is there.
    let (fork, output) = forked(&world, &session, last, &["sh", "-c", "cat a.txt kept.txt; ls p; echo more > a.txt"]);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(out.starts_with("A\nnew\n") && !out.contains("d\n{"), "{out}\n{}", stderr(&output));
    world.ok(&["apply", fork["session"].as_str().unwrap()]);
    assert_eq!(real(&world, "a.txt").as_deref(), Some("more\n"));
    world.verifies();
    // Somebody put something into a folder that the step did not have.
    let world = scene(user);
    let (session, until, _) = run_and_apply(&world, &["--record"]);
    std::fs::write(world.repo.workspace().join("link/theirs"), "t").unwrap();
    world.user.own(&world.repo.workspace().join("link/theirs")).unwrap();
    let err = refused(&world, &session, until);
    assert!(err.contains("FB0608") && err.contains("link/theirs"), "{err}");
}

fn behind(user: User) {
    let world = World::new(user);
    world.init("", "");
    world.run("echo a > a.txt; cat a.txt");
    let log = world.log();
    let is_write = |e: &&Value| e["body"]["verb"] == "fs.write" && e["body"]["surface"] == "fs";
    let written = log.iter().find(is_write).unwrap();
    let done = log.iter().find(|e| e["kind"] == "outcome" && e["body"]["of"] == written["seq"]).unwrap();
    let step = done["seq"].as_u64().unwrap();
    let look = |e: &&Value| e["kind"] == "observe" && e["body"]["workspace"].is_object();
    let next =
        log.iter().filter(look).find(|e| e["seq"].as_u64() > Some(step)).expect("the look before `cat`")["seq"].clone();
    let diff = |to: &Value| world.flyball(&["diff", "@", "1", &to.to_string()]).output().unwrap();
    let named = format!("what entry {next} saw");
    let said = stderr(&diff(&done["seq"]));
    assert!(said.contains("nothing that was seen of the workspace differs") && said.contains(&named), "{said}");
    let output = diff(&next);
    let (shown, said) = (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output));
    assert!(shown.contains("a.txt") && !said.contains("as of the last look"), "{shown}\n{said}");
    let fork = |step: &str| world.flyball(&["replay", "@", "--until", step, "--then", "--", "true"]).output().unwrap();
    let said = stderr(&fork(&step.to_string()));
    assert!(said.contains(&named), "{said}");
}
