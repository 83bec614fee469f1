// Every mediated file call, by its raw system call, in a fresh directory: prints results, errnos, modes. What it prints
// must not depend on whether anyone mediates.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>
static void mode_of(const char *p) {
  struct stat s;
  if (lstat(p, &s)) printf("   %s: none\n", p);
  else printf("   %s: %o size %lld links %d\n", p, s.st_mode, S_ISDIR(s.st_mode) ? 0LL : (long long)s.st_size, S_ISDIR(s.st_mode) ? 0 : (int)s.st_nlink);
}
#define SHOW(call) do { errno = 0; long r = (long)(call); printf("%s = %s %s\n", #call, r < 0 ? "-1" : "ok", r < 0 ? strerrorname_np(errno) : ""); } while (0)
#define OPEN(call) do { errno = 0; int f = (int)(call); printf("%s = %s %s", #call, f < 0 ? "-1" : "ok", f < 0 ? strerrorname_np(errno) : ""); if (f >= 0) { printf(" cloexec %d append %d", !!(fcntl(f, F_GETFD) & 1), !!(fcntl(f, F_GETFL) & O_APPEND)); close(f); } printf("\n"); } while (0)
#define S syscall
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
int main(void) {
  char longname[300], longpath[5000], deep[200];
  memset(longname, 'n', 299); longname[299] = 0;
  for (int i = 0; i < 4999; i += 2) { longpath[i] = '.'; longpath[i + 1] = '/'; } longpath[4999] = 0;
  setvbuf(stdout, 0, _IOFBF, 1 << 20);
  umask(027);
  OPEN(S(SYS_open, "a", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666)); mode_of("a");
  OPEN(S(SYS_open, "a", O_RDWR | O_CREAT | O_EXCL, 0666));
  umask(0); OPEN(S(SYS_open, "b", O_WRONLY | O_CREAT | O_APPEND, 0666)); mode_of("b");
  umask(077); SHOW(S(SYS_mkdir, "d", 0777)); mode_of("d"); umask(022);
  SHOW(S(SYS_mkdir, "d", 0777)); SHOW(S(SYS_mkdir, "d/", 0777)); SHOW(S(SYS_mkdir, "e/", 0777)); SHOW(S(SYS_mkdir, "no/such", 0777));
  SHOW(S(SYS_mkdir, ".", 0777)); SHOW(S(SYS_mkdir, "..", 0777)); SHOW(S(SYS_mkdir, "/", 0777)); SHOW(S(SYS_mkdir, "", 0777));
  SHOW(S(SYS_mkdir, "a/x", 0777)); SHOW(S(SYS_mkdir, longname, 0777)); SHOW(S(SYS_mkdir, longpath, 0777)); SHOW(S(SYS_mkdir, (char *)8, 0777));
  OPEN(S(SYS_open, "none", O_WRONLY)); OPEN(S(SYS_open, "none/", O_WRONLY | O_CREAT, 0666)); OPEN(S(SYS_open, "d", O_WRONLY)); OPEN(S(SYS_open, "d", O_RDWR | O_CREAT, 0666));
  OPEN(S(SYS_open, "a/", O_WRONLY)); OPEN(S(SYS_open, "a", O_WRONLY | O_DIRECTORY)); OPEN(S(SYS_open, (char *)8, O_WRONLY)); OPEN(S(SYS_open, longpath, O_WRONLY)); OPEN(S(SYS_open, longname, O_WRONLY | O_CREAT, 0666));
  OPEN(S(SYS_open, "", O_WRONLY | O_CREAT, 0666)); OPEN(S(SYS_openat, 99, "x", O_WRONLY | O_CREAT, 0666)); OPEN(S(SYS_openat, 0xffffffffffffff9cul, "y", O_WRONLY | O_CREAT, 0666));
  int d = open("d", O_RDONLY | O_DIRECTORY), a = open("a", O_RDONLY);
  OPEN(S(SYS_openat, d, "in", O_WRONLY | O_CREAT | O_TRUNC, 0640)); mode_of("d/in"); OPEN(S(SYS_openat, d, "../up", O_WRONLY | O_CREAT, 0600)); mode_of("up");
  OPEN(S(SYS_openat, a, "x", O_WRONLY | O_CREAT, 0600)); OPEN(S(SYS_creat, "c", 04755)); mode_of("c");
  OPEN(S(SYS_open, "d", O_RDWR | O_TMPFILE, 0600)); OPEN(S(SYS_open, "d/in/../x", O_WRONLY | O_CREAT, 0600)); OPEN(S(SYS_open, "/proc/self/mem/x", O_WRONLY));
  { int t = open("d", O_RDWR | O_TMPFILE, 0604); char p[64]; sprintf(p, "/proc/self/fd/%d", t); write(t, "tmp", 3); SHOW(S(SYS_linkat, AT_FDCWD, p, AT_FDCWD, "fromtmp", AT_SYMLINK_FOLLOW)); mode_of("fromtmp"); close(t); }
  // Links.
  SHOW(S(SYS_symlink, "d/in", "ln")); SHOW(S(SYS_symlink, "nowhere", "dang")); SHOW(S(SYS_symlink, "loop", "loop")); SHOW(S(SYS_symlink, "x", "ln")); SHOW(S(SYS_symlink, "", "em")); SHOW(S(SYS_symlinkat, "d", d, "self"));
  SHOW(S(SYS_symlink, "d", "dl"));
  OPEN(S(SYS_open, "ln", O_WRONLY)); OPEN(S(SYS_open, "ln", O_WRONLY | O_NOFOLLOW)); OPEN(S(SYS_open, "loop", O_WRONLY)); OPEN(S(SYS_open, "loop", O_WRONLY | O_CREAT, 0600)); OPEN(S(SYS_open, "dang", O_WRONLY)); OPEN(S(SYS_open, "dang", O_WRONLY | O_CREAT | O_EXCL, 0600)); OPEN(S(SYS_open, "dang", O_WRONLY | O_CREAT, 0600)); mode_of("nowhere"); OPEN(S(SYS_open, "dl/through", O_WRONLY | O_CREAT, 0600)); OPEN(S(SYS_open, "ln/", O_WRONLY)); OPEN(S(SYS_open, "dl/", O_WRONLY));
  SHOW(S(SYS_link, "a", "hard")); SHOW(S(SYS_link, "a", "hard")); SHOW(S(SYS_link, "ln", "hardln")); mode_of("hardln"); SHOW(S(SYS_linkat, AT_FDCWD, "ln", AT_FDCWD, "hardto", AT_SYMLINK_FOLLOW)); mode_of("hardto"); SHOW(S(SYS_link, "d", "hd")); SHOW(S(SYS_link, "none", "z")); SHOW(S(SYS_linkat, a, "", AT_FDCWD, "z", 0)); mode_of("a");
  // Renames.
  SHOW(S(SYS_rename, "hard", "moved")); SHOW(S(SYS_rename, "none", "z")); SHOW(S(SYS_rename, "moved", "d")); SHOW(S(SYS_rename, "d", "moved")); SHOW(S(SYS_rename, "d", "d/sub")); SHOW(S(SYS_rename, "e", "d")); SHOW(S(SYS_rename, "moved", "b")); mode_of("b"); SHOW(S(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", RENAME_NOREPLACE)); SHOW(S(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE)); mode_of("b"); SHOW(S(SYS_renameat, d, "in", d, "in2")); SHOW(S(SYS_rename, "b", "b")); SHOW(S(SYS_rename, ".", "z")); SHOW(S(SYS_rename, "b/", "z")); SHOW(S(SYS_rename, "b", "z/")); SHOW(S(SYS_rename, "e/", "e2/")); SHOW(S(SYS_rename, "ln", "ln2")); SHOW(S(SYS_rename, longname, "z"));
  SHOW(S(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "nono", RENAME_EXCHANGE)); SHOW(S(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "zz", 64));
  // Metadata.
  SHOW(S(SYS_chmod, "a", 0604)); mode_of("a"); SHOW(S(SYS_chmod, "ln2", 0644)); SHOW(S(SYS_chmod, "none", 0644)); SHOW(S(SYS_fchmod, a, 0640)); mode_of("a"); SHOW(S(SYS_fchmod, 99, 0640)); SHOW(S(SYS_fchmodat, d, "in2", 0600)); mode_of("d/in2"); SHOW(S(SYS_fchmodat2, AT_FDCWD, "dl", 0600, AT_SYMLINK_NOFOLLOW)); SHOW(S(SYS_fchmodat2, d, "", 0750, AT_EMPTY_PATH)); mode_of("d"); SHOW(S(SYS_chmod, ".", 0755)); SHOW(S(SYS_chmod, "a/", 0644)); SHOW(S(SYS_chmod, "", 0644));
  SHOW(S(SYS_chown, "a", -1, -1)); SHOW(S(SYS_lchown, "dl", getuid(), getgid())); SHOW(S(SYS_fchown, a, getuid(), getgid())); SHOW(S(SYS_fchownat, AT_FDCWD, "none", -1, -1, 0)); SHOW(S(SYS_fchown, 99, 0, 0));
  SHOW(S(SYS_setxattr, "a", "user.k", "value", 5, 0)); { char v[16] = {0}; long n = getxattr("a", "user.k", v, 16); printf("xattr %ld %s\n", n, v); } SHOW(S(SYS_setxattr, "a", "user.k", "v", 1, XATTR_CREATE)); SHOW(S(SYS_fsetxattr, a, "user.l", "w", 1, 0)); SHOW(S(SYS_removexattr, "a", "user.k")); SHOW(S(SYS_removexattr, "a", "user.k")); SHOW(S(SYS_fremovexattr, a, "user.l")); SHOW(S(SYS_lsetxattr, "dl", "user.k", "v", 1, 0)); SHOW(S(SYS_setxattr, "a", "trusted.x", "v", 1, 0)); SHOW(S(SYS_setxattr, "a", "", "v", 1, 0)); SHOW(S(SYS_setxattr, "none", "user.k", "v", 1, 0));
  struct timespec t[2] = {{11, 5}, {22, 6}}; struct timeval tv[2] = {{33, 7}, {44, 8}}, bad[2] = {{1, 2000000}, {0, 0}}; struct utimbuf ub = {55, 66}; struct stat st;
#define TIMES(p) do { lstat(p, &st); printf("   %s %ld.%09ld %ld.%09ld\n", p, st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec); } while (0)
  SHOW(S(SYS_utimensat, AT_FDCWD, "a", t, 0)); TIMES("a"); SHOW(S(SYS_utimensat, AT_FDCWD, "dl", t, AT_SYMLINK_NOFOLLOW)); TIMES("dl"); SHOW(S(SYS_utimes, "a", tv)); TIMES("a"); SHOW(S(SYS_utimes, "a", bad)); SHOW(S(SYS_utime, "a", &ub)); TIMES("a"); SHOW(S(SYS_futimesat, d, "in2", tv)); TIMES("d/in2"); SHOW(S(SYS_utimensat, a, 0, t, 0)); TIMES("a"); SHOW(S(SYS_utimensat, AT_FDCWD, "none", t, 0)); SHOW(S(SYS_utimensat, AT_FDCWD, "a", (void *)8, 0)); SHOW(S(SYS_utimensat, AT_FDCWD, "a", 0, 0)); { struct timespec o[2] = {{0, UTIME_OMIT}, {77, 0}}; SHOW(S(SYS_utimensat, AT_FDCWD, "a", o, 0)); lstat("a", &st); printf("   m %ld\n", st.st_mtim.tv_sec); }
  SHOW(S(SYS_truncate, "a", 1000)); mode_of("a"); SHOW(S(SYS_truncate, "a", -1)); SHOW(S(SYS_truncate, "d", 0)); SHOW(S(SYS_truncate, "none", 0)); SHOW(S(SYS_truncate, "ln2", 3)); SHOW(S(SYS_truncate, "dang", 4)); mode_of("nowhere");
  // Nodes and sockets.
  SHOW(S(SYS_mknod, "fifo", S_IFIFO | 0666, 0)); mode_of("fifo"); SHOW(S(SYS_mknod, "reg", S_IFREG | 0666, 0)); mode_of("reg"); SHOW(S(SYS_mknod, "reg0", 0644, 0)); mode_of("reg0"); SHOW(S(SYS_mknodat, d, "sock", S_IFSOCK | 0600, 0)); mode_of("d/sock"); SHOW(S(SYS_mknod, "fifo", S_IFIFO | 0666, 0)); SHOW(S(SYS_mknod, "z/", S_IFREG, 0));
  // Devices, which who has no privilege can't make: what else is wrong is said first, to whom has it as well.
  SHOW(S(SYS_mknod, "reg", S_IFCHR | 0666, 259)); SHOW(S(SYS_mknod, "reg", S_IFBLK | 0666, 259)); SHOW(S(SYS_mknod, "none/x", S_IFCHR | 0666, 259)); SHOW(S(SYS_mknod, "reg/x", S_IFBLK | 0666, 259)); SHOW(S(SYS_mknod, longname, S_IFCHR, 259)); SHOW(S(SYS_mknod, ".", S_IFCHR, 259)); SHOW(S(SYS_mknod, "d/..", S_IFBLK, 259)); SHOW(S(SYS_mknod, (void *)8, S_IFCHR, 259)); SHOW(S(SYS_mknod, "z", S_IFDIR, 0)); SHOW(S(SYS_mknod, "z", 0070000, 0));
  OPEN(S(SYS_open, "fifo", O_WRONLY | O_NONBLOCK)); OPEN(S(SYS_open, "fifo", O_RDWR)); OPEN(S(SYS_open, "d/sock", O_RDWR));
  { int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0); struct sockaddr_un u = {AF_UNIX, "srv"}; socklen_t l = sizeof u; umask(0); SHOW(S(SYS_bind, s, &u, sizeof u)); umask(022); mode_of("srv"); SHOW(listen(s, 4)); SHOW(S(SYS_connect, c, &u, sizeof u)); struct sockaddr_un g = {0}; getsockname(s, (void *)&g, &l); printf("   bound %s\n", g.sun_path); l = sizeof g; memset(&g, 0, sizeof g); getpeername(c, (void *)&g, &l); printf("   peer %s\n", g.sun_path); int acc = accept(s, 0, 0); SHOW(acc); SHOW(write(c, "x", 1));
    struct sockaddr_un n = {AF_UNIX, "nosrv"}, f = {AF_UNIX, "a"}, x = {AF_UNIX, "none/x"}; int c2 = socket(AF_UNIX, SOCK_STREAM, 0); SHOW(S(SYS_connect, c2, &n, sizeof n)); SHOW(S(SYS_connect, c2, &f, sizeof f)); SHOW(S(SYS_bind, c2, &u, sizeof u)); SHOW(S(SYS_bind, c2, &x, sizeof x)); struct sockaddr_un ab = {AF_UNIX}; /* whoever runs it alone shares the machine's names with others */ snprintf(ab.sun_path + 1, 12, "%09d", getpid()); SHOW(S(SYS_bind, c2, &ab, 12)); SHOW(S(SYS_connect, 99, &u, sizeof u)); SHOW(S(SYS_connect, a, &u, sizeof u)); SHOW(S(SYS_connect, c2, (void *)8, 16)); SHOW(S(SYS_connect, c2, &u, 1000)); close(s); int c3 = socket(AF_UNIX, SOCK_STREAM, 0); SHOW(S(SYS_connect, c3, &u, sizeof u)); }
  // Removal.
  SHOW(S(SYS_unlink, "d")); SHOW(S(SYS_rmdir, "a")); SHOW(S(SYS_rmdir, "d")); SHOW(S(SYS_rmdir, ".")); SHOW(S(SYS_rmdir, "d/..")); SHOW(S(SYS_rmdir, "/")); SHOW(S(SYS_unlink, "none")); SHOW(S(SYS_unlink, "a/")); SHOW(S(SYS_unlink, "dl/")); SHOW(S(SYS_unlink, "dl")); SHOW(S(SYS_unlinkat, d, "in2", 0)); SHOW(S(SYS_unlinkat, AT_FDCWD, "e2", AT_REMOVEDIR)); SHOW(S(SYS_unlinkat, AT_FDCWD, "a", 0x40000)); SHOW(S(SYS_unlink, "loop")); SHOW(S(SYS_unlink, "")); SHOW(S(SYS_unlink, ".."));
  // Names that are no text.
  OPEN(S(SYS_open, "\xff\xfe\x01", O_WRONLY | O_CREAT, 0644)); mode_of("\xff\xfe\x01"); SHOW(S(SYS_unlink, "\xff\xfe\x01")); OPEN(S(SYS_open, ".//d///../a", O_WRONLY)); OPEN(S(SYS_open, "x (deleted)", O_WRONLY | O_CREAT, 0644)); SHOW(S(SYS_mkdir, "q (deleted)", 0755)); OPEN(S(SYS_open, "q (deleted)/f", O_WRONLY | O_CREAT, 0644));
  // A directory that is gone, permissions, descriptors.
  mkdir("gone", 0755); chdir("gone"); rmdir("../gone"); OPEN(S(SYS_open, "x", O_WRONLY | O_CREAT, 0644)); SHOW(S(SYS_mkdir, "x", 0755)); fchdir(d); chdir("..");
  if (getuid()) { chmod("d", 0); OPEN(S(SYS_open, "d/x", O_WRONLY | O_CREAT, 0644)); SHOW(S(SYS_unlink, "d/through")); chmod("d", 0755); chmod("a", 0400); OPEN(S(SYS_open, "a", O_WRONLY)); SHOW(S(SYS_truncate, "a", 0)); chmod("a", 0644); }
  { int w = open("a", O_RDWR); char p[64]; sprintf(p, "/proc/self/fd/%d", w); OPEN(S(SYS_open, p, O_WRONLY)); sprintf(p, "/dev/fd/%d", w); OPEN(S(SYS_open, p, O_WRONLY | O_APPEND)); unlink("a"); OPEN(S(SYS_open, p, O_WRONLY)); SHOW(S(SYS_fchmod, w, 0600)); int q[2]; pipe(q); sprintf(p, "/dev/fd/%d", q[1]); OPEN(S(SYS_open, p, O_WRONLY)); sprintf(p, "/proc/self/fd/%d/x", d); OPEN(S(SYS_open, p, O_WRONLY | O_CREAT, 0644)); mode_of("d/x"); OPEN(S(SYS_open, "/proc/thread-self/cwd/viacwd", O_WRONLY | O_CREAT, 0644)); mode_of("viacwd"); OPEN(S(SYS_open, "/dev/fd/77", O_WRONLY)); int m = memfd_create("m", 0); sprintf(p, "/proc/self/fd/%d", m); OPEN(S(SYS_open, p, O_RDWR)); OPEN(S(SYS_open, "/dev/null", O_RDWR | O_TRUNC)); OPEN(S(SYS_open, "/proc/self/comm", O_WRONLY)); OPEN(S(SYS_open, "/proc/self/oom_score_adj", O_WRONLY)); }
  // Ways that end before their last name: at nothing, at nothing behind a link, and behind links that mean the caller.
  symlink("/proc/self", "me"); symlink("none", "tonone");
  OPEN(S(SYS_open, "none/x", O_WRONLY | O_CREAT, 0644)); OPEN(S(SYS_open, "none/../x", O_WRONLY | O_CREAT, 0644)); OPEN(S(SYS_open, "none/me/comm", O_WRONLY)); SHOW(S(SYS_mkdir, "none/x", 0755)); SHOW(S(SYS_unlink, "none/x")); SHOW(S(SYS_rename, "d", "none/d")); OPEN(S(SYS_open, "tonone/x", O_WRONLY | O_CREAT, 0644)); OPEN(S(SYS_open, "/none", O_WRONLY)); OPEN(S(SYS_open, "/none/x", O_WRONLY));
  OPEN(S(SYS_open, "/proc/self/none/x", O_WRONLY)); OPEN(S(SYS_open, "/proc/none/x", O_WRONLY)); OPEN(S(SYS_open, "me/none/x", O_WRONLY)); OPEN(S(SYS_open, "me/comm", O_WRONLY)); OPEN(S(SYS_open, "me/cwd/none/x", O_WRONLY | O_CREAT, 0644)); OPEN(S(SYS_open, "me/cwd/behind", O_WRONLY | O_CREAT, 0644)); mode_of("behind"); OPEN(S(SYS_open, "/dev/fd/none/x", O_WRONLY));
  unlink("me"); unlink("tonone"); unlink("behind");
  // Out of descriptors.
  { struct { unsigned long c, m; } l = {12, 64}; for (int i = 3; i < 64; i++) if (i != d) close(i); S(SYS_setrlimit, 7, &l); int fds[16], n = 0; while ((fds[n] = open("b", O_WRONLY)) >= 0) n++; printf("opened some, then %s\n", strerrorname_np(errno)); l.c = 64; S(SYS_setrlimit, 7, &l); while (n) close(fds[--n]); }
  // Exec: what fails.
  { char *av[] = {"x", 0}, *ev[] = {0}; mkdir("xd", 0755); int f = open("noexec", O_WRONLY | O_CREAT, 0644); write(f, "#!/bin/sh\n", 10); close(f); f = open("badint", O_WRONLY | O_CREAT, 0755); write(f, "#!/no/such\n", 11); close(f); f = open("empty", O_WRONLY | O_CREAT, 0755); close(f); f = open("garbage", O_WRONLY | O_CREAT, 0755); write(f, "garbage\n", 8); close(f); f = open("shb", O_WRONLY | O_CREAT, 0755); write(f, "#!\n", 3); close(f); symlink("loop2", "loop2");
    SHOW(S(SYS_execve, "none", av, ev)); SHOW(S(SYS_execve, "xd", av, ev)); SHOW(S(SYS_execve, "noexec", av, ev)); SHOW(S(SYS_execve, "badint", av, ev)); SHOW(S(SYS_execve, "empty", av, ev)); SHOW(S(SYS_execve, "garbage", av, ev)); SHOW(S(SYS_execve, "shb", av, ev)); SHOW(S(SYS_execve, "loop2", av, ev)); SHOW(S(SYS_execve, (char *)8, av, ev)); SHOW(S(SYS_execve, "/bin/true", (char **)8, ev)); SHOW(S(SYS_execve, "/bin/true/", av, ev)); SHOW(S(SYS_execve, "", av, ev)); SHOW(S(SYS_execveat, AT_FDCWD, "loop2", av, ev, AT_SYMLINK_NOFOLLOW)); char *bad[] = {"x", (char *)8, 0}; SHOW(S(SYS_execve, "/bin/true", bad, ev)); }
  fflush(stdout);
  // Exec: what works, in children, scripts of scripts, by descriptor, from a second thread, without arguments.
  { int f = open("s1", O_WRONLY | O_CREAT, 0755); dprintf(f, "#!/bin/echo  one two \nrest"); close(f); f = open("s2", O_WRONLY | O_CREAT, 0755); dprintf(f, "#!s1 inner"); close(f);
    char *av[] = {"zero", "arg", 0}, *none[] = {0}, *ev[] = {"PATH=/bin:/usr/bin", 0}; int wst;
#define CHILD(body) do { fflush(stdout); if (!fork()) { body; _exit(99); } wait(&wst); printf("%s -> %d\n", #body, wst); } while (0)
    CHILD(S(SYS_execve, "./s1", av, ev)); CHILD(S(SYS_execve, "./s2", av, ev)); CHILD({ int e = open("/bin/echo", O_RDONLY); S(SYS_execveat, e, "", av, ev, AT_EMPTY_PATH); }); CHILD({ int e = open("s1", O_RDONLY); S(SYS_execveat, e, "", av, ev, AT_EMPTY_PATH); }); CHILD({ int e = open("/bin", O_RDONLY); S(SYS_execveat, e, "echo", av, ev, 0); }); CHILD(S(SYS_execve, "/bin/true", 0, ev)); CHILD(S(SYS_execve, "/bin/true", none, 0)); CHILD({ extern void *other(void *); pthread_t t; pthread_create(&t, 0, other, 0); pause(); }); CHILD(kill(getpid(), 15));
    if (!vfork()) { execl("/bin/echo", "echo", "vforked", (char *)0); _exit(1); } wait(&wst); printf("vfork %d\n", wst); }
  fflush(stdout); fcntl(1, F_SETFL, O_APPEND); return system("echo from system; ls -la --time-style=+ . | awk '{print $1,$NF}' | grep -v '^total' | sort | grep -v ' out$'");
}
void *other(void *x) { execl("/bin/echo", "echo", "from a second thread", (char *)0); return 0; }
