//! A charter's folder, read and compiled.

use flyball_kernel::{Charter, Diagnostics, Sources};
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
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        if name != "charter.toml" && !name.ends_with(".cedar") {
            continue;
        }
        let bytes = std::fs::metadata(&path).map_err(|e| fail(&path, e.to_string()))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(fail(&path, format!("{bytes} bytes, a charter's file has at most {FILE_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| fail(&path, e.to_string()))?;
        sources.insert(name.to_owned(), text);
        if sources.len() > FILES_MAX {
            return Err(fail(dir, format!("more than {FILES_MAX} files")));
        }
    }
    Ok(sources)
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
