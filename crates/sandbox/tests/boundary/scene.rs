//! quick smoke
use crate::launch;
use crate::spec::*;
use libtest_mimic::Trial;
use std::path::PathBuf;

pub fn enter_if_ordinary() {}

pub fn trials() -> Vec<Trial> {
    vec![Trial::test("smoke", || {
        let dir = tempfile::tempdir().unwrap();
        let p = dir.path().canonicalize().unwrap();
        for d in ["ws", "home", "session", "home/.config"] {
            std::fs::create_dir_all(p.join(d)).unwrap();
        }
        std::fs::write(p.join("ws/a"), "orig").unwrap();
        let spec = Spec {
            argv: std::env::var("CMD").map(|c| vec!["sh".into(), "-c".into(), c.into()]).unwrap_or(vec!["true".into()]),
            env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            cwd: p.join("ws"),
            session_dir: p.join("session"),
            workspace: p.join("ws"),
            home: PathBuf::from(std::env::var("H").unwrap_or(p.join("home").to_str().unwrap().into())),
            home_keep: None,
            hide: vec![],
            protect: vec![],
            expose: vec![],
            limits: Limits { pids_max: Some(500), ..Limits::default() },
            terminal: Terminal::Inherit,
            network: Network::Brokered,
            mediate_reads: false,
            accept_weaker: vec![],
        };
        let filter = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0x7fff0000 }];
        let t = std::time::Instant::now();
        let l = launch::launch(&spec, &filter).map_err(|e| e.to_string())?;
        eprintln!(
            "launch {:?} init {} agent {} weaker {:?} {:?}",
            t.elapsed(),
            l.init_pid,
            l.agent_pid,
            l.weaker,
            l.cgroup
        );
        l.go().unwrap();
        let end = loop {
            let mut fds = [rustix::event::PollFd::from_borrowed_fd(l.end_fd(), rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, None).unwrap();
            if let Some(e) = l.end() {
                break e;
            }
        };
        eprintln!("end {end:?} after {:?}", t.elapsed());
        let t = std::time::Instant::now();
        drop(l);
        eprintln!("drop {:?}", t.elapsed());
        Ok(())
    })]
}
