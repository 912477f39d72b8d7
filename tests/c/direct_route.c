// O_DIRECT transfers need no thread each, and what the kernel's own AIO refuses ends as pread and pwrite would have it.
// env: AIO_RS=idle=60s
// may-skip: the file system of the temporary directory decides
#include "check.h"

enum { BLOCK = 4096, BLOCKS = 512, DEPTH = 64 };

static unsigned char *aligned(size_t length) {
    unsigned char *memory = aligned_alloc(BLOCK, length);
    CHECK(memory != NULL);
    return memory;
}

// Blocks of a file that are written and read at random, many at a time. Returns how many the kernel's AIO has served.
static unsigned long served_by_kernel(int fd, int rounds) {
    static struct aiocb cbs[DEPTH];
    static unsigned seeds[BLOCKS], expected[DEPTH];
    static unsigned char *buffers[DEPTH];
    unsigned random = 1;
    struct aio_rs_stats before = counts();
    for (int round = 0; round < rounds; round++) {
        bool used[BLOCKS] = {false};
        for (int i = 0; i < DEPTH; i++) {
            if (!buffers[i]) buffers[i] = aligned(BLOCK);
            unsigned block;
            do block = (random = random * 1103515245 + 12345) >> 8 & (BLOCKS - 1);
            while (used[block]);
            used[block] = true;
            bool write = seeds[block] == 0 || random >> 20 & 1;
            if (write) seeds[block] = random | 1;
            expected[i] = seeds[block];
            cbs[i] = request(fd, buffers[i], BLOCK, (off_t)block * BLOCK);
            if (write) fill(buffers[i], BLOCK, seeds[block]);
            else memset(buffers[i], 0, BLOCK);
            CHECK_EQ(write ? aio_write(&cbs[i]) : aio_read(&cbs[i]), 0);
        }
        for (int i = 0; i < DEPTH; i++) {
            CHECK_DONE(&cbs[i], 0, BLOCK);
            CHECK(holds(buffers[i], BLOCK, expected[i]), "round %d, request %d", round, i);
        }
    }
    return counts().route_direct - before.route_direct;
}

// The same as pread or pwrite: result, error number, data.
static void same_as_plain(int fd, bool write, unsigned char *buffer, size_t length, off_t offset, const char *what) {
    struct aiocb cb = request(fd, buffer, length, offset);
    if (!write && buffer) memset(buffer, 0x55, length);
    CHECK_EQ(write ? aio_write(&cb) : aio_read(&cb), 0);
    wait_done(&cb);
    int error = aio_error(&cb);
    ssize_t result = aio_return(&cb);
    unsigned char *again = aligned(2 << 20);
    memset(again, 0x55, length);
    unsigned char *place = buffer ? again + ((uintptr_t)buffer & (BLOCK - 1)) : NULL;
    ssize_t plain = write ? pwrite(fd, buffer, length, offset) : pread(fd, place, length, offset);
    CHECK(result == plain, "%s: %zd, expected %zd", what, result, plain);
    CHECK(error == (plain < 0 ? errno : 0), "%s: %s, expected %s", what, check_errno(error), check_errno(errno));
    if (!write && plain > 0) CHECK(memcmp(buffer, place, (size_t)plain) == 0, "%s: wrong data", what);
    free(again);
}

static void what_it_refuses(int fd) {
    unsigned char *buffer = aligned(1 << 20);
    fill(buffer, 1 << 20, 9);
    off_t size = BLOCKS * BLOCK;
    same_as_plain(fd, false, buffer + 1, BLOCK, 0, "a read into a misaligned buffer");
    same_as_plain(fd, false, buffer, 511, 0, "a read of a misaligned length");
    same_as_plain(fd, false, buffer, BLOCK, 7, "a read at a misaligned offset");
    same_as_plain(fd, true, buffer, BLOCK, 7, "a write at a misaligned offset");
    same_as_plain(fd, false, NULL, BLOCK, 0, "a read to nowhere");
    same_as_plain(fd, true, NULL, BLOCK, 0, "a write from nowhere");
    same_as_plain(fd, false, buffer, 4 * BLOCK, size - BLOCK, "a read across the end");
    same_as_plain(fd, false, buffer, BLOCK, size + BLOCK, "a read behind the end");
    same_as_plain(fd, false, buffer, 0, 0, "a read of nothing");
    same_as_plain(fd, true, buffer, 3 * BLOCK, size, "a write that extends the file");
    same_as_plain(fd, true, buffer, BLOCK, 4 * size, "a write that leaves a hole");
    same_as_plain(fd, false, buffer, 1 << 20, 2 * size, "a read of a hole");
    same_as_plain(fd, true, buffer, 1 << 20, 2 * size, "a write into a hole");
    free(buffer);
}

// More than the kernel's AIO takes at a time.
static void very_many(int fd) {
    enum { MANY = 3000 };
    static struct aiocb cbs[MANY];
    unsigned char *buffers = aligned((size_t)MANY * BLOCK);
    memset(buffers, 0, (size_t)MANY * BLOCK);
    unsigned char *block = aligned(BLOCK);
    for (int i = 0; i < MANY; i++) {
        cbs[i] = request(fd, buffers + (size_t)i * BLOCK, BLOCK, i % BLOCKS * BLOCK);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    for (int i = 0; i < MANY; i++) {
        CHECK_DONE(&cbs[i], 0, BLOCK);
        CHECK_EQ(pread(fd, block, BLOCK, i % BLOCKS * BLOCK), BLOCK);
        CHECK(memcmp(block, buffers + (size_t)i * BLOCK, BLOCK) == 0, "request %d", i);
    }
    free(block);
    free(buffers);
}

static void in_a_list(int fd) {
    static struct aiocb cbs[DEPTH], *list[DEPTH];
    for (int i = 0; i < DEPTH; i++) {
        cbs[i] = request(fd, aligned(BLOCK), BLOCK, i * BLOCK);
        cbs[i].aio_lio_opcode = i % 2 ? LIO_READ : LIO_WRITE;
        fill((void *)cbs[i].aio_buf, BLOCK, 77);
        list[i] = &cbs[i];
    }
    for (int round = 0; round < 20; round++) {
        CHECK_EQ(lio_listio(LIO_WAIT, list, DEPTH, NULL), 0);
        for (int i = 0; i < DEPTH; i++) CHECK_DONE(&cbs[i], 0, BLOCK);
    }
}

int main(void) {
    int fd = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    if (fd < 0) SKIP("no O_DIRECT here: %s", check_errno(errno));
    unsigned char *zeros = aligned(BLOCKS * BLOCK);
    memset(zeros, 0, BLOCKS * BLOCK);
    CHECK_EQ(pwrite(fd, zeros, BLOCKS * BLOCK, 0), BLOCKS * BLOCK);
    CHECK_EQ(fsync(fd), 0);

    served_by_kernel(fd, 20);
    // Which file systems can is not for the library to say; ext4 and xfs can.
    bool used = counts().route_direct > 0;
    if (used) CHECK(has_direct_route());
    // Not all: a device that is busy with other things may have no room at the moment.
    if (used) CHECK(served_by_kernel(fd, 50) > 0);
    very_many(fd);
    in_a_list(fd);
    what_it_refuses(fd);
    if (has_direct_route() && !used) SKIP("the file system cannot transfer without waiting");
    return 0;
}
