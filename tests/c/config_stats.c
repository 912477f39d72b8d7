// With `stats` the process says at its exit, on stderr, what the library did, each line beginning with `aio_rs: `; not
// without a request, and not without the key.
// glibc: skip: has no such configuration
#include "check.h"

static int child(void) {
    int fd = temp_file(), p[2];
    char byte, back[4];
    struct aiocb cb;
    for (int i = 0; i < 7; i++) {
        cb = request(fd, "data", 4, i * 4);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 4);
    }
    for (int i = 0; i < 3; i++) {
        cb = request(fd, back, 4, i * 4);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 0, 4);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
        CHECK_DONE(&cb, 0, 0);
    }
    CHECK_EQ(pipe(p), 0);
    cb = request(p[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(aio_cancel(p[0], &cb), AIO_CANCELED);
    cb = request(fd, (void *)8, 4, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, EFAULT, -1);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1) return strcmp(argv[1], "child") == 0 ? child() : 0;
    char *text = stderr_with("stats", "child");
    int read = 0, write = 0, fsync = 0, cancelled = 0, failed = 0, barriers = 0;
    char *line = strstr(text, "aio_rs: requests: ");
    CHECK(line && sscanf(line, "aio_rs: requests: read %d, write %d, fsync %d, cancelled %d, failed %d", &read, &write,
                         &fsync, &cancelled, &failed) == 5, "%s", text);
    CHECK(read == 4 && write == 8 && fsync == 2 && cancelled == 1 && failed == 1, "%s", text);
    line = strstr(text, "aio_rs: barriers: ");
    CHECK(line && sscanf(line, "aio_rs: barriers: %d", &barriers) == 1 && barriers == 2, "%s", text);
    CHECK(strstr(text, "aio_rs: interface: POSIX AIO\n"), "%s", text);
    static const char *const names[] = {"routes", "queue depth", "threads", "notifications delayed"};
    for (int i = 0; i < 4; i++) CHECK(strstr(text, names[i]), "no `%s` in %s", names[i], text);
    for (char *at = text; *at; at = strchr(at, '\n') + 1) {
        CHECK(strncmp(at, "aio_rs: ", 8) == 0, "%s", at);
        CHECK(strchr(at, '\n') != NULL, "%s", at);
    }
    CHECK(stderr_with("stats", "nothing")[0] == 0);
    CHECK(stderr_with("threads=4", "child")[0] == 0);
    return 0;
}
