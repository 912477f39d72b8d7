// What aio_write writes is in the file, at its offset and nowhere else, and aio_read reads it back: all sizes, odd
// offsets, beyond 4 GiB, through dups and second descriptors.
#include "check.h"

enum { MOST = 70000, GUARD = 64 };
static unsigned char out[MOST], in[MOST + 2 * GUARD];

static void roundtrip(int write_fd, int read_fd, size_t size, off_t offset, unsigned seed) {
    fill(out, size, seed);
    struct aiocb cb = request(write_fd, out, size, offset);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, (ssize_t)size);
    CHECK(file_holds(read_fd, offset, size, seed), "size %zu at %lld", size, (long long)offset);

    memset(in, 0xa5, sizeof in);
    cb = request(read_fd, in + GUARD, size, offset);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, (ssize_t)size);
    CHECK(holds(in + GUARD, size, seed), "size %zu at %lld", size, (long long)offset);
    for (size_t i = 0; i < GUARD; i++) CHECK(in[i] == 0xa5 && in[GUARD + size + i] == 0xa5, "size %zu", size);
}

// A write in the middle leaves both sides as they were.
static void check_neighbours(int fd) {
    put_pattern(fd, 0, 10000, 1);
    fill(out, 100, 2);
    struct aiocb cb = request(fd, out, 100, 4090);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, 100);
    CHECK_EQ(pread(fd, in, 10000, 0), 10000);
    for (size_t i = 0; i < 10000; i++) {
        unsigned char expected = i >= 4090 && i < 4190 ? pattern_at(2, i - 4090) : pattern_at(1, i);
        CHECK(in[i] == expected, "byte %zu", i);
    }
}

int main(void) {
    int fd = temp_open("file", O_RDWR), second = temp_open("file", O_RDWR), copy = dup(fd);
    for (size_t size = 0; size <= 4200; size += size < 600 || size > 4000 ? 1 : 37)
        roundtrip(fd, fd, size, (off_t)(size * 7 % 9000), (unsigned)size);
    for (size_t size = 4200; size < 66000; size += 997)
        roundtrip(fd, second, size, (off_t)(size % 513), (unsigned)size);
    for (size_t size = 65534; size <= 65538; size++) roundtrip(second, copy, size, 1, (unsigned)size);
    roundtrip(copy, fd, 5000, (1LL << 32) - 2500, 77);
    roundtrip(fd, copy, 5000, (1LL << 40) + 3, 78);
    check_neighbours(fd);

    // The descriptor's own offset takes no part.
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0);
    return 0;
}
