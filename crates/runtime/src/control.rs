//! The control socket of a live session: people's acts reach the supervisor here, proven by the kernel's word on who
//! connected (`SO_PEERCRED`). It lies in the session's private folder, which is not visible inside the sandbox.

use crate::home::Home;
use crate::status::Status;
use flyball_kernel::{Action, Verdict};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// Its name in the session's folder.
const SOCKET: &str = "control.sock";
/// A longer request or reply is refused.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// After a connection that could not be taken.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// A supervisor that does not answer in this time is reported, not waited for.
const REPLY_SECONDS_MAX: u64 = 60;

/// How often it is looked whether one who closed a connection is still there.
const LOOKS_MAX: usize = 8;

/// One act on a session, one JSON object on a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Stop every process where it stands.
    Pause {
        /// Why.
        reason: String,
    },
    /// Let them go on.
    Resume {
        /// Why.
        reason: String,
    },
    /// Stop and refuse everything, for inspection, until a person resumes or kills it.
    Quarantine {
        /// Why.
        reason: String,
    },
    /// End every process.
    Kill {
        /// Why.
        reason: String,
    },
    /// Answer a question.
    Answer {
        /// Its id.
        id: String,
        /// `allow`, `deny` or `modify`.
        verdict: Verdict,
        /// The changed action, for `modify`.
        with: Option<Action>,
        /// Why.
        reason: String,
        /// The answer as a person's SSH key signed it: then it is that person's, and not of who brought it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signed: Option<crate::signed::Signed>,
        /// The attempts that it is for, where not for all that the question names.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        only: Vec<u64>,
        /// The digest of the actions that the person was shown; if the question names others by now, it is no answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        set: Option<String>,
    },
    /// Put another charter in force.
    Constrain {
        /// Its files.
        files: flyball_kernel::Sources,
        /// Whether it may let more pass, if whoever asks answers for that.
        widen: bool,
        /// Why.
        reason: String,
    },
    /// Say how the session stands. Changes and records nothing.
    Status,
    /// Set the autonomy level.
    Autonomy {
        /// The level, of those that the charter has.
        level: String,
        /// Why.
        reason: String,
    },
    /// End the taint of a label.
    Declassify {
        /// The label.
        label: String,
        /// Why.
        reason: String,
    },
    /// One of `constrain`, `autonomy` and `declassify` as a person's SSH key signed it: then it is that person's act, and not of
    /// who brought it.
    Signed {
        /// The act.
        act: Box<Request>,
        /// What was signed.
        signed: crate::signed::Signed,
    },
    /// Take the workspace back to a step.
    Rollback {
        /// The step.
        seq: u64,
        /// Why.
        reason: String,
    },
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether it was done.
    pub ok: bool,
    /// The entry that records it.
    #[serde(default)]
    pub seq: Option<u64>,
    /// How long it took until it held, microseconds.
    #[serde(default)]
    pub took_us: Option<u64>,
    /// What stood in the way, or what there is to say.
    #[serde(default)]
    pub message: String,
    /// How the session stands, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
}

/// A session could not be reached or did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Its supervisor is not running.
    #[error("session `{0}` is not running")]
    NotRunning(String),
    /// It was there, and was gone before it answered. Whether it did what was asked, its record says.
    #[error("session `{0}` ended meanwhile, before it answered")]
    Ended(String),
    /// The supervisor is there and can't be talked to.
    #[error("can't reach the supervisor of session `{session}`: {cause}")]
    Unreachable {
        /// The session.
        session: String,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// It refused.
    #[error("{0}")]
    Refused(String),
}

/// Sends one request to a session's supervisor and waits for its reply.
///
/// # Errors
/// [`ControlError`] when it is not running, can't be reached, or refuses.
pub fn send(home: &Home, session: &str, request: &Request) -> Result<Reply, ControlError> {
    let seconds = match request {
        // Charters are compared before one is adopted.
        Request::Constrain { .. } | Request::Signed { .. } => 600,
        _ => REPLY_SECONDS_MAX,
    };
    exchange(&home.session(session), session, request, Duration::from_secs(seconds))
}

