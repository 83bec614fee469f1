//! Workspaces by copy: nothing of the tree is lost in copying, nothing that a session does to the copy is missed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

struct World {
    dir: tempfile::TempDir,
    layers: Layers,
}

impl World {
    /// A tree with one of everything, and its copy.
    fn new() -> Self {
        let world = Self::uncopied();
        copy(&world.layers, &[world.layers.lower.join("secret")]).unwrap();
        world
    }

    fn uncopied() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let layers = Layers::new(dir.path().join("lower"), dir.path().join("session/upper"));
        fs::create_dir_all(layers.upper.parent().unwrap()).unwrap();
        let lower = &layers.lower;
        for folder in ["d/deep/er", "empty", "closed"] {
            fs::create_dir_all(lower.join(folder)).unwrap();
        }
        for (name, text) in
            [("file", "plain"), ("d/a", "a"), ("d/deep/b", "bb"), ("d/deep/er/c", "ccc"), ("tool", "#!")]
        {
            fs::write(lower.join(name), text).unwrap();
        }
        fs::write(lower.join("secret"), "hunter2").unwrap();
        fs::hard_link(lower.join("d/a"), lower.join("a-too")).unwrap();
        symlink("../nowhere", lower.join("d/link")).unwrap();
        symlink("/etc/passwd", lower.join("outward")).unwrap();
        rustix::fs::mknodat(CWD, lower.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o620), 0).unwrap();
        mode(&lower.join("tool"), 0o4755);
        mode(&lower.join("closed"), 0o500);
        mode(&lower.join("d"), 0o2750);
        let sparse = fs::File::create(lower.join("sparse")).unwrap();
        sparse.write_at(b"middle", 3 << 20).unwrap();
        sparse.set_len(8 << 20).unwrap();
        for (name, sec) in [("file", 1_000_000_000), ("d/deep", 1_100_000_000), ("d/link", 1_200_000_000)] {
            let time = Timespec { tv_sec: sec, tv_nsec: 123_456_789 };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, lower.join(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        Self { dir, layers }
    }

    fn lower(&self, name: &str) -> PathBuf {
        self.layers.lower.join(name)
    }

    fn copy(&self, name: &str) -> PathBuf {
        self.layers.upper.join(name)
    }

    /// Read anew, as another process would.
    fn changes(&self) -> Vec<Change> {
        let layers = Layers::new(self.layers.lower.clone(), self.layers.upper.clone());
        changes(&layers, &Scratch::new(&["target"]).unwrap()).unwrap()
    }

    fn said(&self) -> String {
        let sign = |kind| match kind {
            ChangeKind::Added => '+',
            ChangeKind::Modified => '~',
            ChangeKind::Removed => '-',
            ChangeKind::Mode => 'm',
        };
        self.changes().iter().map(|c| format!("{}{}", sign(c.kind), escape(&c.path))).collect::<Vec<_>>().join(" ")
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Every path below, with all that a program could tell of it.
fn listing(root: &Path) -> Vec<String> {
    fn walk(root: &Path, at: &Path, out: &mut Vec<String>) {
        let mut names: Vec<_> = fs::read_dir(at).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        for path in names {
            let meta = fs::symlink_metadata(&path).unwrap();
            let held = match meta.file_type() {
                kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                kind if kind.is_file() => {
                    format!("{} {} {:?}", meta.nlink(), meta.len(), sha(&fs::read(&path).unwrap()))
                }
                _ => String::new(),
            };
            let rel = path.strip_prefix(root).unwrap().display().to_string();
            out.push(format!(
                "{rel} {:o} {}.{} {}:{} {held}",
                meta.mode(),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.uid(),
                meta.gid()
            ));
            if meta.is_dir() {
                walk(root, &path, out);
            }
        }
    }
    let mut out = Vec::new();
    walk(root, root, &mut out);
    out
}

fn same(a: &Path, b: &Path) {
    for (a, b) in listing(a).iter().zip(listing(b)) {
        assert_eq!(*a, b);
    }
    assert_eq!(listing(a).len(), listing(b).len());
}

fn sha(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).to_vec()
}

#[test]
fn a_copy_can_not_be_told_from_the_tree() {
    let world = World::uncopied();
    let has_xattrs = rustix::fs::setxattr(world.lower("file"), "user.flyball", b"kept", XattrFlags::empty()).is_ok();
    copy(&world.layers, &[]).unwrap();
    same(&world.layers.upper, &world.layers.lower);
    assert_eq!(world.said(), "");
    let ino = |name: &str| fs::metadata(world.copy(name)).unwrap().ino();
    assert_eq!(ino("d/a"), ino("a-too"));
    assert_ne!(ino("d/a"), fs::metadata(world.lower("d/a")).unwrap().ino());
    let blocks = |path: PathBuf| fs::metadata(path).unwrap().blocks();
    assert!(blocks(world.copy("sparse")) <= blocks(world.lower("sparse")) + 16, "holes were filled");
    if has_xattrs {
        let mut value = [0; 16];
        let size = rustix::fs::getxattr(world.copy("file"), "user.flyball", &mut value[..]).unwrap();
        assert_eq!(&value[..size], b"kept");
    } else {
        eprintln!("skipped in part: no extended attributes here");
    }
}

#[test]
fn what_is_hidden_stays_out() {
    let world = World::new();
    assert_eq!(fs::read(world.copy("secret")).unwrap_or_default(), b"");
    assert_eq!(fs::metadata(world.copy("secret")).unwrap().mode() & 0o777, 0);
    assert_eq!(world.said(), "");
}

#[test]
fn a_twin_of_the_copy_is_held_against_the_same_manifest() {
    let world = World::new();
    fs::write(world.copy("file"), "changed").unwrap();
    let other = world.dir.path().join("session/twin");
    twin(&world.layers.upper, &other).unwrap();
    fs::write(world.dir.path().join("session/twin/new"), "").unwrap();
    fs::remove_file(world.dir.path().join("session/twin/d/a")).unwrap();
    let layers = Layers::new(world.layers.lower.clone(), other.clone());
    let found: Vec<_> = changes(&layers, &Scratch::default()).unwrap().iter().map(|c| escape(&c.path)).collect();
    assert_eq!(found, ["d/a", "file", "new"]);
    assert_eq!(world.said(), "~file");
    exchange(&world.layers.upper, &other).unwrap();
    assert_eq!(world.said(), "-d/a ~file +new");
}

#[test]
fn every_change_is_found() {
    type Act = &'static dyn Fn(&World);
    let cases: [(&str, Act, &str); 14] = [
        ("edit", &|w| fs::write(w.copy("file"), "PLAIN").unwrap(), "~file"),
        ("edit with its time put back", &|w| edit_in_secret(&w.copy("file")), "~file"),
        ("add", &|w| fs::write(w.copy("d/new"), "").unwrap(), "+d/new"),
        ("remove", &|w| fs::remove_file(w.copy("d/deep/b")).unwrap(), "-d/deep/b"),
        ("mode", &|w| mode(&w.copy("tool"), 0o644), "mtool"),
        ("folder's mode", &|w| mode(&w.copy("empty"), 0o700), "mempty"),
        (
            "link",
            &|w| {
                fs::remove_file(w.copy("d/link")).unwrap();
                symlink("else", w.copy("d/link")).unwrap()
            },
            "~d/link",
        ),
        ("under another name", &|w| fs::write(w.copy("a-too"), "b").unwrap(), "~a-too ~d/a"),
        ("rename over", &|w| fs::rename(w.copy("tool"), w.copy("file")).unwrap(), "~file -tool"),
        ("swap", &|w| swap(&w.copy("d/deep/b"), &w.copy("d/deep/er/c")), "~d/deep/b ~d/deep/er/c"),
        (
            "a folder moved",
            &|w| fs::rename(w.copy("d/deep"), w.copy("moved")).unwrap(),
            "-d/deep -d/deep/b -d/deep/er -d/deep/er/c +moved +moved/b +moved/er +moved/er/c",
        ),
        (
            "file in place of a folder",
            &|w| {
                fs::remove_dir(w.copy("empty")).unwrap();
                fs::write(w.copy("empty"), "").unwrap()
            },
            "~empty",
        ),
        ("fifo", &|w| fs::remove_file(w.copy("fifo")).unwrap(), "-fifo"),
        ("scratch", &|w| fs::create_dir_all(w.copy("target/x")).unwrap(), ""),
    ];
    for (what, act, said) in cases {
        let world = World::new();
        act(&world);
        assert_eq!(world.said(), said, "{what}");
    }
}

fn edit_in_secret(path: &Path) {
    let meta = fs::metadata(path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_at(b"P", 0).unwrap();
    let time = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
    rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time }).unwrap();
}

