// Closing a stream whose request blocks in a thread does not wait for that, however many other requests are in flight.
// glibc: skip: its few threads all wait for streams then
#include "check.h"

#include <sys/eventfd.h>

// More than any table of fixed size that the library keeps of its requests.
#define MANY 3000

static void *close_it(void *fd) {
    CHECK_EQ(close((int)(intptr_t)fd), 0);
    return NULL;
}

static void read_waits(struct aiocb *cb, char *byte) {
    int p[2];
    CHECK_EQ(pipe(p), 0);
    *cb = request(p[0], byte, 1, 0);
    CHECK_EQ(aio_read(cb), 0);
}

int main(void) {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 2 * MANY + 100;
    if (limit.rlim_max < limit.rlim_cur) SKIP("the limit of descriptors is too low");
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    static struct aiocb cbs[MANY];
    static char bytes[MANY];
    uint64_t most = UINT64_MAX - 1, one = 1;
    int full = eventfd(0, 0);
    CHECK_EQ(write(full, &most, sizeof most), (ssize_t)sizeof most);
    struct aiocb blocked = request(full, &one, sizeof one, 0);
    CHECK_EQ(aio_write(&blocked), 0);
    for (int i = 0; i < MANY; i++) read_waits(&cbs[i], &bytes[i]);
    // Requests of streams are tried in the order of their submission.
    int p[2];
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(write(p[1], "x", 1), 1);
    struct aiocb last = request(p[0], &bytes[0], 1, 0);
    CHECK_EQ(aio_read(&last), 0);
    CHECK_DONE(&last, 0, 1);
    alarm(PATIENCE_S);
    join_thread(start_thread(close_it, (void *)(intptr_t)full));
    CHECK_EQ(aio_error(&blocked), EINPROGRESS);
    return 0;
}
