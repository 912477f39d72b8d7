// Requests of one descriptor whose bytes overlap, one of them a write, run in call order.
// holds-reads
// takes: 3
#include "check.h"

enum { BEHIND = 200 };

// A read is held; the writes behind it change its bytes only after it ended.
static void writes_behind_a_read(int fd) {
    put_pattern(fd, 0, 8192, 1);
    struct held h;
    struct aiocb head, writes[BEHIND];
    static unsigned char data[BEHIND][4096];
    held_read(&h, &head, fd, 8192, 0);
    for (int i = 0; i < BEHIND; i++) {
        fill(data[i], 4096, 100 + (unsigned)i);
        writes[i] = request(fd, data[i], 4096, 2048 + i % 3);
        CHECK_EQ(aio_write(&writes[i]), 0);
    }
    // Whatever could run has run when a request that may run now, made after them, has ended (on a descriptor of its own).
    int other = temp_file();
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = request(other, data[0], 100, i * 100);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 100);
    }
    for (int i = 0; i < BEHIND; i++) CHECK_EQ(aio_error(&writes[i]), EINPROGRESS);
    CHECK(file_holds(fd, 0, 8192, 1));
    release_held(&h);
    CHECK_DONE(&head, 0, 8192);
    CHECK(holds(h.buffer, 8192, 1));
    for (int i = 0; i < BEHIND; i++) CHECK_DONE(&writes[i], 0, 4096);
    unsigned char model[8192], back[8192];
    fill(model, sizeof model, 1);
    for (int i = 0; i < BEHIND; i++) memcpy(model + 2048 + i % 3, data[i], 4096);
    CHECK_EQ(pread(fd, back, sizeof back, 0), 8192);
    CHECK(memcmp(model, back, sizeof back) == 0, "the last of the overlapping writes does not stay");
    close(other);
    free_held(&h);
}

// A chain: each write overlaps the one before it; reads between them see exactly what was written before.
static void chain(int fd) {
    enum { LINKS = 2000 };
    static unsigned char data[LINKS][64], model[LINKS * 32 + 64], expected[LINKS][96], got[LINKS][96];
    static struct aiocb writes[LINKS], reads[LINKS];
    CHECK_EQ(ftruncate(fd, 0), 0);
    CHECK_EQ(ftruncate(fd, sizeof model), 0);
    for (int i = 0; i < LINKS; i++) {
        off_t at = i * 32;
        fill(data[i], 64, (unsigned)i);
        memcpy(model + at, data[i], 64);
        writes[i] = request(fd, data[i], 64, at);
        CHECK_EQ(aio_write(&writes[i]), 0);
        size_t length = at ? 96 : 64;
        memcpy(expected[i], model + at + 64 - length, length);
        reads[i] = request(fd, got[i], length, at + 64 - (off_t)length);
        CHECK_EQ(aio_read(&reads[i]), 0);
    }
    for (int i = 0; i < LINKS; i++) {
        CHECK_DONE(&writes[i], 0, 64);
        CHECK_DONE(&reads[i], 0, reads[i].aio_nbytes);
        CHECK(memcmp(expected[i], got[i], reads[i].aio_nbytes) == 0, "read %d", i);
    }
}

// Random ranges in a small file, many in flight: reads see the model's state at their call, the file ends as the model.
static void random_ranges(int fd) {
    enum { SIZE = 4096, COUNT = 3000 };
    static unsigned char model[SIZE], data[COUNT][256], got[COUNT][256], expected[COUNT][256];
    static struct aiocb cbs[COUNT];
    unsigned seed = 12345;
    memset(model, 0, sizeof model);
    CHECK_EQ(ftruncate(fd, 0), 0);
    CHECK_EQ(ftruncate(fd, SIZE), 0);
    for (int i = 0; i < COUNT; i++) {
        seed = seed * 1103515245 + 12345;
        size_t length = seed >> 16 & 255, at = (seed >> 8) % (SIZE - length);
        if (seed >> 30 & 1) {
            fill(data[i], length, (unsigned)i);
            memcpy(model + at, data[i], length);
            cbs[i] = request(fd, data[i], length, (off_t)at);
            CHECK_EQ(aio_write(&cbs[i]), 0);
        } else {
            memcpy(expected[i], model + at, length);
            cbs[i] = request(fd, got[i], length, (off_t)at);
            CHECK_EQ(aio_read(&cbs[i]), 0);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_DONE(&cbs[i], 0, cbs[i].aio_nbytes);
        if (cbs[i].aio_buf == got[i])
            CHECK(memcmp(got[i], expected[i], cbs[i].aio_nbytes) == 0, "read %d sees another state", i);
    }
    unsigned char back[SIZE];
    CHECK_EQ(pread(fd, back, SIZE, 0), SIZE);
    CHECK(memcmp(back, model, SIZE) == 0);
}

int main(void) {
    int fd = temp_file();
    writes_behind_a_read(fd);
    for (int i = 0; i < 5; i++) chain(fd);
    for (int i = 0; i < 20; i++) random_ranges(fd);
    return 0;
}
