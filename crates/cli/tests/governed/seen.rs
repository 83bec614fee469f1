//! What a program sees that is recorded and is given again, or follows from what is: the order of listings, what the kernel puts beside a
//! program's arguments, names that the kernel makes up.

use crate::rerunning::{entries, matches, program, programs};
use crate::support::{Case, World, stderr, summary};
use flyball_testkit::user::User;
use serde_json::Value;
use std::path::Path;

pub fn cases() -> Vec<Case> {
    let python =
        |_| (!Path::new("/usr/bin/python3").exists()).then(|| "`/usr/bin/python3` is not installed".to_owned());
    let memory = |_| (!Path::new("/dev/shm").exists()).then(|| "there is no `/dev/shm`".to_owned());
    vec![
        Case { name: "what_a_program_begins_with_is_given_again", needs: python, run: begins_with },
        Case { name: "a_listing_is_the_same_wherever_its_files_are", needs: memory, run: wherever },
        Case { name: "a_listing_of_a_recorded_run_is_a_listing", needs: python, run: is_a_listing },
        Case { name: "threads_that_act_in_turns_are_named", needs: python, run: in_turns },
    ]
}

fn record(world: &World, words: &[&str]) -> (Value, String) {
    let mut all = vec!["run", "--json", "--record", "--apply", "never", "--"];
    all.extend(words);
    let output = world.flyball(&all).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let session = summary(&output);
    assert_eq!(session["exit"], 0, "{text}\n{}", stderr(&output));
    let said: Vec<&str> = text.lines().filter(|line| !line.contains("ended_by")).collect();
    (session, said.join("\n"))
}

/// Go seeds its maps by these bytes, C libraries guard their stacks with them.
fn begins_with(user: User) {
    let world = World::new(user);
    world.init("", "");
    let text = "import ctypes, os, struct\n\
                words = dict(struct.iter_unpack('QQ', open('/proc/self/auxv', 'rb').read()))\n\
                print(ctypes.string_at(words[25], 16).hex(), open('/proc/sys/kernel/random/uuid').read())\n";
    std::fs::write(world.repo.workspace().join("begins.py"), text).unwrap();
    let script = "cat /proc/sys/kernel/random/uuid; for n in 1 2 3; do /usr/bin/python3 begins.py; done | tee said; cat said said >/proc/self/fd/1";
    let (session, said) = record(&world, &["sh", "-c", script]);
    let mut words: Vec<&str> = said.split_whitespace().take(7).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), 7, "each is another: {said}");
    let uuids = words.iter().filter(|word| word.len() == 36 && word.as_bytes().get(14) == Some(&b'4'));
    assert_eq!(uuids.count(), 4, "{said}");
    let (_, other) = record(&world, &["sh", "-c", script]);
    assert!(words.iter().all(|word| !other.contains(word)), "{said}\n{other}");
    matches(&world, &session, "5");
    matches(&world, &session, "4");
}

/// In memory they stand in the order in which they were made, and another one each time.
fn wherever(user: User) {
    let world = World::new(user);
    let dir = tempfile::Builder::new().prefix("flyball-seen-").tempdir_in("/dev/shm").unwrap();
    let place = dir.path().join("place");
    let fill = |names: &mut dyn Iterator<Item = u32>| {
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir(&place).unwrap();
        names.for_each(|n| std::fs::write(place.join(format!("f{n}")), "").unwrap());
        world.user.own(dir.path()).unwrap();
    };
    let by_kernel = || -> Vec<_> { std::fs::read_dir(&place).unwrap().map(|e| e.unwrap().file_name()).collect() };
    fill(&mut (0..500));
    let before = by_kernel();
    world.init(&format!("[sandbox]\nexpose = [\"{}\"]\n", place.display()), "");
    let agent = programs(&world).join("agent");
    program(
        &agent,
        &format!("cd {0}; ls -1U >&2; ls -U >$OLDPWD/listed; find . | tee $OLDPWD/found | tail -4", place.display()),
    );
    world.user.own(&agent).unwrap();
    let (session, said) = record(&world, &[agent.to_str().unwrap()]);
    assert_eq!(said.lines().count(), 4, "{said}");
    fill(&mut (0..500).rev());
    assert_ne!(before, by_kernel(), "the kernel tells another order");
    matches(&world, &session, "5");
}

/// All that the system's own listing does: with and without a record.
const LISTS: &str = r#"
import ctypes, errno, os, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.fdopendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
libc.fdopendir.argtypes = [ctypes.c_int]
for name in ('readdir', 'telldir', 'rewinddir', 'closedir'):
    getattr(libc, name).argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

