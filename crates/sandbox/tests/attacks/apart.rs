//! Attempts that only a session without namespaces has within sight (`inside/apart.c`): processes, files, sockets and
//! terminals of the same user's. Run only where user namespaces are taken away.

use crate::{Attack, run, scene_with, told};
use flyball_sandbox::Status;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

pub const ALL: &str = "what_namespaces_would_hide";

/// Answers: whoever is not here must have been refused.
const OPEN: &[&str] = &[
    // The kernel takes the owner and does not send.
    "signal-by-owner",
    // It reaches the tree alone.
    "signal-all",
    "own-child",
    "own-thread",
    "own-limit",
    "others-limit-asked",
    "own-nice",
    "own-tmpfile",
    "own-folder-mode",
    "own-times",
    "own-watch",
    "own-deleted",
    "own-socket",
    "own-terminal",
    "own-terminal-by-name",
    "own-proc",
    "read-shown",
];

pub fn attacks() -> Vec<Attack> {
    vec![(ALL, "Landlock", all)]
}

fn all() {
    let mut scene = scene_with("apart");
    let at = |name: &str| scene.base.path().join(name);
    std::fs::create_dir_all(at("home/.ssh")).unwrap();
    std::fs::create_dir_all(at("shown")).unwrap();
    std::fs::write(at("home/.ssh/key"), "#!/bin/sh\necho secret").unwrap();
    std::fs::write(at("shown/file"), "shown").unwrap();
    let (secret, shown, fifo) = (at("home/.ssh/key"), at("shown/file"), at("fifo"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let stream = UnixListener::bind(at("stream")).unwrap();
    stream.set_nonblocking(true).unwrap();
    let datagram = UnixDatagram::bind(at("datagram")).unwrap();
    datagram.set_nonblocking(true).unwrap();
    let mut command = Command::new("sleep");
    command.arg("600").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut victim = Victim(command.spawn().unwrap());
    let words = [
        std::process::id().to_string(),
        victim.0.id().to_string(),
        secret.display().to_string(),
        shown.display().to_string(),
        at("stream").display().to_string(),
        at("datagram").display().to_string(),
        fifo.display().to_string(),
    ];
    let of = |path: &std::path::Path| {
        let meta = std::fs::metadata(path).unwrap();
        (meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec(), meta.nlink())
    };
    let before = (of(&secret), of(&shown), of(&fifo));
    scene.expose = vec![at("shown")];
    let script = format!("exec ./apart {} > answers", words.join(" "));
    let (exit, _) = scene.shell(&script, crate::scene::allow);
    let answers = scene.text("answers");
    println!("{answers}");
    assert_eq!(exit.status, Status::Code(0), "{answers}");
    for line in answers.lines() {
        let (name, answer) = line.split_once(' ').unwrap();
        assert_eq!(answer == "OPEN", OPEN.contains(&name), "{line}");
    }
    for name in OPEN {
        assert!(answers.contains(&format!("{name} OPEN")), "{name} was not tried");
    }
    assert_eq!(before, (of(&secret), of(&shown), of(&fifo)));
    assert!(stream.accept().is_err() && datagram.recv(&mut [0; 9]).is_err());
    assert!(victim.0.try_wait().unwrap().is_none(), "the victim is gone");
}

/// Another process of the user's; gone when the test is.
struct Victim(std::process::Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Once, as the one user that it is about.
pub fn trial() -> libtest_mimic::Trial {
    let trial = libtest_mimic::Trial::test(format!("apart::{ALL}"), || {
        let output = run(ALL, "apart", Stdio::null());
        if output.status.success() { Ok(()) } else { Err(told(&output).into()) }
    });
    trial.with_kind("Landlock")
}
