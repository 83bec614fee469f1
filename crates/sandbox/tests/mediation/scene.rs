//! A workspace, a sandbox round it, and a mediator that records what it was asked.

use flyball_sandbox::{
    Attempt, Call, Decision, Done, Exit, Limits, Mediator, Network, Refusal, Running, Spec, StartError, Terminal,
    Ticket, Weakness,
};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// What the mediator heard.
#[derive(Debug)]
pub enum Event {
    Asked(Call),
    Done(Ticket, Done),
    Withdrawn(Ticket),
    Exited(i32, i32),
    Breached(String),
}

type Decide = Box<dyn FnMut(&Call) -> Decision + Send>;

struct Recorder {
    decide: Decide,
    log: Arc<Mutex<Vec<Event>>>,
    live: Sender<Ticket>,
}

impl Recorder {
    fn note(&self, event: Event) {
        self.log.lock().unwrap().push(event);
    }
}

impl Mediator for Recorder {
    fn decide(&mut self, call: &Call) -> Decision {
        let decision = (self.decide)(call);
        self.note(Event::Asked(call.clone()));
        if matches!(decision, Decision::Hold) {
            let _ = self.live.send(call.ticket);
        }
        decision
    }
    fn done(&mut self, ticket: Ticket, _: i32, done: Done) {
        self.note(Event::Done(ticket, done));
    }
    fn withdrawn(&mut self, ticket: Ticket) {
        self.note(Event::Withdrawn(ticket));
    }
    fn exited(&mut self, pid: i32, status: Option<i32>) {
        self.note(Event::Exited(pid, status.expect("it was seen how it ended")));
    }
    fn breached(&mut self, what: &str) {
        self.note(Event::Breached(what.to_owned()));
    }
}

/// Names the folder that scenes are made in, if it is not the usual one.
pub const PLACE: &str = "FLYBALL_SCENES";

/// Says that there are no namespaces here, and that sessions go on without.
pub const APART: &str = "FLYBALL_APART";

/// A place to run in.
pub struct Scene {
    pub base: tempfile::TempDir,
    pub network: Network,
    pub limits: Limits,
    /// More of the program's environment.
    pub env: Vec<(OsString, OsString)>,
    pub expose: Vec<PathBuf>,
    /// Begun ahead of its orders, its root on this folder.
    pub ahead: Option<PathBuf>,
}

/// A run under way.
pub struct Run {
    pub running: Running,
    pub log: Arc<Mutex<Vec<Event>>>,
    /// Tickets as they are held.
    pub held: Receiver<Ticket>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // An overlay leaves a folder without any permission behind, which keeps an ordinary user's `TempDir` from its end.
        let _ = flyball_sandbox::workspace::remove_tree(self.base.path());
    }
}

impl Scene {
    pub fn new() -> Self {
        let base = tempfile::tempdir_in(std::env::var_os(PLACE).unwrap_or("/var/tmp".into())).unwrap();
        for dir in ["ws", "session", "home"] {
            std::fs::create_dir(base.path().join(dir)).unwrap();
        }
        Self {
            base,
            network: Network::Closed,
            limits: Limits::default(),
            env: Vec::new(),
            expose: Vec::new(),
            ahead: None,
        }
    }

    pub fn workspace(&self) -> PathBuf {
        self.base.path().join("ws")
    }

