//! The commits that a session added to repositories in its workspace: objects that came to stand alone or in packs, by the record.

use super::objects;
use crate::state::Change;
use flyball_ledger::{Digest, Ledger, LedgerError};
use flyball_sandbox::workspace::Node;
use std::collections::{BTreeMap, BTreeSet};

/// Commits that an attestation names.
const COMMITS_MAX: usize = 10_000;
/// A larger pack is not read.
const PACK_BYTES_MAX: u64 = 64 << 20;
/// Of all packs together.
const PACKS_BYTES_MAX: u64 = 256 << 20;

/// Where objects came to stand among changes, before any was read.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// Objects that stand alone, by id.
    loose: BTreeMap<String, Digest>,
    /// Packs, by path without its ending: as often as one was written anew.
    packs: BTreeMap<String, Pack>,
    /// Objects that stood alone before the session.
    before: BTreeSet<String>,
    /// The indexes of packs that stood before the session, which it changed or took away.
    before_packs: BTreeMap<String, Digest>,
}

#[derive(Debug, Default)]
struct Pack {
    pack: Option<(Digest, u64)>,
    index: Option<(Digest, u64)>,
}

/// What was read of them.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Ids of commits, each the digest of its bytes.
    pub ids: BTreeSet<String>,
    /// Objects that may be commits, and whose bytes are not at hand.
    pub untold: BTreeSet<String>,
    /// Packs of which can't be said which commits they added.
    pub unread: BTreeSet<String>,
}

impl Commits {
    /// Takes one change in.
    pub fn take(&mut self, change: &Change) {
        let base = match &change.base {
            Some(Node::File { digest, .. }) => digest.parse::<Digest>().ok(),
            _ => None,
        };
        let now = match &change.node {
            Node::File { digest, size, .. } => digest.parse::<Digest>().ok().map(|digest| (digest, *size)),
            _ => None,
        };
        if let Some(id) = object_id(&change.path) {
            if base.is_some() {
                self.before.insert(id);
            } else if let Some((digest, _)) = now.filter(|(_, size)| *size <= objects::COMMIT_BYTES_MAX) {
                self.loose.entry(id).or_insert(digest);
            }
        } else if let Some((stem, is_index)) = pack(&change.path) {
            if let Some(base) = base {
                if is_index {
                    self.before_packs.insert(stem.to_owned(), base);
                }
            } else if now.is_some() && !self.before_packs.contains_key(stem) {
                let pack = self.packs.entry(stem.to_owned()).or_default();
                *(if is_index { &mut pack.index } else { &mut pack.pack }) = now;
            }
        }
    }

    /// The contents that tell which of them are commits.
    pub fn wanted(&self) -> BTreeSet<Digest> {
        let packs = self.packs.values().flat_map(|pack| [pack.pack, pack.index]).flatten();
        let packs = packs.filter(|(_, bytes)| *bytes <= PACK_BYTES_MAX).map(|(digest, _)| digest);
        self.loose.values().copied().chain(packs).chain(self.before_packs.values().copied()).collect()
    }

