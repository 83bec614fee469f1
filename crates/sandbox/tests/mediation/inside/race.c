// A sibling thread changes the path (or, `argv`, an argument; `exec`, the program) while the call is pending.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <unistd.h>
static volatile char *at;
static char good, bad;
static void *flip(void *x) {
  for (;;) {
    *at = bad; for (volatile int i = 0; i < 300; i++);
    *at = good; for (volatile int i = 0; i < 300; i++);
  }
}
int main(int argc, char **argv) {
  static char path[64] __attribute__((aligned(64)));
  pthread_t t;
  if (!strcmp(argv[1], "path")) {
    strcpy(path, "race-ok"); at = path + 6; good = 'k'; bad = 'x'; // `race-ox` is denied
    pthread_create(&t, 0, flip, 0);
    int tries = atoi(argv[2]), denied = 0, made = 0, unlinked = 0;
    for (int i = 0; i < tries; i++) {
      int f = syscall(SYS_open, path, O_RDWR | O_CREAT, 0644);
      if (f < 0) { denied++; continue; }
      char l[64], q[256]; sprintf(l, "/proc/self/fd/%d", f); int n = readlink(l, q, 255); q[n] = 0;
      if (q[n - 1] == 'x') printf("BEATEN\n");
      made++; close(f);
      syscall(SYS_rename, path, "race-oy"); unlinked += !syscall(SYS_unlink, path);
    }
    printf("denied %d made %d\n", denied, made);
    return 0;
  }
  // exec: the program or an argument changes after the decision.
  int tries = atoi(argv[2]), is_argv = !strcmp(argv[1], "argv");
  for (int i = 0; i < tries; i++) {
    if (!fork()) {
      strcpy(path, is_argv ? "said" : "/bin/true"); 
      char *av[] = {"true", is_argv ? path : "x", 0}, *ev[] = {0};
      if (is_argv) { at = path + 3; good = 'd'; bad = 'x'; } else { strcpy(path, "./prog1"); at = path + 6; good = '1'; bad = '2'; }
      pthread_create(&t, 0, flip, 0);
      for (volatile int k = 0; k < 1000 + i * 37; k++);
      syscall(SYS_execve, is_argv ? "/bin/true" : path, av, ev);
      _exit(9);
    }
    int st; wait(&st);
  }
  printf("through\n");
  return 0;
}
