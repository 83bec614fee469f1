// What only namespaces would keep out of sight, tried in a session without: one attempt each, in a child of its own.
//   apart SUPERVISOR VICTIM SECRET SHOWN STREAM DATAGRAM FIFO
// SUPERVISOR and VICTIM are processes of the same user outside. SECRET is a file of the user's that is hidden, SHOWN one that may
// be read. STREAM and DATAGRAM are sockets and FIFO a pipe of the user's elsewhere.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static pid_t supervisor, victim;
static char *secret, *shown, *stream, *datagram, *fifo;
static char path[512];
static char *proc(pid_t pid, const char *rest) { snprintf(path, sizeof path, "/proc/%d/%s", pid, rest); return path; }
static char *held(int fd) { snprintf(path, sizeof path, "/proc/self/fd/%d", fd); return path; }
static char *below_root(const char *file) { snprintf(path, sizeof path, "/proc/self/root%s", file); return path; }

// Signals, in every way that the kernel has.
static long signal_victim(void) { return kill(victim, 0); }
static long kill_victim(void) { return kill(victim, SIGKILL); }
static long stop_supervisor(void) { return kill(supervisor, SIGSTOP); }
static long thread_signal(void) { return syscall(SYS_tkill, victim, SIGTERM); }
static long group_signal(void) { return kill(-getpgid(victim), SIGTERM); }
static long pidfd_signal(void) { int f = syscall(SYS_pidfd_open, victim, 0); return syscall(SYS_pidfd_send_signal, f, SIGTERM, 0, 0); }
// Reaches nobody outside: a victim that is gone afterwards tells.
static long signal_all(void) { signal(SIGTERM, SIG_IGN); kill(-1, SIGURG); return kill(-1, 0) < 0 && errno != ESRCH ? -1 : 0; }
// The kernel sends it when the pipe is written to: it must not come.
static long signal_by_owner(void) {
  int p[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, p);
  fcntl(p[0], F_SETOWN, victim); fcntl(p[0], F_SETSIG, SIGKILL); fcntl(p[0], F_SETFL, O_ASYNC | O_NONBLOCK);
  write(p[1], "x", 1); usleep(50000);
  return 0;
}
// Other processes' limits, speeds, memory.
static long limit_victim(void) { struct rlimit none = {0, 0}; return prlimit(victim, RLIMIT_CPU, &none, 0); }
static long limit_supervisor(void) { struct rlimit none = {0, 0}; return prlimit(supervisor, RLIMIT_NOFILE, &none, 0); }
static long nice_victim(void) { return setpriority(PRIO_PROCESS, victim, 19); }
static long nice_group(void) { return setpriority(PRIO_PGRP, getpgid(victim), 19); }
static long nice_user(void) { return setpriority(PRIO_USER, 0, 19); }
static long nice_user_named(void) { return setpriority(PRIO_USER, getuid(), 19); }
static long io_user(void) { return syscall(SYS_ioprio_set, 3, getuid(), 0x6000); }
static long io_victim(void) { return syscall(SYS_ioprio_set, 1, victim, 0x6000); }
static long pin_supervisor(void) { cpu_set_t one; CPU_ZERO(&one); CPU_SET(0, &one); return sched_setaffinity(supervisor, sizeof one, &one); }
static long schedule_victim(void) { struct sched_param p = {0}; return sched_setscheduler(victim, SCHED_IDLE, &p); }
static long move_pages_(void) { return syscall(SYS_migrate_pages, victim, 8, "\1\0\0\0\0\0\0", "\1\0\0\0\0\0\0"); }
static long oom(void) { return open(proc(victim, "oom_score_adj"), O_WRONLY); }
static long comm(void) { return open(proc(victim, "comm"), O_WRONLY); }
static long victim_mem(void) { return open(proc(victim, "mem"), O_RDONLY); }
static long victim_mem_write(void) { return open(proc(victim, "mem"), O_RDWR); }
static long victim_environ(void) { return open(proc(victim, "environ"), O_RDONLY); }
static long victim_maps(void) { return open(proc(victim, "maps"), O_RDONLY); }
static long victim_fds(void) { char b[64]; return readlink(proc(victim, "fd/0"), b, 64); }
static long victim_fd(void) { return open(proc(victim, "fd/0"), O_RDONLY); }
static long victim_fd_mediated(void) { return open(proc(victim, "fd/0"), O_RDONLY | O_CREAT, 0600); }
static long victim_fd_write(void) { return open(proc(victim, "fd/1"), O_WRONLY); }
static long victim_cwd(void) { char b[64]; return readlink(proc(victim, "cwd"), b, 64); }
static long victim_root(void) { return open(proc(victim, "root/etc/passwd"), O_RDONLY); }
static long victim_root_mediated(void) { return open(proc(victim, "root/etc/passwd"), O_RDONLY | O_CREAT, 0600); }
static long task_fd_mediated(void) { char p[64]; snprintf(p, 64, "task/%d/fd/0", victim); return open(proc(victim, p), O_RDONLY | O_CREAT, 0600); }
static long supervisor_fd(void) { return open(proc(supervisor, "fd/3"), O_RDONLY | O_CREAT, 0600); }
static long supervisor_exe(void) { char b[64]; return readlink(proc(supervisor, "exe"), b, 64); }
static long link_from_victim(void) { return linkat(AT_FDCWD, proc(victim, "fd/0"), AT_FDCWD, "linked", AT_SYMLINK_FOLLOW); }
static long run_from_victim(void) { char *argv[] = {"x", 0}; return execv(proc(victim, "exe"), argv); }
// A hidden file, in every way to open one.
static long read_secret(void) { return open(secret, O_RDONLY); }
static long read_secret_mediated(void) { return open(secret, O_RDONLY | O_CREAT, 0600); }
static long write_secret(void) { return open(secret, O_RDWR); }
static long secret_by_root(void) { return open(below_root(secret), O_RDONLY); }
static long secret_by_root_mediated(void) { return open(below_root(secret), O_RDONLY | O_CREAT, 0600); }
static long secret_by_name_only(void) { int f = open(secret, O_PATH); return open(held(f), O_RDONLY); }
static long secret_by_name_only_mediated(void) { int f = open(secret, O_PATH); return open(held(f), O_RDONLY | O_CREAT, 0600); }
static long secret_by_link(void) { symlink(secret, "to-secret"); return open("to-secret", O_RDONLY | O_CREAT, 0600); }
static long secret_linked_in(void) { return link(secret, "secret"); }
static long secret_linked_in_by_descriptor(void) { int f = open(secret, O_PATH); return linkat(f, "", AT_FDCWD, "secret", AT_EMPTY_PATH); }
static long secret_moved_in(void) { return rename(secret, "secret"); }
static long secret_folder(void) { char f[512]; strcpy(f, secret); *strrchr(f, '/') = 0; return open(f, O_RDONLY | O_DIRECTORY); }
static long secret_from_its_folder(void) { char f[512]; strcpy(f, secret); char *name = strrchr(f, '/'); *name = 0; if (chdir(f)) return -1; return open(name + 1, O_RDONLY | O_CREAT, 0600); }
static long run_secret(void) { char *argv[] = {"x", 0}; return execv(secret, argv); }
static long watch_secret(void) { return inotify_add_watch(inotify_init1(0), secret, IN_ALL_EVENTS); }
static long chmod_secret(void) { return chmod(secret, 0666); }
static long fifo_by_name_only(void) { int f = open(fifo, O_PATH); return open(held(f), O_RDWR | O_NONBLOCK); }
static long fifo_mediated(void) { return open(fifo, O_RDWR | O_NONBLOCK); }
// A file that may be read, and nothing else.
static long read_shown(void) { return open(shown, O_RDONLY); }
static long write_shown(void) { return open(shown, O_WRONLY); }
static long times_of_shown(void) { int f = open(shown, O_RDONLY); struct timespec t[2] = {{1, 0}, {1, 0}}; return futimens(f, t); }
static long mode_of_shown(void) { int f = open(shown, O_RDONLY); return fchmod(f, 0777); }
static long xattr_of_shown(void) { int f = open(shown, O_RDONLY); return syscall(SYS_fsetxattr, f, "user.x", "y", 1, 0); }
static long link_shown(void) { return link(shown, "shown"); }
static long seal_shown(void) { char b[128] = {1}; int f = open(shown, O_RDONLY); return ioctl(f, 0x40806685, b); }
static long subvolume_beside(void) { char b[4096] = {0}; char f[512]; strcpy(f, shown); *strrchr(f, '/') = 0; return ioctl(open(f, O_RDONLY), 0x5000940e, b); }
// Sockets: of the machine's network, by abstract name, of others by path.
static long tcp(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static long tcp6(void) { return socket(AF_INET6, SOCK_STREAM, 0); }
static long udp(void) { return socket(AF_INET, SOCK_DGRAM, 0); }
static long to(const char *name, int kind, int is_abstract, int binds) {
  struct sockaddr_un a = {AF_UNIX}; strcpy(a.sun_path + is_abstract, name);
  int s = socket(AF_UNIX, kind, 0), n = sizeof(short) + is_abstract + strlen(name);
  return s < 0 ? -1 : binds ? bind(s, (void *)&a, n) : connect(s, (void *)&a, n);
}
static long connect_stream(void) { return to(stream, SOCK_STREAM, 0, 0); }
static long connect_datagram(void) { return to(datagram, SOCK_DGRAM, 0, 0); }
static long raw_is_datagram(void) { return socket(AF_UNIX, SOCK_RAW, 0); }
static long bind_abstract(void) { return to("flyball-squat", SOCK_STREAM, 1, 1); }
static long bind_nameless(void) { struct sockaddr_un a = {AF_UNIX}; return bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, 2); }
static long connect_abstract(void) { return to("/tmp/.X11-unix/X0", SOCK_STREAM, 1, 0); }
static long bind_outside(void) { char p[512]; snprintf(p, 512, "%s.new", stream); return to(p, SOCK_STREAM, 0, 1); }
// Memory and queues with names.
static long shared_memory(void) { return shmget(7, 4096, IPC_CREAT | 0600); }
static long semaphores(void) { return semget(7, 1, IPC_CREAT | 0600); }
static long messages(void) { return msgget(7, IPC_CREAT | 0600); }
static long queue(void) { return syscall(SYS_mq_open, "q", O_CREAT | O_RDWR, 0600, 0); }
static long shm(void) { return open("/dev/shm/flyball", O_CREAT | O_RDWR, 0600); }
// Terminals of the user's.
static long terminal(void) { for (int n = 0; n < 4096; n++) { snprintf(path, 64, "/dev/pts/%d", n); if (!access(path, F_OK)) return open(path, O_RDONLY | O_NOCTTY); } errno = EACCES; return -1; }
static long terminal_mediated(void) { for (int n = 0; n < 4096; n++) { snprintf(path, 64, "/dev/pts/%d", n); if (!access(path, F_OK)) return open(path, O_RDWR | O_NOCTTY); } errno = EACCES; return -1; }

