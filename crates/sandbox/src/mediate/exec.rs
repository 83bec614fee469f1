//! Programs about to run: what the call says, what the file is, and what the new image must then be.

use super::act::{Act, Plan};
use super::caller::{Caller, descriptor_name};
use super::resolve::{Found, Last, View, kind};
use super::sys::{self, Errno};
use crate::call::{Attempt, FileId, FileKind, Script};
use rustix::fd::AsFd;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// All arguments together; Linux allows a quarter of the stack limit, 2 MiB by default.
const ARGUMENTS_BYTES_MAX: usize = 2 << 20;
/// `MAX_ARG_STRLEN`.
const ARGUMENT_BYTES_MAX: usize = 128 << 10;
/// A `#!` may name a script, and so on: the kernel's own limit.
const INTERPRETERS_MAX: usize = 4;
/// `BINPRM_BUF_SIZE`.
pub(super) const HEAD_BYTES: usize = 256;

/// A file, and when it was last changed in any way: the one time that nobody inside can set back. `None` where nobody inside
/// can change it: there a link that somebody outside makes or removes would count as a change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    id: FileId,
    changed: Option<(i64, i64)>,
}

/// A `#!` line's interpreter and its one argument.
type Shebang = (Vec<u8>, Option<Vec<u8>>);

/// What was ruled on, and so what must run.
pub(super) struct Image {
    /// Handles on every file that takes part, the script first, with their identities when they were judged.
    files: Vec<(OwnedFd, Identity)>,
    /// Device and inode of the folder that it starts in.
    cwd: (u64, u64),
    /// The new image's arguments, NUL-terminated, one after another: the kernel puts interpreters before a script's.
    arguments: Vec<u8>,
}

impl Image {
    /// Whether every file that was judged is still what it was.
    pub(super) fn is_unchanged(&self) -> bool {
        let is_same =
            |now: Identity, was: &Identity| now.id == was.id && (was.changed.is_none() || now.changed == was.changed);
        self.files.iter().all(|(file, was)| identity(file).is_ok_and(|now| is_same(now, was)))
    }

    /// What differs between the image that process `pid` now is and what was ruled on, before its first instruction.
    pub(super) fn differs(&self, pid: i32) -> Option<String> {
        let Some((_, ruled)) = self.files.last() else { return Some("nothing was ruled on".to_owned()) };
        let exe = CString::new(format!("/proc/{pid}/exe")).unwrap_or_default();
        let ran = match sys::stat(libc::AT_FDCWD, &exe, 0) {
            Ok(stat) => file_id(&stat),
            Err(errno) => return Some(format!("the new image cannot be looked at (errno {errno})")),
        };
        if (ran.dev, ran.ino) != (ruled.id.dev, ruled.id.ino) {
            return Some("another file ran than was ruled on".to_owned());
        }
        if !self.is_unchanged() {
            return Some("the file that was ruled on changed before it ran".to_owned());
        }
        let cwd = CString::new(format!("/proc/{pid}/cwd")).unwrap_or_default();
        if !sys::stat(libc::AT_FDCWD, &cwd, 0).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.cwd) {
            return Some("a program ran in another folder than was ruled on".to_owned());
        }
        let path = CString::new(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        match read_up_to(&path, self.arguments.len() + 1) {
            Ok(arguments) if arguments == self.arguments => None,
            Ok(_) => Some("a program ran with other arguments than were ruled on".to_owned()),
            Err(errno) => Some(format!("the new image's arguments cannot be read (errno {errno})")),
        }
    }
}

