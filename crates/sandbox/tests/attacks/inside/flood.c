// Too much of something.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Every process starts more, for ever; the first that can't says so.
static int forks(void) {
  for (;;) {
    pid_t pid = fork();
    if (pid < 0) { printf("%s\n", strerrorname_np(errno)); fflush(stdout); for (;;) pause(); }
    if (!pid) continue;
  }
}
static void *waits(void *x) { for (;;) pause(); }
static int threads(void) {
  pthread_attr_t small; pthread_attr_init(&small); pthread_attr_setstacksize(&small, 16384);
  for (int i = 0;; i++) { pthread_t t; int e = pthread_create(&t, &small, waits, 0); if (e) { printf("%s after %d\n", strerrorname_np(e), i); return 0; } }
}
static int memory(void) {
  for (long i = 0; i < 1024; i++) { char *m = mmap(0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); if (m == MAP_FAILED) return 3; memset(m, 1, 1 << 20); }
  puts("had a gibibyte");
  return 0;
}
// That many calls that are asked about, from eight processes at once; each must be answered, and denied.
static int calls(int count) {
  for (int k = 0; k < 8; k++) if (!fork()) {
    for (int i = 0; i < count / 8; i++) if (!syscall(SYS_chmod, "denied", 0600) || errno != ENOTRECOVERABLE) _exit(1);
    _exit(0);
  }
  int status, bad = 0;
  while (wait(&status) > 0) bad |= status;
  printf("bad %d\n", bad);
  return 0;
}
// Folders below one another until no path can name them: each step by the folder reached before.
static int deep(void) {
  char name[201]; memset(name, 'd', 200); name[200] = 0;
  int made = 0;
  for (; made < 200; made++) { if (mkdir(name, 0755) || chdir(name)) break; }
  int f = open("denied", O_WRONLY | O_CREAT, 0644);
  printf("%d deep, %s\n", made, f < 0 ? strerrorname_np(errno) : "OPEN");
  return 0;
}
static int fill(void) {
  static char block[65536]; int f = open("big", O_WRONLY | O_CREAT, 0644); long n, all = 0;
  while ((n = write(f, block, sizeof block)) > 0) all += n;
  int e = errno; close(f); unlink("big"); printf("%s\n", strerrorname_np(e));
  return 0;
}
static int identity(void) { printf("%d %d %d %d\n", getuid() == geteuid(), getgid() == getegid(), setuid(0) ? 0 : geteuid() == 0, setgroups(0, 0)); return 0; }

int main(int argc, char **argv) {
  setvbuf(stdout, 0, _IOLBF, 0);
  if (!strcmp(argv[1], "forks")) return forks();
  if (!strcmp(argv[1], "threads")) return threads();
  if (!strcmp(argv[1], "memory")) return memory();
  if (!strcmp(argv[1], "calls")) return calls(atoi(argv[2]));
  if (!strcmp(argv[1], "deep")) return deep();
  if (!strcmp(argv[1], "fill")) return fill();
  if (!strcmp(argv[1], "identity")) return identity();
  return 2;
}
