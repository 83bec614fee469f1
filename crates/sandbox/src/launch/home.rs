//! The agent's home: a private folder with an overlay for each dot folder of the user's, and copies of small dot files.
//!
//! One overlay over all of the home is not possible: its upper layer (the session's folder) commonly lies below the
//! home, and an overlay can't hold its own layers. And the rest of the home is not the agent's business.
//!
//! Layout of the layers, below `home_keep` or `SESSION/home`: `top/` is the home itself; `upper/NAME` and `work/NAME` are
//! the layers of the overlay at `~/NAME`, where a `/` of the name is written `%2f`.

use super::prepare::like;
use super::remove::remove_session_dir;
use super::root::{Root, WRITABLE, exists, is_dir_or_absent};
use super::step::{At, Step};
use super::wire::Boot;
use super::{root, root::READ_ONLY};
use crate::copy::Bounds;
use crate::spec::Spec;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Dot files above this are not copied.
const COPIED_BYTES_MAX: u64 = 1 << 20;
/// Where no overlay can be had, folders of the home are copied up to here in all, and larger ones only shown: a start is not
/// to take longer than the few seconds that this takes on a slow disk.
const COPIED: Bounds = Bounds { entries_max: 20_000, bytes_max: 128 << 20 };
/// Entries of the home that are looked at.
const ENTRIES_MAX: usize = 4096;
/// Folders that many programs share: where our own files lie in one, its entries are composed one by one.
const SHARED: &[&str] = &[".local", ".local/share", ".local/state", ".config", ".cache"];
/// Records of what the user did, and keys to the user's display.
const NEVER_COPIED: &[&str] =
    &[".lesshst", ".viminfo", ".wget-hsts", ".Xauthority", ".ICEauthority", ".netrc", ".pgpass"];

/// Where the layers of the home lie.
pub(super) fn layers(spec: &Spec) -> PathBuf {
    spec.home_keep.clone().unwrap_or_else(|| spec.session_dir.join("home"))
}

/// Builds the home in the new root.
pub(super) fn build(root: &Root, boot: &Boot) -> Step<()> {
    let home = &boot.spec.home;
    if home.parent().is_none() {
        return Ok(());
    }
    let layers = layers(&boot.spec);
    let top = top(&layers)?;
    root.bind(&layers.join("top"), home, WRITABLE)?;
    Plan::new(Some(root), &boot.spec, boot.is_copy, &layers).folder(&top, home, "")
}

/// Makes the home of a session without mounts, a folder of its own: small things are copied into it, of large folders it has
/// links. Returns the folders that those lead to.
pub(super) fn build_apart(spec: &Spec) -> Step<Vec<PathBuf>> {
    let layers = layers(spec);
    let top = top(&layers)?;
    let plan = Plan::new(None, spec, true, &layers);
    if spec.home.parent().is_some() {
        plan.folder(&top, &spec.home, "")?;
    }
    Ok(plan.linked.into_inner())
}

