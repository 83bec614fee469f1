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

/// Of the indexes of packs that stood before the session.
const BEFORE_BYTES_MAX: u64 = 64 << 20;

/// Where objects came to stand among changes, before any was read. What one repository has says nothing of another: a path is known by
/// the folder of objects that it is in as well.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// Objects that stand alone, by folder and id, with each content that came to stand there.
    loose: BTreeMap<(String, String), BTreeSet<Digest>>,
    /// Packs, by path without its ending: as often as one was written anew.
    packs: BTreeMap<String, Pack>,
    /// What stood alone before the session, by folder and id.
    before: BTreeMap<(String, String), Digest>,
    /// The indexes of packs that stood before the session, which it changed or took away, and their length.
    before_packs: BTreeMap<String, (Digest, u64)>,
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
    /// How many more there are.
    pub more: usize,
    /// Objects that may be commits, and whose bytes are not at hand.
    pub untold: BTreeSet<String>,
    /// Packs of which can't be said which commits they added.
    pub unread: BTreeSet<String>,
}

impl Commits {
    /// Takes one change in.
    pub fn take(&mut self, change: &Change) {
        let file = |node: &Node| match node {
            Node::File { digest, size, .. } => digest.parse::<Digest>().ok().map(|digest| (digest, *size)),
            _ => None,
        };
        let (base, now) = (change.base.as_ref().and_then(file), file(&change.node));
        let is_kept = base.is_some() && base == now;
        if let Some(at) = object_id(&change.path) {
            if let Some((base, _)) = base {
                self.before.insert(at.clone(), base);
            }
            if let Some((digest, _)) = now.filter(|(_, size)| *size <= objects::COMMIT_BYTES_MAX && !is_kept) {
                self.loose.entry(at).or_default().insert(digest);
            }
        } else if let Some((stem, is_index)) = pack(&change.path) {
            if let Some(base) = base.filter(|_| is_index) {
                self.before_packs.insert(stem.to_owned(), base);
            }
            if now.is_some() && !is_kept {
                let pack = self.packs.entry(stem.to_owned()).or_default();
                *(if is_index { &mut pack.index } else { &mut pack.pack }) = now;
            }
        }
    }

    /// The contents that tell which of them are commits.
    pub fn wanted(&self) -> BTreeSet<Digest> {
        let packs = self.packs.values().flat_map(|pack| [pack.pack, pack.index]).flatten();
        let packs = packs.filter(|(_, bytes)| *bytes <= PACK_BYTES_MAX).map(|(digest, _)| digest);
        let before = self.before_read().map(|(_, digest)| digest);
        self.loose.values().flatten().copied().chain(packs).chain(before).collect()
    }

    /// The indexes from before that are read, as far as all of them together are of a bounded length.
    fn before_read(&self) -> impl Iterator<Item = (&String, Digest)> {
        let mut left = BEFORE_BYTES_MAX;
        self.before_packs.iter().map_while(move |(stem, (digest, bytes))| {
            left = left.checked_sub(*bytes)?;
            Some((stem, *digest))
        })
    }

