/* Makes system calls that change files below a folder fail, or the process die or stop there; loaded by LD_PRELOAD.

   FAULT_FOLDER  the folder; calls elsewhere are not counted. Unset: nothing happens.
   FAULT_KINDS   names of the calls to count, separated by commas: open, write, rename, unlink, fsync, mkdir, truncate
   FAULT_AT      number of the call, from 1, at which it happens; 0 counts only
   FAULT_ERRNO   the error that the call returns; 0 sends the process a signal before the call
   FAULT_SIGNAL  number of that signal; unset: SIGKILL
   FAULT_LASTING 1: every later call of these kinds fails too
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int ready, count, at, error, signalled, lasting;
static char folder[PATH_MAX], kinds[128];

static int number(const char *name) {
    const char *value = getenv(name);
    return value ? atoi(value) : 0;
}

void fault_reset(void) {
    const char *value = getenv("FAULT_FOLDER");
    snprintf(folder, sizeof folder, "%s", value ? value : "");
    value = getenv("FAULT_KINDS");
    snprintf(kinds, sizeof kinds, "%s", value ? value : "");
    at = number("FAULT_AT"), error = number("FAULT_ERRNO"), lasting = number("FAULT_LASTING");
    signalled = getenv("FAULT_SIGNAL") ? number("FAULT_SIGNAL") : SIGKILL;
    count = 0, ready = 1;
}

int fault_count(void) { return count; }

/* Returns whether the call is to fail; if the process is to die, it does not return, and if it is to stop, later. */
static int faulty(const char *kind, const char *path) {
    if (!ready) fault_reset();
    if (!folder[0] || !path || strncmp(path, folder, strlen(folder)) || !strstr(kinds, kind)) return 0;
    int now = __sync_add_and_fetch(&count, 1);
    if (!at || (lasting ? now < at : now != at)) return 0;
    if (!error) {
        kill(getpid(), signalled);
        return 0;
    }
    errno = error;
    return 1;
}

static const char *path_of(int fd, char *into) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, into, PATH_MAX - 1);
    if (length < 0) return NULL;
    into[length] = 0;
    return into;
}

/* The absolute path of one that may be relative to a folder or to the current one. */
static const char *path_at(int dir, const char *path, char *into) {
    char base[PATH_MAX];
    if (path[0] == '/') return path;
    if (dir == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of(dir, base)) return NULL;
    return snprintf(into, PATH_MAX, "%s/%s", base, path) < PATH_MAX ? into : NULL;
}

#define REAL(name, type) static __typeof__(type) real; if (!real) real = (type)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write, ssize_t (*)(int, const void *, size_t));
    char path[PATH_MAX];
    int saved = errno;
    if (fd > 2 && ready && folder[0] && faulty("write", path_of(fd, path))) return -1;
    errno = saved;
    return real(fd, data, size);
}

int fsync(int fd) {
    REAL(fsync, int (*)(int));
    char path[PATH_MAX];
    return faulty("fsync", path_of(fd, path)) ? -1 : real(fd);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name, int (*)(const char *, int, ...)); \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        char whole[PATH_MAX]; \
        if ((flags & O_CREAT) && faulty("open", path_at(AT_FDCWD, path, whole))) return -1; \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int dir, const char *path, int flags, ...) { \
        REAL(name, int (*)(int, const char *, int, ...)); \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        char whole[PATH_MAX]; \
        if ((flags & O_CREAT) && faulty("open", path_at(dir, path, whole))) return -1; \
        return real(dir, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define ONE_PATH(name, kind) \
    int name(const char *path) { \
        REAL(name, int (*)(const char *)); \
        char whole[PATH_MAX]; \
        return faulty(kind, path_at(AT_FDCWD, path, whole)) ? -1 : real(path); \
    }
ONE_PATH(unlink, "unlink")
ONE_PATH(rmdir, "unlink")

int unlinkat(int dir, const char *path, int flags) {
    REAL(unlinkat, int (*)(int, const char *, int));
    char whole[PATH_MAX];
    return faulty("unlink", path_at(dir, path, whole)) ? -1 : real(dir, path, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir, int (*)(const char *, mode_t));
    char whole[PATH_MAX];
    return faulty("mkdir", path_at(AT_FDCWD, path, whole)) ? -1 : real(path, mode);
}

int link(const char *from, const char *to) {
    REAL(link, int (*)(const char *, const char *));
    char whole[PATH_MAX];
    return faulty("rename", path_at(AT_FDCWD, to, whole)) ? -1 : real(from, to);
}

int rename(const char *from, const char *to) {
    REAL(rename, int (*)(const char *, const char *));
    char whole[PATH_MAX];
    return faulty("rename", path_at(AT_FDCWD, to, whole)) ? -1 : real(from, to);
}

#define TRUNCATE(name, type) \
    int name(const char *path, type length) { \
        REAL(name, int (*)(const char *, type)); \
        char whole[PATH_MAX]; \
        return faulty("truncate", path_at(AT_FDCWD, path, whole)) ? -1 : real(path, length); \
    }
TRUNCATE(truncate, off_t)
TRUNCATE(truncate64, off64_t)
