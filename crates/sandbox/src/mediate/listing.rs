//! The order in which folders are listed, where a run is to be made again: by the names alone, so that neither the file system nor what stood
//! there before shows in it.
//!
//! A position in a listing is the number of the last name that was told. It is kept where the kernel keeps its own, in the open file, so that
//! rewinding, going back to a place and sharing by several processes are as ever; and a listing goes on rightly behind it whatever
//! comes and goes meanwhile.
//!
//! INVARIANT: nobody is told names of a folder that is not open to him for reading. Nothing is decided by a listing.

use super::caller::{Caller, descriptor_path};
use super::sys::{self, Errno};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, OFlags, RawDir, SeekFrom};
use sha2::{Digest, Sha256};
use std::collections::BinaryHeap;
use std::mem::MaybeUninit;

/// Names that are held at once: of a folder with more, those that come next.
const HELD_MAX: usize = 1 << 16;
/// Names of one folder that are looked through.
const LOOKED_AT_MAX: usize = 1 << 24;
/// Bytes that one call is told; callers ask again for the rest.
const TOLD_BYTES_MAX: usize = 1 << 20;
const READ_BYTES: usize = 64 << 10;
/// The last number that a name can have: file systems that keep positions of less are left to the kernel.
const NUMBER_MAX: u64 = (1 << 62) - 1;
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// The calls that are answered.
pub(super) const CALLS: [i64; 2] = [libc::SYS_getdents64, libc::SYS_getdents];

#[derive(PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(test, derive(Debug))]
struct Entry {
    number: u64,
    name: Vec<u8>,
    inode: u64,
    kind: u8,
}

/// What comes in a folder behind a number, in order.
struct Held {
    folder: (u64, u64),
    behind: u64,
    entries: Vec<Entry>,
    /// There is nothing behind these.
    is_all: bool,
}

/// What was listed last.
pub(super) struct Listings {
    held: Option<Held>,
    /// Every thread's descriptors can be reached; where not, some listings would mix both orders.
    is_able: bool,
}

/// What a call is told, and where that leaves the listing.
pub(super) struct Listed {
    pub(super) bytes: i64,
    folder: OwnedFd,
    before: u64,
    behind: u64,
}

impl Listed {
    /// The listing goes on from there.
    pub(super) fn go_on(&self) -> Result<(), Errno> {
        seek(&self.folder, self.behind)
    }

    /// The caller did not hear of it.
    pub(super) fn go_back(&self) {
        let _ = seek(&self.folder, self.before);
    }
}

impl Listings {
    pub(super) fn new() -> Self {
        // Asked of this thread, which is not its process's first.
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        Self { held: None, is_able: sys::pidfd_open_thread(own).is_ok() }
    }

    /// Names may have come or gone: in that folder alone, or anywhere.
    pub(super) fn changed(&mut self, folder: Option<BorrowedFd<'_>>) {
        let Some(held) = &self.held else { return };
        let stat = folder.and_then(|folder| sys::fstat(folder).ok());
        if stat.is_none_or(|stat| (stat.st_dev, stat.st_ino) == held.folder) {
            self.held = None;
        }
    }

    /// Writes what comes next to the caller. `None`: the kernel's own listing goes on.
    pub(super) fn list(&mut self, caller: &Caller<'_>, data: &libc::seccomp_data) -> Result<Option<Listed>, Errno> {
        let [fd, address, room, ..] = data.args;
        let Some((folder, before)) = self.folder(caller, fd as i32) else { return Ok(None) };
        let told = self.entries(&folder, before).and_then(|entries| {
            let shape = if i64::from(data.nr) == libc::SYS_getdents64 { told } else { told_as_of_old };
            fill(entries, (room as u32 as usize).min(TOLD_BYTES_MAX), shape)
        });
        let told = told.and_then(|ends| {
            if ends.bytes.is_empty() {
                return Ok((0, before));
            }
            if !caller.is_waiting() {
                return Err(libc::EINTR);
            }
            let written = sys::write_memory(caller.tid, address, &ends.bytes).map_err(|_| libc::EFAULT)?;
            // As far as there was memory: whole entries, and all that share a number.
            let whole = ends.ends.iter().rev().find(|(at, _)| *at <= written);
            whole.map(|(at, number)| (*at, *number)).ok_or(libc::EFAULT)
        });
        match told {
            Ok((bytes, behind)) => Ok(Some(Listed { bytes: bytes as i64, folder, before, behind })),
            Err(errno) => {
                let _ = seek(&folder, before);
                Err(errno)
            }
        }
    }

