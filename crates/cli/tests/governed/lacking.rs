//! Machines that lack something, each made so by really taking it away: what stands in for it works the same and is said, and
//! where nothing can, nothing runs.

use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::lack::Lack;
use flyball_testkit::user::User;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "without_an_overlay_a_copy_is_the_same", needs: mounts, run: copy_is_the_same },
        Case { name: "without_an_overlay_rollback_and_discard_work", needs: mounts, run: copy_goes_back },
        Case { name: "without_an_overlay_conflicts_take_nothing", needs: mounts, run: copy_conflicts },
        Case { name: "a_required_layer_is_not_done_without", needs: mounts, run: required },
        Case { name: "without_exit_status_ends_are_known_all_the_same", needs: nothing, run: ends_are_known },
        Case { name: "without_landlock_only_if_accepted", needs: nothing, run: landlock },
        Case { name: "without_mediation_nothing_runs", needs: nothing, run: nothing_runs },
        Case { name: "without_control_groups_limits_are_refused", needs: hidden_groups, run: groups },
        Case { name: "without_wake_ups_on_one_core_only_speed_is_lost", needs: nothing, run: wake_ups },
    ]
}

pub fn mounts(_: User) -> Option<String> {
    Lack::why_not(&["overlay"])
}

/// Governs a script; nobody is there to answer.
fn run(world: &World, script: &str) -> (Value, Output) {
    let words = ["run", "--json", "--on-hold", "deny", "--apply", "never", "--", "sh", "-c", script];
    let output = world.flyball(&words).output().unwrap();
    (summary(&output), output)
}

fn hidden_groups(_: User) -> Option<String> {
    Lack::why_not(&["cgroups"])
}

/// What doctor says of one feature, and whether a run would start.
pub fn doctor(world: &World, feature: &str) -> (Value, bool) {
    let output = world.flyball(&["doctor", "--json"]).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["ok"] == true, output.status.success(), "{said}");
    let finding = said["findings"].as_array().unwrap().iter().find(|f| f["feature"] == feature);
    let finding = finding.unwrap_or_else(|| panic!("no `{feature}` in {said}")).clone();
    let text = world.flyball(&["doctor"]).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let line = text.lines().find(|l| l.starts_with(feature)).unwrap_or_else(|| panic!("{text}")).to_owned();
    assert_eq!(line.contains("missing"), finding["ok"] == false, "{line}");
    (finding, output.status.success())
}

/// The session's first entry, `show` and the screen all name these missing layers and no others but what this machine lacks
/// for every session.
pub fn announced(world: &World, screen: &str, layers: &[&str]) {
    let opening = &world.log()[0];
    assert_eq!(opening["kind"], "open");
    let shown: Value = serde_json::from_str(&world.ok(&["show", "@", "--json"])).unwrap();
    let text = world.ok(&["show", "@"]);
    for layer in layers {
        assert!(opening["body"]["weaker"].as_array().unwrap().contains(&json!(layer)), "{opening}");
        assert!(shown["weaker"].as_array().unwrap().contains(&json!(layer)), "{shown}");
        assert!(text.contains(layer), "{text}");
        assert!(screen.contains(&format!("without {layer}: ")), "{screen}");
    }
}

/// One of each thing that tools do to a tree, moves of whole folders and files with several names among them.
pub const WORK: &str = "set -e; printf new > a.txt; mv docs pages; mkdir docs; printf 1 > docs/only; rm pages/page-00.md
    ln a.txt b.txt; printf more >> b.txt; chmod 700 test.sh; ln -s a.txt link; sed -i s/wc/WC/ words.sh
    mkdir -p x/y/z && printf deep > x/y/z/f && mv x/y moved && rmdir x
    cp README.md r && mv r README.md && printf tail >> README.md; rm fixtures/three.txt; rmdir fixtures; printf f > fixtures
    git -c user.email=a@b -c user.name=n commit -qam work; test -z \"$(git status --short --untracked-files=no)\"";

