//! What POSIX says of files, held inside a session: each case of `pjdfstest` (crate of that name, run as a program of its
//! own) must end there as it ends alone for somebody with as few privileges, on an overlay where one can be mounted.

use crate::{Failure, exec};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VERSION: &str = "0.2.2";
/// Cases that end otherwise on any overlay, because of how many names it says that a file may have.
const OF_OVERLAYS: &[&str] = &["link::link_count_max"];
/// An ordinary user, where this runs as root.
const ORDINARY: u32 = 65534;
/// What file systems of Linux have, and two users that each Debian has, for cases that need others.
const SETTINGS: &str = "[features]\nposix_fallocate = {}\nutimensat = {}\nrename_ctime = {}\nutime_now = {}\n\
    [settings]\nnaptime = 0.01\nallow_remount = false\n\
    [dummy_auth]\nentries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]\n";

/// `posix [--no-build] [--pjdfstest PATH] [--flyball PATH]`.
pub(crate) fn posix(arguments: &[String]) -> Result<(), Failure> {
    let (mut may_build, mut suite, mut flyball) = (true, None, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--no-build" => may_build = false,
            "--pjdfstest" => suite = Some(PathBuf::from(rest.next().ok_or("`--pjdfstest` takes a path")?)),
            "--flyball" => flyball = Some(PathBuf::from(rest.next().ok_or("`--flyball` takes a path")?)),
            other => return Err(format!("`{other}` is no option of this chore").into()),
        }
    }
    let Some(suite) = suite.map_or_else(|| tool(may_build), |path| Ok(Some(path)))? else {
        println!("posix: skipped: pjdfstest {VERSION} is not built here (without --no-build it is, in minutes)");
        return Ok(());
    };
    let flyball = exec::flyball(flyball)?;
    let is_root = exec::read(Command::new("id").arg("-u"))?.trim() == "0";
    let users: &[Option<u32>] = if is_root { &[None, Some(ORDINARY)] } else { &[None] };
    let mut differ = Vec::new();
    for uid in users {
        let place = Place::new(&suite, &flyball, *uid, is_root && uid.is_none())?;
        let (alone, inside) = (place.alone()?, place.inside()?);
        let user = if place.is_root { "root without its privileges" } else { "an ordinary user" };
        let other: Vec<String> = alone
            .keys()
            .chain(inside.keys())
            .filter(|case| alone.get(*case) != inside.get(*case))
            .filter(|case| place.is_root || !OF_OVERLAYS.contains(&case.as_str()))
            .map(|case| format!("{case}: alone {:?}, inside {:?}", alone.get(case), inside.get(case)))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let count = |end: &str| inside.values().filter(|found| *found == end).count();
        println!(
            "posix: as {user}: {} cases, of which inside {} ok, {} failed, {} skipped; {} end otherwise than alone",
            inside.len(),
            count("ok"),
            count("FAILED"),
            count("skipped"),
            other.len()
        );
        differ.extend(other);
    }
    if differ.is_empty() { Ok(()) } else { Err(format!("not as alone:\n{}", differ.join("\n")).into()) }
}

/// The suite, built where it may be, in a folder of its own below `target`.
fn tool(may_build: bool) -> Result<Option<PathBuf>, Failure> {
    let folder = exec::root().join("target/tools").join(format!("pjdfstest-{VERSION}"));
    let program = folder.join("bin/pjdfstest");
    if !program.is_file() && may_build {
        let mut command = exec::cargo();
        command.args(["install", "--locked", "--version", VERSION, "pjdfstest", "--root"]).arg(&folder);
        exec::run(command.env("CARGO_TARGET_DIR", folder.join("build")))?;
        let _ = std::fs::remove_dir_all(folder.join("build"));
    }
    Ok(program.is_file().then_some(program))
}

