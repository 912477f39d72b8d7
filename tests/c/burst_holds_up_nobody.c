// A read that hangs among many quick ones of one descriptor holds up none of them: not those that end before it, nor those
// that stand behind it, even if one thread has taken them together. And when the descriptor is closed just then, they
// read the file they were for, not the one that gets the number.
// env: AIO_RS=routes=stream+worker,idle=60s
// glibc: skip: one slow request of a descriptor holds up all others of it
// takes: 4
#include "check.h"

enum { DEPTH = 32, LENGTH = 512, ROUNDS = 40, QUICK = 3000 };

static struct aiocb cbs[DEPTH];
static char data[DEPTH][LENGTH];

// Other offsets in each round, so that what an earlier one has read is not taken for a result.
static off_t offset_of(int round, int i) { return (off_t)((round + i) % DEPTH) * LENGTH; }

static void submit(int fd, int round, int i) {
    cbs[i] = request(fd, data[i], LENGTH, offset_of(round, i));
    CHECK_EQ(aio_read(&cbs[i]), 0);
}

static void check(const char *file, int round, int i) {
    CHECK_DONE(&cbs[i], 0, LENGTH);
    CHECK(memcmp(data[i], file + offset_of(round, i), LENGTH) == 0, "round %d, read %d", round, i);
}

// As long as there is always something to do, and it is quick, one thread does it all.
static void many_quick_ones(int fd, const char *file) {
    for (int i = 0; i < DEPTH; i++) submit(fd, 0, i);
    for (int k = 0; k < QUICK; k++) {
        check(file, 0, k % DEPTH);
        submit(fd, 0, k % DEPTH);
    }
    for (int i = 0; i < DEPTH; i++) check(file, 0, i);
}

int main(void) {
    static char right[DEPTH * LENGTH], wrong[DEPTH * LENGTH];
    fill(right, sizeof right, 1);
    fill(wrong, sizeof wrong, 2);
    char *path = temp_path("right");
    int fd = open(path, O_RDWR | O_CREAT, 0600), other = temp_file();
    put_pattern(fd, 0, sizeof right, 1);
    put_pattern(other, 0, sizeof wrong, 2);
    for (int round = 0; round < ROUNDS; round++) {
        many_quick_ones(fd, right);
        struct held h = hold(LENGTH);
        int hangs = round % DEPTH;
        bool closes = round % 2 && !is_portable() && !emulated(); // there close waits for what runs
        for (int i = 0; i < DEPTH; i++) {
            if (i != hangs) {
                submit(fd, round, i);
                continue;
            }
            cbs[i] = request(fd, h.buffer, LENGTH, offset_of(round, i));
            CHECK_EQ(aio_read(&cbs[i]), 0);
        }
        if (closes) {
            wait_held(&h);
            CHECK_EQ(dup2(other, fd), fd);
        }
        // Now and then at once, before anybody can have noticed that it hangs.
        if (closes && round % 4 == 1) release_held(&h);
        for (int i = 0; i < DEPTH; i++)
            if (i != hangs) check(right, round, i);
        if (!h.released) CHECK_EQ(aio_error(&cbs[hangs]), EINPROGRESS);
        release_held(&h);
        CHECK_DONE(&cbs[hangs], 0, LENGTH);
        CHECK(memcmp(h.buffer, right + offset_of(round, hangs), LENGTH) == 0, "round %d, the one that hung", round);
        free_held(&h);
        if (closes) {
            int again = open(path, O_RDWR);
            CHECK(again >= 0);
            CHECK_EQ(dup2(again, fd), fd);
            close(again);
        }
    }
    return 0;
}
