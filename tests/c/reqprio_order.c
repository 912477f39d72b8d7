// Of the requests that wait for a worker, those with the lower aio_reqprio run first; equals run in call order.
// env: AIO_RS=threads=1
// holds-reads
#include "check.h"

enum { N = 42 };

static struct held holds_[N];
static bool released[N];

// The request that runs now: the one whose buffer has been touched.
static int running(void) {
    for (int i = 0; i < N; i++)
        if (!released[i] && !untouched(&holds_[i])) return i;
    return -1;
}

int main(void) {
    // libc gets its single thread this way; and serves requests of one descriptor by priority.
    struct aioinit init = {.aio_threads = 1, .aio_num = N};
    aio_init(&init);
    int fd = temp_file();
    put_pattern(fd, 0, 4096 * (N + 1), 1);

    struct held h;
    struct aiocb first;
    held_read(&h, &first, fd, 4096, 4096 * N);

    // Reads, which nothing but the priority puts in order.
    static struct aiocb cbs[N];
    for (int i = 0; i < N; i++) {
        holds_[i] = hold(4096);
        cbs[i] = request(fd, holds_[i].buffer, 4096, i * 4096);
        cbs[i].aio_reqprio = i * 13 % 21;
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    release_held(&h);
    CHECK_DONE(&first, 0, 4096);

    int last_priority = -1, last = -1;
    for (int round = 0; round < N; round++) {
        int now;
        WAIT_FOR((now = running()) >= 0);
        CHECK(cbs[now].aio_reqprio > last_priority || (cbs[now].aio_reqprio == last_priority && now > last),
              "request %d of priority %d after request %d of priority %d", now, cbs[now].aio_reqprio, last, last_priority);
        last_priority = cbs[now].aio_reqprio;
        last = now;
        released[now] = true;
        release_held(&holds_[now]);
        CHECK_DONE(&cbs[now], 0, 4096);
    }
    return 0;
}