    /// Reads them.
    pub fn read(&self, ledger: &Ledger) -> Result<Told, LedgerError> {
        let mut told = Told::default();
        for ((folder, id), contents) in &self.loose {
            let was = self.before.get(&(folder.clone(), id.clone()));
            for digest in contents.iter().filter(|digest| was != Some(*digest)) {
                match at_hand(ledger, digest)? {
                    Some(bytes) if objects::is_commit(&bytes, id) => _ = told.ids.insert(id.clone()),
                    Some(_) => {}
                    None => _ = told.untold.insert(id.clone()),
                }
            }
        }
        told.untold.retain(|id| !told.ids.contains(id));
        if self.packs.is_empty() {
            return Ok(told.bounded());
        }
        // What a repack took over was there before.
        let mut before: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
        for (stem, index) in self.before_read() {
            let bytes = at_hand(ledger, &index)?.filter(|bytes| objects::is_index(bytes));
            before.entry(folder_of(stem)).or_default().extend(bytes);
        }
        // An index that is not at hand, or one too many.
        let is_known = |folder: &str| {
            let wanted = self.before_packs.keys().filter(|stem| folder_of(stem) == folder).count();
            before.get(folder).map_or(0, Vec::len) == wanted
        };
        let was_there = |folder: &str, id: &String| {
            self.before.contains_key(&(folder.to_owned(), id.clone()))
                || before.get(folder).into_iter().flatten().any(|index| objects::lists(index, id))
        };
        let (mut left, mut work) = (PACKS_BYTES_MAX, objects::WORK_MAX);
        for (stem, pack) in &self.packs {
            let (Some((pack, bytes)), Some((index, of_index))) = (pack.pack, pack.index) else {
                told.unread.insert(stem.clone());
                continue;
            };
            let folder = folder_of(stem);
            let bytes = bytes.saturating_add(of_index);
            let is_small = bytes <= PACK_BYTES_MAX && bytes <= left && is_known(folder);
            let both = match is_small {
                true => at_hand(ledger, &pack)?.zip(at_hand(ledger, &index)?),
                false => None,
            };
            left = left.saturating_sub(bytes);
            match both.and_then(|(pack, index)| objects::commits(&pack, &index, &mut work)) {
                Some(ids) => told.ids.extend(ids.into_iter().filter(|id| !was_there(folder, id))),
                None => _ = told.unread.insert(stem.clone()),
            }
        }
        Ok(told.bounded())
    }
}

