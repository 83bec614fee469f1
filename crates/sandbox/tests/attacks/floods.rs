//! Too much of something (`inside/flood.c`), and programs that bring privileges or other code with them.

use crate::scene::{Event, Run, Scene, allow, deny, deny_name, paths};
use crate::{Attack, scene_with};
use flyball_sandbox::{Attempt, Call, Decision, EndedBy, Limits, Refusal, Status};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(60);
/// Says that the attack's folder is on a file system this small.
pub const SMALL_DISK: &str = "FLYBALL_ATTACK_SMALL_DISK";

pub fn attacks() -> Vec<Attack> {
    vec![
        ("a_fork_bomb", "cgroup", fork_bomb),
        ("a_thread_bomb", "cgroup", thread_bomb),
        ("a_memory_bomb", "cgroup", memory_bomb),
        ("a_hundred_thousand_calls_at_once", "mediation", calls),
        ("folders_too_deep_for_a_path", "mediation", deep),
        ("a_file_of_a_hundred_gibibytes", "overlay", sparse),
        ("a_first_write_to_a_large_file", "mediation", large),
        ("a_setuid_program", "namespace", setuid),
        ("a_program_that_cannot_be_read", "mediation", unreadable),
        ("a_preloaded_library", "mediation", preload),
        ("the_loader_called_as_a_program", "mediation", loader),
        ("scripts_of_scripts", "mediation", scripts),
        ("pid_one_starved_of_its_limits", "namespace", starved),
        ("the_disk_is_full", "overlay", full_disk),
    ]
}

fn wait_for(run: &Run, scene: &Scene, text: &str) {
    let since = Instant::now();
    while !scene.after("out").is_some_and(|out| String::from_utf8_lossy(&out).contains(text)) {
        assert!(since.elapsed() < WAIT, "no `{text}`");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(run.log.lock().is_ok());
}

fn fork_bomb() {
    let mut scene = scene_with("flood");
    scene.limits = Limits { pids_max: Some(64), ..Limits::default() };
    let run = scene.start(&["/bin/sh", "-c", "./flood forks > out"], allow);
    wait_for(&run, &scene, "EAGAIN");
    // Under full load both end what goes on, and neither takes its time.
    run.running.pause().unwrap();
    run.running.resume().unwrap();
    run.running.kill();
    assert_eq!(run.running.wait().by, EndedBy::Kill);
}

fn thread_bomb() {
    let mut scene = scene_with("flood");
    scene.limits = Limits { pids_max: Some(64), ..Limits::default() };
    let (exit, _) = scene.shell("./flood threads > out", allow);
    assert_eq!(exit.status, Status::Code(0));
    let out = scene.text("out");
    let count: u32 = out.trim().strip_prefix("EAGAIN after ").unwrap_or_else(|| panic!("{out}")).parse().unwrap();
    assert!(count < 64, "{out}");
}

fn memory_bomb() {
    let mut scene = scene_with("flood");
    scene.limits = Limits { memory_bytes_max: Some(64 << 20), ..Limits::default() };
    match scene.try_start(&["/bin/sh", "-c", "./flood memory > out; echo $? > end"], allow) {
        Ok(run) => {
            assert_eq!(run.running.wait().by, EndedBy::Program);
            assert_eq!((scene.text("out").as_str(), scene.text("end").as_str()), ("", "137\n"));
        }
        // Nobody holds it for this user: then the run is refused, and never goes on without.
        Err(error) => assert!(error.to_string().contains("memory"), "{error}"),
    }
}

fn calls() {
    let scene = scene_with("flood");
    std::fs::write(scene.workspace().join("denied"), "").unwrap();
    let run = scene.start(&["/bin/sh", "-c", "./flood calls 100000 > out"], |call| match &call.attempt {
        Attempt::Metadata { .. } => Decision::Deny(Refusal { errno: libc::ENOTRECOVERABLE, text: String::new() }),
        _ => Decision::Allow,
    });
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(20));
        run.running.pause().unwrap();
        run.running.resume().unwrap();
    }
    assert_eq!(run.running.wait().by, EndedBy::Program);
    assert_eq!(scene.text("out"), "bad 0\n");
    let asked = run.log.lock().unwrap().iter().filter(|event| matches!(event, Event::Asked(_))).count();
    assert!(asked >= 100_000, "{asked}");
}

fn deep() {
    let scene = scene_with("flood");
    let (exit, _) = scene.shell("./flood deep > out", deny_name("denied"));
    let out = scene.text("out");
    assert!(exit.by == EndedBy::Program && !out.contains("OPEN"), "{exit:?} {out}");
    let depth: u32 = out.split_whitespace().next().unwrap().parse().unwrap();
    assert!((10..=21).contains(&depth), "as deep as a path can name, and no deeper: {out}");
}

