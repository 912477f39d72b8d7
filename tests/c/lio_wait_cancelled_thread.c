// lio_listio with LIO_WAIT is a cancellation point: a thread cancelled in it runs its cleanup handlers and leaves
// nothing behind.
// glibc: fails: a thread that waits in LIO_WAIT cannot be cancelled
#include "check.h"

static int ends[2];
static struct aiocb cb;
static char byte;
static pid_t id;
static int cleaned;

static void clean(void *unused) {
    (void)unused;
    cleaned++;
}

static void *wait_for_ever(void *unused) {
    pthread_cleanup_push(clean, NULL);
    struct aiocb *list[] = {&cb};
    __atomic_store_n(&id, thread_id(), __ATOMIC_RELEASE);
    lio_listio(LIO_WAIT, list, 1, NULL);
    pthread_cleanup_pop(0);
    FAIL("the wait ended, errno %s", check_errno(errno));
    return unused;
}

// Cancelled before it waits, which costs no looking whether it is blocked yet.
static void *wait_cancelled(void *unused) {
    struct aiocb *list[] = {&cb};
    pthread_cancel(pthread_self());
    lio_listio(LIO_WAIT, list, 1, NULL);
    FAIL("the wait ended, errno %s", check_errno(errno));
    return unused;
}

static void check_memory_flat(void) {
    long after_warm_up = 0;
    for (int round = 0; round < 20000; round++) {
        CHECK(join_thread(start_thread(wait_cancelled, NULL)) == PTHREAD_CANCELED);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_DONE(&cb, 0, 1);
        if (round == 4000) after_warm_up = resident_kib();
    }
    long grown = resident_kib() - after_warm_up;
    CHECK(grown < 512, "16,000 cancelled waits cost %ld KiB", grown);
}

int main(void) {
    CHECK_EQ(pipe(ends), 0);
    int fd = temp_file();
    for (int round = 1; round <= 50; round++) {
        cb = request(ends[0], &byte, 1, 0);
        cb.aio_lio_opcode = LIO_READ;
        id = 0;
        pthread_t thread = start_thread(wait_for_ever, NULL);
        WAIT_FOR(__atomic_load_n(&id, __ATOMIC_ACQUIRE) != 0);
        wait_thread_blocked(id);
        CHECK_EQ(pthread_cancel(thread), 0);
        CHECK(join_thread(thread) == PTHREAD_CANCELED);
        CHECK_EQ(cleaned, round);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);

        // The request goes on, and so does everything else.
        struct aiocb other = request(fd, "y", 1, 0);
        CHECK_EQ(aio_write(&other), 0);
        CHECK_DONE(&other, 0, 1);
        byte = 0;
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_DONE(&cb, 0, 1);
        CHECK_EQ(byte, 'x');
    }
    // QEMU's emulation keeps a quarter of a MiB of each thread that has ended, whatever it did.
    if (!emulated()) check_memory_flat();
    return 0;
}
