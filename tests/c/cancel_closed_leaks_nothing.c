// A request whose descriptor is closed while it waits goes on with a duplicate of the library's own; cancelling the
// request closes that too.
// glibc: skip: it keeps no duplicates
// env: AIO_RS=threads=1
#include "check.h"

enum how { WRITE_WAITS_FOR_THREAD, BARRIER_WAITS_FOR_WRITE, WRITE_WAITS_FOR_ITS_OWN, HOWS };

static int open_descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    int count = -3; // ".", "..", the directory's own
    while (readdir(dir)) count++;
    closedir(dir);
    return count;
}

static void run(enum how how) {
    int file = temp_file(), null = open("/dev/null", O_RDWR);
    struct held h;
    struct aiocb head;
    held_write(&h, &head, file, 4096, 0, 1); // the only thread
    int fd = how == WRITE_WAITS_FOR_THREAD ? temp_file() : how == BARRIER_WAITS_FOR_WRITE ? dup(file) : file;
    CHECK(fd >= 0 && null >= 0);
    int before = open_descriptors();
    struct aiocb cb = request(fd, "data", 4, 0);
    CHECK_EQ(how == BARRIER_WAITS_FOR_WRITE ? aio_fsync(O_SYNC, &cb) : aio_write(&cb), 0);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    CHECK_EQ(dup2(null, fd), fd); // aio_cancel asks for an open descriptor
    CHECK_EQ(aio_cancel(fd, &cb), AIO_CANCELED);
    CHECK_DONE(&cb, ECANCELED, -1);
    CHECK_EQ(close(fd), 0);
    int expected = before - 1;
    if (how == WRITE_WAITS_FOR_ITS_OWN) { // the held one uses the duplicate as well
        release_held(&h);
        CHECK_DONE(&head, 0, 4096);
        expected -= h.uffd >= 0;
    }
    WAIT_FOR(open_descriptors() == expected);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    free_held(&h);
    if (fd != file) close(file);
    close(null);
}

int main(void) {
    for (enum how how = WRITE_WAITS_FOR_THREAD; how < HOWS; how++) {
        // Where the library cannot see that a thread is inside its system call, closing waits for what runs.
        bool waits = is_portable() || emulated();
        if (how != WRITE_WAITS_FOR_ITS_OWN || !waits) run(how);
    }
    return 0;
}
