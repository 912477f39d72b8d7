// lio_listio with LIO_WAIT is a cancellation point: a thread cancelled in it runs its cleanup handlers and leaves
// nothing behind.
// glibc: fails: a thread that waits in LIO_WAIT cannot be cancelled
// takes: 6
// once: it is about memory, of one thread after the other
#include "check.h"

static void wait_in_listio(struct aiocb *cb) {
    struct aiocb *list[] = {cb};
    cb->aio_lio_opcode = LIO_READ;
    lio_listio(LIO_WAIT, list, 1, NULL);
}

// Cancelled before it waits, which costs no looking whether it is blocked yet.
static void *wait_cancelled(void *cb) {
    pthread_cancel(pthread_self());
    wait_in_listio(cb);
    FAIL("the wait ended, errno %s", check_errno(errno));
    return NULL;
}

static void check_memory_flat(void) {
    int ends[2];
    char byte;
    CHECK_EQ(pipe(ends), 0);
    struct aiocb cb = request(ends[0], &byte, 1, 0);
    long after_warm_up = 0;
    for (int round = 0; round < 20000; round++) {
        CHECK(join_thread(start_thread(wait_cancelled, &cb)) == PTHREAD_CANCELED);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_DONE(&cb, 0, 1);
        if (round == 4000) after_warm_up = anonymous_kib();
    }
    long grown = anonymous_kib() - after_warm_up;
    CHECK(grown < 512, "16,000 cancelled waits cost %ld KiB", grown);
}

int main(void) {
    check_cancelled_in(wait_in_listio, NULL);
    // QEMU's emulation keeps a quarter of a MiB of each thread that has ended, whatever it did.
    if (!emulated()) check_memory_flat();
    return 0;
}
