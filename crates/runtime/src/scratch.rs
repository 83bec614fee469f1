//! Scratch places: writable, inside the overlays, recorded as a whole and not file by file (SANDBOX.md).

use flyball_sandbox::workspace;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::path::{Path, PathBuf};

/// The charter's scratch patterns, ready to ask.
#[derive(Debug, Default)]
pub struct Scratch {
    workspace: PathBuf,
    /// Patterns relative to the workspace.
    pub(crate) within: workspace::Scratch,
    /// Those of the home (`~/…`) and absolute ones.
    beyond: GlobSet,
    protected: Vec<PathBuf>,
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
        })
    }

    /// Whether what happens at this path is not recorded file by file.
    #[must_use]
    pub fn covers(&self, path: &Path) -> bool {
        let named = match path.strip_prefix(&self.workspace) {
            Ok(rel) => self.within.has(rel),
            Err(_) => path.ancestors().any(|p| self.beyond.is_match(p)),
        };
        named && !self.protected.iter().any(|p| path.starts_with(p) || p.starts_with(path))
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
        assert!(Scratch::new(&["a[".into()], Path::new("/w"), Path::new("/h"), &[]).is_err());
    }
}
