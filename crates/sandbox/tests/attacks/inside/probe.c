// One attempt each, in a child of its own: what the call answers is the line's second word.
//   probe NAME...   or   probe all
// Linked statically, and the calls are made raw: no library stands between attempt and kernel.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

typedef long (*probe)(void);
static char *environment(const char *name) { char *value = getenv(name); return value ? value : ""; }
static char zeros[4096];
#define RAW(...) syscall(__VA_ARGS__)

// A child that waits, for attempts on another process.
static pid_t sibling(void) {
  pid_t pid = fork();
  if (!pid) for (;;) pause();
  return pid;
}
static long then_kill(pid_t pid, long result) { int e = errno; kill(pid, SIGKILL); errno = e; return result; }

// Kernel interfaces that nothing inside needs.
static long io_uring(void) { return RAW(SYS_io_uring_setup, 8, zeros); }
static long io_uring_enter_(void) { return RAW(SYS_io_uring_enter, 0, 1, 0, 0, 0, 0); }
static long openat2_(void) { uint64_t how[3] = {O_RDWR | O_CREAT, 0644, 0}; return RAW(SYS_openat2, AT_FDCWD, "opened2", how, 24); }
static long clone3_(void) { uint64_t args[11] = {CLONE_NEWUSER}; return RAW(SYS_clone3, args, 88); }
static long open_handle(void) { return RAW(SYS_open_by_handle_at, AT_FDCWD, zeros, O_RDONLY); }
static long name_handle(void) { int id; return RAW(SYS_name_to_handle_at, AT_FDCWD, "/", zeros, &id, 0); }
static long userfault(void) { return RAW(SYS_userfaultfd, 1); }
static long bpf_(void) { return RAW(SYS_bpf, 0, zeros, 72); }
static long perf(void) { return RAW(SYS_perf_event_open, zeros, 0, -1, -1, 0); }
static long keyctl_(void) { return RAW(SYS_keyctl, 0, -3, 1); }
static long add_key_(void) { return RAW(SYS_add_key, "user", "x", "y", 1, -3); }
static long request_key_(void) { return RAW(SYS_request_key, "user", "x", 0, -3); }
static long kexec(void) { return RAW(SYS_kexec_load, 0, 0, 0, 0); }
static long module(void) { return RAW(SYS_finit_module, 0, "", 0); }
static long reboot_(void) { return RAW(SYS_reboot, 0xfee1dead, 672274793, 0, 0); }
static long swap(void) { return RAW(SYS_swapon, "file", 0); }
static long settime(void) { long t[2] = {0, 0}; return RAW(SYS_settimeofday, t, 0); }
static long account(void) { return RAW(SYS_acct, "file"); }
static long ports(void) { return RAW(SYS_iopl, 3); }
static long kernel_log(void) { return RAW(SYS_syslog, 3, zeros, 100); }
static long fanotify(void) { return RAW(SYS_fanotify_init, 0, 0); }
static long lease(void) { int f = open("file", O_RDONLY); return RAW(SYS_fcntl, f, 1024, F_WRLCK); }
static long hostname(void) { return RAW(SYS_sethostname, "x", 1); }
static long sysctl_(void) { return RAW(SYS__sysctl, zeros); }
static long ldt(void) { return RAW(SYS_modify_ldt, 0, zeros, 16); }
static long unknown(void) { return RAW(600); }

// Terminals: typing for the user, with the command in 32 and in 64 bits.
static long tiocsti(void) { return RAW(SYS_ioctl, 0, TIOCSTI, "x"); }
static long tiocsti_high(void) { return RAW(SYS_ioctl, 0, 0x100000000ul | TIOCSTI, "x"); }
static long tioclinux(void) { return RAW(SYS_ioctl, 0, TIOCLINUX, "\2"); }
static long set_flags(void) { int f = open("file", O_RDONLY); int flags = 0x40; return RAW(SYS_ioctl, f, 0x40086602, &flags); }
static long set_fsx(void) { int f = open("file", O_RDONLY); return RAW(SYS_ioctl, f, 0x401c5820, zeros); }

