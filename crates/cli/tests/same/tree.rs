//! A tree, file by file and byte by byte, and how two of them differ.

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Files shorter than this may lie in the file system's own tables, whose blocks say nothing of holes.
const SPARSE_BYTES_MIN: u64 = 1 << 16;

/// One entry. Access and change times are no program's to set and are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub kind: String,
    /// The lower twelve bits, in octal.
    pub mode: String,
    pub owner: (u32, u32),
    /// Bytes; of files and links only.
    pub size: u64,
    /// SHA-256 of a file's content, a link's target, a device's number.
    pub content: String,
    /// The names that it has in the tree, by the first of them, and how many it has in all.
    pub links: Option<(String, u64)>,
    pub is_sparse: bool,
    pub xattrs: BTreeMap<String, String>,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i128,
}

/// All entries by path, as `/`-separated text with odd bytes escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree(pub BTreeMap<String, Entry>);

/// What is different between any two runs.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// A glob on paths below the workspace.
    pub at: &'static str,
    pub what: What,
    /// Why that is no difference that a user could mind.
    #[expect(dead_code, reason = "for the reader of the list, and a list without reasons is none")]
    pub why: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It may be there or not, whatever it holds.
    Existence,
    /// Its content, and so its size.
    Content,
    /// Its content; its size is the same.
    Bytes,
    /// Which names are hard links of one file, and how many there are.
    Links,
    /// Its modification time.
    Time,
    /// Its permission bits.
    Mode,
}

impl Tree {
    pub fn read(root: &Path) -> Self {
        let mut walk = Walk { entries: BTreeMap::new(), links: BTreeMap::new() };
        walk.entry(root, Path::new(""));
        let Walk { mut entries, links } = walk;
        for names in links.into_values() {
            let first = names[0].clone();
            for name in names {
                let entry = entries.get_mut(&name).unwrap();
                let count = entry.links.as_ref().map_or(1, |(_, count)| *count);
                entry.links = Some((first.clone(), count));
            }
        }
        Self(entries)
    }

    /// Lines that say what is other in `other`; empty where nothing is. Times from `began_ns` on are "now".
    pub fn differences(&self, other: &Self, known: &[Known], began_ns: i128) -> Vec<String> {
        let known: Vec<(GlobMatcher, What)> = known.iter().map(|known| (glob(known.at), known.what)).collect();
        let mut out = Vec::new();
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        for name in names {
            let may = |what| known.iter().any(|(glob, which)| *which == what && glob.is_match(name));
            if may(What::Existence) {
                continue;
            }
            match (self.0.get(name), other.0.get(name)) {
                (Some(_), None) => out.push(format!("{name}: is missing")),
                (None, Some(entry)) => out.push(format!("{name}: is there as well: {} {}", entry.kind, entry.size)),
                (Some(one), Some(two)) => different(name, one, two, &may, began_ns, &mut out),
                (None, None) => {}
            }
        }
        out
    }
}

fn different(name: &str, one: &Entry, two: &Entry, may: &dyn Fn(What) -> bool, began_ns: i128, out: &mut Vec<String>) {
    let mut tell = |what: &str, is_same: bool, one: &dyn std::fmt::Debug, two: &dyn std::fmt::Debug| {
        if !is_same {
            out.push(format!("{name}: {what}: {one:?}, governed {two:?}"));
        }
    };
    tell("kind", one.kind == two.kind, &one.kind, &two.kind);
    tell("mode", one.mode == two.mode || may(What::Mode), &one.mode, &two.mode);
    tell("owner", one.owner == two.owner, &one.owner, &two.owner);
    tell("size", one.size == two.size || may(What::Content), &one.size, &two.size);
    let is_known = may(What::Content) || may(What::Bytes);
    tell("content", one.content == two.content || is_known, &one.content, &two.content);
    tell("links", one.links == two.links || may(What::Links), &one.links, &two.links);
    tell("sparse", one.is_sparse == two.is_sparse || may(What::Content), &one.is_sparse, &two.is_sparse);
    tell("xattrs", one.xattrs == two.xattrs, &one.xattrs, &two.xattrs);
    // Only a time that the workload set, or left as it was, can be the same; one that it got by writing is "now".
    let year = 365 * 86_400 * 1_000_000_000;
    let now = |time: i128| time >= began_ns && time < began_ns + year;
    let is_same = one.mtime_ns == two.mtime_ns || (now(one.mtime_ns) && now(two.mtime_ns)) || may(What::Time);
    tell("mtime", is_same, &one.mtime_ns, &two.mtime_ns);
}

struct Walk {
    entries: BTreeMap<String, Entry>,
    links: BTreeMap<(u64, u64), Vec<String>>,
}

impl Walk {
    fn entry(&mut self, root: &Path, rel: &Path) {
        let path = root.join(rel);
        let meta = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file_type = meta.file_type();
        let name = rel.as_os_str().as_bytes().escape_ascii().to_string();
        let (kind, content) = if file_type.is_dir() {
            ("directory", String::new())
        } else if file_type.is_symlink() {
            ("link", fs::read_link(&path).unwrap().as_os_str().as_bytes().escape_ascii().to_string())
        } else if file_type.is_file() {
            ("file", digest(&path))
        } else if file_type.is_fifo() {
            ("fifo", String::new())
        } else if file_type.is_socket() {
            ("socket", String::new())
        } else {
            ("device", meta.rdev().to_string())
        };
        let is_counted = matches!(kind, "file" | "link");
        let entry = Entry {
            kind: kind.to_owned(),
            mode: format!("{:04o}", meta.mode() & 0o7777),
            owner: (meta.uid(), meta.gid()),
            size: if is_counted { meta.size() } else { 0 },
            content,
            links: (kind != "directory" && meta.nlink() > 1).then(|| (String::new(), meta.nlink())),
            is_sparse: kind == "file" && meta.size() >= SPARSE_BYTES_MIN && meta.blocks() * 512 < meta.size(),
            xattrs: xattrs(&path),
            mtime_ns: modified_ns(&meta),
        };
        if entry.links.is_some() {
            self.links.entry((meta.dev(), meta.ino())).or_default().push(name.clone());
        }
        self.entries.insert(name, entry);
        if kind == "directory" {
            let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            for name in names {
                self.entry(root, &rel.join(name));
            }
        }
    }
}

fn digest(path: &Path) -> String {
    // Closed to its owner: the content is none that the tree could show.
    let Ok(mut file) = fs::File::open(path) else { return "closed".to_owned() };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Extended attributes that a program can set; what the system sets by itself is the same all over the tree.
fn xattrs(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0_u8; 1 << 16];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names) else { return BTreeMap::new() };
    let all = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    all.filter(|name| name.starts_with(b"user.") || name.starts_with(b"system.posix_acl"))
        .map(|name| {
            let mut value = vec![0_u8; 1 << 16];
            let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            (name.escape_ascii().to_string(), value[..length].escape_ascii().to_string())
        })
        .collect()
}

pub fn glob(pattern: &str) -> GlobMatcher {
    GlobBuilder::new(pattern).literal_separator(true).build().unwrap().compile_matcher()
}

/// The time that a file made now gets. The clock's own may be a tick ahead of it: a file made after that would look older.
pub fn now_ns(folder: &Path) -> i128 {
    let file = tempfile::NamedTempFile::new_in(folder).unwrap();
    modified_ns(&file.as_file().metadata().unwrap())
}

fn modified_ns(meta: &fs::Metadata) -> i128 {
    i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())
}
