//! Programs that do one thing beside another while they wait for an answer, run again: a recorded answer is there at once, and what came
//! before it then comes before it again.

use crate::people;
use crate::rerunning::{entries, matches, programs, replay};
use crate::support::{Case, World, stderr, summary};
use flyball_testkit::user::User;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

pub fn cases() -> Vec<Case> {
    let needs = |_: User| {
        (!std::path::Path::new("/usr/bin/python3").exists()).then(|| "`/usr/bin/python3` is not installed".to_owned())
    };
    vec![
        Case { name: "an_answer_waits_for_what_came_before_it", needs, run: late },
        Case { name: "each_piece_of_an_answer_waits_for_what_came_before_it", needs, run: pieces },
        Case { name: "what_came_behind_an_answer_waits_for_it", needs, run: behind },
        Case { name: "what_did_not_come_before_the_end_waits_for_it", needs, run: never },
        Case { name: "what_came_late_is_given_the_time_of_then", needs, run: slowly },
        Case { name: "an_answer_that_waits_in_vain_is_given", needs, run: in_vain },
        Case { name: "answers_wait_for_what_other_processes_did", needs, run: processes },
        Case { name: "answers_at_once_wait_each_for_its_own", needs, run: at_once },
        Case { name: "who_did_not_wait_for_an_answer_does_not_again", needs, run: gone },
        Case { name: "a_replay_that_somebody_ends_says_nothing_of_the_program", needs, run: ended },
    ]
}

/// What the programs have in common: `beside` runs in a second thread, and `wait` goes by no clock that could be given again.
const PROGRAM: &str = r#"
import os, select, sys, threading, time, urllib.request
def wait(seconds): select.select([], [], [], seconds)
def ask(path, body=None, **more): return urllib.request.urlopen("http://host.internal:@PORT@" + path, body, **more)
def make(names):
    os.mkdir("old")
    for n in range(names): open(f"old/{n}", "w").close()
def tidy(names, between=0.02):
    for n in range(names):
        os.unlink(f"old/{n}")
        wait(between)
def beside(what): threading.Thread(target=what, daemon=True).start()
def end(text=b""):
    if text: open("out", "wb").write(text)
    os._exit(0)
"#;

/// A piece of an answer, and the file whose removal must be on record before it is sent, or for how many `seconds` it is not.
type Piece = (Option<&'static str>, &'static str);

struct Scene {
    world: World,
    session: Value,
}

/// Records a program against a server that gives each answer so.
fn record(user: User, text: &str, answer: impl Fn(&str) -> Vec<Piece>) -> Scene {
    let world = World::new(user);
    world.init(&format!("[sandbox]\nexpose = [\"{}\"]\n", programs(&world).display()), "");
    world.edit("rules.cedar", "[\"localhost\",", "[\"host.internal\", \"localhost\",");
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let text = format!("{}{text}", PROGRAM.replace("@PORT@", &port));
    let text = text.replace("@DIR@", programs(&world).to_str().unwrap());
    std::fs::write(world.repo.workspace().join("work.py"), text).unwrap();
    let mut run =
        world.flyball(&["run", "--json", "--record", "--apply", "never", "--", "/usr/bin/python3", "work.py"]);
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    listener.set_nonblocking(true).unwrap();
    while child.try_wait().unwrap().is_none() {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                serve(&world, &stream, &answer);
            }
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
    let output = child.wait_with_output().unwrap();
    let session = summary(&output);
    assert_eq!(session["exit"], 0, "{session}\n{}", stderr(&output));
    Scene { world, session }
}

