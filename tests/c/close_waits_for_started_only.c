// Closing a descriptor may wait for a thread that has begun to use its number, never for a request that starts
// meanwhile: that one uses a duplicate.
// glibc: skip: it loses what waits on a descriptor that is closed
// holds-reads
#include "check.h"

enum { LONG = 64 << 20 };

static void *close_it(void *fd) {
    CHECK_EQ(close((int)(intptr_t)fd), 0);
    return NULL;
}

int main(void) {
    for (int round = 0; round < 5; round++) {
        // Much work for a processor: the thread that does it never sleeps, so nobody can tell how far it is.
        int fd = open("/dev/urandom", O_RDWR);
        CHECK(fd >= 0);
        unsigned char *much = malloc(LONG);
        struct held h = hold(4096);
        struct aiocb head = request(fd, much, LONG, 0), queued = request(fd, h.buffer, 4096, 0);
        CHECK_EQ(aio_read(&head), 0);
        CHECK_EQ(aio_write(&queued), 0); // it overlaps, and waits
        pthread_t closer = start_thread(close_it, (void *)(intptr_t)fd);
        wait_held(&h);
        join_thread(closer);
        wait_done(&head);
        CHECK_EQ(aio_error(&head), 0);
        CHECK_EQ(aio_error(&queued), EINPROGRESS);
        release_held(&h);
        CHECK_DONE(&queued, 0, 4096);
        free_held(&h);
        free(much);
    }
    return 0;
}
