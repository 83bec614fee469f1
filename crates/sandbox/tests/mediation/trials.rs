use crate::scene::{Event, Scene, allow, deny, deny_name, paths};
use flyball_sandbox::{Attempt, Below, Decision, EndedBy, FileKind, MetadataChange, Status};
use flyball_testkit::lack::Lack;
use flyball_testkit::user::User;
use libtest_mimic::Trial;
use std::time::Duration;

/// Nothing here takes that long; it ends what would hang.
const WAIT: Duration = Duration::from_secs(30);

pub fn all() -> Vec<Trial> {
    vec![
        trial("what_was_begun_on_one_folder_stays_apart", begun_ahead),
        trial("the_broker_dials_what_was_allowed_and_nothing_else", broker),
        trial("names_get_addresses_and_are_asked_about_by_name", names),
        Trial::test("an_ordinary_user_gets_the_same", ordinary),
        trial("a_path_that_changes_under_the_call_never_wins", path_race),
        trial("an_argument_that_changes_under_an_exec_ends_the_tree", || exec_race("argv")),
        trial("a_program_that_changes_under_an_exec_ends_the_tree", || exec_race("exec")),
        trial("a_held_call_waits_and_its_answer_counts_once", held),
        trial("what_lies_below_a_folder_is_asked_about_and_stands_until_the_answer", below),
        trial("pause_and_kill_do_not_wait_for_questions", paused),
        trial("a_held_call_whose_asker_dies_is_withdrawn", withdrawn),
        trial("nothing_nameless_is_run_and_no_memory_is_opened", nameless),
        trial("every_call_is_the_same_as_alone", same),
        trial("a_connection_that_signals_interrupt_is_made_once", interrupted),
        trial("a_file_made_new_asks_nobody_and_one_made_old_does", touched),
        trial("git_and_shell_pipelines_work", git),
        trial("a_program_runs_and_is_recorded", runs),
        trial("nobody_loses_a_core_to_a_descriptor_that_is_handed_over", cores),
        trial("a_denied_call_has_no_effect_and_says_why", denied),
    ]
    .into_iter()
    .chain(lacking())
    .collect()
}

/// What runs again, in a process of its own, on a machine that lacks something: the same must hold.
fn lacking() -> Vec<Trial> {
    let files = [
        "a_path_that_changes_under_the_call_never_wins",
        "every_call_is_the_same_as_alone",
        "git_and_shell_pipelines_work",
        "a_denied_call_has_no_effect_and_says_why",
        "what_was_begun_on_one_folder_stays_apart",
    ];
    let programs = [
        "an_argument_that_changes_under_an_exec_ends_the_tree",
        "a_program_that_changes_under_an_exec_ends_the_tree",
        "pause_and_kill_do_not_wait_for_questions",
        "git_and_shell_pipelines_work",
        "a_program_runs_and_is_recorded",
    ];
    let files = files.map(|name| ("overlay", name)).to_vec();
    let programs = programs.map(|name| ("exit-info", name)).to_vec();
    let cases = [files, programs].concat().into_iter();
    cases
        .map(|(lack, name)| {
            let skip = Lack::why_not(&[lack]);
            if let Some(why) = &skip {
                eprintln!("skipped: without_{lack}::{name}: {why}");
            }
            let trial = Trial::test(format!("without_{lack}::{name}"), move || without(lack, name));
            trial.with_ignored_flag(skip.is_some())
        })
        .collect()
}

