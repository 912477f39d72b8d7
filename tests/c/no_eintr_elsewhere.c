// Completions never disturb the program's other system calls: no EINTR, no short sleep, no signal, in the thread that
// submitted or in any other.
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { ROUNDS = 300 };

static volatile sig_atomic_t signalled;
static volatile bool over;
static int file;

static void handler(int number) { signalled = number; }

// Makes requests of its own, and leaves them to end while the thread sleeps.
struct own {
    struct aiocb cbs[4];
    unsigned char buffer[4][4096];
    int p[2];
    int self;
};

static void submit(struct own *o) {
    for (int i = 0; i < 4; i++) {
        if (i < 2) o->cbs[i] = request(file, o->buffer[i], 4096, (o->self * 4 + i) * 4096);
        if (i == 2) o->cbs[i] = request(o->p[0], o->buffer[i], 8, 0);
        if (i == 3) o->cbs[i] = request(file, NULL, 0, 0);
        CHECK_EQ(i == 0 ? aio_write(&o->cbs[i]) : i == 3 ? aio_fsync(O_DSYNC, &o->cbs[i]) : aio_read(&o->cbs[i]), 0);
    }
    CHECK_EQ(write(o->p[1], "12345678", 8), 8);
}

static void collect(struct own *o) {
    for (int i = 0; i < 4; i++) {
        wait_done(&o->cbs[i]);
        CHECK_EQ(aio_error(&o->cbs[i]), 0);
        aio_return(&o->cbs[i]);
    }
}

static int feed[2];

static void *sleeper(void *argument) {
    struct own *o = calloc(1, sizeof *o);
    o->self = (int)(intptr_t)argument;
    CHECK_EQ(pipe(o->p), 0);
    int epoll = epoll_create1(0), never = eventfd(0, 0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, never, &event), 0);
    struct pollfd p = {.fd = never, .events = POLLIN};
    for (int i = 0; i < ROUNDS; i++) {
        submit(o);
        double start = now_s();
        struct timespec two_ms = {0, 2000000}, rest = {0, 0};
        char byte;
        switch (o->self) {
        case 0: CHECK_EQ(poll(&p, 1, 2), 0); break;
        case 1: CHECK_EQ(epoll_wait(epoll, &event, 1, 2), 0); break;
        case 2: CHECK_EQ(nanosleep(&two_ms, &rest), 0); break;
        case 3: CHECK_EQ(read(feed[0], &byte, 1), 1); break;
        }
        if (o->self < 3) CHECK(now_s() - start >= 0.0019, "it slept only %.6f s", now_s() - start);
        collect(o);
    }
    return NULL;
}

// Many more completions, of every kind.
static void *load(void *unused) {
    (void)unused;
    int fd = temp_file();
    static struct aiocb cbs[64];
    static unsigned char buffer[64][512];
    while (!over) {
        for (int i = 0; i < 64; i++) {
            cbs[i] = request(fd, buffer[i], 512, i * 512);
            CHECK_EQ(i % 16 == 15 ? aio_fsync(O_DSYNC, &cbs[i]) : i % 2 ? aio_read(&cbs[i]) : aio_write(&cbs[i]), 0);
            if (i % 8 == 7) aio_cancel(fd, &cbs[i]);
        }
        for (int i = 0; i < 64; i++) wait_done(&cbs[i]);
    }
    return NULL;
}

int main(void) {
    for (int i = 1; i <= SIGRTMAX; i++) {
        if (i == SIGKILL || i == SIGSTOP || i == SIGSEGV || i == SIGABRT || (i > SIGSYS && i < SIGRTMIN)) continue;
        on_signal(i, handler);
    }
    file = temp_file();
    put_pattern(file, 0, 16 * 4096, 1);
    CHECK_EQ(pipe(feed), 0);
    pthread_t threads[4], other = start_thread(load, NULL);
    for (intptr_t i = 0; i < 4; i++) threads[i] = start_thread(sleeper, (void *)i);
    for (int i = 0; i < ROUNDS; i++) {
        pause_ms(1);
        CHECK_EQ(write(feed[1], "x", 1), 1);
    }
    for (int i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    over = true;
    CHECK_EQ(pthread_join(other, NULL), 0);
    CHECK_EQ(signalled, 0);
    return 0;
}
