//! What changes between the look and the act (`inside/race.c`).

use crate::scene::{Event, allow, deny, deny_name, paths};
use crate::{Attack, scene_with};
use flyball_sandbox::{Attempt, Decision, EndedBy, Status};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(60);

pub fn attacks() -> Vec<Attack> {
    vec![
        ("a_path_rewritten_by_a_process_that_shares_memory", "mediation", path),
        ("a_descriptor_number_put_on_another_file", "mediation", descriptor),
        ("a_working_directory_changed_under_an_exec", "mediation", cwd),
        ("a_socket_address_that_turns_into_a_path", "mediation", || connects("address")),
        ("an_abstract_address_that_turns_into_a_path", "mediation", || connects("abstract")),
        ("threads_that_exec_at_once", "mediation", threads),
        ("a_script_rewritten_while_its_run_is_held", "mediation", content),
    ]
}

/// How many attempts were denied and how many went through.
fn counts(out: &str) -> (u32, u32) {
    let words: Vec<&str> = out.split_whitespace().collect();
    (words[words.len() - 3].parse().unwrap(), words[words.len() - 1].parse().unwrap())
}

fn path() {
    let scene = scene_with("race");
    let (exit, _) = scene.shell("./race path 10000 > out; echo $? > end", deny_name("race-ox"));
    let out = scene.text("out");
    assert!(exit.by == EndedBy::Program && !out.contains("BEATEN"), "{exit:?} {out}");
    let (denied, made) = counts(&out);
    assert!(denied > 50 && made > 50, "the race was on: {out}");
    assert!(scene.after("race-ox").is_none());
}

fn descriptor() {
    let scene = scene_with("race");
    std::fs::write(scene.workspace().join("denied"), "as it was").unwrap();
    let (exit, _) = scene.shell("./race descriptor 20000 > out", deny_name("denied"));
    let out = scene.text("out");
    assert!(exit.by == EndedBy::Program && !out.contains("BEATEN"), "{exit:?} {out}");
    let (denied, made) = counts(&out);
    assert!(denied > 50 && made > 50, "the race was on: {out}");
}

fn cwd() {
    let scene = scene_with("race");
    for name in ["d", "denied-dir"] {
        std::fs::create_dir(scene.workspace().join(name)).unwrap();
    }
    let (exit, log) = scene.run(&["./race", "cwd", "3000"], |call| match &call.attempt {
        Attempt::Exec { cwd, .. } if cwd.ends_with("denied-dir") => deny(""),
        _ => Decision::Allow,
    });
    let breaches = log.iter().filter(|event| matches!(event, Event::Breached(_))).count();
    assert_eq!((exit.by, breaches > 0), (EndedBy::Breach, true), "{exit:?}");
}

fn connects(how: &str) {
    let mut scene = scene_with("race");
    // A socket of the host's in a folder that the charter shows: there only the rule stands before it.
    let shown = scene.base.path().join("shown");
    std::fs::create_dir(&shown).unwrap();
    let server = shown.join("server");
    let _listener = UnixListener::bind(&server).unwrap();
    scene.expose = vec![shown];
    scene.env = vec![("SERVER".into(), server.into())];
    let script = format!("./race {how} 20000 > out");
    let (exit, _) = scene.shell(&script, |call| match &call.attempt {
        Attempt::ConnectUnix { .. } => deny(""),
        _ => Decision::Allow,
    });
    let out = scene.text("out");
    assert!(exit.by == EndedBy::Program && !out.contains("BEATEN"), "{exit:?} {out}");
    assert_eq!(counts(&out), (20000, 0));
}

fn threads() {
    let scene = scene_with("race");
    std::fs::copy("/bin/false", scene.workspace().join("denied-program")).unwrap();
    let (exit, log) = scene.shell("./race threads 200 > out", deny_name("denied-program"));
    let out = scene.text("out");
    assert_eq!((exit.status, exit.by), (Status::Code(0), EndedBy::Program), "{out}");
    assert_eq!(counts(&out), (0, 200), "each ended as `true`, none as `false`");
    assert!(!log.iter().any(|event| matches!(event, Event::Breached(_))));
}

fn content() {
    let scene = scene_with("race");
    let script = scene.workspace().join("held-script");
    std::fs::write(&script, "#!/bin/sh\necho good >ran").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut is_held = false;
    let run = scene.start(&["/bin/sh", "-c", "./race content > out"], move |call| match &call.attempt {
        Attempt::Exec { path, .. } if path.ends_with("held-script") => {
            is_held = true;
            Decision::Hold
        }
        Attempt::Open { path, .. } if path.ends_with("asked") && !is_held => deny(""),
        _ => Decision::Allow,
    });
    let ticket = run.held.recv_timeout(WAIT).unwrap();
    // Somebody reads the script, and nods; meanwhile it becomes another.
    let since = std::time::Instant::now();
    while scene.after("swapped").is_none() {
        assert!(since.elapsed() < WAIT, "it never swapped");
        std::thread::sleep(Duration::from_millis(10));
    }
    run.running.answer(ticket, Decision::Allow);
    let exit = run.running.wait();
    assert_eq!(exit.by, EndedBy::Program);
    assert!(scene.after("ran").is_none(), "{:?}", scene.after("ran"));
    assert_eq!(scene.text("out"), "exit 13\n");
}
