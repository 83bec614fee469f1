//! Scratch places: writable, inside the overlays, recorded as a whole and not file by file (SANDBOX.md).

use flyball_sandbox::workspace;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The charter's scratch patterns, ready to ask.
#[derive(Debug, Default)]
pub struct Scratch {
    workspace: PathBuf,
    /// Patterns relative to the workspace.
    pub(crate) within: workspace::Scratch,
    /// Those of the home (`~/…`) and absolute ones.
    beyond: GlobSet,
    protected: Vec<PathBuf>,
    /// The folder that was asked about last, and whether it is one: a program works through one folder after the other, and
    /// to match each path and all that it is in takes longer than the system call that is asked about.
    last: Mutex<Last>,
}

/// The folder and the path that were asked about last, each with whether it is scratch: of one call's path it is asked several times.
#[derive(Debug, Default)]
struct Last {
    folder: (PathBuf, bool),
    path: Option<(PathBuf, bool)>,
}

/// A pattern that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("scratch pattern {0}")]
pub struct ScratchError(String);

impl Scratch {
    /// Patterns are relative to the workspace, to home (`~/…`), or absolute. What is below `protected` is never scratch.
    ///
    /// # Errors
    /// [`ScratchError`] for a pattern that is no glob.
    pub fn new(
        patterns: &[String],
        workspace: &Path,
        home: &Path,
        protected: &[PathBuf],
    ) -> Result<Self, ScratchError> {
        let (beyond, within): (Vec<_>, Vec<_>) = patterns.iter().partition(|p| p.starts_with(['~', '/']));
        let mut set = GlobSetBuilder::new();
        for pattern in beyond {
            let absolute = match pattern.strip_prefix("~/") {
                Some(rest) => format!("{}/{rest}", globset::escape(&home.to_string_lossy())),
                None => pattern.clone(),
            };
            let glob = GlobBuilder::new(&absolute).literal_separator(true).build();
            set.add(glob.map_err(|e| ScratchError(format!("`{pattern}`: {}", e.kind())))?);
        }
        Ok(Self {
            workspace: workspace.to_path_buf(),
            within: workspace::Scratch::new(&within).map_err(|e| ScratchError(e.to_string()))?,
            beyond: set.build().map_err(|e| ScratchError(e.to_string()))?,
            protected: protected.to_vec(),
            last: Mutex::default(),
        })
    }

    /// Whether what happens at this path is not recorded file by file.
    #[must_use]
    pub fn covers(&self, path: &Path) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, covers)) = last.path.as_ref()
            && known.as_os_str() == path.as_os_str()
        {
            return *covers;
        }
        let covers = self.is_covered(path, &mut last.folder);
        last.path = Some((path.to_path_buf(), covers));
        covers
    }

    fn is_covered(&self, path: &Path, last: &mut (PathBuf, bool)) -> bool {
        // What the workspace itself lies in names nothing of it.
        let is_one_side = |folder: &&Path| is_in(folder, &self.workspace) == is_in(path, &self.workspace);
        let named =
            path.parent().filter(is_one_side).is_some_and(|folder| self.holds(folder, last)) || self.names(path);
        named && !self.protected.iter().any(|p| path.starts_with(p) || p.starts_with(path))
    }

    /// Whether a pattern names this very path.
    fn names(&self, path: &Path) -> bool {
        match path.strip_prefix(&self.workspace) {
            Ok(rel) => self.within.names(rel),
            Err(_) => self.beyond.is_match(path),
        }
    }

    /// Whether a pattern names this folder, or one that it is in.
    fn holds(&self, folder: &Path, last: &mut (PathBuf, bool)) -> bool {
        if last.0.as_os_str() != folder.as_os_str() {
            let is_within = is_in(folder, &self.workspace);
            let mut own = folder.ancestors().take_while(|above| above.starts_with(&self.workspace) == is_within);
            let holds = own.any(|above| self.names(above));
            *last = (folder.to_path_buf(), holds);
        }
        last.1
    }
}

/// As [`Path::starts_with`], of canonical paths: those need not be taken apart.
fn is_in(path: &Path, folder: &Path) -> bool {
    let (path, folder) = (path.as_os_str().as_bytes(), folder.as_os_str().as_bytes());
    match path.strip_prefix(folder) {
        Some(rest) => rest.is_empty() || rest.starts_with(b"/") || folder.ends_with(b"/"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn covers_what_it_names_and_nothing_protected() {
        let patterns = ["target/**", "**/__pycache__/**", "~/.cache/**", "/tmp/**", "**/*.pyc"].map(String::from);
        let protected = [PathBuf::from("/w/target/keep")];
        let it = Scratch::new(&patterns, Path::new("/w"), Path::new("/h"), &protected).unwrap();
        for yes in ["/w/target/debug/a", "/w/a/__pycache__/x", "/h/.cache/x/y", "/tmp/a", "/w/x.pyc"] {
            assert!(it.covers(Path::new(yes)), "{yes}");
        }
        for no in ["/w/src/a.rs", "/w/target/keep/x", "/h/.bashrc", "/etc/passwd", "/w/targets/a", "/tmpfile"] {
            assert!(!it.covers(Path::new(no)), "{no}");
        }
        // Nor what is remembered of one path of what lies beside it.
        assert!(it.covers(Path::new("/w/x.pyc")) && !it.covers(Path::new("/w/x.rs")));
        assert!(it.covers(Path::new("/w/x.pyc")));
        let it = Scratch::new(&["/h/**".into(), "out/**".into()], Path::new("/h/w"), Path::new("/h"), &[]).unwrap();
        // Asked in turns: what is remembered of one folder says nothing of another.
        for _ in 0..2 {
            for (path, is_scratch) in [
                ("/h/w", false),
                ("/h/w/x", false),
                ("/h/x", true),
                ("/h/w/out", false),
                ("/h/w/out/a", true),
                ("/h/w/out/b/c", true),
                ("/h/w/a/out/b", false),
                ("/h/x/y/z", true),
                ("/", false),
            ] {
                assert_eq!(it.covers(Path::new(path)), is_scratch, "{path}");
                assert_eq!(it.covers(Path::new(path)), is_scratch, "{path}, as remembered");
            }
        }
        assert!(Scratch::new(&["a[".into()], Path::new("/w"), Path::new("/h"), &[]).is_err());
    }
}
