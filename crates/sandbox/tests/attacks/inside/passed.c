// Sockets of the host's, and descriptors that one process opens and another one has in the end.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static void say(const char *what, long result) {
  printf("%s %s\n", what, result < 0 ? strerrorname_np(errno) : "OK");
  fflush(stdout);
}
static struct sockaddr_un at(const char *path) {
  struct sockaddr_un a = {AF_UNIX};
  strncpy(a.sun_path, path, sizeof a.sun_path - 1);
  return a;
}

// Every way to send a datagram to an address, by this socket.
static void sends(const char *how, int s, const char *path) {
  struct sockaddr_un a = at(path);
  struct iovec one = {"x", 1};
  struct mmsghdr m = {{&a, sizeof a, &one, 1}};
  char name[64];
  snprintf(name, sizeof name, "%s-sendto", how); say(name, sendto(s, "x", 1, MSG_DONTWAIT, (void *)&a, sizeof a));
  snprintf(name, sizeof name, "%s-sendmsg", how); say(name, sendmsg(s, &m.msg_hdr, MSG_DONTWAIT));
  snprintf(name, sizeof name, "%s-sendmmsg", how); say(name, sendmmsg(s, &m, 1, MSG_DONTWAIT));
}
static int datagrams(const char *path) {
  int pair[2], kinds[] = {SOCK_DGRAM, SOCK_RAW, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK};
  for (int i = 0; i < 3; i++) {
    char name[32];
    int s = socket(AF_UNIX, kinds[i], 0);
    snprintf(name, sizeof name, "socket-%d", i); say(name, s);
    if (s >= 0) sends(name, s, path);
    int p = socketpair(AF_UNIX, kinds[i], 0, pair);
    snprintf(name, sizeof name, "pair-%d", i); say(name, p);
    if (p >= 0) sends(name, pair[0], path);
  }
  sends("stream", socket(AF_UNIX, SOCK_STREAM, 0), path);
  sends("packets", socket(AF_UNIX, SOCK_SEQPACKET, 0), path);
  if (!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair)) {
    struct sockaddr_un a = at(path);
    char got = 0;
    // The address is not looked at: it goes to the other end.
    sendto(pair[0], "y", 1, 0, (void *)&a, sizeof a);
    say("pair-of-packets", recv(pair[1], &got, 1, MSG_DONTWAIT) == 1 && got == 'y' ? 0 : -1);
  }
  return 0;
}

static void give(int channel, int fd) {
  char control[CMSG_SPACE(sizeof fd)] = {0};
  struct iovec one = {"f", 1};
  struct msghdr m = {0, 0, &one, 1, control, sizeof control};
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET; c->cmsg_type = SCM_RIGHTS; c->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(c), &fd, sizeof fd);
  if (sendmsg(channel, &m, 0) < 0) { perror("give"); _exit(9); }
}
static int take(int channel) {
  char control[CMSG_SPACE(sizeof(int))], byte;
  struct iovec one = {&byte, 1};
  struct msghdr m = {0, 0, &one, 1, control, sizeof control};
  int fd = -1;
  if (recvmsg(channel, &m, 0) == 1 && CMSG_FIRSTHDR(&m)) memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
  return fd;
}
static char *by(int fd) { static char path[64]; snprintf(path, sizeof path, "/proc/self/fd/%d", fd); return path; }

// One process opens, what it may; another one, an exec later, tries to have more of it.
static int passes(const char *self, const char *server) {
  int channel[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, channel);
  if (!fork()) {
    char number[8];
    snprintf(number, sizeof number, "%d", channel[1]);
    close(channel[0]);
    execl(self, self, "takes", number, server, (char *)0);
    _exit(8);
  }
  close(channel[1]);
  give(channel[0], open("denied-there", O_RDONLY));
  give(channel[0], open(".", O_PATH | O_DIRECTORY));
  give(channel[0], open("denied-program", O_RDONLY));
  give(channel[0], open("allowed", O_RDWR | O_CREAT, 0644));
  give(channel[0], socket(AF_UNIX, SOCK_STREAM, 0));
  give(channel[0], memfd_create("x", 0));
  give(channel[0], open(".", O_TMPFILE | O_RDWR, 0600));
  int status;
  wait(&status);
  return status;
}
static int takes(int channel, const char *server) {
  struct sockaddr_un host = at(server);
  char *none[] = {"program", 0};
  int f = take(channel);
  say("read-then-write", write(f, "x", 1));
  say("read-then-open-to-write", open(by(f), O_WRONLY));
  say("read-then-truncate", truncate(by(f), 0));
  say("read-then-ftruncate", ftruncate(f, 0));
  say("read-then-chmod", fchmod(f, 0777));
  say("read-then-xattr", fsetxattr(f, "user.x", "y", 1, 0));
  say("read-then-map", mmap(0, 4096, PROT_WRITE, MAP_SHARED, f, 0) == MAP_FAILED ? -1 : 0);
  say("read-then-link", linkat(AT_FDCWD, by(f), AT_FDCWD, "other-name", AT_SYMLINK_FOLLOW));
  int d = take(channel);
  say("folder-then-make", openat(d, "denied", O_WRONLY | O_CREAT, 0644));
  say("folder-then-write", openat(d, "denied-there", O_WRONLY));
  say("folder-then-remove", unlinkat(d, "denied-there", 0));
  say("folder-then-rename", renameat(d, "allowed", d, "denied"));
  int p = take(channel);
  if (!fork()) { syscall(SYS_execveat, p, "", none, none, AT_EMPTY_PATH); say("program-by-descriptor", -1); _exit(0); }
  wait(0);
  if (!fork()) { execv(by(p), none); say("program-by-path", -1); _exit(0); }
  wait(0);
  int w = take(channel);
  say("write-then-write", write(w, "y", 1));
  say("write-then-link", linkat(AT_FDCWD, by(w), AT_FDCWD, "denied", AT_SYMLINK_FOLLOW));
  int s = take(channel);
  say("socket-then-connect", connect(s, (void *)&host, sizeof host));
  say("socket-then-send", send(s, "x", 1, MSG_NOSIGNAL));
  int m = take(channel);
  write(m, "#!/bin/sh\n", 10);
  if (!fork()) { syscall(SYS_execveat, m, "", none, none, AT_EMPTY_PATH); say("memory-then-run", -1); _exit(0); }
  wait(0);
  int t = take(channel);
  say("nameless-then-name", linkat(AT_FDCWD, by(t), AT_FDCWD, "denied", AT_SYMLINK_FOLLOW));
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "datagrams")) return datagrams(argv[2]);
  if (argc == 3 && !strcmp(argv[1], "passes")) return passes(argv[0], argv[2]);
  if (argc == 4 && !strcmp(argv[1], "takes")) return takes(atoi(argv[2]), argv[3]);
  return 2;
}
