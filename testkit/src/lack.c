// Runs a program on a machine that lacks something, made so by the operating system's own means:
//   lack [uid=N] [gid=N] [overlay=PLACE,LOWER,UPPER,WORK] [cgroups] [NAME…] -- PROGRAM ARG…
// `overlay` mounts an overlay at PLACE, on which no other can have its upper layer. `cgroups` hides the control groups. Each
// NAME is a filter that answers a call as a kernel without the feature, or a container that closes it, does.
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void die(const char *what) {
  perror(what);
  exit(125);
}

#define NUMBER offsetof(struct seccomp_data, nr)
#define ARG(n) (offsetof(struct seccomp_data, args) + 8 * (n))
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (at))
#define RET(action) BPF_STMT(BPF_RET | BPF_K, (action))

// The call fails with `error`, where the low word of argument `arg`, masked, is `value`; with mask 0 always.
static void filter(int call, int arg, unsigned mask, unsigned value, int error) {
  struct sock_filter code[] = {
      LOAD(NUMBER),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 4),
      LOAD(ARG(arg)),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
      RET(SECCOMP_RET_ERRNO | error),
      RET(SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) die("seccomp");
}

// As `filter`, where any bit of `bits` is set.
static void filter_any(int call, int arg, unsigned bits, int error) {
  for (unsigned bit = 1; bit; bit <<= 1)
    if (bits & bit) filter(call, arg, bit, bit, error);
}

static const unsigned NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | 0x02000000;

static int lack(const char *name) {
  if (!strcmp(name, "namespaces")) {
    filter_any(SYS_unshare, 0, NAMESPACES, EPERM);
    filter_any(SYS_clone, 0, NAMESPACES, EPERM);
    filter(SYS_clone3, 0, 0, 0, ENOSYS);
  } else if (!strcmp(name, "user-namespaces")) {
    filter_any(SYS_unshare, 0, CLONE_NEWUSER, ENOSPC);
  } else if (!strcmp(name, "landlock")) {
    filter(SYS_landlock_create_ruleset, 0, 0, 0, EOPNOTSUPP);
  } else if (!strcmp(name, "listener")) {
    filter_any(SYS_seccomp, 1, SECCOMP_FILTER_FLAG_NEW_LISTENER, EINVAL);
  } else if (!strcmp(name, "killable")) {
    filter_any(SYS_seccomp, 1, 1u << 5, EINVAL);
  } else if (!strcmp(name, "addfd")) {
    filter(SYS_ioctl, 1, 0xffff, 0x2103, EINVAL);
  } else if (!strcmp(name, "sync-wake-up")) {
    filter(SYS_ioctl, 1, 0xffff, 0x2104, EINVAL);
  } else if (!strcmp(name, "exit-info")) {
    filter(SYS_ioctl, 1, 0xffff, 0xff0b, ENOTTY);
  } else if (!strcmp(name, "memory")) {
    filter(SYS_process_vm_readv, 0, 0, 0, EPERM);
  } else {
    return 0;
  }
  return 1;
}

int main(int argc, char **argv) {
  long uid = -1, gid = -1;
  int at = 1;
  if (getuid() == 0 && unshare(CLONE_NEWNS) == 0) mount("", "/", "", MS_REC | MS_PRIVATE, NULL);
  else prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  for (; at < argc && strcmp(argv[at], "--"); at++) {
    char *word = argv[at];
    if (!strncmp(word, "uid=", 4)) uid = atol(word + 4);
    else if (!strncmp(word, "gid=", 4)) gid = atol(word + 4);
    else if (!strncmp(word, "overlay=", 8)) {
      char options[8192];
      char *place = strtok(word + 8, ","), *lower = strtok(NULL, ","), *upper = strtok(NULL, ","), *work = strtok(NULL, ",");
      snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
      if (mount("overlay", place, "overlay", 0, options)) die("mounting an overlay");
    } else if (!strcmp(word, "cgroups")) {
      if (mount("none", "/sys/fs/cgroup", "tmpfs", 0, "")) die("hiding the control groups");
    } else if (!lack(word)) {
      fprintf(stderr, "lack: nothing is called `%s`\n", word);
      return 125;
    }
  }
  if (gid >= 0 && (setgroups(0, NULL) || setgid(gid))) die("setgid");
  if (uid >= 0 && setuid(uid)) die("setuid");
  if (at + 1 >= argc) return 125;
  execvp(argv[at + 1], argv + at + 1);
  die(argv[at + 1]);
}
