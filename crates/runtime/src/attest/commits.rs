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

/// Of the packs that stood before the session, with their indexes.
const BEFORE_BYTES_MAX: u64 = 256 << 20;

/// Where objects came to stand among changes, before any was read. What one repository has says nothing of another: a path is known by
/// the folder of objects that it is in as well.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// Objects that stand alone, by folder and id, with each content that came to stand there.
    loose: BTreeMap<(String, String), BTreeSet<Digest>>,
    /// Packs, by path without its ending: as often as one was written anew.
    packs: BTreeMap<String, Pack>,
    /// What stood alone before the session, by folder and id, and its length.
    before: BTreeMap<(String, String), (Digest, u64)>,
    /// Packs that stood before the session, which it changed or took away.
    before_packs: BTreeMap<String, Pack>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pack {
    pack: Option<(Digest, u64)>,
    index: Option<(Digest, u64)>,
}

impl Pack {
    fn take(&mut self, file: Option<(Digest, u64)>, is_index: bool) {
        *(if is_index { &mut self.index } else { &mut self.pack }) = file;
    }

    /// Both of its files, and their length together.
    fn both(self) -> Option<(Digest, Digest, u64)> {
        let ((pack, bytes), (index, of_index)) = self.pack.zip(self.index)?;
        Some((pack, index, bytes.saturating_add(of_index)))
    }

