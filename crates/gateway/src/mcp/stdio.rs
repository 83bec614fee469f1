//! Client and server over pipes: the client is whoever started the gateway, the server is started by it.

use super::message::{Frame, read_frame};
use super::{Peers, Proxy};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a server may take to end once its client has gone, before it is told to, and then before it is made to.
const GRACE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// The two ends that lines go to.
pub struct Pipes {
    server: Mutex<Option<ChildStdin>>,
    client: Mutex<Box<dyn Write + Send>>,
}

impl Peers for Pipes {
    fn to_server(&self, line: &[u8]) -> std::io::Result<()> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        write_line(server.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?, line)
    }

    fn to_client(&self, line: &[u8]) -> std::io::Result<()> {
        write_line(self.client.lock().unwrap_or_else(PoisonError::into_inner).as_mut(), line)
    }
}

/// One call of the operating system for a line, so that its reader wakes once.
fn write_line(to: &mut dyn Write, line: &[u8]) -> std::io::Result<()> {
    let mut whole = Vec::with_capacity(line.len() + 1);
    whole.extend_from_slice(line);
    whole.push(b'\n');
    to.write_all(&whole)?;
    to.flush()
}

/// A server that was started, and its pipes.
pub struct Started {
    child: Child,
    stdout: ChildStdout,
    pipes: Arc<Pipes>,
    /// Whether it leads a group, which is ended with it.
    leads: bool,
}

enum Ended {
    Client,
    Server,
}

/// Tells a gateway to end as if its client had gone.
#[derive(Clone)]
pub struct Stop(Arc<dyn Fn() + Send + Sync>);

impl Stop {
    /// One that says to whoever serves that the client is gone.
    pub(super) fn by<E: Send + 'static>(tell: &Sender<E>, gone: fn() -> E) -> Self {
        let tell = tell.clone();
        Self(Arc::new(move || _ = tell.send(gone())))
    }

    /// Once is enough.
    pub fn stop(&self) {
        self.0();
    }
}

/// Starts a server whose standard error is the gateway's own.
///
/// # Errors
/// What the operating system says.
pub fn start(command: &mut Command, client: Box<dyn Write + Send>) -> std::io::Result<Started> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let stdout = stdout.ok_or(std::io::ErrorKind::BrokenPipe)?;
    let pipes = Arc::new(Pipes { server: Mutex::new(stdin), client: Mutex::new(client) });
    Ok(Started { child, stdout, pipes, leads: false })
}

/// The same for a server that leads a group of its own: what it has started and left is ended with it, and no terminal's signal is its.
///
/// # Errors
/// What the operating system says.
pub fn start_apart(command: &mut Command, client: Box<dyn Write + Send>) -> std::io::Result<Started> {
    Ok(Started { leads: true, ..start(command.process_group(0), client)? })
}

impl Started {
    /// Where the proxy sends lines.
    #[must_use]
    pub fn peers(&self) -> Arc<Pipes> {
        Arc::clone(&self.pipes)
    }

    /// Ends a server that was asked nothing.
    pub fn abandon(mut self) {
        let (tell, ended) = channel();
        let _ = tell.send(Ended::Client);
        drop((tell, self.stdout));
        end(&mut self.child, &self.pipes, self.leads, &ended);
    }

    /// Carries lines until one of the two has ended; gives the server's exit code. `ready` is handed what ends it from outside.
    ///
    /// # Errors
    /// When the threads can't be started.
    pub fn serve(
        self,
        proxy: &Arc<Proxy>,
        mut client: impl BufRead + Send + 'static,
        ready: impl FnOnce(Stop),
    ) -> std::io::Result<i32> {
        let (tell, ended) = channel();
        ready(Stop::by(&tell, || Ended::Client));
        let (to, by) = (Arc::clone(proxy), tell.clone());
        std::thread::Builder::new().name("client".into()).spawn(move || {
            while let Ok(frame) = read_frame(&mut client) {
                if frame == Frame::End {
                    break;
                }
                to.from_client(&frame);
            }
            let _ = by.send(Ended::Client);
        })?;
        self.hear(proxy, tell, &ended)
    }

    /// The same for a client whose lines others hand to the proxy, until it is stopped or the server has ended.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn serve_until_stopped(self, proxy: &Arc<Proxy>, ready: impl FnOnce(Stop)) -> std::io::Result<i32> {
        let (tell, ended) = channel();
        ready(Stop::by(&tell, || Ended::Client));
        self.hear(proxy, tell, &ended)
    }

    fn hear(mut self, proxy: &Arc<Proxy>, tell: Sender<Ended>, ended: &Receiver<Ended>) -> std::io::Result<i32> {
        let to = Arc::clone(proxy);
        let mut stdout = BufReader::with_capacity(64 * 1024, self.stdout);
        std::thread::Builder::new().name("server".into()).spawn(move || {
            while let Ok(frame) = read_frame(&mut stdout) {
                if frame == Frame::End {
                    break;
                }
                to.from_server(&frame);
            }
            let _ = tell.send(Ended::Server);
        })?;
        let code = end(&mut self.child, &self.pipes, self.leads, ended);
        proxy.server_ended();
        Ok(code)
    }
}

fn end(child: &mut Child, pipes: &Pipes, leads: bool, ended: &Receiver<Ended>) -> i32 {
    if let Ok(Ended::Client) = ended.recv() {
        // A server that does not read keeps whoever writes to it; it is ended below.
        if let Ok(mut server) = pipes.server.try_lock() {
            *server = None;
        }
        // What it still has to say is heard until it ends.
        let _ = ended.recv_timeout(GRACE);
    }
    if let Some(code) = wait(child) {
        return code;
    }
    // INVARIANT: not waited for yet, so that the number is still this child's.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let tell = |signal| {
        let _ = pid.map(|pid| if leads { kill_process_group(pid, signal) } else { kill_process(pid, signal) });
    };
    tell(Signal::TERM);
    wait(child).unwrap_or_else(|| {
        tell(Signal::KILL);
        child.wait().ok().and_then(|status| status.code()).unwrap_or(1)
    })
}

fn wait(child: &mut Child) -> Option<i32> {
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status.code().unwrap_or(1));
        }
        std::thread::sleep(LOOK);
    }
    None
}
