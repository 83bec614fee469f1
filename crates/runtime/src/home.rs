//! Where Flyball keeps what it keeps: the ledger, its keys, and a private folder for each session.

use crate::clock::wall_ns;
use rustix::fs::{FlockOperation, IFlags, Mode, OFlags};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Flyball's folder: `ledger.db` and keys at its top, `sessions/ID/` below.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

/// The folder can't be used.
#[derive(Debug, thiserror::Error)]
#[error("can't use `{}`: {cause}", dir.display())]
pub struct HomeError {
    /// The folder.
    pub dir: PathBuf,
    /// What the operating system said.
    pub cause: std::io::Error,
}

impl Home {
    /// The folder, made with mode 0700 if it is not there.
    ///
    /// # Errors
    /// [`HomeError`] when it can't be made, entered or kept private.
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        let fail = |cause| HomeError { dir: dir.to_path_buf(), cause };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
        let dir = dir.canonicalize().map_err(fail)?;
        let home = Self { dir };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(home.sessions()).map_err(fail)?;
        spread(&home.sessions());
        let mode = fs::metadata(&home.dir).map_err(fail)?.permissions().mode();
        if mode & 0o077 != 0 {
            // Keys and payloads lie here; what others could read before is theirs to know, from now on it is not.
            fs::set_permissions(&home.dir, fs::Permissions::from_mode(0o700)).map_err(fail)?;
        }
        Ok(home)
    }

    /// The folder itself, which is also the ledger's.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where sessions have their folders.
    #[must_use]
    pub fn sessions(&self) -> PathBuf {
        self.dir.join("sessions")
    }

    /// An empty folder: what each sandbox mounts its root on, where nobody else sees it.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// One session's folder.
    #[must_use]
    pub fn session(&self, id: &str) -> PathBuf {
        self.sessions().join(id)
    }

    /// Makes a session's folder, 0700.
    ///
    /// # Errors
    /// [`HomeError`] when it can't be made or is there already.
    pub fn make_session(&self, id: &str) -> Result<PathBuf, HomeError> {
        let dir = self.session(id);
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => Ok(dir),
            Err(cause) => Err(HomeError { dir, cause }),
        }
    }
}

/// A session's folder before it is known whether there will be a session. It goes again unless there is one.
#[derive(Debug)]
pub(crate) struct Unborn(Option<PathBuf>);

impl Unborn {
    /// Makes the folder of this session.
    pub(crate) fn make(home: &Home, id: &str) -> Result<Self, HomeError> {
        home.make_session(id).map(|dir| Self(Some(dir)))
    }

    /// The folder, for the session that there is.
    pub(crate) fn born(mut self) -> PathBuf {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        if let Some(dir) = &self.0 {
            // Empty. What can't be removed is looked at again by a later start.
            let _ = fs::remove_dir(dir);
        }
    }
}

/// Asks the file system to lay out each session's tree apart from all others (ext4's `T`; where there is none, nothing is lost).
/// ext4 gives out no inode that was freed in the last half minute and looks at each such one before it takes another: near a
/// tree of some thousand files that was just removed, making one took ten times as long.
fn spread(sessions: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::open(sessions, flags, Mode::empty()) else { return };
    if let Ok(flags) = rustix::fs::ioctl_getflags(&dir)
        && !flags.contains(IFlags::TOPDIR)
    {
        let _ = rustix::fs::ioctl_setflags(&dir, flags | IFlags::TOPDIR);
    }
}

/// Twelve characters that no two sessions share in practice: 60 random bits.
pub(crate) fn session_id() -> String {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut bytes = [0_u8; 12];
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) != Ok(bytes.len()) {
        // Unheard of for so few bytes; the clock keeps ids apart all the same.
        for (byte, clock) in bytes.iter_mut().zip(wall_ns().to_le_bytes().iter().cycle()) {
            *byte ^= clock;
        }
    }
    bytes.iter().filter_map(|b| LETTERS.get(usize::from(b & 31))).map(|b| char::from(*b)).collect()
}

/// Held by the supervisor of a session for as long as it lives; the operating system lets go of it when it dies.
#[derive(Debug)]
pub struct SessionLock {
    _file: OwnedFd,
}

impl SessionLock {
    /// Takes the lock, or says `None` when another process holds it.
    ///
    /// # Errors
    /// What the operating system said when the lock file can't be made.
    pub fn take(session_dir: &Path) -> std::io::Result<Option<Self>> {
        let file = rustix::fs::open(
            session_dir.join("supervisor.lock"),
            OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::RUSR | Mode::WUSR,
        )?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_folder_stays_with_its_session_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        drop(Unborn::make(&home, "never").unwrap());
        assert!(!home.session("never").exists());
        let kept = Unborn::make(&home, "kept").unwrap().born();
        assert_eq!(kept, home.session("kept"));
        assert!(kept.is_dir());
    }
}