    /// The caller's open folder, if its order is ours to tell, and where its listing is.
    fn folder(&self, caller: &Caller<'_>, fd: i32) -> Option<(OwnedFd, u64)> {
        let folder = self.is_able.then(|| caller.duplicate(fd).ok()).flatten()?;
        let flags = rustix::fs::fcntl_getfl(&folder).ok()?;
        let is_folder = sys::fstat(folder.as_fd()).ok()?.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if flags.contains(OFlags::PATH) || !is_folder || !caller.is_waiting() {
            return None;
        }
        if rustix::fs::fstatfs(&folder).ok()?.f_type as i64 == PROC_SUPER_MAGIC {
            return None;
        }
        let before = rustix::fs::seek(&folder, SeekFrom::Current(0)).ok()?;
        let is_ours = rustix::fs::seek(&folder, SeekFrom::Start(NUMBER_MAX)) == Ok(NUMBER_MAX);
        seek(&folder, before).ok()?;
        is_ours.then_some((folder, before))
    }

    /// What comes in it behind a number, or the beginning of that.
    fn entries(&mut self, folder: &OwnedFd, behind: u64) -> Result<&[Entry], Errno> {
        let stat = sys::fstat(folder.as_fd())?;
        let id = (stat.st_dev, stat.st_ino);
        // From the beginning it is always as it is now: others than callers may have changed it.
        let is_it = |held: &Held| {
            behind > 0
                && held.folder == id
                && held.behind <= behind
                && (held.is_all || held.entries.last().is_some_and(|last| behind < last.number))
        };
        if !self.held.as_ref().is_some_and(is_it) {
            self.held = None;
            let (entries, is_all) = read(folder, behind, HELD_MAX)?;
            self.held = Some(Held { folder: id, behind, entries, is_all });
        }
        let entries = self.held.as_ref().map_or(&[][..], |held| held.entries.as_slice());
        let from = entries.partition_point(|entry| entry.number <= behind);
        Ok(entries.get(from..).unwrap_or_default())
    }
}

fn seek(folder: &OwnedFd, to: u64) -> Result<(), Errno> {
    rustix::fs::seek(folder, SeekFrom::Start(to)).map(drop).map_err(rustix::io::Errno::raw_os_error)
}

/// Reads a folder: the first names behind a number, so many at most, in order, and whether these are all.
fn read(folder: &OwnedFd, behind: u64, most: usize) -> Result<(Vec<Entry>, bool), Errno> {
    let again = libc::O_RDONLY | libc::O_DIRECTORY;
    match sys::openat(libc::AT_FDCWD, &descriptor_path(folder), again, 0) {
        Ok(fresh) => read_all(fresh.as_fd(), behind, most),
        // It can't be opened any more and is open: its own position is put back by who asked.
        Err(libc::EACCES) => seek(folder, 0).and_then(|()| read_all(folder.as_fd(), behind, most)),
        Err(errno) => Err(errno),
    }
}

