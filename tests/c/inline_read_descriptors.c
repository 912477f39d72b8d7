// What is remembered of a descriptor ends with it: a number that stands for something else now is read as what it is. Reads
// that bypass the page cache are never served inside the call, nor are those of streams.
// may-skip: the file system of the temporary directory decides
#include "check.h"

static unsigned char *buffer;

static void reads(int fd, size_t length, int error, ssize_t result, bool inside) {
    struct aio_rs_stats before = counts();
    struct aiocb cb = request(fd, buffer, length, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, error, result);
    if (!has_inline_route()) return;
    CHECK_EQ(counts().route_inline, before.route_inline + inside);
}

// The same as pread of what the number stands for now.
static void reads_as_it_is(int fd, size_t length, int error, ssize_t result) {
    struct aiocb cb = request(fd, buffer, length, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, error, result);
}

// Reads that fail because their descriptor is open for writing only are no failures of its file: no fsync tells of them.
static void strays(int write_only, int file) {
    static struct aiocb strays[8], writes[4];
    static char data[16384];
    struct aiocb sync = request(file, NULL, 0, 0);
    // So that the workers have something to do.
    for (int i = 0; i < 4; i++) {
        writes[i] = request(file, data, sizeof data, 4096 + i * (off_t)sizeof data);
        CHECK_EQ(aio_write(&writes[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        strays[i] = request(write_only, buffer, 4096, 0);
        CHECK_EQ(aio_read(&strays[i]), 0);
    }
    CHECK_EQ(aio_fsync(O_DSYNC, &sync), 0);
    CHECK_DONE(&sync, 0, 0);
    for (int i = 0; i < 8; i++) CHECK_DONE(&strays[i], EBADF, -1);
    for (int i = 0; i < 4; i++) CHECK_DONE(&writes[i], 0, sizeof data);
    CHECK_EQ(ftruncate(file, 4096), 0);
}

// A descriptor open for O_DIRECT, whose number stands for something else behind the library's back.
static void was_direct(int direct, const int others[3], const int pipe_ends[2]) {
    int number = dup(direct);
    CHECK(number >= 0);
    reads_as_it_is(number, 4096, 0, 4096);
    for (int round = 0; round < 60; round++) {
        CHECK_EQ(syscall(SYS_close, number), 0);
        CHECK_EQ(syscall(SYS_dup, others[round % 3]), number);
        switch (round % 3) {
        case 0: reads_as_it_is(number, 17, 0, 17); break;
        case 1: strays(number, others[0]); break;
        default:
            reads_as_it_is(number, 4096, EAGAIN, -1); // it is O_NONBLOCK
            CHECK_EQ(write(pipe_ends[1], "pipe", 4), 4);
            reads_as_it_is(number, 4096, 0, 4);
        }
        CHECK_EQ(syscall(SYS_close, number), 0);
        if (round % 2) reads_as_it_is(number, 4096, EBADF, -1);
        CHECK_EQ(syscall(SYS_dup, direct), number);
        reads_as_it_is(number, 4096, 0, 4096);
        struct aiocb at_end = request(number, buffer, 4096, 4096);
        CHECK_EQ(aio_read(&at_end), 0);
        CHECK_DONE(&at_end, 0, 0);
        int flags = fcntl(number, F_GETFL);
        CHECK_EQ(fcntl(number, F_SETFL, flags & ~O_DIRECT), 0);
        reads_as_it_is(number, 17, 0, 17);
        drop_cache(number);
        reads_as_it_is(number, 17, 0, 17);
        CHECK_EQ(fcntl(number, F_SETFL, flags), 0);
        reads_as_it_is(number, 4096, 0, 4096);
    }
    CHECK_EQ(close(number), 0);
}

int main(void) {
    CHECK_EQ(posix_memalign((void **)&buffer, 4096, 4096), 0);
    int fd = temp_file(), p[2];
    put_pattern(fd, 0, 4096, 1);
    if (!can_read_cached(fd)) SKIP("the file system cannot say what it has in the page cache");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int direct = open(path, O_RDWR | O_DIRECT), other = open(path, O_WRONLY);
    CHECK(other >= 0);
    CHECK_EQ(pipe(p), 0);
    for (int round = 0; round < 3; round++) {
        reads(fd, 4096, 0, 4096, true);
        int number = dup(fd);
        CHECK(number >= 0);
        reads(number, 4096, 0, 4096, true);
        if (direct >= 0) {
            CHECK_EQ(dup2(direct, number), number);
            reads(number, 4096, 0, 4096, false);
        }
        CHECK_EQ(dup2(p[0], number), number);
        CHECK_EQ(write(p[1], "pipe", 4), 4);
        reads(number, 4096, 0, 4, false);
        CHECK_EQ(close(number), 0);
        CHECK_EQ(dup(other), number);
        reads(number, 4096, EBADF, -1, false);
        CHECK_EQ(close(number), 0);
        reads(number, 4096, EBADF, -1, false);
        CHECK_EQ(dup(fd), number);
        reads(number, 4096, 0, 4096, true);
        // Behind the library's back: at worst a detour.
        CHECK_EQ(syscall(SYS_close, number), 0);
        CHECK_EQ(syscall(SYS_dup, p[0]), number);
        CHECK_EQ(write(p[1], "pipe", 4), 4);
        reads(number, 4096, 0, 4, false);
        CHECK_EQ(close_range((unsigned)number, (unsigned)number, 0), 0);
        CHECK_EQ(dup(fd), number);
        reads(number, 4096, 0, 4096, true);
        CHECK_EQ(close(number), 0);
    }
    int nonblocking[2];
    CHECK_EQ(pipe2(nonblocking, O_NONBLOCK | O_CLOEXEC), 0);
    if (direct >= 0) was_direct(direct, (int[]){fd, other, nonblocking[0]}, nonblocking);
    // A buffer that cannot be written to is an error like any other.
    struct aiocb cb = request(fd, (void *)16, 10, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, EFAULT, -1);
    return 0;
}
