//! What stands at a path of the merged view, and its content.

use super::base::Base;
use super::{Layers, Result, beneath, beneath::err, escape, text::serde_path};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Node {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// `sha256:` and the content's SHA-256 in lower-case hex.
        digest: String,
        /// Bytes.
        size: u64,
        /// The lower twelve bits.
        mode: u32,
    },
    /// A directory, apart from what is in it.
    Directory {
        /// The lower twelve bits.
        mode: u32,
    },
    /// A symbolic link.
    Symlink {
        /// What it says. JSON: as [`escape`] writes it.
        #[serde(with = "serde_path")]
        target: PathBuf,
    },
    /// A FIFO, socket or device, or a file that its owner may not read.
    Other,
}

impl std::fmt::Display for Node {
    /// One line, as [`super::digest`] hashes it: `absent`, `file DIGEST SIZE MODE`, `directory MODE`, `symlink TARGET`,
    /// `other`, with the mode in octal.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Node::Absent => out.write_str("absent"),
            Node::File { digest, size, mode } => write!(out, "file {digest} {size} {mode:04o}"),
            Node::Directory { mode } => write!(out, "directory {mode:04o}"),
            Node::Symlink { target } => write!(out, "symlink {}", escape(target)),
            Node::Other => out.write_str("other"),
        }
    }
}

/// What stands at a path of the merged view, relative to the workspace (empty for its root). Reads a file's whole content.
///
/// # Errors
/// The path does not stay within, or the operating system refuses.
pub fn node_at(layers: &Layers, rel: &Path) -> Result<Node> {
    capture(layers, rel, &mut |_| {})
}

/// The same, handing over a file's content while it is read once: what the digest is of is what `sink` got.
///
/// # Errors
/// The path does not stay within, or the operating system refuses.
pub fn capture(layers: &Layers, rel: &Path, sink: &mut dyn FnMut(&[u8])) -> Result<Node> {
    match Open::new(layers)?.place(rel)? {
        Place::Nowhere => Ok(Node::Absent),
        Place::In(root) => node_in(root, rel, sink).map_err(err("read", rel)),
    }
}

/// A regular file of the merged view, open for reading.
///
/// # Errors
/// There is none, the path does not stay within, or the operating system refuses.
pub fn read(layers: &Layers, rel: &Path) -> Result<File> {
    match Open::new(layers)?.place(rel)? {
        Place::Nowhere => Err(err("read", rel)(Errno::NOENT)),
        Place::In(root) => beneath::file(root, rel).map_err(err("read", rel)),
    }
}

/// The layers, opened.
pub(super) struct Open {
    pub lower: OwnedFd,
    pub upper: OwnedFd,
    /// Of a workspace by copy.
    pub base: Option<Arc<Base>>,
}

/// Which layer shows at a path.
pub(super) enum Place<'a> {
    Nowhere,
    In(BorrowedFd<'a>),
}

impl Open {
    pub fn new(layers: &Layers) -> Result<Self> {
        let (lower, upper) = (beneath::root(&layers.lower)?, beneath::root(&layers.upper)?);
        Ok(Self { lower, upper, base: layers.base()? })
    }