fn read_all(folder: BorrowedFd<'_>, behind: u64, most: usize) -> Result<(Vec<Entry>, bool), Errno> {
    let mut buffer = vec![MaybeUninit::uninit(); READ_BYTES];
    let mut all = RawDir::new(folder, &mut buffer);
    let (mut first, mut is_all, mut looked_at) = (BinaryHeap::new(), true, 0_usize);
    while let Some(entry) = all.next() {
        let entry = entry.map_err(rustix::io::Errno::raw_os_error)?;
        looked_at += 1;
        if looked_at > LOOKED_AT_MAX {
            return Err(libc::EOVERFLOW);
        }
        let name = entry.file_name().to_bytes();
        let number = number(name);
        if number <= behind {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => libc::DT_UNKNOWN,
            kind => (kind.as_raw_mode() >> 12) as u8,
        };
        first.push(Entry { number, name: name.to_vec(), inode: entry.ino(), kind });
        if first.len() > most {
            first.pop();
            is_all = false;
        }
    }
    let mut first = first.into_sorted_vec();
    // INVARIANT: names that share a number are held all or not at all, since a listing goes on behind it.
    if let Some(last) = first.last().map(|last| last.number).filter(|_| !is_all) {
        let whole = first.partition_point(|entry| entry.number < last);
        first.truncate(if whole > 0 { whole } else { first.len() });
    }
    Ok((first, is_all))
}

/// A name's place in every listing.
fn number(name: &[u8]) -> u64 {
    match name {
        b"." => 1,
        b".." => 2,
        name => {
            let digest = Sha256::digest(name);
            let number = digest.first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first));
            (number & NUMBER_MAX).max(3)
        }
    }
}

#[derive(Default)]
struct Filled {
    bytes: Vec<u8>,
    /// How far these are whole, and the number that a listing goes on behind there.
    ends: Vec<(usize, u64)>,
}

/// As many as there is room for.
fn fill(entries: &[Entry], room: usize, told: fn(&Entry, u64, &mut Vec<u8>)) -> Result<Filled, Errno> {
    let mut filled = Filled::default();
    for same in entries.chunk_by(|a, b| a.number == b.number) {
        let from = filled.bytes.len();
        let mut left = same.len();
        for entry in same {
            left -= 1;
            // Who goes on behind any but the last of these is told all of them again.
            told(entry, if left > 0 { entry.number - 1 } else { entry.number }, &mut filled.bytes);
        }
        if filled.bytes.len() > room {
            filled.bytes.truncate(from);
            break;
        }
        filled.ends.extend(same.last().map(|last| (filled.bytes.len(), last.number)));
    }
    if filled.bytes.is_empty() && !entries.is_empty() { Err(libc::EINVAL) } else { Ok(filled) }
}

/// `struct linux_dirent64`: inode, position behind it, length, kind, name.
fn told(entry: &Entry, behind: u64, out: &mut Vec<u8>) {
    let length = (19 + entry.name.len() + 1).next_multiple_of(8);
    let from = out.len();
    out.extend_from_slice(&entry.inode.to_ne_bytes());
    out.extend_from_slice(&behind.to_ne_bytes());
    out.extend_from_slice(&(length as u16).to_ne_bytes());
    out.push(entry.kind);
    out.extend_from_slice(&entry.name);
    out.resize(from + length, 0);
}

