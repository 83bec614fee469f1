//! Content rules and the barrier: what was written is judged before anything can leave or run, whoever holds it and however
//! it came there; what violates is put back, kept in the record, and told.

use crate::people::{asked, start, wait_for};
use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::user::User;
use serde_json::Value;
use std::io::Read;
use std::net::TcpListener;
use std::process::Output;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "a_forbidden_package_is_put_back_before_the_next_program", needs: nothing, run: manifest },
        Case { name: "what_was_not_judged_when_the_supervisor_died_is_not_applied", needs: nothing, run: unjudged },
        Case { name: "a_closed_file_is_judged_without_a_barrier", needs: nothing, run: closed },
        Case { name: "sly_writers_meet_the_barrier", needs: python, run: sly },
        Case { name: "imports_and_secrets_are_put_back_and_new_files_go", needs: nothing, run: source },
        Case { name: "a_question_about_a_manifest_holds_what_would_run_on_it", needs: nothing, run: question },
        Case { name: "what_violates_reaches_no_server", needs: python, run: server },
        Case { name: "the_inbox_is_read_and_never_written", needs: nothing, run: inbox },
    ]
}

fn python(_: User) -> Option<String> {
    (!std::path::Path::new("/usr/bin/python3").exists()).then(|| "there is no /usr/bin/python3".to_owned())
}

/// Forbids one package everywhere, permits the others.
const NO_EVIL: &str = r#"
@id("no-evil") @owner("maintainer") @reason("evil is not for us")
forbid (principal, action == Action::"dependency.add", resource) when { resource.name == "evil" };
"#;

const GOOD: &str = "[package]\nname = \"a\"\n\n[dependencies]\ngood = \"1\"\n";

/// A world in which one package is forbidden, others are allowed, and the work tree has a manifest.
fn world(user: User) -> World {
    let world = World::new(user);
    std::fs::write(world.repo.workspace().join("Cargo.toml"), GOOD).unwrap();
    user.own(&world.repo.workspace().join("Cargo.toml")).unwrap();
    world.init("", NO_EVIL);
    // What `init` asks people about is not what these tests are about.
    world.change("rules.cedar", |text| {
        let from = text.find("@id(\"packages-are-asked-about\")").unwrap();
        let to = from + text[from..].find("};\n").unwrap() + 3;
        format!("{}{}", &text[..from], &text[to..])
    });
    world.change("charter.toml", |text| text[..text.find("# Run by `flyball check`.").unwrap()].to_owned());
    world
}

