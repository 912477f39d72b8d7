// Closes descriptors in each way, with a read in flight on each: the read ends, and who wraps the calls too sees each of them.
#define _GNU_SOURCE
#include <aio.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAIL(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))

static int *seen;
static struct aiocb cb;
static char byte;

// A read of an empty pipe, whose other end stays open.
static int start(void) {
    int ends[2];
    if (pipe(ends)) FAIL("pipe: %s", strerror(errno));
    memset(&cb, 0, sizeof cb);
    cb.aio_fildes = ends[0], cb.aio_buf = &byte, cb.aio_nbytes = 1;
    if (aio_read(&cb)) FAIL("aio_read: %s", strerror(errno));
    *seen = 0;
    return ends[0];
}

static void end(const char *call, int result) {
    if (result) FAIL("%s: %s", call, strerror(errno));
    if (*seen != 1) FAIL("%s: the wrapper saw %d calls, not 1", call, *seen);
    if (cb.aio_fildes < 0) return;
    const struct aiocb *list[] = {&cb};
    struct timespec patience = {60, 0};
    if (aio_suspend(list, 1, &patience)) FAIL("%s: the read does not end", call);
    if (aio_error(&cb) != ECANCELED) FAIL("%s: the read ended with %d", call, aio_error(&cb));
}

int main(void) {
    seen = dlsym(RTLD_DEFAULT, "wrapped_calls");
    if (!seen) FAIL("there is no wrapper");
    end("close", close(start()));
    int null = open("/dev/null", O_RDONLY), fd = start();
    end("dup2", dup2(null, fd) != fd);
    fd = start();
    end("dup3", dup3(null, fd, O_CLOEXEC) != fd);
    fd = start();
    end("close_range", close_range((unsigned)fd, (unsigned)fd, 0));
    FILE *file = fdopen(start(), "r");
    end("fclose", fclose(file));
    cb.aio_fildes = -1;
    DIR *directory = opendir("/");
    *seen = 0;
    end("closedir", closedir(directory));
    file = popen("true", "r");
    *seen = 0;
    end("pclose", pclose(file));
    return 0;
}