/// `struct linux_dirent`: the kind is its last byte.
fn told_as_of_old(entry: &Entry, behind: u64, out: &mut Vec<u8>) {
    let length = (18 + entry.name.len() + 2).next_multiple_of(8);
    let from = out.len();
    out.extend_from_slice(&entry.inode.to_ne_bytes());
    out.extend_from_slice(&behind.to_ne_bytes());
    out.extend_from_slice(&(length as u16).to_ne_bytes());
    out.extend_from_slice(&entry.name);
    out.resize(from + length - 1, 0);
    out.push(entry.kind);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn entry(number: u64, name: &str) -> Entry {
        Entry { number, name: name.as_bytes().to_vec(), inode: 7, kind: libc::DT_REG }
    }

    #[test]
    fn a_folder_is_told_by_its_names_alone_and_whole() {
        let names = |made: &mut dyn Iterator<Item = u32>| {
            let dir = tempfile::tempdir().unwrap();
            made.for_each(|n| std::fs::write(dir.path().join(n.to_string()), "").unwrap());
            let folder = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
            let (entries, is_all) = read(&folder, 0, HELD_MAX).unwrap();
            assert!(is_all && entries[0].name == b"." && entries[1].name == b"..");
            entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
        };
        let up = names(&mut (0..300));
        assert_eq!(up, names(&mut (0..300).rev()));
        assert_eq!(up.len(), 302);
        assert!(!up.is_sorted());
    }

    #[test]
    fn what_is_held_of_a_folder_goes_when_that_may_have_changed_and_not_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        for folder in [&one, &other] {
            std::fs::create_dir(folder).unwrap();
        }
        (0..10).for_each(|n| std::fs::write(one.join(n.to_string()), "").unwrap());
        let open = |path: &std::path::Path| OwnedFd::from(std::fs::File::open(path).unwrap());
        let (folder, beside) = (open(&one), open(&other));
        let mut listings = Listings::new();
        let left = |listings: &mut Listings, behind| listings.entries(&folder, behind).unwrap().len();
        assert_eq!(left(&mut listings, 0), 12);
        // Nobody told of it: so that it shows whether the folder is read again.
        let remove = |n: u32| std::fs::remove_file(one.join(n.to_string())).unwrap();
        remove(0);
        listings.changed(Some(beside.as_fd()));
        assert_eq!(left(&mut listings, 2), 10);
        let here = open(&one);
        listings.changed(Some(here.as_fd()));
        assert_eq!(left(&mut listings, 2), 9);
        remove(1);
        assert_eq!(left(&mut listings, 2), 9);
        listings.changed(None);
        assert_eq!(left(&mut listings, 2), 8);
        remove(2);
        assert_eq!(left(&mut listings, 0), 9, "from its beginning it is as it is now");
    }

    #[test]
    fn of_a_folder_with_more_than_is_held_each_name_comes_once() {
        let dir = tempfile::tempdir().unwrap();
        (0..300).for_each(|n| std::fs::write(dir.path().join(n.to_string()), "").unwrap());
        let folder = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let (whole, _) = read(&folder, 0, HELD_MAX).unwrap();
        let (mut parts, mut behind, mut times) = (Vec::new(), 0, 0);
        loop {
            let (part, is_all) = read(&folder, behind, 50).unwrap();
            assert!(part.len() <= 50 && !part.is_empty());
            behind = part.last().unwrap().number;
            parts.extend(part);
            times += 1;
            if is_all {
                break;
            }
        }
        assert!(times > 6 && parts == whole);
    }

    #[test]
    fn what_does_not_fit_is_told_next_and_a_shared_number_is_not_parted() {
        let entries = [entry(1, "."), entry(9, "a"), entry(9, "b"), entry(9, "c"), entry(12, "d")];
        let ends = |room| fill(&entries, room, told).map(|filled| filled.ends);
        assert_eq!(ends(23), Err(libc::EINVAL));
        assert_eq!(ends(24), Ok(vec![(24, 1)]));
        assert_eq!(ends(24 * 4 - 1), Ok(vec![(24, 1)]));
        assert_eq!(ends(24 * 4), Ok(vec![(24, 1), (96, 9)]));
        assert_eq!(ends(1000), Ok(vec![(24, 1), (96, 9), (120, 12)]));
        let filled = fill(&entries, 1000, told).unwrap();
        let behind: Vec<u64> =
            filled.bytes.chunks(24).map(|e| u64::from_ne_bytes(e[8..16].try_into().unwrap())).collect();
        assert_eq!(behind, [1, 8, 8, 9, 12]);
        assert!(fill(&[], 0, told).unwrap().bytes.is_empty());
    }

    #[test]
    fn both_shapes_are_the_kernels() {
        let mut out = Vec::new();
        told(&entry(5, "abcd"), 5, &mut out);
        assert_eq!(out, [&[7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 24, 0, 8][..], b"abcd\0"].concat());
        out.clear();
        told_as_of_old(&entry(5, "abcd"), 5, &mut out);
        assert_eq!(out, [&[7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 24, 0][..], b"abcd\0", &[8]].concat());
    }
}
