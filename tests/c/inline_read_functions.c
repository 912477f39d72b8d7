// Reads of what is in the page cache that announce themselves by a function: each function runs once, in a thread that is
// not the caller's, after the status; one that blocks holds up no other; the thread has the attributes that were asked for;
// a handler may read, and wait for its function, wherever it interrupts a read; a function may read; a child of fork can.
// glibc: skip: functions of a child never run, see fork_child_sigev_thread
// takes: 4
// once: it is about the threads of functions
#include "check.h"
#include <semaphore.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { N = 50, ROUNDS = 20, HANDLED = 5000, STACK = 3 << 20 };

static unsigned char data[N][100], in_handler[100];
static struct aiocb cbs[N], by_handler;
static int cached, called, running, handled, functions, links;
static pthread_t caller;
static sem_t done;

#define ADD(counter) __atomic_add_fetch(&(counter), 1, __ATOMIC_RELEASE)
#define GET(counter) __atomic_load_n(&(counter), __ATOMIC_ACQUIRE)

static void read_and_call(struct aiocb *cb, unsigned char *into, void (*function)(union sigval), pthread_attr_t *attributes) {
    *cb = request(cached, into, 100, 0);
    cb->aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD,
                                         .sigev_notify_function = function,
                                         .sigev_value.sival_ptr = cb,
                                         .sigev_notify_attributes = attributes};
    CHECK_EQ(aio_read(cb), 0);
}

static void counts_itself(union sigval value) {
    struct aiocb *cb = value.sival_ptr;
    CHECK(!pthread_equal(pthread_self(), caller));
    CHECK_DONE(cb, 0, 100);
    CHECK(cb->aio_reqprio == 0);
    cb->aio_reqprio = 1;
    ADD(called);
}

static void waits_for_all(union sigval value) {
    int round = (GET(running)) / N;
    (void)value;
    ADD(running);
    WAIT_FOR(GET(running) >= (round + 1) * N);
    ADD(called);
}

static void has_stack(union sigval value) {
    (void)value;
    pthread_attr_t mine;
    void *base;
    size_t stack;
    pthread_getattr_np(pthread_self(), &mine);
    pthread_attr_getstack(&mine, &base, &stack);
    pthread_attr_destroy(&mine);
    // Not more precisely: glibc may have a larger one at hand.
    CHECK(stack >= STACK - (256 << 10), "the stack has %zu bytes", stack);
    sem_post(&done);
}

static void of_handler(union sigval value) {
    (void)value;
    ADD(handled);
}

// Reads, and does not return before its function has run.
static void handler(int number) {
    (void)number;
    int before = GET(handled);
    read_and_call(&by_handler, in_handler, of_handler, NULL);
    double deadline = now_s() + PATIENCE_S;
    while (GET(handled) == before) CHECK(now_s() < deadline, "the handler's function is still missing");
}

static void of_main(union sigval value) {
    (void)value;
    ADD(functions);
}

static void next_link(union sigval value) {
    if (ADD(links) < N) read_and_call(value.sival_ptr, data[0], next_link, NULL);
    else sem_post(&done);
}

static void wait_for_post(void) {
    while (sem_wait(&done) != 0) {}
}

int main(void) {
    cached = temp_file();
    put_pattern(cached, 0, 4096, 1);
    caller = pthread_self();
    CHECK_EQ(sem_init(&done, 0, 0), 0);

    for (int i = 0; i < N; i++) {
        read_and_call(&cbs[i], data[i], counts_itself, NULL);
        WAIT_FOR(GET(called) == i + 1);
        CHECK(holds(data[i], 100, 1));
    }
    // The first one had to start a thread.
    if (has_inline_route() && can_read_cached(cached)) CHECK_EQ(counts().route_inline, N - 1);

    __atomic_store_n(&called, 0, __ATOMIC_RELEASE);
    for (int round = 1; round <= ROUNDS; round++) {
        for (int i = 0; i < N; i++) read_and_call(&cbs[i], data[i], waits_for_all, NULL);
        WAIT_FOR(GET(called) == round * N);
    }

    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, STACK), 0);
    read_and_call(&cbs[0], data[0], has_stack, &attributes);
    wait_for_post();

    read_and_call(&cbs[0], data[0], next_link, NULL);
    wait_for_post();
    CHECK_EQ(GET(links), N);

    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
    event.sigev_notify_thread_id = thread_id();
    timer_t timer;
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    // Each function has a thread of its own, which takes an emulator long.
    int enough = emulated() ? HANDLED / 20 : HANDLED;
    for (int made = 1; GET(handled) < enough; made++) {
        double deadline = now_s() + PATIENCE_S;
        struct itimerspec soon = {.it_value.tv_nsec = 1 + made * 37 % 8000};
        CHECK_EQ(timer_settime(timer, 0, &soon, NULL), 0);
        read_and_call(&cbs[0], data[0], of_main, NULL);
        while (GET(functions) < made) CHECK(now_s() < deadline, "a function of %d is still missing", made);
    }
    CHECK_EQ(timer_delete(timer), 0);

    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        caller = pthread_self();
        __atomic_store_n(&called, 0, __ATOMIC_RELEASE);
        for (int i = 0; i < N; i++) {
            read_and_call(&cbs[i], data[i], counts_itself, NULL);
            WAIT_FOR(GET(called) == i + 1);
        }
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    return 0;
}
