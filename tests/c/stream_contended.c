// Others may take the data of a stream away between its readiness and the read: the request waits on, holds up no other
// stream, and no byte is lost or read twice.
#include "check.h"

enum { BYTES = 20000 };

static int contended[2];
static int taken[256];
static int total;

static void take(unsigned char byte) {
    __atomic_add_fetch(&taken[byte], 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&total, 1, __ATOMIC_RELAXED);
}

// It reads through a description of its own, which does not block.
static void *thief(void *unused) {
    (void)unused;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", contended[0]);
    int own = open(path, O_RDONLY | O_NONBLOCK);
    CHECK(own >= 0);
    while (__atomic_load_n(&total, __ATOMIC_RELAXED) < BYTES) {
        unsigned char byte;
        if (read(own, &byte, 1) == 1)
            take(byte);
        else
            sched_yield();
    }
    return NULL;
}

static void other_stream_goes_on(int q[2]) {
    char byte = 0;
    struct aiocb cb = request(q[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(write(q[1], "z", 1), 1);
    CHECK_DONE(&cb, 0, 1);
    CHECK_EQ(byte, 'z');
}

int main(void) {
    int q[2];
    CHECK_EQ(pipe(contended), 0);
    CHECK_EQ(pipe(q), 0);
    pthread_t other = start_thread(thief, NULL);
    unsigned char byte;
    struct aiocb cb = request(contended[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    int by_aio = 0;
    for (int sent = 0; sent < BYTES; sent++) {
        unsigned char next = (unsigned char)(sent % 251);
        CHECK_EQ(write(contended[1], &next, 1), 1);
        if (aio_error(&cb) != EINPROGRESS) {
            CHECK_DONE(&cb, 0, 1);
            take(byte);
            by_aio++;
            CHECK_EQ(aio_read(&cb), 0);
        }
        if (sent % 500 == 0) other_stream_goes_on(q);
    }
    double deadline = now_s() + PATIENCE_S;
    while (__atomic_load_n(&total, __ATOMIC_RELAXED) < BYTES) {
        if (aio_error(&cb) != EINPROGRESS) {
            CHECK_DONE(&cb, 0, 1);
            take(byte);
            CHECK_EQ(aio_read(&cb), 0);
        }
        CHECK(now_s() < deadline, "%d of %d bytes", total, BYTES);
    }
    join_thread(other);
    other_stream_goes_on(q);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    for (int i = 0; i < 256; i++) CHECK_EQ(taken[i], i < 251 ? BYTES / 251 + (i < BYTES % 251) : 0);
    CHECK_EQ(write(contended[1], "y", 1), 1);
    CHECK_DONE(&cb, 0, 1);
    CHECK_EQ(byte, 'y');
    return 0;
}
