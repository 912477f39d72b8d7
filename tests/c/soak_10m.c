// Nothing is lost and nothing leaks over millions of requests (10 million with AIO_RS_SOAK=10000000; 200,000 in the
// suite), and a request in flight takes at most 256 bytes of the library.
// glibc: skip: its own memory per request is not at issue, and it strands requests behind a cancelled one
// timeout: 1200
// holds-reads
// takes: 10
// once: it is about what a request leaves behind
#include "check.h"

enum { IN_FLIGHT = 64, QUEUED = 50000, MOST_BYTES = 256, PIPES = 4 };

static long wanted(void) {
    const char *text = getenv("AIO_RS_SOAK");
    return text ? atol(text) : 200000;
}

static unsigned long callbacks;

static void called(union sigval value) {
    (void)value;
    __atomic_add_fetch(&callbacks, 1, __ATOMIC_RELAXED);
}

// Keeps IN_FLIGHT requests going, of all kinds: files, streams, barriers, lists, cancelled ones, bad ones, notified ones.
static void soak(long count) {
    static struct aiocb cbs[IN_FLIGHT];
    static uint32_t buffers[IN_FLIGHT][16];
    static bool used[IN_FLIGHT], bad[IN_FLIGHT];
    int fd = temp_file(), pipes[PIPES][2];
    long ended = 0, cancelled = 0, submitted = 0, resident = 0;
    unsigned long expected_callbacks = 0;
    unsigned long long random = 88172645463325252ULL;
    for (int i = 0; i < PIPES; i++) CHECK_EQ(pipe(pipes[i]), 0);
    while (ended < count) {
        if (ended >= count / 10 && !resident) resident = anonymous_kib();
        for (int i = 0; i < IN_FLIGHT; i++) {
            if (used[i]) {
                if (aio_error(&cbs[i]) == EINPROGRESS) continue;
                int error = aio_error(&cbs[i]);
                // Half of them are never asked for their result.
                if (i % 2 && !error && !bad[i]) CHECK(aio_return(&cbs[i]) >= 0);
                CHECK(bad[i] ? error == EBADF : error == 0 || error == ECANCELED, "%s", strerrorname_np(error));
                cancelled += error == ECANCELED;
                ended++;
                used[i] = false;
            }
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            unsigned what = (unsigned)(random >> 20) % 64;
            bad[i] = what == 63;
            cbs[i] = request(bad[i] ? -1 : fd, buffers[i], sizeof buffers[i], (off_t)(random >> 40) % 65536);
            submitted++;
            used[i] = true;
            if (what == 0 && random >> 61 == 0) {
                CHECK_EQ(aio_fsync(O_DSYNC, &cbs[i]), 0);
            } else if (what == 1) {
                // A stream: a read that is cancelled, or gets its data.
                cbs[i].aio_fildes = pipes[i % PIPES][0];
                cbs[i].aio_nbytes = 1;
                CHECK_EQ(aio_read(&cbs[i]), 0);
                if (aio_cancel(pipes[i % PIPES][0], &cbs[i]) != AIO_CANCELED) CHECK_EQ(write(pipes[i % PIPES][1], "x", 1), 1);
            } else if (what < 4) {
                struct aiocb *list[1] = {&cbs[i]};
                cbs[i].aio_lio_opcode = what % 2 ? LIO_READ : LIO_WRITE;
                CHECK_EQ(lio_listio(LIO_NOWAIT, list, 1, NULL), 0);
            } else if (what == 4 && random >> 60 == 0) {
                cbs[i].aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = called};
                expected_callbacks++;
                CHECK_EQ(aio_write(&cbs[i]), 0);
            } else {
                CHECK_EQ(what % 2 ? aio_write(&cbs[i]) : aio_read(&cbs[i]), 0);
                if (what < 8) aio_cancel(cbs[i].aio_fildes, &cbs[i]);
            }
        }
        const struct aiocb *list[IN_FLIGHT];
        for (int i = 0; i < IN_FLIGHT; i++) list[i] = used[i] ? &cbs[i] : NULL;
        struct timespec patience = {PATIENCE_S, 0};
        CHECK(aio_suspend(list, IN_FLIGHT, &patience) == 0, "%ld of %ld ended", ended, submitted);
    }
    for (int i = 0; i < IN_FLIGHT; i++) {
        if (!used[i]) continue;
        wait_done(&cbs[i]);
        ended++;
    }
    CHECK_EQ(ended, submitted);
    WAIT_FOR(__atomic_load_n(&callbacks, __ATOMIC_RELAXED) == expected_callbacks);
    long grown = anonymous_kib() - resident;
    CHECK(grown < 2048, "the process grew by %ld KiB over %ld requests", grown, ended);
    dprintf(1, "%ld requests, %ld cancelled, resident memory %+ld KiB\n", ended, cancelled, grown);
    close(fd);
    for (int i = 0; i < PIPES; i++) close(pipes[i][0]), close(pipes[i][1]);
}

// All queued behind one that is held: the growth of the process is the library's.
static void memory_in_flight(bool same_place) {
    static struct aiocb *cbs;
    if (!cbs) cbs = malloc(QUEUED * sizeof *cbs);
    static char data[16];
    int fd = temp_file();
    put_pattern(fd, 0, 4096, 1);
    for (int i = 0; i < QUEUED; i++) cbs[i] = request(fd, data, 16, same_place ? i % 16 : i % 4096 * 16 % 4080);
    struct held h;
    struct aiocb head;
    held_read(&h, &head, fd, 4096, 0);
    long before = anonymous_kib();
    for (int i = 0; i < QUEUED; i++) CHECK_EQ(aio_write(&cbs[i]), 0);
    long grown = anonymous_kib() - before;
    CHECK_EQ(aio_error(&cbs[QUEUED - 1]), EINPROGRESS);
    double each = (double)grown * 1024 / QUEUED;
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    for (int i = 0; i < QUEUED; i++) {
        wait_done(&cbs[i]);
        CHECK_EQ(aio_error(&cbs[i]), 0);
    }
    close(fd);
    free_held(&h);
    dprintf(1, "%.0f bytes per request in flight\n", each);
    CHECK(each <= MOST_BYTES, "%.0f bytes per request in flight", each);
}

int main(void) {
    memory_in_flight(false);
    memory_in_flight(true); // the same memory serves again
    soak(wanted());
    return 0;
}
