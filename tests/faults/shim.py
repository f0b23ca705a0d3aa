"""What can't be had here, by a library loaded before the C library: file systems that lack something, a clock."""

import shutil
import struct
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

_INT64 = struct.Struct("q")

# Each call of a program below LACKING fails with the errno that LACK_<what> names; others go through.
_LACKING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int lacks(const char *what, const char *path) {
    const char *folder = getenv("LACKING"), *number = getenv(what);
    if (!folder || !number || !path || strncmp(path, folder, strlen(folder)) != 0) return 0;
    errno = atoi(number);
    return 1;
}

static const char *path_of(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    return buffer;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int flock(int fd, int operation) {
    char buffer[PATH_MAX];
    if (lacks("LACK_FLOCK", path_of(fd, buffer))) return -1;
    return ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(fd, operation);
}

int fsync(int fd) {
    char buffer[PATH_MAX];
    struct stat status;
    int is_folder = fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
    if (is_folder && lacks("LACK_FOLDER_FSYNC", path_of(fd, buffer))) return -1;
    return REAL(fsync)(fd);
}

int symlink(const char *target, const char *path) {
    if (lacks("LACK_SYMLINK", path)) return -1;
    return REAL(symlink)(target, path);
}

int statvfs64(const char *path, struct statvfs64 *status) {
    if (lacks("LACK_STATVFS", path)) return -1;
    return REAL(statvfs64)(path, status);
}

int link(const char *from, const char *path) {
    if (lacks("LACK_LINK", path)) return -1;
    return REAL(link)(from, path);
}

int linkat(int from_fd, const char *from, int fd, const char *path, int flags) {
    if (lacks("LACK_LINK", path)) return -1;
    return REAL(linkat)(from_fd, from, fd, path, flags);
}
"""

# The wall clock is ahead by so many seconds as the file CLOCK_FILE says (an int64); the steady clock is as it is, so
# that nothing sleeps longer. libfaketime 0.9.10 moves the sleeps too.
_CLOCK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *ahead;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) ahead = page;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int status = syscall(SYS_clock_gettime, id, at);
    if (ahead && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += *ahead;
    return status;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


def build_shim(folder: Path) -> Path:
    """Compile the library of file systems that lack something; its path is for LD_PRELOAD."""
    return _compile(folder / "lacking.c", _LACKING)


class Clock:
    """A wall clock that can be put forward, for the programs that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._library = _compile(folder / "clock.c", _CLOCK)
        self._file = folder / "ahead"
        self._file.write_bytes(bytes(_INT64.size))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "CLOCK_FILE": str(self._file)}

    @property
    def ahead(self) -> timedelta:
        """How far it is ahead."""
        return timedelta(seconds=_INT64.unpack(self._file.read_bytes())[0])

    def put_forward(self, by: timedelta) -> None:
        with self._file.open("r+b") as file:
            file.write(_INT64.pack(int((self.ahead + by).total_seconds())))


def _compile(source: Path, code: str) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler (apt-get install gcc libc6-dev)")
    source.write_text(code, encoding="ascii")
    library = source.with_suffix(".so")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, capture_output=True
    )
    return library