fn top(layers: &Path) -> Step<OwnedFd> {
    for name in ["top", "upper", "work"] {
        make_dir(&layers.join(name)).at("making the home's layers", layers.join(name))?;
    }
    rustix::fs::open(layers.join("top"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at("opening the home's layers", layers)
}

struct Plan<'a> {
    /// `None`: nothing can be mounted.
    root: Option<&'a Root>,
    spec: &'a Spec,
    is_copy: bool,
    home: &'a Path,
    layers: &'a Path,
    hidden: Vec<PathBuf>,
    /// What may still be copied where no overlay can be had.
    copied: Cell<Bounds>,
    /// Folders that a link stands for.
    linked: RefCell<Vec<PathBuf>>,
}

impl<'a> Plan<'a> {
    fn new(root: Option<&'a Root>, spec: &'a Spec, is_copy: bool, layers: &'a Path) -> Self {
        let (copied, linked) = (Cell::new(COPIED), RefCell::default());
        Self { root, spec, is_copy, home: &spec.home, layers, hidden: hidden(spec), copied, linked }
    }

    /// Composes the entries of one folder; `inside` is the private folder that stands for it, `name` its path below home.
    fn folder(&self, inside: &OwnedFd, folder: &Path, name: &str) -> Step<()> {
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten().take(ENTRIES_MAX) {
            let file_name = entry.file_name();
            if name.is_empty() && !file_name.as_bytes().starts_with(b".") {
                continue;
            }
            let Some(text) = file_name.to_str() else { continue };
            let below = if name.is_empty() { text.to_owned() } else { format!("{name}/{text}") };
            self.entry(inside, &file_name, &entry.path(), &below)?;
        }
        Ok(())
    }

    fn entry(&self, inside: &OwnedFd, file_name: &OsStr, path: &Path, below: &str) -> Step<()> {
        // What a link leads to decides: a credential stays one by any name.
        let (Ok(link), Ok(real)) = (fs::symlink_metadata(path), fs::canonicalize(path)) else { return Ok(()) };
        if self.is_hidden(path) || self.is_hidden(&real) {
            return Ok(());
        }
        let Ok(meta) = fs::metadata(&real) else { return Ok(()) };
        if link.is_symlink() && self.is_visible(&real) {
            return match rustix::fs::symlinkat(fs::read_link(path).at("reading a link", path)?, inside, file_name) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(error) => Err(error).at("making a link of the home", path),
            };
        }
        if meta.is_file() {
            // What can't be read is not there: nothing of the agent's depends on a file that the user can't read.
            let _ = copy(inside, file_name, &real, &meta);
            return Ok(());
        }
        if !meta.is_dir() || !is_dir_or_absent(inside, file_name) {
            return Ok(());
        }
        if self.holds_private(&real) {
            if !SHARED.contains(&below) || link.is_symlink() {
                return Ok(());
            }
            let _ = rustix::fs::mkdirat(inside, file_name, Mode::from_raw_mode(0o700));
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let deeper =
                rustix::fs::openat(inside, file_name, flags, Mode::empty()).at("opening a folder of the home", path)?;
            return self.folder(&deeper, &real, below);
        }
        match self.root {
            Some(root) => self.overlay(root, &real, below),
            None => self.apart(inside, file_name, &real),
        }
    }

    /// A copy if it is small, a link if not.
    fn apart(&self, inside: &OwnedFd, name: &OsStr, real: &Path) -> Step<()> {
        if exists(inside, name) {
            if rustix::fs::readlinkat(inside, name, Vec::new())
                .is_ok_and(|to| to.to_bytes() == real.as_os_str().as_bytes())
            {
                self.linked.borrow_mut().push(real.to_owned());
            }
            return Ok(());
        }
        let copy = self.layers.join("work/copied");
        let _ = remove_session_dir(&copy);
        let is_placed =
            self.copy_small(real, &copy).is_ok() && rustix::fs::renameat(rustix::fs::CWD, &copy, inside, name).is_ok();
        if !is_placed && rustix::fs::symlinkat(real, inside, name).is_ok() {
            self.linked.borrow_mut().push(real.to_owned());
        }
        Ok(())
    }

    fn overlay(&self, root: &Root, lower: &Path, below: &str) -> Step<()> {
        let place = self.home.join(below);
        let layer = below.replace('%', "%25").replace('/', "%2f");
        let (upper, work) = (self.layers.join("upper").join(&layer), self.layers.join("work").join(&layer));
        let is_kept = self.spec.home_keep.is_some();
        if !is_kept {
            // A volatile overlay leaves a mark there that forbids a second mount, after a crash too; at worst what the
            // session left in its home is lost, which the home of one session may be.
            let _ = remove_session_dir(&work);
        }
        if self.is_copy {
            return self.copied(root, lower, &place, &upper);
        }
        make_dir(&upper).at("making the home's layers", &upper)?;
        make_dir(&work).at("making the home's layers", &work)?;
        like(&upper, lower).at("making the home's layers", &upper)?;
        if root.overlay(&place, &[lower], &upper, &work, is_kept).is_err() {
            // Someone else's folder, or a file system that no overlay can lie over: to be read, if that. What is wrong
            // with overlays as such, the workspace's own will tell.
            let _ = root.bind(lower, &place, READ_ONLY);
        }
        Ok(())
    }

    /// Where there is no overlay: a copy to write in, if it is small; a large folder (caches, toolchains) is only read.
    fn copied(&self, root: &Root, lower: &Path, place: &Path, copy: &Path) -> Step<()> {
        // What an earlier session of the agent's left is its home; what one that was cut off left half is not.
        if copy.exists() || self.copy_small(lower, copy).is_ok() {
            return root.bind(copy, place, WRITABLE);
        }
        let _ = root.bind(lower, place, READ_ONLY);
        Ok(())
    }

    fn copy_small(&self, lower: &Path, copy: &Path) -> io::Result<()> {
        let unfinished = copy.with_extension("copying%");
        let _ = remove_session_dir(&unfinished);
        make_dir(&unfinished)?;
        let open = |path: &Path| rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let (from, to) = (open(lower)?, open(&unfinished)?);
        let Bounds { entries_max, bytes_max } = self.copied.get();
        let (mut entries, mut bytes) = (0, 0);
        let copied = crate::copy::tree(
            from.as_fd(),
            to.as_fd(),
            self.copied.get(),
            &|path| self.is_hidden(&lower.join(path)),
            &mut |_, kind| {
                entries += 1;
                if let crate::copy::Kind::File { size, .. } = kind {
                    bytes += size;
                }
            },
        );
        let done = copied.map_err(|failed| failed.source).and_then(|()| fs::rename(&unfinished, copy));
        if done.is_err() {
            let _ = remove_session_dir(&unfinished);
        }
        self.copied.set(Bounds {
            entries_max: entries_max.saturating_sub(entries),
            bytes_max: bytes_max.saturating_sub(bytes),
        });
        done
    }

    fn is_hidden(&self, path: &Path) -> bool {
        self.hidden.iter().any(|hidden| path.starts_with(hidden))
    }

    /// Reachable inside by its own path.
    fn is_visible(&self, real: &Path) -> bool {
        // Without mounts the home inside has another path than the links of the real one say.
        let in_dot_folder = self.root.is_some()
            && real.strip_prefix(self.home).is_ok_and(|rest| {
                rest.components().next().is_some_and(|first| first.as_os_str().as_bytes().starts_with(b"."))
            });
        in_dot_folder || real.starts_with("/usr") || real.starts_with("/opt") || real.starts_with("/etc")
    }

    /// Whether our own files, or the whole workspace, lie in it.
    fn holds_private(&self, real: &Path) -> bool {
        let spec = self.spec;
        spec.session_dir.starts_with(real)
            || real.starts_with(&spec.session_dir)
            || spec.home_keep.as_ref().is_some_and(|keep| keep.starts_with(real) || real.starts_with(keep))
    }
}

fn hidden(spec: &Spec) -> Vec<PathBuf> {
    let mut hidden = spec.hide.clone();
    // Most are not there, which one call tells; what they lead to takes one for each part of their path.
    let there = spec.hide.iter().filter(|path| path.exists());
    hidden.extend(there.filter_map(|path| fs::canonicalize(path).ok().filter(|real| real != path)));
    hidden
}

/// Copies a small file, once: what stands there from an earlier session is the agent's.
fn copy(inside: &OwnedFd, name: &OsStr, real: &Path, meta: &fs::Metadata) -> io::Result<()> {
    let text = name.to_string_lossy();
    let is_record = text.ends_with("_history") || NEVER_COPIED.contains(&text.as_ref());
    if is_record || meta.len() > COPIED_BYTES_MAX || exists(inside, name) {
        return Ok(());
    }
    let bytes = fs::read(real)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = root::create_at(inside, name, flags, meta.mode() & 0o777)?;
    fs::File::from(file).write_all(&bytes)
}

/// Makes a directory for this user only, with its parents.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
