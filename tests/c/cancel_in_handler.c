// A thread that is cancelled while its signal handler, which has interrupted a wait, is inside a call leaves no lock of the
// library taken: other threads go on. A handler that jumps out of a wait leaves the thread's cancellation as it was.
// glibc: skip: it may hang, as its lock stays taken
// timeout: 120
#include "check.h"
#include <setjmp.h>

enum { TRIES = 150, COUNT = 8 };

static int fd, p[2];
static char endless_byte, bytes[COUNT];
static struct aiocb endless, own[COUNT];
static int handled;
static sigjmp_buf before_wait;

static void call_and_call(int number) {
    (void)number;
    // Not for ever: cancellation may be off where it has interrupted the call.
    for (int n = 0; n < 2000; n++) {
        struct aiocb *list[COUNT];
        for (int i = 0; i < COUNT; i++) {
            if (aio_error(&own[i]) != EINPROGRESS) {
                own[i] = request(fd, &bytes[i], 1, i);
                own[i].aio_lio_opcode = LIO_WRITE;
            }
            list[i] = &own[i];
        }
        lio_listio(LIO_NOWAIT, list, COUNT, NULL);
        aio_cancel(fd, &own[n % COUNT]);
        __atomic_store_n(&handled, n + 1, __ATOMIC_SEQ_CST);
    }
}

static void *wait_in_suspend(void *id) {
    const struct aiocb *list[] = {&endless};
    __atomic_store_n((pid_t *)id, thread_id(), __ATOMIC_SEQ_CST);
    for (;;) aio_suspend(list, 1, NULL);
    return NULL;
}

static void *use_all(void *unused) {
    struct aiocb write = request(fd, "x", 1, 100), sync = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_write(&write), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_DONE(&write, 0, 1);
    CHECK_DONE(&sync, 0, 0);
    CHECK(aio_cancel(fd, NULL) >= 0);
    return unused;
}

static void jump(int number) {
    (void)number;
    siglongjmp(before_wait, 1);
}

static void *jump_out_of_suspend(void *id) {
    int type;
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
    if (!sigsetjmp(before_wait, 1)) wait_in_suspend(id);
    CHECK_EQ(pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type), 0);
#ifdef __GLIBC__ // whose siglongjmp leaves the wait's cleanup handlers
    CHECK_EQ(type, PTHREAD_CANCEL_DEFERRED);
#endif
    return NULL;
}

static pthread_t interrupted(void *(*run)(void *)) {
    pid_t id = 0;
    pthread_t thread = start_thread(run, &id);
    WAIT_FOR(__atomic_load_n(&id, __ATOMIC_SEQ_CST) != 0);
    wait_thread_blocked(id);
    CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
    return thread;
}

int main(void) {
    fd = temp_file();
    CHECK_EQ(pipe(p), 0);
    endless = request(p[0], &endless_byte, 1, 0);
    CHECK_EQ(aio_read(&endless), 0);
    on_signal(SIGUSR1, call_and_call);
    for (int try = 0; try < TRIES; try++) {
        handled = 0;
        pthread_t thread = interrupted(wait_in_suspend);
        WAIT_FOR(__atomic_load_n(&handled, __ATOMIC_SEQ_CST) > try % 7);
        for (volatile int spin = try * 37 % 1000; spin; spin--) {}
        CHECK_EQ(pthread_cancel(thread), 0);
        CHECK(join_thread(thread) == PTHREAD_CANCELED);
        join_thread(start_thread(use_all, NULL));
        for (int i = 0; i < COUNT; i++) wait_done(&own[i]);
    }
    on_signal(SIGUSR1, jump);
    // The portable build waits in a cancellation point of the C library.
    if (is_library() && !is_portable()) join_thread(interrupted(jump_out_of_suspend));
    return 0;
}