// Other numbers for the same calls.
static long x32(void) { return RAW(0x40000000 | SYS_getpid); }
static long x32_exec(void) { return RAW(0x40000000 | 520, "/bin/true", 0, 0); }
static long int80(void) { long r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory"); return r; }
static long int80_open(void) { long r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(8), "b"("file32"), "c"(0644) : "memory"); return r; }

// Namespaces, mounts, roots.
static long new_user(void) { return RAW(SYS_unshare, CLONE_NEWUSER); }
static long new_mounts(void) { return RAW(SYS_unshare, CLONE_NEWNS); }
static long new_net(void) { return RAW(SYS_unshare, CLONE_NEWNET); }
static long new_pids(void) { return RAW(SYS_unshare, CLONE_NEWPID); }
static long new_time(void) { return RAW(SYS_unshare, 0x80); }
static long new_by_clone(void) { return RAW(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0); }
static long join(void) { int f = open("/proc/1/ns/mnt", O_RDONLY); return RAW(SYS_setns, f < 0 ? open("/proc/self/ns/mnt", O_RDONLY) : f, 0); }
static long chroot_(void) { return RAW(SYS_chroot, "."); }
static long pivot(void) { return RAW(SYS_pivot_root, ".", "."); }
static long mount_(void) { return RAW(SYS_mount, "none", "/tmp", "tmpfs", 0, 0); }
static long bind_mount(void) { return RAW(SYS_mount, "/tmp", "/usr", 0, 4096, 0); }
static long remount(void) { return RAW(SYS_mount, 0, "/usr", 0, 32, 0); }
static long umount_(void) { return RAW(SYS_umount2, "/proc/sys", 2); }
static long fsopen_(void) { return RAW(SYS_fsopen, "tmpfs", 0); }
static long open_tree_(void) { return RAW(SYS_open_tree, AT_FDCWD, "/", 1); }
static long move_mount_(void) { return RAW(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/usr", 0); }
static long mount_attr(void) { return RAW(SYS_mount_setattr, AT_FDCWD, "/usr", 0, zeros, 32); }

// Other processes.
static long trace_sibling(void) { pid_t p = sibling(); return then_kill(p, RAW(SYS_ptrace, 16 /* ATTACH */, p, 0, 0)); }
static long trace_me(void) { return RAW(SYS_ptrace, 0, 0, 0, 0); }
static long seize_init(void) { return RAW(SYS_ptrace, 0x4206, 1, 0, 0); }
static long vm_write(void) { pid_t p = sibling(); struct iovec one = {zeros, 8}; return then_kill(p, RAW(SYS_process_vm_writev, p, &one, 1, &one, 1, 0)); }
static long vm_read(void) { struct iovec one = {zeros, 8}; return RAW(SYS_process_vm_readv, 1, &one, 1, &one, 1, 0); }
static long take_fd(void) { pid_t p = sibling(); int f = RAW(SYS_pidfd_open, p, 0); return then_kill(p, RAW(SYS_pidfd_getfd, f, 0, 0)); }
static long compare(void) { return RAW(SYS_kcmp, getpid(), 1, 0, 0, 0); }
static long madvise_other(void) { return RAW(SYS_process_madvise, -1, 0, 0, 0, 0); }
static long writes(const char *path) { return RAW(SYS_openat, AT_FDCWD, path, O_WRONLY, 0); }
static long reads(const char *path) { return RAW(SYS_openat, AT_FDCWD, path, O_RDONLY, 0); }
static long sibling_mem(void) { char p[64]; pid_t pid = sibling(); sprintf(p, "/proc/%d/mem", pid); return then_kill(pid, writes(p)); }
static long own_mem(void) { return writes("/proc/self/mem"); }
static long own_mem_indirect(void) {
  int f = RAW(SYS_openat, AT_FDCWD, "/proc/thread-self/mem", O_PATH, 0); char p[64]; sprintf(p, "/proc/self/fd/%d", f);
  return f < 0 ? f : writes(p);
}
static long map_files(void) {
  char p[128], line[256]; FILE *maps = fopen("/proc/self/maps", "r"); unsigned long from = 0, to = 0;
  while (fgets(line, sizeof line, maps)) if (strchr(line, '/')) { sscanf(line, "%lx-%lx", &from, &to); break; }
  sprintf(p, "/proc/self/map_files/%lx-%lx", from, to); return writes(p);
}
static long own_exe(void) { return writes("/proc/self/exe"); }
static long init_root(void) { return writes("/proc/1/root/etc/hosts"); }
static long init_root_read(void) { return reads("/proc/1/root/etc/hosts"); }
static long init_cwd(void) { return reads("/proc/1/cwd/etc/hosts"); }
static long init_fd(void) { return reads("/proc/1/fd/0"); }
static long init_mem(void) { return reads("/proc/1/mem"); }
static long init_environ(void) { return reads("/proc/1/environ"); }
static long init_maps(void) { char b[4096]; long f = RAW(SYS_openat, AT_FDCWD, "/proc/1/map_files", O_RDONLY | O_DIRECTORY, 0), n = f < 0 ? f : RAW(SYS_getdents64, f, b, sizeof b); if (n >= 0) errno = EACCES; return n > 48 /* dots */ ? 0 : -1; }
static long sibling_root(void) { char p[64]; pid_t pid = sibling(); sprintf(p, "/proc/%d/root/etc/hosts", pid); return then_kill(pid, writes(p)); }
static long sibling_cwd(void) { char p[64]; pid_t pid = sibling(); sprintf(p, "/proc/%d/cwd/denied", pid); return then_kill(pid, RAW(SYS_openat, AT_FDCWD, p, O_WRONLY | O_CREAT, 0644)); }
static long sibling_fd(void) {
  int f = open("denied-there", O_RDONLY); char p[64]; pid_t pid = sibling(); sprintf(p, "/proc/%d/fd/%d", pid, f);
  return f < 0 ? f : then_kill(pid, writes(p));
}
static long dev_fd(void) { int f = open("denied-there", O_RDONLY); char p[64]; sprintf(p, "/dev/fd/%d", f); return f < 0 ? f : writes(p); }
static long core_pattern(void) { return writes("/proc/sys/kernel/core_pattern"); }
static long uid_map(void) { return writes("/proc/self/uid_map"); }
static long sysrq(void) { return writes("/proc/sysrq-trigger"); }
static long attr_exec(void) { return writes("/proc/self/attr/exec"); }

// Signals to who is outside: its number means nothing, or somebody else, in here.
static long kill_supervisor(void) { return RAW(SYS_kill, atoi(environment("SUPERVISOR")), SIGSTOP); }
static long signal_supervisor(void) { int f = RAW(SYS_pidfd_open, atoi(environment("SUPERVISOR")), 0); return f < 0 ? f : RAW(SYS_pidfd_send_signal, f, SIGKILL, 0, 0); }
static long queue_supervisor(void) { siginfo_t info = {.si_signo = SIGKILL, .si_code = SI_QUEUE}; return RAW(SYS_rt_sigqueueinfo, atoi(environment("SUPERVISOR")), SIGKILL, &info); }
static long proc_supervisor(void) { char p[64]; sprintf(p, "/proc/%s/status", environment("SUPERVISOR")); return reads(p); }
static long stop_init(void) { long r = RAW(SYS_kill, 1, SIGSTOP); r |= RAW(SYS_kill, 1, SIGKILL); usleep(20000); return r ? r : RAW(SYS_kill, 1, 0); }

// Filters stacked by the agent.
static struct sock_filter allow_all[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
static long stack(unsigned flags, struct sock_filter *code, int count) {
  struct sock_fprog program = {count, code};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return RAW(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}
static long own_listener(void) { return stack(8 /* NEW_LISTENER */, allow_all, 1); }
static long own_listener_killable(void) { return stack(8 | 32, allow_all, 1); }
// An allowing filter on top: what ours says is stronger.
static long allow_on_top(void) { return stack(0, allow_all, 1) ?: RAW(SYS_openat, AT_FDCWD, "denied", O_WRONLY | O_CREAT, 0644); }
static long trace_on_top(void) {
  static struct sock_filter code[] = {{BPF_LD | BPF_W | BPF_ABS, 0, 0, 0}, {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_openat},
    {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRACE}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
  return stack(0, code, 4) ?: RAW(SYS_openat, AT_FDCWD, "denied", O_WRONLY | O_CREAT, 0644);
}
static long by_prctl(void) {
  struct sock_fprog program = {1, allow_all};
  return prctl(PR_SET_SECCOMP, 2, &program) ?: RAW(SYS_openat, AT_FDCWD, "denied", O_WRONLY | O_CREAT, 0644);
}
static long strict_by_prctl(void) { return prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0); }
static long own_landlock(void) {
  uint64_t handled[3] = {1 << 1 /* WRITE_FILE */, 0, 0};
  int f = RAW(444, handled, 8, 0); if (f < 0) return f;
  long r = RAW(446, f, 0); if (r) return r;
  return RAW(SYS_openat, AT_FDCWD, "self-confined", O_WRONLY | O_CREAT, 0644);
}

// Sockets.
static long made(int family, int kind, int protocol) { return RAW(SYS_socket, family, kind, protocol); }
static long packet(void) { return made(AF_PACKET, SOCK_RAW, 0); }
static long raw(void) { return made(AF_INET, SOCK_RAW, 1); }
static long raw6(void) { return made(AF_INET6, SOCK_RAW, 58); }
static long ping_socket(void) { return made(AF_INET, SOCK_DGRAM, 1); }
static long vsock(void) { return made(40, SOCK_STREAM, 0); }
static long alg(void) { return made(38, SOCK_SEQPACKET, 0); }
static long bluetooth(void) { return made(31, SOCK_RAW, 1); }
static long can(void) { return made(29, SOCK_RAW, 1); }
static long tipc(void) { return made(30, SOCK_STREAM, 0); }
static long xdp(void) { return made(44, SOCK_RAW, 0); }
static long sctp(void) { return made(AF_INET, SOCK_STREAM, 132); }
static long mptcp(void) { return made(AF_INET, SOCK_STREAM, 262); }
static long audit(void) { return made(16, SOCK_RAW, 9); }
static long netfilter(void) { return made(16, SOCK_RAW, 12); }
static long uevents(void) { return made(16, SOCK_RAW, 15); }
static long tipc_pair(void) { int pair[2]; return RAW(SYS_socketpair, 30, SOCK_SEQPACKET, 0, pair); }
static long new_address(void) {
  struct { uint32_t len; uint16_t type, flags; uint32_t seq, pid; unsigned char ifa[8]; } m = {24, 20 /* RTM_NEWADDR */, 1 | 4 | 0x400, 1, 0, {2, 24, 0, 0, 1}};
  int f = made(16, SOCK_RAW, 0); char answer[512];
  if (RAW(SYS_sendto, f, &m, 24, 0, 0, 0) < 0) return -1;
  if (recv(f, answer, sizeof answer, 0) < 20) return -1;
  int error = *(int *)(answer + 16); if (error) { errno = -error; return -1; } return 0;
}
static long unix_connect(int kind, const char *path, int length) {
  struct sockaddr_un a = {AF_UNIX}; memcpy(a.sun_path, path, length);
  int f = made(AF_UNIX, kind, 0);
  return RAW(SYS_connect, f, &a, 2 + length);
}
static long to(const char *path) { return unix_connect(SOCK_STREAM, path, strlen(path) + 1); }
static long host_abstract(void) { char n[108] = {0}; strcpy(n + 1, environment("ABSTRACT")); return unix_connect(SOCK_STREAM, n, 1 + strlen(n + 1)); }
static long host_in_workspace(void) { return to("host.socket"); }
static long host_in_home(void) { return to(environment("HOME_SOCKET")); }
static long host_in_tmp(void) { return to(environment("TMP_SOCKET")); }
static long dbus(void) { return to("/run/dbus/system_bus_socket"); }
static long docker(void) { return to("/var/run/docker.sock"); }
static long host_datagram(void) {
  struct sockaddr_un a = {AF_UNIX}; strcpy(a.sun_path, "host.datagram");
  return RAW(SYS_sendto, made(AF_UNIX, SOCK_DGRAM, 0), "x", 1, 0, &a, sizeof a);
}

// The overlay's own marks.
static long xattr(const char *name) { return RAW(SYS_setxattr, ".", name, "y", 1, 0); }
static long overlay_trusted(void) { return xattr("trusted.overlay.opaque"); }
static long overlay_user(void) { return xattr("user.overlay.opaque"); }
static long overlay_redirect(void) { return xattr("user.overlay.redirect"); }
static long overlay_nested(void) { return xattr("user.overlay.overlay.opaque"); }
static long overlay_remove(void) { return RAW(SYS_removexattr, ".", "user.overlay.opaque"); }
static long overlay_by_fd(void) { int f = open(".", O_RDONLY); return RAW(SYS_fsetxattr, f, "user.overlay.whiteout", "y", 1, 0); }
static long overlay_at(void) { uint64_t args[2] = {(uint64_t)"y", 1}; return RAW(463, AT_FDCWD, ".", 0, "user.overlay.opaque", args, 16); }
static long capability(void) { return xattr("security.capability"); }
static long whiteout(void) { return RAW(SYS_mknodat, AT_FDCWD, "file-gone", S_IFCHR | 0666, 0); }
static long device(void) { return RAW(SYS_mknodat, AT_FDCWD, "mem", S_IFCHR | 0666, (1 << 8) | 1); }
static long block_device(void) { return RAW(SYS_mknodat, AT_FDCWD, "disk", S_IFBLK | 0666, 0); }
static long rename_whiteout(void) { return RAW(SYS_renameat2, AT_FDCWD, "file", AT_FDCWD, "moved", 4); }
static long link_out(void) { return RAW(SYS_linkat, AT_FDCWD, "file", AT_FDCWD, "/tmp/out", 0); }
static long link_in(void) { return RAW(SYS_linkat, AT_FDCWD, "/etc/passwd", AT_FDCWD, "in", 0); }
static long move_workspace(void) { char c[4096], d[4100]; getcwd(c, sizeof c); sprintf(d, "%s2", c); return RAW(SYS_rename, c, d); }
static long remove_tmp(void) { return RAW(SYS_rmdir, "/tmp"); }
static long write_system(void) { return RAW(SYS_openat, AT_FDCWD, "/usr/bin/evil", O_WRONLY | O_CREAT, 0755); }
static long chmod_device(void) { return RAW(SYS_chmod, "/dev/null", 0666); }
static long times_device(void) { return RAW(SYS_utimensat, AT_FDCWD, "/dev/null", 0, 0); }

// Descriptors from outside.
static long chmod_stdin(void) { return RAW(SYS_fchmod, 0, 0777); }
static long chmod_stdin_by_path(void) { return RAW(SYS_chmod, "/dev/stdin", 0777); }
static long chown_stdin(void) { return RAW(SYS_fchown, 0, getuid(), getgid()); }
static long xattr_stdin(void) { return RAW(SYS_fsetxattr, 0, "user.x", "y", 1, 0); }
static long times_stdin(void) { return RAW(SYS_utimensat, AT_FDCWD, "/proc/self/fd/0", zeros, 0); }
static long write_stdin(void) { return writes("/proc/self/fd/0"); }
static long link_stdin(void) { return RAW(SYS_linkat, 0, "", AT_FDCWD, "linked", AT_EMPTY_PATH); }
static long run_stdin(void) { char *no[] = {"x", 0}; return RAW(SYS_execveat, 0, "", no, no + 1, AT_EMPTY_PATH); }
static long run_stdin_by_path(void) { char *no[] = {"x", 0}; return RAW(SYS_execve, "/proc/self/fd/0", no, no + 1); }

// Programs that no rule could name.
static int copy_of_true(int f) { int t = open("/bin/true", O_RDONLY); char b[65536]; long n; while ((n = read(t, b, sizeof b)) > 0) write(f, b, n); return f; }
static long run(int f) { char *no[] = {"x", 0}; return RAW(SYS_execveat, f, "", no, no + 1, AT_EMPTY_PATH); }
static long run_path(const char *p) { char *no[] = {"x", 0}; return RAW(SYS_execve, p, no, no + 1); }
static long memfd(void) { return run(copy_of_true(RAW(SYS_memfd_create, "x", 0))); }
static long memfd_by_path(void) { char p[64]; sprintf(p, "/proc/self/fd/%d", copy_of_true(RAW(SYS_memfd_create, "x", 0))); return run_path(p); }
static long memfd_by_dev(void) { char p[64]; sprintf(p, "/dev/fd/%d", copy_of_true(RAW(SYS_memfd_create, "x", 0))); return run_path(p); }
static long deleted(void) {
  int f = copy_of_true(open("gone", O_RDWR | O_CREAT, 0755)); close(f); f = open("gone", O_RDONLY); unlink("gone"); return run(f);
}
static long own_deleted_exe(void) {
  int f = copy_of_true(open("gone2", O_RDWR | O_CREAT, 0755)); close(f); int r = open("gone2", O_RDONLY); unlink("gone2");
  char p[64]; sprintf(p, "/proc/self/fd/%d", r); return run_path(p);
}
static long tmpfile_(void) { int f = copy_of_true(open(".", O_RDWR | O_TMPFILE, 0755)); char p[64]; sprintf(p, "/proc/self/fd/%d", f); int r = open(p, O_RDONLY); close(f); return run(r); }
static long denied_program(void) { return run_path("./denied-program"); }
static long denied_by_exe_link(void) { symlink("denied-program", "innocent"); return run_path("./innocent"); }
static long denied_by_fd(void) { return run(open("denied-program", O_PATH)); }

// Names.
static long makes(const char *path) { return RAW(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT, 0644); }
static long dots(void) { return makes("d/../denied"); }
static long slashes(void) { return makes(".//d//..///.//denied"); }
static long through_proc(void) { return makes("/proc/self/cwd/denied"); }
static long through_task(void) { return makes("/proc/thread-self/cwd/denied"); }
static long through_dev_fd(void) { int f = open(".", O_RDONLY); char p[64]; sprintf(p, "/dev/fd/%d/denied", f); return makes(p); }
static long through_root(void) { char c[4096], p[4200]; getcwd(c, sizeof c); sprintf(p, "/proc/self/root%s/denied", c); return makes(p); }
static long through_link(void) { symlink("denied", "link-to-denied"); return makes("link-to-denied"); }
static long through_link_chain(void) { char a[16], b[16] = "denied"; for (int i = 0; i < 30; i++) { sprintf(a, "l%d", i); symlink(b, a); strcpy(b, a); } return makes(b); }
static long link_loop(void) { symlink("loop-b", "loop-a"); symlink("loop-a", "loop-b"); return makes("loop-a"); }
static long long_name(void) { char p[300]; memset(p, 'x', 299); p[299] = 0; return makes(p); }
static long long_path(void) { char p[5000]; memset(p, '/', 4999); strcpy(p + 4990, "denied"); return makes(p); }
static long full_path(void) { char p[4096]; memset(p, '/', 4096); p[0] = '.'; strcpy(p + 4089, "denied"); return makes(p); }
static long bad_pointer(void) { return makes((char *)16); }
static long cut_string(void) { char *m = mmap(0, 8192, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); munmap(m + 4096, 4096); memset(m + 4090, 'x', 6); return makes(m + 4090); }
static long non_utf8(void) { return makes("denied-\xff\xfe"); }
static long by_dirfd(void) { int f = open("d", O_PATH); return RAW(SYS_openat, f, "../denied", O_WRONLY | O_CREAT, 0644); }
static long high_bits(void) { return RAW(SYS_openat, 0xffffffffffffff9cul, "denied", 0xdead00000000ul | O_WRONLY | O_CREAT, 0644); }
static long creat_(void) { return RAW(SYS_creat, "denied", 0644); }
static long rename_onto(void) { close(open("harmless", O_WRONLY | O_CREAT, 0644)); return RAW(SYS_rename, "harmless", "denied"); }
static long link_onto(void) { close(open("harmless", O_WRONLY | O_CREAT, 0644)); return RAW(SYS_link, "harmless", "denied"); }
static long tmpfile_onto(void) { int f = open(".", O_RDWR | O_TMPFILE, 0644); char p[64]; sprintf(p, "/proc/self/fd/%d", f); return RAW(SYS_linkat, AT_FDCWD, p, AT_FDCWD, "denied", AT_SYMLINK_FOLLOW); }
static long exchange(void) { close(open("harmless", O_WRONLY | O_CREAT, 0644)); return RAW(SYS_renameat2, AT_FDCWD, "harmless", AT_FDCWD, "denied-there", 2); }
static long path_then_write(void) { int f = open("denied-there", O_PATH); char p[64]; sprintf(p, "/proc/self/fd/%d", f); return writes(p); }
static long dir_fd_then_write(void) { int d = open("/proc/self/fd", O_PATH), f = open("denied-there", O_RDONLY); char p[32]; sprintf(p, "%d", f); return RAW(SYS_openat, d, p, O_WRONLY, 0); }
static long truncate_(void) { return RAW(SYS_truncate, "denied-there", 0); }

#define P(n, f) {n, f}
static struct { const char *name; probe f; } probes[] = {
  P("io_uring", io_uring), P("io_uring-enter", io_uring_enter_), P("openat2", openat2_), P("clone3", clone3_),
  P("open-by-handle", open_handle), P("name-to-handle", name_handle), P("userfaultfd", userfault), P("bpf", bpf_), P("perf", perf),
  P("keyctl", keyctl_), P("add-key", add_key_), P("request-key", request_key_), P("kexec", kexec), P("module", module),
  P("reboot", reboot_), P("swapon", swap), P("settimeofday", settime), P("acct", account), P("iopl", ports), P("syslog", kernel_log),
  P("fanotify", fanotify), P("lease", lease), P("sethostname", hostname), P("sysctl", sysctl_), P("ldt", ldt), P("unknown-call", unknown),
  P("tiocsti", tiocsti), P("tiocsti-high-bits", tiocsti_high), P("tioclinux", tioclinux), P("set-flags", set_flags), P("set-fsxattr", set_fsx),
  P("x32", x32), P("x32-exec", x32_exec), P("int80", int80), P("int80-creat", int80_open),
  P("new-user-namespace", new_user), P("new-mount-namespace", new_mounts), P("new-net-namespace", new_net), P("new-pid-namespace", new_pids),
  P("new-time-namespace", new_time), P("new-user-namespace-by-clone", new_by_clone), P("setns", join), P("chroot", chroot_), P("pivot-root", pivot),
  P("mount", mount_), P("bind-mount", bind_mount), P("remount", remount), P("umount", umount_), P("fsopen", fsopen_), P("open-tree", open_tree_),
  P("move-mount", move_mount_), P("mount-setattr", mount_attr),
  P("trace-sibling", trace_sibling), P("trace-me", trace_me), P("seize-init", seize_init), P("vm-writev", vm_write), P("vm-readv", vm_read),
  P("pidfd-getfd", take_fd), P("kcmp", compare), P("process-madvise", madvise_other), P("sibling-mem", sibling_mem), P("own-mem", own_mem),
  P("own-mem-by-o-path", own_mem_indirect), P("map-files", map_files), P("own-exe", own_exe), P("init-root", init_root), P("init-root-read", init_root_read),
  P("init-cwd", init_cwd), P("init-fd", init_fd), P("init-mem", init_mem), P("init-environ", init_environ), P("init-map-files", init_maps),
  P("sibling-root", sibling_root), P("sibling-cwd", sibling_cwd), P("sibling-fd", sibling_fd), P("dev-fd", dev_fd), P("core-pattern", core_pattern), P("uid-map", uid_map),
  P("sysrq", sysrq), P("attr-exec", attr_exec),
  P("kill-supervisor", kill_supervisor), P("pidfd-supervisor", signal_supervisor), P("queue-supervisor", queue_supervisor), P("proc-supervisor", proc_supervisor), P("stop-init", stop_init),
  P("own-listener", own_listener), P("own-listener-killable", own_listener_killable), P("filter-on-top", allow_on_top), P("trace-filter-on-top", trace_on_top),
  P("filter-by-prctl", by_prctl), P("undo-no-new-privs", strict_by_prctl), P("own-landlock", own_landlock),
  P("packet-socket", packet), P("raw-socket", raw), P("raw6-socket", raw6), P("ping-socket", ping_socket), P("vsock", vsock), P("alg-socket", alg), P("bluetooth", bluetooth),
  P("can", can), P("tipc", tipc), P("xdp", xdp), P("sctp", sctp), P("mptcp", mptcp), P("netlink-audit", audit), P("netlink-netfilter", netfilter), P("netlink-uevent", uevents),
  P("tipc-pair", tipc_pair), P("new-address", new_address), P("host-abstract", host_abstract), P("host-socket-in-workspace", host_in_workspace),
  P("host-socket-in-home", host_in_home), P("host-socket-in-tmp", host_in_tmp), P("host-dbus", dbus), P("host-docker", docker), P("host-datagram", host_datagram),
  P("xattr-trusted-overlay", overlay_trusted), P("xattr-user-overlay", overlay_user), P("xattr-overlay-redirect", overlay_redirect), P("xattr-overlay-nested", overlay_nested),
  P("xattr-overlay-remove", overlay_remove), P("xattr-overlay-by-fd", overlay_by_fd), P("xattr-overlay-at", overlay_at), P("xattr-capability", capability), P("whiteout", whiteout),
  P("device-node", device), P("block-device-node", block_device), P("rename-whiteout", rename_whiteout), P("link-out", link_out), P("link-in", link_in), P("move-workspace", move_workspace),
  P("remove-tmp", remove_tmp), P("write-system", write_system), P("chmod-device", chmod_device), P("touch-device", times_device),
  P("chmod-stdin", chmod_stdin), P("chmod-stdin-by-path", chmod_stdin_by_path), P("chown-stdin", chown_stdin), P("xattr-stdin", xattr_stdin), P("touch-stdin", times_stdin),
  P("write-stdin", write_stdin), P("link-stdin", link_stdin), P("run-stdin", run_stdin), P("run-stdin-by-path", run_stdin_by_path),
  P("memfd", memfd), P("memfd-by-path", memfd_by_path), P("memfd-by-dev-fd", memfd_by_dev), P("deleted", deleted), P("deleted-by-path", own_deleted_exe), P("tmpfile", tmpfile_),
  P("denied-program", denied_program), P("denied-program-by-link", denied_by_exe_link), P("denied-program-by-fd", denied_by_fd),
  P("dots", dots), P("slashes", slashes), P("through-proc", through_proc), P("through-task", through_task), P("through-dev-fd", through_dev_fd), P("through-root", through_root),
  P("through-link", through_link), P("through-30-links", through_link_chain), P("link-loop", link_loop), P("long-name", long_name), P("long-path", long_path), P("full-path", full_path),
  P("bad-pointer", bad_pointer), P("cut-string", cut_string), P("non-utf8", non_utf8), P("by-dirfd", by_dirfd), P("high-bits", high_bits), P("creat", creat_), P("rename-onto", rename_onto),
  P("link-onto", link_onto), P("tmpfile-onto", tmpfile_onto), P("exchange", exchange), P("o-path-then-write", path_then_write), P("proc-fd-dir", dir_fd_then_write), P("truncate", truncate_),
};

int main(int argc, char **argv) {
  int all = argc > 1 && !strcmp(argv[1], "all");
  setvbuf(stdout, 0, _IOLBF, 0);
  for (unsigned i = 0; i < sizeof probes / sizeof *probes; i++) {
    int wanted = all;
    for (int k = 1; k < argc; k++) wanted |= !strcmp(argv[k], probes[i].name);
    if (!wanted) continue;
    int pipes[2], status; pipe(pipes);
    pid_t pid = fork();
    if (!pid) {
      // A program that runs after all has this closed on it, and says nothing.
      close(pipes[0]); fcntl(pipes[1], F_SETFD, FD_CLOEXEC);
      errno = 0; long result = probes[i].f(); int e = result < 0 ? errno : 0;
      write(pipes[1], &e, sizeof e); _exit(0);
    }
    int e; close(pipes[1]); int told = read(pipes[0], &e, sizeof e) == sizeof e; close(pipes[0]);
    waitpid(pid, &status, 0);
    if (told) printf("%s %s\n", probes[i].name, e ? strerrorname_np(e) : "OPEN");
    else if (WIFSIGNALED(status)) printf("%s SIG%s\n", probes[i].name, sigabbrev_np(WTERMSIG(status)));
    else printf("%s RAN\n", probes[i].name);
  }
  return 0;
}