    /// The commits in it, if it can be read and the bytes of both files, and what may be done, are enough for it.
    fn commits(self, ledger: &Ledger, left: &mut u64, work: &mut u64) -> Result<Option<BTreeSet<String>>, LedgerError> {
        let Some((pack, index, bytes)) = self.both() else { return Ok(None) };
        let is_small = bytes <= PACK_BYTES_MAX && bytes <= *left;
        *left = left.saturating_sub(bytes);
        let both = match is_small {
            true => at_hand(ledger, &pack)?.zip(at_hand(ledger, &index)?),
            false => None,
        };
        Ok(both.and_then(|(pack, index)| objects::commits(&pack, &index, work)))
    }
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
            if let Some(base) = base {
                self.before.insert(at.clone(), base);
            }
            if let Some((digest, _)) = now.filter(|(_, size)| *size <= objects::COMMIT_BYTES_MAX && !is_kept) {
                self.loose.entry(at).or_default().insert(digest);
            }
        } else if let Some((stem, is_index)) = pack(&change.path) {
            if base.is_some() {
                self.before_packs.entry(stem.to_owned()).or_default().take(base, is_index);
            }
            if now.is_some() && !is_kept {
                self.packs.entry(stem.to_owned()).or_default().take(now, is_index);
            }
        }
    }

    /// The contents that tell which of them are commits.
    pub fn wanted(&self) -> BTreeSet<Digest> {
        let mut left = BEFORE_BYTES_MAX;
        let before = self.before_packs.values().filter_map(|pack| pack.both());
        let before = before.take_while(|(.., bytes)| {
            let rest = left.checked_sub(*bytes);
            left = rest.unwrap_or_default();
            rest.is_some()
        });
        let packs = self.packs.values().filter_map(|pack| pack.both()).chain(before);
        let packs = packs.filter(|(.., bytes)| *bytes <= PACK_BYTES_MAX).flat_map(|(pack, index, _)| [pack, index]);
        let alone = self.before.values().filter(|(_, bytes)| *bytes <= objects::COMMIT_BYTES_MAX);
        self.loose.values().flatten().copied().chain(packs).chain(alone.map(|(digest, _)| *digest)).collect()
    }

    /// Whether this commit stood alone in that folder before the session: a path says nothing, the bytes do. Nothing where they are
    /// not at hand.
    fn was_alone(&self, ledger: &Ledger, folder: &str, id: &str) -> Result<Option<bool>, LedgerError> {
        match self.before.get(&(folder.to_owned(), id.to_owned())) {
            Some((digest, bytes)) if *bytes <= objects::COMMIT_BYTES_MAX => {
                Ok(at_hand(ledger, digest)?.map(|bytes| objects::is_commit(&bytes, id)))
            }
            _ => Ok(Some(false)),
        }
    }

    /// Reads them.
    pub fn read(&self, ledger: &Ledger) -> Result<Told, LedgerError> {
        let mut told = Told::default();
        for ((folder, id), contents) in &self.loose {
            let was = self.before.get(&(folder.clone(), id.clone())).map(|(digest, _)| digest);
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
        // What a repack took over was there before: in packs of the same folder, all of which have to be read to say so.
        let mut work = objects::WORK_MAX;
        let (mut left, mut before) = (BEFORE_BYTES_MAX, BTreeMap::<&str, Option<BTreeSet<String>>>::new());
        for (stem, pack) in &self.before_packs {
            let commits = pack.commits(ledger, &mut left, &mut work)?;
            let known = before.entry(folder_of(stem)).or_insert_with(|| Some(BTreeSet::new()));
            *known = known.take().zip(commits).map(|(mut known, commits)| {
                known.extend(commits);
                known
            });
        }
        let mut left = PACKS_BYTES_MAX;
        for (stem, pack) in &self.packs {
            let folder = folder_of(stem);
            let commits = pack.commits(ledger, &mut left, &mut work)?;
            let none = Some(BTreeSet::new());
            let (Some(commits), Some(known)) = (commits, before.get(folder).unwrap_or(&none)) else {
                told.unread.insert(stem.clone());
                continue;
            };
            for id in commits.into_iter().filter(|id| !known.contains(id)) {
                match self.was_alone(ledger, folder, &id)? {
                    Some(true) => {}
                    Some(false) => _ = told.ids.insert(id),
                    None => _ = told.unread.insert(stem.clone()),
                }
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
pub(super) fn object_id(path: &str) -> Option<(String, String)> {
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
        let after_junk: Vec<Change> = real.iter().map(|c| with(c, c.path.clone(), &junk, &Node::Absent)).collect();
        let came: Vec<Change> = real.iter().map(|c| Change { base: None, ..c.clone() }).collect();
        assert_eq!(told(&ledger, &[after_junk, came].concat()).ids, wanted, "after something else");
        // What was at its place was no such commit, and it comes in a pack.
        git(dir.path(), &["gc", "-q"]);
        let packed = changes(&ledger, dir.path(), false);
        let read = |before: &Node| {
            let went = real.iter().map(|c| with(c, c.path.clone(), &Node::Absent, before));
            told(&ledger, &went.chain(packed.clone()).collect::<Vec<_>>())
        };
        assert_eq!(read(&junk).ids, wanted, "in a pack");
        let other = real.iter().find(|c| c.path.contains("/objects/")).unwrap().node.clone();
        assert!(read(&other).ids.len() + 1 >= wanted.len(), "another object's bytes at each place");
        // Nor can it be said where the bytes are not at hand: then that is.
        let lost = Node::File { digest: Digest::of(b"nobody has them").to_string(), size: 15, mode: 0o644 };
        let lost = read(&lost);
        assert_eq!((lost.ids.len(), lost.unread.len()), (0, 1), "not told as if they had been there");
        // Longer than a commit is: it was none, whatever it was.
        let long = Node::File { digest: Digest::of(b"").to_string(), size: objects::COMMIT_BYTES_MAX + 1, mode: 0o644 };
        assert_eq!(read(&long).ids, wanted);
    }

    /// An index lists what it likes: what its pack had counts.
    #[test]
    fn an_index_from_before_hides_no_commit() {
        let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ledger = Ledger::open(store.path()).unwrap();
        repository(dir.path(), "sha1");
        git(dir.path(), &["gc", "-q"]);
        let was = changes(&ledger, dir.path(), true);
        git(dir.path(), &["commit", "-q", "--allow-empty", "-m", "hidden"]);
        let one = git(dir.path(), &["rev-parse", "HEAD"]);
        git(dir.path(), &["gc", "-q"]);
        let is = changes(&ledger, dir.path(), false);
        let of = |all: &[Change], ending: &str| {
            let node = |c: &Change| if c.node == Node::Absent { c.base.clone().unwrap() } else { c.node.clone() };
            all.iter().find(|change| change.path.ends_with(ending)).map(node).unwrap()
        };
        let before = |pack: Option<Node>, index: Node| -> Vec<Change> {
            let files = pack.map(|pack| (".pack", pack)).into_iter().chain([(".idx", index)]);
            files
                .map(|(ending, node)| Change {
                    path: format!(".git/objects/pack/pack-0{ending}"),
                    node: Node::Absent,
                    base: Some(node),
                    blob: None,
                    kept: None,
                })
                .collect()
        };
        let read = |before: Vec<Change>| told(&ledger, &[before, is.clone()].concat());
        assert_eq!(read(was.clone()).ids, BTreeSet::from([one.clone()]), "what the true one had is not the session's");
        // One that lists it: beside a pack that has it not, with none, and with one that is not at hand.
        for pack in [Some(of(&was, ".pack")), None] {
            let read = read(before(pack, of(&is, ".idx")));
            assert!(read.ids.contains(&one) || !read.unread.is_empty(), "{read:?}");
        }
        let both = read(before(Some(of(&is, ".pack")), of(&is, ".idx")));
        assert!(both.ids.is_empty() && both.unread.is_empty(), "it was there: {both:?}");
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
        // Another repository had it before: that says nothing here.
        for folder in ["+", "a"] {
            let theirs = [".pack", ".idx"].map(|ending| {
                let Change { path, node, .. } = of(&is, ending);
                Change {
                    path: format!("{folder}/{path}"),
                    base: Some(node),
                    node: Node::Absent,
                    blob: None,
                    kept: None,
                }
            });
            let read = told(&ledger, &[theirs.to_vec(), was.clone(), is.clone()].concat());
            assert_eq!((read.ids, read.unread.len()), (BTreeSet::from([one.clone()]), 0), "{folder}");
        }
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
            let node = |of: &str| Node::File {
                digest: Digest::of(format!("{n}.{of}").as_bytes()).to_string(),
                size: PACK_BYTES_MAX / 2,
                mode: 0o644,
            };
            let path = |ending: &str| format!(".git/objects/pack/pack-{n:02}.{ending}");
            let change = |ending: &str| Change {
                path: path(ending),
                node: Node::Absent,
                base: Some(node(ending)),
                blob: None,
                kept: None,
            };
            [change("idx"), change("pack")]
        };
        let mut commits = Commits::default();
        (0..9).flat_map(large).chain(is.clone()).for_each(|change| commits.take(&change));
        // Each is as long as may be read, and all of them are longer than what is read of all.
        assert_eq!(commits.wanted().len(), 4 * 2 + 2, "four of them, the pack and its index");
        let read = commits.read(&ledger).unwrap();
        assert_eq!((read.ids.len(), read.unread.len()), (0, 1), "and the pack is said to be unread");
        // So are those that came: as many as are read of all, and of no more is it said what is in them.
        let long = |n: u64| {
            is.iter().filter(|c| c.path.ends_with(".pack") || c.path.ends_with(".idx")).map(move |c| {
                let Node::File { digest, mode, .. } = c.node.clone() else { return c.clone() };
                let node = Node::File { digest, size: PACK_BYTES_MAX / 2, mode };
                let ending = c.path.rsplit('.').next().unwrap();
                Change { path: format!(".git/objects/pack/pack-{n}.{ending}"), node, ..c.clone() }
            })
        };
        let read = told(&ledger, &(0..6).flat_map(long).collect::<Vec<_>>());
        assert_eq!((read.ids.is_empty(), read.unread.len()), (false, 2), "{:?}", read.unread);
        // Commits that are too many to be named are counted.
        let ids = (0..COMMITS_MAX + 3).map(|n| format!("{n:040x}")).collect();
        let told = Told { ids, ..Told::default() }.bounded();
        assert_eq!((told.ids.len(), told.more), (COMMITS_MAX, 3));
    }
}
