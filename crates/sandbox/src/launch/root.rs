//! The new root while it is being built: places in it and what is mounted on them.
//!
//! INVARIANT: no link is followed on the way to a place. What stands inside may have been left there by an agent of an
//! earlier session (a kept home), and this code still runs with every capability over the host's tree.

use super::step::{At, Step};
use super::sys;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// Mount attributes of whatever the agent may read and not write.
pub(super) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
/// Mount attributes of whatever the agent may write.
pub(super) const WRITABLE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// The new root.
pub(super) struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Mounts the private file system that becomes the root on `base`, an empty directory.
    pub(super) fn new(base: &Path) -> Step<Self> {
        let point = open_path(base).at("opening the new root's place", base)?;
        mount_at(&point, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, "mode=0755")
            .at("mounting the new root", base)?;
        Ok(Self { fd: open_path(base).at("opening the new root", base)? })
    }

    /// The root's own descriptor.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The directory at this absolute path, made with its parents where it is missing.
    pub(super) fn dir(&self, path: &Path) -> Step<OwnedFd> {
        let mut here = self.fd.try_clone().doing("opening the new root")?;
        for part in parts(path).at("reading a path", path)? {
            here = child_dir(&here, part).at("making a folder of the new root", path)?;
        }
        Ok(here)
    }

    /// The file at this absolute path, made empty where it is missing.
    pub(super) fn file(&self, path: &Path) -> Step<OwnedFd> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL).at("making a file of the new root", path);
        };
        let parent = self.dir(parent)?;
        let open =
            || rustix::fs::openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        match open() {
            Err(Errno::NOENT) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(
                    rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))
                        .at("making a mount point", path)?,
                );
                open().at("opening a mount point", path)
            }
            other => other.at("opening a mount point", path),
        }
    }

    /// A symbolic link; one that is there stays.
    pub(super) fn link(&self, path: &Path, target: &OsStr) -> Step<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        match rustix::fs::symlinkat(target, self.dir(parent)?, name) {
            Err(Errno::EXIST) => Ok(()),
            other => other.at("making a link of the new root", path),
        }
    }

    /// A private file system in memory at this path.
    pub(super) fn tmpfs(&self, path: &Path, options: &str) -> Step<()> {
        let target = self.dir(path)?;
        mount_at(&target, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)
            .at("mounting a private folder", path)
    }

    /// Shows `source`, a path of the host, at `path`, with these attributes on it and all that is mounted below it.
    pub(super) fn bind(&self, source: &Path, path: &Path, attributes: u64) -> Step<()> {
        let is_dir = std::fs::metadata(source).at("looking at a folder to show", source)?.is_dir();
        let target = if is_dir { self.dir(path)? } else { self.file(path)? };
        attach(&tree(CWD, source, attributes).at("copying a mount", source)?, &target).at("showing a folder", path)
    }

    /// An overlay at `path`: `lower`, the topmost first, are read only, changes go to `upper`; `work` is its scratch place on `upper`'s disk.
    ///
    /// Always with `userxattr`, so that layers written by root and by an ordinary user have one format.
    pub(super) fn overlay(&self, path: &Path, lower: &[&Path], upper: &Path, work: &Path, is_kept: bool) -> Step<()> {
        let target = self.dir(path)?;
        let layer = |path: &Path| open_path(path).at("opening a layer", path);
        let (upper_fd, work_fd) = (layer(upper)?, layer(work)?);
        let lower_fds = lower.iter().map(|path| layer(path)).collect::<Step<Vec<_>>>()?;
        let lower: Vec<String> = lower_fds.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
        // By descriptor: no escaping of `:` and `,`, and no host path in the agent's mount table.
        let options = format!(
            "lowerdir={},upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{},userxattr,index=off{}",
            lower.join(":"),
            upper_fd.as_raw_fd(),
            work_fd.as_raw_fd(),
            // What is thrown away with the session need not wait for the disk.
            if is_kept { "" } else { ",volatile" },
        );
        mount_at(&target, "overlay", MountFlags::NOSUID | MountFlags::NODEV, &options)
            .at("mounting an overlay", path)?;
        // On a file system that it can't write to as it must (NFS), an overlay mounts read-only and says nothing.
        let mounted = self.dir(path).and_then(|place| rustix::fs::fstatvfs(place).at("mounting an overlay", path))?;
        if mounted.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            return Err(Errno::ROFS).at("mounting an overlay", path);
        }
        Ok(())
    }
}

/// A detached copy of a mount and all below it, with these attributes added; `source` is read below `from`.
pub(super) fn tree(from: impl AsFd, source: &Path, attributes: u64) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(from, source, flags)?;
    if attributes != 0 {
        sys::mount_setattr(&tree, attributes, true)?;
    }
    Ok(tree)
}

/// Mounts a detached tree on a place.
pub(super) fn attach(tree: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, c"", target, c"", flags)?)
}

/// A descriptor of this path, only to refer to it; a final link is not followed.
pub(super) fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Mounts a file system on the place that `target` refers to.
pub(super) fn mount_at(target: impl AsFd, kind: &str, flags: MountFlags, options: &str) -> io::Result<()> {
    let target = format!("/proc/self/fd/{}", target.as_fd().as_raw_fd());
    let options = CString::new(options)?;
    Ok(rustix::mount::mount(kind, &target, kind, flags, Some(options.as_c_str()))?)
}

fn child_dir(here: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(here, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        other => return Ok(other?),
    }
    match rustix::fs::mkdirat(here, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::openat(here, name, flags, Mode::empty())?)
}

/// Whether something, a link included, stands at `name` in `dir`.
pub(super) fn exists(dir: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Whether a directory, not a link to one, or nothing at all stands at `name` in `dir`.
pub(super) fn is_dir_or_absent(dir: &OwnedFd, name: &OsStr) -> bool {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
        Err(error) => error == Errno::NOENT,
    }
}

fn parts(path: &Path) -> io::Result<Vec<&OsStr>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(part) if !part.as_bytes().is_empty() => parts.push(part),
            _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }
    Ok(parts)
}

/// Makes a file in `dir`, which may be a descriptor that only refers to it.
pub(super) fn create_at(dir: &OwnedFd, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?)
}