fn without(lack: &str, name: &str) -> Result<(), libtest_mimic::Failed> {
    let scratch = tempfile::tempdir_in("/var/tmp")?;
    let place = scratch.path().join("place");
    std::fs::create_dir(&place)?;
    let user = User::current();
    let lack = Lack::new(&[lack], &place, scratch.path(), user)?;
    let own = std::fs::read_link("/proc/self/exe")?;
    let mut command = lack.command(own, scratch.path());
    let output = command.args(["--exact", name]).env(crate::scene::PLACE, &place).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let ran = said.contains("1 passed");
    if ran && output.status.success() {
        Ok(())
    } else {
        Err(format!("{said}\n{}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn runs() {
    let scene = Scene::new();
    let (exit, log) =
        scene.shell("mkdir d && echo hello > d/f && mv d/f d/g && chmod 600 d/g && /bin/true; exit 7", allow);
    assert_eq!((exit.status, exit.by), (Status::Code(7), EndedBy::Program));
    assert_eq!(scene.text("d/g"), "hello\n");
    let open = |event: &Event| matches!(event, Event::Asked(call) if matches!(&call.attempt, Attempt::Open { path, create: true, .. } if *path == scene.workspace().join("d/f")));
    assert_eq!(log.iter().filter(|event| open(event)).count(), 1);
}

/// Launchers that begin before they know their session have their roots on one folder, each where nobody else sees it.
fn begun_ahead() {
    let mut scenes = [Scene::new(), Scene::new()];
    let place = scenes[0].base.path().join("place");
    for (scene, name) in scenes.iter_mut().zip(["one", "other"]) {
        scene.ahead = Some(place.clone());
        std::fs::write(scene.workspace().join("name"), name).unwrap();
    }
    let unused = flyball_sandbox::begin(&place, None).unwrap();
    let script = "cat name > seen; test -e /usr/bin/env && test -c /dev/null";
    let runs: Vec<_> = scenes.iter().map(|scene| scene.start(&["/bin/sh", "-c", script], allow)).collect();
    for run in runs {
        assert_eq!(run.running.wait().status, Status::Code(0));
    }
    drop(unused);
    let seen = scenes.each_ref().map(|scene| scene.text("seen"));
    assert_eq!(seen, ["one", "other"]);
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "nothing of them is on the host");
}

/// Caller and supervisor share a core while a descriptor is handed over: nothing of that may stay, or be inherited.
fn cores() {
    let scene = Scene::new();
    let script = "taskset -p $$ > before; for i in $(seq 100); do (echo x >> f$i; taskset -p $BASHPID >> during) & \
        echo y >> g$i; done; wait; taskset -p $$ > after; sed 's/.*: //' before during after | sort -u > all";
    let (exit, _) = scene.run(&["/bin/bash", "-c", script], allow);
    assert_eq!(exit.status, Status::Code(0));
    assert_eq!(scene.text("during").lines().count(), 100);
    assert_eq!(scene.text("all").lines().count(), 1, "{}", scene.text("all"));
}

fn git() {
    let scene = Scene::new();
    let script = "exec >log 2>&1; set -ex; git init -q r; cd r; git config user.email a@b; git config user.name n; \
        seq 1 200 | sed s/1/x/ | sort | uniq > a; cat /etc/passwd | head -2 | tee b >/dev/null; ls -l > c; \
        git add -A; git commit -qm one; git status --porcelain; git log --oneline | wc -l > ../commits; \
        python3 -c 'import threading,os\ndef f(i):\n  for k in range(50):\n    p=f\"t{i}-{k}\"\n    open(p,\"w\").write(\"x\")\n    os.rename(p,p+\"r\")\n    os.unlink(p+\"r\")\n  \nt=[threading.Thread(target=f,args=(i,)) for i in range(8)]\n[x.start() for x in t];[x.join() for x in t]'; \
        echo hi > /dev/null; echo err > /dev/stderr; echo a >> /dev/fd/1; mkfifo p; (cat p > q) & echo through > p; wait; cat q";
    let (exit, log) = scene.shell(script, allow);
    let asked = log.iter().filter(|event| matches!(event, Event::Asked(_))).count();
    assert_eq!(exit.status, Status::Code(0), "{}", scene.text("log"));
    assert_eq!(scene.text("commits"), "1\n");
    assert_eq!(scene.text("r/q"), "through\n");
    assert!(asked > 1200, "{asked}");
}

/// Whatever the charter, times of now are allowed where a file may be written at all: they are not worth a question.
fn touched() {
    let scene = Scene::new();
    let script = "import os\nopen('f','w').close()\nos.utime('f', (1, 2))\nassert os.stat('f').st_mtime == 2\n\
        for i in range(100): os.utime('f')\nassert os.stat('f').st_mtime > 1e9\n\
        try: os.utime('/usr/bin/env')\nexcept OSError as e: assert e.errno == 30, e\nelse: assert False";
    let (exit, log) = scene.run(&["/usr/bin/python3", "-c", script], allow);
    assert_eq!(exit.status, Status::Code(0));
    let asks = |event: &&Event| {
        let Event::Asked(call) = event else { return false };
        matches!(call.attempt, Attempt::Metadata { change: MetadataChange::Times, .. })
    };
    assert_eq!(log.iter().filter(asks).count(), 1, "{log:?}");
}

fn same() {
    let scene = Scene::new();
    scene.compile("same", include_str!("inside/same.c"));
    let alone = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::create_dir(alone.path().join("w")).unwrap();
    let mut command = std::process::Command::new(scene.workspace().join("same"));
    command.current_dir(alone.path().join("w"));
    let out = std::fs::File::create(alone.path().join("w/out")).unwrap();
    crate::scene::without_capabilities(&mut command);
    let _ = command.stdout(out.try_clone().unwrap()).stderr(out).stdin(std::process::Stdio::null()).status().unwrap();
    let (_, log) = scene.shell("mkdir w && cd w && exec ../same >out 2>&1 </dev/null", allow);
    let expect = std::fs::read(alone.path().join("w/out")).unwrap();
    let got = scene.after("w/out").unwrap();
    let (expect, got) = (String::from_utf8_lossy(&expect), String::from_utf8_lossy(&got));
    let mut differences = Vec::new();
    for (number, (expect, got)) in expect.lines().zip(got.lines()).enumerate() {
        if expect != got {
            differences.push(format!("{number}: alone    {expect}\n{number}: mediated {got}"));
        }
    }
    assert!(differences.is_empty(), "{}\n", differences.join("\n"));
    assert_eq!(expect.lines().count(), got.lines().count(), "{got}");
    assert!(expect.lines().count() > 280, "{expect}");
    assert!(!log.iter().any(|event| matches!(event, Event::Breached(_))));
}

fn interrupted() {
    let scene = Scene::new();
    scene.compile("interrupted", include_str!("inside/interrupted.c"));
    let (exit, _) = scene.shell("./interrupted > out", allow);
    assert_eq!((exit.status, scene.text("out")), (Status::Code(0), "0\n".repeat(12)));
}

fn path_race() {
    let scene = Scene::new();
    scene.compile("race", include_str!("inside/race.c"));
    let (exit, log) = scene.shell("./race path 20000 > out", deny_name("race-ox"));
    assert_eq!((exit.status, exit.by), (Status::Code(0), EndedBy::Program));
    let out = scene.text("out");
    assert!(!out.contains("BEATEN"), "{out}");
    // The race was on: both names were read.
    let denied: u32 = out.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((100..20_000).contains(&denied), "{out}");
    assert!(scene.after("race-ox").is_none());
    assert!(log.len() > 20_000);
}

fn exec_race(what: &'static str) {
    let scene = Scene::new();
    scene.compile("race", include_str!("inside/race.c"));
    for program in ["prog1", "prog2"] {
        std::fs::copy("/bin/true", scene.workspace().join(program)).unwrap();
    }
    let (exit, log) = scene.run(&["./race", what, "3000"], |call| match &call.attempt {
        Attempt::Exec { path, argv, .. } if path.ends_with("prog2") || argv.iter().any(|one| one == "saix") => deny(""),
        _ => Decision::Allow,
    });
    let breaches = log.iter().filter(|event| matches!(event, Event::Breached(_))).count();
    assert_eq!((exit.by, breaches > 0), (EndedBy::Breach, true), "{exit:?}");
}

fn held() {
    let scene = Scene::new();
    let run =
        scene.start(&["/bin/sh", "-c", "echo a > asked; echo b > denied; echo c > other; cat asked > copy"], |call| {
            let hold = paths(&call.attempt).iter().any(|path| path.ends_with("asked") || path.ends_with("denied"));
            if hold { Decision::Hold } else { Decision::Allow }
        });
    let ticket = run.held.recv_timeout(WAIT).unwrap();
    assert!(scene.after("asked").is_none());
    run.running.answer(ticket, Decision::Allow);
    run.running.answer(ticket, Decision::Allow);
    let second = run.held.recv_timeout(WAIT).unwrap();
    run.running.answer(ticket, Decision::Allow);
    assert!(scene.after("denied").is_none());
    run.running.answer(second, deny("no"));
    assert_eq!(run.running.wait().status, Status::Code(0));
    assert_eq!(scene.text("copy"), "a\n");
    assert!(scene.after("denied").is_none() && scene.after("other").is_some());
}

fn below() {
    let scene = Scene::new();
    let script = "mkdir -p a/d b; echo 1 > a/d/x; echo 2 > b/y; \
        perl -e '($a, $b) = (\"a\", \"b\"); print syscall(316, -100, $a, -100, $b, 2) ? \"failed\" : \"moved\"' > swap; \
        (echo 3 > a/late; echo end > ended) & \
        perl -e 'rename(\"a\", \"c\") or print $!+0' > first; \
        perl -e 'rename(\"a\", \"c\") or print $!+0' > second; wait";
    let run = scene.start(&["/bin/sh", "-c", script], |call| match &call.attempt {
        Attempt::Rename { exchange: false, .. } => Decision::Hold,
        Attempt::Open { path, .. } if path.ends_with("late") => Decision::Hold,
        _ => Decision::Allow,
    });
    let tickets = [run.held.recv_timeout(WAIT).unwrap(), run.held.recv_timeout(WAIT).unwrap()];
    let is_rename = |event: &Event| match event {
        Event::Asked(call) => call.ticket == tickets[0] && matches!(call.attempt, Attempt::Rename { .. }),
        _ => false,
    };
    let is_first = run.log.lock().unwrap().iter().any(is_rename);
    let (ticket, late) = if is_first { (tickets[0], tickets[1]) } else { (tickets[1], tickets[0]) };
    // While people think about what is there, something else comes.
    run.running.answer(late, Decision::Allow);
    let since = std::time::Instant::now();
    while scene.after("ended").is_none() {
        assert!(since.elapsed() < WAIT, "nobody came");
        std::thread::sleep(Duration::from_millis(10));
    }
    run.running.answer(ticket, Decision::Allow);
    run.running.answer(run.held.recv_timeout(WAIT).unwrap(), Decision::Allow);
    assert_eq!(run.running.wait().status, Status::Code(0));
    assert_eq!(
        (scene.text("swap").as_str(), scene.text("first"), scene.text("second")),
        ("moved", "13".into(), "".into())
    );
    let log = run.log.lock().unwrap();
    let told: Vec<_> = log
        .iter()
        .filter_map(|event| match event {
            Event::Asked(call) => match &call.attempt {
                Attempt::Rename { below, back, .. } => Some((below.clone(), back.clone())),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let known = |all: &[(&str, FileKind)]| Below::Known(all.iter().map(|(path, kind)| (path.into(), *kind)).collect());
    let nothing = known(&[]);
    let (file, folder) = (FileKind::File, FileKind::Directory);
    assert_eq!(
        told,
        [
            (known(&[("d", folder), ("d/x", file)]), known(&[("y", file)])),
            (known(&[("y", file)]), nothing.clone()),
            (known(&[("late", file), ("y", file)]), nothing),
        ]
    );
}

fn paused() {
    let scene = Scene::new();
    let script = "for i in 1 2 3 4 5 6 7 8; do (echo x > held$i) & done; while :; do echo y > busy; done";
    let run = scene.start(&["/bin/sh", "-c", script], |call| {
        let hold = paths(&call.attempt).iter().any(|path| path.to_string_lossy().contains("held"));
        if hold { Decision::Hold } else { Decision::Allow }
    });
    for _ in 0..8 {
        run.held.recv_timeout(WAIT).unwrap();
    }
    let took = run.running.pause().unwrap();
    eprintln!("paused in {took:?}");
    let asked = || run.log.lock().unwrap().iter().filter(|event| matches!(event, Event::Asked(_))).count();
    let before = asked();
    assert_eq!(run.running.pause().unwrap(), std::time::Duration::ZERO);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(asked(), before, "nothing is decided while paused");
    run.running.resume().unwrap();
    // With a freezer they are asked again after the thaw; what is stopped by signal goes on waiting.
    let has_freezer = !run.running.weaker().contains(&flyball_sandbox::Weakness::Freezer);
    for _ in 0..if has_freezer { 8 } else { 0 } {
        run.held.recv_timeout(WAIT).unwrap();
    }
    run.running.pause().unwrap();
    let since = std::time::Instant::now();
    run.running.kill();
    let exit = run.running.wait();
    eprintln!("killed in {:?}", since.elapsed());
    assert_eq!(exit.by, EndedBy::Kill);
    let log = run.log.lock().unwrap();
    let withdrawn = log.iter().filter(|event| matches!(event, Event::Withdrawn(_))).count();
    assert!(withdrawn >= if has_freezer { 16 } else { 8 }, "{withdrawn}");
    assert!(!log.iter().any(|event| matches!(event, Event::Breached(_))));
}

fn withdrawn() {
    let scene = Scene::new();
    let run =
        scene.start(&["/bin/sh", "-c", "(echo x > held) & sleep 0.2; kill -9 $!; wait; echo y > held2; cat"], |call| {
            let hold = paths(&call.attempt).iter().any(|path| path.ends_with("held"));
            if hold { Decision::Hold } else { Decision::Allow }
        });
    let ticket = run.held.recv_timeout(WAIT).unwrap();
    let exit = run.running.wait();
    assert_eq!(exit.by, EndedBy::Program);
    assert!(run.log.lock().unwrap().iter().any(|event| matches!(event, Event::Withdrawn(gone) if *gone == ticket)));
    assert!(scene.after("held").is_none() && scene.after("held2").is_some());
}

fn nameless() {
    let scene = Scene::new();
    let script = r#"
import os, ctypes, sys
def attempt(what, f):
    try: f(); print("DONE", what)
    except OSError as e: print("no", what)
def memfd():
    fd = os.memfd_create("x"); os.write(fd, open("/bin/true","rb").read())
    os.execve(fd, ["x"], {})
def by_path():
    fd = os.memfd_create("x"); os.write(fd, open("/bin/true","rb").read())
    os.execv("/proc/self/fd/%d" % fd, ["x"])
def deleted():
    import shutil; shutil.copy("/bin/true","gone"); fd = os.open("gone", os.O_RDONLY); os.unlink("gone"); os.execve(fd, ["x"], {})
def child(f):
    def run():
        p = os.fork()
        if p == 0:
            try: f()
            except OSError: os._exit(77)
        if os.WEXITSTATUS(os.waitpid(p, 0)[1]) == 77: raise OSError()
    return run
attempt("memfd", child(memfd)); attempt("by path", child(by_path)); attempt("deleted", child(deleted))
p = os.fork()
if p == 0:
    import time; time.sleep(30)
attempt("sibling memory", lambda: os.open("/proc/%d/mem" % p, os.O_RDWR))
attempt("own memory", lambda: os.open("/proc/self/mem", os.O_WRONLY))
os.kill(p, 9)
attempt("sysctl", lambda: os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
attempt("uid map", lambda: os.open("/proc/self/uid_map", os.O_WRONLY))
attempt("device node", lambda: os.mknod("dev", 0o20666, os.makedev(1, 3)))
attempt("whiteout", lambda: os.mknod("wh", 0o20666, os.makedev(0, 0)))
attempt("overlay xattr", lambda: os.setxattr(".", "user.overlay.opaque", b"y"))
attempt("move mount point", lambda: os.rename(os.getcwd(), os.getcwd() + "x"))
attempt("remove mount point", lambda: os.rmdir("/tmp"))
attempt("through root link", lambda: os.open("/proc/1/root/etc/x", os.O_WRONLY | os.O_CREAT))
attempt("write system", lambda: os.open("/usr/bin/evil", os.O_WRONLY | os.O_CREAT))
"#;
    let script = script.replace('\'', "'\\''");
    let (exit, _) = scene.shell(&format!("python3 -c '{script}' > out 2>&1"), allow);
    let out = scene.text("out");
    assert_eq!(exit.status, Status::Code(0), "{out}");
    assert!(!out.contains("DONE"), "{out}");
    assert_eq!(out.lines().count(), 14, "{out}");
}

/// A server on the host's loopback that says what it is.
fn server() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let (mut stream, mut line) = (stream, [0; 5]);
                if stream.read_exact(&mut line).is_ok() {
                    let _ = stream.write_all(b"host heard ");
                    let _ = stream.write_all(&line);
                }
            });
        }
    });
    port
}

