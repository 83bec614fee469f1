// Races against a pending call. A sibling thread, or a second process that shares the memory, changes what was asked
// about while the answer is on its way. Prints BEATEN when a verdict was got round.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void (*flip)(int);
static void *flips(void *x) {
  for (unsigned i = 0;; i++) { flip(i & 1); for (volatile int k = 0; k < 200 + (i * 7) % 300; k++); }
}
static void by_thread(void) { pthread_t t; pthread_create(&t, 0, flips, 0); }
static void by_process(void) { if (!fork()) { prctl(PR_SET_PDEATHSIG, SIGKILL); flips(0); } }

static char *shared;
static void flip_path(int odd) { shared[6] = odd ? 'x' : 'k'; }
// A path in memory that another process shares: `race-ox` is denied.
static int path(int tries) {
  strcpy(shared, "race-ok"); flip = flip_path; by_process();
  int denied = 0, made = 0;
  for (int i = 0; i < tries; i++) {
    int f = syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CREAT, 0644);
    if (f < 0) { denied++; continue; }
    char link[64], name[256]; sprintf(link, "/proc/self/fd/%d", f); int n = readlink(link, name, 255); name[n] = 0;
    if (n && name[n - 1] == 'x') puts("BEATEN");
    made++; close(f);
  }
  printf("denied %d made %d\n", denied, made);
  return 0;
}

// A descriptor's number, put on another file between two looks at it: `denied` is open for reading only.
static int number = 100, readable, writable;
static void flip_descriptor(int odd) { dup2(odd ? writable : readable, number); }
static int descriptor(int tries) {
  struct stat denied, got;
  readable = open("denied", O_RDONLY); writable = open(".", O_RDWR | O_TMPFILE, 0644); fstat(readable, &denied);
  dup2(readable, number); flip = flip_descriptor; by_thread();
  int opened = 0, refused = 0;
  for (int i = 0; i < tries; i++) {
    int f = syscall(SYS_openat, AT_FDCWD, "/proc/self/fd/100", O_WRONLY, 0);
    if (f < 0) { refused++; continue; }
    fstat(f, &got); if (got.st_ino == denied.st_ino && got.st_dev == denied.st_dev) puts("BEATEN");
    opened++; close(f);
  }
  printf("denied %d made %d\n", refused, opened);
  return 0;
}

// The folder that a program starts in: `denied-dir` is refused. Flipped by a thread, and by a process that shares it.
static void flip_cwd(int odd) { chdir(odd ? "../denied-dir" : "../d"); }
static int here(int tries) {
  for (int i = 0; i < tries; i++) {
    if (!fork()) {
      chdir("d"); flip = flip_cwd; by_thread();
      char *argv[] = {"true", 0}, *env[] = {0};
      for (volatile int k = 0; k < 1000 + i * 37; k++);
      syscall(SYS_execve, "/bin/true", argv, env);
      _exit(9);
    }
    int status; wait(&status);
  }
  puts("through");
  return 0;
}

// A unix socket's address: nameless to nobody when it is read, then a path. `SERVER` listens outside.
static struct sockaddr_un *address; static char *server;
static void flip_address(int odd) {
  if (odd) { address->sun_family = AF_UNIX; address->sun_path[0] = server[0]; }
  else { address->sun_path[0] = 0; address->sun_family = AF_INET; }
}
static void flip_abstract(int odd) { address->sun_path[0] = odd ? server[0] : 0; }
static int connects(int tries, int is_abstract) {
  server = getenv("SERVER"); address = (void *)shared; address->sun_family = AF_UNIX; strcpy(address->sun_path, server);
  flip = is_abstract ? flip_abstract : flip_address; by_thread();
  int connected = 0, refused = 0;
  for (int i = 0; i < tries; i++) {
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    if (syscall(SYS_connect, s, address, sizeof *address)) refused++;
    else { connected++; puts("BEATEN"); }
    close(s);
  }
  printf("denied %d made %d\n", refused, connected);
  return 0;
}

// Several programs about to run at once in one process: of its threads one wins, and what runs was ruled on.
static void *run_denied(void *x) {
  char *argv[] = {"denied-program", 0}, *env[] = {0};
  for (;;) syscall(SYS_execve, "./denied-program", argv, env);
}
static void *run_true(void *x) {
  char *argv[] = {"true", 0}, *env[] = {0};
  for (;;) syscall(SYS_execve, "/bin/true", argv, env);
}
static int threads(int tries) {
  int ran = 0, denied = 0;
  for (int i = 0; i < tries; i++) {
    if (!fork()) {
      pthread_t t;
      for (int k = 0; k < 4; k++) pthread_create(&t, 0, run_denied, 0);
      for (int k = 0; k < 3; k++) pthread_create(&t, 0, run_true, 0);
      for (;;) pause();
    }
    int status; wait(&status);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) ran++; else denied++;
  }
  printf("denied %d made %d\n", denied, ran);
  return 0;
}

// A program replaced in place, length and times kept, while its run waits for people.
static int content(void) {
  pid_t pid = fork();
  if (!pid) { char *argv[] = {"held-script", 0}, *env[] = {0}; syscall(SYS_execve, "./held-script", argv, env); _exit(errno == EACCES ? 13 : 99); }
  while (open("asked", O_WRONLY | O_CREAT, 0644) < 0) usleep(1000);
  struct stat was; stat("held-script", &was);
  int f = open("held-script", O_WRONLY); write(f, "#!/bin/sh\necho evil >ran", 24);
  struct timespec times[2] = {was.st_atim, was.st_mtim}; futimens(f, times); close(f);
  close(open("swapped", O_WRONLY | O_CREAT, 0644));
  int status; waitpid(pid, &status, 0);
  printf("exit %d\n", WEXITSTATUS(status));
  return 0;
}

int main(int argc, char **argv) {
  int tries = argc > 2 ? atoi(argv[2]) : 0;
  setvbuf(stdout, 0, _IOLBF, 0);
  shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (!strcmp(argv[1], "path")) return path(tries);
  if (!strcmp(argv[1], "descriptor")) return descriptor(tries);
  if (!strcmp(argv[1], "cwd")) return here(tries);
  if (!strcmp(argv[1], "address")) return connects(tries, 0);
  if (!strcmp(argv[1], "abstract")) return connects(tries, 1);
  if (!strcmp(argv[1], "threads")) return threads(tries);
  if (!strcmp(argv[1], "content")) return content();
  return 2;
}
