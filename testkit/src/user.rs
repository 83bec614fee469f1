//! Who a test runs as. A root test machine proves both: root itself, and an ordinary user without any capability.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kernel's overflow user: in every passwd file, owner of nothing.
const NOBODY: u32 = 65_534;

/// An account that a test can run programs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The account that runs the tests.
    pub fn current() -> Self {
        // A process's own folder in /proc belongs to it; asking so needs no unsafe call.
        let (uid, gid) = std::fs::metadata("/proc/self").map_or((NOBODY, NOBODY), |found| (found.uid(), found.gid()));
        Self { uid, gid }
    }

    /// An ordinary user: `nobody` where the tests run as root, else the account itself.
    pub fn ordinary() -> Self {
        let current = Self::current();
        if current.is_root() { Self { uid: NOBODY, gid: NOBODY } } else { current }
    }

    /// Every kind of user that a test can be here: root and an ordinary one, or only an ordinary one.
    pub fn each() -> Vec<Self> {
        let (current, ordinary) = (Self::current(), Self::ordinary());
        if current == ordinary { vec![ordinary] } else { vec![current, ordinary] }
    }

    /// Whether this is user 0.
    pub fn is_root(self) -> bool {
        self.uid == 0
    }

    /// The user's number.
    pub fn uid(self) -> u32 {
        self.uid
    }

    /// The user's group's number.
    pub fn gid(self) -> u32 {
        self.gid
    }

    /// `root` or `user`, for a test's name.
    pub fn kind(self) -> &'static str {
        if self.is_root() { "root" } else { "user" }
    }

    /// A command that runs as this user, in an environment of only PATH, HOME, TERM and LANG.
    pub fn command(self, program: impl AsRef<OsStr>, home: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear();
        for name in ["PATH", "TERM", "LANG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", home);
        if self != Self::current() {
            // Root's supplementary groups go with its uid: std drops them when the uid is set.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Gives a tree to this user, links themselves and not what they point to.
    ///
    /// # Errors
    /// When the tree can't be read, or the caller may not give it away.
    pub fn own(self, tree: &Path) -> io::Result<()> {
        if self == Self::current() {
            return Ok(());
        }
        std::os::unix::fs::lchown(tree, Some(self.uid), Some(self.gid))?;
        if std::fs::symlink_metadata(tree)?.is_dir() {
            for entry in std::fs::read_dir(tree)? {
                self.own(&entry?.path())?;
            }
        }
        Ok(())
    }

    /// A path at which this user can run the program: itself, or a copy in `folder` where a folder above it is closed.
    ///
    /// # Errors
    /// When the copy can't be made.
    pub fn reach(self, program: &Path, folder: &Path) -> io::Result<PathBuf> {
        let program = program.canonicalize()?;
        let is_open = |path: &Path| path.metadata().is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
        if self == Self::current() || program.ancestors().all(is_open) {
            return Ok(program);
        }
        let name = program.file_name().ok_or_else(|| io::Error::other("a program has a name"))?;
        let copy = folder.join(name);
        std::fs::copy(&program, &copy)?;
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755))?;
        self.own(&copy)?;
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_command_runs_as_its_user_and_with_no_more_environment() {
        for user in User::each() {
            let home = tempfile::tempdir().unwrap();
            user.own(home.path()).unwrap();
            let mut command = user.command("sh", home.path());
            let output =
                command.args(["-c", "id -u; id -G; touch $HOME/mine && env | grep -c CARGO"]).output().unwrap();
            let told = String::from_utf8(output.stdout).unwrap();
            let groups = if user.is_root() { told.lines().nth(1).unwrap().to_owned() } else { user.gid.to_string() };
            if User::current().is_root() {
                assert_eq!(told.lines().collect::<Vec<_>>(), [user.uid().to_string(), groups, "0".to_owned()]);
            }
            assert_eq!(std::fs::metadata(home.path().join("mine")).unwrap().uid(), user.uid());
        }
    }

    #[test]
    fn a_program_in_a_closed_folder_is_copied_for_another_user() {
        let folder = tempfile::tempdir().unwrap();
        let open = tempfile::tempdir().unwrap();
        for (path, mode) in [(open.path(), 0o755), (folder.path(), 0o700)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let program = folder.path().join("tool");
        std::fs::copy("/bin/true", &program).unwrap();
        let user = User::ordinary();
        let reached = user.reach(&program, open.path()).unwrap();
        assert_eq!(reached == program.canonicalize().unwrap(), user == User::current());
        assert!(user.command(&reached, open.path()).status().unwrap().success());
    }
}