fn script(world: &World, name: &str, text: &str) {
    let file = world.repo.workspace().join(name);
    std::fs::write(&file, text).unwrap();
    world.user.own(&file).unwrap();
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the workspace holds of a file at the session's end; empty where it is not there.
fn left(world: &World, log: &[Value], path: &str) -> String {
    let last = log.last().unwrap()["seq"].to_string();
    String::from_utf8_lossy(&world.flyball(&["at", "@", &last, path]).output().unwrap().stdout).into_owned()
}

fn put_backs(log: &[Value]) -> Vec<&Value> {
    log.iter().filter(|e| e["kind"] == "intervention" && e["body"]["act"] == "put-back").collect()
}

fn manifest(user: User) {
    let world = world(user);
    script(
        &world,
        "work.sh",
        "printf 'evil = \"1\"\\n' >> Cargo.toml\nenv echo ran-one; echo code=$?\nenv echo ran-two\ncat Cargo.toml\n\
         printf 'fine = \"1\"\\n' >> Cargo.toml\nenv echo ran-three\ncat \"$FLYBALL_INBOX\"\n",
    );
    let (summary, output) = world.run("sh work.sh");
    let (seen, told, log) = (out(&output), stderr(&output), world.log());
    assert_eq!(summary["exit"], 0, "{told}");
    // The program that would have run on it is refused, once; the agent reads why and tries again.
    assert!(!seen.contains("ran-one") && seen.contains("code=126") && seen.contains("ran-two"), "{seen}\n{told}");
    assert!(told.contains("no-evil") && told.contains("Cargo.toml was put back"), "{told}");
    assert!(!seen.contains("evil = "), "{seen}");
    assert!(seen.contains("ran-three"), "another package is no violation: {told}");
    assert!(seen.contains("\"kind\":\"put-back\""), "the inbox tells: {seen}");
    assert_eq!(left(&world, &log, "Cargo.toml"), format!("{GOOD}fine = \"1\"\n"));
    // The record names what was refused, and keeps it.
    let backs = put_backs(&log);
    assert_eq!(backs.len(), 1, "{backs:?}");
    assert_eq!(backs[0]["body"]["path"], "Cargo.toml");
    let refused = backs[0]["body"]["blob"].as_str().unwrap();
    let held = log.iter().find(|e| e["kind"] == "observe" && e.to_string().contains(refused)).unwrap();
    let before = world.ok(&["at", "@", &held["seq"].to_string(), "Cargo.toml"]);
    assert!(before.contains("evil = "), "{before}");
    let of = backs[0]["body"]["of"].to_string();
    let why = world.ok(&["why", "@", &of]);
    assert!(why.contains("no-evil") && why.contains("evil is not for us"), "{why}");
    world.verifies();
    world.ok(&["apply", "@"]);
    assert_eq!(world.repo.text("Cargo.toml").unwrap(), format!("{GOOD}fine = \"1\"\n"));
}

/// Nothing but builtins after the write: no call, and so no barrier.
fn closed(user: User) {
    let world = world(user);
    script(
        &world,
        "work.sh",
        "printf 'evil = \"1\"\\n' >> Cargo.toml\n\
         while :; do evil=no; while read -r line; do case $line in evil*) evil=yes;; esac; done < Cargo.toml\n\
         [ $evil = no ] && break; done; echo gone\n",
    );
    let (_, output) = world.run("sh work.sh");
    assert!(out(&output).contains("gone"), "{}", stderr(&output));
    assert!(stderr(&output).contains("Cargo.toml was put back"), "the writer is told: {}", stderr(&output));
    world.verifies();
}

/// Each way to have forbidden content in place when a program starts, by one that is written in python. The barrier is met by
/// `subprocess`; each prints whether the program ran.
const SLY: &[(&str, &str)] = &[
    ("kept_open", "f = open('Cargo.toml', 'a'); f.write(EVIL); f.flush()"),
    (
        "mapped",
        "f = open('Cargo.toml', 'r+b'); f.truncate(len(BASE + EVIL)); m = mmap.mmap(f.fileno(), 0); f.close(); run(); m[:] = (BASE + EVIL).encode()",
    ),
    (
        "dup",
        "f = os.open('Cargo.toml', os.O_WRONLY | os.O_APPEND); g = os.dup(f); os.close(f); run(); os.write(g, EVIL.encode())",
    ),
    (
        "passed",
        "a, b = socket.socketpair(); f = os.open('Cargo.toml', os.O_WRONLY | os.O_APPEND)\nif os.fork() == 0:\n    g = socket.recv_fds(b, 1, 1)[1][0]; b.recv(1); os.write(g, EVIL.encode()); b.send(b'x'); time.sleep(600)\nsocket.send_fds(a, [b'x'], [f]); os.close(f); run(); a.send(b'x'); a.recv(1)",
    ),
    (
        "reopened",
        "f = os.open('Cargo.toml', os.O_RDONLY); g = os.open(f'/proc/self/fd/{f}', os.O_WRONLY | os.O_APPEND); os.write(g, EVIL.encode()); os.close(g)",
    ),
    ("renamed_over", "open('x', 'w').write(BASE + EVIL); os.rename('x', 'Cargo.toml')"),
    (
        "hard_link",
        "os.rename('Cargo.toml', 'y'); open('x', 'w').write(BASE); os.link('x', 'Cargo.toml'); run(); open('x', 'a').write(EVIL)",
    ),
    (
        "hard_link_in_scratch",
        "os.makedirs('target', exist_ok=True); open('x', 'w').write(BASE); os.rename('x', 'Cargo.toml'); os.link('Cargo.toml', 'target/x'); run(); open('target/x', 'a').write(EVIL)",
    ),
    (
        "symlink",
        "open('x', 'w').write(BASE); os.unlink('Cargo.toml'); os.symlink('x', 'Cargo.toml'); run(); open('x', 'a').write(EVIL)",
    ),
    (
        "symlink_out",
        "open(TMP, 'w').write(BASE); os.unlink('Cargo.toml'); os.symlink(TMP, 'Cargo.toml'); run(); open(TMP, 'a').write(EVIL)",
    ),
    (
        "moved_in",
        "os.makedirs('target/d/e'); open('target/d/e/Cargo.toml', 'w').write(EVIL_ALONE); os.rename('target/d', 'd')",
    ),
    (
        "moved_over",
        "os.makedirs('d'); run(); os.makedirs('target/d/e'); open('target/d/e/Cargo.toml', 'w').write(EVIL_ALONE); os.rename('target/d', 'd')",
    ),
    (
        "exchanged",
        "os.makedirs('d/e'); open('d/e/Cargo.toml', 'w').write(BASE); run(); os.makedirs('target/d/e'); open('target/d/e/Cargo.toml', 'w').write(EVIL_ALONE); exchange('target/d', 'd')",
    ),
    ("dead_writer", "if os.fork() == 0:\n    open('Cargo.toml', 'a').write(EVIL); os._exit(0)\nos.wait()"),
    (
        "tmpfile",
        "f = os.open('.', os.O_TMPFILE | os.O_WRONLY); os.write(f, (BASE + EVIL).encode()); os.makedirs('n'); link_held(f, 'n/Cargo.toml')",
    ),
    (
        "made_unreadable",
        "f = open('Cargo.toml', 'a'); f.write(EVIL); f.close(); os.chmod('Cargo.toml', 0); os.chmod('Cargo.toml', 0o644)",
    ),
    // Long enough for a lull, in which closed files are looked at.
    (
        "unreadable_for_a_while",
        "f = open('Cargo.toml', 'a'); f.write(EVIL); f.close(); os.chmod('Cargo.toml', 0); time.sleep(0.3); os.chmod('Cargo.toml', 0o644)",
    ),
];

const SLY_HEAD: &str = r#"
import ctypes, mmap, os, socket, subprocess, sys, time
BASE = open('Cargo.toml').read()
TMP = os.environ.get('TMPDIR', '/tmp') + '/x'
EVIL = 'evil = "1"\n'
EVIL_ALONE = '[package]\nname = "b"\n[dependencies]\n' + EVIL
def exchange(a, b):
    assert ctypes.CDLL(None).renameat2(-100, a.encode(), -100, b.encode(), 2) == 0
def link_held(f, name):
    assert ctypes.CDLL(None).linkat(-100, f'/proc/self/fd/{f}'.encode(), -100, name.encode(), 0x400) == 0
def run():
    subprocess.run(['env', 'true'], check=True)
"#;

const SLY_TAIL: &str = r#"
for n in range(4):
    try:
        subprocess.run(['env', 'true'], check=True)
        print('ran', flush=True)
    except PermissionError:
        print('refused', flush=True)
found = subprocess.run(['sh', '-c', 'grep -rlE "^evil" --include=Cargo.toml . | grep -v ^./target'], capture_output=True, text=True).stdout
print('left:', found.replace('\n', ' '), '.', flush=True)
os._exit(0)
"#;

fn sly(user: User) {
    let mut failed = Vec::new();
    for (name, how) in SLY {
        let world = world(user);
        script(&world, "sly.py", &format!("{SLY_HEAD}{how}\n{SLY_TAIL}"));
        let (_, output) = world.run("exec /usr/bin/python3 sly.py");
        let (seen, log) = (out(&output), world.log());
        let tries: Vec<&str> = seen.lines().filter(|l| matches!(*l, "ran" | "refused")).collect();
        let is_caught = tries == ["refused", "ran", "ran", "ran"] && seen.contains("left:  .");
        if !is_caught || put_backs(&log).len() != 1 {
            failed.push(format!("{name}: {seen}\n{}\n{:#?}", stderr(&output), put_backs(&log)));
        }
        world.verifies();
    }
    assert!(failed.is_empty(), "{}", failed.join("\n---\n"));
}

fn source(user: User) {
    let world = world(user);
    world.change("more.cedar", |text| {
        format!(
            "{text}\n@id(\"no-sockets\") @owner(\"maintainer\") @reason(\"this library does no input and output\")\n\
             forbid (principal, action == Action::\"fs.write\", resource)\n\
             when {{ resource.rel like \"lib/*\" && context.attrs has imports && context.attrs.imports.contains(\"socket\") }};\n"
        )
    });
    // A key of the documented shape that opens nothing, put together so that it stands in no file of ours.
    let key = format!("AKIA{}", "QZ7WP3X4N5R2T6VB");
    script(
        &world,
        "work.sh",
        &format!(
            "mkdir -p lib tools\nprintf 'import socket\\n' > lib/a.py\nenv echo ran-one\nls lib/a.py\n\
             printf 'import socket\\n' > tools/a.py\nprintf 'import json\\n' > lib/b.py\nenv echo ran-two\nls lib/b.py tools/a.py\n\
             printf 'key = {key}\\n' > notes.txt\nenv echo ran-three\nls notes.txt\nenv echo ran-four\n"
        ),
    );
    let (_, output) = world.run("sh work.sh");
    let (seen, told, log) = (out(&output), stderr(&output), world.log());
    for (ran, expect) in [("ran-one", false), ("ran-two", true), ("ran-three", false), ("ran-four", true)] {
        assert_eq!(seen.contains(ran), expect, "{ran}: {seen}\n{told}");
    }
    assert!(seen.contains("lib/b.py") && seen.contains("tools/a.py"), "{seen}\n{told}");
    assert!(!seen.contains("lib/a.py") && !seen.contains("notes.txt"), "what was new is gone again: {seen}");
    assert!(told.contains("no-sockets") && told.contains("secrets-are-not-written"), "{told}");
    let paths: Vec<&str> = put_backs(&log).iter().map(|e| e["body"]["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["lib/a.py", "notes.txt"]);
    world.verifies();
}

fn question(user: User) {
    let world = World::new(user);
    script(&world, "Cargo.toml", GOOD);
    world.init("", "");
    script(
        &world,
        "work.sh",
        "printf 'one = \"1\"\\n' >> Cargo.toml\nenv echo ran-one\nprintf 'two = \"1\"\\n' >> Cargo.toml\nenv echo ran-two; echo code=$?\n\
         env echo ran-three\n",
    );
    let child = start(&world, "sh work.sh");
    let first = asked(&world)["id"].as_str().unwrap().to_owned();
    world.ok(&["answer", &first, "allow", "--reason", "fine"]);
    let second = wait_for("the next question", || {
        let text = world.ok(&["asks", "--json"]);
        let next: Value = serde_json::from_str(text.lines().next()?).unwrap();
        let id = next["id"].as_str().unwrap().to_owned();
        (id != first).then_some(id)
    });
    world.ok(&["answer", &second, "deny", "--reason", "not that one"]);
    let output = child.wait_with_output().unwrap();
    let (seen, told) = (out(&output), stderr(&output));
    assert_eq!(summary(&output)["exit"], 0, "{told}");
    assert!(seen.contains("ran-one") && !seen.contains("ran-two") && seen.contains("code=126"), "{seen}\n{told}");
    assert!(seen.contains("ran-three"), "{seen}\n{told}");
    assert_eq!(left(&world, &world.log(), "Cargo.toml"), format!("{GOOD}one = \"1\"\n"));
    world.verifies();
}

fn server(user: User) {
    let world = world(user);
    world.edit("rules.cedar", "[\"localhost\",", "[\"host.internal\", \"localhost\",");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = std::thread::spawn(move || {
        let mut all = Vec::new();
        for stream in listener.incoming() {
            let mut bytes = String::new();
            stream.unwrap().read_to_string(&mut bytes).unwrap();
            let is_last = bytes.contains("last");
            all.push(bytes);
            if is_last {
                return all;
            }
        }
        all
    });
    script(
        &world,
        "send.py",
        &format!(
            "import socket\ndef send(more):\n    with socket.create_connection(('host.internal', {port})) as s:\n\
             \x20       s.sendall((open('Cargo.toml').read() + more).encode())\n\
             f = open('Cargo.toml', 'a'); f.write('evil = \"1\"\\n'); f.flush()\n\
             try:\n    send('first')\nexcept PermissionError:\n    print('refused', flush=True)\n\
             f.write('evil = \"2\"\\n'); f.flush()\nsend('last')\n"
        ),
    );
    let (summary, output) = world.run("exec /usr/bin/python3 send.py");
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    assert!(out(&output).contains("refused"), "{}", stderr(&output));
    assert_eq!(serve.join().unwrap(), [format!("{GOOD}last")]);
    assert!(stderr(&output).contains("no-evil"), "{}", stderr(&output));
}

fn inbox(user: User) {
    let world = world(user);
    script(
        &world,
        "work.sh",
        "i=$FLYBALL_INBOX; d=$(dirname $i)\nprintf x >> /etc/passwd\nprintf forged >> $i; printf forged > $i; truncate -s 0 $i\n\
         rm -f $i; mv $i /tmp/i; mv $d /tmp/d; ln -sf /etc/hostname $i; chmod 777 $i; mkdir -p $d/x; cp work.sh $i\n\
         perl -e 'open(F, \"+<\", $ENV{FLYBALL_INBOX}) and print F \"forged\"'\ncat $i\necho; ls -ld $i\n",
    );
    let output = world
        .flyball(&["run", "--json", "--apply", "never", "--on-hold", "deny", "--", "sh", "work.sh"])
        .output()
        .unwrap();
    let seen = out(&output);
    let lines: Vec<Value> = seen.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let first = lines.first().unwrap_or_else(|| panic!("{seen}\n{}", stderr(&output)));
    assert_eq!(first["kind"], "refused", "{seen}");
    assert!(first["text"].as_str().unwrap().contains("/etc/passwd"), "{seen}");
    assert!(!seen.contains("forged"), "{seen}");
    assert!(seen.contains("-rw-r--r--"), "{seen}");
}

/// The writer holds the file open, so nothing was judged yet; nobody judges it for the dead.
fn unjudged(user: User) {
    let world = World::new(user);
    world.init("", "");
    let script =
        "exec 3> package.json; printf '{\"dependencies\": {\"left-pad\": \"1.3.0\"}}' >&3; : > ready; kill -STOP $$";
    let mut child = start(&world, script);
    // Both writes are announced when the script is read; that the second is done says that the first was as well.
    let is_ready = || {
        let log = world.flyball(&["log", "@", "--json"]).output().unwrap();
        let log = String::from_utf8_lossy(&log.stdout).into_owned();
        let is_done = |line: &&str| line.contains(r#""kind":"outcome""#) && line.contains(r#""ok":true"#);
        (log.lines().filter(is_done).count() >= 2).then_some(())
    };
    wait_for("the writer", is_ready);
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = world.flyball(&["apply", "@"]).output().unwrap();
    let said = stderr(&refused);
    assert!(!refused.status.success() && said.contains("FB0532") && said.contains("package.json"), "{said}");
    assert!(!world.repo.workspace().join("ready").exists());
    world.verifies();
}