/// How a live session of the ledger in that folder stands, as its supervisor says within that time.
///
/// # Errors
/// [`ControlError`] when it is not running, says nothing in time, or is of a version that can't say.
pub fn status(ledger_dir: &Path, session: &str, wait: Duration) -> Result<Status, ControlError> {
    let reply = exchange(&ledger_dir.join("sessions").join(session), session, &Request::Status, wait)?;
    reply.status.map(|s| *s).ok_or_else(|| ControlError::Refused("it did not say how it stands".to_owned()))
}

fn exchange(session_dir: &Path, session: &str, request: &Request, wait: Duration) -> Result<Reply, ControlError> {
    let unreachable = |cause| ControlError::Unreachable { session: session.to_owned(), cause };
    let mut stream = connect(session_dir).map_err(|_| ControlError::NotRunning(session.to_owned()))?;
    stream.set_read_timeout(Some(wait)).map_err(unreachable)?;
    let mut line = serde_json::to_vec(request).map_err(|e| unreachable(e.into()))?;
    line.push(b'\n');
    let answered = match ask(&mut stream, &line) {
        Ok(answered) => answered,
        Err(error) if is_closed(&error) && is_gone(session_dir, wait) => {
            return Err(ControlError::Ended(session.to_owned()));
        }
        Err(error) => return Err(unreachable(error)),
    };
    let reply: Reply = serde_json::from_str(&answered).map_err(|e| unreachable(e.into()))?;
    if reply.ok { Ok(reply) } else { Err(ControlError::Refused(reply.message)) }
}

/// Sends a line and reads the answer's.
fn ask(stream: &mut UnixStream, line: &[u8]) -> std::io::Result<String> {
    stream.write_all(line)?;
    let mut reply = String::new();
    BufReader::new(stream.take(MESSAGE_BYTES_MAX)).read_line(&mut reply)?;
    if reply.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(reply) }
}

/// Whether the other side closed the connection. What waits for a supervisor that ends is reset by the system.
fn is_closed(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}

/// Whether nobody hears this session's people any more. One who closed a connection without an answer may still be there, and says so
/// when it is asked how it stands; while it ends, it may take another one and close that as well.
fn is_gone(session_dir: &Path, wait: Duration) -> bool {
    let line = b"{\"do\":\"status\"}\n";
    for _ in 0..LOOKS_MAX {
        let Ok(mut stream) = connect(session_dir) else { return true };
        let asked = stream.set_read_timeout(Some(wait)).and_then(|()| ask(&mut stream, line));
        if !asked.is_err_and(|error| is_closed(&error)) {
            return false;
        }
    }
    false
}

/// Connects through the folder's descriptor: a socket's path may be at most 107 bytes, a ledger's folder may be deeper.
fn connect(session_dir: &Path) -> std::io::Result<UnixStream> {
    with_short_path(session_dir, SOCKET, |path| UnixStream::connect(path))
}

/// The listening socket of a session's supervisor, mode 0600.
///
/// # Errors
/// What the operating system said.
pub fn listen(session_dir: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(session_dir.join(SOCKET)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    with_short_path(session_dir, SOCKET, |path| UnixListener::bind(path))
}

/// Connections as they come; `None` for one that could not be taken. INVARIANT: never ends by itself. Descriptors that ran out
/// for a moment, say, must not keep people from a session for good.
pub(crate) fn connections(listener: &UnixListener) -> impl Iterator<Item = Option<UnixStream>> {
    listener.incoming().map(|taken| taken.inspect_err(|_| std::thread::sleep(ACCEPT_AGAIN)).ok())
}

pub(crate) fn with_short_path<T>(
    dir: &Path,
    name: &str,
    then: impl FnOnce(&Path) -> std::io::Result<T>,
) -> std::io::Result<T> {
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsRawFd;
    let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    then(Path::new(&format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())))
}

/// Serves one connection: reads a request, has it done, writes the reply.
pub(crate) fn serve(stream: UnixStream, act: impl FnOnce(Request, &str) -> Result<Reply, String>) {
    serve_peer(stream, |request, by, _| act(request, by));
}