def call(fd, size, number=217, into=None):
    buffer = ctypes.create_string_buffer(max(size, 1))
    got = libc.syscall(number, fd, into if into is not None else buffer, ctypes.c_uint(size))
    if got < 0:
        return -ctypes.get_errno()
    out, at = [], 0
    while at < got:
        length, = struct.unpack_from('H', buffer, at + 16)
        record = buffer.raw[at:at + length]
        kind, name = (record[18], record[19:]) if number == 217 else (record[-1], record[18:-1])
        out.append((name.split(b'\0')[0], kind))
        at += length
    return out

def walk(fd, size, number=217):
    out = []
    while more := call(fd, size, number):
        assert isinstance(more, list), more
        out += more
    return out

os.mkdir('d'); os.chdir('d')
hostile = [b'\n', b' ', b'-rf', b'\xff\xfe', b'a' * 255, 'é'.encode(), b'*', b'\x1b[2J', b'.x', b'...']
for n in range(600):
    open(f'f{n}', 'w').close()
for name in hostile:
    open(name, 'w').close()
os.mkdir('dir'); os.symlink('f1', 'link'); os.mkfifo('pipe')
names = {b'f%d' % n for n in range(600)} | set(hostile) | {b'dir', b'link', b'pipe'}
assert set(os.listdir(b'.')) == names and len(os.listdir('.')) == len(names)

fd = os.open('.', os.O_RDONLY)
for size in (280, 281, 4096, 1 << 20, 1 << 24):
    for number in (217, 78):
        os.lseek(fd, 0, os.SEEK_SET)
        all = walk(fd, size, number)
        assert len(all) == len(names) + 2 and {name for name, _ in all} == names | {b'.', b'..'}, (size, number)
        kinds = dict(all)
        assert [kinds[name] for name in (b'f1', b'dir', b'link', b'pipe')] == [8, 4, 10, 1], kinds
        assert call(fd, size, number) == [], 'the end stays the end'
# A buffer that is too small, none, or only half there.
os.lseek(fd, 0, os.SEEK_SET)
assert call(fd, 8) == -errno.EINVAL and call(fd, 0) == -errno.EINVAL
assert call(fd, 4096, into=ctypes.c_void_p(8)) == -errno.EFAULT
assert len(walk(fd, 4096)) == len(names) + 2, 'nothing was lost by that'
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
page = libc.mmap(None, 8192, 3, 0x22, -1, 0)
assert libc.munmap(ctypes.c_void_p(page + 4096), 4096) == 0
os.lseek(fd, 0, os.SEEK_SET)
got = libc.syscall(217, fd, ctypes.c_void_p(page), 8192)
assert got == -1 or 0 < got <= 4096, got
# What is no open folder.
path = os.open('.', os.O_PATH)
file = os.open('f1', os.O_RDONLY)
assert call(path, 4096) == -errno.EBADF and call(file, 4096) == -errno.ENOTDIR and call(999, 4096) == -errno.EBADF
assert call(-100, 4096) == -errno.EBADF and call(-1, 4096) == -errno.EBADF
# Places, by the library.
stream = libc.fdopendir(os.dup(os.open('.', os.O_RDONLY)))
def read(stream):
    entry = libc.readdir(stream)
    return ctypes.string_at(entry + 19) if entry else None
first = [read(stream) for _ in range(300)]
place = libc.telldir(stream)
behind = [read(stream) for _ in range(150)]
libc.seekdir(stream, place)
assert [read(stream) for _ in range(150)] == behind
libc.rewinddir(stream)
assert [read(stream) for _ in range(300)] == first
libc.closedir(stream)
# Two processes with one open folder: each name goes to one of them.
os.lseek(fd, 0, os.SEEK_SET)
ours = [name for name, _ in call(fd, 4096)]
r, w = os.pipe()
if os.fork() == 0:
    os.write(w, b'/'.join(name for name, _ in call(fd, 4096)))
    os._exit(0)
os.wait()
theirs = os.read(r, 65536).split(b'/')
rest = [name for name, _ in walk(fd, 4096)]
assert sorted(ours + theirs + rest) == sorted(names | {b'.', b'..'})
# A thread of its own reads on.
os.lseek(fd, 0, os.SEEK_SET)
parts = [call(fd, 4096)]
thread = threading.Thread(target=lambda: parts.append(walk(fd, 4096))); thread.start(); thread.join()
assert sorted(name for part in parts for name, _ in part) == sorted(names | {b'.', b'..'})
# Names come and go meanwhile: whatever stays is told once.
stop = threading.Event()
def change():
    n = 0
    while not stop.is_set():
        open(f'come{n % 50}', 'w').close(); os.rename(f'come{n % 50}', f'went{n % 50}'); os.unlink(f'went{n % 50}'); n += 1
thread = threading.Thread(target=change); thread.start()
for _ in range(2):
    os.lseek(fd, 0, os.SEEK_SET)
    all = [name for name, _ in walk(fd, 2000)]
    stays = [name for name in all if not name.startswith((b'come', b'went'))]
    assert sorted(stays) == sorted(names | {b'.', b'..'})
