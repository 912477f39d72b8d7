// 100,000 writes queued on one descriptor and an aio_fsync behind them take seconds of the processor: the cost of a request does not grow
// with the queue, whether they are disjoint, all of the same place, or all behind one that is held.
// glibc: fails: 100,000 queued writes on one descriptor take most of a minute
// glibc-timeout: 60
// timeout: 300
// holds-reads
// takes: 15
// once: it is about the order alone
#include "check.h"

enum { COUNT = 100000, LENGTH = 512, LIMIT_S = 20 };

static struct aiocb cbs[COUNT];
static uint32_t (*data)[LENGTH / 4];

// Of this process: whatever else runs takes none of it.
static double used_s(void) {
    struct timespec t;
    CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void submit(int fd, bool same_place, struct aiocb *sync, double *start) {
    *start = used_s();
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(fd, data[i], LENGTH, same_place ? 0 : (off_t)i * LENGTH);
        CHECK_EQ(aio_write(&cbs[i]), 0);
        if (i % 1000 == 0) CHECK(used_s() - *start < LIMIT_S, "%d requests in %d s", i, LIMIT_S);
    }
    *sync = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, sync), 0);
}

static void finish(const char *what, struct aiocb *sync, double start) {
    const struct aiocb *list[1] = {sync};
    while (aio_error(sync) == EINPROGRESS) {
        struct timespec step = {1, 0};
        aio_suspend(list, 1, &step);
        CHECK(used_s() - start < LIMIT_S, "%s: not done in %d s", what, LIMIT_S);
    }
    CHECK_DONE(sync, 0, 0);
    for (int i = 0; i < COUNT; i++) CHECK_EQ(aio_error(&cbs[i]), 0);
    for (int i = 0; i < COUNT; i++) CHECK_EQ(aio_return(&cbs[i]), LENGTH);
    dprintf(1, "%s: %.2f s\n", what, used_s() - start);
}

static void check_file(int fd) {
    uint32_t *back = malloc((size_t)COUNT * LENGTH);
    CHECK_EQ(pread(fd, back, (size_t)COUNT * LENGTH, 0), (ssize_t)COUNT * LENGTH);
    CHECK(memcmp(back, data, (size_t)COUNT * LENGTH) == 0);
    free(back);
}

int main(void) {
    data = malloc((size_t)COUNT * LENGTH);
    for (int i = 0; i < COUNT; i++)
        for (int n = 0; n < LENGTH / 4; n++) data[i][n] = (uint32_t)(i * 1000 + n);
    struct aiocb sync, head;
    double start;
    int fd = temp_file();
    submit(fd, false, &sync, &start);
    finish("disjoint", &sync, start);
    check_file(fd);

    uint32_t back[LENGTH / 4];
    fd = temp_file();
    submit(fd, true, &sync, &start);
    finish("same place", &sync, start);
    CHECK_EQ(pread(fd, back, LENGTH, 0), LENGTH);
    CHECK_EQ(back[0], (COUNT - 1) * 1000);

    // All of them really queued: behind a held read of the whole area.
    for (int same_place = 0; same_place < 2; same_place++) {
        struct held h;
        fd = temp_file();
        put_pattern(fd, 0, 4096, 1);
        h = hold((size_t)COUNT * LENGTH);
        drop_cache(fd);
        head = request(fd, h.buffer, h.length, 0);
        CHECK_EQ(aio_read(&head), 0);
        wait_held(&h);
        submit(fd, same_place, &sync, &start);
        double submitted = used_s() - start;
        CHECK_EQ(aio_error(&cbs[0]), EINPROGRESS);
        CHECK_EQ(aio_error(&cbs[COUNT - 1]), EINPROGRESS);
        release_held(&h);
        start = used_s() - submitted;
        finish(same_place ? "same place, held" : "disjoint, held", &sync, start);
        CHECK_DONE(&head, 0, 4096);
        if (!same_place) check_file(fd);
        free_held(&h);
        close(fd);
    }
    return 0;
}