/// Plans an exec. `flags` as of `execveat`.
pub(super) fn plan(
    view: &View,
    caller: &Caller<'_>,
    dirfd: i32,
    path: u64,
    argv: u64,
    flags: i32,
) -> Result<Plan, Errno> {
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(libc::EINVAL);
    }
    let given = caller.path(path)?;
    let argv = arguments(caller, argv)?;
    // Path and identity of one and the same folder: a sibling may be changing it.
    let folder = caller.descriptor(libc::AT_FDCWD)?;
    let by_descriptor = given.is_empty() && flags & libc::AT_EMPTY_PATH != 0;
    let held = if by_descriptor { Some(caller.descriptor(dirfd)?) } else { None };
    if !caller.is_waiting() {
        return Err(libc::EINTR);
    }

    let cwd = view.path_of(&folder)?.ok_or(libc::ENOENT)?;
    let folder = sys::fstat(folder.as_fd())?;
    let last = if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { Last::Keep } else { Last::Follow };
    let (file, path) = match held {
        Some(file) => {
            // Deleted, memory-only, the host's: nothing that a rule could name. See SANDBOX.md, layer 5.
            let path = view.name_of(&file)?.ok_or(libc::EACCES)?;
            (file, path)
        }
        None => find(view, caller, dirfd, &anchored(&cwd, dirfd, &given), last)?,
    };
    let id = runnable(view, &file)?;

    let name = kernel_name(dirfd, &given, flags);
    let (mut files, mut image_argv, mut name) = (vec![(file, id)], argv.clone(), name);
    if image_argv.is_empty() {
        image_argv.push(Vec::new()); // as Linux does since 5.18
    }
    let mut script = None;
    for level in 0..=INTERPRETERS_MAX {
        let Some((file, _)) = files.last() else { break };
        let Some((interpreter, argument)) = shebang(view, file)? else { break };
        if level == INTERPRETERS_MAX {
            return Err(libc::ELOOP);
        }
        let (next, _) =
            find(view, caller, libc::AT_FDCWD, &anchored(&cwd, libc::AT_FDCWD, &interpreter), Last::Follow)?;
        let next_id = runnable(view, &next)?;
        image_argv.remove(0);
        image_argv.insert(0, std::mem::replace(&mut name, interpreter.clone()));
        if let Some(argument) = &argument {
            image_argv.insert(0, argument.clone());
        }
        image_argv.insert(0, interpreter.clone());
        if script.is_none() {
            script = Some(Script {
                path: PathBuf::from(OsString::from_vec(path.clone())),
                interpreter: PathBuf::from(OsString::from_vec(interpreter)),
                argument: argument.map(OsString::from_vec),
            });
        }
        files.push((next, next_id));
    }
    let mut flat = Vec::new();
    for argument in &image_argv {
        flat.extend_from_slice(argument);
        flat.push(0);
    }
    let attempt = Attempt::Exec {
        path: PathBuf::from(OsString::from_vec(path)),
        argv: argv.into_iter().map(OsString::from_vec).collect(),
        cwd: PathBuf::from(OsString::from_vec(cwd)),
        script,
        file: id.id,
    };
    Ok(Plan::Ask(attempt, Act::Exec(Box::new(Image { files, cwd: (folder.st_dev, folder.st_ino), arguments: flat }))))
}

/// The path from the working directory that was read, not from whatever it is at the next look.
fn anchored(cwd: &[u8], dirfd: i32, path: &[u8]) -> Vec<u8> {
    if path.is_empty() || path.first() == Some(&b'/') || dirfd != libc::AT_FDCWD {
        return path.to_vec();
    }
    [cwd, b"/", path].concat()
}

fn find(view: &View, caller: &Caller<'_>, dirfd: i32, path: &[u8], last: Last) -> Result<(OwnedFd, Vec<u8>), Errno> {
    match view.resolve(caller, dirfd, path, last)? {
        Found::Place(_, None) => Err(libc::ENOENT),
        Found::Place(_, Some(stat)) if kind(&stat) == FileKind::Symlink => Err(libc::ELOOP),
        Found::Place(at, Some(stat)) if at.has_slash && kind(&stat) != FileKind::Directory => Err(libc::ENOTDIR),
        Found::Place(at, Some(_)) => Ok((at.handle()?, at.path().into_os_string().into_vec())),
        // Deleted, memory-only or from outside: nothing that a rule could name.
        Found::Held(_) => Err(libc::EACCES),
    }
}

/// The identity of a file that the caller may run, or the errno that the kernel would give.
fn runnable(view: &View, file: &OwnedFd) -> Result<Identity, Errno> {
    let stat = sys::fstat(file.as_fd())?;
    if kind(&stat) != FileKind::File {
        return Err(libc::EACCES);
    }
    sys::access(view.own_descriptors.as_raw_fd(), &descriptor_name(file), libc::X_OK, libc::AT_EACCESS)?;
    let mut identity = identity_of(file, &stat)?;
    if let Some(places) = &view.places
        && !view.path_of(file)?.is_some_and(|path| places.may_write(Path::new(OsStr::from_bytes(&path))))
    {
        // No mount says so here, and it is closed to everybody inside all the same.
        identity.changed = None;
    }
    Ok(identity)
}

/// The name that the kernel hands to an interpreter for what the caller named.
fn kernel_name(dirfd: i32, given: &[u8], flags: i32) -> Vec<u8> {
    if dirfd == libc::AT_FDCWD || given.first() == Some(&b'/') {
        return given.to_vec();
    }
    if given.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
        return format!("/dev/fd/{dirfd}").into_bytes();
    }
    let mut name = format!("/dev/fd/{dirfd}/").into_bytes();
    name.extend_from_slice(given);
    name
}

/// The interpreter and its one argument, as `fs/binfmt_script.c` reads them. `None`: no script, or unreadable to the
/// caller too (the kernel then decides whether it can run).
fn shebang(view: &View, file: &OwnedFd) -> Result<Option<Shebang>, Errno> {
    let own = view.own_descriptors.as_raw_fd();
    let Ok(readable) = sys::openat(own, &descriptor_name(file), libc::O_RDONLY | libc::O_NOCTTY, 0) else {
        return Ok(None);
    };
    let mut head = [0; HEAD_BYTES];
    let read = sys::pread(readable.as_fd(), &mut head)?;
    // A shorter file is read as if NULs followed.
    parse_shebang(&head, read == HEAD_BYTES)
}

