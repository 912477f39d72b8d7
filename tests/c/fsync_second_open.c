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
    check_fsync_waits(fd, others, sizeof others / sizeof *others);
    return 0;
}
