// With callbacks=shared functions of SIGEV_THREAD run in threads that are used again, one function in each at a time; the
// threads end when they are idle.
// glibc: skip: it has no such choice
// env: AIO_RS=callbacks=shared,idle=300ms
#include "check.h"
#include <semaphore.h>

enum { COUNT = 100, BLOCKED = 10 };

static __thread int before;
static int most, running, calls;
static sem_t go;

static void counts_up(union sigval value) {
    (void)value;
    int seen = ++before;
    if (seen > __atomic_load_n(&most, __ATOMIC_RELAXED)) __atomic_store_n(&most, seen, __ATOMIC_RELAXED);
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELEASE);
}

static void blocks(union sigval value) {
    (void)value;
    __atomic_add_fetch(&running, 1, __ATOMIC_RELEASE);
    while (sem_wait(&go)) {}
}

static void call(int fd, void (*function)(union sigval)) {
    struct aiocb cb = request(fd, "data", 4, 0);
    cb.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = function};
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, 4);
}

int main(void) {
    int fd = temp_file();
    CHECK_EQ(sem_init(&go, 0, 0), 0);
    for (int i = 0; i < COUNT; i++) {
        call(fd, counts_up);
        WAIT_FOR(__atomic_load_n(&calls, __ATOMIC_ACQUIRE) == i + 1);
    }
    CHECK(__atomic_load_n(&most, __ATOMIC_RELAXED) > 1, "no thread was used again");
    for (int i = 0; i < BLOCKED; i++) call(fd, blocks);
    WAIT_FOR(__atomic_load_n(&running, __ATOMIC_ACQUIRE) == BLOCKED);
    call(fd, counts_up);
    WAIT_FOR(__atomic_load_n(&calls, __ATOMIC_ACQUIRE) == COUNT + 1);
    for (int i = 0; i < BLOCKED; i++) sem_post(&go);
    WAIT_FOR(thread_count() == 1);
    return 0;
}