fn sparse() {
    let scene = Scene::new();
    let (exit, _) = scene.shell("truncate -s 100G big && echo x >> big && stat -c %s big > size && rm big", allow);
    assert_eq!(exit.status, Status::Code(0));
    assert_eq!(scene.text("size"), format!("{}\n", (100u64 << 30) + 2));
}

/// Bytes that take long enough to copy for others to be heard meanwhile.
const LARGE_BYTES: usize = 192 << 20;

/// Each first change of a large file copies it; the other process goes on meanwhile, and pause and kill don't wait.
fn large() {
    let ways = [
        ("echo x >> big", "append"),
        ("truncate -s 100 big", "cut"),
        ("chmod 600 big", "mode"),
        ("mv big moved", "rename"),
        ("ln big linked", "link"),
        ("mv folder moved-folder", "folder"),
        ("echo x >> big", "end"),
    ];
    for (way, name) in ways {
        let scene = Scene::new();
        let content = vec![7; LARGE_BYTES];
        let big = scene.workspace().join(if name == "folder" { "folder/big" } else { "big" });
        std::fs::create_dir_all(big.parent().unwrap()).unwrap();
        std::fs::write(&big, &content).unwrap();
        let script =
            format!("(while test ! -e stop; do : > busy; done) & sleep 0.1; {way}; echo $? > end; : > stop; wait");
        let run = scene.start(&["/bin/sh", "-c", &script], allow);
        let is_big = |event: &Event| {
            matches!(event, Event::Asked(call)
            if !matches!(call.attempt, Attempt::Exec { .. }) && paths(&call.attempt).iter().any(|path| path.ends_with("big") || path.ends_with("folder")))
        };
        let since = Instant::now();
        while !run.log.lock().unwrap().iter().any(is_big) {
            assert!(since.elapsed() < WAIT, "{name}: never asked");
            std::thread::sleep(Duration::from_millis(1));
        }
        run.running.pause().unwrap();
        run.running.resume().unwrap();
        if name == "end" {
            run.running.kill();
            assert_eq!(run.running.wait().by, EndedBy::Kill);
            continue;
        }
        assert_eq!(run.running.wait().status, Status::Code(0));
        assert_eq!(scene.text("end"), "0\n", "{name}");
        let log = run.log.lock().unwrap();
        let asked = log.iter().rposition(is_big).unwrap();
        let Event::Asked(Call { ticket, attempt, .. }) = &log[asked] else { unreachable!() };
        // Moved, not copied by `mv`.
        assert!(name != "folder" || matches!(attempt, Attempt::Rename { .. }), "{attempt:?}");
        let done = log.iter().position(|event| matches!(event, Event::Done(of, _) if of == ticket)).unwrap();
        let others = log[asked..done].iter().filter(|event| matches!(event, Event::Asked(_))).count();
        assert!(others > 1, "{name}: nobody else was heard");
        let left = scene
            .after(match name {
                "rename" => "moved",
                "folder" => "moved-folder/big",
                _ => "big",
            })
            .unwrap();
        let expect = match name {
            "append" => LARGE_BYTES + 2,
            "cut" => 100,
            _ => LARGE_BYTES,
        };
        assert!(left.len() == expect && left[..100] == content[..100], "{name}");
    }
}

fn setuid() {
    let mut scene = scene_with("flood");
    let programs = std::path::PathBuf::from(std::env::var_os(crate::PROGRAMS).unwrap());
    scene.expose = vec![programs.clone()];
    let host = programs.join("setuid");
    assert_eq!(std::fs::metadata(&host).unwrap().mode() & 0o7000, 0o6000);
    let script = format!("{} identity > out; cp flood own; chmod 6755 own; ./own identity >> out", host.display());
    let (exit, _) = scene.shell(&script, allow);
    assert_eq!(exit.by, EndedBy::Program);
    // SAFETY: asks for a number.
    let root = u8::from(unsafe { libc::geteuid() } == 0);
    assert_eq!(scene.text("out"), format!("1 1 {root} -1\n").repeat(2));
}

fn unreadable() {
    let scene = scene_with("flood");
    std::fs::set_permissions(scene.workspace().join("flood"), PermissionsExt::from_mode(0o111)).unwrap();
    let (exit, log) = scene.shell("./flood identity > out; echo $? > end", allow);
    assert_eq!(exit.by, EndedBy::Program, "{exit:?}");
    assert!(!log.iter().any(|event| matches!(event, Event::Breached(_))), "{log:?}");
}

const LIBRARY: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
__attribute__((constructor)) static void go(void) {
  int f = open("denied", O_WRONLY | O_CREAT, 0644); int e = errno;
  FILE *out = fopen("out", "a"); fprintf(out, "%s\n", f < 0 ? strerrorname_np(e) : "OPEN"); fclose(out);
}
"#;