    /// Reads them.
    pub fn read(&self, ledger: &Ledger) -> Result<Told, LedgerError> {
        let mut told = Told::default();
        for (id, digest) in self.loose.iter().filter(|(id, _)| !self.before.contains(*id)) {
            match at_hand(ledger, digest)? {
                Some(bytes) if objects::is_commit(&bytes, id) => _ = told.ids.insert(id.clone()),
                Some(_) => {}
                None => _ = told.untold.insert(id.clone()),
            }
        }
        if self.packs.is_empty() {
            return Ok(told.bounded());
        }
        // What a repack took over was there before.
        let (mut before, mut is_all_known) = (self.before.clone(), true);
        for index in self.before_packs.values() {
            let ids = at_hand(ledger, index)?.and_then(|bytes| objects::ids(&bytes));
            is_all_known &= ids.is_some();
            before.extend(ids.into_iter().flatten());
        }
        let (mut left, mut work) = (PACKS_BYTES_MAX, objects::WORK_MAX);
        for (stem, pack) in &self.packs {
            let (Some((pack, bytes)), Some((index, of_index))) = (pack.pack, pack.index) else {
                told.unread.insert(stem.clone());
                continue;
            };
            let bytes = bytes.saturating_add(of_index);
            let is_small = bytes <= PACK_BYTES_MAX && bytes <= left && is_all_known;
            let both = match is_small {
                true => at_hand(ledger, &pack)?.zip(at_hand(ledger, &index)?),
                false => None,
            };
            left = left.saturating_sub(bytes);
            match both.and_then(|(pack, index)| objects::commits(&pack, &index, &mut work)) {
                Some(ids) => told.ids.extend(ids.into_iter().filter(|id| !before.contains(id))),
                None => _ = told.unread.insert(stem.clone()),
            }
        }
        Ok(told.bounded())
    }
}

impl Told {
    fn bounded(mut self) -> Self {
        while self.ids.len() > COMMITS_MAX {
            self.ids.pop_last();
        }
        self
    }
}

