//! `flyball watch` in a real terminal, on real governed sessions.

use crate::screen::Screen;
use crate::support::{Case, World, program, stderr, summary};
use flyball_testkit::user::User;
use serde_json::Value;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "watch_shows_it_live_and_answers_from_the_screen", needs: tmux, run: answers },
        Case { name: "watch_pauses_resumes_rolls_back_and_kills", needs: tmux, run: acts },
        Case { name: "watch_gives_the_terminal_back", needs: tmux, run: gives_back },
        Case { name: "watch_needs_no_colour_and_takes_any_size", needs: tmux, run: plain_and_resized },
        Case { name: "watch_shows_hostile_names_harmlessly", needs: tmux, run: hostile },
        Case { name: "watch_reads_a_long_session_by_increments", needs: tmux, run: long },
        Case { name: "watch_refuses_what_is_no_terminal", needs: tmux, run: refuses },
    ]
}

fn tmux(_: User) -> Option<String> {
    program("tmux").or_else(|| program("bash"))
}

fn start(world: &World, name: &str, script: &str) -> Child {
    std::fs::write(world.repo.workspace().join("work.sh"), script).unwrap();
    world
        .flyball(&["run", "--json", "--apply", "never", "--name", name, "--", "sh", "work.sh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn terminal(world: &World, env: &[(&str, &str)]) -> Screen {
    let scratch = world.repo.scratch();
    Screen::new(world.user, scratch, &world.repo.workspace(), (80, 24), env)
}

/// Starts `flyball watch` on the terminal, after a line that must be there again when it ends.
fn watch(world: &World, screen: &Screen, rest: &str) {
    let words: Vec<String> = world.front(&["watch"]).iter().map(|w| w.to_string_lossy().into_owned()).collect();
    screen.line("clear; echo what stood here before");
    screen.wait_for("what stood here before\n");
    screen.line(&format!("{} {rest}; echo left with $?", words.join(" ")));
}

fn world(user: User) -> World {
    let world = World::new(user);
    world.init("", "");
    world
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(90), "waited for {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn answers(user: User) {
    let world = world(user);
    let script =
        "printf x > .github/workflows/ci.yml; echo code=$?\nprintf y > .github/workflows/new.yml; echo code=$?\n";
    // Watched before there is anything: it shows up by itself.
    let screen = terminal(&world, &[]);
    watch(&world, &screen, "");
    screen.wait_for("no sessions yet");
    let child = start(&world, "nightly", script);
    let text =
        screen.wait("the question in the list", |t| t.contains("waiting     nightly") && t.contains("1 QUESTION"));
    assert!(text.contains("14:") || text.contains("15:"), "the time that is left: {text}");
    screen.press(&["Enter"]);
    let text = screen.wait("the session's screen", |t| t.contains("QUESTION 1 of 1") && t.contains("H held"));
    assert!(text.contains(".github/workflows/ci.yml") && text.contains("sha256:"), "{text}");
    assert!(text.contains("A allowed process.exec"), "{text}");

    // Wrong keys answer nothing.
    screen.press(&["y", "Enter"]);
    screen.wait_for("why entry");
    screen.press(&["Escape"]);
    screen.wait_for("timeline: all");
    // With alt it is another key, such as the rest of a sequence that came late.
    screen.press(&["M-a"]);
    screen.press(&["a"]);
    screen.wait_for("press a to ALLOW");
    screen.press(&["y", "Enter", "x", "Enter", "a"]);
    screen.wait_for("ALLOW it once, because:");
    screen.press(&["Enter"]);
    screen.wait_for("an answer needs a reason");
    assert!(!world.log().iter().any(|e| e["kind"] == "answer"));
    screen.type_in("seen on the screen");
    screen.wait_for("because: seen on the screen_");
    screen.press(&["Enter"]);
    screen.wait("the next question", |t| t.contains("QUESTION 1 of 1") && t.contains("workflows/new.yml"));

    screen.press(&["a"]);
    screen.wait("the dialog", |t| t.contains("press a to ALLOW") && t.contains("new.yml"));
    screen.press(&["d"]);
    screen.wait_for("DENY it, because:");
    screen.type_in("not this one");
    screen.press(&["Enter"]);
    screen.wait("the end", |t| t.contains("ENDED") && t.contains("D denied"));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("code=0\n") && (said.contains("code=2\n") || said.contains("code=1\n")), "{said}");
    assert!(stderr(&output).contains("not this one"), "{}", stderr(&output));

    let log = world.log();
    let told: Vec<(&str, &str)> = log
        .iter()
        .filter(|e| e["kind"] == "answer")
        .map(|e| (e["body"]["verdict"].as_str().unwrap(), e["body"]["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("allow", "seen on the screen"), ("deny", "not this one")]);
    let close = log.iter().find(|e| e["kind"] == "close").unwrap();
    assert_eq!(close["body"]["registers"]["gate"], "open", "{close}");

    // An ended session is read back, filtered and explained.
    screen.press(&["f"]);
    let text = screen.wait_for("timeline: refused");
    assert!(!text.contains("A allowed"), "{text}");
    screen.wait_for("D denied");
    screen.press(&["f"]);
    screen.wait("both that were asked about", |t| {
        t.contains("timeline: asked about") && t.contains("A granted") && t.contains("D denied")
    });
    screen.press(&["/"]);
    screen.type_in("new.yml");
    screen.press(&["Enter"]);
    screen.wait("only what was searched for", |t| {
        t.contains("with `new.yml`") && t.contains("D denied") && !t.contains("A granted")
    });
    screen.press(&["Enter"]);
    screen.wait_for("ci-is-asked-about (owner maintainer)");
    screen.press(&["PageDown"]);
    screen.wait("the answer", |t| t.contains("answered") && t.contains("not this one"));
    screen.press(&["q"]);
    screen.wait_for("left with 0");
    world.verifies();
}

fn heartbeat(world: &World) -> u64 {
    let sessions = world.repo.scratch().join("ledger/sessions");
    let session = std::fs::read_dir(&sessions).ok().and_then(|mut d| d.next()).and_then(Result::ok);
    let beat = session.map(|s| s.path().join("workspace/upper/beat"));
    beat.and_then(|b| std::fs::metadata(b).ok()).map_or(0, |m| m.len())
}

fn acts(user: User) {
    let world = world(user);
    let script = "printf one > a.txt; env true; printf two > a.txt; env true; while :; do printf . >> beat; done\n";
    let child = start(&world, "nightly", script);
    wait_for("the program to run", || heartbeat(&world) > 10);
    let screen = terminal(&world, &[]);
    watch(&world, &screen, "nightly");
    screen.wait("the session, opened at once", |t| t.contains("nightly  RUNNING") && t.contains("fs.write"));
    screen.press(&["p"]);
    screen.wait_for("nightly  PAUSED");
    let paused = heartbeat(&world);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(heartbeat(&world), paused, "it went on while paused");
    screen.press(&["r"]);
    screen.wait_for("nightly  RUNNING");
    wait_for("the program to go on", || heartbeat(&world) > paused);

    // Back to where a.txt held its first content: the row of the first `env true`.
    screen.press(&["/"]);
    screen.type_in("env true");
    screen.press(&["Enter"]);
    screen.wait("both commands", |t| t.matches("env true").count() >= 3);
    screen.press(&["g"]);
    screen.wait("the first row", |t| t.lines().any(|l| l.starts_with('>') && l.contains("env true")));
    screen.press(&["Down", "-", "R"]);
    screen.wait_for("its workspace back to entry");
    screen.wait_for("a.txt");
    screen.type_in("n");
    screen.press(&["Enter"]);
    screen.wait_for("NOT DONE");
    screen.press(&["BSpace"]);
    screen.type_in("y");
    screen.press(&["Enter"]);
    screen.wait_for("rolled back");
    let log = world.log();
    let act = log.iter().find(|e| e["kind"] == "intervention" && e["body"]["act"] == "rollback").unwrap();
    assert_eq!(act["body"]["digest"], act["body"]["recorded"], "{act}");

    screen.press(&["k"]);
    screen.wait_for("type y or the session's name");
    screen.type_in("nightl");
    screen.press(&["Enter"]);
    screen.wait_for("NOT DONE");
    assert!(!world.log().iter().any(|e| e["body"]["act"] == "kill"));
    screen.type_in("y");
    screen.press(&["Enter"]);
    screen.wait_for("nightly  ENDED");
    let output = child.wait_with_output().unwrap();
    assert_eq!(summary(&output)["ended_by"], "person");
    let acts: Vec<Value> =
        world.log().iter().filter(|e| e["kind"] == "intervention").map(|e| e["body"]["act"].clone()).collect();
    assert_eq!(acts, ["pause", "resume", "rollback", "kill"]);
    world.verifies();
}

/// The shell's screen, cursor and line editing are back.
fn is_given_back(screen: &Screen) {
    // What is typed before that, bash forgets where an interrupt ended the command.
    screen.wait("the prompt", |t| t.trim_end().ends_with("ready>"));
    let text = screen.text();
    assert!(text.contains("what stood here before"), "{text}");
    assert!(!text.contains("sessions --"), "{text}");
    assert_eq!(screen.ask("alternate_on"), "0");
    assert_eq!(screen.ask("cursor_flag"), "1");
    screen.line("stty -a | tr ' ;' '\\n\\n' | grep -cxE 'icanon|echo|isig|icrnl|opost'");
    screen.wait("a terminal as it was", |t| t.lines().any(|l| l.trim() == "5"));
}

fn gives_back(user: User) {
    let world = world(user);
    world.run("true");
    let screen = terminal(&world, &[]);
    for end in ["q", "C-c"] {
        watch(&world, &screen, "");
        screen.wait_for("0 live, 1 over");
        assert_eq!((screen.ask("alternate_on"), screen.ask("cursor_flag")), ("1".into(), "0".into()));
        screen.press(&[end]);
        screen.wait_for("left with 0");
        is_given_back(&screen);
    }
    for (signal, code) in [("TERM", "143"), ("HUP", "129"), ("INT", "130")] {
        watch(&world, &screen, "");
        screen.wait_for("0 live, 1 over");
        let shell = screen.ask("pane_pid");
        let child = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        let status = std::process::Command::new("kill").args([&format!("-{signal}"), child.trim()]).status().unwrap();
        assert!(status.success());
        if signal == "INT" {
            // bash gives up the rest of a line whose command an interrupt ended.
            screen.wait("the shell", |t| t.contains("what stood here before") && !t.contains("over"));
        } else {
            screen.wait_for(&format!("left with {code}"));
        }
        is_given_back(&screen);
    }
    // Suspended: the shell has its terminal; then on with it.
    watch(&world, &screen, "");
    screen.wait_for("0 live, 1 over");
    screen.press(&["C-z"]);
    screen.wait_for("Stopped");
    is_given_back(&screen);
    screen.line("fg");
    screen.wait_for("0 live, 1 over");
    assert_eq!(screen.ask("alternate_on"), "1");
    screen.press(&["C-l", "?"]);
    screen.wait_for("any key: back");
    screen.press(&["x", "q"]);
    screen.wait("the shell", |t| t.contains("what stood here before") && !t.contains("0 live"));
}

/// Whether a sequence sets a colour: 30 to 49, 90 to 107 among its numbers.
fn sets_colour(raw: &str) -> bool {
    raw.split("\u{1b}[").skip(1).filter_map(|s| s.split_once('m')).any(|(numbers, _)| {
        numbers
            .split([';', ':'])
            .filter_map(|n| n.parse::<u32>().ok())
            .any(|n| matches!(n, 30..=38 | 40..=48 | 90..=107))
    })
}

fn plain_and_resized(user: User) {
    let world = World::new(user);
    let rule = "@id(\"never\") @owner(\"maintainer\") @reason(\"Never.\")\nforbid (principal, action == Action::\"fs.write\", resource)\nwhen { resource.rel == \"never.txt\" };\n";
    world.init("", rule);
    world.run("printf x > never.txt; true");
    for (env, is_coloured) in [(&[][..], true), (&[("NO_COLOR", "1")][..], false)] {
        let screen = terminal(&world, env);
        watch(&world, &screen, "@");
        screen.wait("the session", |t| t.contains("ENDED") && t.contains("D denied") && t.contains("W not run"));
        assert_eq!(sets_colour(&screen.raw()), is_coloured, "{}", screen.raw());
        screen.resize(60, 15);
        let text = screen.wait_for("60x15 is too small");
        assert!(text.contains("needs 80x24"), "{text}");
        screen.press(&["k", "a"]);
        screen.resize(120, 40);
        let text = screen.wait("the session again", |t| t.contains("timeline: all") && t.contains("enter why"));
        assert!(!text.contains("==") && text.lines().any(|l| l.len() == 120), "{text}");
        screen.resize(4, 2);
        screen.wait("hardly anything", |t| t.starts_with("4x") || t.trim().len() < 10);
        screen.resize(80, 24);
        screen.wait_for("timeline: all");
        screen.press(&["q"]);
        screen.wait_for("left with 0");
    }
}

fn hostile(user: User) {
    let world = world(user);
    let script = "touch \"$(printf 'a\\033]0;owned\\007b\\033[2J')\"; touch \"$(printf 'x\\342\\200\\256gpj')\"; touch \"$(printf 'line\\n> D denied')\"; touch \"$(printf '%0300d' 7)\"; sleep 1000\n";
    let child = start(&world, "$(printf '\\033]0;owned\\007')", script);
    wait_for("the session", || {
        !String::from_utf8_lossy(&world.flyball(&["ps", "--json"]).output().unwrap().stdout).is_empty()
    });
    let screen = terminal(&world, &[]);
    let title = screen.ask("pane_title");
    watch(&world, &screen, "@");
    let text = screen.wait("the last name", |t| t.contains("0000000000..") && t.contains("sleep 1000"));
    assert!(text.contains("gpj") && text.contains("\\u{202e}"), "{text}");
    assert!(!text.lines().any(|l| l.starts_with("> D")), "{text}");
    assert_eq!(screen.ask("pane_title"), title, "a name set the terminal's title");
    assert!(text.contains("QUIT") || text.contains("enter why"), "the screen is whole: {text}");
    screen.press(&["k"]);
    screen.wait_for("type y or the session's name");
    screen.type_in("y");
    screen.press(&["Enter"]);
    screen.wait_for("ENDED");
    screen.press(&["q"]);
    screen.wait_for("left with 0");
    assert_eq!(screen.ask("pane_title"), title);
    child.wait_with_output().unwrap();
}

fn refuses(user: User) {
    let world = world(user);
    world.run("true");
    for (env, told) in [(("TERM", "dumb"), "TERM is `dumb`"), (("TERM", ""), "TERM is ``")] {
        let screen = terminal(&world, &[]);
        screen.line(&format!("export {}={}", env.0, env.1));
        watch(&world, &screen, "");
        let text = screen.wait_for("left with 1");
        assert!(text.contains("error[FB0540]") && text.contains(told), "{text}");
        watch(&world, &screen, "| cat");
        screen.wait_for("error[FB0540]");
    }
    let screen = terminal(&world, &[]);
    watch(&world, &screen, "--json");
    let text = screen.wait_for("left with 2");
    assert!(text.contains("FB0541") && text.contains("--follow"), "{text}");
    watch(&world, &screen, "nobody");
    let text = screen.wait_for("left with 1");
    assert!(text.contains("FB0480"), "{text}");
}

/// A session of 25,000 attempts: what is shown is read, and not the rest.
fn long(user: User) {
    const ATTEMPTS: u64 = 25_000;
    let world = world(user);
    let folder = world.repo.scratch().join("ledger");
    write_long(&folder, ATTEMPTS);
    user.own(&folder).unwrap();
    let screen = terminal(&world, &[]);
    watch(&world, &screen, "@");
    screen.wait("the end of it", |t| t.contains("long  ENDED") && t.contains("file24999"));
    screen.press(&["Home"]);
    screen.wait("the beginning", |t| t.contains("file0\n") && t.contains("open"));
    screen.press(&["PageDown"]);
    screen.wait("a page on", |t| t.contains("file24\n"));
    screen.press(&["End"]);
    screen.wait_for("file24999");
    // What is rare is found by reading all of it back, in a window that holds no more than fits.
    screen.press(&["/"]);
    screen.type_in("file7 ");
    screen.press(&["BSpace", "Enter"]);
    screen.wait("the last of them", |t| t.contains("with `file7`") && t.contains("file7999"));
    screen.press(&["Enter"]);
    screen.wait("why", |t| t.contains("attempted") && t.contains("done"));
    let shell = screen.ask("pane_pid");
    let child = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.trim())).unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 160 * 1024, "{peak_kib} KiB to watch {ATTEMPTS} attempts");
    screen.press(&["q"]);
    screen.wait_for("left with 0");
}

fn write_long(folder: &std::path::Path, attempts: u64) {
    use flyball_ledger::{Draft, Kind, Ledger};
    use serde_json::json;
    let ledger = Ledger::open(folder).unwrap();
    let stream = ledger.stream("0long1sess1").unwrap();
    let mut at_ns = 1_795_230_000_000_000_000;
    let mut put = |kind: Kind, cause: Vec<u64>, body: Value| {
        at_ns += 1_000_000;
        stream.append(Draft { at_ns, kind, actor: "agent".into(), cause, body }).unwrap()
    };
    put(Kind::Open, vec![], json!({"name": "long", "agent": "agent", "workspace": "/w", "argv": ["agent"]}));
    for n in 0..attempts {
        let resource = json!({"type": "File", "path": format!("/w/file{n}")});
        let action = json!({"verb": "fs.write", "resource": resource, "attrs": {}, "surface": "fs", "agent": "agent"});
        let of = put(Kind::Attempt, vec![1], action);
        put(
            Kind::Ruling,
            vec![of],
            json!({
                "of": of, "verdict": "allow", "action": "sha256:00", "charter": "sha256:00", "modified": null,
                "reasons": [{"rule": "work", "owner": "team", "reason": "Work.", "witnesses": []}],
                "governance": {"consequence": "low", "reversibility": "compensatable", "durable": false, "snapshot": false},
            }),
        );
        put(Kind::Dispatch, vec![of], json!({"of": of}));
        put(Kind::Outcome, vec![of], json!({"of": of, "ok": true}));
    }
    put(
        Kind::Close,
        vec![],
        json!({
            "ended_by": "program", "exit": 0, "actions": attempts, "allowed": attempts, "denied": 0, "held": 0, "modified": 0,
        }),
    );
    stream.flush().unwrap();
}