fn by_marker(call: &Call) -> Decision {
    if paths(&call.attempt).iter().any(|path| path.ends_with("denied")) {
        return Decision::Deny(Refusal { errno: libc::ENOTRECOVERABLE, text: String::new() });
    }
    Decision::Allow
}

fn library(scene: &Scene) {
    let source = scene.base.path().join("library.c");
    std::fs::write(&source, format!("#define _GNU_SOURCE\n{LIBRARY}")).unwrap();
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-o"])
        .arg(scene.workspace().join("library.so"))
        .arg(&source)
        .status();
    assert!(built.unwrap().success());
}

fn preload() {
    let scene = Scene::new();
    library(&scene);
    let (exit, _) = scene.shell("LD_PRELOAD=$PWD/library.so env true", by_marker);
    assert_eq!(exit.status, Status::Code(0));
    let out = scene.text("out");
    assert!(out.lines().count() >= 2 && out.lines().all(|line| line == "ENOTRECOVERABLE"), "{out}");
}

fn loader() {
    let scene = Scene::new();
    library(&scene);
    std::fs::copy("/bin/echo", scene.workspace().join("hidden-echo")).unwrap();
    let script = "LD_PRELOAD=$PWD/library.so /lib64/ld-linux-x86-64.so.2 ./hidden-echo ran > said";
    let (exit, log) = scene.shell(script, by_marker);
    assert_eq!(exit.status, Status::Code(0));
    assert_eq!((scene.text("out").as_str(), scene.text("said").as_str()), ("ENOTRECOVERABLE\n", "ran\n"));
    // Not hidden: the loader is what runs, and what it is to load stands among its arguments.
    let is_loader = |event: &Event| {
        matches!(event, Event::Asked(call) if matches!(&call.attempt, Attempt::Exec { path, argv, .. }
            if path.to_string_lossy().contains("ld-linux") && argv.iter().any(|one| one == "./hidden-echo")))
    };
    assert_eq!(log.iter().filter(|event| is_loader(event)).count(), 1);
}

fn scripts() {
    let scene = Scene::new();
    let workspace = scene.workspace();
    for (name, text) in [
        ("denied", "#!/bin/sh\necho ran > ran\n"),
        ("one", "#!./denied\n"),
        ("two", "#!./one\n"),
        ("loop", "#!./loop\n"),
        ("long", &format!("#!/{}\n", "x".repeat(400))),
        ("nul", "#!/bin/sh\0./denied\n"),
    ] {
        std::fs::write(workspace.join(name), text).unwrap();
        std::fs::set_permissions(workspace.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut denied = 0;
    let counted = std::sync::Arc::new(std::sync::Mutex::new(0));
    let count = counted.clone();
    let script = "for f in one two loop long denied; do env ./$f; done; env ./nul; echo end > end";
    let (exit, _) = scene.shell(script, move |call| match &call.attempt {
        Attempt::Exec { path, script, .. } => {
            let is_denied = path.ends_with("denied")
                || script.as_ref().is_some_and(|script| script.interpreter.ends_with("denied"));
            if is_denied {
                denied += 1;
                *count.lock().unwrap() = denied;
                return deny("");
            }
            Decision::Allow
        }
        _ => Decision::Allow,
    });
    assert_eq!(exit.by, EndedBy::Program);
    assert!(*counted.lock().unwrap() >= 2, "by its name and as an interpreter");
    assert_eq!(scene.text("end"), "end\n");
    println!("ran: {:?}", scene.after("ran"));
}

/// Pid 1 belongs to the same user, whose limits it may set: that ends the session, and nothing else.
fn starved() {
    let scene = Scene::new();
    let script = "prlimit --pid 1 --nofile=0:0; prlimit --pid 1 --cpu=0:0; sleep 0.2; exit 5";
    let (exit, _) = scene.shell(script, allow);
    assert!(exit.status == Status::Code(5) || exit.by != EndedBy::Breach, "{exit:?}");
}

fn full_disk() {
    if std::env::var_os(SMALL_DISK).is_none() {
        println!("skipped: a small disk of one's own takes root");
        return;
    }
    let scene = scene_with("flood");
    std::fs::write(scene.workspace().join("file"), "as it was").unwrap();
    // To a file that is there: the disk has no room for one more.
    let (exit, _) = scene.shell("touch out; ./flood fill > out; echo after > after; exit 7", allow);
    assert_eq!((exit.status, exit.by), (Status::Code(7), EndedBy::Program));
    assert_eq!((scene.text("out").as_str(), scene.text("after").as_str()), ("ENOSPC\n", "after\n"));
    assert_eq!(std::fs::read_to_string(scene.workspace().join("file")).unwrap(), "as it was");
}
