# Calls that programs make now and then, one after the other; each tells what it got. Numbers that differ from run to run (inodes, pids,
# times) are compared here and told as words.
import array, ctypes, errno, fcntl, mmap, os, select, signal, socket, stat, struct, subprocess, sys, tempfile, termios, threading, time

libc = ctypes.CDLL(None, use_errno=True)


def tell(name, do):
    try:
        got = do()
    except OSError as error:
        got = errno.errorcode.get(error.errno, error.errno)
    print(f"{name}: {got}", flush=True)


def call(number, *args):
    got = libc.syscall(number, *args)
    if got < 0:
        raise OSError(ctypes.get_errno(), "")
    return got


def write(path, text="x", flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o666):
    fd = os.open(path, flags, mode)
    os.write(fd, text.encode())
    os.close(fd)
    return oct(os.stat(path).st_mode)


def read(path):
    with open(path) as file:
        return file.read()


os.makedirs("calls/dir/sub", exist_ok=True)
os.chdir("calls")

# Opens, in the ways that fail and the ways that don't.
tell("create", lambda: write("a", "one"))
tell("excl", lambda: write("a", flags=os.O_WRONLY | os.O_CREAT | os.O_EXCL))
tell("umask", lambda: (os.umask(0o077), write("m77"), os.umask(0o022), write("m22", mode=0o777))[1::2])
tell("dir as file", lambda: os.open("dir", os.O_WRONLY))
tell("creat slash", lambda: os.open("nothing/", os.O_WRONLY | os.O_CREAT))
tell("file slash", lambda: os.open("a/", os.O_RDONLY))
tell("through file", lambda: os.open("a/b", os.O_WRONLY | os.O_CREAT))
tell("long", lambda: os.open("n" * 256, os.O_WRONLY | os.O_CREAT))
tell("very long", lambda: os.open("d/" * 2500 + "f", os.O_WRONLY | os.O_CREAT))
tell("empty", lambda: os.open("", os.O_WRONLY | os.O_CREAT))
tell("loop", lambda: (os.symlink("loop", "loop"), os.open("loop", os.O_WRONLY))[1])
tell("nofollow", lambda: (os.symlink("a", "to-a"), os.open("to-a", os.O_WRONLY | os.O_NOFOLLOW))[1])
tell("dangling create", lambda: (os.symlink("made-through", "dang"), write("dang", "through"), read("made-through"))[2])
tell("bytes", lambda: (write(b"raw-\xff\xfe\n"), sorted(os.listdir(b"."))[-1])[1])
tell("directory flag", lambda: os.open("a", os.O_RDONLY | os.O_DIRECTORY))
tell("path fd", lambda: os.write(os.open("a", os.O_PATH), b"x"))
tell("append", lambda: (write("a", "two", os.O_WRONLY | os.O_APPEND), read("a"))[1])
tell("creat mode 0", lambda: write("m0", "kept", mode=0))
tell("bad flags", lambda: os.open("a", 3))


def tmpfile():
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"tmp")
    names = os.fstat(fd).st_nlink
    call(265, -100, f"/proc/self/fd/{fd}".encode(), -100, b"named", 0x400)  # linkat, AT_SYMLINK_FOLLOW
    os.close(fd)
    return names, read("named"), oct(os.stat("named").st_mode)


tell("O_TMPFILE", tmpfile)
tell("link of a magic link", lambda: os.link(f"/proc/self/fd/{os.open('a', os.O_RDONLY)}", "nothing"))
tell("O_TMPFILE excl", lambda: os.close(os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)))


