//! The commits that a session made: objects that it added to the stores of repositories in its workspace.

use crate::state::Change;
use flate2::read::ZlibDecoder;
use flyball_ledger::{Digest, Ledger, LedgerError};
use flyball_sandbox::workspace::Node;
use std::collections::BTreeSet;
use std::io::Read;

/// A larger object is no commit that anybody writes.
const COMMIT_BYTES_MAX: u64 = 1 << 20;
/// Commits that an attestation names.
pub(super) const COMMITS_MAX: usize = 10_000;

/// Ids of commits, as they are found among changes.
#[derive(Debug, Default)]
pub(super) struct Commits {
    seen: BTreeSet<String>,
    pub ids: BTreeSet<String>,
}

impl Commits {
    /// Looks at one change. An object is told by where it stands, and a commit by how it begins.
    pub fn take(&mut self, ledger: &Ledger, change: &Change) -> Result<(), LedgerError> {
        let Node::File { digest, size, .. } = &change.node else { return Ok(()) };
        let Some(id) = object_id(&change.path).filter(|_| *size <= COMMIT_BYTES_MAX) else { return Ok(()) };
        // What the real tree had before is not the session's.
        if !matches!(change.base, None | Some(Node::Absent)) || !self.seen.insert(id.clone()) {
            return Ok(());
        }
        let bytes = match ledger.blob(&digest.parse::<Digest>()?) {
            // What is not kept can't be told; `flyball at` shows the path all the same.
            Err(LedgerError::NoBlob(_)) => return Ok(()),
            other => other?,
        };
        if is_commit(&bytes) && self.ids.len() < COMMITS_MAX {
            self.ids.insert(id);
        }
        Ok(())
    }
}

/// The id of a loose object, by its path: `…/objects/ab/cdef…`, SHA-1 or SHA-256.
fn object_id(path: &str) -> Option<String> {
    let mut parts = path.rsplitn(4, '/');
    let (rest, first, objects) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_object = objects == "objects" && first.len() == 2 && matches!(rest.len(), 38 | 62);
    (is_object && is_hex(first) && is_hex(rest)).then(|| format!("{first}{rest}"))
}

fn is_commit(object: &[u8]) -> bool {
    let mut head = [0_u8; 7];
    ZlibDecoder::new(object).read_exact(&mut head).is_ok() && &head == b"commit "
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_told_by_their_paths() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        let path = |base: &str| format!("{base}/{}/{}", &id[..2], &id[2..]);
        assert_eq!(object_id(&path(".git/objects")).as_deref(), Some(id));
        assert_eq!(object_id(&path(".git/modules/x/objects")).as_deref(), Some(id));
        for other in [path("src"), "objects/pack/pack-01.pack".to_owned(), path("objects").to_uppercase()] {
            assert_eq!(object_id(&other), None, "{other}");
        }
    }

    #[test]
    fn a_commit_is_told_by_how_it_begins() {
        use flate2::{Compression, write::ZlibEncoder};
        use std::io::Write;
        let object = |text: &str| {
            let mut out = ZlibEncoder::new(Vec::new(), Compression::fast());
            let _ = out.write_all(text.as_bytes());
            out.finish().unwrap_or_default()
        };
        assert!(is_commit(&object("commit 12\0tree ...")));
        assert!(!is_commit(&object("blob 12\0commit ...")) && !is_commit(b"commit ") && !is_commit(b""));
    }
}
