//! One look at many paths of the merged view: the layers, and the directories on the way, are opened once for all of them.
//!
//! What a directory leads to is remembered for the time of one look. Whoever renames one meanwhile changes what stands at its
//! paths after this look, and has to look again.

use super::base::Base;
use super::node::{Open, hash, is_opaque, is_whiteout, kind};
use super::probe::{Stamp, stamp_of};
use super::{Layers, Node, Result, beneath, beneath::err};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Directories that are held open at once.
const HELD_MAX: usize = 64;
/// What changes its kind while it is looked at is looked at again so often.
const RACES_MAX: usize = 16;

/// The layers, opened for one look.
pub struct Look {
    open: Open,
    layers: Layers,
    /// By the directory's path.
    held: HashMap<OsString, Held>,
}

/// One directory in both layers.
struct Held {
    upper: Option<OwnedFd>,
    /// `None`: not asked yet.
    lower: Option<Option<OwnedFd>>,
    /// Whether the lower layer's entries show through; `None`: not asked yet.
    shows_lower: Option<bool>,
}

/// What stands at a path.
#[derive(Debug)]
pub struct Found {
    /// Of the session's own copy of a regular file. Taken before the file is read: see [`super::stamp`].
    pub stamp: Option<Stamp>,
    /// The inode of the session's own copy of a regular file that has other names and can't be opened by this one.
    pub closed_link: Option<u64>,
    /// Neither layer has anything there.
    pub is_bare: bool,
    /// It.
    pub what: What,
}

/// A file that is still to be read, or a node.
#[derive(Debug)]
pub enum What {
    /// A regular file that can be read, with its length and mode when it was opened.
    File {
        /// At its beginning.
        file: File,
        /// Bytes.
        bytes: u64,
        /// The lower twelve bits.
        mode: u32,
    },
    /// Anything else, and a file that its owner may not read ([`Node::Other`]).
    Node(Node),
}

impl Look {
    /// Opens the layers.
    ///
    /// # Errors
    /// They can't be opened.
    pub fn new(layers: &Layers) -> Result<Self> {
        Ok(Self { open: Open::new(layers)?, layers: layers.clone(), held: HashMap::new() })
    }

    /// Whether the session works in a copy: then other paths may change along with one ([`super::along_with`]).
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.open.base.is_some()
    }

    /// What stands at a path of the merged view.
    ///
    /// # Errors
    /// The path does not stay within, or the operating system refuses.
    pub fn at(&mut self, rel: &Path) -> Result<Found> {
        beneath::check(rel)?;
        let Some((above, name)) = split(rel) else {
            return Ok(Found::node(super::node_at(&self.layers, rel)?));
        };
        let upper = match self.upper(above, name) {
            // A file that its own owner may not reach: nobody inside can, before a call changes that.
            Err(Errno::ACCESS) => return Ok(Found::node(Node::Other)),
            found => found.map_err(err("look at", rel))?,
        };
        match upper {
            Some(Entry::Node(_, stat)) if is_whiteout(&stat) && !self.is_copy() => Ok(Found::node(Node::Absent)),
            Some(found) => {
                let (stamp, closed_link) = match &found {
                    Entry::File(file, stat) => (Some(stamp_of(file, stat)), None),
                    Entry::Node(_, stat) => (None, is_linked_file(stat).then_some(stat.st_ino)),
                };
                Ok(Found { stamp, closed_link, is_bare: false, what: found.what() })
            }
            None if self.is_copy() => Ok(Found::node(Node::Absent)),
            None => {
                let below = match self.lower(above, name) {
                    // Whether it shows takes a look at every directory on the way, and where nothing is, nothing can.
                    Ok(None) => return Ok(Found { is_bare: true, ..Found::node(Node::Absent) }),
                    Err(Errno::ACCESS) => What::Node(Node::Other),
                    found => found.map_err(err("read", rel))?.map_or(What::Node(Node::Absent), Entry::what),
                };
                Ok(Found::what(if self.shows_lower(above)? { below } else { What::Node(Node::Absent) }))
            }
        }
    }

    /// What the real tree has at a path, or had, where the session works in a copy; of a file longer than that only that it
    /// is there ([`Node::Other`]).
    ///
    /// # Errors
    /// The path does not stay within, or the operating system refuses.
    pub fn base(&mut self, rel: &Path, file_bytes_max: u64) -> Result<Node> {
        beneath::check(rel)?;
        let too_long = |bytes: u64| bytes > file_bytes_max;
        if let Some(base) = self.open.base.as_deref() {
            let node = Base::node(base, rel);
            return Ok(if matches!(node, Node::File { size, .. } if too_long(size)) { Node::Other } else { node });
        }
        let Some((above, name)) = split(rel) else { return super::lower_node(&self.layers, rel) };
        match self.lower(above, name).map_err(err("read", rel))? {
            None => Ok(Node::Absent),
            Some(Entry::Node(node, _)) => Ok(node),
            Some(Entry::File(_, stat)) if too_long(length(&stat)) => Ok(Node::Other),
            Some(Entry::File(_, stat)) if stat.st_mode & 0o400 == 0 => Ok(Node::Other),
            Some(Entry::File(mut file, stat)) => {
                let (digest, size) = hash(&mut file, &mut |_| {}).map_err(err("read", rel))?;
                Ok(Node::File { digest, size, mode: stat.st_mode & 0o7777 })
            }
        }
    }

    fn upper(&mut self, above: &Path, name: &OsStr) -> rustix::io::Result<Option<Entry>> {
        let dir = self.held(above)?.upper.as_ref();
        dir.map_or(Ok(None), |dir| entry(dir.as_fd(), name))
    }

    /// What the lower layer has in a directory, whether or not it shows.
    fn lower(&mut self, above: &Path, name: &OsStr) -> rustix::io::Result<Option<Entry>> {
        if self.held(above)?.lower.is_none() {
            let dir = folder(self.open.lower.as_fd(), above)?;
            self.held(above)?.lower = Some(dir);
        }
        let dir = self.held(above)?.lower.as_ref().and_then(Option::as_ref);
        dir.map_or(Ok(None), |dir| entry(dir.as_fd(), name))
    }

    /// As [`Open::shows_lower`] of what is in that directory.
    fn shows_lower(&mut self, dir: &Path) -> Result<bool> {
        if let Some(known) = self.held(dir).map_err(err("look at", dir))?.shows_lower {
            return Ok(known);
        }
        let upper = self.open.upper.as_fd();
        let here = match beneath::stat(upper, dir).map_err(err("look at", dir))? {
            None => true,
            Some(stat) => kind(&stat) == FileType::Directory && !is_opaque(upper, dir)?,
        };
        let shows = here && dir.parent().map_or(Ok(true), |above| self.shows_lower(above))?;
        // Directories above may have taken this one's place among those that are held.
        self.held(dir).map_err(err("look at", dir))?.shows_lower = Some(shows);
        Ok(shows)
    }

    fn held(&mut self, dir: &Path) -> rustix::io::Result<&mut Held> {
        if !self.held.contains_key(dir.as_os_str()) {
            if self.held.len() >= HELD_MAX {
                self.held.clear();
            }
            let upper = folder(self.open.upper.as_fd(), dir)?;
            self.held.insert(dir.as_os_str().to_owned(), Held { upper, lower: None, shows_lower: None });
        }
        self.held.get_mut(dir.as_os_str()).ok_or(Errno::NOENT)
    }
}