/// The same, with the number of the process that asks; 0 where it has none here.
pub(crate) fn serve_peer(mut stream: UnixStream, act: impl FnOnce(Request, &str, i32) -> Result<Reply, String>) {
    // A peer that sends nothing must not keep others from being heard for long.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let reply = match receive(&stream) {
        Ok((request, by, pid)) => {
            act(request, &by, pid).unwrap_or_else(|message| Reply { message, ..Reply::default() })
        }
        Err(message) => Reply { message, ..Reply::default() },
    };
    let mut line = serde_json::to_vec(&reply).unwrap_or_default();
    line.push(b'\n');
    let _ = stream.write_all(&line);
}

fn receive(stream: &UnixStream) -> Result<(Request, String, i32), String> {
    let peer = rustix::net::sockopt::socket_peercred(stream).map_err(|e| format!("can't tell who asks: {e}"))?;
    let mut line = String::new();
    BufReader::new(stream.take(MESSAGE_BYTES_MAX)).read_line(&mut line).map_err(|e| format!("can't read: {e}"))?;
    let request = serde_json::from_str(&line).map_err(|e| format!("no such request: {e}"))?;
    Ok((request, user(peer.uid.as_raw()), peer.pid.as_raw_nonzero().get()))
}

/// The contact of a local account, as charters name it.
#[must_use]
pub fn user(uid: u32) -> String {
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("user:{}", user.name),
        _ => format!("user:{uid}"),
    }
}

/// The contact of whoever runs this process.
#[must_use]
pub fn this_user() -> String {
    user(rustix::process::getuid().as_raw())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const ID: &str = "s";

    fn killed(dir: &Path) -> Result<Reply, ControlError> {
        let request = Request::Kill { reason: "enough".into() };
        exchange(dir, ID, &request, Duration::from_secs(60))
    }

    #[test]
    fn who_is_gone_before_the_answer_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(killed(dir.path()), Err(ControlError::NotRunning(_))));
        // Waits with others for a supervisor that ends: nobody ever takes it, and it is reset.
        let listener = listen(dir.path()).unwrap();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| killed(dir.path()));
            // It is there, and left to itself.
            rustix::event::poll(
                &mut [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)],
                None::<&rustix::event::Timespec>,
            )
            .unwrap();
            drop(listener);
            assert!(matches!(asked.join().unwrap(), Err(ControlError::Ended(_))));
        });
        // Taken, and closed unread; taken, read and closed unanswered: then it is gone.
        for is_read in [false, true] {
            let listener = listen(dir.path()).unwrap();
            std::thread::scope(|scope| {
                let asked = scope.spawn(|| killed(dir.path()));
                let stream = listener.accept().unwrap().0;
                if is_read {
                    receive(&stream).unwrap();
                }
                drop((listener, stream));
                assert!(matches!(asked.join().unwrap(), Err(ControlError::Ended(_))), "{is_read}");
            });
        }
        // The next is taken as well, and only then it is gone.
        let listener = listen(dir.path()).unwrap();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| killed(dir.path()));
            drop(listener.accept().unwrap());
            drop(listener.accept().unwrap());
            drop(listener);
            assert!(matches!(asked.join().unwrap(), Err(ControlError::Ended(_))));
        });
    }

    #[test]
    fn who_closed_a_connection_and_still_answers_has_not_ended() {
        let dir = tempfile::tempdir().unwrap();
        let listener = listen(dir.path()).unwrap();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| killed(dir.path()));
            drop(listener.accept().unwrap());
            serve(listener.accept().unwrap().0, |request, _| match request {
                Request::Status => Ok(Reply { ok: true, ..Reply::default() }),
                _ => Err("an act is not asked for twice".into()),
            });
            assert!(matches!(asked.join().unwrap(), Err(ControlError::Unreachable { .. })));
        });
    }

    #[test]
    fn a_connection_that_could_not_be_taken_is_not_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let listener = listen(dir.path()).unwrap();
        // Nobody is there yet, and it does not wait: that fails.
        listener.set_nonblocking(true).unwrap();
        let mut connections = connections(&listener);
        assert!(connections.next().unwrap().is_none());
        let _peer = connect(dir.path()).unwrap();
        assert!(connections.next().unwrap().is_some());
    }
}