/// A workspace with the suite in it, and folders to try it in alone.
struct Place {
    folder: PathBuf,
    uid: Option<u32>,
    is_root: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.join("merged")).stderr(Stdio::null()).status();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Place {
    fn new(suite: &Path, flyball: &Path, uid: Option<u32>, is_root: bool) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("flyball-posix-{}-{}", std::process::id(), uid.unwrap_or(0)));
        let place = Self { folder, uid, is_root };
        for name in ["workspace", "workspace/tried", "home", "ledger", "alone", "upper", "work", "merged"] {
            std::fs::create_dir_all(place.folder.join(name))?;
        }
        std::fs::copy(suite, place.folder.join("workspace/pjdfstest"))?;
        std::fs::copy(flyball, place.folder.join("flyball"))?;
        std::fs::write(place.folder.join("workspace/settings.toml"), SETTINGS)?;
        // Some cases go on as another user.
        for open in ["", "workspace", "workspace/tried", "alone", "upper", "merged"] {
            std::fs::set_permissions(place.folder.join(open), PermissionsExt::from_mode(0o777))?;
        }
        if let Some(uid) = uid {
            let owner = format!("{uid}:{uid}");
            exec::run(Command::new("chown").args(["-R", &owner]).arg(&place.folder))?;
        }
        exec::run(place.governed(&["init", "--quiet"]).stdout(Stdio::null()).stderr(Stdio::null()))?;
        Ok(place)
    }

    /// As that user, with nothing that a session does not have either.
    fn as_user(&self, is_bare: bool) -> Command {
        let mut command = Command::new("setpriv");
        if let Some(uid) = self.uid {
            let uid = uid.to_string();
            command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
        }
        if is_bare {
            command.arg("--no-new-privs");
        }
        if is_bare && self.is_root {
            command.args(["--bounding-set=-all", "--inh-caps=-all"]);
        }
        command.current_dir(self.folder.join("workspace")).env("HOME", self.folder.join("home"));
        command
    }

    fn governed(&self, words: &[&str]) -> Command {
        let mut command = self.as_user(false);
        command.arg(self.folder.join("flyball")).args(words).env("FLYBALL_HOME", self.folder.join("ledger"));
        command
    }

    fn alone(&self) -> Result<BTreeMap<String, String>, Failure> {
        let [lower, upper, work, merged] = ["alone", "upper", "work", "merged"].map(|name| self.folder.join(name));
        let layers = format!(
            "lowerdir={},upperdir={},workdir={},userxattr,index=off",
            lower.display(),
            upper.display(),
            work.display()
        );
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &layers]).arg(&merged).stderr(Stdio::null());
        let is_mounted = self.is_root && mount.status().is_ok_and(|status| status.success());
        let at = if is_mounted { merged } else { lower };
        let mut command = self.as_user(true);
        ends(command.args(["./pjdfstest", "-c", "settings.toml", "-p"]).arg(at))
    }

    fn inside(&self) -> Result<BTreeMap<String, String>, Failure> {
        let words = ["run", "--apply", "never", "--on-hold", "deny", "--"];
        let suite = ["./pjdfstest", "-c", "settings.toml", "-p", "tried"];
        ends(self.governed(&words).args(suite))
    }
}

/// How each case ended: lines of `NAME   END`. The program itself fails with its cases.
fn ends(command: &mut Command) -> Result<BTreeMap<String, String>, Failure> {
    let told = command.stdin(Stdio::null()).output().map_err(|error| format!("{}: {error}", exec::shown(command)))?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    let end = |line: &str| {
        let (case, end) = line.split_once(' ')?;
        let is_case = case.contains("::") && !case.ends_with(':');
        (is_case && ["ok", "FAILED", "skipped"].contains(&end.trim())).then(|| (case.to_owned(), end.trim().to_owned()))
    };
    let ends: BTreeMap<String, String> = text.lines().filter_map(end).collect();
    if ends.is_empty() { Err(format!("`{}` told of no case: {text}", exec::shown(command)).into()) } else { Ok(ends) }
}