stop.set(); thread.join()
# Somebody moves the place all the time: what is told is nobody's to say, and it ends.
over = threading.Event()
def moves():
    while not over.is_set():
        libc.lseek(fd, ctypes.c_long(0), 0); libc.lseek(fd, ctypes.c_long(1 << 61), 0)
thread = threading.Thread(target=moves); thread.start()
for _ in range(20):
    told = call(fd, 2000)
    assert isinstance(told, list) and {name for name, _ in told} <= names | {b'.', b'..'}, told
over.set(); thread.join()
# One is taken away while it is listed, and as it is read.
os.lseek(fd, 0, os.SEEK_SET)
gone = set()
while more := call(fd, 1000):
    for name, kind in more:
        if kind == 8:
            assert name not in gone; gone.add(name); os.unlink(name)
assert gone == names - {b'dir', b'link', b'pipe'}, len(gone)
os.lseek(fd, 0, os.SEEK_SET)
assert sorted(name for name, _ in walk(fd, 4096)) == sorted([b'.', b'..', b'dir', b'link', b'pipe'])
# New ones are there for who begins anew.
open('new', 'w').close()
assert 'new' in os.listdir('.')
os.unlink('new'); assert 'new' not in os.listdir('.')
# No more to be opened, and open.
os.mkdir('closed'); open('closed/in', 'w').close(); closed = os.open('closed', os.O_RDONLY); os.chmod('closed', 0)
assert sorted(name for name, _ in walk(closed, 4096)) == [b'.', b'..', b'in']
os.lseek(closed, 0, os.SEEK_SET); assert len(walk(closed, 24)) == 3
os.chmod('closed', 0o700)
# Gone altogether.
os.mkdir('gone'); gone = os.open('gone', os.O_RDONLY); os.rmdir('gone')
assert call(gone, 4096) == -errno.ENOENT
# The kernel's own.
own = os.listdir('/proc/self/fd'); assert str(fd) in own
assert str(os.getpid()) in os.listdir('/proc') and os.listdir('/sys') is not None
for threads in range(4):
    threading.Thread(target=lambda: [os.listdir('/usr/bin') for _ in range(5)]).start()
print('as ever')
"#;

fn is_a_listing(user: User) {
    let world = World::new(user);
    world.init("", "");
    std::fs::write(world.repo.workspace().join("lists.py"), LISTS).unwrap();
    let (_, output) = world.run("/usr/bin/python3 lists.py");
    assert!(String::from_utf8_lossy(&output.stdout).contains("as ever"), "by the kernel: {output:?}");
    let (_, said) = record(&world, &["/usr/bin/python3", "lists.py"]);
    assert!(said.contains("as ever"), "{said}");
}

/// Nothing gives back whose turn it is; these see to that themselves, which a replay shows.
fn in_turns(user: User) {
    let world = World::new(user);
    world.init("", "");
    let text = "import threading\n\
                turns = [threading.Semaphore(1), threading.Semaphore(0)]\n\
                def work(n):\n\
                \x20   for k in range(3):\n\
                \x20       turns[n].acquire(); open(f't{k}{n}', 'w').close(); turns[1 - n].release()\n\
                threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]\n\
                for thread in threads: thread.start()\n\
                for thread in threads: thread.join()\n";
    std::fs::write(world.repo.workspace().join("turns.py"), text).unwrap();
    let (session, _) = record(&world, &["/usr/bin/python3", "turns.py"]);
    assert_eq!(session["replay_level"], 4, "{session}");
    let written: Vec<u64> = entries(&world, &session)
        .iter()
        .filter(|e| e["kind"] == "attempt" && e["body"]["verb"] == "fs.write")
        .filter_map(|e| e["seq"].as_u64())
        .collect();
    let shown = world.ok(&["show", session["session"].as_str().unwrap()]);
    assert!(shown.contains("up to level 4") && shown.contains("level 5, deterministic replay:"), "{shown}");
    let is_named = |seq: &&u64| shown.contains(&format!("entry {seq}: here a thread acted again"));
    assert_eq!(written.iter().filter(is_named).copied().collect::<Vec<_>>(), written[2..], "{shown}");
    matches(&world, &session, "5");
    // Threads one after the other are none of that.
    std::fs::write(
        world.repo.workspace().join("turns.py"),
        text.replace("thread.start()", "thread.start(); thread.join()")
            .replace(".acquire()", "")
            .replace("turns[1 - n].release()", "pass"),
    )
    .unwrap();
    let (session, _) = record(&world, &["/usr/bin/python3", "turns.py"]);
    assert_eq!(session["replay_level"], 5, "{session}");
}
