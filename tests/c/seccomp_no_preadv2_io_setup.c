// A sandbox that forbids preadv2, pwritev2, io_setup, io_uring and the newer futex calls, with EPERM or ENOSYS: the same
// results.
#include "sandbox.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static const int calls[] = {SYS_preadv2,        SYS_pwritev2,       SYS_io_setup,          SYS_io_submit,
                            SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_futex_waitv,
                            454,                455,                456}; // futex_wake, futex_wait, futex_requeue

static void files(int flags) {
    int fd = temp_open("file", O_RDWR | flags);
    size_t length = 65536;
    unsigned char *data = aligned_alloc(4096, length), *back = aligned_alloc(4096, length);
    fill(data, length, 1);
    struct aiocb out = request(fd, data, length, 4096), in = request(fd, back, length, 4096), sync = request(fd, NULL, 0, 0);
    for (int i = 0; i < 20; i++) {
        memset(back, 0, length);
        CHECK_EQ(aio_write(&out), 0);
        CHECK_EQ(aio_fsync(i % 2 ? O_SYNC : O_DSYNC, &sync), 0);
        CHECK_DONE(&sync, 0, 0);
        CHECK_DONE(&out, 0, length);
        CHECK_EQ(aio_read(&in), 0);
        CHECK_DONE(&in, 0, length);
        CHECK(holds(back, length, 1));
    }
    in.aio_offset = 1 << 20;
    CHECK_EQ(aio_read(&in), 0);
    CHECK_DONE(&in, 0, 0);
    struct aiocb bad = request(fd, (void *)8, length, 0);
    CHECK_EQ(aio_write(&bad), 0);
    wait_done(&bad);
    CHECK(aio_error(&bad) == EFAULT || (flags & O_DIRECT && aio_error(&bad) == EINVAL), "%d", aio_error(&bad));
    close(fd);
    free(data);
    free(back);
}

static void streams(int reader, int writer) {
    enum { LENGTH = 1 << 20 };
    static unsigned char data[LENGTH], back[LENGTH];
    fill(data, LENGTH, 3);
    struct aiocb in = request(reader, back, 8, 0), out = request(writer, "12345678", 8, 0);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_EQ(aio_cancel(reader, &in), AIO_CANCELED);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_EQ(aio_write(&out), 0);
    CHECK_DONE(&out, 0, 8);
    CHECK_DONE(&in, 0, 8);
    CHECK(memcmp(back, "12345678", 8) == 0);
    out = request(writer, data, LENGTH, 0);
    CHECK_EQ(aio_write(&out), 0);
    for (size_t at = 0; at < LENGTH;) {
        in = request(reader, back + at, LENGTH - at, 0);
        CHECK_EQ(aio_read(&in), 0);
        wait_done(&in);
        CHECK_EQ(aio_error(&in), 0);
        at += (size_t)aio_return(&in);
    }
    CHECK_DONE(&out, 0, LENGTH);
    CHECK(holds(back, LENGTH, 3));
    CHECK_EQ(fcntl(writer, F_SETFL, O_NONBLOCK), 0);
    CHECK_EQ(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
    in = request(reader, back, 8, 0);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_DONE(&in, EAGAIN, -1);
}

static void everything(void) {
    int p[2], s[2];
    files(0);
    if (open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600) >= 0) files(O_DIRECT);
    if (is_library()) { // libc cannot cancel the waiting read
        CHECK_EQ(pipe(p), 0);
        streams(p[0], p[1]);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
        streams(s[0], s[1]);
    }
    struct aiocb cbs[10], *list[10];
    int fd = temp_file();
    for (int i = 0; i < 10; i++) {
        cbs[i] = request(fd, "data", 4, i * 4);
        cbs[i].aio_lio_opcode = LIO_WRITE;
        list[i] = &cbs[i];
    }
    CHECK_EQ(lio_listio(LIO_WAIT, list, 10, NULL), 0);
    const struct aiocb *both[2] = {&cbs[0], &cbs[1]};
    CHECK_EQ(aio_write(&cbs[0]), 0);
    CHECK_EQ(aio_write(&cbs[1]), 0);
    CHECK_EQ(aio_suspend(both, 2, NULL), 0);
    CHECK_DONE(&cbs[0], 0, 4);
    CHECK_DONE(&cbs[1], 0, 4);
}

int main(void) {
    static const int errors[] = {EPERM, ENOSYS};
    temp_dir();
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            forbid(calls, sizeof calls / sizeof *calls, errors[i]);
            everything();
            _exit(0);
        }
        int status = -1;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77) return 77;
        CHECK(status == 0, "with %s: status %x", strerrorname_np(errors[i]), status);
    }
    return 0;
}