// What must go on working.
static long own_child(void) { pid_t p = fork(); if (!p) for (;;) pause(); return kill(p, SIGKILL); }
static void *nothing(void *x) { return x; }
static long own_thread(void) { pthread_t t; errno = pthread_create(&t, 0, nothing, 0); return errno ? -1 : pthread_join(t, 0); }
static long own_limit(void) { struct rlimit r; getrlimit(RLIMIT_NOFILE, &r); return setrlimit(RLIMIT_NOFILE, &r); }
static long others_limit_asked(void) { struct rlimit r; return prlimit(getppid(), RLIMIT_NOFILE, 0, &r); }
static long own_nice(void) { return setpriority(PRIO_PROCESS, 0, 1); }
static long own_tmpfile(void) { int f = open(".", O_TMPFILE | O_RDWR, 0600); return linkat(AT_FDCWD, held(f), AT_FDCWD, "named", AT_SYMLINK_FOLLOW); }
static long own_folder_mode(void) { return chmod(".", 0700); }
static long own_times(void) { int f = open("own", O_CREAT | O_RDWR, 0600); struct timespec t[2] = {{1, 0}, {1, 0}}; return futimens(f, t); }
static long own_watch(void) { return inotify_add_watch(inotify_init1(0), ".", IN_ALL_EVENTS); }
static long own_deleted(void) { int f = open("gone", O_CREAT | O_RDWR, 0600); unlink("gone"); return open(held(f), O_RDWR); }
static long own_socket(void) {
  if (to("own-socket", SOCK_STREAM, 0, 1)) return -1;
  int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un a = {AF_UNIX, "./own-socket-2"};
  return bind(s, (void *)&a, sizeof a) || listen(s, 1) ? -1 : connect(c, (void *)&a, sizeof a);
}
static long own_terminal(void) {
  int m = open("/dev/ptmx", O_RDWR | O_NOCTTY); if (m < 0 || unlockpt(m)) return -1;
  int s = ioctl(m, 0x5441, O_RDWR | O_NOCTTY); char b[2]; if (s < 0) return -1;
  struct termios t; if (tcgetattr(s, &t)) return -1;
  return write(m, "x\n", 2) == 2 && read(s, b, 2) == 2 && *b == 'x' ? 0 : -1;
}
static long own_terminal_by_name(void) {
  int m = open("/dev/ptmx", O_RDWR | O_NOCTTY); if (m < 0 || unlockpt(m) || setsid() < 0) return -1;
  int s = ioctl(m, 0x5441, O_RDWR); if (s < 0 || ioctl(s, TIOCSCTTY, 0)) return -1;
  return open(ptsname(m), O_RDWR);
}
static long own_proc(void) { return open("/proc/self/maps", O_RDONLY); }