fn at_hand(ledger: &Ledger, digest: &Digest) -> Result<Option<Vec<u8>>, LedgerError> {
    match ledger.blob(digest) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(LedgerError::NoBlob(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The id of an object that stands alone, by its path: `…/objects/ab/cdef…`, SHA-1 or SHA-256.
fn object_id(path: &str) -> Option<String> {
    let mut parts = path.rsplitn(4, '/');
    let (rest, first, objects) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_object = objects == "objects" && first.len() == 2 && matches!(rest.len(), 38 | 62);
    (is_object && is_hex(first) && is_hex(rest)).then(|| format!("{first}{rest}"))
}

/// A pack's path without its ending, and whether this is its index.
fn pack(path: &str) -> Option<(&str, bool)> {
    let (stem, is_index) = match path.strip_suffix(".pack") {
        Some(stem) => (stem, false),
        None => (path.strip_suffix(".idx")?, true),
    };
    let mut parts = stem.rsplitn(4, '/');
    let (name, folder, objects) = (parts.next()?, parts.next()?, parts.next()?);
    (name.starts_with("pack-") && folder == "pack" && objects == "objects").then_some((stem, is_index))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn objects_are_told_by_their_paths() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        let path = |base: &str| format!("{base}/{}/{}", &id[..2], &id[2..]);
        assert_eq!(object_id(&path(".git/objects")).as_deref(), Some(id));
        assert_eq!(object_id(&path(".git/modules/x/objects")).as_deref(), Some(id));
        for other in [path("src"), "objects/pack/pack-01.pack".to_owned(), path("objects").to_uppercase()] {
            assert_eq!(object_id(&other), None, "{other}");
        }
        assert_eq!(pack(".git/objects/pack/pack-1.idx"), Some((".git/objects/pack/pack-1", true)));
        assert_eq!(pack("objects/pack/pack-1.pack"), Some(("objects/pack/pack-1", false)));
        assert_eq!(pack("pack/pack-1.pack").or(pack("objects/pack/tmp_idx.idx")), None);
    }

    fn git(dir: &Path, words: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x@x", "-C"]).arg(dir).args(words).env("HOME", dir);
        let output = git.env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
        assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Every file below `.git/objects`, as what a session made of it or found there.
    fn changes(ledger: &Ledger, dir: &Path, was_there: bool) -> Vec<Change> {
        let mut out = Vec::new();
        let mut folders = vec![dir.join(".git/objects")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                let digest = ledger.put_blob(&bytes).unwrap().to_string();
                let file = Node::File { digest, size: bytes.len() as u64, mode: 0o644 };
                let path = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                let (node, base) = if was_there { (Node::Absent, file) } else { (file, Node::Absent) };
                out.push(Change { path, node, base: Some(base), blob: None, kept: None });
            }
        }
        ledger.flush().unwrap();
        out
    }

    /// A repository with so many commits that some are deltas of others in its packs.
    fn repository(dir: &Path, format: &str) -> Vec<String> {
        git(dir, &["init", "-q", &format!("--object-format={format}")]);
        let long = "a long description, which all of them have\n".repeat(20);
        (0..40)
            .map(|n| {
                git(dir, &["commit", "-q", "--allow-empty", "-m", &format!("{long}{n}")]);
                git(dir, &["rev-parse", "HEAD"])
            })
            .collect()
    }

    #[test]
    fn commits_are_read_alone_and_in_packs_and_those_of_before_are_not_the_sessions() {
        for format in ["sha1", "sha256"] {
            let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let dir = dir.path();
            let ledger = Ledger::open(store.path()).unwrap();
            let all = repository(dir, format);
            let told = |changes: &[Change]| {
                let mut commits = Commits::default();
                changes.iter().for_each(|change| commits.take(change));
                commits.read(&ledger).unwrap()
            };
            let wanted: BTreeSet<String> = all.iter().cloned().collect();
            let loose = changes(&ledger, dir, false);
            assert_eq!(told(&loose).ids, wanted, "{format}, alone");
            let were_loose = changes(&ledger, dir, true);
            git(dir, &["gc", "-q", "--aggressive"]);
            let packed = changes(&ledger, dir, false);
            assert!(packed.iter().any(|change| change.path.ends_with(".pack")));
            let list = packed.iter().find(|change| change.path.ends_with(".idx")).unwrap();
            let listed = git(dir, &["verify-pack", "-v", &list.path]);
            let deltas = listed.lines().filter(|line| line.contains(" commit ") && line.split(' ').count() > 6);
            assert!(deltas.count() > 0, "{format}: no commit is a delta, so that way is not tried");
            let read = told(&packed);
            assert_eq!((read.ids, read.unread.len(), read.untold.len()), (wanted.clone(), 0, 0), "{format}, packed");
            // A repack of what was there, alone or in a pack, adds nothing; with one more commit it adds that.
            assert!(told(&[were_loose, packed.clone()].concat()).ids.is_empty());
            let were_packed = changes(&ledger, dir, true);
            git(dir, &["commit", "-q", "--allow-empty", "-m", "one more"]);
            let one = git(dir, &["rev-parse", "HEAD"]);
            git(dir, &["gc", "-q"]);
            let again = [were_packed, changes(&ledger, dir, false)].concat();
            assert_eq!(told(&again).ids, BTreeSet::from([one]), "{format}, packed again");
        }
    }

    #[test]
    fn what_only_pretends_to_be_a_commit_is_none_and_what_is_not_at_hand_is_said() {
        let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ledger = Ledger::open(store.path()).unwrap();
        repository(dir.path(), "sha1");
        let mut loose = changes(&ledger, dir.path(), false);
        // The bytes of one commit where another's would stand.
        let mut commits = Commits::default();
        let mut nodes: Vec<Node> = loose.iter().map(|change| change.node.clone()).collect();
        nodes.rotate_left(1);
        loose.iter_mut().zip(nodes).for_each(|(change, node)| change.node = node);
        loose.iter().for_each(|change| commits.take(change));
        assert!(commits.read(&ledger).unwrap().ids.is_empty(), "an id is the digest of the bytes");
        let empty = tempfile::tempdir().unwrap();
        let told = commits.read(&Ledger::open(empty.path()).unwrap()).unwrap();
        assert_eq!((told.ids.len(), told.untold.len()), (0, loose.len()));
        git(dir.path(), &["gc", "-q"]);
        let mut commits = Commits::default();
        changes(&ledger, dir.path(), false).iter().for_each(|change| commits.take(change));
        assert_eq!(commits.read(&Ledger::open(empty.path()).unwrap()).unwrap().unread.len(), 1);
        assert_eq!(commits.wanted().len(), 2);
    }
}
