// Submitting, asking and cancelling are no cancellation points: a thread with a cancellation pending passes them all,
// on files and on streams, and what it submitted goes on.
#include "check.h"

static int fd, passed;

static void *run(void *unused) {
    static char buffer[16] = "0123456789abcde";
    struct aiocb cb = request(fd, buffer, sizeof buffer, 0), *list[] = {&cb};
    CHECK_EQ(pthread_cancel(pthread_self()), 0);
    CHECK_EQ(aio_write(&cb), 0);
    while (aio_error(&cb) == EINPROGRESS) {}
    CHECK_EQ(aio_error(&cb), 0);
    CHECK_EQ(aio_return(&cb), sizeof buffer);
    CHECK_EQ(aio_read(&cb), 0);
    while (aio_error(&cb) == EINPROGRESS) {}
    CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
    while (aio_error(&cb) == EINPROGRESS) {}
    CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE);
    CHECK_EQ(aio_cancel(fd, &cb), AIO_ALLDONE);
    cb.aio_lio_opcode = LIO_WRITE;
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 1, NULL), 0);
    while (aio_error(&cb) == EINPROGRESS) {}
    CHECK_EQ(aio_return(&cb), sizeof buffer);
    passed = 1;
    pthread_testcancel();
    FAIL("the cancellation got lost");
    return unused;
}

// On a stream somebody else has to be told of a request.
static int ends[2], other_ends[2];
static struct aiocb waiting, listed;
static char in[2];

static void *run_on_streams(void *unused) {
    struct aiocb out = request(other_ends[1], "out", 3, 0), *list[] = {&listed};
    CHECK_EQ(pthread_cancel(pthread_self()), 0);
    waiting = request(ends[0], &in[0], 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    listed = request(ends[0], &in[1], 1, 0);
    listed.aio_lio_opcode = LIO_READ;
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 1, NULL), 0);
    CHECK_EQ(aio_write(&out), 0);
    while (aio_error(&out) == EINPROGRESS) {}
    CHECK_EQ(aio_return(&out), 3);
    passed = 1;
    pthread_testcancel();
    FAIL("the cancellation got lost");
    return unused;
}

// aio_cancel, while another thread waits for that request and has to be woken.
static pid_t waiter_id;

static void *wait_for_it(void *unused) {
    const struct aiocb *list[] = {&waiting};
    __atomic_store_n(&waiter_id, thread_id(), __ATOMIC_RELEASE);
    CHECK_EQ(aio_suspend(list, 1, NULL), 0);
    return unused;
}

static void *cancel_it(void *unused) {
    CHECK_EQ(pthread_cancel(pthread_self()), 0);
    CHECK_EQ(aio_cancel(ends[0], &waiting), AIO_CANCELED);
    passed = 1;
    pthread_testcancel();
    FAIL("the cancellation got lost");
    return unused;
}

static void check_cancel(void) {
    waiting = request(ends[0], &in[0], 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    waiter_id = 0;
    passed = 0;
    pthread_t waiter = start_thread(wait_for_it, NULL);
    WAIT_FOR(__atomic_load_n(&waiter_id, __ATOMIC_ACQUIRE) != 0);
    wait_thread_blocked(waiter_id);
    CHECK(join_thread(start_thread(cancel_it, NULL)) == PTHREAD_CANCELED);
    CHECK_EQ(passed, 1);
    join_thread(waiter);
    CHECK_DONE(&waiting, ECANCELED, -1);
}

int main(void) {
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, other_ends), 0);
    for (int round = 0; round < 20; round++) {
        passed = 0;
        CHECK(join_thread(start_thread(run_on_streams, NULL)) == PTHREAD_CANCELED);
        CHECK(passed == 1, "round %d was cancelled on its way", round);
        CHECK_EQ(write(ends[1], "12", 2), 2);
        CHECK_DONE(&waiting, 0, 1);
        CHECK_DONE(&listed, 0, 1);
        CHECK(in[0] == '1' && in[1] == '2');
        // libc cannot cancel a read that waits.
        if (is_library()) check_cancel();
    }
    fd = temp_file();
    for (int round = 0; round < 20; round++) {
        passed = 0;
        CHECK(join_thread(start_thread(run, NULL)) == PTHREAD_CANCELED);
        CHECK_EQ(passed, 1);
    }
    return 0;
}