const DIAL: &str = r#"
import socket, sys
def dial(what, host, port, send=b"hello"):
    try:
        c = socket.create_connection((host, port), 5); c.sendall(send); c.shutdown(socket.SHUT_WR)
        out = b""
        while True:
            got = c.recv(999)
            if not got: break
            out += got
        print(what, out.decode() or "nothing")
    except OSError as e: print(what, type(e).__name__)
"#;

fn python(
    scene: &Scene,
    body: &str,
    decide: impl FnMut(&flyball_sandbox::Call) -> Decision + Send + 'static,
) -> (String, Vec<Event>) {
    std::fs::write(scene.workspace().join("script.py"), format!("{DIAL}{body}")).unwrap();
    let (exit, log) = scene.shell("python3 script.py > out 2>&1", decide);
    let out = scene.text("out");
    assert_eq!((exit.status, exit.by), (Status::Code(0), EndedBy::Program), "{out}");
    (out, log)
}

fn broker() {
    let mut scene = Scene::new();
    scene.network = flyball_sandbox::Network::Brokered;
    let port = server();
    let body = format!(
        r#"
dial("by name", "host.internal", {port})
dial("again", "host.internal", {port})
dial("other port", "host.internal", {port} + 1)
dial("denied", "evil.example", 80)
dial("loopback", "127.0.0.1", {port})
dial("metadata", "169.254.169.254", 80)
dial("unknown synthetic", "198.18.77.77", 80)
# UDP goes nowhere but to the broker's names.
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(0.2)
try: u.sendto(b"x", ("8.8.8.8", 53)); u.recv(9); print("udp answered")
except OSError: print("udp silent")
for family, kind, protocol in [(socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_PACKET, socket.SOCK_RAW, 0), (40, socket.SOCK_STREAM, 0), (socket.AF_INET, socket.SOCK_DGRAM, 1), (16, socket.SOCK_RAW, 4)]:
    try: socket.socket(family, kind, protocol); print("made", family, kind)
    except OSError: pass
# Not asked: a connection slips past (TCP fast open connects without connect()).
f = socket.socket()
try: f.sendto(b"hello", 0x20000000, (socket.gethostbyname("host.internal"), {port})); print("fast open", f.recv(99).decode() or "nothing")
except OSError as e: print("fast open", type(e).__name__)
# Servers of one's own.
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(1)
c = socket.create_connection(s.getsockname()); print("own server ok")
"#
    );
    let (out, log) = python(&scene, &body, move |call| match &call.attempt {
        Attempt::Connect { name, address } => match name.as_deref() {
            Some(flyball_sandbox::HOST_NAME) if address.port() == port => Decision::Allow,
            _ => deny("flyball: not there"),
        },
        _ => Decision::Allow,
    });
    let refusals = out.lines().filter(|line| *line == "flyball: not there").count();
    assert!(refusals >= 1, "{out}");
    let told: Vec<&str> = out.lines().filter(|line| !line.starts_with("flyball")).collect();
    let expect = vec![
        "by name host heard hello",
        "again host heard hello",
        "other port PermissionError",
        "denied PermissionError",
        "loopback ConnectionRefusedError",
        "metadata PermissionError",
        "unknown synthetic OSError",
        "udp silent",
        "fast open ConnectionResetError",
        "own server ok",
    ];
    assert_eq!(told, expect, "{out}");
    let names: Vec<_> = log
        .iter()
        .filter_map(|event| match event {
            Event::Asked(call) => match &call.attempt {
                Attempt::Connect { name, .. } => Some(name.clone().unwrap_or("literal".to_owned())),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(names, ["host.internal", "host.internal", "host.internal", "evil.example", "literal"]);
}

fn names() {
    let mut scene = Scene::new();
    scene.network = flyball_sandbox::Network::Brokered;
    // A name that resolves to this machine outside is not dialled, allowed or not.
    let port = server();
    let body = format!(
        r#"
dial("private", "localhost.localdomain", {port})
a = socket.getaddrinfo("crates.io", 443, proto=socket.IPPROTO_TCP)
print(len(a), a[0][4][0].startswith("198.1"))
b = socket.gethostbyname("crates.io"); print(b == a[0][4][0], socket.gethostbyname("x.example") != b)
"#
    );
    let (out, _) = python(&scene, &body, allow);
    assert_eq!(out.lines().collect::<Vec<_>>()[1..], ["1 True", "True True"], "{out}");
    assert!(!out.contains("heard"), "{out}");
}

/// All of this once more, as somebody who is nobody.
fn ordinary() -> Result<(), libtest_mimic::Failed> {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(()); // this is that run
    }
    let own = tempfile::tempdir_in("/var/tmp")?;
    let copy = own.path().join("mediation");
    std::fs::copy(std::env::current_exe()?, &copy)?;
    let mut readable = std::fs::metadata(own.path())?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut readable, 0o755);
    std::fs::set_permissions(own.path(), readable)?;
    let ran = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"])
        .arg(copy)
        .args(["--test-threads", "1"])
        .current_dir("/")
        .output()?;
    let out = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if ran.status.success() { Ok(()) } else { Err(out.into()) }
}

fn denied() {
    let scene = Scene::new();
    let (exit, _) = scene.shell("echo x 2>err > secret; echo rest $? > ok", deny_name("secret"));
    assert_eq!(exit.status, Status::Code(0));
    assert!(scene.after("secret").is_none());
    assert!(scene.text("err").starts_with("flyball: secret is not yours\n"), "{}", scene.text("err"));
    assert_eq!(scene.text("ok"), "rest 2\n");
}
