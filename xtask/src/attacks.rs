//! Other people's attacks: each of the named ones of `syd-test-do` (crate `syd`, GPL-3.0: built and run as a program of its
//! own, never linked, nothing of it copied), tried inside a session. How each ended is held against `verdicts.tsv`;
//! what that table does not expect is open. The whole is published in docs/attacks.md.

mod page;

use crate::{Failure, exec};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const SYD_VERSION: &str = "3.59.0";
/// Attacks of one session, one after another; a session that one of them ends is tried again one by one.
const BATCH: usize = 16;
/// What one attack may take; those that race would go on for minutes.
const ATTACK_S: u64 = 8;
const SESSIONS_AT_ONCE: usize = 3;
/// They take whatever there is; tests of our own are about that, with limits.
const NOT_RUN: &[&str] = &["alloc", "fork_bomb", "fork_bomb_asm", "thread_bomb", "syscall_fuzz"];

/// Whom they are tried as where this runs as root: root, and an ordinary user.
const ORDINARY: u32 = 65534;

/// How one attack ended.
pub(crate) struct Ended {
    pub(crate) name: String,
    /// As whom it was tried.
    pub(crate) user: &'static str,
    /// The program's exit code; `None` when it took the session with it.
    pub(crate) code: Option<i32>,
    /// The last that it said.
    pub(crate) said: String,
}

/// `attacks [--no-build] [--syd PATH] [--flyball PATH] [--only root|ordinary] [NAME…]`: with names, or as one user only, nothing
/// is written.
pub(crate) fn attacks(arguments: &[String]) -> Result<(), Failure> {
    let (mut may_build, mut syd, mut flyball, mut only, mut wanted) = (true, None, None, None, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--no-build" => may_build = false,
            "--syd" => syd = Some(PathBuf::from(rest.next().ok_or("`--syd` takes a path")?)),
            "--flyball" => flyball = Some(PathBuf::from(rest.next().ok_or("`--flyball` takes a path")?)),
            "--only" => only = Some(rest.next().ok_or("`--only` takes `root` or `ordinary`")?.clone()),
            name => wanted.push(name.to_owned()),
        }
    }
    let is_root = exec::read(Command::new("id").arg("-u"))?.trim() == "0";
    let users: Vec<Option<u32>> = match only.as_deref() {
        Some("root") => vec![None],
        Some("ordinary") if is_root => vec![Some(ORDINARY)],
        None if is_root => vec![None, Some(ORDINARY)],
        // Whoever this runs as is one.
        _ => vec![None],
    };
    let syd = match syd {
        Some(path) => path,
        None => match tool(may_build)? {
            Some(path) => path,
            None => {
                println!(
                    "attacks: skipped: syd-test-do {SYD_VERSION} is not built here (without --no-build it is, in minutes)"
                );
                return Ok(());
            }
        },
    };
    let flyball = exec::flyball(flyball)?;
    let is_all = wanted.is_empty();
    let is_whole = is_all && users.len() == 2;
    let names: Vec<String> = names(&syd)?.into_iter().filter(|name| is_all || wanted.contains(name)).collect();
    let (left_out, names): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| NOT_RUN.contains(&&**name));
    let mut ended = Vec::new();
    for uid in users {
        let user = if is_root && uid.is_none() { "root" } else { "ordinary" };
        ended.extend(Place::new(&flyball, &syd, uid)?.run(user, &names));
        ended.extend(left_out.iter().map(|name| Ended { name: name.clone(), user, code: None, said: String::new() }));
    }
    ended.sort_by(|one, other| (&one.name, other.user).cmp(&(&other.name, one.user)));
    let report = page::report(&ended)?;
    if is_whole {
        let file = exec::root().join("docs/attacks.md");
        std::fs::write(&file, &report.page).map_err(|error| format!("`{}`: {error}", file.display()))?;
        println!("attacks: {}; written to {}", report.counts, file.display());
    } else {
        for one in &ended {
            println!("{} as {}: {:?}: {}", one.name, one.user, one.code, one.said);
        }
    }
    if report.open.is_empty() { Ok(()) } else { Err(format!("open: {}", report.open.join(", ")).into()) }
}

