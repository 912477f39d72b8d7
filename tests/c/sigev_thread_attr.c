// The thread of SIGEV_THREAD has the attributes that the sigevent names: its stack size and guard.
#include "check.h"
#include <semaphore.h>

enum { STACK = 3 << 20, GUARD = 64 << 10 };

static sem_t done;
static size_t stack, guard;
static bool used;

static void called(union sigval value) {
    (void)value;
    pthread_attr_t mine;
    void *base;
    pthread_getattr_np(pthread_self(), &mine);
    pthread_attr_getstack(&mine, &base, &stack);
    pthread_attr_getguardsize(&mine, &guard);
    pthread_attr_destroy(&mine);
    volatile char deep[STACK - (256 << 10)];
    deep[0] = 1;
    deep[sizeof deep - 1] = 1;
    used = deep[0] == 1;
    sem_post(&done);
}

int main(void) {
    sem_init(&done, 0, 0);
    int fd = temp_file();
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, STACK), 0);
    CHECK_EQ(pthread_attr_setguardsize(&attributes, GUARD), 0);
    for (int i = 0; i < 20; i++) {
        struct aiocb cb = request(fd, "data", 4, 0);
        cb.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD,
                                            .sigev_notify_function = called,
                                            .sigev_notify_attributes = &attributes};
        CHECK_EQ(aio_write(&cb), 0);
        struct timespec deadline;
        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += PATIENCE_S;
        CHECK_EQ(sem_timedwait(&done, &deadline), 0);
        CHECK(stack >= STACK - GUARD && stack <= STACK + (256 << 10), "the stack has %zu bytes", stack);
        CHECK_EQ(guard, GUARD);
        CHECK(used);
        CHECK_DONE(&cb, 0, 4);
    }
    return 0;
}
