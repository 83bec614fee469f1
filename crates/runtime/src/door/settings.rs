//! A harness's settings file with Flyball's hooks put in and taken out, so that it is what it was.
//!
//! What it was is kept in `hooks/` of Flyball's folder, with the digest of what was written in its place: as long as that stands,
//! the file is given back byte for byte. INVARIANT: the file is only ever replaced whole, and what it held is on the disk before.

use crate::home::Home;
use flyball_gateway::hook::install::{self, Called, SETTINGS_BYTES_MAX, SettingsError};
use flyball_intent::Harness;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The settings stay as they are.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what happened to which file")]
pub enum SettingsFileError {
    #[error("`{}`: {cause}", path.display())]
    Settings { path: PathBuf, cause: SettingsError },
    #[error("`{}` is a link: name what it leads to, or put the file in its place", path.display())]
    Link { path: PathBuf },
    #[error("`{}` is no file", path.display())]
    NoFile { path: PathBuf },
    #[error("`{}` belongs to another user", path.display())]
    Others { path: PathBuf },
    #[error("`{}` was changed while it was read: try again", path.display())]
    Changed { path: PathBuf },
    #[error("`{}`: {cause}", path.display())]
    System { path: PathBuf, cause: std::io::Error },
}

/// What [`uninstall`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uninstalled {
    /// The file is what it was before.
    Restored,
    /// There was none before, and there is none now.
    Removed,
    /// Others changed it meanwhile, so only these many entries of Flyball's were taken out.
    TakenOut(usize),
    /// Nothing of Flyball's stood in it.
    Nothing,
}

/// What a file was before, and what it was made into.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    path: PathBuf,
    /// Of what was written.
    written: String,
    was_there: bool,
    /// Whether the folder around it was made for it.
    made_folder: bool,
}

/// Puts the hooks in.
///
/// # Errors
/// [`SettingsFileError`]; then nothing is changed.
pub fn install(home: &Home, harness: Harness, path: &Path, called: &Called) -> Result<(), SettingsFileError> {
    let settings = |cause| SettingsFileError::Settings { path: path.to_path_buf(), cause };
    let system = |cause| SettingsFileError::System { path: path.to_path_buf(), cause };
    let now = read(path)?;
    let new = install::install(harness, now.as_deref(), called).map_err(settings)?;
    let earlier = kept(home, path);
    let folder = path.parent().ok_or_else(|| system(std::io::ErrorKind::InvalidInput.into()))?;
    let mut keep = Kept {
        path: path.to_path_buf(),
        written: digest(&new),
        was_there: now.is_some(),
        made_folder: !folder.exists(),
    };
    let original = match (earlier, &now) {
        // What stands there is what was written at an earlier time: it is from before that.
        (Some((earlier, original)), Some(bytes)) if earlier.written == digest(bytes) => {
            (keep.was_there, keep.made_folder) = (earlier.was_there, earlier.made_folder);
            original
        }
        (_, Some(bytes)) => match install::uninstall(harness, bytes).map_err(settings)? {
            (_, 0) => bytes.clone(),
            (without, _) => without,
        },
        (_, None) => Vec::new(),
    };
    let [about, before] = names(home, path);
    fs::create_dir_all(home.dir().join(FOLDER)).map_err(system)?;
    replace(&before, &original, 0o600).map_err(system)?;
    replace(&about, &serde_json::to_vec(&keep).unwrap_or_default(), 0o600).map_err(system)?;
    fs::create_dir_all(folder).map_err(system)?;
    swap(path, now.as_deref(), &new)
}

/// Takes the hooks out.
///
/// # Errors
/// [`SettingsFileError`]; then nothing is changed.
pub fn uninstall(home: &Home, harness: Harness, path: &Path) -> Result<Uninstalled, SettingsFileError> {
    let settings = |cause| SettingsFileError::Settings { path: path.to_path_buf(), cause };
    let system = |cause| SettingsFileError::System { path: path.to_path_buf(), cause };
    let Some(now) = read(path)? else {
        forget(home, path);
        return Ok(Uninstalled::Nothing);
    };
    let done = match kept(home, path) {
        Some((keep, original)) if keep.written == digest(&now) => {
            if keep.was_there {
                swap(path, Some(&now), &original)?;
                Uninstalled::Restored
            } else {
                fs::remove_file(path).map_err(system)?;
                if let Some(folder) = path.parent().filter(|_| keep.made_folder) {
                    // Others may have put something there meanwhile; then it stays.
                    let _ = fs::remove_dir(folder);
                }
                Uninstalled::Removed
            }
        }
        _ => match install::uninstall(harness, &now).map_err(settings)? {
            (_, 0) => Uninstalled::Nothing,
            (without, taken) => {
                swap(path, Some(&now), &without)?;
                Uninstalled::TakenOut(taken)
            }
        },
    };
    forget(home, path);
    Ok(done)
}

/// What a settings file holds, as far as it may be one; `None` where there is none.
///
/// # Errors
/// [`SettingsFileError`] when it is something that is not to be replaced.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, SettingsFileError> {
    let own = || path.to_path_buf();
    for link in [path.parent(), Some(path)].into_iter().flatten() {
        if link.symlink_metadata().is_ok_and(|m| m.is_symlink()) {
            return Err(SettingsFileError::Link { path: link.to_path_buf() });
        }
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => fs::File::from(fd),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(cause) => return Err(SettingsFileError::System { path: own(), cause: cause.into() }),
    };
    let system = |cause| SettingsFileError::System { path: own(), cause };
    let meta = file.metadata().map_err(system)?;
    if !meta.is_file() {
        return Err(SettingsFileError::NoFile { path: own() });
    }
    // A file that is replaced is the replacer's from then on.
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(SettingsFileError::Others { path: own() });
    }
    let mut bytes = Vec::new();
    file.take(SETTINGS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(system)?;
    if bytes.len() > SETTINGS_BYTES_MAX {
        return Err(SettingsFileError::Settings { path: own(), cause: SettingsError::Large });
    }
    Ok(Some(bytes))
}

const FOLDER: &str = "hooks";

fn names(home: &Home, path: &Path) -> [PathBuf; 2] {
    let name = digest(path.as_os_str().as_encoded_bytes());
    ["json", "before"].map(|end| home.dir().join(FOLDER).join(format!("{name}.{end}")))
}

fn kept(home: &Home, path: &Path) -> Option<(Kept, Vec<u8>)> {
    let [about, before] = names(home, path);
    let kept: Kept = serde_json::from_slice(&fs::read(about).ok()?).ok()?;
    (kept.path == path).then_some((kept, fs::read(before).ok()?))
}

fn forget(home: &Home, path: &Path) {
    for file in names(home, path) {
        let _ = fs::remove_file(file);
    }
}

/// Puts `new` where `now` stands, unless something else does by now.
fn swap(path: &Path, now: Option<&[u8]>, new: &[u8]) -> Result<(), SettingsFileError> {
    if read(path)?.as_deref() != now {
        return Err(SettingsFileError::Changed { path: path.to_path_buf() });
    }
    let mode = path.metadata().map_or(0o644, |m| m.permissions().mode() & 0o777);
    replace(path, new, mode).map_err(|cause| SettingsFileError::System { path: path.to_path_buf(), cause })
}

/// Whole or not at all, and on the disk.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let folder = path.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    let new = folder.join(format!(".flyball-{}.new", std::process::id()));
    let _ = fs::remove_file(&new);
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written?;
    fs::File::open(folder)?.sync_all()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