def at():
    fd = os.open("dir", os.O_RDONLY)
    os.mkdir("in", dir_fd=fd)
    os.close(os.open("in/f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.rename("in/f", "g", src_dir_fd=fd, dst_dir_fd=fd)
    os.symlink("g", "s", dir_fd=fd)
    os.chmod("g", 0o604, dir_fd=fd)
    os.utime("g", ns=(5, 7), dir_fd=fd)
    os.link("g", "h", src_dir_fd=fd, dst_dir_fd=fd)
    os.unlink("s", dir_fd=fd)
    os.rmdir("in", dir_fd=fd)
    return sorted(os.listdir(fd)), os.stat("dir/h").st_nlink, os.stat("dir/h").st_mtime_ns


tell("at", at)
tell("fchdir", lambda: (os.fchdir(os.open("dir", os.O_RDONLY)), write("rel"), os.chdir(".."), os.path.exists("dir/rel"))[3])

# Renames.
AT = -100
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
rename2 = lambda a, b, flags: call(316, AT, a, AT, b, flags)
write("r1", "1"), write("r2", "2")
tell("noreplace", lambda: rename2(b"r1", b"r2", NOREPLACE))
tell("noreplace free", lambda: rename2(b"r1", b"r3", NOREPLACE))
tell("exchange", lambda: (rename2(b"r2", b"r3", EXCHANGE), read("r2"), read("r3")))
tell("exchange nothing", lambda: rename2(b"r2", b"nothing", EXCHANGE))
tell("both flags", lambda: rename2(b"r2", b"r3", EXCHANGE | NOREPLACE))
tell("bad flag", lambda: rename2(b"r2", b"r3", 1 << 9))
tell("file on dir", lambda: os.rename("r2", "dir"))
tell("dir on file", lambda: os.rename("dir", "r2"))
tell("into itself", lambda: os.rename("dir", "dir/sub/x"))
tell("non-empty", lambda: (os.mkdir("e"), write("e/f"), os.rename("dir/sub", "e"))[2])
tell("on itself", lambda: os.rename("r2", "r2"))
tell("on its link", lambda: (os.link("r2", "r2-link"), os.rename("r2", "r2-link"), os.path.exists("r2"))[2])
tell("old folder", lambda: (os.rename("../old/deep", "../old/moved"), sorted(os.listdir("../old/moved")))[1])
tell("old folder into another", lambda: (os.rename("../old/moved", "dir/came"), sorted(os.listdir("dir/came")))[1])
tell("old file", lambda: (os.rename("../old/file", "file-came"), read("file-came")))
tell("rmdir non-empty", lambda: os.rmdir("dir"))
tell("unlink dir", lambda: os.unlink("dir"))
tell("rmdir dot", lambda: os.rmdir("dir/."))
tell("mkdir there", lambda: os.mkdir("a"))
tell("mkdir dotdot", lambda: os.mkdir("dir/.."))
tell("link there", lambda: os.link("a", "r3"))
tell("link dir", lambda: os.link("dir", "dir2"))
tell("symlink empty", lambda: os.symlink("", "nothing"))
tell("mknod file", lambda: (os.mknod("node", 0o600 | stat.S_IFREG), oct(os.stat("node").st_mode))[1])
tell("mknod fifo", lambda: os.mkfifo("ff", 0o620))
tell("rename over open", lambda: (lambda f: (write("new", "new"), os.rename("new", "a"), f.read(), read("a")))(open("a")))

# Inode numbers stay, and names of one file tell the same.
def inodes():
    before = os.stat("../old/kept").st_ino
    fd = os.open("../old/kept", os.O_RDWR)
    os.write(fd, b"K")
    after = os.stat("../old/kept").st_ino
    return before == after, os.fstat(fd).st_ino == after, read("../old/kept")


def links():
    os.link("../old/linked", "link-of-old")
    one, two = os.stat("../old/linked"), os.stat("link-of-old")
    with open("../old/linked", "a") as file:
        file.write("+")
    return one.st_ino == two.st_ino, one.st_nlink, two.st_nlink, read("link-of-old")


tell("inodes", inodes)
tell("links", links)
tell("readdir inodes", lambda: all(entry.inode() == os.stat(entry.path).st_ino for entry in os.scandir(".") if entry.is_file(follow_symlinks=False)))
tell("one device", lambda: os.stat("a").st_dev == os.stat("dir").st_dev == os.stat("..").st_dev)

# Content by other ways than write.
def both(path="data", size=1 << 20):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.truncate(fd, size)
    return fd


def mapped():
    fd = both()
    with mmap.mmap(fd, 0) as memory:
        memory[4096:4100] = b"maps"
        memory.flush()
        os.pwrite(fd, b"pwrite", 5000)
        return memory[5000:5006], os.pread(fd, 4, 4096)


tell("mmap", mapped)
tell("mmap old", lambda: (lambda fd: (lambda m: (m.__setitem__(slice(0, 2), b"MM"), m.flush(), read("../old/mapped")))(mmap.mmap(fd, 0)))(os.open("../old/mapped", os.O_RDWR))[2])
tell("private map of old", lambda: mmap.mmap(os.open("../old/kept", os.O_RDONLY), 0, prot=mmap.PROT_READ)[:2])
tell("fallocate", lambda: (os.posix_fallocate(both("fa"), 0, 100000), os.stat("fa").st_size)[1])
tell("punch", lambda: libc.fallocate(os.open("fa", os.O_RDWR), 3, ctypes.c_long(4096), ctypes.c_long(8192)))
tell("zero range", lambda: libc.fallocate(os.open("fa", os.O_RDWR), 16, ctypes.c_long(0), ctypes.c_long(4096)))
tell("copy_file_range", lambda: os.copy_file_range(os.open("../old/kept", os.O_RDONLY), both("cfr", 0), 1000))
tell("sendfile", lambda: os.sendfile(both("sf", 0), os.open("../old/kept", os.O_RDONLY), 0, 100))
tell("splice", lambda: (lambda r, w: (os.splice(os.open("../old/kept", os.O_RDONLY), w, 100), os.splice(r, both("sp", 0), 100)))(*os.pipe()))
tell("seek hole", lambda: (lambda fd: (os.pwrite(fd, b"x", 500000), os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 0, os.SEEK_HOLE)))(both("holes")))
tell("truncate", lambda: (os.truncate("holes", 10), os.stat("holes").st_size)[1])
tell("truncate dir", lambda: os.truncate("dir", 0))
tell("truncate negative", lambda: call(76, b"holes", ctypes.c_long(-1)))
tell("fsync", lambda: [os.fsync(os.open(path, os.O_RDONLY)) for path in ("a", "dir", "../old")])
tell("fdatasync", lambda: os.fdatasync(os.open("a", os.O_WRONLY)))
tell("sync_file_range", lambda: call(277, os.open("a", os.O_WRONLY), ctypes.c_long(0), ctypes.c_long(0), 7))
tell("direct", lambda: os.close(os.open("a", os.O_RDWR | os.O_DIRECT)))
tell("readahead", lambda: os.posix_fadvise(os.open("a", os.O_RDONLY), 0, 0, os.POSIX_FADV_WILLNEED))
tell("memfd", lambda: (lambda fd: (os.write(fd, b"mem"), os.pread(fd, 3, 0)))(os.memfd_create("m", os.MFD_ALLOW_SEALING)))

# Attributes.
tell("xattr", lambda: (os.setxattr("a", "user.k", b"v"), os.getxattr("a", "user.k"), os.listxattr("a")))
tell("xattr create", lambda: os.setxattr("a", "user.k", b"v", os.XATTR_CREATE))
tell("xattr replace", lambda: os.setxattr("a", "user.none", b"v", os.XATTR_REPLACE))
tell("xattr none", lambda: os.getxattr("a", "user.none"))
tell("xattr remove", lambda: os.removexattr("a", "user.k"))
tell("xattr link", lambda: os.setxattr("to-a", "user.k", b"v", follow_symlinks=False))
tell("xattr fd", lambda: (lambda fd: (os.setxattr(fd, "user.f", b"1"), os.listxattr(fd)))(os.open("a", os.O_RDONLY)))
tell("xattr space", lambda: os.setxattr("a", "odd", b"v"))
tell("chmod link", lambda: os.chmod("to-a", 0o600, follow_symlinks=False) if os.chmod in os.supports_follow_symlinks else "n/a")
tell("fchmod", lambda: (os.fchmod(os.open("a", os.O_RDONLY), 0o611), oct(os.stat("a").st_mode))[1])
tell("chmod sticky", lambda: (os.chmod("dir", 0o3755), oct(os.stat("dir").st_mode))[1])
tell("chown self", lambda: os.chown("a", os.getuid(), os.getgid()))
tell("chown -1", lambda: os.chown("a", -1, -1))
tell("utime now", lambda: (os.utime("a"), abs(os.stat("a").st_mtime - time.time()) < 100)[1])
tell("utime fd", lambda: (lambda fd: (os.utime(fd, ns=(1, 2)), os.stat("a").st_mtime_ns))(os.open("a", os.O_RDONLY)))
tell("utime link", lambda: (os.utime("to-a", ns=(3, 4), follow_symlinks=False), os.lstat("to-a").st_mtime_ns)[1])
tell("utime old", lambda: (os.utime("../old/kept", ns=(10**18, 10**18 + 1)), os.stat("../old/kept").st_mtime_ns)[1])
tell("access", lambda: [os.access("a", mode) for mode in (os.R_OK, os.W_OK)])
tell("statvfs", lambda: os.statvfs(".").f_namemax)
tell("setuid bit goes", lambda: "root keeps it plainly" if os.getuid() == 0 else (write("su"), os.chmod("su", 0o4755), write("su", "y"), oct(os.stat("su").st_mode))[3])

# Locks.
def child(do):
    pid = os.fork()
    if pid == 0:
        try:
            do()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def locks(path):
    out = []
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    out.append(child(lambda: fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)))
    fcntl.flock(fd, fcntl.LOCK_UN)
    fcntl.lockf(fd, fcntl.LOCK_EX)
    out.append(child(lambda: fcntl.lockf(os.open(path, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)))
    fcntl.lockf(fd, fcntl.LOCK_UN)
    out.append(child(lambda: fcntl.lockf(os.open(path, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)))
    whole = struct.pack("hhllhh", fcntl.F_WRLCK, 0, 0, 0, 0, 0)
    fcntl.fcntl(fd, 37, whole)  # F_OFD_SETLK
    out.append(child(lambda: fcntl.fcntl(os.open(path, os.O_RDWR), 37, whole)))
    return out


tell("locks", lambda: locks("data"))
tell("locks of old", lambda: locks("../old/locked"))


def lock_across_copy_up():
    reader = os.open("../old/lock2", os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_EX)
    return child(lambda: fcntl.flock(os.open("../old/lock2", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB))


tell("lock across the first write", lock_across_copy_up)
tell("reader sees the writer", lambda: (lambda f: (write("../old/seen", "after", os.O_WRONLY | os.O_TRUNC), f.read()))(open("../old/seen"))[1])

# Watches.
def inotify():
    fd = libc.inotify_init1(os.O_NONBLOCK)
    libc.inotify_add_watch(fd, b"dir", 0x00000FFF)
    write("dir/w", "w")
    os.rename("dir/w", "dir/w2")
    os.unlink("dir/w2")
    events, data = [], os.read(fd, 65536)
    while data:
        _, mask, _, length = struct.unpack("iIII", data[:16])
        events.append((hex(mask), data[16:16 + length].rstrip(b"\0").decode()))
        data = data[16 + length:]
    return events


tell("inotify", inotify)

# Processes, signals, terminals.
tell("exit codes", lambda: [subprocess.run(["sh", "-c", script]).returncode for script in ("exit 3", "kill -9 $$", "no-such-program-x 2>/dev/null")])
tell("no program", lambda: subprocess.run(["./no-such"]))
tell("not executable", lambda: subprocess.run(["./r3"]))
tell("no shebang", lambda: (write("plain", "echo plain\n"), os.chmod("plain", 0o755), subprocess.run(["./plain"]))[2])
tell("shebang", lambda: (write("she", "#!/bin/sh -e\necho \"$0 $1\"\n"), os.chmod("she", 0o755), subprocess.run(["./she", "arg"], capture_output=True).stdout)[2])
tell("shebang nothing", lambda: (write("she2", "#!/no/such\n"), os.chmod("she2", 0o755), subprocess.run(["./she2"]))[2])
tell("exec dir", lambda: subprocess.run(["./dir"]))
tell("exec argv0", lambda: subprocess.run(["other", "-c", "echo $0"], executable="/bin/sh", capture_output=True).stdout)
subprocess.run(["cp", "/bin/sleep", "sleeping"])
sleeping = subprocess.Popen(["./sleeping", "60"])
tell("text busy", lambda: os.open("sleeping", os.O_WRONLY))
sleeping.kill(), sleeping.wait()
tell("big argv", lambda: len(subprocess.run(["echo", "x" * 100000], capture_output=True).stdout))
tell("too big argv", lambda: subprocess.run(["/bin/echo", "x" * 200000]))
tell("environment", lambda: subprocess.run(["env"], env={"A": "b", "C": "d=e"}, capture_output=True).stdout)


def interrupted():
    hits = []
    signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
    signal.siginterrupt(signal.SIGALRM, False)  # SA_RESTART, see docs/compatibility.md
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    for number in range(300):
        write(f"i{number % 7}", "y")
        os.rename(f"i{number % 7}", "ii")
    signal.setitimer(signal.ITIMER_REAL, 0)
    return bool(hits), read("ii")


tell("under signals", interrupted)


def signal_while_waiting():
    class Hit(Exception):
        pass

    def hit(*_):
        raise Hit

    os.mkfifo("waited-for")
    signal.signal(signal.SIGALRM, hit)
    try:
        # A slow machine may ring before the pipe is waited for: also that is an interruption.
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        os.open("waited-for", os.O_WRONLY)
        return "opened"
    except Hit:
        return "interrupted"


tell("a signal while a pipe is waited for", signal_while_waiting)


def threads():
    def work(n):
        for number in range(30):
            write(f"t{n}-{number}", str(number))
            os.unlink(f"t{n}-{number}")
    all = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    [one.start() for one in all], [one.join() for one in all]
    return [name for name in os.listdir(".") if name.startswith("t") and "-" in name and name != "to-a"]


tell("threads", threads)


def pty():
    import pty
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp("sh", ["sh", "-c", "tty >/dev/null && stty size </dev/tty && echo through >/dev/tty"])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    out = b""
    while True:
        try:
            got = os.read(fd, 1000)
        except OSError:
            break
        if not got:
            break
        out += got
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), b"through" in out


tell("pty", pty)
tell("setsid", lambda: child(lambda: os.setsid()))
tell("nice", lambda: child(lambda: os.nice(5)))
tell("priority of groups", lambda: os.killpg(0, 0))
tell("kill nobody", lambda: os.kill(2**22 - 3, 0))
tell("prctl name", lambda: libc.prctl(15, b"named", 0, 0, 0))
tell("comm", lambda: (open("/proc/self/comm", "w").write("again"), read("/proc/self/comm")))
tell("oom", lambda: open("/proc/self/oom_score_adj", "w").write("500"))
tell("proc fd", lambda: os.readlink(f"/proc/self/fd/{os.open('a', os.O_RDONLY)}").rsplit("/", 1)[1])
tell("proc exe", lambda: os.readlink("/proc/self/exe"))
tell("dev fd", lambda: subprocess.run(["bash", "-c", "cat <(echo sub) /dev/stdin <<<here; echo err >/dev/stderr; echo out >/dev/stdout"], capture_output=True).stdout)
tell("dev", lambda: (open("/dev/null", "w").write("x"), len(open("/dev/urandom", "rb").read(8)), open("/dev/zero", "rb").read(2)))
tell("dev full", lambda: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
tell("no tty", lambda: os.open("/dev/tty", os.O_RDWR))
tell("shm", lambda: (lambda fd: os.write(fd, b"shm"))(os.open("/dev/shm/flyball-same-x", os.O_CREAT | os.O_RDWR)))
tell("shm unlink", lambda: os.unlink("/dev/shm/flyball-same-x"))
tell("tmp", lambda: (lambda f: (f.write(b"t"), f.flush()))(tempfile.NamedTemporaryFile())[0])
tell("sched", lambda: len(os.sched_getaffinity(0)) > 0)
tell("getrandom", lambda: len(os.getrandom(4)))
tell("pidfd", lambda: os.close(os.pidfd_open(os.getpid())))
tell("eventfd", lambda: os.eventfd_read(os.eventfd(3)))
tell("timer, signal and epoll", lambda: (libc.timerfd_create(1, 0) > 0, select.epoll().poll(0)))
tell("sysv shm", lambda: libc.shmctl(libc.shmget(0, 4096, 0o1600), 0, None))
tell("posix mq", lambda: libc.mq_unlink(b"/none"))
tell("rlimit", lambda: __import__("resource").getrlimit(__import__("resource").RLIMIT_CORE)[0] >= -1)

# Sockets.
def unix(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    other, _ = server.accept()
    creds = other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    client.sendmsg([b"fd"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [os.open("r3", os.O_RDONLY)]))])
    _, passed, _, _ = other.recvmsg(10, 100)
    fd = array.array("i", passed[0][2])[0]
    mode = oct(stat.S_IFMT(os.stat(path).st_mode))
    os.unlink(path)
    return struct.unpack("3i", creds)[1] == os.getuid(), os.read(fd, 10), mode


tell("unix", lambda: unix("sock"))
tell("unix there", lambda: socket.socket(socket.AF_UNIX).bind("a"))
tell("unix nobody", lambda: socket.socket(socket.AF_UNIX).connect("a"))
tell("unix none", lambda: socket.socket(socket.AF_UNIX).connect("none"))
tell("unix long", lambda: call(49, socket.socket(socket.AF_UNIX).detach(), b"\x01\x00" + b"n" * 120, 122))
tell("unix dgram", lambda: (lambda a: (a.bind("dg"), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"hi", "dg"), a.recv(10), os.unlink("dg")))(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))[1:3])
tell("socketpair", lambda: (lambda a, b: (a.send(b"x"), b.recv(1)))(*socket.socketpair()))


