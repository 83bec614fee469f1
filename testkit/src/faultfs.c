/* A file layer between a program and its C library, for tests (LD_PRELOAD): logs each change below a folder, in order and
 * with its bytes, and makes the n-th call of a kind fail.
 *
 *   FAULTFS_ROOT   the folder, absolute and without links; all else passes untouched
 *   FAULTFS_LOG    where to write the log; FAULTFS_FAIL without it is fine
 *   FAULTFS_FAIL   KIND:N:ERRNO[:for-good]   KIND is write, sync, truncate, create, rename, unlink; N counts from 1
 *
 * Log records, each "KIND LENGTHS\n" and then its bytes: see testkit/src/faultfs.rs. What is written to descriptor 1 is
 * logged too: what a program told, between the changes that it made before and after.
 *
 * Built for whoever calls the C library: SQLite and Rust's std do. Memory that is mapped is not seen. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static size_t root_length;
static int log_fd = -1;
static char fail_kind[16];
static long fail_at, fail_errno, fail_count;
static int fail_for_good, is_failing;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTFS_LOG"), *fail = getenv("FAULTFS_FAIL");
    root = getenv("FAULTFS_ROOT");
    root_length = root ? strlen(root) : 0;
    if (path) log_fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fail) {
        char tail[16] = "";
        sscanf(fail, "%15[a-z]:%ld:%ld:%15s", fail_kind, &fail_at, &fail_errno, tail);
        fail_for_good = tail[0] != 0;
    }
}

static int is_ours(const char *path) {
    size_t length = strlen(path);
    if (!root_length || strncmp(path, root, root_length) || (path[root_length] != '/' && path[root_length])) return 0;
    /* SQLite's shared index is memory, and made anew after a crash. */
    return !(length > 4 && !strcmp(path + length - 4, "-shm"));
}

/* The path below the root that a name means; 0 when it is none of ours. */
static int named(int dir, const char *path, char *out, size_t size) {
    if (path[0] == '/') {
        snprintf(out, size, "%s", path);
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        ssize_t n = readlink(dir == AT_FDCWD ? "/proc/self/cwd" : link, out, size - 1);
        if (n < 0) return 0;
        snprintf(out + n, size - n, "/%s", path);
    }
    return is_ours(out);
}

static int opened(int fd, char *out, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, size - 1);
    if (n <= 0) return 0;
    out[n] = 0;
    return is_ours(out);
}

/* "KIND A B LENGTH1 LENGTH2\n" and the bytes of both. Held in order by the caller's lock. */
static void note(char kind, long a, const void *one, size_t one_length, const void *two, size_t two_length) {
    if (log_fd < 0) return;
    char head[96];
    int n = snprintf(head, sizeof head, "%c %ld %zu %zu\n", kind, a, one_length, two_length);
    syscall(SYS_write, log_fd, head, n);
    if (one_length) syscall(SYS_write, log_fd, one, one_length);
    if (two_length) syscall(SYS_write, log_fd, two, two_length);
}

static void note_path(char kind, long a, const char *path) { note(kind, a, path, strlen(path), NULL, 0); }

/* Whether this call is the one that fails. */
static int fails(const char *kind, const char *path) {
    if (strcmp(kind, fail_kind)) return 0;
    fail_count++;
    if (fail_count == fail_at) is_failing = 1;
    if (!(fail_count == fail_at || (is_failing && fail_for_good))) return 0;
    note('F', fail_errno, kind, strlen(kind), path, strlen(path));
    errno = fail_errno;
    return 1;
}


