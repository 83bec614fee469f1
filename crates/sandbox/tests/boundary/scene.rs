//! A workspace, a home and a session folder of the test's own, and programs run in a boundary around them.

use crate::inside::INSIDE;
use crate::launch::{End, LaunchError, Launched, launch};
use crate::spec::{Limits, Network, Spec, Terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::path::{Path, PathBuf};

/// How long anything may take before the test fails.
const DEADLINE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Set where the workspace is to be a copy.
pub const COPY: &str = "FLYBALL_BOUNDARY_COPY";

pub struct Scene {
    dir: tempfile::TempDir,
    pub spec: Spec,
}

/// How a program ended and what it wrote.
#[derive(Debug)]
pub struct Ran {
    pub end: End,
    pub text: String,
}

impl Scene {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        for name in ["work", "home/.config", "home/.ssh", "home/documents", "ledger/session"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        fs::write(base.join("work/file"), "as it was\n").unwrap();
        fs::write(base.join("home/.config/token"), "hunter2\n").unwrap();
        fs::write(base.join("home/.config/plain"), "plain\n").unwrap();
        fs::write(base.join("home/.ssh/id"), "hunter2\n").unwrap();
        fs::write(base.join("home/.profile"), "profile\n").unwrap();
        fs::write(base.join("home/documents/letter"), "hunter2\n").unwrap();
        let spec = Spec {
            lower: None,
            gives: false,
            argv: Vec::new(),
            env: vec![
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
                ("HOME".into(), base.join("home").into()),
                ("LEDGER".into(), base.join("ledger").into()),
            ],
            cwd: base.join("work"),
            session_dir: base.join("ledger/session"),
            workspace: base.join("work"),
            home: base.join("home"),
            left: None,
            home_keep: None,
            hide: vec![base.join("home/.config/token"), base.join("home/.ssh")],
            protect: Vec::new(),
            expose: vec![],
            programs: vec![exe_dir()],
            limits: Limits::default(),
            terminal: Terminal::Pty { rows: 24, columns: 200 },
            network: Network::Brokered,
            mediate_reads: false,
            hooks: None,
            accept_weaker: Vec::new(),
        };
        Self { dir, spec }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    /// What of the upper layer stands at this path of the workspace.
    pub fn upper(&self, below: &str) -> PathBuf {
        self.spec.session_dir.join("workspace/upper").join(below)
    }

    pub fn start(&self, argv: &[&str]) -> Result<Launched, LaunchError> {
        let mut spec = self.spec.clone();
        spec.argv = argv.iter().map(Into::into).collect();
        if std::env::var_os(COPY).is_some() {
            self.copy();
        }
        launch(&spec, &filter(), false, None)?.tested()
    }

    /// Makes the workspace a copy, as is done before the launch; what reads its manifest is not compiled in here.
    fn copy(&self) {
        let layers = self.spec.session_dir.join("workspace");
        if self.spec.workspace.is_dir() && !layers.exists() {
            fs::create_dir_all(&layers).unwrap();
            let done = std::process::Command::new("cp")
                .arg("-a")
                .args([&self.spec.workspace, &layers.join("upper")])
                .status()
                .unwrap();
            assert!(done.success());
            fs::write(layers.join("base"), "").unwrap();
        }
    }

    pub fn run(&self, argv: &[&str]) -> Ran {
        let launched = self.start(argv).unwrap_or_else(|error| panic!("{error} ({}): {error:?}", error.code()));
        launched.go().unwrap();
        finish(&launched)
    }

    pub fn sh(&self, script: &str) -> Ran {
        self.run(&["sh", "-c", script])
    }

    /// Runs this binary inside, as one of the programs of `inside`.
    pub fn program(&self, args: &[&str]) -> Ran {
        let exe = exe();
        let argv: Vec<&str> = [exe.to_str().unwrap(), INSIDE].into_iter().chain(args.iter().copied()).collect();
        self.run(&argv)
    }

    /// The error that starting `true` ends with.
    pub fn refusal(&self) -> LaunchError {
        match self.start(&["true"]) {
            Ok(_) => panic!("started"),
            Err(error) => error,
        }
    }
}

pub fn exe() -> PathBuf {
    fs::read_link("/proc/self/exe").unwrap()
}

fn exe_dir() -> PathBuf {
    exe().parent().unwrap().to_owned()
}

/// Reads the terminal until the agent has ended.
pub fn finish(launched: &Launched) -> Ran {
    let mut text = Vec::new();
    let master = launched.pty_master.as_ref().unwrap();
    let end = loop {
        let mut polled =
            [PollFd::new(master, PollFlags::IN), PollFd::from_borrowed_fd(launched.end_fd(), PollFlags::IN)];
        assert!(poll(&mut polled, Some(&DEADLINE)).unwrap() > 0, "nothing within the deadline");
        let has_text = polled[0].revents().contains(PollFlags::IN);
        let has_end = !polled[1].revents().is_empty();
        if has_text {
            read_some(master, &mut text);
        } else if has_end {
            break launched.end().unwrap();
        } else {
            // The terminal's last user has closed it; the end is on its way.
            let mut polled = [PollFd::from_borrowed_fd(launched.end_fd(), PollFlags::IN)];
            assert!(poll(&mut polled, Some(&DEADLINE)).unwrap() > 0, "no end within the deadline");
        }
    };
    Ran { end, text: String::from_utf8_lossy(&text).replace('\r', "") }
}

fn read_some(master: &rustix::fd::OwnedFd, text: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    if let Ok(bytes) = rustix::io::read(master, &mut buffer) {
        text.extend_from_slice(&buffer[..bytes]);
    }
}

/// Reads the terminal until it shows `wanted`.
pub fn read_until(launched: &Launched, wanted: &str) {
    let mut text = Vec::new();
    let master = launched.pty_master.as_ref().unwrap();
    while !String::from_utf8_lossy(&text).contains(wanted) {
        assert!(poll(&mut [PollFd::new(master, PollFlags::IN)], Some(&DEADLINE)).unwrap() > 0, "no `{wanted}` in time");
        read_some(master, &mut text);
    }
}

/// Waits until a process, by its pidfd, has ended.
pub fn wait_gone(pidfd: &rustix::fd::OwnedFd) {
    assert!(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&DEADLINE)).unwrap() > 0, "still alive");
}

/// What the mediator's filter denies outright, and nothing of what it mediates: these calls are left to the other layers
/// by the other tests, so only those are here that no other layer stops.
pub fn filter() -> Vec<libc::sock_filter> {
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let denied = [libc::SYS_unshare, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_bpf, libc::SYS_perf_event_open];
    let absent = [libc::SYS_clone3, libc::SYS_io_uring_setup];
    let killing = [libc::SYS_userfaultfd];
    let mut program = vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    let kinds = [
        (&denied[..], libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        (&absent[..], libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        (&killing[..], libc::SECCOMP_RET_KILL_PROCESS),
    ];
    for (calls, action) in kinds {
        for call in calls {
            program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, *call as u32));
            program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action));
        }
    }
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    program
}

pub fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}
