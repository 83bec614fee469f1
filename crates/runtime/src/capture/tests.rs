#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;

struct Scene {
    dir: tempfile::TempDir,
    ledger: Ledger,
    capture: Capture,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let workspace = dir.path().join("w");
        for folder in [&workspace, &dir.path().join("upper")] {
            std::fs::create_dir(folder).unwrap();
        }
        let layers = Layers::new(workspace.clone(), dir.path().join("upper"));
        let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
        let capture = Capture::new(layers, &workspace, Arc::default(), State::default());
        Self { dir, ledger, capture }
    }

    /// As a mediated call would.
    fn write(&mut self, rel: &str, content: &str) {
        std::fs::write(self.dir.path().join("upper").join(rel), content).unwrap();
        self.capture.touched(&self.dir.path().join("w").join(rel));
    }

    fn look(&mut self) -> Result<Vec<PathBuf>, CaptureError> {
        let wanted = Wanted { path: &|_| true, file_bytes_max: 100, ..NOTHING };
        let (seen, more) = self.capture.look(&self.ledger, &wanted, &mut BTreeSet::new())?;
        assert!(!more);
        assert!(seen.iter().all(|s| s.content.is_some()));
        Ok(seen.into_iter().map(|s| s.rel).collect())
    }
}

#[test]
fn a_look_that_fails_midway_loses_nothing_of_what_it_found() {
    let mut scene = Scene::new();
    scene.write("a", "one");
    scene.write("same", "same");
    scene.look().unwrap();
    scene.write("a", "two");
    scene.write("b", "one");
    scene.capture.force("same".into());
    // No path of the workspace's: looking at it fails, after those before it.
    for nowhere in ["../x", "t/../.."] {
        scene.capture.force(nowhere.into());
    }
    for _ in 0..2 {
        scene.look().unwrap_err();
    }
    scene.capture.watched.retain(|rel, _| !rel.to_string_lossy().contains(".."));
    let mut told = scene.look().unwrap();
    told.sort();
    assert_eq!(told, ["a", "b", "same"].map(PathBuf::from));
    assert!(scene.look().unwrap().is_empty(), "once");
    // And what changed since is told after what had been found before.
    scene.write("a", "three");
    scene.capture.force("t/../..".into());
    scene.look().unwrap_err();
    scene.write("a", "four");
    scene.capture.watched.remove(std::ffi::OsStr::new("t/../.."));
    let (seen, _) = scene.capture.look(&scene.ledger, &NOTHING, &mut BTreeSet::new()).unwrap();
    let nodes: Vec<_> = seen.iter().map(|s| (&s.was, &s.node)).collect();
    assert_eq!(nodes.len(), 2);
    assert_eq!(nodes[0].1, nodes[1].0);
    assert_eq!(scene.capture.state.node("a").as_ref(), Some(nodes[1].1));
}

#[test]
fn what_came_and_went_leaves_nothing_but_what_went_with_it() {
    let mut scene = Scene::new();
    let (upper, workspace) = (scene.dir.path().join("upper"), scene.dir.path().join("w"));
    let look = |scene: &mut Scene| {
        let (seen, _) = scene.capture.look(&scene.ledger, &NOTHING, &mut BTreeSet::new()).unwrap();
        seen.into_iter().map(|s| (s.rel, s.node)).collect::<Vec<_>>()
    };
    // A temporary file, made and removed between two looks.
    scene.write("lock", "");
    std::fs::remove_file(upper.join("lock")).unwrap();
    assert_eq!(look(&mut scene), []);
    assert!(scene.capture.is_quiet() && !scene.capture.state.knows("lock"));
    // Asked for, it is told of all the same.
    scene.capture.force("lock".into());
    assert_eq!(look(&mut scene), [("lock".into(), Node::Absent)]);
    // A folder that no call named, and that goes with what is known in it.
    std::fs::create_dir(upper.join("d")).unwrap();
    scene.write("d/f", "content");
    assert_eq!(look(&mut scene).len(), 1);
    std::fs::remove_dir_all(upper.join("d")).unwrap();
    scene.capture.touched(&workspace.join("d"));
    assert_eq!(look(&mut scene), [("d/f".into(), Node::Absent)]);
}

#[test]
fn a_file_that_grows_while_it_is_read_is_never_in_memory_as_a_whole() {
    let scene = Scene::new();
    let at = scene.dir.path().join("upper/long");
    let as_it_was = |bytes| What::File { file: std::fs::File::open(&at).unwrap(), bytes, mode: 0o644 };
    let read = |bytes, keep| capture(as_it_was(bytes), Path::new("long"), &scene.ledger, keep).unwrap();
    std::fs::write(&at, vec![b'x'; 6 << 20]).unwrap();
    let whole = read(6 << 20, Some(10));
    assert!(matches!(&whole.0, Node::File { size, .. } if *size == 6 << 20));
    assert_eq!(whole.1.as_deref(), Some([b'x'; 11].as_slice()));
    // It had ten bytes when it was opened.
    assert_eq!(read(10, Some(10)), whole);
    assert_eq!(read(10, None), (whole.0, None));
    // Sparse, and longer than is read at all.
    std::fs::File::options().write(true).open(&at).unwrap().set_len(300 << 20).unwrap();
    let before = peak_kib();
    assert_eq!(read(10, Some(10)).0, Node::Other);
    assert_eq!(read(300 << 20, None).0, Node::Other);
    assert!(peak_kib() < before + (100 << 10), "{before} KiB, then {}", peak_kib());
}

/// The most memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn what_is_written_by_another_name_is_seen_by_each() {
    let mut scene = Scene::new();
    let (upper, workspace) = (scene.dir.path().join("upper"), scene.dir.path().join("w"));
    scene.write("one", "first");
    std::fs::hard_link(upper.join("one"), upper.join("two")).unwrap();
    scene.capture.touched(&workspace.join("two"));
    scene.look().unwrap();
    assert!(scene.capture.is_quiet(), "nobody can change them unseen");
    // By a name that is gone again when it is looked.
    std::fs::hard_link(upper.join("one"), upper.join("three")).unwrap();
    scene.capture.touched(&workspace.join("three"));
    scene.write("three", "second");
    std::fs::remove_file(upper.join("three")).unwrap();
    let mut told = scene.look().unwrap();
    told.sort();
    assert_eq!(told, ["one", "two"].map(PathBuf::from));
    // By a name that is not recorded, and held open: looked at for as long as that is.
    std::fs::hard_link(upper.join("one"), upper.join("scratch")).unwrap();
    let mut held = std::fs::File::options().append(true).open(upper.join("scratch")).unwrap();
    scene.capture.reached(&workspace.join("scratch"));
    scene.look().unwrap();
    for content in ["more", "still more"] {
        std::io::Write::write_all(&mut held, content.as_bytes()).unwrap();
        assert_eq!(scene.look().unwrap().len(), 2, "{content}");
    }
    drop(held);
    scene.look().unwrap();
    assert!(scene.capture.is_quiet());
    // In another layer these are other files.
    std::fs::write(upper.join("one"), "third").unwrap();
    assert!(scene.look().unwrap().is_empty());
    scene.capture.watch_linked();
    assert_eq!(scene.look().unwrap().len(), 2);
}
