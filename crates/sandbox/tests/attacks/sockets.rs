//! Sockets of the host's that are in sight, and descriptors that one process gives to another (`inside/passed.c`).

use crate::scene::{Scene, paths};
use crate::{Attack, scene_with};
use flyball_sandbox::{Attempt, Call, Decision, Refusal, Status};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

pub fn attacks() -> Vec<Attack> {
    vec![
        ("datagrams_to_a_socket_of_the_hosts_in_sight", "seccomp", datagrams),
        ("a_standard_stream_that_sends_to_whomever_it_names", "launcher", streams),
        ("a_descriptor_that_was_passed_on_gives_no_more", "mediation", passed),
    ]
}

/// A scene that shows a folder of the host's with a socket in it.
fn shown(server: &str) -> (Scene, std::path::PathBuf) {
    let mut scene = scene_with("passed");
    let shown = scene.base.path().join("shown");
    std::fs::create_dir(&shown).unwrap();
    scene.expose = vec![shown.clone()];
    (scene, shown.join(server))
}

fn datagrams() {
    let (scene, server) = shown("datagram");
    let socket = UnixDatagram::bind(&server).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (exit, log) = scene.shell(&format!("./passed datagrams {} > out", server.display()), crate::scene::allow);
    assert_eq!(exit.status, Status::Code(0));
    let out = scene.text("out");
    assert!(socket.recv(&mut [0; 8]).is_err(), "a datagram came:\n{out}");
    let expect = "socket-0 ESOCKTNOSUPPORT\npair-0 ESOCKTNOSUPPORT\nsocket-1 ESOCKTNOSUPPORT\npair-1 ESOCKTNOSUPPORT\n\
                  socket-2 ESOCKTNOSUPPORT\npair-2 ESOCKTNOSUPPORT\n";
    assert!(out.starts_with(expect) && out.ends_with("pair-of-packets OK\n"), "{out}");
    assert!(!out.lines().any(|line| line.contains("-send") && line.ends_with("OK")), "{out}");
    // It is no question of rules: nobody was asked.
    assert!(!format!("{log:?}").contains("ConnectUnix"));

    // Where nothing of the host's is in sight, datagrams are what they are.
    let scene = scene_with("passed");
    let (_, _) = scene.shell("./passed datagrams nowhere > out", crate::scene::allow);
    let out = scene.text("out");
    assert!(out.starts_with("socket-0 OK\nsocket-0-sendto ENOENT\n"), "{out}");
    assert!(out.contains("pair-0 OK\n"), "{out}");
}

/// Standard input of this very process, which is the attack's own.
fn streams() {
    let scene = Scene::new();
    let put = |socket: std::os::fd::OwnedFd| {
        // SAFETY: the number 0 is replaced by one that is open; nothing here holds it.
        assert_eq!(unsafe { libc::dup2(socket.as_raw_fd(), 0) }, 0);
    };
    let (mine, _) = UnixDatagram::pair().unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect("127.0.0.1:9").unwrap();
    for socket in [mine.into(), udp.into()] {
        put(socket);
        let refused = scene.try_start(&["/bin/sh", "-c", ": > started"], crate::scene::allow);
        let error = refused.err().expect("nothing starts");
        assert_eq!(error.code(), "FB0215", "{error}");
        assert!(error.to_string().contains("standard input") && scene.after("started").is_none(), "{error}");
    }
    let (mine, other) = UnixStream::pair().unwrap();
    (&other).write_all(b"a line\n").unwrap();
    put(mine.into());
    let (exit, _) = scene.shell("read -r line; echo \"$line\" > out", crate::scene::allow);
    assert_eq!(exit.status, Status::Code(0));
    assert_eq!(scene.text("out"), "a line\n");
}

fn passed() {
    let (scene, server) = shown("server");
    let listener = UnixListener::bind(&server).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::fs::write(scene.workspace().join("denied-there"), "as it was").unwrap();
    std::fs::copy("/bin/true", scene.workspace().join("denied-program")).unwrap();
    let (exit, _) = scene.shell(&format!("./passed passes {} > out", server.display()), by_name);
    assert_eq!(exit.status, Status::Code(0));
    let out = scene.text("out");
    let rule = "ENOTRECOVERABLE";
    let expect = [
        ("read-then-write", "EBADF"),
        ("read-then-open-to-write", rule),
        ("read-then-truncate", rule),
        ("read-then-ftruncate", "EINVAL"),
        ("read-then-chmod", rule),
        ("read-then-xattr", rule),
        ("read-then-map", "EACCES"),
        ("read-then-link", rule),
        ("folder-then-make", rule),
        ("folder-then-write", rule),
        ("folder-then-remove", rule),
        ("folder-then-rename", rule),
        ("program-by-descriptor", rule),
        ("program-by-path", rule),
        ("write-then-write", "OK"),
        ("write-then-link", rule),
        ("socket-then-connect", rule),
        ("socket-then-send", "ENOTCONN"),
        ("memory-then-run", "EACCES"),
        ("nameless-then-name", rule),
    ];
    let expect: String = expect.iter().map(|(what, answer)| format!("{what} {answer}\n")).collect();
    assert_eq!(out, expect);
    assert!(listener.accept().is_err(), "nobody called");
    assert_eq!(std::fs::read_to_string(scene.workspace().join("denied-there")).unwrap(), "as it was");
    assert_eq!((scene.text("allowed").as_str(), scene.after("denied")), ("y", None));
}

/// Denies what names `denied…` to be changed or run, and every socket of the host's, with an errno of its own.
fn by_name(call: &Call) -> Decision {
    let is_denied = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"denied"));
    let is_socket = matches!(call.attempt, Attempt::ConnectUnix { .. });
    if is_socket || paths(&call.attempt).into_iter().any(is_denied) {
        return Decision::Deny(Refusal { errno: libc::ENOTRECOVERABLE, text: String::new() });
    }
    Decision::Allow
}
