//! What an agent that wants out tries from inside, against all layers at once. Each attack names the layer that stops it
//! (the trial's kind), and where an errno tells layers apart it is checked: what a rule denies fails with
//! `ENOTRECOVERABLE` here, which nothing else answers with.
//!
//! As root each attack runs twice, each time in a process of its own: once as root, once as an ordinary user. An ordinary user
//! runs them again where user namespaces are taken away (`apart`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    dead_code,
    unused_imports,
    reason = "tests"
)]

mod apart;
mod floods;
mod probes;
mod races;
#[path = "../mediation/scene.rs"]
mod scene;
mod sockets;

use flyball_testkit::lack::Lack;
use flyball_testkit::user::User;
use libtest_mimic::{Arguments, Failed, Trial};
use std::hash::{Hash, Hasher};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Says to a copy of this binary which attack it is to run.
const ONE: &str = "FLYBALL_ATTACK";
/// The folder of the compiled attack programs.
const PROGRAMS: &str = "FLYBALL_ATTACK_PROGRAMS";
/// Who is an ordinary user here.
const NOBODY: u32 = 65534;

/// An attack, the layer that stops it, and what must be true afterwards.
pub type Attack = (&'static str, &'static str, fn());

/// What can't be tried where there are no namespaces, and why.
const NOT_APART: &[(&str, &str)] = &[
    ("a_fork_bomb", "only a control group could limit processes there, and an ordinary user has none here"),
    ("a_thread_bomb", "only a control group could limit processes there, and an ordinary user has none here"),
    ("a_first_write_to_a_large_file", "the workspace is a copy there: a first write copies nothing"),
    ("datagrams_to_a_socket_of_the_hosts_in_sight", "datagrams are refused there whatever is in sight: `apart.rs`"),
];

fn main() {
    flyball_sandbox::enter_if_launcher();
    if let Ok(name) = std::env::var(ONE) {
        let (_, _, attack) = attacks().into_iter().find(|(known, ..)| *known == name).expect("a known attack");
        return attack();
    }
    // SAFETY: asks for a number.
    let is_root = unsafe { libc::geteuid() } == 0;
    let users: &[&'static str] = if is_root { &["root", "ordinary", "apart"] } else { &["ordinary", "apart"] };
    let mut trials = Vec::new();
    for &user in users {
        for (name, layer, _) in attacks() {
            if let Some((_, why)) = NOT_APART.iter().find(|(other, _)| user == "apart" && *other == name) {
                eprintln!("skipped: {user}::{name}: {why}");
                continue;
            }
            if name == probes::ALL || name == apart::ALL {
                continue;
            }
            let trial = Trial::test(format!("{user}::{name}"), move || {
                let output = run(name, user, Stdio::null());
                if output.status.success() { Ok(()) } else { Err(told(&output).into()) }
            });
            trials.push(trial.with_kind(layer));
        }
        trials.extend(probes::trials(user));
    }
    trials.push(apart::trial());
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    if let Some(folder) = FOLDER.get() {
        std::fs::remove_dir_all(folder).unwrap();
    }
    conclusion.exit();
}

fn attacks() -> Vec<Attack> {
    [apart::attacks(), probes::attacks(), races::attacks(), floods::attacks(), sockets::attacks()].concat()
}

/// Runs one attack in a process of that user's.
pub fn run(name: &str, user: &str, stdin: Stdio) -> Output {
    // SAFETY: asks for a number.
    let is_root = unsafe { libc::geteuid() } == 0;
    let mut command = Command::new("/proc/self/exe");
    if user == "apart" {
        let (lack, copy) = machine_apart();
        command = lack.command(copy, Path::new("/"));
        command.env(scene::APART, "1");
    }
    if user != "apart" && name == "the_disk_is_full" && is_root {
        // A file system of its own under the attack's folder, in a mount namespace of its own.
        let copy = programs().join("attacks");
        if !copy.exists() {
            std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        }
        let id = if user == "root" { 0 } else { NOBODY };
        let script = format!(
            "mount -t tmpfs -o size=24m,mode=1777 none /var/tmp && exec setpriv --reuid={id} --regid={id} --clear-groups {}",
            copy.display()
        );
        command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]).env(floods::SMALL_DISK, "1");
    } else if user == "ordinary" && is_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env(ONE, name).env(PROGRAMS, programs()).current_dir("/").stdin(stdin);
    command.output().unwrap()
}

/// A machine that closes user namespaces to the ordinary user whom it drops to, and this binary where that one can run it.
fn machine_apart() -> &'static (Lack, PathBuf) {
    static APART: OnceLock<(Lack, PathBuf)> = OnceLock::new();
    APART.get_or_init(|| {
        let lack = Lack::new(&["user-namespaces"], programs(), programs(), User::ordinary()).unwrap();
        let copy = programs().join("attacks-apart");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        (lack, copy)
    })
}

pub fn told(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Where everybody can run the attack programs. `main` removes it, since one of them makes its user root.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

fn programs() -> &'static Path {
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir_in("/tmp").unwrap().keep();
        open(&folder);
        for (name, source) in [
            ("apart", include_str!("inside/apart.c")),
            ("flood", include_str!("inside/flood.c")),
            ("passed", include_str!("inside/passed.c")),
            ("probe", include_str!("inside/probe.c")),
            ("race", include_str!("inside/race.c")),
        ] {
            std::fs::copy(compiled(name, source), folder.join(name)).unwrap();
        }
        // As root, a program of root's that makes whoever runs it root.
        let setuid = folder.join("setuid");
        std::fs::copy(folder.join("flood"), &setuid).unwrap();
        std::fs::set_permissions(&setuid, std::os::unix::fs::PermissionsExt::from_mode(0o6755)).unwrap();
        folder
    })
}

/// A program, compiled by the first of the test processes that needs it: static, so that no library stands between it and
/// the kernel.
fn compiled(name: &str, source: &str) -> PathBuf {
    let mut hasher = std::hash::DefaultHasher::new();
    source.hash(&mut hasher);
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:016x}", hasher.finish()));
    if !kept.exists() {
        let own = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (file, program) = (own.path().join("attack.c"), own.path().join(name));
        std::fs::write(&file, source).unwrap();
        let options = ["-O1", "-w", "-static", "-pthread", "-o"];
        assert!(Command::new("cc").args(options).arg(&program).arg(&file).status().unwrap().success());
        std::fs::rename(program, &kept).unwrap();
    }
    kept
}

/// Makes a path usable by everybody.
pub fn open(path: &Path) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// A scene with one of the programs in its workspace.
pub fn scene_with(program: &str) -> scene::Scene {
    let scene = scene::Scene::new();
    let from = PathBuf::from(std::env::var_os(PROGRAMS).unwrap()).join(program);
    std::fs::copy(from, scene.workspace().join(program)).unwrap();
    scene
}
