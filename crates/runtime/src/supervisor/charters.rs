//! Which charter a run is under.

use super::RunError;
use crate::charter::{self, CharterError};
use flyball_kernel::{Charter, Sources};
use std::path::Path;

/// The charter of that folder, or that of the workspace.
pub(crate) fn charter_of(dir: Option<&Path>, workspace: &Path) -> Result<(Charter, Sources), RunError> {
    let own = workspace.join(".flyball");
    let dir = match dir {
        Some(dir) => dir.to_path_buf(),
        // INVARIANT: only where nothing at all has that name: a charter that can't be read is not one that is not there.
        None if own.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) => {
            return built_in(workspace);
        }
        None => own,
    };
    let (charter, _, sources) = charter::load(&dir)?;
    Ok((charter, sources))
}

/// A charter whose files are at hand.
pub(super) fn compiled(workspace: &Path, sources: Sources) -> Result<(Charter, Sources), RunError> {
    match Charter::compile(&sources) {
        Ok((charter, _)) => Ok((charter, sources)),
        Err(diagnostics) => {
            let dir = workspace.join(".flyball");
            Err(RunError::Charter(CharterError::Wrong { dir, sources, diagnostics }))
        }
    }
}

/// Where the repository has no charter, it is run under the one that `init` would write for it.
fn built_in(workspace: &Path) -> Result<(Charter, Sources), RunError> {
    compiled(workspace, crate::init::charter_for(&crate::init::look(workspace)))
}
