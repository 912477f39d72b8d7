// _Fork, which runs no fork handlers: AIO works in the child, and the parent's requests are undisturbed.
// glibc: fails: AIO in the child of a _Fork hangs
// modes: shared,static,preload
// holds-reads
#include "check.h"

int main(void) {
    if (is_portable()) return 0; // POSIX has no way to notice it
    int fd = temp_file(), own = temp_file(), p[2], q[2];
    put_pattern(fd, 0, 4096, 1);
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(pipe(q), 0);
    struct held h;
    struct aiocb head, queued = request(fd, "new", 3, 10), barrier = request(fd, NULL, 0, 0);
    char byte = 0, back[8] = "";
    struct aiocb waiting = request(p[0], &byte, 1, 0);
    held_read(&h, &head, fd, 4096, 0);
    CHECK_EQ(aio_write(&queued), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    CHECK_EQ(aio_read(&waiting), 0);
    for (int round = 0; round < 20; round++) {
        // An idle thread in the parent must not count in the child.
        struct aiocb plain = request(own, "parent", 6, 1000);
        CHECK_EQ(aio_write(&plain), 0);
        CHECK_DONE(&plain, 0, 6);
        pid_t pid = _Fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            struct aiocb cb = request(own, "child", 5, round * 5), in = request(q[0], back, 1, 0);
            if (round % 2) {
                CHECK_EQ(aio_read(&in), 0);
                CHECK_EQ(write(q[1], "z", 1), 1);
                CHECK_DONE(&in, 0, 1);
            }
            CHECK_EQ(aio_write(&cb), 0);
            CHECK_DONE(&cb, 0, 5);
            CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
            CHECK_DONE(&cb, 0, 0);
            _exit(0);
        }
        int status = -1;
        WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid);
        CHECK_EQ(status, 0);
        CHECK_EQ(pread(own, back, 5, round * 5), 5);
        CHECK(memcmp(back, "child", 5) == 0);
    }
    CHECK_EQ(aio_error(&head), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    CHECK_DONE(&queued, 0, 3);
    CHECK_DONE(&barrier, 0, 0);
    CHECK_EQ(aio_error(&waiting), EINPROGRESS);
    CHECK_EQ(write(p[1], "y", 1), 1);
    CHECK_DONE(&waiting, 0, 1);
    return 0;
}