impl Told {
    fn bounded(mut self) -> Self {
        self.more = self.ids.len().saturating_sub(COMMITS_MAX);
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

/// The folder of objects and the id of one that stands alone in it, by its path: `…/objects/ab/cdef…`, SHA-1 or SHA-256.
fn object_id(path: &str) -> Option<(String, String)> {
    let mut parts = path.rsplitn(3, '/');
    let (rest, first, folder) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_objects = folder == "objects" || folder.ends_with("/objects");
    let is_object = is_objects && first.len() == 2 && matches!(rest.len(), 38 | 62);
    (is_object && is_hex(first) && is_hex(rest)).then(|| (folder.to_owned(), format!("{first}{rest}")))
}

/// The folder of objects that a pack of this path is in.
fn folder_of(stem: &str) -> &str {
    stem.rsplitn(3, '/').nth(2).unwrap_or_default()
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
        for folder in [".git/objects", ".git/modules/x/objects", "objects"] {
            assert_eq!(object_id(&path(folder)), Some((folder.to_owned(), id.to_owned())));
        }
        assert_eq!(folder_of(".git/objects/pack/pack-1"), ".git/objects");
        for other in
            [path("src"), path("myobjects"), "objects/pack/pack-01.pack".to_owned(), path("objects").to_uppercase()]
        {
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

    /// The commits that these changes are said to have added.
    fn told(ledger: &Ledger, changes: &[Change]) -> Told {
        let mut commits = Commits::default();
        changes.iter().for_each(|change| commits.take(change));
        commits.read(ledger).unwrap()
    }

    /// Each object that stands alone, and whatever else would have it that it does not, or stood there before.
    #[test]
    fn nothing_beside_a_commit_hides_it() {
        let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ledger = Ledger::open(store.path()).unwrap();
        let wanted: BTreeSet<String> = repository(dir.path(), "sha1").into_iter().collect();
        let real = changes(&ledger, dir.path(), false);
        let junk = ledger.put_blob(b"junk").unwrap().to_string();
        ledger.flush().unwrap();
        let junk = Node::File { digest: junk, size: 4, mode: 0o644 };
        let with = |change: &Change, path: String, node: &Node, base: &Node| Change {
            path,
            node: node.clone(),
            base: Some(base.clone()),
            ..change.clone()
        };
        for folder in ["a", "z"] {
            let elsewhere = |node: &Node, base: &Node| -> Vec<Change> {
                real.iter().map(|c| with(c, format!("{folder}/{}", c.path), node, base)).collect()
            };
            for (what, beside) in [("came", elsewhere(&junk, &Node::Absent)), ("was", elsewhere(&Node::Absent, &junk))]
            {
                assert_eq!(
                    told(&ledger, &[beside.clone(), real.clone()].concat()).ids,
                    wanted,
                    "{folder} {what} first"
                );
                assert_eq!(told(&ledger, &[real.clone(), beside].concat()).ids, wanted, "{folder} {what} later");
            }
        }
        // At the very place: what was there is another's, and goes first or is written over.
        let went: Vec<Change> = real.iter().map(|c| with(c, c.path.clone(), &Node::Absent, &junk)).collect();
        let came: Vec<Change> = real.iter().map(|c| Change { base: None, ..c.clone() }).collect();
        assert_eq!(told(&ledger, &[went, came.clone()].concat()).ids, wanted);
        let over: Vec<Change> = real.iter().map(|c| with(c, c.path.clone(), &c.node, &junk)).collect();
        assert_eq!(told(&ledger, &over).ids, wanted);
        let then_junk: Vec<Change> =
            real.iter().map(|c| Change { node: junk.clone(), base: None, ..c.clone() }).collect();
        assert_eq!(told(&ledger, &[came, then_junk].concat()).ids, wanted, "it was added, whatever came of it");
    }

    #[test]
    fn a_pack_that_is_written_over_tells_what_it_added() {
        let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ledger = Ledger::open(store.path()).unwrap();
        repository(dir.path(), "sha1");
        git(dir.path(), &["gc", "-q"]);
        let was = changes(&ledger, dir.path(), true);
        git(dir.path(), &["commit", "-q", "--allow-empty", "-m", "hidden"]);
        let one = git(dir.path(), &["rev-parse", "HEAD"]);
        git(dir.path(), &["gc", "-q"]);
        let is = changes(&ledger, dir.path(), false);
        let of =
            |all: &[Change], ending: &str| all.iter().find(|change| change.path.ends_with(ending)).cloned().unwrap();
        // Under the name of the pack that was there.
        let over: Vec<Change> =
            [".pack", ".idx"].map(|ending| Change { node: of(&is, ending).node, ..of(&was, ending) }).to_vec();
        assert_eq!(told(&ledger, &over).ids, BTreeSet::from([one.clone()]));
        // Another repository's index lists it: that says nothing here.
        let index = of(&is, ".idx");
        let theirs = Change { path: format!("a/{}", index.path), base: Some(index.node), node: Node::Absent, ..index };
        assert!(told(&ledger, &[vec![theirs], was, is].concat()).ids.contains(&one));
    }

    #[test]
    fn indexes_from_before_are_read_as_far_as_they_are_small() {
        let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ledger = Ledger::open(store.path()).unwrap();
        repository(dir.path(), "sha1");
        git(dir.path(), &["gc", "-q"]);
        let is = changes(&ledger, dir.path(), false);
        // Names of contents that are not even there: nothing of them is asked for.
        let large = |n: u64| {
            let node = Node::File {
                digest: Digest::of(&n.to_le_bytes()).to_string(),
                size: BEFORE_BYTES_MAX / 4,
                mode: 0o644,
            };
            let path = format!(".git/objects/pack/pack-{n:02}.idx");
            Change { path, node: Node::Absent, base: Some(node), blob: None, kept: None }
        };
        let mut commits = Commits::default();
        (0..9).map(large).chain(is.clone()).for_each(|change| commits.take(&change));
        assert_eq!(commits.wanted().len(), 4 + 2, "four of them, the pack and its index");
        let read = commits.read(&ledger).unwrap();
        assert_eq!((read.ids.len(), read.unread.len()), (0, 1), "and the pack is said to be unread");
        // Commits that are too many to be named are counted.
        let ids = (0..COMMITS_MAX + 3).map(|n| format!("{n:040x}")).collect();
        let told = Told { ids, ..Told::default() }.bounded();
        assert_eq!((told.ids.len(), told.more), (COMMITS_MAX, 3));
    }
}