def tcp(family, host):
    server = socket.create_server((host, 0), family=family)
    client = socket.socket(family)
    client.connect(server.getsockname())
    other, _ = server.accept()
    client.sendall(b"ping")
    got = other.recv(10)
    port = server.getsockname()[1]
    other.close(), client.close(), server.close()
    again = socket.socket(family)
    try:
        again.connect((host, port))
    except OSError as error:
        return got, errno.errorcode[error.errno]
    return got, "connected"


tell("tcp 4", lambda: tcp(socket.AF_INET, "127.0.0.1"))
tell("tcp 6", lambda: tcp(socket.AF_INET6, "::1"))
tell("localhost", lambda: sorted({entry[4][0] for entry in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)})[-1])
tell("nonblocking", lambda: (lambda s, c: (c.setblocking(False), c.connect_ex(s.getsockname()) in (0, errno.EINPROGRESS), s.accept() is not None))(socket.create_server(("127.0.0.1", 0)), socket.socket()))
tell("udp", lambda: (lambda a, b: (a.bind(("127.0.0.1", 0)), b.sendto(b"u", a.getsockname()), a.recv(5)))(socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM))[1:])
tell("in use", lambda: (lambda s: socket.socket().bind(s.getsockname()))(socket.create_server(("127.0.0.1", 0))))