#define P(name, function) {name, function}
static struct { const char *name; long (*try_it)(void); } all[] = {
  P("signal-victim", signal_victim), P("kill-victim", kill_victim), P("stop-supervisor", stop_supervisor), P("thread-signal", thread_signal),
  P("group-signal", group_signal), P("pidfd-signal", pidfd_signal), P("signal-by-owner", signal_by_owner),
  P("limit-victim", limit_victim), P("limit-supervisor", limit_supervisor), P("nice-victim", nice_victim), P("nice-group", nice_group), P("nice-user", nice_user),
  P("nice-user-named", nice_user_named), P("io-user", io_user), P("io-victim", io_victim), P("pin-supervisor", pin_supervisor), P("schedule-victim", schedule_victim),
  P("migrate-victim", move_pages_), P("oom-victim", oom), P("comm-victim", comm), P("victim-mem", victim_mem), P("victim-mem-write", victim_mem_write),
  P("victim-environ", victim_environ), P("victim-maps", victim_maps), P("victim-fds", victim_fds), P("victim-fd", victim_fd), P("victim-fd-mediated", victim_fd_mediated),
  P("victim-fd-write", victim_fd_write), P("victim-cwd", victim_cwd), P("victim-root", victim_root), P("victim-root-mediated", victim_root_mediated),
  P("task-fd-mediated", task_fd_mediated), P("supervisor-fd", supervisor_fd), P("supervisor-exe", supervisor_exe), P("link-from-victim", link_from_victim), P("run-from-victim", run_from_victim),
  P("read-secret", read_secret), P("read-secret-mediated", read_secret_mediated), P("write-secret", write_secret), P("secret-by-root", secret_by_root),
  P("secret-by-root-mediated", secret_by_root_mediated), P("secret-by-name-only", secret_by_name_only), P("secret-by-name-only-mediated", secret_by_name_only_mediated),
  P("secret-by-link", secret_by_link), P("secret-linked-in", secret_linked_in), P("secret-linked-in-by-descriptor", secret_linked_in_by_descriptor),
  P("secret-moved-in", secret_moved_in), P("secret-folder", secret_folder), P("secret-from-its-folder", secret_from_its_folder), P("run-secret", run_secret),
  P("watch-secret", watch_secret), P("chmod-secret", chmod_secret), P("fifo-by-name-only", fifo_by_name_only), P("fifo-mediated", fifo_mediated),
  P("write-shown", write_shown), P("times-of-shown", times_of_shown), P("mode-of-shown", mode_of_shown), P("xattr-of-shown", xattr_of_shown),
  P("link-shown", link_shown), P("seal-shown", seal_shown), P("subvolume-beside", subvolume_beside),
  P("tcp", tcp), P("tcp6", tcp6), P("udp", udp), P("connect-stream", connect_stream), P("connect-datagram", connect_datagram), P("raw-is-datagram", raw_is_datagram),
  P("bind-abstract", bind_abstract), P("bind-nameless", bind_nameless), P("connect-abstract", connect_abstract), P("bind-outside", bind_outside),
  P("shared-memory", shared_memory), P("semaphores", semaphores), P("messages", messages), P("queue", queue), P("shm", shm),
  P("terminal", terminal), P("terminal-mediated", terminal_mediated),
  P("own-child", own_child), P("own-thread", own_thread), P("own-limit", own_limit), P("others-limit-asked", others_limit_asked), P("own-nice", own_nice),
  P("own-tmpfile", own_tmpfile), P("own-folder-mode", own_folder_mode), P("own-times", own_times), P("own-watch", own_watch), P("own-deleted", own_deleted),
  P("own-socket", own_socket), P("own-terminal", own_terminal), P("own-terminal-by-name", own_terminal_by_name), P("own-proc", own_proc), P("read-shown", read_shown),
  // Last: it reaches whoever of the tree is left.
  P("signal-all", signal_all),
};

int main(int argc, char **argv) {
  supervisor = atoi(argv[1]); victim = atoi(argv[2]);
  secret = argv[3]; shown = argv[4]; stream = argv[5]; datagram = argv[6]; fifo = argv[7];
  setvbuf(stdout, 0, _IONBF, 0);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    pid_t pid = fork();
    if (!pid) {
      errno = 0;
      if (all[i].try_it() >= 0) _exit(0);
      _exit(errno ? errno : 255);
    }
    int status;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) printf("%s SIG%s\n", all[i].name, sigabbrev_np(WTERMSIG(status)));
    else printf("%s %s\n", all[i].name, WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "OPEN");
  }
}
