"""File systems that lack something, by a library that is loaded before the C library: they can't be mounted here."""

import shutil
import subprocess
from pathlib import Path

import pytest

# Each call of a program below LACKING fails with the errno that LACK_<what> names; others go through.
_SOURCE = r"""
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


def build_shim(folder: Path) -> Path:
    """Compile the library; its path is for LD_PRELOAD."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler (apt-get install gcc)")
    source, library = folder / "lacking.c", folder / "lacking.so"
    source.write_text(_SOURCE, encoding="ascii")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, capture_output=True
    )
    return library
