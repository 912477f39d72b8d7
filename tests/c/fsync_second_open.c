// aio_fsync through another open descriptor of the same file (by its name, a hard link, read-only or /proc) waits for
// the requests queued through the first.
// glibc: fails: an fsync on a second descriptor of the file does not wait for the writes queued on the first
#include "check.h"

int main(void) {
    int fd = temp_open("file", O_RDWR);
    char *path = temp_path("file"), *link_path = temp_path("link"), proc_path[64];
    CHECK_EQ(link(path, link_path), 0);
    snprintf(proc_path, sizeof proc_path, "/proc/self/fd/%d", fd);
    int others[] = {open(path, O_RDWR), open(link_path, O_WRONLY), open(path, O_RDONLY), open(proc_path, O_RDWR)};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK(others[i] >= 0);
        struct held h;
        struct aiocb write, barrier = request(others[i], NULL, 0, 0);
        held_write(&h, &write, fd, 4096, 0, (unsigned)i);
        CHECK_EQ(aio_fsync(i % 2 ? O_SYNC : O_DSYNC, &barrier), 0);
        settle();
        CHECK_EQ(aio_error(&barrier), EINPROGRESS);
        CHECK_EQ(aio_error(&write), EINPROGRESS);

        release_held(&h);
        CHECK_DONE(&barrier, 0, 0);
        CHECK_EQ(aio_error(&write), 0);
        free_held(&h);
    }
    return 0;
}
