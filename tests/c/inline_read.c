// A read of what is in the page cache has ended when aio_read returns, and needs no thread; whatever part of it the file
// or the cache has, the result is that of pread.
// may-skip: the file system of the temporary directory decides
#include "check.h"

enum { SIZE = 10000, PAGE = 4096 };

// Whether the library serves it inside the call; the data are right in any case.
enum inside { NO, YES, PERHAPS };

static void reads(int fd, size_t length, off_t offset, enum inside inside, const char *what) {
    static unsigned char data[1 << 20], expected[1 << 20];
    memset(data, 0x55, sizeof data);
    memset(expected, 0x55, sizeof expected);
    struct aiocb cb = request(fd, data, length, offset);
    struct aio_rs_stats before = counts();
    CHECK_EQ(aio_read(&cb), 0);
    if (inside == YES && has_inline_route()) CHECK_EQ(aio_error(&cb), 0);
    wait_done(&cb);
    struct aio_rs_stats after = counts();
    CHECK_EQ(aio_error(&cb), 0);
    ssize_t result = aio_return(&cb), right = pread(fd, expected, length, offset);
    CHECK(result == right, "%s: %zd, expected %zd", what, result, right);
    CHECK(memcmp(data, expected, sizeof data) == 0, "%s: wrong data", what);
    if (!is_library()) return;
    bool served = after.route_inline == before.route_inline + 1;
    CHECK(inside == PERHAPS || served == (inside == YES && has_inline_route()), "%s: %s", what, served ? "served inside the call" : "not served inside");
    CHECK_EQ(after.reads, before.reads + 1);
    CHECK_EQ(after.route_inline + after.route_worker, before.route_inline + before.route_worker + 1);
}

int main(void) {
    int fd = temp_file();
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0);
    put_pattern(fd, 0, SIZE, 1);
    if (!can_read_cached(fd)) SKIP("the file system cannot say what it has in the page cache");
    for (int i = 0; i < 1000; i++) reads(fd, 1 + (size_t)i * 7 % SIZE, i * 13 % SIZE, YES, "somewhere");
    reads(fd, SIZE, 0, YES, "the whole file");
    reads(fd, SIZE + 5000, 0, YES, "more than the file has");
    reads(fd, 100, SIZE - 50, YES, "across the end");
    reads(fd, 100, SIZE, YES, "at the end");
    reads(fd, 100, SIZE + 12345, YES, "behind the end");
    if (has_inline_route()) CHECK_EQ(thread_count(), 1);
    reads(fd, 0, 0, NO, "nothing");
    CHECK_EQ(pwrite(fd, "x", 1, 1 << 20), 1);
    reads(fd, 1 << 20, 0, NO, "too much for the call");

    // Half of it is in the cache, then nothing (as far as the kernel drops what it is asked to drop).
    int half = temp_file();
    put_pattern(half, 0, 64 * PAGE, 2);
    drop_cache(half);
    CHECK_EQ(posix_fadvise(half, 0, 0, POSIX_FADV_RANDOM), 0);
    static unsigned char page[PAGE];
    CHECK_EQ(pread(half, page, PAGE, 0), PAGE);
    reads(half, 8 * PAGE, 0, PERHAPS, "half of it");
    drop_cache(half);
    reads(half, PAGE, 20 * PAGE, PERHAPS, "not in the cache");
    return 0;
}
