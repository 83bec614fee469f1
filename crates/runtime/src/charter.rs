//! A charter's folder, read and compiled.

use flyball_kernel::{Charter, Diagnostics, Sources};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A charter file larger than this is refused unread.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// More files than this are no charter.
const FILES_MAX: usize = 256;

/// Why there is no charter to run under.
#[derive(Debug, thiserror::Error)]
pub enum CharterError {
    /// The folder has no `charter.toml`.
    #[error("no charter in `{}`: there is no `charter.toml`", .0.display())]
    Missing(PathBuf),
    /// A file can't be read.
    #[error("can't read `{}`: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// It does not compile.
    #[error("the charter in `{}` has errors", dir.display())]
    Wrong {
        /// The folder.
        dir: PathBuf,
        /// Its files, for showing the places.
        sources: Sources,
        /// What is wrong.
        diagnostics: Diagnostics,
    },
}

/// Reads a charter's folder: `charter.toml` and every `*.cedar` beside it.
///
/// # Errors
/// [`CharterError`] when it is not there or can't be read.
pub fn read(dir: &Path) -> Result<Sources, CharterError> {
    let fail = |path: &Path, cause: String| CharterError::Read { path: path.to_path_buf(), cause };
    if !dir.join("charter.toml").exists() {
        return Err(CharterError::Missing(dir.to_path_buf()));
    }
    let mut sources = Sources::new();
    for entry in std::fs::read_dir(dir).map_err(|e| fail(dir, e.to_string()))? {
        let path = entry.map_err(|e| fail(dir, e.to_string()))?.path();
        let Some(name) = path.file_name() else { continue };
        if name != "charter.toml" && !name.as_bytes().ends_with(b".cedar") {
            continue;
        }
        // INVARIANT: no rule is passed over. A file that can't be read or named would be one that does not forbid.
        let name = name.to_str().ok_or_else(|| fail(&path, "its name is not UTF-8: rename it".into()))?;
        let text = text(&path).map_err(|e| fail(&path, e))?;
        sources.insert(name.to_owned(), text);
        if sources.len() > FILES_MAX {
            return Err(fail(dir, format!("more than {FILES_MAX} files")));
        }
    }
    Ok(sources)
}

/// The whole of a regular file.
fn text(path: &Path) -> Result<String, String> {
    // A pipe must not make whoever asks for a charter wait: not when it is opened, nor when it is read.
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = file.map_err(|e| e.to_string())?;
    if !file.metadata().map_err(|e| e.to_string())?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is longer than {FILE_BYTES_MAX} bytes, which a charter's file has at most"));
    }
    Ok(text)
}

/// Reads and compiles a charter's folder. Gives its warnings too.
///
/// # Errors
/// [`CharterError`] when it is not there, can't be read, or does not compile.
pub fn load(dir: &Path) -> Result<(Charter, Diagnostics, Sources), CharterError> {
    let sources = read(dir)?;
    match Charter::compile(&sources) {
        Ok((charter, warnings)) => Ok((charter, warnings, sources)),
        Err(diagnostics) => Err(CharterError::Wrong { dir: dir.to_path_buf(), sources, diagnostics }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn no_rule_is_passed_over_and_no_file_is_waited_for() {
        let with = |name: &OsStr, make: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("charter.toml"), "").unwrap();
            make(&dir.path().join(name));
            read(dir.path()).map_err(|e| e.to_string())
        };
        let plain = |path: &Path| std::fs::write(path, "// nothing").unwrap();
        assert_eq!(with(OsStr::new("a.cedar"), &plain).unwrap().len(), 2);
        assert_eq!(with(OsStr::new("a.cedar.bak"), &plain).unwrap().len(), 1);
        let unnamed = with(OsStr::from_bytes(b"\xff.cedar"), &plain).unwrap_err();
        assert!(unnamed.contains("not UTF-8"), "{unnamed}");
        let pipe = |path: &Path| {
            use rustix::fs::{CWD, FileType, Mode, mknodat};
            mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        };
        let endless = |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).unwrap();
        let folder = |path: &Path| std::fs::create_dir(path).unwrap();
        for make in [&pipe as &dyn Fn(&Path), &endless, &folder] {
            let said = with(OsStr::new("a.cedar"), make).unwrap_err();
            assert!(said.contains("no regular file"), "{said}");
        }
        let large = |path: &Path| File::create(path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(with(OsStr::new("a.cedar"), &large).unwrap_err().contains("longer than"));
    }
}
