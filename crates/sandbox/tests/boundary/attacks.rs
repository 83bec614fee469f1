//! The attacks, each with what must be true afterwards.

use crate::launch::{self, End, LaunchError, Untested};
use crate::scene::{self, Scene, exe, finish, read, read_until, wait_gone};
use crate::spec::{Limits, Network, Terminal};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

macro_rules! attacks {
    ($($name:ident),* $(,)?) => {
        pub const ALL: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}

attacks![
    the_users_files_stay,
    ends_are_told,
    no_capabilities,
    hidden_files_are_unreadable,
    hidden_files_are_unreadable_by_other_names,
    protected_files_stay,
    the_home_is_only_dot_folders,
    the_session_is_invisible,
    the_host_is_invisible,
    the_system_is_read_only,
    what_proc_tells_of_the_machine_is_closed,
    only_streams_are_inherited,
    the_environment_is_exact,
    pid_one_cannot_be_touched,
    nothing_leaves_without_a_broker,
    the_broker_binds_any_address,
    processes_are_limited,
    everything_dies_with_the_supervisor,
    what_the_agent_left_running_dies,
    a_frozen_tree_can_be_killed,
    a_stopped_tree_goes_on,
    the_terminal_is_private,
    a_signal_reaches_the_foreground,
    a_kept_home_comes_back,
    a_kept_home_cannot_lead_out,
    a_session_has_one_supervisor,
    a_hole_is_found_before_the_start,
    bad_starts_are_told,
    the_agent_alone_stands_in_its_groups,
    nothing_is_left_behind,
    the_doctor_agrees,
];

/// Those that the form of the workspace could make a difference to.
pub const ON_FILES: &[&str] = &[
    "the_users_files_stay",
    "hidden_files_are_unreadable",
    "hidden_files_are_unreadable_by_other_names",
    "protected_files_stay",
    "the_home_is_only_dot_folders",
    "the_session_is_invisible",
    "the_host_is_invisible",
    "the_system_is_read_only",
    "a_kept_home_comes_back",
    "a_kept_home_cannot_lead_out",
    "a_hole_is_found_before_the_start",
    "nothing_is_left_behind",
];

fn the_users_files_stay() {
    let scene = Scene::new();
    let ran = scene.sh("echo changed > file && echo new > new && mkdir d && rm file && echo again > file && echo ok");
    assert!(ran.text.contains("ok"), "{ran:?}");
    assert_eq!(read(scene.path("work/file")), "as it was\n");
    assert_eq!(fs::read_dir(scene.path("work")).unwrap().count(), 1);
    assert_eq!(read(scene.upper("file")), "again\n");
    assert_eq!(read(scene.upper("new")), "new\n");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(scene.upper("")), mode(scene.path("work")), "the workspace keeps its own mode");
}

