// As soon as aio_error says done, the aiocb and its buffer may be freed: the library touches neither again.
// glibc: skip: it reads the sigevent after it has stored the status, but too soon after to be caught for certain
// takes: 8
// once: it is about the end of a request
#include "check.h"

enum { THREADS = 4, ROUNDS = 20000 };

static int fd;

struct block {
    struct aiocb cb;
    unsigned char buffer[64];
};

static void never(union sigval value) { (void)value; }

static void *run(void *argument) {
    unsigned self = (unsigned)(uintptr_t)argument;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct block *b = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(b != MAP_FAILED);
        b->cb = request(fd, b->buffer, sizeof b->buffer, (off_t)(self * 4096 + i % 64 * 64));
        if (i % 16 == 15) {
            b->cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
            b->cb.aio_sigevent.sigev_notify_function = never;
        }
        fill(b->buffer, sizeof b->buffer, i);
        int got = i % 128 == 3 ? aio_fsync(O_DSYNC, &b->cb)
                  : i % 4 == 1   ? aio_read(&b->cb)
                                 : aio_write(&b->cb);
        CHECK_EQ(got, 0);
        if (i % 5 == 0) aio_cancel(fd, &b->cb);
        if (i % 3 == 0) {
            const struct aiocb *list[1] = {&b->cb};
            while (aio_suspend(list, 1, NULL)) {}
        } else {
            for (int n = 0; aio_error(&b->cb) == EINPROGRESS; n++)
                if (n > 100) sched_yield();
        }
        int error = aio_error(&b->cb);
        CHECK(error == 0 || error == ECANCELED, "%d", error);
        if (i % 2) memset(b, 0xA5, sizeof *b); // a stray notification would jump there
        munmap(b, page);
    }
    return NULL;
}

int main(void) {
    fd = temp_open("file", O_RDWR);
    CHECK_EQ(ftruncate(fd, THREADS * 4096), 0);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) threads[i] = start_thread(run, (void *)i);
    for (int i = 0; i < THREADS; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    return 0;
}
