// A write that hangs among many quick ones of one file, of which one thread may have taken several together: what was written
// before it ends, the rest is written in order when it goes on, and all of it to the file it was for, although the descriptor
// is closed just then.
// env: AIO_RS=idle=60s
// glibc: skip: writes that are queued when the descriptor is closed go to the next file that gets its number
// takes: 4
#include "check.h"
#include <sys/sysmacros.h>

enum { DEPTH = 32, PLACES = DEPTH / 2, LENGTH = 512, ROUNDS = 40, QUICK = 3000 };

static bool take_turns;
static struct aiocb cbs[DEPTH];
static unsigned char data[DEPTH][LENGTH];

static void submit(int fd, int i, unsigned seed) {
    fill(data[i], LENGTH, seed);
    cbs[i] = request(fd, data[i], LENGTH, i % PLACES * LENGTH);
    CHECK_EQ(aio_write(&cbs[i]), 0);
}

// As long as there is always something to do, and it is quick, one thread does it all.
static void many_quick_ones(int fd, unsigned seed) {
    for (int i = 0; i < DEPTH; i++) submit(fd, i, seed + (unsigned)i);
    for (int k = DEPTH; k < QUICK; k++) {
        CHECK_DONE(&cbs[k % DEPTH], 0, LENGTH);
        submit(fd, k % DEPTH, seed + (unsigned)k);
    }
    for (int i = 0; i < DEPTH; i++) CHECK_DONE(&cbs[i], 0, LENGTH);
    for (int i = 0; i < PLACES; i++) {
        int last = QUICK - 1 - (QUICK - 1 - i) % PLACES;
        CHECK(file_holds(fd, i * LENGTH, LENGTH, seed + (unsigned)last), "place %d", i);
    }
}

static void one_hangs(int fd, int file, int other, int round) {
    unsigned seed = 1000000 + (unsigned)round * DEPTH;
    int hangs = round % PLACES;
    bool closes = round % 2 && !is_portable() && !emulated(); // there close waits for what runs
    struct held h = hold(LENGTH);
    for (int i = 0; i < DEPTH; i++) {
        if (i != hangs) {
            submit(fd, i, seed + (unsigned)i);
            continue;
        }
        cbs[i] = request(fd, h.buffer, LENGTH, i * LENGTH);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    wait_held(&h);
    if (closes) CHECK_EQ(dup2(other, fd), fd);
    // Elsewhere several may have reached the file at the same time, and the one that hangs may have been the first.
    for (int i = 0; i < hangs && take_turns; i++) CHECK_DONE(&cbs[i], 0, LENGTH);
    CHECK_EQ(aio_error(&cbs[hangs]), EINPROGRESS);
    release_held(&h);
    for (int i = hangs; i < DEPTH; i++) CHECK_DONE(&cbs[i], 0, LENGTH);
    for (int i = 0; i < PLACES; i++)
        CHECK(file_holds(file, i * LENGTH, LENGTH, seed + PLACES + (unsigned)i), "round %d, place %d", round, i);
    struct stat st;
    CHECK_EQ(fstat(other, &st), 0);
    CHECK_EQ(st.st_size, 0);
    free_held(&h);
    if (closes) CHECK_EQ(dup2(file, fd), fd);
}

int main(void) {
    int file = temp_file(), fd = dup(file), other = temp_file();
    struct stat st;
    CHECK_EQ(fstat(file, &st), 0);
    take_turns = major(st.st_dev) != 0;
    for (int round = 0; round < ROUNDS; round++) {
        many_quick_ones(fd, (unsigned)round);
        one_hangs(fd, file, other, round);
    }
    return 0;
}