fn serve(world: &World, mut stream: &std::net::TcpStream, answer: impl Fn(&str) -> Vec<Piece>) {
    let mut reader = BufReader::new(stream);
    let head: Vec<String> = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let length = |line: &String| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<u64>().ok();
    let length = head.iter().find_map(length).unwrap_or_default();
    reader.take(length).read_to_end(&mut Vec::new()).unwrap();
    for (n, (after, text)) in answer(&head[0]).into_iter().enumerate() {
        match after.map(|after| (after, after.strip_prefix("seconds "))) {
            // A server that is slow for its own reasons: what is recorded, not what is waited for.
            Some((_, Some(seconds))) => std::thread::sleep(std::time::Duration::from_secs(seconds.parse().unwrap())),
            Some((path, None)) => wait_for(world, path),
            None => {}
        }
        if n == 0 {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n");
        }
        // A client may be gone.
        let _ = stream.write_all(text.as_bytes());
        let _ = stream.flush();
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

fn removes(entry: &Value, path: &str) -> bool {
    let there = entry["body"]["resource"]["path"].as_str().is_some_and(|p| p.ends_with(path));
    entry["kind"] == "attempt" && entry["body"]["verb"] == "fs.delete" && there
}

fn wait_for(world: &World, path: &str) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !world.log().iter().any(|entry| removes(entry, path)) {
        assert!(std::time::Instant::now() < until, "{path} was not removed");
    }
}

fn removed(scene: &Scene) -> usize {
    entries(&scene.world, &scene.session).iter().filter(|entry| removes_any(entry)).count()
}

fn removes_any(entry: &Value) -> bool {
    entry["kind"] == "attempt" && entry["body"]["verb"] == "fs.delete"
}

fn again(scene: &Scene) {
    for level in ["4", "5", "4", "5"] {
        matches(&scene.world, &scene.session, level);
    }
    scene.world.verifies();
}

fn late(user: User) {
    let text = "make(400)\nbeside(lambda: (wait(1), tidy(400)))\nend(ask('/').read())";
    let scene = record(user, text, |_| vec![(Some("old/9"), "done\n")]);
    let count = removed(&scene);
    assert!((10..400).contains(&count), "it ended while it tidied: {count}");
    again(&scene);
}

fn pieces(user: User) {
    let text = "make(400)\nbeside(lambda: (wait(1), tidy(400)))\nend(ask('/').read())";
    let events = |_: &str| vec![(None, "data: 1\n\n"), (Some("old/5"), "data: 2\n\n"), (Some("old/30"), "data: 3\n\n")];
    let scene = record(user, text, events);
    assert!((31..400).contains(&removed(&scene)), "{}", removed(&scene));
    again(&scene);
}

/// By the clock that is given again a thread sleeps no time at all: it comes sooner than then.
fn behind(user: User) {
    let text = "make(3)\ndef slow():\n    time.sleep(3)\n    tidy(3)\n    end(b'all')\nbeside(slow)\n\
                ask('/a').read()\nwait(0.3)\nask('/b', ' '.join(sorted(os.listdir('old'))).encode()).read()\nwait(60)";
    let scene = record(user, text, |_| vec![(None, "ok\n")]);
    assert_eq!(removed(&scene), 3);
    again(&scene);
}

/// What the program never came to then it comes to now, before its end.
fn never(user: User) {
    let text = "def slow():\n    while not os.path.exists('@DIR@/go'): wait(0.01)\n    tidy(3)\n\
                make(3)\nbeside(slow)\nask('/').read()\nwait(1)\nend(b'done')";
    let scene = record(user, text, |_| vec![(None, "ok\n")]);
    assert_eq!(removed(&scene), 0);
    std::fs::write(programs(&scene.world).join("go"), "").unwrap();
    again(&scene);
}

/// A timer of the program's own runs out behind the last answer: as soon as that can be given, the program would be over by then.
fn slowly(user: User) {
    let text = "make(1)\nbeside(lambda: (wait(5), os.unlink('old/0')))\nask('/').read()\nwait(3)\nend(b'done')";
    let scene = record(user, text, |_| vec![(Some("seconds 4"), "ok\n")]);
    assert_eq!(removed(&scene), 1);
    for level in ["4", "5"] {
        let told = matches(&scene.world, &scene.session, level);
        assert_eq!(told["rerun"]["paced"], true, "{told:#}");
    }
}

/// What came before the answer then does not come now: the answer is given all the same, and what is missing is told.
fn in_vain(user: User) {
    let text = "make(2)\nbeside(lambda: (wait(0.5), os.path.exists('@DIR@/stop') or tidy(2)))\nend(ask('/').read())";
    let scene = record(user, text, |_| vec![(Some("old/1"), "ok\n")]);
    matches(&scene.world, &scene.session, "4");
    std::fs::write(programs(&scene.world).join("stop"), "").unwrap();
    let (told, _) = replay(&scene.world, &scene.session, "4");
    let all = entries(&scene.world, &scene.session);
    let first = all.iter().find(|entry| removes_any(entry)).unwrap();
    assert_eq!((&told["result"], &told["at"]), (&"diverged".into(), &first["seq"]), "{told:#}");
    assert!(!told["rerun"]["in_vain"].as_array().unwrap().is_empty(), "{told:#}");
}

/// The end kills a child in the middle of its work.
fn processes(user: User) {
    let child = "import os, select\\nfor n in range(400): os.unlink(f\"old/{n}\"); select.select([], [], [], 0.02)";
    let text = format!(
        "import subprocess\nmake(400)\nsubprocess.Popen([sys.executable, '-c', '{child}'])\nend(ask('/').read())"
    );
    let scene = record(user, &text, |_| vec![(Some("old/9"), "ok\n")]);
    assert!((10..400).contains(&removed(&scene)), "{}", removed(&scene));
    for level in ["4", "5", "4"] {
        matches(&scene.world, &scene.session, level);
    }
}

fn at_once(user: User) {
    let text = "make(400)\nall = [threading.Thread(target=lambda path: ask(path).read(), args=[path]) for path in ('/a', '/b')]\n\
                beside(lambda: tidy(400))\nfor one in all: one.start(); wait(0.2)\nfor one in all: one.join()\nend(b'both')";
    let answer = |head: &str| vec![(Some(if head.contains("/a ") { "old/5" } else { "old/20" }), "ok\n")];
    let scene = record(user, text, answer);
    assert!((20..400).contains(&removed(&scene)), "{}", removed(&scene));
    for level in ["4", "5"] {
        matches(&scene.world, &scene.session, level);
    }
}

/// The answer comes when its client has gone on without it: from a record it would be there in time.
fn gone(user: User) {
    let text = "make(2)\ntry: ask('/', timeout=1).read(); os.unlink('old/1')\nexcept OSError: os.unlink('old/0')\nwait(5)\nend(b'done')";
    let scene = record(user, text, |_| vec![(Some("seconds 3"), "late\n")]);
    let all = entries(&scene.world, &scene.session);
    assert!(all.iter().any(|entry| removes(entry, "old/0")) && removed(&scene) == 1);
    for level in ["4", "5"] {
        matches(&scene.world, &scene.session, level);
    }
}

fn ended(user: User) {
    let world = World::new(user);
    world.init("", "");
    // Its second call is another one each time, so that a replay holds it.
    let text = "echo x > a.txt; echo y > $(stat -c %y a.txt | tr -dc 0-9)";
    let program = world.repo.workspace().join("other.sh");
    std::fs::write(&program, text).unwrap();
    world.user.own(&program).unwrap();
    let output =
        world.flyball(&["run", "--json", "--record", "--apply", "never", "--", "sh", "other.sh"]).output().unwrap();
    let session = summary(&output)["session"].as_str().unwrap().to_owned();
    let replaying = world
        .flyball(&["replay", &session, "--level", "4", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let running = people::wait_for("a write of the replay", || {
        let all = world.ok(&["ps", "--json"]);
        let mut all = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.find(|s| s["state"] == "running" && s["actions"].as_u64() >= Some(2))
    });
    world.ok(&["kill", running["id"].as_str().unwrap(), "--reason", "a test"]);
    let output = replaying.wait_with_output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["result"], output.status.code()), (&"inconclusive".into(), Some(1)), "{told:#}");
    assert!(told.to_string().contains("somebody ended the replay"), "{told:#}");
}