    /// A file as the session left it.
    pub fn after(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.base.path().join("session/workspace/upper").join(name)).ok()
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.after(name).unwrap_or_else(|| panic!("no `{name}` was left"))).unwrap()
    }

    /// Compiles a C program into the workspace.
    pub fn compile(&self, name: &str, source: &str) {
        let file = self.base.path().join(format!("{name}.c"));
        std::fs::write(&file, source).unwrap();
        let done = std::process::Command::new("cc")
            .args(["-O1", "-w", "-pthread", "-o"])
            .arg(self.workspace().join(name))
            .arg(&file)
            .status()
            .unwrap();
        assert!(done.success());
    }

    pub fn start(&self, argv: &[&str], decide: impl FnMut(&Call) -> Decision + Send + 'static) -> Run {
        self.try_start(argv, decide).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_start(
        &self,
        argv: &[&str],
        decide: impl FnMut(&Call) -> Decision + Send + 'static,
    ) -> Result<Run, StartError> {
        let begun = self.ahead.as_ref().map(|place| flyball_sandbox::begin(place, None).expect("a launcher"));
        let base = self.base.path();
        let mut env = self.env.clone();
        env.push(("PATH".into(), std::env::var_os("PATH").unwrap()));
        env.push(("HOME".into(), base.join("home").into()));
        env.push(("GIT_CONFIG_GLOBAL".into(), "/dev/null".into()));
        let spec = Spec {
            lower: None,
            gives: false,
            argv: argv.iter().map(OsString::from).collect(),
            env,
            cwd: self.workspace(),
            session_dir: base.join("session"),
            workspace: self.workspace(),
            home: base.join("home"),
            left: None,
            home_keep: None,
            hide: vec![base.join("home/.ssh")],
            protect: vec![],
            expose: self.expose.clone(),
            programs: vec![],
            limits: self.limits.clone(),
            terminal: Terminal::Inherit,
            network: self.network,
            mediate_reads: false,
            hooks: None,
            accept_weaker: std::env::var_os(APART).map(|_| Weakness::Namespaces).into_iter().collect(),
        };
        let log = Arc::new(Mutex::new(Vec::new()));
        let (live, held) = channel();
        let recorder = Recorder { decide: Box::new(decide), log: log.clone(), live };
        let running = flyball_sandbox::build(spec, begun)?.ready(Box::new(recorder))?.go()?;
        Ok(Run { running, log, held })
    }

    /// Runs a shell script to its end.
    pub fn shell(&self, script: &str, decide: impl FnMut(&Call) -> Decision + Send + 'static) -> (Exit, Vec<Event>) {
        self.run(&["/bin/sh", "-c", script], decide)
    }

    pub fn run(&self, argv: &[&str], decide: impl FnMut(&Call) -> Decision + Send + 'static) -> (Exit, Vec<Event>) {
        let run = self.start(argv, decide);
        let exit = run.running.wait();
        let log = std::mem::take(&mut *run.log.lock().unwrap());
        (exit, log)
    }
}

pub fn allow(_: &Call) -> Decision {
    Decision::Allow
}

pub fn deny(text: &str) -> Decision {
    Decision::Deny(Refusal { errno: libc::EACCES, text: text.to_owned() })
}

/// Every path that an attempt names.
pub fn paths(attempt: &Attempt) -> Vec<&Path> {
    match attempt {
        Attempt::Exec { path, .. }
        | Attempt::Open { path, .. }
        | Attempt::Make { path, .. }
        | Attempt::Remove { path, .. }
        | Attempt::Symlink { path, .. }
        | Attempt::Truncate { path, .. }
        | Attempt::Metadata { path, .. }
        | Attempt::ConnectUnix { path }
        | Attempt::BindUnix { path } => vec![path],
        Attempt::Rename { from, to, .. } => vec![from, to],
        Attempt::Link { target, path } => vec![target, path],
        _ => vec![],
    }
}

/// Denies whatever names a path with that last name.
pub fn deny_name(name: &'static str) -> impl FnMut(&Call) -> Decision + Send + 'static {
    move |call| {
        let hit = paths(&call.attempt).iter().any(|path| path.file_name().is_some_and(|last| last == name));
        if hit { deny(&format!("flyball: {name} is not yours")) } else { Decision::Allow }
    }
}

/// What a sandbox's program has: nothing that goes beyond its user.
pub fn without_capabilities(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: plain system calls on values of the child's own.
    unsafe {
        command.pre_exec(|| {
            for capability in 0..64 {
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            }
            Ok(())
        });
    }
}
