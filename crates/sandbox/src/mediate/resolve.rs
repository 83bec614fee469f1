//! Paths, as the caller means them: resolved below the sandbox's root, to a parent directory that is held open and a last
//! name. INVARIANT: what is judged (the canonical path) and what is acted on (parent and name) come from one walk, and
//! every change of a name inside goes through the one mediation thread, so nothing moves between them.

use super::caller::{self, Caller, PATH_BYTES_MAX};
use super::sys::{self, Errno};
use crate::call::FileKind;
use crate::places::Places;
use rustix::fd::AsFd;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

const LINKS_MAX: u32 = 40;
/// Directories that are remembered; each takes a descriptor.
const FOUND_MAX: usize = 32;
/// Callers whose `/proc` directories are held; each takes a descriptor.
const CALLERS_MAX: usize = 32;
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const PROC_ROOT_INODE: u64 = 1;

/// The tree that callers see.
pub(super) struct View {
    root: OwnedFd,
    /// How the kernel prints the root to us: empty when it is a whole mount namespace's root.
    prefix: Vec<u8>,
    pub(super) own_descriptors: OwnedFd,
    /// Without namespaces: the processes of `/proc` are the machine's, and of files only these are the session's.
    pub(super) places: Option<Arc<Places>>,
    /// Directories that were just found, by the path that was asked for. INVARIANT: emptied before anything is done that
    /// could make a path lead elsewhere, or to nobody; all such acts are the mediation thread's.
    found: RefCell<HashMap<Vec<u8>, Directory>>,
    /// `/proc/TID` of recent callers, held open. A handle means one thread for good: once that is gone nothing can be read
    /// through it, whoever has the number then.
    callers: RefCell<HashMap<i32, OwnedFd>>,
}

/// A directory that is held open, and its canonical path.
type Directory = (Arc<OwnedFd>, Arc<[u8]>);

/// A name in a directory.
pub(super) struct Place {
    pub(super) parent: Arc<OwnedFd>,
    parent_path: Arc<[u8]>,
    pub(super) name: CString,
    /// Whether the path ended in a slash.
    pub(super) has_slash: bool,
    /// It was found by walking: the parent may be one of `/proc`'s.
    is_walked: bool,
}

/// What stands at a name that is to go or to move.
pub(super) struct Standing {
    pub(super) kind: FileKind,
    /// Something is mounted there. The kernel keeps that from being renamed or removed within its own mount namespace only;
    /// the supervisor stands in another and must look.
    pub(super) is_mount_point: bool,
}

/// What a path leads to.
pub(super) enum Found {
    /// A name, and what it names now.
    Place(Place, Option<libc::stat>),
    /// A file that a process holds and that has no name here: a pipe, a deleted file, one from outside.
    Held(Held),
}

/// See [`Found::Held`].
pub(super) struct Held {
    pub(super) file: OwnedFd,
    pub(super) stat: libc::stat,
    /// Whether the descriptor that it was reached by is open for writing.
    pub(super) is_writable: bool,
    /// Whether it is open at all: one with `O_PATH` only names a file, whoever may read it.
    pub(super) is_open: bool,
}

/// Whether a last symbolic link is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// Follow it.
    Follow,
    /// Stop at it, unless a slash comes after it.
    Keep,
    /// The name itself is meant (create, remove, rename): never look through it.
    Name,
}

