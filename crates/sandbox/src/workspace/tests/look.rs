//! A look at many paths says of each what a look at one says.

use super::*;

/// One after the other through one [`Look`], forth and back, so that what it remembers of directories is asked for.
fn check(world: &World, paths: &[&str]) {
    let mut look = Look::new(&world.layers).unwrap();
    for rel in paths.iter().chain(paths.iter().rev()).map(Path::new) {
        let found = look.at(rel).unwrap();
        let node = match found.what {
            What::Node(node) => node,
            What::File { bytes, mode, mut file } => {
                let (digest, size) = node::hash(&mut file, &mut |_| {}).unwrap();
                assert_eq!(size, bytes);
                Node::File { digest, size, mode }
            }
        };
        assert_eq!(node, node_at(&world.layers, rel).unwrap(), "{}", rel.display());
        assert_eq!(found.stamp, stamp(&world.layers, rel), "{}", rel.display());
        if found.is_bare {
            assert_eq!(node_at(&world.layers, rel).unwrap(), Node::Absent, "{}", rel.display());
            assert_eq!(base_node(&world.layers, rel).unwrap(), Node::Absent, "{}", rel.display());
        }
        assert_eq!(look.base(rel, 100).unwrap(), base_node(&world.layers, rel).unwrap(), "{}", rel.display());
    }
    assert_eq!(
        look.at(Path::new("../x")).unwrap_err().code(),
        node_at(&world.layers, Path::new("../x")).unwrap_err().code()
    );
}

const LOWER: &[(&str, &str)] = &[
    ("a/b/c", "1"),
    ("a/b/d", "2"),
    ("a/gone", "3"),
    ("a/link", "->b/c"),
    ("hidden/x/y", "4"),
    ("hidden/z", "5"),
    ("file/in", "6"),
    ("out", "->a"),
    ("plain", "7"),
];

const PATHS: &[&str] = &[
    "",
    "a",
    "a/b",
    "a/b/c",
    "a/b/c/d",
    "a/b/d",
    "a/gone",
    "a/gone/x",
    "a/link",
    "a/link/x",
    "a/new",
    "a/new/er",
    "hidden",
    "hidden/x",
    "hidden/x/y",
    "hidden/z",
    "hidden/own",
    "file",
    "file/in",
    "out",
    "out/b",
    "plain",
    "nothing",
    "nothing/here/at/all",
    "two",
];

#[test]
fn of_an_overlay() {
    let world = World::new(LOWER);
    whiteout(&world, "a/gone");
    opaque(&world, "hidden");
    plant(&world.layers.upper, &[("a/b/d", "other"), ("a/new/er", "n"), ("hidden/own", ""), ("file", "no folder now")]);
    fs::hard_link(world.layers.upper.join("a/b/d"), world.layers.upper.join("two")).unwrap();
    check(&world, PATHS);
}

#[test]
fn of_a_copy() {
    let world = World::new(LOWER);
    copy(&world.layers, &[]).unwrap();
    fs::remove_file(world.layers.upper.join("a/gone")).unwrap();
    fs::remove_dir_all(world.layers.upper.join("hidden/x")).unwrap();
    plant(&world.layers.upper, &[("a/b/d", "other"), ("a/new/er", "n")]);
    check(&world, PATHS);
}

#[test]
fn a_long_file_of_the_real_tree_is_only_there_and_a_writer_shows() {
    let world = World::new(&[("long", "0123456789")]);
    plant(&world.layers.upper, &[("held", "x")]);
    let mut look = Look::new(&world.layers).unwrap();
    assert_eq!(look.base(Path::new("long"), 9).unwrap(), Node::Other);
    assert!(matches!(look.base(Path::new("long"), 10).unwrap(), Node::File { size: 10, .. }));
    let writer = fs::OpenOptions::new().write(true).open(world.layers.upper.join("held")).unwrap();
    assert!(look.at(Path::new("held")).unwrap().stamp.unwrap().has_writers);
    drop(writer);
    assert!(!look.at(Path::new("held")).unwrap().stamp.unwrap().has_writers);
}