fn copy_is_the_same(user: User) {
    let world = World::lacking(user, &["overlay"]);
    // Files with several names, before the session: what one name changes, all have.
    std::fs::write(world.repo.workspace().join("one"), "1").unwrap();
    std::fs::hard_link(world.repo.workspace().join("one"), world.repo.workspace().join("two")).unwrap();
    user.own(&world.repo.workspace()).unwrap();
    world.init("", "");
    let (finding, is_enough) = doctor(&world, "overlay");
    assert!(is_enough && finding["ok"] == false && finding["required"] == false, "{finding}");
    assert!(finding["found"].as_str().unwrap().contains("copies the workspace"), "{finding}");
    assert!(!finding["remedy"].as_str().unwrap().is_empty());

    let before = tree(&world.repo.workspace(), "");
    let (summary, output) = run(&world, &format!("{WORK}; printf 3 > two"));
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    assert_eq!(tree(&world.repo.workspace(), ""), before, "the user's tree was touched");
    announced(&world, &stderr(&output), &["overlay"]);
    let log = world.log();
    let alerts: Vec<_> = log.iter().filter(|e| e["kind"] == "alert").collect();
    assert!(alerts.is_empty(), "{alerts:?}");

    // The same work, done plainly on a copy of the same tree.
    let plain = world.repo.scratch().join("plain");
    let copied = std::process::Command::new("cp").arg("-a").arg(world.repo.workspace()).arg(&plain).status().unwrap();
    assert!(copied.success());
    let mut command = user.command("sh", &world.repo.home());
    let done = command.args(["-c", &format!("{WORK}; printf 3 > two")]).current_dir(&plain).status().unwrap();
    assert!(done.success());
    world.ok(&["apply", "@"]);
    // Of `.git` the names of commits and times differ; git itself says whether it is whole.
    let (ours, theirs) = (tree(&world.repo.workspace(), ".git"), tree(&plain, ".git"));
    let differing = ours.iter().filter(|e| !theirs.contains(e)).chain(theirs.iter().filter(|e| !ours.contains(e)));
    assert_eq!(differing.collect::<Vec<_>>(), Vec::<&String>::new());
    world.repo.git(user, &["fsck", "--strict"]).unwrap();
    assert_eq!(world.repo.git(user, &["log", "-1", "--format=%s"]).unwrap(), "work");
    world.verifies();
}

fn copy_goes_back(user: User) {
    let world = World::lacking(user, &["overlay"]);
    world.init("", "");
    let (summary, output) = run(&world, "printf 1 > kept; sed -i s/wc/WC/ words.sh; true");
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    // The step before anything changed, and the session's last.
    let (first, last) = (1, world.log().last().unwrap()["seq"].as_u64().unwrap());
    let before = tree(&world.repo.workspace(), "");
    let diff = world.ok(&["diff", "@", &first.to_string(), &last.to_string()]);
    assert!(diff.contains("kept") && diff.contains("words.sh"), "{diff}");
    let id = world.log()[0]["body"]["session"].as_str().unwrap().to_owned();
    world.ok(&["rollback", &id, &first.to_string(), "--reason", "a test"]);
    world.ok(&["apply", &id]);
    assert_eq!(tree(&world.repo.workspace(), ""), before);

    run(&world, "rm docs/page-0*; mv docs away; mv .github elsewhere; chmod 600 README.md");
    let id = world.log()[0]["body"]["session"].as_str().unwrap().to_owned();
    world.ok(&["rollback", &id, &first.to_string(), "--reason", "a test"]);
    world.ok(&["apply", &id]);
    assert_eq!(tree(&world.repo.workspace(), ""), before);

    run(&world, "rm docs/page-0*");
    world.ok(&["discard", "@"]);
    assert_eq!(tree(&world.repo.workspace(), ""), before);
    world.verifies();
}

fn copy_conflicts(user: User) {
    let world = World::lacking(user, &["overlay"]);
    world.init("", "");
    run(&world, "printf theirs > README.md; rm docs/page-00.md");
    let at = |name: &str| world.repo.workspace().join(name);
    std::fs::write(at("README.md"), "mine\n").unwrap();
    std::fs::write(at("beside.txt"), "mine\n").unwrap();
    let refused = world.flyball(&["apply", "@"]).output().unwrap();
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("README.md"), "{}", stderr(&refused));
    assert!(at("docs/page-00.md").exists());
    std::fs::write(at("README.md"), "# words\n\nCounts the words of a file. `sh test.sh` tests it.\n").unwrap();
    world.ok(&["apply", "@"]);
    assert_eq!(world.repo.text("README.md").unwrap(), "theirs");
    assert_eq!(world.repo.text("beside.txt").unwrap(), "mine\n");
    assert!(!at("docs/page-00.md").exists());
}

