// A library that wraps calls as tracers do, to be preloaded before or behind libaio_rs.so. It counts what reaches it.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>

int wrapped_calls;

#define WRAP(result, name, parameters, ...)                                                                            \
    result name parameters {                                                                                           \
        static result(*next) parameters;                                                                               \
        if (!next) next = (result(*) parameters)dlsym(RTLD_NEXT, #name);                                               \
        __atomic_add_fetch(&wrapped_calls, 1, __ATOMIC_RELAXED);                                                       \
        return next(__VA_ARGS__);                                                                                      \
    }

WRAP(int, close, (int fd), fd)
WRAP(int, dup2, (int from, int to), from, to)
WRAP(int, dup3, (int from, int to, int flags), from, to, flags)
WRAP(int, close_range, (unsigned first, unsigned last, int flags), first, last, flags)
WRAP(int, fclose, (FILE *file), file)
WRAP(int, pclose, (FILE *file), file)
WRAP(int, closedir, (DIR *directory), directory)