static ssize_t written(int fd, const void *data, size_t size, off64_t at, int is_at) {
    char path[4096];
    pthread_mutex_lock(&order);
    ssize_t done;
    int is_file = opened(fd, path, sizeof path);
    if (is_file && fails("write", path)) {
        done = -1;
    } else {
        /* What is appended goes to the end, wherever the descriptor stands. */
        int is_end = !is_at && is_file && (syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND);
        off64_t from = is_at ? at : syscall(SYS_lseek, fd, 0, is_end ? SEEK_END : SEEK_CUR);
        done = is_at ? syscall(SYS_pwrite64, fd, data, size, at) : syscall(SYS_write, fd, data, size);
        int why = errno;
        if (done > 0 && is_file) note('W', from, path, strlen(path), data, done);
        if (done > 0 && fd == 1) note('A', 0, data, done, NULL, 0);
        errno = why;
    }
    pthread_mutex_unlock(&order);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return written(fd, data, size, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return written(fd, data, size, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return written(fd, data, size, at, 1); }

static int synced(int fd, long call) {
    char path[4096];
    pthread_mutex_lock(&order);
    int is_file = opened(fd, path, sizeof path), done;
    if (is_file && fails("sync", path)) {
        done = -1;
    } else {
        /* The log is what is tested; the disk beneath need not be waited for. */
        done = is_file && log_fd >= 0 ? 0 : (int)syscall(call, fd);
        if (!done && is_file) note_path('S', 0, path);
    }
    pthread_mutex_unlock(&order);
    return done;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int ftruncate64(int fd, off64_t size) {
    char path[4096];
    pthread_mutex_lock(&order);
    int is_file = opened(fd, path, sizeof path), done;
    if (is_file && fails("truncate", path)) {
        done = -1;
    } else {
        done = (int)syscall(SYS_ftruncate, fd, size);
        if (!done && is_file) note_path('T', size, path);
    }
    pthread_mutex_unlock(&order);
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int open_at(int dir, const char *name, int flags, mode_t mode) {
    char path[4096];
    struct stat found;
    pthread_mutex_lock(&order);
    int is_new = (flags & O_CREAT) && named(dir, name, path, sizeof path) && stat(path, &found) != 0;
    int cuts = (flags & O_TRUNC) && named(dir, name, path, sizeof path);
    int fd;
    if (is_new && fails("create", path)) {
        fd = -1;
    } else {
        fd = (int)syscall(SYS_openat, dir, name, flags, mode);
        int why = errno;
        if (fd >= 0 && is_new) note_path('C', mode, path);
        else if (fd >= 0 && cuts) note_path('T', 0, path);
        errno = why;
    }
    pthread_mutex_unlock(&order);
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags) return open_at(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags) return open_at(dir, path, flags, mode); }

static int removed(int dir, const char *name, int flags) {
    char path[4096];
    pthread_mutex_lock(&order);
    int is_file = named(dir, name, path, sizeof path), done;
    if (is_file && fails("unlink", path)) {
        done = -1;
    } else {
        done = (int)syscall(SYS_unlinkat, dir, name, flags);
        if (!done && is_file) note_path('U', 0, path);
    }
    pthread_mutex_unlock(&order);
    return done;
}
int unlink(const char *name) { return removed(AT_FDCWD, name, 0); }
int unlinkat(int dir, const char *name, int flags) { return removed(dir, name, flags); }

static int two_names(char kind, const char *fail, int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char one[4096], two[4096];
    pthread_mutex_lock(&order);
    int is_file = named(from_dir, from, one, sizeof one) & named(to_dir, to, two, sizeof two), done;
    if (is_file && fails(fail, one)) {
        done = -1;
    } else {
        done = (int)syscall(kind == 'R' ? SYS_renameat2 : SYS_linkat, from_dir, from, to_dir, to, flags);
        if (!done && is_file) note(kind, 0, one, strlen(one), two, strlen(two));
    }
    pthread_mutex_unlock(&order);
    return done;
}
int rename(const char *from, const char *to) { return two_names('R', "rename", AT_FDCWD, from, AT_FDCWD, to, 0); }
int link(const char *from, const char *to) { return two_names('L', "create", AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return two_names('L', "create", a, from, b, to, flags); }

int mkdir(const char *name, mode_t mode) {
    char path[4096];
    pthread_mutex_lock(&order);
    int is_file = named(AT_FDCWD, name, path, sizeof path), done;
    if (is_file && fails("create", path)) {
        done = -1;
    } else {
        done = (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
        if (!done && is_file) note_path('M', mode, path);
    }
    pthread_mutex_unlock(&order);
    return done;
}