fn required(user: User) {
    let world = World::lacking(user, &["overlay"]);
    world.init("[sandbox]\nrequire = [\"overlay\", \"landlock\"]\n", "");
    refused(&world, &["run", "--", "touch", "ran"], "overlay");
    // Whoever starts a run may not go below the charter either, whatever the machine has.
    let whole = World::new(user);
    whole.init("[sandbox]\nrequire = [\"overlay\", \"landlock\"]\n", "");
    for layer in ["overlay", "landlock"] {
        refused(&whole, &["run", "--accept-weaker", layer, "--", "touch", "ran"], layer);
    }
    let (summary, output) = run(&whole, "true");
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
}

/// Ends of every kind, with job control and many signals between: what a shell does all day.
const ENDS: &str = "sh -c 'exit 3'; false; sh -c 'kill -TERM $$'; sh -c 'kill -KILL $$'; (exit 5); sleep 0 & wait
    timeout 3 sleep 99; sh -c 'sleep 9 & until read c < /proc/$!/comm && [ $c = sleep ]; do :; done; kill -STOP $!; kill -CONT $!; kill $!; wait $!; echo stopped and gone $?'
    i=0; while [ $i -lt 20 ]; do sh -c 'trap \"exit 7\" USR1; kill -USR1 $$; sleep 9'; i=$((i+1)); done
    echo a | cat | grep -c a; no-such-program; sh -c 'exec sh -c \"exit 4\"'; echo done";

/// Programs with their ends, in the order of their attempts.
fn ends(world: &World) -> Vec<String> {
    let log = world.log();
    let execs = log.iter().filter(|e| e["kind"] == "attempt" && e["body"]["verb"] == "process.exec");
    let mut ends: Vec<String> = execs
        .map(|attempt| {
            let outcome = log.iter().find(|e| e["kind"] == "outcome" && e["body"]["of"] == attempt["seq"]);
            let mut body = outcome.map(|o| o["body"].clone()).unwrap_or_default();
            body.as_object_mut().map(|o| o.remove("of"));
            format!("{} {} {body}", attempt["body"]["resource"]["program"], attempt["body"]["resource"]["argv"])
        })
        .collect();
    // Pipelines start in any order.
    ends.sort();
    ends
}

fn ends_are_known(user: User) {
    let world = World::lacking(user, &["exit-info"]);
    world.init("", "");
    let (finding, is_enough) = doctor(&world, "exit status");
    assert!(is_enough && finding["ok"] == false && finding["required"] == false, "{finding}");
    let (summary, output) = run(&world, ENDS);
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    announced(&world, &stderr(&output), &["exit-status"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("stopped and gone 143\n1\n") && text.contains("done\n"), "{text}");
    world.verifies();
    let found = ends(&world);
    assert!(found.len() > 30, "{found:#?}");
    assert!(!found.iter().any(|end| end.contains("unknown")), "{found:#?}");
    for end in ["\"exit\":3", "\"exit\":7", "\"exit\":4"] {
        assert!(found.iter().any(|e| e.contains(end)), "no {end} in {found:#?}");
    }
    let whole = World::new(user);
    whole.init("", "");
    if doctor(&whole, "exit status").0["ok"] == false {
        eprintln!("skipped in part: this kernel does not tell how programs end, so there is nothing to compare with");
        return;
    }
    run(&whole, ENDS);
    assert_eq!(found, ends(&whole));
}

fn landlock(user: User) {
    let world = World::lacking(user, &["landlock"]);
    world.init("", "");
    let (finding, is_enough) = doctor(&world, "Landlock");
    assert!(!is_enough && finding["weakness"] == "landlock", "{finding}");
    refused(&world, &["run", "--", "touch", "ran"], "landlock");
    let script = "echo in > made; echo out > /usr/made; cat ~/.ssh/id_ed25519; true";
    std::fs::write(world.repo.workspace().join("probe.sh"), script).unwrap();
    let words = ["run", "--json", "--accept-weaker", "landlock", "--on-hold", "deny", "--apply", "never", "--"];
    let words = [&words[..], &["sh", "probe.sh"]].concat();
    let output = world.flyball(&words).output().unwrap();
    assert_eq!(summary(&output)["exit"], 0, "{}", stderr(&output));
    announced(&world, &stderr(&output), &["landlock"]);
    assert!(!world.repo.workspace().join("made").exists() && !Path::new("/usr/made").exists());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("canary"));
    world.ok(&["apply", "@"]);
    assert_eq!(world.repo.text("made").unwrap(), "in\n");
}