    /// Which layer shows at a path.
    pub fn place(&self, rel: &Path) -> Result<Place<'_>> {
        beneath::check(rel)?;
        let upper = beneath::stat(self.upper.as_fd(), rel).map_err(err("look at", rel))?;
        if let Some(stat) = upper {
            return Ok(if is_whiteout(&stat) && self.base.is_none() {
                Place::Nowhere
            } else {
                Place::In(self.upper.as_fd())
            });
        }
        if self.shows_lower(rel)? { Ok(Place::In(self.lower.as_fd())) } else { Ok(Place::Nowhere) }
    }

    /// Whether the lower layer's entry at a path would show if the upper layer had none there.
    pub fn shows_lower(&self, rel: &Path) -> Result<bool> {
        if self.base.is_some() {
            return Ok(false);
        }
        let above = rel.parent().unwrap_or(Path::new(""));
        for dir in above.ancestors() {
            let stat = beneath::stat(self.upper.as_fd(), dir).map_err(err("look at", dir))?;
            match stat {
                None => {}
                Some(stat) if kind(&stat) != FileType::Directory => return Ok(false),
                Some(_) if is_opaque(self.upper.as_fd(), dir)? => return Ok(false),
                Some(_) => {}
            }
        }
        Ok(true)
    }

    /// What the lower layer has there, whether or not it shows; of a copy, what it was copied from.
    pub fn lower_node(&self, rel: &Path) -> Result<Node> {
        match &self.base {
            Some(base) => Ok(base.node(rel)),
            None => node_in(self.lower.as_fd(), rel, &mut |_| {}).map_err(err("read", rel)),
        }
    }
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether a directory of the upper layer hides the lower one. Refuses what these readers do not understand.
pub(super) fn is_opaque(upper: BorrowedFd<'_>, rel: &Path) -> Result<bool> {
    let dir = beneath::dir(upper, rel).map_err(err("open", rel))?;
    for what in ["user.overlay.redirect", "trusted.overlay.redirect", "user.overlay.metacopy"] {
        if beneath::xattr(dir.as_fd(), what).map_err(err("look at", rel))?.is_some() {
            return Err(super::WorkspaceError::Foreign { path: rel.to_owned(), what });
        }
    }
    for what in ["user.overlay.opaque", "trusted.overlay.opaque"] {
        match beneath::xattr(dir.as_fd(), what).map_err(err("look at", rel))?.as_deref() {
            None => {}
            Some(b"y") => return Ok(true),
            // `x` announces whiteouts kept as extended attributes.
            Some(_) => return Err(super::WorkspaceError::Foreign { path: rel.to_owned(), what }),
        }
    }
    Ok(false)
}

/// What one layer has there, links not followed.
pub(super) fn node_in(root: BorrowedFd<'_>, rel: &Path, sink: &mut dyn FnMut(&[u8])) -> rustix::io::Result<Node> {
    match beneath::stat(root, rel)? {
        Some(stat) => node_of(root, rel, &stat, sink),
        None => Ok(Node::Absent),
    }
}

/// The same of what was found there a moment ago.
pub(super) fn node_of(
    root: BorrowedFd<'_>,
    rel: &Path,
    stat: &Stat,
    sink: &mut dyn FnMut(&[u8]),
) -> rustix::io::Result<Node> {
    match kind(stat) {
        FileType::Directory => Ok(Node::Directory { mode: stat.st_mode & 0o7777 }),
        FileType::Symlink => Ok(Node::Symlink { target: beneath::link(root, rel)? }),
        // Whoever looks, root too, is to find the same.
        FileType::RegularFile if stat.st_mode & 0o400 == 0 => Ok(Node::Other),
        FileType::RegularFile => {
            let mut file = match beneath::file(root, rel) {
                // Its owner closed it to everyone: that it is there can be said, and must not end the session.
                Err(Errno::ACCESS) => return Ok(Node::Other),
                other => other?,
            };
            // Of the open file: the name may have come to mean another one.
            let mode = rustix::fs::fstat(&file)?.st_mode & 0o7777;
            let (digest, size) = hash(&mut file, sink)?;
            Ok(Node::File { digest, size, mode })
        }
        _ => Ok(Node::Other),
    }
}

/// Digest and length of all that is left to read.
pub(super) fn hash(from: &mut dyn Read, sink: &mut dyn FnMut(&[u8])) -> rustix::io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    // Most files are small, and memory that is cleared for them costs more than they do.
    let mut buf = vec![0_u8; 16 * 1024];
    loop {
        let n = match from.read(&mut buf) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
        };
        let chunk = buf.get(..n).unwrap_or_default();
        hasher.update(chunk);
        sink(chunk);
        size += n as u64;
    }
    Ok((named(&hasher.finalize()), size))
}

/// `sha256:` and hex.
pub(super) fn named(digest: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    let mut out = String::with_capacity("sha256:".len() + 2 * digest.len());
    out.push_str("sha256:");
    out.extend(digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    out
}