fn ends_are_told() {
    let scene = Scene::new();
    assert_eq!(scene.sh("exit 7").end, End::Exited(7));
    assert_eq!(scene.sh("kill -TERM $$").end, End::Signalled(15));
    assert_eq!(scene.run(&["true"]).end, End::Exited(0));
    fs::write(scene.path("work/bad"), "\x7fELF").unwrap();
    fs::set_permissions(scene.path("work/bad"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(scene.run(&["./bad"]).end, End::ExecFailed(libc::ENOEXEC));
}

fn no_capabilities() {
    let ran = Scene::new().sh("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status");
    for line in ran.text.lines() {
        let (name, value) = line.split_once(":\t").unwrap();
        let expected = match name {
            "NoNewPrivs" => "1",
            "Seccomp" => "2",
            _ => "0000000000000000",
        };
        assert_eq!(value, expected, "{name}");
    }
    assert_eq!(ran.text.lines().count(), 7, "{}", ran.text);
}

fn hidden_files_are_unreadable() {
    let ran = Scene::new().sh(
        "cat ~/.config/token; cat ~/.ssh/id; ls ~/.ssh; chmod 600 ~/.config/token && cat ~/.config/token; \
         mv ~/.config/token ~/.config/t && cat ~/.config/t; ln ~/.config/token ~/.config/t && cat ~/.config/t; \
         mv ~/.config ~/c; cat ~/c/token; cat ~/.config/plain",
    );
    assert!(!ran.text.contains("hunter2"), "{}", ran.text);
    assert!(ran.text.ends_with("plain\n"), "what is not hidden is there: {}", ran.text);
}

fn hidden_files_are_unreadable_by_other_names() {
    let mut scene = Scene::new();
    symlink(scene.path("home/.config/token"), scene.path("home/.token")).unwrap();
    symlink(scene.path("home/.ssh"), scene.path("home/.keys")).unwrap();
    symlink(scene.path("home/.config"), scene.path("home/.conf")).unwrap();
    fs::create_dir_all(scene.path("home/vault")).unwrap();
    fs::write(scene.path("home/vault/key"), "hunter2").unwrap();
    symlink(scene.path("home/vault"), scene.path("home/.vault")).unwrap();
    // Named by one way, reachable by another.
    scene.spec.hide.push(scene.path("home/.vault"));
    fs::create_dir_all(scene.path("work/secrets")).unwrap();
    fs::write(scene.path("work/secrets/key"), "hunter2").unwrap();
    symlink(scene.path("work/secrets"), scene.path("work/s")).unwrap();
    scene.spec.hide.push(scene.path("work/s/key"));
    let ran = scene.sh("cat ~/.token ~/.keys/id ~/.conf/token ~/.vault/key ~/vault/key secrets/key s/key; \
         mv secrets z; cat z/key; cp -r secrets y; cat y/key; echo end");
    assert!(!ran.text.contains("hunter2") && ran.text.ends_with("end\n"), "{}", ran.text);
}

fn protected_files_stay() {
    let mut scene = Scene::new();
    fs::create_dir_all(scene.path("work/.flyball")).unwrap();
    fs::write(scene.path("work/.flyball/charter.toml"), "the charter\n").unwrap();
    fs::write(scene.path("work/rules"), "the rules\n").unwrap();
    scene.spec.protect = vec![scene.path("work/.flyball"), scene.path("work/rules")];
    let ran = scene.sh(
        "exec </dev/null; echo x > .flyball/charter.toml; echo x >> rules; rm -rf .flyball; rm -f rules; mv .flyball f; mv rules r; \
         echo x > new; mv new rules; ln -sf new rules; mkdir d; mv -T d .flyball; chmod 777 rules; truncate -s0 rules; \
         touch .flyball/more; cat .flyball/charter.toml rules; ls .flyball",
    );
    assert!(ran.text.ends_with("the charter\nthe rules\ncharter.toml\n"), "{}", ran.text);
}

fn the_home_is_only_dot_folders() {
    let scene = Scene::new();
    fs::write(scene.path("home/.bash_history"), "hunter2").unwrap();
    let ran = scene.sh(
        "ls -A ~; cat ~/documents/letter ~/.bash_history; cat ~/.profile; echo x > ~/.profile; echo y > ~/.config/plain; \
         cat ~/.profile ~/.config/plain",
    );
    assert!(!ran.text.contains("hunter2"), "{}", ran.text);
    assert!(ran.text.ends_with("profile\nx\ny\n"), "{}", ran.text);
    assert_eq!(read(scene.path("home/.profile")), "profile\n");
    assert_eq!(read(scene.path("home/.config/plain")), "plain\n");
}

fn the_session_is_invisible() {
    let mut scene = Scene::new();
    // As by default: below the home, in a folder that others share.
    let ledger = scene.path("home/.local/share/flyball");
    fs::create_dir_all(ledger.join("session")).unwrap();
    fs::write(ledger.join("key"), "hunter2").unwrap();
    fs::create_dir_all(scene.path("home/.local/share/fonts")).unwrap();
    scene.spec.session_dir = ledger.join("session");
    let ran = scene.sh("ls -A ~/.local/share; cat ~/.local/share/flyball/key; ls ~/.local/share/flyball");
    assert!(ran.text.starts_with("fonts\n") && !ran.text.contains("hunter2"), "{}", ran.text);
    let scene = Scene::new();
    assert!(scene.sh("ls -A $LEDGER || echo none").text.ends_with("none\n"));
}

fn the_host_is_invisible() {
    let scene = Scene::new();
    let _socket = std::os::unix::net::UnixListener::bind(scene.path("socket")).unwrap();
    use std::os::linux::net::SocketAddrExt;
    let name = format!("flyball-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let ran = scene.sh(&format!(
        "ls -A /run /var/run /tmp /var/tmp; test -e {} && echo socket; ls /home /root /mnt /srv /boot 2>/dev/null; \
         ls /proc | grep -c '^[0-9]'; ls -d /sys/fs/cgroup /sys/kernel /dev/vd* /dev/sd* /dev/mem /dev/kvm 2>/dev/null",
        scene.path("socket").display(),
    ));
    assert!(!ran.text.contains("socket") && !ran.text.contains("/sys") && !ran.text.contains("/dev"), "{}", ran.text);
    let processes: usize = ran.text.lines().last().unwrap().parse().unwrap();
    assert!(processes <= 4, "pid 1, sh, ls, grep: {}", ran.text);
    assert_eq!(scene.program(&["abstract", &name]).text, "abstract: false\n");
}

fn the_system_is_read_only() {
    let ran = Scene::new().sh(
        "for f in /usr/x /etc/x /bin/x /x /dev/x /proc/sys/kernel/hostname /proc/sys/kernel/core_pattern; do \
         echo x > $f && echo wrote $f; done; cat /etc/shadow | head -1; mount -t tmpfs none /tmp && echo mounted; \
         umount /proc/sys && echo unmounted; echo x > /tmp/x && echo x > /dev/shm/x && echo x > /dev/null && echo private",
    );
    for word in ["wrote", "root:", "mounted"] {
        assert!(!ran.text.contains(word), "{word}: {}", ran.text);
    }
    assert!(ran.text.ends_with("private\n"), "{}", ran.text);
}

fn what_proc_tells_of_the_machine_is_closed() {
    let script = "for f in keys key-users interrupts timer_list kmsg kpagecount; do cat /proc/$f && echo read $f; done; \
         ls /proc/acpi | grep . && echo listed; for f in sys/kernel/hostname irq/default_smp_affinity; do \
         echo x > /proc/$f && echo wrote $f; done; echo end";
    // Also where a charter lays parts of the host's over it.
    for exposed in [&[] as &[&str], &["/proc/keys", "/proc/interrupts", "/proc/sys"]] {
        let mut scene = Scene::new();
        scene.spec.expose = exposed.iter().map(PathBuf::from).collect();
        let ran = scene.sh(script);
        for word in ["read ", "listed", "wrote "] {
            assert!(!ran.text.contains(word), "{exposed:?}, {word}: {}", ran.text);
        }
        assert!(ran.text.ends_with("end\n"), "{exposed:?}: {}", ran.text);
    }
}

fn only_streams_are_inherited() {
    let scene = Scene::new();
    // A descriptor that any careless exec would pass on.
    let leak = fs::File::open("/etc").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let ran = scene.run(&["ls", "/proc/self/fd"]);
    assert_eq!(ran.text.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "3 is ls's own");
}

fn the_environment_is_exact() {
    let mut scene = Scene::new();
    scene.spec.env = vec![("PATH".into(), "/usr/bin:/bin".into()), ("A".into(), "b=c d".into())];
    assert_eq!(scene.run(&["env"]).text, "PATH=/usr/bin:/bin\nA=b=c d\n");
}

fn pid_one_cannot_be_touched() {
    let ran = Scene::new().sh(
        "kill -KILL 1; kill -STOP 1; kill -TERM 1; cat /proc/1/environ | head -c1 | grep . ; ls /proc/1/fd; ls /proc/1/root; \
         cat /proc/1/maps | head -1; readlink /proc/1/exe; echo alive",
    );
    assert!(ran.text.ends_with("alive\n"), "{}", ran.text);
    assert!(!ran.text.contains("usr\n") && !ran.text.contains("r-xp") && !ran.text.contains("r--p"), "{}", ran.text);
    assert_eq!(ran.end, End::Exited(0));
}

fn nothing_leaves_without_a_broker() {
    // Something that listens on the host's loopback, and must not be reached.
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = host.local_addr().unwrap().to_string();
    let mut scene = Scene::new();
    assert_eq!(scene.program(&["connect", &address]).text, "refused: Some(111)\n");
    assert_eq!(scene.program(&["connect", "192.0.2.1:443"]).text, "refused: Some(111)\n");
    scene.spec.network = Network::Closed;
    assert_eq!(scene.program(&["connect", &address]).text, "refused: Some(111)\n");
    assert_eq!(scene.program(&["connect", "192.0.2.1:443"]).text, "refused: Some(101)\n");
    assert_eq!(scene.program(&["send", "192.0.2.1:53"]).text, "sent: Err(Some(101))\n");
}

fn the_broker_binds_any_address() {
    let scene = Scene::new();
    let exe = exe();
    for address in ["203.0.113.7:80", "[2001:db8::7]:443", "127.0.0.1:22"] {
        let launched = scene.start(&[exe.to_str().unwrap(), "--inside", "connect", address]).unwrap();
        let listener = std::net::TcpListener::from(launched.net.listen(address.parse().unwrap()).unwrap());
        launched.go().unwrap();
        let ran = finish(&launched);
        assert_eq!(ran.text, format!("connected to {address}\n"));
        assert_eq!(listener.accept().unwrap().0.local_addr().unwrap(), address.parse().unwrap());
    }
    let dns = std::net::SocketAddr::from((launch::DNS_ADDRESS, 53));
    let launched = scene.start(&["cat", "/etc/resolv.conf"]).unwrap();
    let socket = std::net::UdpSocket::from(launched.net.bind_udp(dns).unwrap());
    assert_eq!(socket.local_addr().unwrap(), dns);
    launched.go().unwrap();
    assert!(finish(&launched).text.contains("nameserver 198.18.0.1\n"));
}

fn processes_are_limited() {
    let mut scene = Scene::new();
    scene.spec.limits = Limits { pids_max: Some(20), ..Limits::default() };
    let ran = scene.program(&["fork", "100"]);
    let count: usize = ran.text.trim().strip_prefix("forked ").unwrap().parse().unwrap();
    assert!((10..=20).contains(&count), "{count}");
}

fn everything_dies_with_the_supervisor() {
    if std::env::var_os("FLYBALL_BOUNDARY_VICTIM").is_some() {
        let scene = Scene::new();
        let launched = scene.start(&["sh", "-c", "setsid sleep 1000 & echo started; sleep 1000"]).unwrap();
        launched.go().unwrap();
        read_until(&launched, "started");
        println!("{} {} {}", launched.init_pid, launched.agent_pid, scene.path("").display());
        loop {
            std::thread::park();
        }
    }
    let mut supervisor = Command::new("/proc/self/exe")
        .env(crate::ONE, "everything_dies_with_the_supervisor")
        .env("FLYBALL_BOUNDARY_VICTIM", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(supervisor.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let fields: Vec<&str> = line.split_whitespace().collect();
    let pidfds =
        [0, 1].map(|at| pidfd_open(Pid::from_raw(fields[at].parse().unwrap()).unwrap(), PidfdFlags::empty()).unwrap());
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    pidfds.iter().for_each(wait_gone);
    let _ = fs::remove_dir_all(fields[2]);
}

fn what_the_agent_left_running_dies() {
    let scene = Scene::new();
    let launched = scene.start(&["sh", "-c", "setsid sleep 1000 & exit 3"]).unwrap();
    launched.go().unwrap();
    assert_eq!(finish(&launched).end, End::Exited(3));
    wait_gone(&launched.init);
}

fn a_frozen_tree_can_be_killed() {
    let scene = Scene::new();
    let launched = scene.start(&["sh", "-c", "for i in 1 2 3 4 5; do sleep 1000 & done; echo started; wait"]).unwrap();
    launched.go().unwrap();
    read_until(&launched, "started");
    match &launched.cgroup {
        Some(cgroup) if cgroup.has_freezer() => cgroup.freeze(|| ()).unwrap(),
        _ => launched.stop_all().unwrap(),
    }
    assert!(launched.end().is_none());
    launched.kill_all();
    wait_gone(&launched.init);
    // Pid 1 may see the agent die before it dies itself.
    let end = launched.end();
    assert!(matches!(end, Some(End::Killed | End::Signalled(libc::SIGKILL))), "{end:?}");
}

fn a_stopped_tree_goes_on() {
    let scene = Scene::new();
    let launched = scene.start(&["sh", "-c", "echo started; read line; echo got $line"]).unwrap();
    launched.go().unwrap();
    read_until(&launched, "started");
    launched.stop_all().unwrap();
    rustix::io::write(launched.pty_master.as_ref().unwrap(), b"a line\n").unwrap();
    launched.cont_all().unwrap();
    assert!(finish(&launched).text.contains("got a line"));
    drop(launched);
    let launched = scene.start(&["sh", "-c", "echo started; read line; echo got $line"]).unwrap();
    launched.go().unwrap();
    read_until(&launched, "started");
    if let Some(cgroup) = launched.cgroup.as_ref().filter(|cgroup| cgroup.has_freezer()) {
        cgroup.freeze(|| ()).unwrap();
        rustix::io::write(launched.pty_master.as_ref().unwrap(), b"a line\n").unwrap();
        cgroup.thaw().unwrap();
        assert!(finish(&launched).text.contains("got a line"));
    }
}

fn the_terminal_is_private() {
    let ran = Scene::new()
        .sh("tty; stty size; ls -1 /dev/pts; test -t 0 && test -t 1 && test -t 2 && echo terminal > /dev/tty");
    assert_eq!(ran.text, "/dev/pts/0\n24 200\n0\nptmx\nterminal\n");
    let mut scene = Scene::new();
    scene.spec.terminal = Terminal::Inherit;
    let launched = scene.start(&["sh", "-c", "echo x > /dev/tty"]).unwrap();
    assert!(launched.pty_master.is_none());
}

fn a_signal_reaches_the_foreground() {
    let scene = Scene::new();
    let launched = scene
        .start(&["sh", "-c", "trap 'echo caught; exit 5' INT; echo started; while :; do sleep 0.1; done"])
        .unwrap();
    launched.go().unwrap();
    read_until(&launched, "started");
    launched.signal(libc::SIGINT).unwrap();
    let ran = finish(&launched);
    assert_eq!((ran.end, ran.text.contains("caught")), (End::Exited(5), true), "{}", ran.text);
}

fn a_kept_home_comes_back() {
    let mut scene = Scene::new();
    scene.sh("echo mine > ~/.mine; echo mine > ~/.config/mine");
    assert_eq!(scene.sh("cat ~/.mine ~/.config/mine").text, "mine\nmine\n", "within the session");
    scene.spec.session_dir = scene.path("ledger/second");
    assert!(
        scene.sh("cat ~/.mine ~/.config/mine || echo gone").text.ends_with("gone\n"),
        "thrown away with the session"
    );
    scene.spec.home_keep = Some(scene.path("ledger/homes/agent"));
    scene.sh("echo mine > ~/.mine; echo mine > ~/.config/mine");
    scene.spec.session_dir = scene.path("ledger/other");
    assert_eq!(scene.sh("cat ~/.mine ~/.config/mine").text, "mine\nmine\n");
    assert!(!scene.path("home/.mine").exists() && !scene.path("home/.config/mine").exists());
}

fn a_kept_home_cannot_lead_out() {
    let mut scene = Scene::new();
    scene.spec.home_keep = Some(scene.path("ledger/homes/agent"));
    fs::create_dir_all(scene.path("ledger/homes/agent/top")).unwrap();
    fs::create_dir_all(scene.path("outside")).unwrap();
    // As an agent of an earlier session could have left them.
    symlink(scene.path("outside"), scene.path("ledger/homes/agent/top/.config")).unwrap();
    symlink(scene.path("outside"), scene.path("ledger/homes/agent/top/.local")).unwrap();
    symlink(scene.path("outside/profile"), scene.path("ledger/homes/agent/top/.profile")).unwrap();
    fs::create_dir_all(scene.path("home/.local/share/x")).unwrap();
    assert_eq!(scene.run(&["true"]).end, End::Exited(0));
    assert_eq!(fs::read_dir(scene.path("outside")).unwrap().count(), 0);
}

fn a_session_has_one_supervisor() {
    let scene = Scene::new();
    let _first = scene.start(&["sleep", "1000"]).unwrap();
    assert_eq!(scene.refusal().code(), "FB0214");
}

fn a_hole_is_found_before_the_start() {
    let mut scene = Scene::new();
    scene.spec.argv = vec!["true".into()];
    let allow =
        [libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
    let error = launch::launch(&scene.spec, &allow, false, None).and_then(Untested::tested).unwrap_err();
    assert!(matches!(&error, LaunchError::SelfTest { what } if what == "make a user namespace"), "{error}");
}

fn bad_starts_are_told() {
    let check = |change: &dyn Fn(&mut Scene), code: &str| {
        let mut scene = Scene::new();
        change(&mut scene);
        let error = scene.refusal();
        assert_eq!(error.code(), code, "{error}");
        assert!(!error.hint().is_empty());
        assert_eq!(read(scene.path("work/file")), "as it was\n");
    };
    check(&|scene| scene.spec.workspace = scene.path("none"), "FB0200");
    check(&|scene| scene.spec.workspace = scene.path("work/file"), "FB0201");
    check(&|scene| scene.spec.session_dir = scene.path("work/session"), "FB0205");
    check(&|scene| scene.spec.session_dir = scene.path("work/file/session"), "FB0205");
    check(&|scene| scene.spec.session_dir = "/proc/session".into(), "FB0203");
    check(&|scene| scene.spec.cwd = scene.path("home"), "FB0208");
    check(&|scene| scene.spec.hide.push("relative".into()), "FB0209");
    check(&|scene| scene.spec.env.push(("A".into(), "b\0c".into())), "FB0209");

    let scene = Scene::new();
    let code = |argv: &[&str]| scene.start(argv).map(|_| ()).unwrap_err().code();
    assert_eq!(code(&["no-such-program"]), "FB0206");
    assert_eq!(code(&["./no-such-program"]), "FB0206");
    assert_eq!(code(&["./file"]), "FB0207");
    assert_eq!(code(&["."]), "FB0207");
    assert_eq!(code(&["./"]), "FB0207");
    assert_eq!(code(&[]), "FB0209");
}

fn the_agent_alone_stands_in_its_groups() {
    let scene = Scene::new();
    let launched = scene.start(&["true"]).unwrap();
    let groups = launched.cgroup.as_ref().map(|cgroup| cgroup.groups().to_vec()).unwrap_or_default();
    for group in groups {
        let members = read(group.join("cgroup.procs").to_str().unwrap());
        assert_eq!(members.lines().collect::<Vec<_>>(), [launched.agent_pid.to_string()], "{}", group.display());
    }
}

fn nothing_is_left_behind() {
    let scene = Scene::new();
    let launched = scene.start(&["sh", "-c", "mkdir -p a/b && chmod 0 a; sleep 1000"]).unwrap();
    launched.go().unwrap();
    let groups = launched.cgroup.as_ref().map(|cgroup| cgroup.groups().to_vec()).unwrap_or_default();
    let init = pidfd_open(Pid::from_raw(launched.init_pid).unwrap(), PidfdFlags::empty()).unwrap();
    drop(launched);
    wait_gone(&init);
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
    launch::remove_session_dir(&scene.spec.session_dir).unwrap();
    assert!(!scene.spec.session_dir.exists());
    let mounts = read("/proc/self/mountinfo");
    assert!(!mounts.contains(scene.path("").to_str().unwrap()), "{mounts}");
}

fn the_doctor_agrees() {
    let scene = Scene::new();
    let findings = crate::doctor::doctor(&scene.path("ledger"));
    // The other tests ran here, so everything that they need is there; and what isn't there says how to mend it.
    for finding in &findings {
        assert!(finding.ok || !finding.required, "{finding:?}");
        assert_eq!(finding.ok, finding.remedy.is_empty(), "{finding:?}");
    }
    assert_eq!(fs::read_dir(scene.path("ledger")).unwrap().count(), 1, "only the session's folder");
    let finding =
        crate::doctor::doctor("/proc/none".as_ref()).into_iter().find(|finding| finding.feature == "session folder");
    assert!(!finding.unwrap().ok);
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{findings:#?}");
    }
}