impl Place {
    /// The canonical path.
    pub(super) fn path(&self) -> PathBuf {
        let mut path = self.parent_path.to_vec();
        let name = self.name.to_bytes();
        if name != b"." {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        PathBuf::from(OsString::from_vec(path))
    }

    /// The name as it was given, slash included, for calls whose errors depend on it.
    pub(super) fn given_name(&self) -> CString {
        if !self.has_slash {
            return self.name.clone();
        }
        let mut name = self.name.to_bytes().to_vec();
        name.push(b'/');
        CString::new(name).unwrap_or_default()
    }

    /// The last name is `.` or `..`: no call can create, remove or rename that.
    pub(super) fn is_dots(&self) -> bool {
        matches!(self.name.to_bytes(), b"." | b"..")
    }

    /// The root itself.
    pub(super) fn is_root(&self) -> bool {
        self.name.to_bytes() == b"." && *self.parent_path == *b"/"
    }

    /// Whether `path` is the parent's path that was judged.
    pub(super) fn stands_in(&self, path: &[u8]) -> bool {
        *self.parent_path == *path
    }

    /// What the name names now.
    pub(super) fn look(&self) -> Result<Option<libc::stat>, Errno> {
        match sys::stat(self.parent.as_raw_fd(), &self.name, libc::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(libc::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// What of the name has to be known before it goes or moves.
    pub(super) fn standing(&self) -> Result<Option<Standing>, Errno> {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW | rustix::fs::AtFlags::NO_AUTOMOUNT;
        match rustix::fs::statx(&*self.parent, &self.name, flags, rustix::fs::StatxFlags::TYPE) {
            Ok(stat) => Ok(Some(Standing {
                kind: kind_of(u32::from(stat.stx_mode)),
                is_mount_point: stat.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT),
            })),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.raw_os_error()),
        }
    }

    /// Whether the parent is a directory of `/proc`.
    pub(super) fn is_on_proc(&self) -> bool {
        self.is_walked && is_proc(&self.parent)
    }

    /// A handle on what the name names.
    pub(super) fn handle(&self) -> Result<OwnedFd, Errno> {
        sys::openat(self.parent.as_raw_fd(), &self.name, libc::O_PATH | libc::O_NOFOLLOW, 0)
    }
}

/// What kind of file that is.
pub(super) fn kind(stat: &libc::stat) -> FileKind {
    kind_of(stat.st_mode)
}

fn kind_of(mode: u32) -> FileKind {
    match mode & libc::S_IFMT {
        libc::S_IFREG => FileKind::File,
        libc::S_IFDIR => FileKind::Directory,
        libc::S_IFLNK => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

impl View {
    /// The view below `root`.
    pub(super) fn new(root: OwnedFd, places: Option<Arc<Places>>) -> Result<Self, Errno> {
        let (own_descriptors, prefix) = (caller::own_descriptors()?, Vec::new());
        let (found, callers) = (RefCell::default(), RefCell::default());
        let mut view = Self { root, prefix, own_descriptors, places, found, callers };
        let printed = view.printed(&view.root)?;
        if printed != b"/" {
            view.prefix = printed;
        }
        Ok(view)
    }

    /// The root's descriptor.
    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The path inside of a file that we hold, or `None` if it has none: deleted, or not below the root.
    pub(super) fn path_of(&self, file: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
        let printed = self.printed(file)?;
        Ok(self.inside(printed))
    }

    /// The path inside of a file that was reached by a descriptor; `None` if it has none. EPERM for one of the host's
    /// that the sandbox was started with: what it prints as means another file here, or none.
    pub(super) fn name_of(&self, file: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
        let held = sys::fstat(file.as_fd())?;
        if held.st_nlink == 0 {
            return Ok(None);
        }
        let Some(path) = self.path_of(file)? else { return Ok(None) };
        let look = |path: &[u8]| -> Result<OwnedFd, Errno> {
            let name = CString::new(path).map_err(|_| libc::EINVAL)?;
            sys::open_in_root(self.root.as_fd(), &name, libc::O_PATH | libc::O_NOFOLLOW)
        };
        let is_this = |here: OwnedFd| sys::fstat(here.as_fd()).is_ok_and(|here| is_same(&here, &held));
        let is_here = if path.ends_with(b" (deleted)") {
            // This name is gone, another is not: at least it stood on a mount of the sandbox's.
            let parent = path.iter().rposition(|byte| *byte == b'/').and_then(|at| path.get(..at.max(1)));
            parent
                .and_then(|parent| look(parent).ok())
                .is_some_and(|parent| mount(&parent).is_some_and(|id| mount(file) == Some(id)))
        } else {
            look(&path).is_ok_and(is_this)
        };
        if is_here { Ok(Some(path)) } else { Err(libc::EPERM) }
    }

    fn printed(&self, file: &OwnedFd) -> Result<Vec<u8>, Errno> {
        let mut buffer = [0; PATH_BYTES_MAX];
        let name = caller::descriptor_name(file);
        sys::readlink(self.own_descriptors.as_raw_fd(), &name, &mut buffer).map(<[u8]>::to_vec)
    }

    fn inside(&self, printed: Vec<u8>) -> Option<Vec<u8>> {
        if printed.first() != Some(&b'/') {
            return None;
        }
        if self.prefix.is_empty() {
            return Some(printed);
        }
        match printed.strip_prefix(self.prefix.as_slice()) {
            Some([]) => Some(b"/".to_vec()),
            Some(rest @ [b'/', ..]) => Some(rest.to_vec()),
            _ => None,
        }
    }

    /// What `path` means to this caller, relative to its `dirfd`.
    pub(super) fn resolve(&self, caller: &Caller<'_>, dirfd: i32, path: &[u8], last: Last) -> Result<Found, Errno> {
        if path.is_empty() {
            return Err(libc::ENOENT);
        }
        if path.first() == Some(&b'/') {
            return self.resolve_absolute(caller, path, last);
        }
        let mut whole = self.inside(self.base(caller, dirfd)?).ok_or(libc::ENOENT)?;
        whole.push(b'/');
        whole.extend_from_slice(path);
        self.resolve_absolute(caller, &whole, last)
    }

    /// A name for a call that creates, removes or renames it.
    pub(super) fn name(&self, caller: &Caller<'_>, dirfd: i32, path: &[u8]) -> Result<Place, Errno> {
        match self.resolve(caller, dirfd, path, Last::Name)? {
            Found::Place(place, _) => Ok(place),
            Found::Held(_) => Err(libc::EACCES),
        }
    }

    fn resolve_absolute(&self, caller: &Caller<'_>, path: &[u8], last: Last) -> Result<Found, Errno> {
        match self.short_way(path, last) {
            Ok(Some(found)) => Ok(found),
            Err(libc::ENOENT) if self.is_plainly_missing(path) => Err(libc::ENOENT),
            // `/proc/self` and magic links mean something else to the caller than to us: walk by hand.
            Ok(None) | Err(libc::ENOENT | libc::ELOOP) => Walk::new(self, caller, last)?.run(path),
            Err(errno) => Err(errno),
        }
    }

    /// Whether the way to the path's last name ends at a name that nothing has, before any link: such a way leads nowhere for
    /// anybody. Where `/proc` shows the machine's processes, the walk says who may learn even that.
    fn is_plainly_missing(&self, path: &[u8]) -> bool {
        let path = trim_slashes(path);
        let cut = path.iter().rposition(|byte| *byte == b'/').filter(|cut| *cut > 0 && self.places.is_none());
        let head = cut.and_then(|cut| CString::new(path.get(..cut)?).ok());
        head.is_some_and(|head| sys::is_missing_in_root(self.root.as_fd(), &head))
    }

    /// One `openat2` to the parent; `None` where that does not decide it.
    fn short_way(&self, path: &[u8], last: Last) -> Result<Option<Found>, Errno> {
        let trimmed = trim_slashes(path);
        let has_slash = trimmed.len() < path.len();
        let Some(cut) = trimmed.iter().rposition(|byte| *byte == b'/') else { return Ok(None) };
        let (head, name) = (trimmed.get(..cut).unwrap_or_default(), trimmed.get(cut + 1..).unwrap_or_default());
        if matches!(name, b"" | b"." | b"..") {
            return Ok(None);
        }
        let head = if head.is_empty() { b"/".as_slice() } else { head };
        let Some((parent, parent_path)) = self.directory(head)? else { return Ok(None) };
        let name = CString::new(name).map_err(|_| libc::EINVAL)?;
        let place = Place { parent, parent_path, name, has_slash, is_walked: false };
        if last == Last::Name {
            return Ok(Some(Found::Place(place, None)));
        }
        let stat = place.look()?;
        let is_link = stat.as_ref().is_some_and(|stat| kind(stat) == FileKind::Symlink);
        if is_link && (last == Last::Follow || has_slash) {
            return Ok(None);
        }
        Ok(Some(Found::Place(place, stat)))
    }
}

impl View {
    /// A directory and its canonical path; `None` where `/proc` has its own meaning for each caller.
    fn directory(&self, path: &[u8]) -> Result<Option<Directory>, Errno> {
        if let Some((directory, canonical)) = self.found.borrow().get(path) {
            return Ok(Some((directory.clone(), canonical.clone())));
        }
        let name = CString::new(path).map_err(|_| libc::EINVAL)?;
        let directory = sys::open_in_root(self.root.as_fd(), &name, libc::O_PATH | libc::O_DIRECTORY)?;
        let Some(canonical) = self.path_of(&directory)? else { return Ok(None) };
        if is_proc(&directory) || canonical.ends_with(b" (deleted)") {
            return Ok(None);
        }
        let found: Directory = (Arc::new(directory), canonical.into());
        let mut kept = self.found.borrow_mut();
        if kept.len() >= FOUND_MAX {
            kept.clear();
        }
        kept.insert(path.to_vec(), found.clone());
        Ok(Some(found))
    }

    /// Paths may lead elsewhere from now on.
    pub(super) fn forget(&self) {
        self.found.borrow_mut().clear();
    }

    /// An empty directory is about to go: what leads through it leads to nobody from now on.
    pub(super) fn forget_directory(&self, path: &[u8]) {
        // A path with `..` in it may lead through a directory without ending there.
        let ascends = |asked: &[u8]| asked.split(|byte| *byte == b'/').any(|part| part == b"..");
        self.found.borrow_mut().retain(|asked, (_, canonical)| **canonical != *path && !ascends(asked));
    }

    /// The path of the directory that a caller's relative paths start at, as the kernel prints it.
    fn base(&self, caller: &Caller<'_>, dirfd: i32) -> Result<Vec<u8>, Errno> {
        let mut callers = self.callers.borrow_mut();
        if let Some(directory) = callers.get(&caller.tid) {
            match caller::base_in(directory.as_fd(), dirfd) {
                // The thread that this was is gone; another has its number.
                Err(libc::ESRCH | libc::ENOENT | libc::EBADF) => drop(callers.remove(&caller.tid)),
                other => return other,
            }
        }
        let directory = caller.directory()?;
        let base = caller::base_in(directory.as_fd(), dirfd);
        if callers.len() >= CALLERS_MAX {
            callers.clear();
        }
        callers.insert(caller.tid, directory);
        base
    }
}

fn is_proc(directory: &OwnedFd) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|fs| fs.f_type == PROC_SUPER_MAGIC)
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    path.get(..end).unwrap_or_default()
}

/// A walk component by component, in which `/proc/self` is the caller's and magic links are read, not followed.
struct Walk<'a> {
    view: &'a View,
    caller: &'a Caller<'a>,
    last: Last,
    /// Directories from below the root to where the walk is, with their names.
    below: Vec<(OwnedFd, Vec<u8>)>,
    /// Components still to go, the next one last.
    ahead: Vec<Vec<u8>>,
    has_slash: bool,
    links: u32,
    /// The file that a magic link at the end led to: the path that it printed must lead there too.
    expected: Option<Held>,
    root: OwnedFd,
}

impl<'a> Walk<'a> {
    fn new(view: &'a View, caller: &'a Caller<'a>, last: Last) -> Result<Self, Errno> {
        let root = view.root.try_clone().map_err(|_| libc::EMFILE)?;
        let (below, ahead) = (Vec::new(), Vec::new());
        Ok(Self { view, caller, last, below, ahead, has_slash: false, links: 0, expected: None, root })
    }

