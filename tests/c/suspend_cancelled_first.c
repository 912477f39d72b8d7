// Threads that are cancelled in their first aio_suspend, wherever in it, leave no descriptor behind.
#include "check.h"

enum { THREADS = 300 };

static struct aiocb endless;

static void *wait_for_ever(void *unused) {
    (void)unused;
    const struct aiocb *list[] = {&endless};
    for (;;) aio_suspend(list, 1, NULL);
    return NULL;
}

static int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 4096; fd++) count += fcntl(fd, F_GETFD) != -1;
    return count;
}

int main(void) {
    int p[2];
    char byte;
    CHECK_EQ(pipe(p), 0);
    endless = request(p[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&endless), 0);
    int before = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread = start_thread(wait_for_ever, NULL);
        CHECK_EQ(pthread_cancel(thread), 0);
        CHECK(join_thread(thread) == PTHREAD_CANCELED);
        // Not counted from the beginning: the library opens some of its own.
        if (i == 20) before = open_descriptors();
    }
    int now = open_descriptors();
    CHECK(now <= before + 4, "%d, then %d", before, now);
    return 0;
}