pub(super) fn parse_shebang(head: &[u8; HEAD_BYTES], is_full: bool) -> Result<Option<Shebang>, Errno> {
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(None) };
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().position(|byte| *byte == b'\n');
    let text = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
    if end.is_none() && is_full && !text.contains(&0) {
        // No newline in sight: the kernel runs it only if the interpreter's name itself is whole.
        let start = text.iter().position(|byte| !is_blank(byte)).ok_or(libc::ENOEXEC)?;
        text.get(start..).unwrap_or_default().iter().position(is_blank).ok_or(libc::ENOEXEC)?;
    }
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let start = text.iter().position(|byte| !is_blank(byte)).ok_or(libc::ENOEXEC)?;
    let stop = text.iter().rposition(|byte| !is_blank(byte)).map_or(start, |at| at + 1);
    let text = text.get(start..stop).unwrap_or_default();
    let cut = text.iter().position(is_blank);
    let interpreter = text.get(..cut.unwrap_or(text.len())).unwrap_or_default().to_vec();
    let argument = cut.and_then(|cut| text.get(cut..)).map(|rest| {
        let start = rest.iter().position(|byte| !is_blank(byte)).unwrap_or(rest.len());
        rest.get(start..).unwrap_or_default().to_vec()
    });
    Ok(Some((interpreter, argument.filter(|argument| !argument.is_empty()))))
}

/// Copies an argument vector.
fn arguments(caller: &Caller<'_>, argv: u64) -> Result<Vec<Vec<u8>>, Errno> {
    let mut out = Vec::new();
    let mut bytes = 0;
    if argv == 0 {
        return Ok(out);
    }
    let mut at = argv;
    loop {
        // Up to the end of the page: the vector may end right before one that is not there.
        let room = ((4096 - at % 4096) / 8).max(1) as usize;
        let block = if room == 1 { caller.bytes::<8>(at)?.to_vec() } else { caller.block(at, room.min(64) * 8)? };
        for pointer in block.chunks_exact(8) {
            let pointer = u64::from_ne_bytes(pointer.try_into().map_err(|_| libc::EFAULT)?);
            if pointer == 0 {
                return Ok(out);
            }
            let argument = caller.string(pointer, ARGUMENT_BYTES_MAX)?.ok_or(libc::E2BIG)?;
            bytes += argument.len() + 1 + size_of::<u64>();
            if bytes > ARGUMENTS_BYTES_MAX {
                return Err(libc::E2BIG);
            }
            out.push(argument);
        }
        at = at.checked_add(block.len() as u64).ok_or(libc::EFAULT)?;
    }
}

fn identity(file: &OwnedFd) -> Result<Identity, Errno> {
    identity_of(file, &sys::fstat(file.as_fd())?)
}

fn identity_of(file: &OwnedFd, stat: &libc::stat) -> Result<Identity, Errno> {
    let mount = rustix::fs::fstatvfs(file).map_err(|errno| errno.raw_os_error())?;
    let is_closed = mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    let changed = (!is_closed).then_some((stat.st_ctime, stat.st_ctime_nsec));
    Ok(Identity { id: file_id(stat), changed })
}

fn file_id(stat: &libc::stat) -> FileId {
    FileId {
        dev: stat.st_dev,
        ino: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
    }
}

fn read_up_to(path: &CString, bytes_max: usize) -> Result<Vec<u8>, Errno> {
    use std::io::Read as _;
    let file = sys::openat(libc::AT_FDCWD, path, libc::O_RDONLY, 0)?;
    let mut out = Vec::with_capacity(bytes_max);
    let mut file = std::fs::File::from(file).take(bytes_max as u64);
    file.read_to_end(&mut out).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[track_caller]
    fn check(text: &[u8], expect: Result<Option<(&str, Option<&str>)>, Errno>) {
        let mut head = [0; HEAD_BYTES];
        let length = text.len().min(HEAD_BYTES);
        head[..length].copy_from_slice(&text[..length]);
        let got = parse_shebang(&head, text.len() >= HEAD_BYTES);
        let expect =
            expect.map(|line| line.map(|(one, two)| (one.as_bytes().to_vec(), two.map(|two| two.as_bytes().to_vec()))));
        assert_eq!(got, expect, "{:?}", String::from_utf8_lossy(text));
    }

    #[test]
    fn shebangs_are_read_as_the_kernel_does() {
        check(b"\x7fELF", Ok(None));
        check(b"#!/bin/sh\necho", Ok(Some(("/bin/sh", None))));
        check(b"#! \t/usr/bin/env  python3 -u \n", Ok(Some(("/usr/bin/env", Some("python3 -u")))));
        check(b"#!/bin/sh", Ok(Some(("/bin/sh", None))));
        check(b"#!\n", Err(libc::ENOEXEC));
        check(b"#!   ", Err(libc::ENOEXEC));
        let long = format!("#!/{}", "x".repeat(400));
        check(long.as_bytes(), Err(libc::ENOEXEC));
    }
}