/// The program, built where it may be. A folder of its own below `target`, which no commit holds.
fn tool(may_build: bool) -> Result<Option<PathBuf>, Failure> {
    let folder = exec::root().join("target/tools").join(format!("syd-{SYD_VERSION}"));
    let program = folder.join("bin/syd-test-do");
    if program.is_file() || !may_build {
        return Ok(program.is_file().then_some(program));
    }
    // Its allocator is C23, which compilers before gcc 14 and clang 18 don't read; and it links libseccomp.
    let clang = ["clang-19", "clang-20", "clang-18"].into_iter().find(|name| exec::has(name));
    let mut command = exec::cargo();
    command.args(["install", "--locked", "--version", SYD_VERSION, "--bin", "syd-test-do", "--root"]).arg(&folder);
    command.arg("syd").env("CARGO_TARGET_DIR", folder.join("build"));
    if let Some(clang) = clang {
        command.env("CC", clang).env("CXX", clang.replace("clang", "clang++"));
    }
    exec::run(&mut command).map_err(|failure| {
        format!("{failure}; it needs libseccomp-dev and a compiler for C23 (Debian: libseccomp-dev, clang-19)")
    })?;
    let _ = std::fs::remove_dir_all(folder.join("build"));
    Ok(Some(program))
}

/// The attacks' names, as the program lists them: `NUMBER: NAME  WHAT`.
fn names(syd: &Path) -> Result<Vec<String>, Failure> {
    let told = exec::read(Command::new(syd).arg("--list"))?;
    let name = |line: &str| {
        let (number, rest) = line.trim_start().split_once(": ")?;
        number.parse::<u32>().ok()?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    let names: Vec<String> = told.lines().filter_map(name).collect();
    if names.is_empty() { Err(format!("`{}` lists no attacks", syd.display()).into()) } else { Ok(names) }
}

/// A repository to run in, whose charter hides the file that the attacks are after.
struct Place {
    folder: PathBuf,
    flyball: PathBuf,
    uid: Option<u32>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Place {
    fn new(flyball: &Path, syd: &Path, uid: Option<u32>) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("flyball-attacks-{}-{}", std::process::id(), uid.unwrap_or(0)));
        // Where that user can run it.
        let place = Self { flyball: folder.join("bin/flyball"), folder, uid };
        for name in ["workspace", "home", "ledger", "bin"] {
            std::fs::create_dir_all(place.folder.join(name))?;
        }
        let bin = place.folder.join("bin");
        std::fs::copy(syd, bin.join("syd-test-do"))?;
        std::fs::copy(flyball, &place.flyball).map_err(|error| format!("`{}`: {error}", flyball.display()))?;
        place.hand_over()?;
        exec::run(place.of_user(Path::new("git")).args(["init", "-q"]).arg(place.folder.join("workspace")))?;
        exec::run(place.command(&["init", "--quiet"]).stdout(Stdio::null()).stderr(Stdio::null()))?;
        let charter = place.folder.join("workspace/.flyball/charter.toml");
        let mut text = std::fs::read_to_string(&charter)?;
        // What one of them is not to make.
        let rule = "@id(\"denied\") @owner(\"maintainer\") @reason(\"An attack's file.\")\n\
                    forbid (principal, action == Action::\"fs.write\", resource) when { resource.path like \"*deny.syd-tmp\" };\n\
                    @id(\"denied-program\") @owner(\"maintainer\") @reason(\"An attack's program.\")\n\
                    forbid (principal, action == Action::\"process.exec\", resource) when { resource.program like \"*toctou_exec\" };\n";
        std::fs::write(place.folder.join("workspace/.flyball/attacks.cedar"), rule)?;
        let program = bin.join("syd-test-do");
        text.push_str(&format!("\n[sandbox]\nhide = [\"/etc/passwd\"]\nexpose = [\"{}\"]\n", program.display()));
        std::fs::write(&charter, text)?;
        place.hand_over()?;
        Ok(place)
    }

    /// All of it belongs to whom the attacks are tried as.
    fn hand_over(&self) -> Result<(), Failure> {
        let Some(uid) = self.uid else { return Ok(()) };
        let mut open = vec![self.folder.clone()];
        while let Some(path) = open.pop() {
            std::os::unix::fs::lchown(&path, Some(uid), Some(uid))?;
            if std::fs::symlink_metadata(&path)?.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    open.push(entry?.path());
                }
            }
        }
        Ok(())
    }

    fn of_user(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(uid) = self.uid {
            std::os::unix::process::CommandExt::gid(&mut command, uid);
            std::os::unix::process::CommandExt::uid(&mut command, uid);
        }
        command.env("HOME", self.folder.join("home"));
        command
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.of_user(&self.flyball);
        command.args(words).env("FLYBALL_HOME", self.folder.join("ledger")).stdin(Stdio::null());
        command.current_dir(self.folder.join("workspace"));
        command
    }

    fn run(&self, user: &'static str, names: &[String]) -> Vec<Ended> {
        let batches = Mutex::new(names.chunks(BATCH).map(<[String]>::to_vec).collect::<Vec<_>>());
        let ended = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..SESSIONS_AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let Some(batch) = batches.lock().ok().and_then(|mut all| all.pop()) else { return };
                        let mut got = self.session(user, &batch);
                        if batch.len() > 1 && got.iter().any(|one| one.code.is_none()) {
                            // One of them ended the session: the others have nothing to do with it.
                            got = batch.iter().flat_map(|one| self.session(user, std::slice::from_ref(one))).collect();
                        }
                        eprint!(".");
                        if let Ok(mut ended) = ended.lock() {
                            ended.extend(got.into_iter().map(|one| (one.name.clone(), one)));
                        }
                    }
                });
            }
        });
        eprintln!();
        ended.into_inner().map(|ended| ended.into_values().collect()).unwrap_or_default()
    }

    /// One session that tries these.
    fn session(&self, user: &'static str, names: &[String]) -> Vec<Ended> {
        let program = self.folder.join("bin/syd-test-do");
        let mut script = "mkdir w; ".to_owned();
        for name in names {
            script.push_str(&format!(
                "mkdir -p w/{name}; echo; echo '@@ {name}'; (cd w/{name} && SYD_TEST_DO={name} timeout -k 1 {ATTACK_S} {} \
                 >../out 2>&1 </dev/null); echo \"code $?\"; tail -c 400 w/out; ",
                program.display()
            ));
        }
        let mut command = self.command(&["run", "--apply", "never", "--on-hold", "deny", "--", "sh", "-c", &script]);
        // A record of its own, thrown away: what attacks write is large, and kept with it.
        let ledger = self.folder.join(format!("ledger-{}", names.first().map_or("none", String::as_str)));
        command.env("FLYBALL_HOME", &ledger);
        let until = Duration::from_secs(60 + (ATTACK_S + 2) * names.len() as u64);
        let told = until_deadline(command.stdout(Stdio::piped()).stderr(Stdio::null()), until);
        let _ = std::fs::remove_dir_all(&ledger);
        let told = String::from_utf8_lossy(&told);
        let of = |name: &str| {
            let (_, after) = told.split_once(&format!("@@ {name}\n"))?;
            let own = after.split("\n@@ ").next()?;
            let (code, said) = own.strip_prefix("code ")?.split_once('\n')?;
            Some((code.trim().parse::<i32>().ok()?, said.to_owned()))
        };
        let last = |said: &str| {
            // Colours: an escape reaches to the next `m`.
            let mut parts = said.split("\u{1b}[");
            let first = parts.next().unwrap_or_default().to_owned();
            let rest = parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest));
            let line = (first + &rest.collect::<String>())
                .lines()
                .rev()
                .find(|line| !line.trim().is_empty() && !line.starts_with("note: "))
                .map(str::to_owned);
            line.unwrap_or_default().chars().take(120).collect::<String>()
        };
        let ended = |name: &String| match of(name) {
            Some((code, said)) => Ended { name: name.clone(), user, code: Some(code), said: last(&said) },
            None => Ended { name: name.clone(), user, code: None, said: String::new() },
        };
        names.iter().map(ended).collect()
    }
}

/// What a command wrote until it ended, or until it was ended because it took too long.
fn until_deadline(command: &mut Command, until: Duration) -> Vec<u8> {
    let Ok(mut child) = command.spawn() else { return Vec::new() };
    let Some(mut out) = child.stdout.take() else { return Vec::new() };
    let reader = std::thread::spawn(move || {
        let mut told = Vec::new();
        let _ = std::io::Read::read_to_end(&mut out, &mut told);
        told
    });
    let since = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if since.elapsed() > until {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    reader.join().unwrap_or_default()
}
