//! A whole workspace taken back, live and ended: all of it or none, at every point, with a full disk too.

use super::super::view::set_all_with;
use super::*;

/// A mounted world in which much was changed, and the way back to what the lower layer has.
fn changed() -> (World, PathBuf, Vec<(PathBuf, Node)>) {
    let w = World::new(&[
        ("a", "1"),
        ("gone", "1"),
        ("d/x", "1"),
        ("d/y/z", "1"),
        ("m", "1"),
        ("r", "1"),
        ("tofile/x", "1"),
        ("todir", "1"),
        ("link", "->a"),
        ("same/s", "1"),
    ]);
    let merged = mount_overlay(&w);
    fs::write(merged.join("a"), "2").unwrap();
    for dir in ["d", "tofile"] {
        fs::remove_dir_all(merged.join(dir)).unwrap();
    }
    for file in ["gone", "todir", "link"] {
        fs::remove_file(merged.join(file)).unwrap();
    }
    plant(
        &merged,
        &[("d", "a file now"), ("n/deep/n", "1"), ("tofile", "f"), ("todir/k", "1"), ("link", "->m"), ("same/t", "1")],
    );
    fs::rename(merged.join("r"), merged.join("n/r")).unwrap();
    fs::set_permissions(merged.join("m"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(merged.join("same"), fs::Permissions::from_mode(0o750)).unwrap();
    // What no record has: it goes with the directory that it is in.
    plant(&merged, &[("n/cache/x", "1")]);
    let back = w.changes().into_iter().filter(|c| !c.path.starts_with("n/cache")).map(|c| (c.path, c.was)).collect();
    (w, merged, back)
}

fn back(w: &World, merged: &Path, nodes: &[(PathBuf, Node)], mut left: usize) -> Result<()> {
    let view = fs::File::open(merged).unwrap();
    let content = |rel: &Path, _: &Node| fs::File::open(w.layers.lower.join(rel));
    set_all_with(view.as_fd(), nodes, content, &mut || {
        if left == 0 {
            return Err(WorkspaceError::Stopped);
        }
        left -= 1;
        Ok(())
    })
}

#[test]
fn a_live_view_goes_back_whole_or_not_at_all() {
    with_mounts(|| {
        let mut cut = 0;
        for n in 0.. {
            let (w, merged, nodes) = changed();
            let before = listing(&merged);
            let done = back(&w, &merged, &nodes, n);
            let after = listing(&merged);
            rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
            if done.is_ok() {
                assert_eq!(after, listing(&w.layers.lower));
                assert_eq!(w.said(), "");
                break;
            }
            assert_eq!(after, before, "step {n}");
            cut += 1;
        }
        assert!(cut > 20, "{cut}");
    });
}

#[test]
fn a_full_disk_takes_a_live_view_nowhere() {
    with_mounts(|| {
        // From no room at all to room for staging but not for every step.
        let mut failed = 0;
        for free_kib in (0..160).step_by(8) {
            let dir = tempfile::tempdir().unwrap();
            let layers = Layers::new(dir.path().join("lower"), dir.path().join("small/upper"));
            for d in ["lower", "merged", "small"] {
                fs::create_dir(dir.path().join(d)).unwrap();
            }
            let size = c"size=512k";
            let small = dir.path().join("small");
            rustix::mount::mount("t", &small, "tmpfs", rustix::mount::MountFlags::empty(), Some(size)).unwrap();
            fs::create_dir(small.join("upper")).unwrap();
            fs::create_dir(small.join("work")).unwrap();
            let big = "b".repeat(30_000);
            plant(&layers.lower, &[("edit", &big), ("only/lower", &big), ("e/f/g", "1"), ("z", &big)]);
            let merged = dir.path().join("merged");
            let options = format!(
                "lowerdir={},upperdir={},workdir={},userxattr",
                layers.lower.display(),
                layers.upper.display(),
                small.join("work").display()
            );
            let data = std::ffi::CString::new(options).unwrap();
            rustix::mount::mount("o", &merged, "overlay", rustix::mount::MountFlags::empty(), Some(data.as_c_str()))
                .unwrap();
            fs::write(merged.join("edit"), "2").unwrap();
            fs::remove_dir_all(merged.join("e")).unwrap();
            plant(&merged, &[("new/n", "1")]);
            let reserved = small.join("reserved");
            fs::write(&reserved, vec![0; free_kib * 1024]).unwrap();
            // To the brim, then give that much back.
            let filler = fs::File::create(small.join("filler")).unwrap();
            while std::io::Write::write(&mut (&filler), &[0; 4096]).is_ok_and(|n| n > 0) {}
            fs::remove_file(&reserved).unwrap();
            let before = listing(&merged);
            let node = |rel: &str| {
                let mut content = Vec::new();
                let lower = Layers::new(layers.lower.clone(), dir.path().join("merged"));
                capture(&lower, Path::new(rel), &mut |b| content.extend_from_slice(b)).unwrap();
                lower_node(&layers, Path::new(rel)).unwrap()
            };
            let nodes: Vec<(PathBuf, Node)> = vec![
                ("e".into(), node("e")),
                ("e/f".into(), node("e/f")),
                ("e/f/g".into(), node("e/f/g")),
                ("edit".into(), node("edit")),
                ("new".into(), Node::Absent),
                // Moving these aside copies them up first, at the time of the step.
                ("only/lower".into(), Node::Absent),
                ("z".into(), Node::Absent),
            ];
            let view = fs::File::open(&merged).unwrap();
            let done = set_all(view.as_fd(), &nodes, |rel, _| fs::File::open(layers.lower.join(rel)));
            let after = listing(&merged);
            drop(view);
            rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
            rustix::mount::unmount(&small, rustix::mount::UnmountFlags::DETACH).unwrap();
            match done {
                Ok(()) => {
                    assert!(after.iter().any(|l| l == "e/f/g 644 1") && !after.iter().any(|l| l.starts_with("z ")))
                }
                Err(e) => {
                    assert!(!matches!(e, WorkspaceError::Between { .. }), "{free_kib} KiB: {e}");
                    assert_eq!(after, before, "{free_kib} KiB: {e}");
                    failed += 1;
                }
            }
        }
        assert!((3..20).contains(&failed), "{failed} of 20 met a full disk");
    });
}

#[test]
fn a_twin_is_the_same_layer_and_stays_its_own() {
    with_mounts(|| {
        let (w, merged, nodes) = changed();
        let shown = listing(&merged);
        rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
        let other = w.layers.upper.with_extension("twin");
        twin(&w.layers.upper, &other).unwrap();
        let on = Layers::new(w.layers.lower.clone(), other.clone());
        assert_eq!(digest(&on, &Scratch::default()).unwrap(), digest(&w.layers, &Scratch::default()).unwrap());
        // Changing the twin changes nothing of the layer.
        let said = w.said();
        for change in w.changes().iter().rev().filter(|c| c.node != Node::Absent) {
            set_upper(&on, &change.path, &Node::Absent, || Ok(Cursor::new(b""))).unwrap();
        }
        for (path, node) in nodes.iter().filter(|(_, n)| *n != Node::Absent) {
            set_upper(&on, path, node, || fs::File::open(w.layers.lower.join(path))).unwrap();
        }
        assert_eq!(w.said(), said);
        assert_eq!(changes(&on, &Scratch::default()).unwrap(), []);
        let (new, old) = (inode(&other).unwrap(), inode(&w.layers.upper).unwrap());
        exchange(&w.layers.upper, &other).unwrap();
        assert_eq!((inode(&w.layers.upper).unwrap(), inode(&other).unwrap()), (new, old));
        assert_eq!(w.said(), "");
        exchange(&w.layers.upper, &other).unwrap();
        drop_twin(&other).unwrap();
        assert_eq!(inode(&other).unwrap(), None);
        // What was the layer mounts as before.
        fs::remove_dir_all(w.dir.path().join("work")).unwrap();
        fs::create_dir(w.dir.path().join("work")).unwrap();
        let merged = mount_overlay(&w);
        assert_eq!(listing(&merged), shown);
        rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}
