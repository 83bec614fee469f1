//! Files made to break who reads them, archives made to write elsewhere, and more of everything than anyone needs: what can't
//! be read is refused or asked about, what is left is what the rules let through, and the supervisor stays small.

use crate::support::{Case, World, program, stderr};
use flyball_testkit::user::User;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "what_cannot_be_read_runs_nothing", needs: python, run: unread },
        Case { name: "archives_of_links_write_nowhere_else", needs: tar, run: archives },
        Case { name: "descriptors_that_were_passed_on_are_on_record", needs: python, run: passed },
        Case { name: "many_small_files", needs: python, run: many },
    ]
}

fn python(_: User) -> Option<String> {
    (!Path::new("/usr/bin/python3").exists()).then(|| "there is no /usr/bin/python3".to_owned())
}

fn tar(user: User) -> Option<String> {
    python(user).or_else(|| program("tar"))
}

fn start(world: &World, script: &str) -> Child {
    std::fs::write(world.repo.workspace().join("work.sh"), script).unwrap();
    let mut command = world.flyball(&["run", "--json", "--apply", "never", "--on-hold", "deny", "--", "sh", "work.sh"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Kibibytes that the supervisor took at most, told once it has ended.
fn peak(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0).max(most);
        if child.try_wait().unwrap().is_some() {
            return most;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Each is written, tried with a program, and looked for afterwards.
const UNREAD: &[(&str, &str)] = &[
    // Sparse: of a gibibyte nobody reads more than a few MiB.
    ("package.json", "f.truncate(1 << 30)"),
    ("Cargo.lock", "f.write(b'[[package]]\\nname = \"a\"\\nversion = \"1\"\\n'); f.truncate(1 << 30)"),
    // More lines than are told one by one, and more bytes than are read.
    ("requirements.txt", "f.write(b''.join(b'p%d\\n' % i for i in range(1_000_000)))"),
    ("yarn.lock", "f.write(b''.join(b'p%d@1:\\n  version \"1\"\\n' % i for i in range(500_000)))"),
    ("Cargo.toml", "f.write(b'[dependencies]\\na = ' + b'[' * 1_000_000)"),
    ("go.mod", "f.write(b'module a\\nrequire (\\n\\xff\\xfe v1\\n')"),
    ("pnpm-lock.yaml", "f.write(b'a: &a [x]\\n' + b'b: [*a]\\n' * 100_000)"),
    ("lib/deep.py", "f.write(b'a::{' * (1 << 17))"),
    ("lib/long.py", "f.write(b'import a\\n' * 200_000)"),
    ("lib/latin.py", "f.write(b'import s\\xf6cket\\n')"),
    ("lib/wide.js", "f.write('import \"x\"'.encode('utf-16'))"),
];

fn unread(user: User) {
    let world = World::new(user);
    world.init(
        "",
        "@id(\"lib-is-read\") @owner(\"maintainer\") @reason(\"what is imported must be known\")\n\
         forbid (principal, action == Action::\"fs.write\", resource)\n\
         when { resource.rel like \"lib/*\" && (context.opaque || context.attrs has imports) };\n",
    );
    let mut tries = String::new();
    for (n, (path, how)) in UNREAD.iter().enumerate() {
        let write = format!("f = open('{path}', 'wb')\n{how}\nf.close()\n");
        std::fs::write(world.repo.workspace().join(format!("write-{n}.py")), write).unwrap();
        tries += &format!(
            "/usr/bin/python3 write-{n}.py\nenv echo ran-{n}\nenv echo still-{n}\ntest -e {path} && echo left-{n}\n"
        );
    }
    let mut child = start(&world, &format!("mkdir -p lib\n{tries}echo end\n"));
    let peak = peak(&mut child);
    let output = child.wait_with_output().unwrap();
    let (seen, told) = (said(&output), stderr(&output));
    for (n, (path, _)) in UNREAD.iter().enumerate() {
        let lines = |word: &str| seen.lines().any(|line| line == format!("{word}-{n}"));
        assert!(!lines("ran"), "{path} was run on: {seen}\n{told}");
        assert!(lines("still"), "{path} stops what comes after it: {seen}\n{told}");
        assert!(!lines("left"), "{path} was left: {seen}\n{told}");
    }
    assert!(seen.lines().any(|line| line == "end") && told.contains("lib-is-read"), "{seen}\n{told}");
    assert!(peak < 512 << 10, "the supervisor took {peak} KiB");
    let log = world.log();
    let opaque = log.iter().filter(|e| e["kind"] == "attempt" && e["body"]["attrs"]["opaque"] == true).count();
    assert!(opaque >= UNREAD.len() - 1, "{opaque} were opaque");
    world.verifies();
}

/// Written by whoever makes such archives for a living.
const ARCHIVE: &str = r#"
import io, os, sys, tarfile
home, outside = sys.argv[1:3]
def put(tar, name, text=b'owned', kind=tarfile.REGTYPE, link='', mode=0o644):
    one = tarfile.TarInfo(name); one.type, one.linkname, one.mode = kind, link, mode
    one.size = len(text) if kind == tarfile.REGTYPE else 0
    tar.addfile(one, io.BytesIO(text))
with tarfile.open('evil.tar', 'w') as tar:
    for name, target in [('l-etc', '/etc'), ('l-home', home), ('l-out', outside), ('l-up', '../..'), ('l-hooks', '.git/hooks'), ('l-charter', '.flyball')]:
        put(tar, name, kind=tarfile.SYMTYPE, link=target)
    for name in ['l-etc/owned', 'l-home/.ssh/authorized_keys', 'l-home/.bashrc', 'l-out/notes.txt', 'l-up/owned', 'l-hooks/pre-commit', 'l-charter/charter.toml']:
        put(tar, name, mode=0o755)
    for name, target in [('h-shadow', '/etc/passwd'), ('h-notes', outside + '/notes.txt'), ('h-charter', '.flyball/charter.toml'), ('h-hook', '.git/hooks/pre-commit')]:
        put(tar, name, kind=tarfile.LNKTYPE, link=target)
        put(tar, name)
    for name in ['/etc/owned', '../owned', 'a/../../owned', outside + '/owned', '.git/hooks/post-checkout', '.git/config', '.flyball/more.cedar']:
        put(tar, name, mode=0o755)
    put(tar, 'set', mode=0o6755); put(tar, 'dev', kind=tarfile.BLKTYPE); put(tar, 'whiteout', kind=tarfile.CHRTYPE); put(tar, 'fifo', kind=tarfile.FIFOTYPE)
    put(tar, 'n' * 255); put(tar, '/'.join(['d' * 200] * 30)); put(tar, 'bad-\udcff\udcfe'); put(tar, 'honest.txt', b'fine')
"#;

/// Three ways to unpack: as people do, with all that an archive may ask for, and by a library that checks nothing.
const UNPACK: &str = r#"
tar -xf evil.tar
tar -xPf evil.tar --keep-directory-symlink --overwrite
tar -xPf evil.tar --unlink-first --recursive-unlink
/usr/bin/python3 - <<'P'
import tarfile
with tarfile.open('evil.tar') as tar:
    for one in tar:
        try: tar.extract(one, filter='fully_trusted')
        except TypeError:
            try: tar.extract(one)
            except Exception: pass
        except Exception: pass
P
echo unpacked; cat honest.txt
"#;

fn archives(user: User) {
    let world = World::new(user);
    world.init("", "");
    std::fs::write(world.repo.workspace().join("make.py"), ARCHIVE).unwrap();
    let workspace = world.repo.workspace();
    let before = (tree(&workspace.join(".git")), tree(&workspace.join(".flyball")));
    let (home, outside) = (tree(&world.repo.home()), tree(&world.repo.outside()));
    let script = format!(
        "/usr/bin/python3 make.py {} {}\n{UNPACK}",
        world.repo.home().display(),
        world.repo.outside().display()
    );
    let output = start(&world, &script).wait_with_output().unwrap();
    let (seen, told) = (said(&output), stderr(&output));
    assert!(seen.contains("unpacked\nfine"), "{seen}\n{told}");
    let same = |when: &str| {
        assert_eq!((tree(&workspace.join(".git")), tree(&workspace.join(".flyball"))), before, "{when}: {told}");
        assert_eq!((tree(&world.repo.home()), tree(&world.repo.outside())), (home.clone(), outside.clone()), "{when}");
        for owned in ["/etc/owned", "/owned", "/var/owned"] {
            assert!(!Path::new(owned).exists(), "{when}: {owned}");
        }
    };
    same("while it ran");
    assert!(!world.log().iter().any(|e| e["body"]["alert"] == "unexplained"), "{told}");
    let applied = world.flyball(&["apply", "@"]).output().unwrap();
    assert!(applied.status.success(), "{}", stderr(&applied));
    same("after the apply");
    assert_eq!(world.repo.text("honest.txt").unwrap(), "fine");
    // A link is a link in the real workspace, too, and nothing was written through it.
    for entry in std::fs::read_dir(&workspace).unwrap() {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let (path, found) = entry.map(|e| (e.path(), std::fs::symlink_metadata(e.path()).unwrap())).unwrap();
        let kind = found.file_type();
        assert!(!kind.is_block_device() && !kind.is_char_device() && !kind.is_fifo(), "{}", path.display());
        assert!(found.mode() & 0o6000 == 0 || kind.is_symlink(), "{}", path.display());
    }
    world.verifies();
}

/// Every name below with what stands there.
fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut open, mut found) = (vec![root.to_path_buf()], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            let content = match () {
                () if kind.is_dir() => Vec::new(),
                () if kind.is_symlink() => {
                    std::fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes()
                }
                () => std::fs::read(entry.path()).unwrap_or_default(),
            };
            found.push((entry.path().to_string_lossy().into_owned(), content));
            if kind.is_dir() {
                open.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// One process opens, another one, no child of it, has the descriptor over a named socket and writes long after the first is gone.
const PASSED: &str = r#"
import os, socket, subprocess, sys, time
if sys.argv[1] == 'take':
    s = socket.socket(socket.AF_UNIX); s.bind('hand'); s.listen(1)
    open('ready', 'w').close()
    c, _ = s.accept()
    first, second, folder = socket.recv_fds(c, 1, 3)[1]
    c.recv(1)
    for n in range(4):
        os.write(first, b'first-%d\n' % n)
        os.pwrite(second, b'second-%d\n' % n, 0)
        subprocess.run(['true'])
    os.mkdir('made', dir_fd=folder)
    fd = os.open('.git/hooks/pre-commit', os.O_RDONLY)
    try: os.open('hooks/pre-commit', os.O_WRONLY | os.O_TRUNC, dir_fd=folder); print('OWNED')
    except OSError as error: print('refused', error.errno)
    os.unlink('hand')
else:
    while not os.path.exists('ready'): time.sleep(0.01)
    c = socket.socket(socket.AF_UNIX); c.connect('hand')
    first = os.open('first.txt', os.O_CREAT | os.O_WRONLY); second = os.open('README.md', os.O_RDWR); git = os.open('.git', os.O_PATH)
    socket.send_fds(c, [b'x'], [first, second, git])
    os.close(first); os.close(second); os.close(git)
    c.send(b'x'); c.recv(1)
"#;

fn passed(user: User) {
    let world = World::new(user);
    world.init("", "");
    std::fs::write(world.repo.workspace().join("passed.py"), PASSED).unwrap();
    let script = "/usr/bin/python3 passed.py take & /usr/bin/python3 passed.py give; wait; rm ready; rmdir .git/made; env echo end\n";
    let output = start(&world, script).wait_with_output().unwrap();
    let (seen, told) = (said(&output), stderr(&output));
    assert!(seen.contains("refused 13") && seen.contains("end") && !seen.contains("OWNED"), "{seen}\n{told}");
    let log = world.log();
    // Each write stands in the record by the program that came after it.
    for path in ["first.txt", "README.md"] {
        let looks = log.iter().filter(|e| e["kind"] == "observe" && e.to_string().contains(path)).count();
        assert!(looks >= 4, "{path}: {looks} looks\n{told}");
    }
    let last = log.last().unwrap()["seq"].to_string();
    assert_eq!(world.ok(&["at", "@", &last, "first.txt"]), "first-0\nfirst-1\nfirst-2\nfirst-3\n");
    assert!(world.ok(&["at", "@", &last, "README.md"]).starts_with("second-3\n"));
    assert!(!log.iter().any(|e| e["body"]["alert"] == "unexplained"), "{told}");
    world.verifies();
}

/// Kibibytes that a session, reading it, or taking its workspace somewhere may take for each file that it made, and for all that is
/// not of the files. What the record says of the workspace is held in memory, so it grows with the files.
const ACT_FILE_KIB_MAX: u64 = 3;
const ACT_KIB_MAX: u64 = 4 << 10;

/// More than one entry of the record can tell of. `FLYBALL_MANY=1000000` makes as many.
fn many(user: User) {
    let files: u64 = std::env::var("FLYBALL_MANY").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let (few, all) = (made(user, 20), made(user, files));
    let peak = all[0].1;
    assert!(peak < (64 << 10) + 8 * files, "the supervisor took {peak} KiB");
    for ((what, few), (_, all)) in few.iter().zip(&all) {
        eprintln!("{files} files: {what} took {all} KiB, and {few} of 20 files");
        let max = few + ACT_KIB_MAX + ACT_FILE_KIB_MAX * files;
        assert!(*all < max, "{what} took {all} KiB, more than {max}: that of 20 files took {few}");
    }
}

/// Runs a command to its end; gives the kibibytes that it took at most.
fn held(world: &World, words: &[&str]) -> u64 {
    const MEASURED: &str = "import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n\
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let mut command = world.user.command(Path::new("/usr/bin/python3"), &world.repo.home());
    command.args(["-c", MEASURED]).args(world.front(words)).current_dir(world.repo.workspace());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    said(&output).trim().parse().unwrap()
}

/// Makes so many files in a session, takes a folder of them back, and applies them; gives what that and each act took.
fn made(user: User, files: u64) -> Vec<(&'static str, u64)> {
    let world = World::new(user);
    world.init("", "");
    let script = format!(
        "cat > many.py <<'P'\nimport os, sys\nfor n in range({files}):\n    d = f'many/{{n // 1000}}'\n    if n % 1000 == 0: os.makedirs(d)\n    \
         f = os.open(f'{{d}}/{{n}}', os.O_CREAT | os.O_WRONLY, 0o644); os.write(f, b'%d' % n); os.close(f)\nP\n\
         /usr/bin/python3 many.py; env echo made; env echo made-and-seen; rm -r many/0; env echo end\n"
    );
    let mut child = start(&world, &script);
    let peak = peak(&mut child);
    let output = child.wait_with_output().unwrap();
    let (seen, told) = (said(&output), stderr(&output));
    assert!(seen.contains("made-and-seen") && seen.contains("end"), "{seen}\n{told}");
    let log = world.log();
    assert!(!log.iter().any(|e| e["body"]["alert"] == "unexplained"), "{told}");
    // Before a folder of them went.
    let seen = log.iter().find(|e| e["kind"] == "attempt" && e.to_string().contains("made-and-seen")).unwrap();
    let (seen, last) = (seen["seq"].to_string(), log.last().unwrap()["seq"].to_string());
    let acts: [(&str, &[&str]); 7] = [
        ("show", &["show", "@"]),
        ("log", &["log", "@", "--json"]),
        ("log of refusals", &["log", "@", "--verdict", "deny"]),
        ("at", &["at", "@", &last, "--json"]),
        ("diff", &["diff", "@", &seen, &last, "--json"]),
        ("rollback", &["rollback", "@", &seen, "--reason", "a test"]),
        ("apply", &["apply", "@"]),
    ];
    let acts = acts.map(|(what, words)| (what, held(&world, words)));
    let workspace = world.repo.workspace();
    let count = |folder: &Path| -> usize {
        let folders = std::fs::read_dir(folder).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
        folders.iter().map(|one| std::fs::read_dir(one.as_ref().unwrap().path()).unwrap().count()).sum()
    };
    assert_eq!(count(&workspace.join("many")) as u64, files);
    assert_eq!(
        world.repo.text(&format!("many/{}/{}", (files - 1) / 1000, files - 1)).unwrap(),
        (files - 1).to_string()
    );
    world.verifies();
    std::iter::once(("the session", peak)).chain(acts).collect()
}