    fn run(mut self, path: &[u8]) -> Result<Found, Errno> {
        match self.walk(path) {
            Ok((place, stat)) => match self.expected.take() {
                Some(held) if !stat.as_ref().is_some_and(|stat| is_same(stat, &held.stat)) => Ok(Found::Held(held)),
                Some(held) if self.is_from_outside(&held, &place) => Ok(Found::Held(held)),
                _ => Ok(Found::Place(place, stat)),
            },
            // What it printed leads nowhere inside: a deleted file, or one from outside.
            Err(errno) => self.expected.take().map(Found::Held).ok_or(errno),
        }
    }

    /// What the caller was given open, and where no name of its own leads: its output, say, that its user keeps in a file.
    fn is_from_outside(&self, held: &Held, place: &Place) -> bool {
        let Some(places) = &self.view.places else { return false };
        let is_terminal = held.stat.st_mode & libc::S_IFMT == libc::S_IFCHR;
        (held.is_writable || held.is_open && is_terminal) && !places.may_write(&place.path())
    }

    fn walk(&mut self, path: &[u8]) -> Result<(Place, Option<libc::stat>), Errno> {
        self.go(path);
        while let Some(name) = self.ahead.pop() {
            match name.as_slice() {
                b"." if self.last == Last::Name && self.ahead.is_empty() => return self.place(name, None),
                b".." if self.last == Last::Name && self.ahead.is_empty() => return self.place(name, None),
                b"." => continue,
                b".." => {
                    self.below.pop();
                    continue;
                }
                _ => {}
            }
            let is_last = self.ahead.is_empty();
            if is_last && self.last == Last::Name {
                return self.place(name, None);
            }
            let entry = CString::new(name.as_slice()).map_err(|_| libc::EINVAL)?;
            let file = match sys::openat(self.here().as_raw_fd(), &entry, libc::O_PATH | libc::O_NOFOLLOW, 0) {
                Err(libc::ENOENT) if is_last => return self.place(name, None),
                other => other?,
            };
            let stat = sys::fstat(file.as_fd())?;
            match kind(&stat) {
                FileKind::Symlink if is_last && self.last == Last::Keep && !self.has_slash => {
                    return self.place(name, Some(stat));
                }
                FileKind::Symlink => self.follow(&file, &entry, is_last)?,
                FileKind::Directory if self.is_foreign_process(&name)? => return Err(libc::EACCES),
                FileKind::Directory if !is_last => self.below.push((file, name)),
                _ if !is_last => return Err(libc::ENOTDIR),
                _ => return self.place(name, Some(stat)),
            }
        }
        // The path ended in `/`, `.` or `..`: the directory itself, by its name in its parent.
        match self.below.pop() {
            Some((file, name)) => {
                let stat = sys::fstat(file.as_fd())?;
                self.place(name, Some(stat))
            }
            None => {
                let stat = sys::fstat(self.root.as_fd())?;
                self.place(b".".to_vec(), Some(stat))
            }
        }
    }

