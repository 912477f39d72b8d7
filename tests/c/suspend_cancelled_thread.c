// aio_suspend is a cancellation point: a thread cancelled in it runs its cleanup handlers and leaves nothing behind.
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
    const struct aiocb *list[] = {&cb};
    __atomic_store_n(&id, thread_id(), __ATOMIC_RELEASE);
    aio_suspend(list, 1, NULL);
    pthread_cleanup_pop(0);
    FAIL("the wait ended, errno %s", check_errno(errno));
    return unused;
}

int main(void) {
    CHECK_EQ(pipe(ends), 0);
    int fd = temp_file();
    for (int round = 1; round <= 50; round++) {
        cb = request(ends[0], &byte, 1, 0);
        CHECK_EQ(aio_read(&cb), 0);
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
    return 0;
}
