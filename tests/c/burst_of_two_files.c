// Writes that one thread has taken together with a slow write of another file end all the same, and so do later ones.
#include "check.h"

enum { COUNT = 32, LONG = 8 << 20, LENGTH = 512, ROUNDS = 20, QUICK = 3000 };

static struct aiocb cbs[COUNT], more[COUNT], slow;
static char data[LENGTH];

// As long as there is always something to do, and it is quick, one thread does it all.
static void many_quick_ones(int fd) {
    for (int k = 0; k < QUICK; k++) {
        if (k >= COUNT) CHECK_DONE(&cbs[k % COUNT], 0, LENGTH);
        cbs[k % COUNT] = request(fd, data, LENGTH, k % COUNT * LENGTH);
        CHECK_EQ(aio_write(&cbs[k % COUNT]), 0);
    }
}

int main(void) {
    int fd = temp_file(), one = temp_file(), other = temp_file();
    char *memory = malloc(LONG);
    CHECK(memory != NULL);
    memset(memory, 1, LONG);
    for (int round = 0; round < ROUNDS; round++) {
        many_quick_ones(fd);
        slow = request(one, memory, round % 2 ? LONG : LONG / 32, 0);
        CHECK_EQ(aio_write(&slow), 0);
        for (int i = 0; i < COUNT; i++) {
            more[i] = request(other, data, LENGTH, i * LENGTH);
            CHECK_EQ(aio_write(&more[i]), 0);
        }
        for (int i = 0; i < COUNT; i++) CHECK_DONE(&cbs[i], 0, LENGTH);
        CHECK_DONE(&slow, 0, slow.aio_nbytes);
        struct aiocb last = request(other, data, LENGTH, COUNT * LENGTH);
        CHECK_EQ(aio_write(&last), 0);
        CHECK_DONE(&last, 0, LENGTH);
        for (int i = 0; i < COUNT; i++) CHECK_DONE(&more[i], 0, LENGTH);
    }
    return 0;
}
