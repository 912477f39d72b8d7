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
    // A buffer that cannot be written to is an error like any other.
    struct aiocb cb = request(fd, (void *)16, 10, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, EFAULT, -1);
    return 0;
}
