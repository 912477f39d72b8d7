// SIGEV_THREAD calls the function with the value in a thread of its own that has no signal blocked; it may block for
// ever or call pthread_exit while the others go on, 1,000 of them.
#include "check.h"
#include <semaphore.h>

enum { COUNT = 1000, BLOCKED = 10 };

static struct aiocb cbs[COUNT];
static int calls[COUNT];
static int total, wrong;
static pid_t main_thread;
static sem_t never, block;

static void called(union sigval value) {
    int i = value.sival_int;
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (int s = 1; s <= SIGRTMAX; s++)
        if (sigismember(&mask, s) == 1) __atomic_store_n(&wrong, 1000 + s, __ATOMIC_RELAXED);
    if (thread_id() == main_thread) __atomic_store_n(&wrong, 1, __ATOMIC_RELAXED);
    if (aio_error(&cbs[i]) != 0 || aio_return(&cbs[i]) != 4) __atomic_store_n(&wrong, 2, __ATOMIC_RELAXED);
    __atomic_add_fetch(&calls[i], 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&total, 1, __ATOMIC_RELEASE);
    if (i < BLOCKED) {
        sem_wait(&never);
    } else if (i % 3 == 0) {
        pthread_exit(NULL);
    }
}

static void list_called(union sigval value) { sem_post(value.sival_ptr); }

int main(void) {
    main_thread = thread_id();
    sem_init(&never, 0, 0);
    sem_init(&block, 0, 0);
    int fd = temp_file();
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(fd, "data", 4, i * 4);
        cbs[i].aio_sigevent =
            (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = called, .sigev_value.sival_int = i};
        CHECK_EQ(aio_write(&cbs[i]), 0);
        if (i % 50 == 0) WAIT_FOR(__atomic_load_n(&total, __ATOMIC_ACQUIRE) > i - 50);
    }
    WAIT_FOR(__atomic_load_n(&total, __ATOMIC_ACQUIRE) == COUNT);
    CHECK_EQ(wrong, 0);
    for (int i = 0; i < COUNT; i++) CHECK_EQ(calls[i], 1);

    // A list as well.
    struct aiocb cb = request(fd, "data", 4, 0), *list[1] = {&cb};
    cb.aio_lio_opcode = LIO_WRITE;
    struct sigevent all = {
        .sigev_notify = SIGEV_THREAD, .sigev_notify_function = list_called, .sigev_value.sival_ptr = &block};
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 1, &all), 0);
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_S;
    CHECK_EQ(sem_timedwait(&block, &deadline), 0);
    CHECK_DONE(&cb, 0, 4);
    return 0;
}
