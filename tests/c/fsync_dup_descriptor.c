// aio_fsync on a dup waits for the requests that were queued through the other descriptor.
// glibc: fails: an fsync on a dup does not wait for the writes queued on the original
#include "check.h"

int main(void) {
    int fd = temp_open("file", O_RDWR);
    int others[] = {dup(fd), fcntl(fd, F_DUPFD_CLOEXEC, 100), dup2(fd, 200)};
    check_fsync_waits(fd, others, sizeof others / sizeof *others);
    return 0;
}
