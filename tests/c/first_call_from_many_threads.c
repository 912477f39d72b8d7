// Threads that make the process's first AIO call at the same moment find one and the same library: each of their
// requests succeeds, and an aiocb that all of them submit is taken once.
// timeout: 120
#include "check.h"

enum { THREADS = 8, CHILDREN = 200 };

static int fd, p[2], arrived, taken;
static struct aiocb shared;
static char byte;

static void meet(void) {
    __atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < THREADS) sched_yield();
}

static void *own_request(void *argument) {
    unsigned self = (unsigned)(uintptr_t)argument;
    unsigned char data[64];
    fill(data, sizeof data, self);
    struct aiocb cb = request(fd, data, sizeof data, self * 64);
    const struct aiocb *list[] = {&cb};
    meet();
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_EQ(aio_suspend(list, 1, &(struct timespec){PATIENCE_S, 0}), 0);
    CHECK_DONE(&cb, 0, sizeof data);
    CHECK(file_holds(fd, self * 64, 64, self));
    return NULL;
}

static void *shared_request(void *unused) {
    meet();
    errno = 0;
    if (aio_read(&shared) == 0)
        __atomic_add_fetch(&taken, 1, __ATOMIC_RELAXED);
    else
        CHECK_EQ(errno, EINVAL);
    return unused;
}

static void child(bool sharing) {
    pthread_t threads[THREADS];
    shared = request(p[0], &byte, 1, 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        threads[i] = start_thread(sharing ? shared_request : own_request, (void *)i);
    for (int i = 0; i < THREADS; i++) join_thread(threads[i]);
    if (!sharing) return;
    CHECK_EQ(taken, 1);
    CHECK_EQ(aio_error(&shared), EINPROGRESS);
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_DONE(&shared, 0, 1);
    CHECK_EQ(byte, 'x');
}

int main(void) {
    fd = temp_file();
    CHECK_EQ(pipe(p), 0);
    for (int n = 0; n < CHILDREN; n++) { // each is a process that has made no call yet
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            child(is_library() && n % 2); // libc takes an aiocb twice
            _exit(0);
        }
        int status = -1;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(status == 0, "child %d: status %x", n, status);
    }
    return 0;
}
