// Each function of SIGEV_THREAD runs as if it were the start routine of a new thread: it finds nothing that an earlier one has
// left in its thread, what it leaves is seen to when it ends, and it may be cancelled. However it is come by: by a worker, by a
// read that was in the page cache, by the kernel's AIO.
// env: AIO_RS=idle=60s
#include "check.h"
#include <semaphore.h>

enum { COUNT = 20, ALTERNATE = 65536 };

static __thread int storage;
static pthread_key_t key;
static sem_t ended;
static int found, cancelled;
static char alternate[ALTERNATE];

static void key_ends(void *value) {
    (void)value;
    sem_post(&ended);
}

static void finds(bool something, int what) {
    if (something) __atomic_or_fetch(&found, 1 << what, __ATOMIC_RELAXED);
}

// Looks for what it leaves itself.
static void function(union sigval value) {
    cpu_set_t processors;
    stack_t stack;
    char name[16];
    int cancel, kind, policy;
    struct sched_param parameters;
    (void)value;
    finds(storage++ != 0, 0);
    finds(pthread_getspecific(key) != NULL, 1);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    finds(cancel != PTHREAD_CANCEL_ENABLE, 2);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &kind);
    finds(kind != PTHREAD_CANCEL_DEFERRED, 3);
    pthread_getname_np(pthread_self(), name, sizeof name);
    finds(strcmp(name, "mine") == 0, 4);
    pthread_setname_np(pthread_self(), "mine");
    int nice = getpriority(PRIO_PROCESS, (id_t)thread_id());
    finds(nice == 5, 5);
    setpriority(PRIO_PROCESS, (id_t)thread_id(), 5);
    sigaltstack(NULL, &stack);
    finds(!(stack.ss_flags & SS_DISABLE), 6);
    sigaltstack(&(stack_t){.ss_sp = alternate, .ss_size = ALTERNATE}, NULL);
#ifdef __SSE__
    enum { ROUNDING = 3 << 13 };
    finds(__builtin_ia32_stmxcsr() & ROUNDING, 7);
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | ROUNDING);
#endif
    pthread_getschedparam(pthread_self(), &policy, &parameters);
    finds(policy == SCHED_BATCH, 8);
    pthread_setschedparam(pthread_self(), SCHED_BATCH, &(struct sched_param){0});
    if (sched_getaffinity(0, sizeof processors, &processors) == 0) {
        static int all;
        int now = CPU_COUNT(&processors);
        if (all == 0) all = now;
        finds(now != all, 9);
        CPU_ZERO(&processors);
        CPU_SET(sched_getcpu(), &processors);
        sched_setaffinity(0, sizeof processors, &processors);
    }
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    finds(sigismember(&mask, SIGUSR1) == 1, 10);
    sigaddset(&mask, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    pthread_setspecific(key, &key);
}

static void cancels_itself(union sigval value) {
    (void)value;
    pthread_setspecific(key, &key);
    pthread_cancel(pthread_self());
    pthread_testcancel();
    __atomic_store_n(&cancelled, -1, __ATOMIC_RELEASE);
}

static void wait_ended(void) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_S;
    CHECK_EQ(sem_timedwait(&ended, &deadline), 0);
}

static void call(void (*what)(union sigval), int fd, void *buffer, bool write) {
    struct aiocb cb = request(fd, buffer, 4096, 0);
    cb.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = what};
    CHECK_EQ(write ? aio_write(&cb) : aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, 4096);
    wait_ended();
}

int main(void) {
    CHECK_EQ(pthread_key_create(&key, key_ends), 0);
    CHECK_EQ(sem_init(&ended, 0, 0), 0);
    int fd = temp_file(), direct = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    void *buffer = aligned_alloc(4096, 4096);
    memset(buffer, 1, 4096);
    for (int i = 0; i < COUNT; i++) {
        call(function, fd, buffer, true);
        call(function, fd, buffer, false);
        if (direct >= 0) call(function, direct, buffer, true);
        CHECK(found == 0, "round %d: found %x", i, found);
    }
    for (int i = 0; i < COUNT; i++) {
        call(cancels_itself, fd, buffer, true);
        CHECK_EQ(__atomic_load_n(&cancelled, __ATOMIC_ACQUIRE), 0);
    }
    call(function, fd, buffer, true);
    CHECK(found == 0, "after those that were cancelled: found %x", found);
    return 0;
}