fn swap(a: &Path, b: &Path) {
    rustix::fs::renameat_with(CWD, a, CWD, b, rustix::fs::RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn what_the_user_does_meanwhile_is_no_change_of_the_sessions() {
    let world = World::new();
    fs::write(world.lower("file"), "the user's").unwrap();
    fs::write(world.lower("new"), "the user's").unwrap();
    fs::remove_file(world.lower("tool")).unwrap();
    assert_eq!(world.said(), "");
    assert_eq!(base_node(&world.layers, Path::new("new")).unwrap(), Node::Absent);
    assert_eq!(lower_node(&world.layers, Path::new("tool")).unwrap(), Node::Absent);
    assert!(matches!(base_node(&world.layers, Path::new("tool")).unwrap(), Node::File { mode: 0o4755, .. }));
    // What both changed is a conflict, and nothing is taken.
    fs::write(world.copy("file"), "the session's").unwrap();
    fs::write(world.copy("d/new"), "the session's").unwrap();
    let plan = Plan { changes: world.changes(), expected: Default::default() };
    assert_eq!(apply(&world.layers, plan, &world.dir.path().join("journal")).unwrap_err().code(), "FB0286");
    assert_eq!(fs::read_to_string(world.lower("file")).unwrap(), "the user's");
    assert!(!world.lower("d/new").exists());
}

#[test]
fn apply_makes_the_tree_what_the_copy_is_and_leaves_the_rest_alone() {
    let world = World::new();
    fs::write(world.copy("file"), "changed").unwrap();
    fs::rename(world.copy("d/deep"), world.copy("moved")).unwrap();
    fs::remove_file(world.copy("tool")).unwrap();
    fs::write(world.lower("others"), "added by the user meanwhile").unwrap();
    let plan = Plan { changes: world.changes(), expected: Default::default() };
    apply(&world.layers, plan, &world.dir.path().join("journal")).unwrap();
    assert_eq!(fs::read_to_string(world.lower("moved/er/c")).unwrap(), "ccc");
    assert_eq!(fs::read_to_string(world.lower("file")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(world.lower("others")).unwrap(), "added by the user meanwhile");
    assert!(!world.lower("d/deep").exists() && !world.lower("tool").exists());
    assert_eq!(fs::read_to_string(world.lower("secret")).unwrap(), "hunter2");
}

#[test]
fn set_takes_a_path_back() {
    let world = World::new();
    let was = digest(&world.layers, &Scratch::default()).unwrap();
    fs::write(world.copy("file"), "changed").unwrap();
    fs::remove_dir_all(world.copy("d/deep")).unwrap();
    fs::write(world.copy("new"), "").unwrap();
    let text = |name: &str| fs::read(world.lower(name)).unwrap();
    for name in ["file", "d/deep", "d/deep/b", "d/deep/er", "d/deep/er/c", "new"] {
        let node = base_node(&world.layers, Path::new(name)).unwrap();
        set_upper(&world.layers, Path::new(name), &node, || Ok(std::io::Cursor::new(text(name)))).unwrap();
    }
    assert_eq!(world.said(), "");
    assert_eq!(digest(&world.layers, &Scratch::default()).unwrap(), was);
}

#[test]
fn one_rename_brings_and_takes_many() {
    let world = World::new();
    let along = |name: &str| {
        let mut found: Vec<_> =
            along_with(&world.layers, Path::new(name)).unwrap().iter().map(|p| p.display().to_string()).collect();
        found.sort();
        found.dedup();
        found
    };
    assert!(along("d/deep").is_empty() && along("file").is_empty() && along("no such").is_empty());
    assert_eq!(along("a-too"), ["d/a"]);
    fs::rename(world.copy("d/deep"), world.copy("moved")).unwrap();
    assert_eq!(along("d/deep"), ["d/deep/b", "d/deep/er", "d/deep/er/c"]);
    fs::create_dir(world.copy("d/deep")).unwrap();
    fs::write(world.copy("d/deep/mine"), "").unwrap();
    assert_eq!(along("d/deep"), ["d/deep/b", "d/deep/er", "d/deep/er/c", "d/deep/mine"]);
}

#[test]
fn a_damaged_manifest_is_never_taken_for_an_overlay() {
    for damage in ["", "{\"version\":\"flyball-base-2\",\"begun\":[0,0],\"entries\":0}\n", "cut"] {
        let world = World::new();
        let manifest = world.dir.path().join("session/base");
        let text = fs::read_to_string(&manifest).unwrap();
        let text = if damage == "cut" { &text[..text.len() - 1 - text.lines().last().unwrap().len()] } else { damage };
        fs::write(&manifest, text).unwrap();
        let layers = Layers::new(world.layers.lower.clone(), world.layers.upper.clone());
        assert_eq!(changes(&layers, &Scratch::default()).unwrap_err().code(), "FB0293");
        assert_eq!(node_at(&layers, Path::new("file")).unwrap_err().code(), "FB0293");
    }
}

#[test]
fn a_copy_that_fails_leaves_nothing() {
    let world = World::uncopied();
    let gone = Layers::new(world.dir.path().join("gone"), world.layers.upper.clone());
    assert_eq!(copy(&gone, &[]).unwrap_err().code(), "FB0280");
    assert_eq!(fs::read_dir(world.dir.path().join("session")).unwrap().count(), 0);
    // What a copy that was cut off left is in nobody's way.
    fs::create_dir_all(world.dir.path().join("session/copying/file")).unwrap();
    fs::create_dir(&world.layers.upper).unwrap();
    copy(&world.layers, &[]).unwrap();
    same(&world.layers.upper, &world.layers.lower);
}
