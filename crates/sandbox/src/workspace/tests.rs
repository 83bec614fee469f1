//! Overlays as the kernel makes them (as root) and as constructed, rewound and applied, cut off at every point.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::apply::apply_with;
use super::*;
use rustix::fs::{FileType, Mode};
use std::fs;
use std::io::Cursor;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// Lower and upper layers in a folder of their own, with room for a journal.
struct World {
    dir: tempfile::TempDir,
    layers: Layers,
}

impl World {
    fn new(lower: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::new(dir.path().join("lower"), dir.path().join("upper"));
        for d in ["lower", "upper", "work", "merged"] {
            fs::create_dir(dir.path().join(d)).unwrap();
        }
        plant(&layers.lower, lower);
        Self { dir, layers }
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn changes(&self) -> Vec<Change> {
        changes(&self.layers, &Scratch::default()).unwrap()
    }

    fn said(&self) -> String {
        self.changes()
            .iter()
            .map(|c| {
                let sign = match c.kind {
                    ChangeKind::Added => '+',
                    ChangeKind::Modified => '~',
                    ChangeKind::Removed => '-',
                    ChangeKind::Mode => 'm',
                };
                format!("{sign}{}", escape(&c.path))
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn plan(&self) -> Plan {
        Plan { changes: self.changes(), expected: Default::default() }
    }
}

/// `path` with content; a trailing slash is a directory, `->` a link.
fn plant(root: &Path, what: &[(&str, &str)]) {
    for (path, content) in what {
        let at = root.join(path.trim_end_matches('/'));
        if path.ends_with('/') {
            fs::create_dir_all(&at).unwrap();
            continue;
        }
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        match content.strip_prefix("->") {
            Some(target) => symlink(target, &at).unwrap(),
            None => fs::write(&at, content).unwrap(),
        }
    }
}

fn whiteout(world: &World, rel: &str) {
    let at = world.layers.upper.join(rel);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &at, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

fn opaque(world: &World, rel: &str) {
    let at = world.layers.upper.join(rel);
    fs::create_dir_all(&at).unwrap();
    rustix::fs::setxattr(&at, "user.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).unwrap();
}

/// Every path of a tree with what it is, times left out.
fn listing(root: &Path) -> Vec<String> {
    fn go(root: &Path, rel: &Path, out: &mut Vec<String>) {
        let mut entries: Vec<_> = fs::read_dir(root.join(rel)).unwrap().map(|e| e.unwrap().file_name()).collect();
        entries.sort();
        for name in entries {
            let path = rel.join(name);
            let meta = fs::symlink_metadata(root.join(&path)).unwrap();
            let mode = meta.mode() & 0o7777;
            let name = path.display();
            if meta.is_symlink() {
                out.push(format!("{name} -> {}", fs::read_link(root.join(&path)).unwrap().display()));
            } else if meta.is_dir() {
                out.push(format!("{name}/ {mode:o}"));
                go(root, &path, out);
            } else {
                out.push(format!("{name} {mode:o} {}", fs::read_to_string(root.join(&path)).unwrap_or_default()));
            }
        }
    }
    let mut out = Vec::new();
    go(root, Path::new(""), &mut out);
    out
}

#[test]
fn changes_are_read_from_the_upper_layer() {
    let w =
        World::new(&[("same", "1"), ("edit", "1"), ("gone", "1"), ("dir/a", "1"), ("dir/b/c", "1"), ("swap/x", "1")]);
    plant(
        &w.layers.upper,
        &[("same", "1"), ("edit", "2"), ("new/deep/f", "1"), ("link", "->/etc/passwd"), ("swap", "now a file")],
    );
    whiteout(&w, "gone");
    whiteout(&w, "never-was");
    opaque(&w, "dir");
    plant(&w.layers.upper, &[("dir/a", "1")]);
    assert_eq!(w.said(), "-dir/b -dir/b/c ~edit -gone +link +new +new/deep +new/deep/f ~swap -swap/x");
    let scratch = Scratch::new(&["new/**", "dir"]).unwrap();
    let seen: Vec<_> = changes(&w.layers, &scratch).unwrap().into_iter().map(|c| escape(&c.path)).collect();
    assert_eq!(seen, ["edit", "gone", "link", "new", "swap", "swap/x"]);
}

#[test]
fn a_directory_of_more_than_a_mode_is_no_change_but_a_mode_is() {
    let w = World::new(&[("d/f", "1")]);
    plant(&w.layers.upper, &[("d/", "")]);
    assert_eq!(w.said(), "");
    fs::set_permissions(w.layers.upper.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
    plant(&w.layers.upper, &[("d/f", "1")]);
    fs::set_permissions(w.layers.upper.join("d/f"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(w.said(), "md md/f");
}

#[test]
fn what_is_not_understood_is_refused() {
    let w = World::new(&[("d/f", "1")]);
    plant(&w.layers.upper, &[("d/", "")]);
    let at = w.layers.upper.join("d");
    rustix::fs::setxattr(&at, "user.overlay.redirect", b"/e", rustix::fs::XattrFlags::empty()).unwrap();
    assert_eq!(changes(&w.layers, &Scratch::default()).unwrap_err().code(), "FB0282");
    for path in ["../x", "/etc/passwd", "a/../../b"] {
        assert_eq!(node_at(&w.layers, Path::new(path)).unwrap_err().code(), "FB0281", "{path}");
    }
}

#[test]
fn the_merged_view_is_what_overlayfs_shows() {
    let w = World::new(&[("a/b/c", "1"), ("f", "12"), ("l", "->f")]);
    let at = |p: &str| node_at(&w.layers, Path::new(p)).unwrap().to_string();
    assert!(at("f").starts_with("file sha256:6b51d431df5d7f141cbececcf79edf3dd861c3b4069f0b11661a3eefacbba918 2 06"));
    assert_eq!(at("l"), "symlink f");
    assert_eq!(at("l/x"), "absent");
    opaque(&w, "a");
    assert_eq!(at("a/b/c"), "absent");
    whiteout(&w, "f");
    assert_eq!(at("f"), "absent");
    assert!(read(&w.layers, Path::new("f")).is_err());
}

#[test]
fn an_ended_session_is_rewound_to_each_of_its_states() {
    let w = World::new(&[("a", "1"), ("d/x", "1"), ("d/y", "1"), ("l", "->a"), ("sub/deep/z", "1")]);
    let origin = digest(&w.layers, &Scratch::default()).unwrap();
    let paths = ["a", "d", "d/x", "d/y", "l", "sub/deep/z", "new", "new/n"];
    let snapshot = || -> Vec<(Node, Vec<u8>)> {
        let mut all = Vec::new();
        for p in paths {
            let mut content = Vec::new();
            let node = capture(&w.layers, Path::new(p), &mut |b| content.extend_from_slice(b)).unwrap();
            all.push((node, content));
        }
        all
    };
    let mut states = vec![(origin, snapshot())];
    plant(&w.layers.upper, &[("a", "2"), ("new/n", "n")]);
    whiteout(&w, "l");
    states.push((digest(&w.layers, &Scratch::default()).unwrap(), snapshot()));
    whiteout(&w, "d");
    whiteout(&w, "sub/deep/z");
    states.push((digest(&w.layers, &Scratch::default()).unwrap(), snapshot()));
    fs::remove_file(w.layers.upper.join("d")).unwrap();
    plant(&w.layers.upper, &[("d", "a file now")]);
    states.push((digest(&w.layers, &Scratch::default()).unwrap(), snapshot()));
    for to in [1, 3, 0, 2, 1, 2, 3, 2, 0] {
        let (want, nodes) = &states[to];
        for (p, (node, content)) in paths.iter().zip(nodes) {
            // Below what is no directory there is nothing to take away.
            let under_gone = Path::new(p).ancestors().skip(1).any(|a| {
                paths
                    .iter()
                    .position(|q| Path::new(q) == a)
                    .is_some_and(|i| !matches!(nodes[i].0, Node::Directory { .. }))
            });
            if !under_gone {
                set_upper(&w.layers, Path::new(p), node, || Ok(Cursor::new(content.clone()))).unwrap();
            }
        }
        assert_eq!(digest(&w.layers, &Scratch::default()).unwrap(), *want, "to {to}: {}", w.said());
    }
}

#[test]
fn a_set_writes_what_was_promised_or_nothing() {
    let w = World::new(&[("f", "old")]);
    let view = fs::File::open(&w.layers.lower).unwrap();
    let node = Node::File { digest: "sha256:00".into(), size: 1, mode: 0o644 };
    let e = set(view.as_fd(), Path::new("f"), &node, || Ok(Cursor::new(b"x"))).unwrap_err();
    assert_eq!(e.code(), "FB0284");
    assert_eq!(listing(&w.layers.lower).len(), 1);
    assert_eq!(fs::read_to_string(w.layers.lower.join("f")).unwrap(), "old");
    assert_eq!(set(view.as_fd(), Path::new(""), &Node::Absent, || Ok(Cursor::new(b""))).unwrap_err().code(), "FB0281");
    symlink(w.dir.path(), w.layers.lower.join("out")).unwrap();
    assert!(set(view.as_fd(), Path::new("out/lower/f"), &Node::Absent, || Ok(Cursor::new(b""))).is_err());
    assert!(w.layers.lower.join("f").exists());
}

/// A world in which everything that can change has.
fn everything() -> World {
    let w = World::new(&[
        ("edit", "1"),
        ("gone", "1"),
        ("dir/a", "1"),
        ("dir/b/c", "1"),
        ("tofile/x", "1"),
        ("todir", "1"),
        ("link", "->a"),
        ("keep/k", "1"),
        ("mode", "1"),
        ("ro/x", "1"),
    ]);
    plant(
        &w.layers.upper,
        &[
            ("edit", "2"),
            ("new/deep/f", "1"),
            ("tofile", "f"),
            ("todir/y", "1"),
            ("link", "->b"),
            ("mode", "1"),
            ("ro/y", "1"),
        ],
    );
    opaque(&w, "todir");
    whiteout(&w, "gone");
    whiteout(&w, "dir");
    for (at, mode) in [("upper/mode", 0o755), ("upper/ro", 0o555), ("lower/ro", 0o555), ("upper/edit", 0o600)] {
        fs::set_permissions(w.dir.path().join(at), fs::Permissions::from_mode(mode)).unwrap();
    }
    w
}

#[test]
fn apply_takes_everything() {
    let w = everything();
    let done = apply(&w.layers, w.plan(), &w.journal()).unwrap();
    assert!(done.left_out.is_empty() && done.paths.len() > 10);
    assert_eq!(
        listing(&w.layers.lower),
        [
            "edit 600 2",
            "keep/ 755",
            "keep/k 644 1",
            "link -> b",
            "mode 755 1",
            "new/ 755",
            "new/deep/ 755",
            "new/deep/f 644 1",
            "ro/ 555",
            "ro/x 644 1",
            "ro/y 644 1",
            "todir/ 755",
            "todir/y 644 1",
            "tofile 644 f",
        ]
    );
    assert_eq!(w.said(), "", "the merged view is the real tree now");
    assert_eq!(recover(&w.journal()).unwrap(), Recovered::Completed);
    conclude(&w.journal()).unwrap();
    assert!(!w.journal().exists());
    let times = |p: &str| fs::symlink_metadata(w.dir.path().join(p)).unwrap().modified().unwrap();
    assert_eq!(times("lower/edit"), times("upper/edit"));
}

#[test]
fn set_id_bits_of_the_sessions_making_are_not_taken() {
    let w = World::new(&[("edited", "1"), ("kept", "1"), ("gained", "1"), ("both", "1"), ("dir/x", "1")]);
    plant(
        &w.layers.upper,
        &[("edited", "2"), ("kept", "1"), ("gained", "1"), ("both", "1"), ("new", "1"), ("dir/", "")],
    );
    for (at, mode) in [
        ("lower/edited", 0o4755),
        ("upper/edited", 0o4755),
        ("lower/kept", 0o4755),
        ("upper/kept", 0o4711),
        ("upper/gained", 0o2644),
        ("lower/both", 0o2755),
        ("upper/both", 0o6755),
        ("upper/new", 0o6755),
        ("upper/dir", 0o2755),
    ] {
        fs::set_permissions(w.dir.path().join(at), fs::Permissions::from_mode(mode)).unwrap();
    }
    let done = apply(&w.layers, w.plan(), &w.journal()).unwrap();
    let stripped: Vec<_> = done.stripped.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(stripped, ["both", "edited", "gained", "new"]);
    assert_eq!(
        listing(&w.layers.lower),
        [
            "both 2755 1",
            "dir/ 2755",
            "dir/x 644 1",
            // Its bits were somebody's decision, which was about other content.
            "edited 755 2",
            "gained 644 1",
            "kept 4711 1",
            "new 755 1",
        ]
    );
}

/// Runs `apply` until the `n`th point and cuts it off there; whether it got there.
fn cut(w: &World, n: usize) -> bool {
    let mut left = n;
    let cut = apply_with(&w.layers, w.plan(), &w.journal(), &mut |_| {
        if left == 0 {
            return Err(WorkspaceError::Stopped);
        }
        left -= 1;
        Ok(())
    });
    matches!(cut, Err(WorkspaceError::Stopped))
}

fn again(did: Recovered) -> Recovered {
    if did == Recovered::Completed { did } else { Recovered::Nothing }
}

#[test]
fn a_crash_at_any_point_is_recovered_from() {
    let whole = everything();
    apply(&whole.layers, whole.plan(), &whole.journal()).unwrap();
    let mut seen = Vec::new();
    for n in 0.. {
        let w = everything();
        let before = listing(&w.layers.lower);
        if !cut(&w, n) {
            break;
        }
        assert_eq!(apply(&w.layers, w.plan(), &w.journal()).unwrap_err().code(), "FB0290", "point {n}");
        let did = recover(&w.journal()).unwrap();
        match did {
            Recovered::RolledBack => assert_eq!(listing(&w.layers.lower), before, "point {n}"),
            Recovered::Completed => assert_eq!(listing(&w.layers.lower), listing(&whole.layers.lower), "point {n}"),
            Recovered::Nothing => panic!("point {n}: a journal stands"),
        }
        seen.push(did);
        // As often as it takes, until somebody has taken the layers out of use.
        assert_eq!(recover(&w.journal()).unwrap(), again(did));
        conclude(&w.journal()).unwrap();
        assert_eq!(recover(&w.journal()).unwrap(), Recovered::Nothing);
        if did == Recovered::RolledBack {
            apply(&w.layers, w.plan(), &w.journal()).unwrap();
            assert_eq!(listing(&w.layers.lower), listing(&whole.layers.lower), "point {n}, again");
        }
    }
    assert!(seen.len() > 30, "{}", seen.len());
    assert_eq!(seen.last(), Some(&Recovered::Completed));
}

#[test]
fn a_failing_step_undoes_the_others() {
    for n in 0..60 {
        let w = everything();
        let before = listing(&w.layers.lower);
        let mut left = n;
        let done = apply_with(&w.layers, w.plan(), &w.journal(), &mut |_| {
            if left == 0 {
                left = usize::MAX;
                return Err(WorkspaceError::Kind("x".into()));
            }
            left -= 1;
            Ok(())
        });
        let committed = recover(&w.journal()).unwrap() == Recovered::Completed;
        if !committed {
            assert!(done.is_err());
            assert_eq!(listing(&w.layers.lower), before, "point {n}");
        }
    }
}

#[test]
fn what_somebody_else_changed_stops_it() {
    let w = everything();
    let before = w.plan();
    fs::write(w.layers.lower.join("edit"), "mine").unwrap();
    fs::write(w.layers.lower.join("new"), "mine").unwrap();
    let WorkspaceError::Conflicts(found) = apply(&w.layers, before, &w.journal()).unwrap_err() else { panic!() };
    assert_eq!(found.iter().map(|c| escape(&c.path)).collect::<Vec<_>>(), ["edit", "new"]);
    assert!(!w.journal().exists());
    assert!(w.layers.lower.join("gone").exists());
    // What the session saw at first touch counts, not what is there when the plan is made.
    let mut plan = w.plan();
    plan.changes.retain(|c| c.path == Path::new("gone"));
    plan.expected.insert("gone".into(), Node::Absent);
    assert_eq!(apply(&w.layers, plan, &w.journal()).unwrap_err().code(), "FB0286");
}

#[test]
fn an_edit_between_comparing_and_applying_is_not_lost() {
    let w = everything();
    let plan = w.plan();
    let at = w.layers.lower.join("edit");
    let mut once = true;
    let done = apply_with(&w.layers, plan, &w.journal(), &mut |point| {
        if point == "step" && std::mem::take(&mut once) {
            fs::write(&at, "a person's edit").unwrap();
        }
        Ok(())
    });
    assert_eq!(done.unwrap_err().code(), "FB0287");
    assert_eq!(fs::read_to_string(&at).unwrap(), "a person's edit");
    assert!(w.layers.lower.join("gone").exists());
}

#[test]
fn a_link_swapped_in_leads_nowhere() {
    let w = World::new(&[("d/f", "1")]);
    plant(&w.layers.upper, &[("d/f", "2"), ("d/new", "2")]);
    let plan = w.plan();
    let outside = w.dir.path().join("outside");
    plant(&outside, &[("f", "1")]);
    let mut once = true;
    let done = apply_with(&w.layers, plan, &w.journal(), &mut |point| {
        if point == "step" && std::mem::take(&mut once) {
            fs::rename(w.layers.lower.join("d"), w.layers.lower.join("d2")).unwrap();
            symlink(&outside, w.layers.lower.join("d")).unwrap();
        }
        Ok(())
    });
    assert!(done.is_err());
    assert_eq!(listing(&outside), ["f 644 1"]);
    assert_eq!(fs::read_to_string(w.layers.lower.join("d2/f")).unwrap(), "1");
}

#[test]
fn what_came_into_the_way_after_a_crash_is_kept_and_told() {
    let w = everything();
    let before = listing(&w.layers.lower);
    // Cut after the originals were set aside: find the first point at which `edit` is away.
    let n = (0..)
        .find(|n| {
            let w = everything();
            cut(&w, *n) && !w.layers.lower.join("edit").exists()
        })
        .unwrap();
    assert!(cut(&w, n));
    fs::write(w.layers.lower.join("edit"), "a person's").unwrap();
    let WorkspaceError::Stuck { paths, kept } = recover(&w.journal()).unwrap_err() else { panic!() };
    assert_eq!(paths, [PathBuf::from("edit")]);
    assert!(kept.exists() && w.journal().exists());
    assert_eq!(fs::read_to_string(w.layers.lower.join("edit")).unwrap(), "a person's");
    fs::remove_file(w.layers.lower.join("edit")).unwrap();
    assert_eq!(recover(&w.journal()).unwrap(), Recovered::RolledBack);
    assert_eq!(listing(&w.layers.lower), before);
}

#[test]
fn damaged_journals_are_told() {
    let w = everything();
    for text in [
        "{",
        "{\"version\":9,\"workspace\":\"/\",\"stage\":\".flyball-apply-x\",\"phase\":\"staging\",\"steps\":[]}",
        "{\"version\":1,\"workspace\":\"/\",\"stage\":\"etc\",\"phase\":\"staging\",\"steps\":[]}",
    ] {
        fs::write(w.journal(), text).unwrap();
        assert_eq!(recover(&w.journal()).unwrap_err().code(), "FB0289", "{text}");
    }
}

/// Runs a test in a mount namespace of its own; as another user than root it says why it does not.
fn with_mounts(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let run = move || {
        // SAFETY: the thread was made for this test and ends with it; nothing else runs on it.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            eprintln!("skipped: no mount namespace: {}", std::io::Error::last_os_error());
            return;
        }
        use rustix::mount::{MountPropagationFlags, mount_change};
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        test();
    };
    std::thread::spawn(run).join().unwrap();
}

fn mount_overlay(w: &World) -> PathBuf {
    let merged = w.dir.path().join("merged");
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr",
        w.layers.lower.display(),
        w.layers.upper.display(),
        w.dir.path().join("work").display()
    );
    let data = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount("overlay", &merged, "overlay", rustix::mount::MountFlags::empty(), Some(data.as_c_str()))
        .unwrap();
    merged
}

#[test]
fn a_real_overlay_is_read_rewound_and_applied() {
    with_mounts(|| {
        let w = World::new(&[("a", "1"), ("d/x", "1"), ("d/y/z", "1"), ("m", "1"), ("r", "1")]);
        let merged = mount_overlay(&w);
        fs::write(merged.join("a"), "2").unwrap();
        fs::remove_dir_all(merged.join("d")).unwrap();
        plant(&merged, &[("d/new", "1"), ("n/n", "1")]);
        fs::rename(merged.join("r"), merged.join("n/r")).unwrap();
        fs::set_permissions(merged.join("m"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(w.said(), "~a +d/new -d/x -d/y -d/y/z mm +n +n/n +n/r -r");
        for rel in ["a", "d", "d/new", "d/x", "d/y/z", "n/r", "r", "m"] {
            let real = node_at(&Layers::new(merged.clone(), w.dir.path().join("work")), Path::new(rel));
            assert_eq!(node_at(&w.layers, Path::new(rel)).unwrap(), real.unwrap(), "{rel}");
        }
        // Live: back to the start, through the mounted view.
        let view = fs::File::open(&merged).unwrap();
        for change in w.changes() {
            let lower = w.layers.lower.join(&change.path);
            set(view.as_fd(), &change.path, &change.was, || fs::File::open(lower)).unwrap();
        }
        assert_eq!(w.said(), "");
        assert_eq!(listing(&merged), listing(&w.layers.lower));
        fs::write(merged.join("a"), "3").unwrap();
        fs::remove_dir_all(merged.join("d/y")).unwrap();
        let shown = listing(&merged);
        rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
        apply(&w.layers, w.plan(), &w.journal()).unwrap();
        assert_eq!(listing(&w.layers.lower), shown);
    });
}

#[test]
fn a_rewound_upper_layer_mounts_as_what_it_was_made_to_be() {
    with_mounts(|| {
        let w = World::new(&[("a", "1"), ("d/x", "1"), ("f", "1")]);
        let merged = mount_overlay(&w);
        fs::remove_dir_all(merged.join("d")).unwrap();
        fs::remove_file(merged.join("f")).unwrap();
        rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
        let dir = Node::Directory { mode: 0o755 };
        let none = || Ok(Cursor::new(b""));
        set_upper(&w.layers, Path::new("d"), &dir, none).unwrap();
        set_upper(&w.layers, Path::new("f"), &dir, none).unwrap();
        set_upper(&w.layers, Path::new("a"), &Node::Absent, none).unwrap();
        let merged = mount_overlay(&w);
        assert_eq!(listing(&merged), ["d/ 755", "d/x 644 1", "f/ 755"]);
    });
}

#[test]
fn a_full_disk_applies_nothing() {
    with_mounts(|| {
        let w = World::new(&[]);
        let size = c"size=256k";
        rustix::mount::mount("t", &w.layers.lower, "tmpfs", rustix::mount::MountFlags::empty(), Some(size)).unwrap();
        plant(&w.layers.lower, &[("f", "1"), ("g", "1")]);
        plant(&w.layers.upper, &[("f", "2"), ("big", &"x".repeat(1024 * 1024))]);
        whiteout(&w, "g");
        let before = listing(&w.layers.lower);
        let e = apply(&w.layers, w.plan(), &w.journal()).unwrap_err();
        assert_eq!((e.code(), e.hint().contains("free space")), ("FB0280", true), "{e}");
        assert_eq!(listing(&w.layers.lower), before);
        assert!(!w.journal().exists());
    });
}

mod look;
mod rollback;

mod laws {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escaped_paths_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            use std::os::unix::ffi::OsStringExt;
            let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
            let text = escape(&path);
            prop_assert!(!text.contains(['\n', ' ', '\\']));
            prop_assert_eq!(unescape(&text), Some(path));
        }
    }
}
