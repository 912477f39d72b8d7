// A signal handler that runs during LIO_WAIT ends the call with EINTR. The requests go on, and when they end nobody
// touches the stack of the call that was left.
// glibc: races: a signal that interrupts LIO_WAIT corrupts the stack when the requests end later
#include "check.h"

enum { N = 200, DEEP = 256 * 1024 };

static pthread_t waiter;
static pid_t waiter_id;
static bool returned;
static int ends[2];
static struct aiocb cbs[N];
static char bytes[N];

static void handler(int number) { (void)number; }

// Again and again: the thread may also block on its way to the wait, and a signal there interrupts nothing.
static void *interrupt(void *unused) {
    while (!__atomic_load_n(&returned, __ATOMIC_ACQUIRE)) {
        wait_thread_blocked(waiter_id);
        CHECK_EQ(pthread_kill(waiter, SIGUSR1), 0);
    }
    return unused;
}

static __attribute__((noinline)) void wait_interrupted(void) {
    struct aiocb *list[N];
    for (int i = 0; i < N; i++) {
        cbs[i] = request(ends[0], &bytes[i], 1, 0);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    returned = false;
    pthread_t thread = start_thread(interrupt, NULL);
    CHECK_FAILS(lio_listio(LIO_WAIT, list, N, NULL), EINTR);
    __atomic_store_n(&returned, true, __ATOMIC_RELEASE);
    join_thread(thread);
}

// Where the stack of wait_interrupted was there is this array now, while the requests end.
static __attribute__((noinline)) void watch_stack(void) {
    volatile unsigned char stack[DEEP];
    for (int i = 0; i < DEEP; i++) stack[i] = 0x5a;
    for (int i = 0; i < N; i++) CHECK_EQ(aio_error(&cbs[i]), EINPROGRESS);
    for (int i = 0; i < N; i++) CHECK_EQ(write(ends[1], "x", 1), 1);
    for (int i = 0; i < N; i++) CHECK_DONE(&cbs[i], 0, 1);
    for (int i = 0; i < DEEP; i++) CHECK(stack[i] == 0x5a, "byte %d of the stack is %#x", i, stack[i]);
}

int main(void) {
    on_signal(SIGUSR1, handler);
    waiter = pthread_self();
    waiter_id = thread_id();
    CHECK_EQ(pipe(ends), 0);
    for (int round = 0; round < 5; round++) {
        wait_interrupted();
        watch_stack();
    }
    return 0;
}