impl Found {
    fn node(node: Node) -> Self {
        Self::what(What::Node(node))
    }

    fn what(what: What) -> Self {
        Self { stamp: None, closed_link: None, is_bare: false, what }
    }
}

fn is_linked_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink > 1
}

/// One layer's entry: a file opened for reading, or anything else.
enum Entry {
    File(File, Stat),
    Node(Node, Stat),
}

impl Entry {
    fn what(self) -> What {
        match self {
            Entry::File(file, stat) => What::File { file, bytes: length(&stat), mode: stat.st_mode & 0o7777 },
            Entry::Node(node, _) => What::Node(node),
        }
    }
}

/// What a directory has under a name, no link followed.
fn entry(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<Option<Entry>> {
    for _ in 0..RACES_MAX {
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            stat => stat?,
        };
        let node = match kind(&stat) {
            FileType::RegularFile => match open(dir, name) {
                Ok(file) => {
                    // Of the open file: the name may have come to mean another one.
                    let stat = rustix::fs::fstat(&file)?;
                    if kind(&stat) != FileType::RegularFile {
                        continue;
                    }
                    return Ok(Some(Entry::File(file, stat)));
                }
                Err(Errno::ACCESS) => Node::Other,
                Err(Errno::NOENT | Errno::LOOP | Errno::INTR | Errno::NXIO) => continue,
                Err(e) => return Err(e),
            },
            FileType::Directory => Node::Directory { mode: stat.st_mode & 0o7777 },
            FileType::Symlink => match rustix::fs::readlinkat(dir, name, Vec::new()) {
                Err(Errno::NOENT | Errno::INVAL) => continue,
                target => {
                    let target = OsString::from_vec(target?.into_bytes());
                    Node::Symlink { target: target.into() }
                }
            },
            _ => Node::Other,
        };
        return Ok(Some(Entry::Node(node, stat)));
    }
    Err(Errno::AGAIN)
}

/// Never blocks on what turned into a FIFO meanwhile.
fn open(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?))
}

/// A directory of a layer; `None` where there is none.
fn folder(root: BorrowedFd<'_>, dir: &Path) -> rustix::io::Result<Option<OwnedFd>> {
    match beneath::place(root, dir) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A path's directory, and its name in there; `None` for the root itself.
fn split(rel: &Path) -> Option<(&Path, &OsStr)> {
    Some((rel.parent()?, rel.file_name()?))
}

fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(u64::MAX)
}