fn nothing_runs(user: User) {
    for (lack, feature, layer) in [
        ("listener", "mediation", "mediation"),
        ("killable", "mediation", "mediation"),
        ("addfd", "mediation", "mediation"),
        ("memory", "reading calls", "mediation"),
    ] {
        let world = World::lacking(user, &[lack]);
        world.init("", "");
        let (finding, is_enough) = doctor(&world, feature);
        assert!(!is_enough && finding["ok"] == false && finding["required"] == true, "{lack}: {finding}");
        assert!(!finding["remedy"].as_str().unwrap().is_empty(), "{lack}");
        refused(&world, &["run", "--", "touch", "ran"], layer);
        // Nothing stands in, so nobody can accept it.
        refused(&world, &["run", "--accept-weaker", layer, "--", "touch", "ran"], layer);
    }
}

fn groups(user: User) {
    let world = World::lacking(user, &["cgroups"]);
    world.init("", "");
    let (finding, is_enough) = doctor(&world, "freezer");
    assert!(is_enough && finding["ok"] == false, "{finding}");
    assert_eq!(doctor(&world, "limits").0["ok"], false);
    let (summary, output) = run(&world, "sleep 0; echo ran");
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    announced(&world, &stderr(&output), &["freezer"]);
    // A limit that nobody keeps is not promised.
    world.edit("charter.toml", "[charter]", "[limits]\nmemory = \"1GiB\"\n\n[charter]");
    refused(&world, &["run", "--", "touch", "ran"], "limits");
}

fn wake_ups(user: User) {
    let world = World::lacking(user, &["sync-wake-up"]);
    world.init("", "");
    let (summary, output) = run(&world, "printf 1 > a; mv a b; cat b; echo");
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    assert_eq!(world.log()[0]["body"]["weaker"], whole_weaker(user));
}

/// What this machine lacks for every session of that user.
fn whole_weaker(user: User) -> Value {
    let world = World::new(user);
    world.init("", "");
    run(&world, "true");
    world.log()[0]["body"]["weaker"].clone()
}

/// Refused with 102, naming the layer and what to do, and nothing ran.
pub fn refused(world: &World, words: &[&str], layer: &str) {
    let output = world.flyball(words).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(102), "{said}");
    assert!(said.to_lowercase().contains(layer), "{said}");
    assert!(!world.repo.workspace().join("ran").exists());
    let sessions = world.flyball(&["log", "@", "--json"]).output().unwrap();
    let text = String::from_utf8_lossy(&sessions.stdout).into_owned();
    assert!(!text.contains("\"dispatch\""), "{text}");
}

/// Each path below with kind, mode and content, but for what is in `but`.
pub fn tree(root: &Path, but: &str) -> Vec<String> {
    fn walk(root: &Path, at: &Path, but: &str, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let rel = path.strip_prefix(root).unwrap();
            if rel == Path::new(but) {
                continue;
            }
            let meta = path.symlink_metadata().unwrap();
            let held = match meta.file_type() {
                kind if kind.is_symlink() => std::fs::read_link(&path).unwrap().display().to_string(),
                kind if kind.is_file() => String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned(),
                _ => String::new(),
            };
            out.push(format!("{} {:o} {held:?}", rel.display(), meta.mode()));
            if meta.is_dir() {
                walk(root, &path, but, out);
            }
        }
    }
    let mut out = Vec::new();
    walk(root, root, but, &mut out);
    out.sort();
    out
}
