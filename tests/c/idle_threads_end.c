// Threads that are idle for the configured time end, all of them, and come again when they are needed.
// env: AIO_RS=idle=100ms
// holds-reads
// takes: 3
#include "check.h"

static volatile int calls;

static void called(union sigval value) {
    (void)value;
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
}

int main(void) {
    aio_init(&(struct aioinit){.aio_threads = 20, .aio_num = 64, .aio_idle_time = 1}); // for libc
    enum { BURST = 10 };
    for (int round = 0; round < 3; round++) {
        struct held gates[BURST];
        struct aiocb cbs[BURST];
        int p[2];
        char byte = 0;
        CHECK_EQ(pipe(p), 0);
        struct aiocb waiting = request(p[0], &byte, 1, 0);
        CHECK_EQ(aio_read(&waiting), 0);
        for (int i = 0; i < BURST; i++) {
            int fd = temp_file();
            gates[i] = hold(4096);
            cbs[i] = request(fd, gates[i].buffer, 4096, 0);
            cbs[i].aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = called};
            CHECK_EQ(aio_write(&cbs[i]), 0);
        }
        for (int i = 0; i < BURST; i++) wait_held(&gates[i]); // each in a thread of its own
        CHECK(thread_count() > BURST);
        for (int i = 0; i < BURST; i++) {
            release_held(&gates[i]);
            CHECK_DONE(&cbs[i], 0, 4096);
            close(cbs[i].aio_fildes);
            free_held(&gates[i]);
        }
        CHECK_EQ(write(p[1], "x", 1), 1);
        CHECK_DONE(&waiting, 0, 1);
        WAIT_FOR(calls == (round + 1) * BURST);
        WAIT_FOR(thread_count() == 1);
        close(p[0]);
        close(p[1]);
    }
    return 0;
}
