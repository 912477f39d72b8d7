// A read of what is in the page cache notifies like any other: by signal, once, after its status, and not by a handler that
// would hold up the program as long as it makes further requests; by thread; also when the signal queue is full; if no
// thread can be had, it says so; and a list of such reads notifies once all have ended, even if no thread was left by then.
// glibc: skip: with a full signal queue its signals are lost
#include "check.h"
#include <semaphore.h>

enum { N = 50 };

static sem_t called;
static struct aiocb by_thread;
static struct aiocb chained;
static volatile sig_atomic_t links;
static volatile bool main_went_on;

static void function(union sigval value) {
    CHECK(value.sival_ptr == &by_thread && aio_error(&by_thread) == 0);
    // Until it has returned, this thread takes every signal: those that come next are main's.
    block_signal(SIGRTMIN + 1);
    sem_post(&called);
}

static void next_link(int number);

// Its handler is gone while it runs, and back when it returns.
static void handle_once(int number) {
    struct sigaction action = {.sa_handler = next_link, .sa_flags = SA_RESETHAND | SA_RESTART};
    CHECK_EQ(sigaction(number, &action, NULL), 0);
}

// Makes the next request, until main has had its turn.
static void next_link(int number) {
    links = links + 1;
    if (!main_went_on) CHECK_EQ(aio_read(&chained), 0);
    handle_once(number);
}

static void chain(int fd, int number) {
    static unsigned char data[100];
    handle_once(number);
    chained = request(fd, data, 100, 0);
    notify_by_signal(&chained, number, 0);
    CHECK_EQ(aio_read(&chained), 0);
    main_went_on = true;
    WAIT_FOR(links > 0 && aio_error(&chained) == 0);
}

static int cached;

// No thread, and none to be had.
static void no_thread(void) {
    limit_threads(0);
    static unsigned char data[100];
    struct aiocb cb = request(cached, data, 100, 0);
    notify_by_signal(&cb, SIGRTMIN + 1, 0);
    CHECK_FAILS(aio_read(&cb), EAGAIN);
}

int main(void) {
    int fd = temp_file(), number = SIGRTMIN + 1;
    static unsigned char data[N][100];
    put_pattern(fd, 0, 4096, 1);
    block_signal(number);
    cached = fd;
    int status = run_unprivileged(no_thread);
    CHECK(status == 0 || status == 77, "status %d", status);
    own_signal_queue();
    static struct aiocb cbs[N];
    struct aiocb *list[N];
    struct aio_rs_stats before = counts();
    for (int i = 0; i < N; i++) {
        cbs[i] = request(fd, data[i], 100, 0);
        notify_by_signal(&cbs[i], number, i);
        CHECK_EQ(aio_read(&cbs[i]), 0);
        siginfo_t info = take_signal(number);
        CHECK_EQ(info.si_code, SI_ASYNCIO);
        CHECK_EQ(info.si_value.sival_int, i);
        CHECK_DONE(&cbs[i], 0, 100);
    }
    // The first one had to start a thread.
    bool inside = has_inline_route() && can_read_cached(fd);
    if (inside) CHECK(counts().route_inline - before.route_inline == N - 1);
    before = counts();
    chain(fd, number + 1);
    CHECK(counts().route_inline == before.route_inline);
    CHECK_EQ(sem_init(&called, 0, 0), 0);
    static unsigned char byte;
    by_thread = request(fd, &byte, 1, 0);
    by_thread.aio_sigevent.sigev_notify = SIGEV_THREAD;
    by_thread.aio_sigevent.sigev_notify_function = function;
    by_thread.aio_sigevent.sigev_value.sival_ptr = &by_thread;
    CHECK_EQ(aio_read(&by_thread), 0);
    while (sem_wait(&called) != 0) {}

    for (int i = 0; i < N; i++) {
        cbs[i] = request(fd, data[i], 100, 0);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    struct aiocb event = {0};
    notify_by_signal(&event, number, 1000);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, N, &event.aio_sigevent), 0);
    CHECK_EQ(take_signal(number).si_value.sival_int, 1000);
    for (int i = 0; i < N; i++) CHECK_DONE(&cbs[i], 0, 100);

    // Room for four signals, and no more until somebody takes them.
    limit_signals(4);
    for (int i = 0; i < N; i++) {
        notify_by_signal(&cbs[i], number, i);
        CHECK_EQ(aio_read(&cbs[i]), 0);
        CHECK_DONE(&cbs[i], 0, 100);
    }
    bool seen[N] = {false};
    for (int i = 0; i < N; i++) {
        int value = take_signal(number).si_value.sival_int;
        CHECK(value >= 0 && value < N && !seen[value], "value %d", value);
        seen[value] = true;
    }
    return 0;
}