    fn here(&self) -> &OwnedFd {
        self.below.last().map_or(&self.root, |(file, _)| file)
    }

    /// Puts a path's components ahead of what remains.
    fn go(&mut self, path: &[u8]) {
        if path.first() == Some(&b'/') {
            self.below.clear();
        }
        if self.ahead.is_empty() {
            self.has_slash |= path.last() == Some(&b'/');
        }
        self.ahead.extend(path.split(|byte| *byte == b'/').rev().filter(|part| !part.is_empty()).map(<[u8]>::to_vec));
    }

    fn follow(&mut self, link: &OwnedFd, name: &CString, is_last: bool) -> Result<(), Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(libc::ELOOP);
        }
        let target = if self.is_on_proc(link)? { self.read_proc_link(link, name, is_last)? } else { read(link)? };
        if target.is_empty() {
            return Err(libc::ENOENT);
        }
        self.go(&target);
        Ok(())
    }

    /// Where `/proc` shows the machine's processes: a folder of one that is not the caller.
    fn is_foreign_process(&self, name: &[u8]) -> Result<bool, Errno> {
        if self.view.places.is_none() || !name.iter().all(u8::is_ascii_digit) || !is_proc(self.here()) {
            return Ok(false);
        }
        let is_root = sys::fstat(self.here().as_fd())?.st_ino == PROC_ROOT_INODE;
        Ok(is_root && name != self.caller.status()?.tgid.to_string().as_bytes())
    }

    fn is_on_proc(&self, link: &OwnedFd) -> Result<bool, Errno> {
        let fs = rustix::fs::fstatfs(link).map_err(|errno| errno.raw_os_error())?;
        Ok(fs.f_type == PROC_SUPER_MAGIC)
    }

    /// `self` and `thread-self` are the caller's; a magic link's text is where its file stands.
    fn read_proc_link(&mut self, link: &OwnedFd, name: &CString, is_last: bool) -> Result<Vec<u8>, Errno> {
        let here = self.here().as_raw_fd();
        let is_root = sys::fstat(self.here().as_fd())?.st_ino == PROC_ROOT_INODE;
        match name.to_bytes() {
            b"self" if is_root => return Ok(self.caller.status()?.inner_tgid.to_string().into_bytes()),
            b"thread-self" if is_root => {
                let status = self.caller.status()?;
                return Ok(format!("{}/task/{}", status.inner_tgid, status.inner_tid).into_bytes());
            }
            _ => {}
        }
        let text = read(link)?;
        if text.first() != Some(&b'/') && !text.contains(&b':') {
            return Ok(text); // `mounts -> self/mounts`: an ordinary link
        }
        if is_last {
            let file = sys::openat(here, name, libc::O_PATH, 0)?;
            let stat = sys::fstat(file.as_fd())?;
            let flags = self.open_flags(name, &file, &stat);
            let is_open = flags.is_some_and(|flags| flags & libc::O_PATH == 0);
            let is_writable = flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY);
            self.expected = Some(Held { file, stat, is_writable, is_open });
        }
        self.view.inside(text).ok_or(libc::ENOENT)
    }

    /// How the descriptor `name` has this very file open; `None`: it has another. INVARIANT: file and mode are read in one go: a
    /// sibling could put another descriptor in the place between two looks.
    fn open_flags(&self, name: &CString, file: &OwnedFd, stat: &libc::stat) -> Option<i32> {
        let mut path = b"../fdinfo/".to_vec();
        path.extend_from_slice(name.to_bytes());
        let info = sys::openat(self.here().as_raw_fd(), &CString::new(path).ok()?, libc::O_RDONLY, 0).ok()?;
        let mut buffer = [0; 256];
        let read = sys::pread(info.as_fd(), &mut buffer).ok()?;
        let text = buffer.get(..read).unwrap_or_default();
        let field = |label: &[u8]| text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(label));
        let number = |label: &[u8]| std::str::from_utf8(field(label)?).ok()?.trim().parse::<u64>().ok();
        let is_this =
            number(b"ino:") == Some(stat.st_ino) && number(b"mnt_id:").is_some_and(|id| mount(file) == Some(id));
        field(b"flags:").filter(|_| is_this).and_then(caller::octal).map(|flags| flags as i32)
    }

    fn place(&self, name: Vec<u8>, stat: Option<libc::stat>) -> Result<(Place, Option<libc::stat>), Errno> {
        let mut parent_path = Vec::new();
        for (_, part) in &self.below {
            parent_path.push(b'/');
            parent_path.extend_from_slice(part);
        }
        if parent_path.is_empty() {
            parent_path.push(b'/');
        }
        let parent = Arc::new(self.here().try_clone().map_err(|_| libc::EMFILE)?);
        let parent_path = parent_path.into();
        let name = CString::new(name).map_err(|_| libc::EINVAL)?;
        Ok((Place { parent, parent_path, name, has_slash: self.has_slash, is_walked: true }, stat))
    }
}

fn read(link: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut buffer = [0; PATH_BYTES_MAX];
    sys::readlink(link.as_raw_fd(), c"", &mut buffer).map(<[u8]>::to_vec)
}

/// The mount that a file was reached by.
fn mount(file: &OwnedFd) -> Option<u64> {
    let flags = rustix::fs::AtFlags::EMPTY_PATH | rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    let found = rustix::fs::statx(file, c"", flags, rustix::fs::StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & rustix::fs::StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}

fn is_same(one: &libc::stat, other: &libc::stat) -> bool {
    one.st_dev == other.st_dev && one.st_ino == other.st_ino
}
